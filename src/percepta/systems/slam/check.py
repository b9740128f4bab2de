"""Looks through a folder before SLAM runs on it: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import layouts
from percepta.datasets.capture import Capture, Shot
from percepta.datasets.findings import PictureFindings
from percepta.datasets.posed import Recording
from percepta.datasets.problem import Problem
from percepta.errors import MissingFileError
from percepta.geometry import imu
from percepta.systems.slam.data import open_capture


class Report(PictureFindings):
    """What `check` found. Its examples are frames with captions."""

    shown = "good frame"

    @property
    def ready(self) -> str:
        return "Ready."


def check(root: Path | str, *, examples: int = 8, progress: Progress | None = None) -> Report:
    """Reads every frame of every sequence.

    Args:
        root: a folder of sequences, one sequence, or a video.
        examples: how many frames the contact sheet will show.
        progress: called with (frames done, frames in all).

    Raises:
        MissingFileError: there is no such path.
        InputError: a layout that is not known.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    found = layouts.find(root, Capture, Recording)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    shown: list[tuple[Image.Image, str]] = []
    counts = {"sequences": len(found), "frames": 0, "with true poses": 0}
    captures: list[tuple[Path, Capture]] = []
    for one in found:
        try:
            captures.append((one.root, open_capture(one.root)))
        except (OSError, ValueError) as error:
            problems.append(Problem(one.root, None, str(error).removeprefix(f"{one.root}: ")))
    total, done = sum(len(capture) for _, capture in captures), 0
    for path, capture in captures:
        counts["with true poses"] += capture.truth is not None
        if capture.intrinsics_from == "guessed":
            text = "the camera is not known, its focal length is guessed; `percepta slam calibrate` finds it"
            warnings.append(Problem(path, None, text))
        if capture.samples is not None and (odd := imu.oddities(capture.samples)):
            warnings.append(Problem(path, None, odd))
        every = max(1, total // max(1, examples))
        last = -np.inf
        try:
            for number, shot in enumerate(capture):
                warnings += [Problem(path, None, f"frame {number}: {text}") for text in _odd(shot, last)]
                last = shot.time_s
                if number % every == every // 2 and len(shown) < examples:
                    shown.append((Image.fromarray(shot.frame).convert("RGB"), f"{capture.name}, {shot.time_s:.2f} s"))
                done, counts["frames"] = done + 1, counts["frames"] + 1
                if progress is not None:
                    progress(done, max(total, done))
        except (OSError, ValueError) as error:
            problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
    if not counts["frames"] and not problems:
        problems.append(Problem(root, None, "no frames"))
    names = ", ".join(dict.fromkeys(one.set.NAME for one in found))
    return Report(root, names, counts, tuple(problems), tuple(warnings), tuple(shown))


def _odd(shot: Shot, last_s: float) -> list[str]:
    """What is odd about a frame, in words."""
    out = []
    if shot.time_s <= last_s:
        out.append(f"time goes backwards, {shot.time_s} s after {last_s} s")
    if float(np.asarray(shot.frame[::8, ::8], np.float32).std()) < 4:
        out.append("the picture has hardly any contrast (darkness, a covered lens?)")
    if shot.depth_m is not None:
        seen = shot.depth_m[shot.depth_m > 0]
        if not len(seen):
            out.append("the depth has no reading")
        elif not 0.05 < float(np.median(seen)) < 100:
            out.append(f"the median depth is {float(np.median(seen)):.4g} m; is it in another unit?")
    return out
