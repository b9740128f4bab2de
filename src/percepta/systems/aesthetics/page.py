"""An album as blocks of a page (`report.Page`): what to rate next, reasons, and all pictures by predicted taste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from percepta.contract import Block
from percepta.report import Gallery, Heading, Numbers, Table, Text
from percepta.systems.aesthetics.album import Album, Result
from percepta.systems.aesthetics.why import Reason

SHOWN = (200, 100)  # of a larger album: the best and the last
EXPLAINED = (
    "Each reason was tried out. An attribute: the picture is edited until this attribute is as in an average picture, "
    "and scored again. What it shows: the class is taken out of what the network recognised. The number is by how much "
    "the score is higher with it than without, in points of the scale; in brackets the same for people in general."
)


def album_blocks(album: Album, *, ask: int = 10, why: int = 3) -> list[Block]:
    """Counts, what to rate next, reasons for the best and the last, all pictures by predicted taste.

    Args:
        album: with the ratings that are known.
        ask: how many pictures to propose for rating.
        why: for how many of the best, and of the last, reasons are given.
    """
    ranked = album.ranking()
    rank = {result.name: place for place, result in enumerate(ranked, start=1)}
    counts: dict[str, Any] = {"pictures": len(ranked), "rated": len(album.ratings)}
    counts |= {"skipped": len(album.skipped)} if album.skipped else {}
    counts |= {"scale": str(album.scale), "profile": ", ".join(album.profile) or "none"}
    blocks: list[Block] = [Numbers(counts)]
    if album.note:
        note = f"{album.note[0].upper()}{album.note[1:]}. Until then this is what a profile and the crowd say."
        blocks.append(Text(note))
    blocks.append(
        Text(
            "The dot is the score that the model expects of this person, the thick line one standard deviation to both "
            "sides, the tick what it expects of people in general."
        )
    )
    if asked := album.ask(ask):
        blocks += [Heading("Rate these next"), Text("Their ratings would tell the model most about this taste.")]
        blocks.append(Gallery([(Small(ranked[rank[name] - 1]), name) for name in asked]))
    if why and len(ranked) > 1:
        ends = [*ranked[:why], *ranked[max(why, len(ranked) - why) :]]
        explained = zip(ends, album.explain([r.name for r in ends]), strict=True)
        blocks += [Heading("Why"), Text(EXPLAINED)]
        blocks.append(Gallery([(Small(r), _because(r.name, why_)) for r, why_ in explained]))
    blocks.append(Heading("All pictures, by predicted taste"))
    shown = ranked if len(ranked) <= sum(SHOWN) else [*ranked[: SHOWN[0]], *ranked[-SHOWN[1] :]]
    if len(shown) < len(ranked):
        blocks.append(Text(f"The best {SHOWN[0]} and the last {SHOWN[1]}; ranking.csv has all {len(ranked):,}."))
    blocks.append(Gallery([(Small(r), _caption(album, r, rank[r.name])) for r in shown]))
    if album.skipped:
        blocks += [Heading("Skipped"), Table(["file", "why"], [list(row) for row in album.skipped])]
    return blocks


@dataclass(frozen=True)
class Small:
    """A result drawn so small that hundreds fit into one page; drawn when the page is written."""

    result: Result

    def draw(self) -> Image.Image:
        drawn = self.result.draw()
        drawn.thumbnail((320, 400))
        return drawn


def _caption(album: Album, result: Result, rank: int) -> str:
    rated = album.ratings.get(result.name)
    return f"{rank}. {result.name}" + ("" if rated is None else f"\nrated {rated:g}")


def _because(name: str, why: Sequence[Reason]) -> str:
    return "\n".join([name, *(reason.text for reason in why)] if why else [name, "nothing that stands out"])
