"""Checks a folder of videos with sentences before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.datasets import didemo, layouts
from percepta.datasets.captioned import Clip
from percepta.datasets.problem import Findings, Problem
from percepta.errors import InputError
from percepta.media import draw
from percepta.systems.hashing.data import read_clips
from percepta.systems.hashing.library import clip_frames, open_clip

MAX_WORDS = 60  # of a sentence: more is rarely one
PICTURE_SIDE = 320  # pixels, in the contact sheet


class Report(Findings[Clip]):
    """What `check` found.

    Attributes:
        layout: names of the data sets.
        counts: videos, pictures and sentences, and videos a split, by name.
        examples: good clips, spread over the data, for `sheet`.
    """

    def sheet(self, columns: int = 4, width: int = 1400) -> Image.Image:
        """Contact sheet of the examples (of a video: its middle) with a sentence below each.

        Raises:
            InputError: there is no good example to show.
        """
        if not self.examples:
            raise InputError(f"{self.root}: nothing good to show")
        shown = [clip_frames(clip, 1, PICTURE_SIDE)[0] for clip in self.examples]
        return draw.sheet(shown, columns, width, [clip.sentences[0] for clip in self.examples])


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads all tables, and opens every picture and every video once.

    Args:
        root: a folder in the layout of a set that can be read as `Clip`, or with several such folders in it.
        examples: how many the contact sheet will show.
        progress: called with (clips done, clips in all).

    Raises:
        MissingFileError, InputError: no such folder; no known layout. What is wrong inside is in the report.
    """
    root = Path(root)
    layout = ", ".join(found.set.NAME for found in layouts.find(root, Clip))
    problems: list[Problem] = []
    warnings: list[Problem] = []
    clips: list[Clip] = []
    try:
        clips = read_clips(root, problems, warnings)
    except (OSError, ValueError) as error:
        first = error.args[0] if error.args else None
        problems.append(first if isinstance(first, Problem) else Problem(root, None, str(error)))
    if not clips and not problems:
        problems.append(Problem(root, None, "no video and no picture with a sentence"))
    good = []
    opened: dict[Path, str | float] = {}  # of a video that is in several clips: its length, or what is wrong
    for number, clip in enumerate(clips):
        if clip.first not in opened:
            opened[clip.first] = _open(clip)
            if isinstance(wrong := opened[clip.first], str):
                problems.append(Problem(clip.first, None, wrong.removeprefix(f"{clip.first}: ")))
        length = opened[clip.first]
        if isinstance(length, float):
            odd = _odd(clip, length)
            warnings += [Problem(clip.table or clip.first, clip.line, text) for text in odd]
            good.append(clip)
        if progress is not None:
            progress(number + 1, len(clips))
    chosen = [good[i] for i in np.linspace(0, len(good) - 1, min(examples, len(good))).astype(int)]
    return Report(root, layout, _counts(clips), tuple(problems), tuple(warnings), tuple(chosen))


def _open(clip: Clip) -> str | float:
    """The length of a clip's file in seconds (0 for pictures and for what the file does not say), or what is wrong."""
    try:
        return open_clip(clip)
    except (OSError, ValueError) as error:
        return str(error)


def _odd(clip: Clip, length_s: float) -> list[str]:
    """What looks odd about a clip of a video of some length."""
    out = []
    slack = didemo.SEGMENT_S if clip.source == "didemo" else 0.5  # the last segment of DiDeMo may be shorter
    if length_s and clip.start_s >= length_s:
        out.append(f"{clip.name}: its part begins at {clip.start_s:g} s, the video ends at {length_s:.1f} s")
    elif length_s and clip.end_s is not None and clip.end_s > length_s + slack:
        out.append(f"{clip.name}: its part ends at {clip.end_s:g} s, the video at {length_s:.1f} s")
    long = [sentence for sentence in clip.sentences if len(sentence.split()) > MAX_WORDS]
    if long:
        out.append(f"{clip.name}: a sentence of {len(long[0].split())} words; only the first hundred or so are read")
    return out


def _counts(clips: list[Clip]) -> dict[str, int]:
    videos = {clip.group for clip in clips if clip.is_video or not isinstance(clip.media, Path)}
    counts = {"videos": len(videos), "pictures": len({clip.group for clip in clips} - videos)}
    moments = sum(clip.start_s > 0 or clip.end_s is not None for clip in clips)
    counts |= {"moments": moments, "sentences": sum(len(clip.sentences) for clip in clips)}
    splits = Counter({clip.group: clip.split for clip in clips}.values())
    counts |= {f"for {name}": number for name, number in sorted(splits.items()) if name}
    return {name: number for name, number in counts.items() if number}
