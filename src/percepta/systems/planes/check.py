"""Looks through a folder before training or reconstruction: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import posed
from percepta.datasets.findings import PictureFindings
from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.datasets.plane_annotations import AnnotatedScene
from percepta.datasets.posed import Recording
from percepta.datasets.posed_folder import PosedPicture
from percepta.datasets.problem import Problem, noting, problem_of
from percepta.errors import MissingFileError
from percepta.geometry import pose as poses
from percepta.systems.planes import PRESETS, data, kept
from percepta.systems.planes.predict import draw_planes


class Report(PictureFindings):
    """What `check` found. Its examples are pictures with captions, with their planes where there is depth."""

    shown = "good picture"

    @property
    def ready(self) -> str:
        return "Ready."


def check(root: Path | str, *, examples: int = 8, progress: Progress | None = None) -> Report:
    """Reads all poses and a sample of the pictures.

    Args:
        root: the folder.
        examples: how many the contact sheet will show.
        progress: called with (pictures done, pictures in all).

    Raises:
        MissingFileError: no such folder.
        InputError: a layout that is not known.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder")
    if kept.is_one(root):
        return _pairs(root, "kept pairs", [], [], examples, progress)
    found = data.find(root, AnnotatedScene, Recording, PosedPicture)
    layout = ", ".join(dict.fromkeys(one.set.NAME for one in found))
    if all(one.kind is PosedPicture for one in found):
        return _pictures(root, layout, examples, progress)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for one in found:
        if one.kind is Recording:
            with noting(problems, one.root):
                wrong, odd = posed.check(one.read(one.root, problems=problems))
                problems, warnings = problems + wrong, warnings + odd
    return _pairs(root, layout, problems, warnings, examples, progress)


def _pairs(
    root: Path,
    layout: str,
    problems: list[Problem],
    warnings: list[Problem],
    examples: int,
    progress: Progress | None,
) -> Report:
    """Counts the pairs of every split, and draws some."""
    config = PRESETS["small"]
    counts: dict[str, int] = {}
    for split in data.SPLITS:
        try:
            counts[f"pairs in {split}"] = len(data.source(config, split, root))
        except (OSError, ValueError) as error:
            counts[f"pairs in {split}"] = 0
            if split == "all":
                problems.append(Problem(root, None, str(error).removeprefix(f"{root}: ")))
    shown = []
    if counts["pairs in all"] and not problems:
        source = data.source(config, "all", root)
        rows = np.linspace(0, len(source) - 1, min(examples, len(source))).astype(int).tolist()
        for done, i in enumerate(rows):
            try:
                pair = source[i]
            except (OSError, ValueError) as error:
                problems.append(Problem(root, None, str(error)))
                continue
            names = [PLANEMVS_NAMES[k] if k >= 0 else "plane" for k in pair.labels]
            drawn = draw_planes(pair.image, pair.segments.astype(np.int32), names)
            shown.append((drawn, f"pair {i}: {len(names)} planes"))
            if not names:
                warnings.append(Problem(root, None, f"pair {i} has no plane"))
            if progress is not None:
                progress(done + 1, len(rows))
    return Report(root, layout, counts, tuple(problems), tuple(warnings), tuple(shown))


def _pictures(root: Path, layout: str, examples: int, progress: Progress | None) -> Report:
    """Posed pictures without depth: enough to reconstruct from, not to train on."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    shown = []
    try:
        views = data.posed_pictures(root, problems=problems)
    except (OSError, ValueError) as error:
        return Report(root, layout, {"pictures": 0}, (*problems, problem_of(root, error)))
    gaps = [float(np.linalg.norm(b.world_from_camera[:3, 3] - a.world_from_camera[:3, 3])) for a, b in pairwise(views)]
    for view in views:
        if wrong := poses.problem(view.world_from_camera):
            problems.append(Problem(view.path, None, wrong))
    if gaps and not 0.002 < np.median(gaps) < 1.0:
        text = (
            f"the camera moves {np.median(gaps):.3g} m between pictures; are the poses in metres? (COLMAP has no unit)"
        )
        warnings.append(Problem(root, None, text))
    rows = np.linspace(0, len(views) - 1, min(examples, len(views))).astype(int).tolist()
    for done, i in enumerate(rows):
        try:
            shown.append((Image.fromarray(views[i].read()), views[i].path.name))
        except (OSError, ValueError) as error:
            problems.append(Problem(views[i].path, None, str(error).removeprefix(f"{views[i].path}: ")))
        if progress is not None:
            progress(done + 1, len(rows))
    return Report(root, layout, {"pictures": len(views)}, tuple(problems), tuple(warnings), tuple(shown))
