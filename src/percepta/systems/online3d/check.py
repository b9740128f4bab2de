"""Finds out what a folder or file is, and looks through it before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from percepta.datasets import nyu40, posed, scannet, seven_scenes
from percepta.datasets.posed import Recording
from percepta.datasets.problem import Findings, Problem
from percepta.datasets.scannet import LabelledScan
from percepta.errors import InputError, MissingFileError
from percepta.geometry import ply
from percepta.systems.online3d.data import scans_in
from percepta.systems.online3d.shown import Result


def layout(root: Path) -> str:
    """ "7-Scenes", "ScanNet frames", "SceneNN", "posed folder", "scan" or "" for nothing known."""
    if root.is_file():
        return "scan" if root.suffix in (".ply", ".npz") else ""
    if any(root.glob("frame-*.pose.txt")) or any(root.glob("seq-*/frame-*.pose.txt")):
        return "7-Scenes"
    if (root / "intrinsic" / "intrinsic_color.txt").is_file():
        return "ScanNet frames"
    if (root / "trajectory.log").is_file() or (root / f"{root.name}_trajectory.log").is_file():
        return "SceneNN"
    if (root / "intrinsics.txt").is_file():
        return "posed folder"
    return "scan" if any(root.rglob("*.npz")) or any(root.rglob("*_vh_clean_2.ply")) else ""


_READERS: dict[str, Callable[[Path], Recording]] = {
    "7-Scenes": seven_scenes.read,
    "ScanNet frames": scannet.frames,
    "SceneNN": scannet.scenenn_frames,
    "posed folder": posed.folder,
}


def recording(root: Path) -> Recording:
    """The frames in a folder of any layout.

    Raises:
        MissingFileError: no such folder. InputError: a layout that is not known.
    """
    root = Path(root)
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    kind = layout(root)
    if kind not in _READERS:
        raise InputError(f"{root}: no recording; expected {', '.join(_READERS)} ({'a scan' if kind else 'not known'})")
    return _READERS[kind](root)


@dataclass(frozen=True)
class Bare:
    """A cloud without labels."""

    xyz: np.ndarray
    rgb: np.ndarray


def source(given: Any) -> Any:
    """What `predict` takes, opened: a `Recording`, or something with xyz and rgb.

    Raises:
        MissingFileError, InputError: nothing that can be read.
    """
    if not isinstance(given, (str, Path)):
        if hasattr(given, "xyz") or hasattr(given, "frames"):
            return given
        raise InputError(f"expected a scan, a recording or a path of one; got {type(given).__name__}")
    path = Path(given)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.suffix == ".ply":
        cloud = ply.read(path)
        try:
            return Bare(cloud.columns("x", "y", "z"), cloud.columns("red", "green", "blue"))
        except InputError as error:
            raise InputError(f"{path}: {error.args[0]}") from None
    if layout(path) == "scan":
        files = list(scans_in(path).values())
        if len(files) > 1:
            raise InputError(f"{path}: {len(files)} scans; name one of them, such as {files[0].name}")
        return source(files[0]) if files[0].suffix == ".ply" else scannet.read(files[0])
    return recording(path)


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
        from percepta.media import draw, image

        if not self.examples:
            raise InputError(f"{self.root}: nothing good to show")
        shown = [image.read(picture, long_side=480) for picture, _ in self.examples]
        return draw.sheet(shown, columns, width, [text for _, text in self.examples])


def check(root: Path | str, *, examples: int = 8, progress: Callable[[int, int], None] | None = None) -> Report:
    """Poses (rigid, scale, jumps), the unit and sizes of depth, missing frames; or labels of scans.

    Raises:
        MissingFileError: no such folder, or nothing in it that is known.
    """
    root = Path(root)
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    kind = layout(root)
    if kind == "scan":
        return _scans(root, examples, progress)
    if not kind:
        known = ", ".join(_READERS)
        raise MissingFileError(f"{root}: neither a recording ({known}) nor scans (.npz, *_vh_clean_2.ply)")
    try:
        found = recording(root)
    except (OSError, ValueError) as error:
        return Report(root, kind, {}, (Problem(root, None, str(error).removeprefix(f"{root}: ")),))
    problems, warnings = posed.check(found, progress=progress)
    shown = [] if problems else [_frame(found, int(i)) for i in np.linspace(0, len(found) - 1, examples // 2)]
    pictures = tuple(pair for pairs in shown for pair in pairs)
    return Report(root, kind, {"frames": len(found)}, tuple(problems), tuple(warnings), pictures)


def _frame(found: Recording, i: int) -> list[tuple[Image.Image, str]]:
    if not np.isfinite(found.pose(i)).all():
        return []
    frame = found.read(i, (320, 240))
    grey = (np.clip(frame.depth_m / 5, 0, 1) * 255).astype(np.uint8)
    pair = (Image.fromarray(frame.colour), frame.name), (Image.fromarray(grey).convert("RGB"), "depth, 5 m is white")
    return list(pair)


def _scans(root: Path, examples: int, progress: Callable[[int, int], None] | None) -> Report:
    counts, problems, warnings, shown = {"scans": 0, "points": 0, "instances": 0}, [], [], []
    files = scans_in(root)
    for number, (name, path) in enumerate(files.items(), 1):
        try:
            scan = scannet.read(path)
        except (OSError, EOFError, ValueError, KeyError) as error:
            problems.append(Problem(path, None, str(error).removeprefix(f"{path}: ")))
        else:
            counts["scans"] += 1
            counts["points"] += len(scan.xyz)
            counts["instances"] += len(np.unique(scan.instance[scan.instance > 0]))
            _scan(path, scan, problems, warnings)
            if not problems and len(shown) < examples:
                score = np.ones(len(scan.xyz), np.float32)
                shown.append((Result(scan.xyz, scan.rgb, scan.label, scan.instance, score).draw(240), name))
        if progress is not None:
            progress(number, len(files))
    return Report(root, "labelled scans", counts, tuple(problems), tuple(warnings), tuple(shown))


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
