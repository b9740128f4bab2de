"""A thing cut out of a film by a sentence: `refer` finds it in one frame, `vos` follows it in both directions.

`refer` is asked about one frame of every second. It is surest in one of these; from there the object is followed to
both ends of the film. In the others the two masks are compared: where they overlap by less than AGREE, the time is
told, so that somebody can look. After a hard cut `vos` would go on with whatever is alike: in a scene in which `refer`
was asked and found nothing, the object is not in sight. Where `refer` finds nothing in any frame, the answer is "not
found".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from percepta.errors import InputError
from percepta.media.frames import Frames
from percepta.metrics.masks import iou
from percepta.systems.refer.predict import Result as Found
from percepta.systems.vos import writers
from percepta.systems.vos.predict import Vos
from percepta.systems.vos.writers import Followed, Tell

SYSTEMS = ("refer", "vos")
AGREE = 0.5  # overlap of two masks (intersection over union) below which they are told
EVERY_S = 1.0  # between two frames that `refer` is asked about


@dataclass(frozen=True)
class Check:
    """A frame that `refer` was asked about.

    Attributes:
        frame: its number.
        time_s: when it is on show, seconds from the start.
        score: how sure `refer` is that the thing is in sight, 0..1.
        found: whether it answers that it is.
        overlap: of its mask and that of `vos`, intersection over union; 1 where both are empty.
    """

    frame: int
    time_s: float
    score: float
    found: bool
    overlap: float = float("nan")


@dataclass(frozen=True)
class Cutout:
    """What the flow found.

    Attributes:
        sentence: as asked.
        best: the frame from which the object was followed; None where nothing was found.
        checks: all frames that `refer` was asked about.
        followed: the masks; None where nothing was found.
    """

    sentence: str
    best: Check | None
    checks: tuple[Check, ...]
    followed: Followed | None

    @property
    def found(self) -> bool:
        """Whether there is anything to be cut out."""
        return self.best is not None

    @property
    def doubts(self) -> tuple[Check, ...]:
        """Where the two masks overlap by less than AGREE."""
        return tuple(check for check in self.checks if check.overlap < AGREE)

    @property
    def text(self) -> str:
        """The answer in words."""
        if self.best is None or self.followed is None:
            score = max((check.score for check in self.checks), default=0.0)
            return f"{self.sentence}: not found in any of {len(self.checks)} frames (at most {score:.0%})"
        seen = sum(self.followed.seen.values())
        return (
            f"{self.sentence}: {self.best.score:.0%} at {self.best.time_s:.1f} s, followed from there; in sight in "
            f"{seen} of {self.followed.count} frames"
        )

    def lines(self) -> list[str]:
        """What somebody should look at: the cuts, and a line for each of `doubts`."""
        cuts = [self.followed.cuts_text] if self.followed is not None and self.followed.cuts else []
        return cuts + [
            f"at {check.time_s:.1f} s the mask overlaps {check.overlap:.2f} with what refer finds"
            if check.found
            else f"at {check.time_s:.1f} s refer does not find it ({check.score:.0%}), but it is followed"
            for check in self.doubts
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        rows = [{**vars(check), "overlap": None if np.isnan(check.overlap) else check.overlap} for check in self.checks]
        told = {} if self.followed is None else self.followed.to_dict()
        return {
            "sentence": self.sentence,
            "found": self.found,
            "best": self.best and self.best.frame,
            "checks": rows,
            **told,
        }


@runtime_checkable
class Finds(Protocol):
    """What finds a thing in a frame by a sentence, as a loaded `refer` does."""

    def predict(self, picture: Any, sentence: str, /) -> Any:
        """The answer, with `mask`, `score` and `found`."""
        ...


def cutout(
    frames: Frames,
    sentence: str,
    *,
    refer: Finds,
    vos: Vos,
    folder: Path,
    every_s: float = EVERY_S,
    resume: bool = True,
    tell: Tell | None = None,
) -> Cutout:
    """Finds and follows a thing; its masks are written into a folder.

    Args:
        frames: the film.
        sentence: names the thing.
        refer: finds it in a frame.
        vos: follows it.
        folder: of the masks, see `systems.vos.writers`.
        every_s: seconds between two frames that `refer` is asked about.
        resume: whether a run that was stopped goes on.
        tell: called while it goes on.

    Raises:
        InputError: `every_s` is not above 0; an empty sentence; a film that cannot be read.
    """
    if not every_s > 0:
        raise InputError(f"every_s is above 0, got {every_s}")
    checks, masks, best = _asked(frames, sentence, refer, every_s, tell)
    if best is None:
        return Cutout(sentence, None, tuple(checks), None)
    start = checks[best]
    followed = writers.follow(vos, frames, {start.frame: masks[best]}, folder, resume=resume, tell=tell)
    if without := _scenes_without(followed, checks, start.frame):
        followed = writers.end_objects(followed, (number for scene in without for number in scene))
    return Cutout(sentence, start, tuple(_compared(checks, masks, followed)), followed)


def _scenes_without(followed: Followed, checks: Sequence[Check], start: int) -> list[range]:
    """The scenes in which `refer` was asked and found nothing; never the one that the object was followed from."""
    borders = [0, *(cut for cut in followed.cuts if cut), followed.count]
    out = []
    for scene in (range(a, b) for a, b in itertools.pairwise(borders)):
        asked = [check.found for check in checks if check.frame in scene]
        if asked and not any(asked) and start not in scene:
            out.append(scene)
    return out


def _asked(
    frames: Frames, sentence: str, refer: Finds, every_s: float, tell: Tell | None
) -> tuple[list[Check], list[Bool[np.ndarray, "h w"]], int | None]:
    """(the frames that were asked about, their masks, which of them is the best; None: it is in none)."""
    checks: list[Check] = []
    masks: list[np.ndarray] = []
    sure: list[float] = []
    for number, (time_s, pixels) in enumerate(frames.pixels()):
        if time_s + 1e-6 < len(checks) * every_s:
            continue
        answer = refer.predict(pixels, sentence)
        checks.append(Check(number, time_s, answer.score, answer.found))
        masks.append(answer.mask)
        sure.append(sureness(answer))
        if tell is not None:
            tell("frames asked about", len(checks), None)
    if not any(check.found for check in checks):
        return checks, masks, None
    return checks, masks, int(np.argmax(sure))


def sureness(answer: Found) -> float:
    """How good a frame is to begin with: the score times the mean probability inside the mask; -1 where nothing is."""
    return answer.score * float(answer.probability[answer.mask].mean()) if answer.found else -1.0


def _compared(checks: Sequence[Check], masks: Sequence[np.ndarray], followed: Followed) -> list[Check]:
    """The same with the overlap of the two masks."""
    out = []
    for check, mask in zip(checks, masks, strict=True):
        labels = followed.labels(check.frame)
        mine = np.zeros_like(mask) if labels is None else labels > 0
        overlap = iou(mine, mask) if mine.any() or mask.any() else 1.0
        out.append(Check(check.frame, check.time_s, check.score, check.found, float(overlap)))
    return out
