"""`percepta avatar capture`: renders a person in loose clothes as a capture to train from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta.errors import InputError


@dataclass(frozen=True)
class CaptureOptions:
    """Renders somebody in loose clothes, by cameras around, as a folder in the layout of THUman4.0."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """Where the capture is written; `novel` inside it gets the motion that training never sees."""
    outfit: Literal["tight", "skirt", "coat", "sleeves", "robe"] = "skirt"
    """What is worn."""
    motions: Path | None = None
    """A folder, archive or file of recorded motions (BVH, DeepMimic); left out: made-up motions."""
    moves: tuple[str, ...] = ()
    """Names of the motions of the capture, one after the other; left out: a swaying one."""
    novel: str = ""
    """Name of the motion that training never sees; left out: turning on the spot."""
    frames: int = 150
    """Of the capture, at 30 frames a second."""
    cameras: int = 8
    """Around the person."""
    size: tuple[int, int] = (128, 160)
    """Width and height of the pictures, in pixels."""


def capture(options: CaptureOptions, screen: Console) -> int:
    """Renders both captures."""
    from percepta.datasets import motions
    from percepta.systems.avatar.world import Rendered, subject
    from percepta.worlds.people.motions import joined, looped, made
    from percepta.worlds.people.rig import retarget

    if options.frames < 10 or options.cameras < 2 or min(options.size) < 16:
        raise InputError("a capture has at least 10 frames, 2 cameras and 16 pixels across")
    person = subject(options.outfit)
    found = {} if options.motions is None else {m.name: m for m in motions.clips(options.motions)}

    def motion(names: tuple[str, ...], otherwise: str, frames: int):
        if not names:
            return made(otherwise, (frames - 1) / 30, seed=1, body=person.body)
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(
                f"no motion {', '.join(missing)}; there are {', '.join(sorted(found)) or 'none: give --motions'}"
            )
        parts = [retarget(found[name], person.body).resampled(30) for name in names]
        whole = looped(joined(parts) if len(parts) > 1 else parts[0], (frames - 1) / 30)
        return whole.part(0, frames)

    novel = (options.novel,) if options.novel else ()
    for folder, moves in (
        (options.out, motion(options.moves, "sway", options.frames)),
        (options.out / "novel", motion(novel, "turn", max(options.frames // 5, 10))),
    ):
        Rendered(person, moves, options.size, options.cameras).save(folder)
        screen.print(
            escape(f"{folder}: {len(moves)} frames of {options.cameras} cameras, {moves.seconds:.1f} s"), soft_wrap=True
        )
    return 0


COMMANDS = {"capture": (CaptureOptions, capture)}
