"""Checks a folder of recordings or labelled scans before it is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import layouts, nyu40, posed, scannet
from percepta.datasets.layouts import Found
from percepta.datasets.posed import Recording
from percepta.datasets.problem import Findings, Problem, problem_of
from percepta.datasets.scannet import LabelledScan
from percepta.errors import InputError, MissingFileError
from percepta.media import draw, image
from percepta.systems.online3d.data import files_in
from percepta.systems.online3d.result import Result


class Report(Findings[tuple[Image.Image, str]]):
    """What `check` found; `examples` are pictures with their captions."""

    @property
    def ready(self) -> str:
        return "Ready."

    def sheet(self, columns: int = 4, width: int = 1400) -> Image.Image:
        """Contact sheet of frames with their depth, or of scans.

        Raises:
            InputError: there is nothing good to show.
        """
        if not self.examples:
            raise InputError(f"{self.root}: nothing good to show")
        shown = [image.read(picture, long_side=480) for picture, _ in self.examples]
        return draw.sheet(shown, columns, width, [text for _, text in self.examples])


def check(root: Path | str, *, examples: int = 8, progress: Progress | None = None) -> Report:
    """Poses (rigid, scale, jumps), the unit and sizes of depth, missing frames; or labels of scans.

    Args:
        root: a recording, a folder of recordings, or labelled scans.
        examples: how many pictures the contact sheet will show.
        progress: called with (frames or scans done, all of them).

    Raises:
        MissingFileError: no such folder, or nothing in it that is known.
    """
    root = Path(root)
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    recordings, scans = layouts.readers(Recording), layouts.readers(LabelledScan)
    if not any(one.is_one(root) for one in recordings) and any(one.is_one(root) for one in scans):
        return _scans(root, examples, progress)
    try:
        found = layouts.find(root, Recording)
    except InputError:
        raise MissingFileError(layouts.unknown(root, [*recordings, *scans])) from None
    reports = [_recording(one, -(-examples // len(found)), progress) for one in found]
    return reports[0] if len(reports) == 1 else _joined(root, reports)


def _recording(found: Found[Recording], examples: int, progress: Progress | None) -> Report:
    root, name = found.root, found.set.NAME
    own: list[Problem] = []
    try:
        recording = found.read(root, problems=own)
    except (OSError, ValueError) as error:
        return Report(root, name, {}, (*own, problem_of(root, error)))
    problems, warnings = posed.check(recording, progress=progress)
    problems = own + problems
    rows = [] if problems else np.linspace(0, len(recording) - 1, max(examples // 2, 1)).astype(int).tolist()
    pictures = tuple(pair for i in rows for pair in _frame(recording, i))
    return Report(root, name, {"frames": len(recording)}, tuple(problems), tuple(warnings), pictures)


def _joined(root: Path, reports: list[Report]) -> Report:
    names = ", ".join(dict.fromkeys(report.layout for report in reports))
    counts = {"recordings": len(reports), "frames": sum(report.counts.get("frames", 0) for report in reports)}
    problems, warnings, pictures = (
        tuple(one for report in reports for one in getattr(report, part))
        for part in ("problems", "warnings", "examples")
    )
    return Report(root, names, counts, problems, warnings, pictures)


def _frame(recording: Recording, i: int) -> list[tuple[Image.Image, str]]:
    if not np.isfinite(recording.pose(i)).all():
        return []
    frame = recording.read(i, (320, 240))
    grey = (np.clip(frame.depth_m / 5, 0, 1) * 255).astype(np.uint8)
    pair = (Image.fromarray(frame.colour), frame.name), (Image.fromarray(grey).convert("RGB"), "depth, 5 m is white")
    return list(pair)


def _scans(root: Path, examples: int, progress: Progress | None) -> Report:
    counts, problems, warnings, pictures = {"scans": 0, "points": 0, "instances": 0}, [], [], []
    files = files_in(root)
    for number, (name, path) in enumerate(files.items(), 1):
        try:
            scan = scannet.read(path)
        except (OSError, ValueError) as error:
            problems.append(problem_of(path, error))
        else:
            counts["scans"] += 1
            counts["points"] += len(scan.xyz)
            counts["instances"] += len(np.unique(scan.instance[scan.instance > 0]))
            _scan(path, scan, problems, warnings)
            if not problems and len(pictures) < examples:
                score = np.ones(len(scan.xyz), np.float32)
                pictures.append((Result(scan.xyz, scan.rgb, scan.label, scan.instance, score).draw(240), name))
        if progress is not None:
            progress(number, len(files))
    return Report(root, scannet.NAME, counts, tuple(problems), tuple(warnings), tuple(pictures))


def _scan(path: Path, scan: LabelledScan, problems: list[Problem], warnings: list[Problem]) -> None:
    if not len(scan.xyz) or not np.isfinite(scan.xyz).all():
        problems.append(Problem(path, None, "no points, or places that are not finite"))
        return
    if int(scan.label.max()) > 40:
        problems.append(Problem(path, None, f"labels are NYU-40 numbers 0..40; found {int(scan.label.max())}"))
        return
    size = float((scan.xyz.max(0) - scan.xyz.min(0)).max())
    if not 0.5 < size < 200:
        problems.append(Problem(path, None, f"the scan is {size:.3g} m large; are its places in metres?"))
    if not (nyu40.scannet20(scan.label) >= 0).any():
        problems.append(Problem(path, None, "no point has a class of ScanNet's twenty"))
    if not (scan.instance > 0).any():
        warnings.append(Problem(path, None, "no instances; only classes can be learnt from it"))
