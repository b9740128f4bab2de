"""What `percepta data driver check` says of a folder: drives, views, spans, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from PIL import Image

from percepta.contract import Progress
from percepta.datasets import aicity_drives
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.errors import MissingFileError
from percepta.media import video
from percepta.systems.driver import LABELS, VIEWS, bank
from percepta.systems.driver.decoder import Activity
from percepta.systems.driver.predict import timeline

UNLIKE_S = 2.0  # difference of the lengths of two views of a drive that is said


class Report(PictureFindings):
    """What `check` found. Its examples are timelines."""

    shown = "drive"


def check(root: Path | str, *, examples: int = 12, progress: Progress | None = None) -> Report:
    """Reads the tables and opens every video's head; of a bank, reads its drives.

    Args:
        root: a folder of drives (AI City or one's own), a table, or a bank.
        examples: how many timelines the contact sheet will show.
        progress: called with (drives done, drives in all).

    Raises:
        MissingFileError, InputError: no such path, or nothing that is known.
    """
    root = Path(root)
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    counts: Counter[str] = Counter()
    problems: list[Problem] = []
    warnings: list[Problem] = []
    shown: list[tuple[Image.Image, str]] = []
    if bank.is_bank(root):
        labels, found = bank.read_index(root)
        truth = {one.name: list(one.spans) for one in found}
        durations = {one.name: one.duration_s for one in found}
        for one in found:
            counts[f"drives of {one.split}"] += 1
            for view in one.views:
                with noting(problems, root):
                    bank.read_view(root, one.name, view)
    else:
        drives = aicity_drives.read(root)
        labels, truth, durations = LABELS, drives.truth, {}
        problems += drives.problems
        counts["spans in tables"] = len(drives.spans)
        for i, (name, views) in enumerate(drives.videos.items()):
            lengths = {}
            for view, path in views.items():
                with noting(problems, path):
                    lengths[view] = video.info(path).duration_s
            counts["videos"] += len(lengths)
            if missing := [view for view in VIEWS if view not in views]:
                warnings.append(Problem(root, None, f"{name}: no {' and no '.join(missing)}"))
            if lengths and max(lengths.values()) - min(lengths.values()) > UNLIKE_S:
                text = ", ".join(f"{view} {length:.1f} s" for view, length in lengths.items())
                warnings.append(Problem(root, None, f"{name}: views of different length: {text}"))
            durations[name] = max(lengths.values(), default=0.0)
            late = [x for x in truth.get(name, []) if lengths and x[2] > durations[name] + 1]
            if late:
                problems.append(Problem(root, None, f"{name}: {len(late)} spans end after the video"))
            if progress is not None:
                progress(i + 1, len(drives.videos))
        counts["drives"] = len({*drives.videos, *truth})
    for name, rows in truth.items():
        for label, _, _ in rows:
            word = labels[label] if label < len(labels) else f"class {label}"
            counts[f"of {word}"] += 1
        if odd := [label for label, _, _ in rows if label >= len(labels)]:
            warnings.append(Problem(root, None, f"{name}: classes {sorted(set(odd))} are none of {len(labels)}"))
        if len(shown) < examples and rows:
            spans = [Activity(k, a, b, 1.0) for k, a, b in rows if k < len(labels)]
            end = durations.get(name) or max(b for _, _, b in rows)
            shown.append((timeline(spans, labels, end), name))
    return Report(root, aicity_drives.NAME, dict(counts), tuple(problems), tuple(warnings), tuple(shown))
