"""Looks through videos with spans before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import layouts
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.datasets.untrimmed import Recording, Untrimmed
from percepta.media import video
from percepta.systems.actions.predict import timeline
from percepta.systems.actions.suppress import Segments, overlaps

FEW = 10  # spans of a class below which it is hard to learn


class Report(PictureFindings):
    """What `check` found. Its examples are timelines."""

    shown = "video"


def check(root: Path | str, *, examples: int = 12, progress: Progress | None = None) -> Report:
    """Reads the annotations and opens every video's head.

    Args:
        root: a folder of videos or features with annotations.
        examples: how many timelines the contact sheet will show.
        progress: called with (videos done, videos in all).

    Raises:
        MissingFileError, InputError: no such path, or nothing that is known. What is wrong inside is in the findings.
    """
    root = Path(root)
    found = layouts.find_one(root, Untrimmed)
    data = found.read(found.root)
    labels = data.labels()
    problems, warnings = list(data.problems), []
    counts: Counter[str] = Counter({"videos": len(data.recordings)})
    per_class = Counter(label for one in data.recordings for label in one.labels)
    shown: list[tuple[Image.Image, str]] = []
    for i, one in enumerate(data.recordings):
        counts["spans"] += len(one.labels)
        duration = one.duration_s
        if one.video is None and one.features is None:
            problems.append(Problem(root, None, f"{one.name}: neither a video nor features of this name"))
        elif one.features is None and one.video is not None:
            with noting(problems, one.video):
                about = video.info(one.video)
                duration = duration or about.duration_s
                late = one.spans[:, 1] > about.duration_s + 0.5 if about.duration_s else np.zeros(0, bool)
                if late.any():
                    text = f"{int(late.sum())} spans end after the video, which has {about.duration_s:.1f} s"
                    problems.append(Problem(one.video, None, text))
        else:
            with noting(problems, root):
                one.read_features()
        warnings += [Problem(root, None, f"{one.name}: {text}") for text in odd(one)]
        if len(shown) < examples and len(one.labels):
            places = np.array([labels.index(label) for label in one.labels], np.int64)
            spans = Segments(one.spans, np.ones(len(places)), places)
            shown.append((timeline(spans, labels, duration or float(one.spans.max())), one.name))
        if progress is not None:
            progress(i + 1, len(data.recordings))
    counts["classes"] = len(labels)
    for label in labels:
        counts[f"of {label}"] = per_class[label]
        if per_class[label] < FEW:
            warnings.append(Problem(root, None, f"only {per_class[label]} spans of {label}"))
        near = [x for x in get_close_matches(label, labels, 2, 0.85) if x != label]
        if near and label < near[0]:
            warnings.append(Problem(root, None, f"two classes with almost one name: {label} and {near[0]}"))
    return Report(root, found.set.NAME, dict(counts), tuple(problems), tuple(warnings), tuple(shown))


def odd(one: Recording) -> list[str]:
    """What looks odd in a video: spans that overlap, or hold almost the whole video."""
    out = []
    if len(one.labels) > 1:
        both = np.triu(overlaps(one.spans, one.spans), 1) > 0.01
        same = np.array([[a == b for b in one.labels] for a in one.labels])
        if (both & same).any():
            out.append(f"{int((both & same).sum())} pairs of spans of one class overlap")
        if (both & ~same).any():
            out.append(f"{int((both & ~same).sum())} pairs of spans of different classes overlap")
    if not len(one.labels):
        out.append("no span")
    return out
