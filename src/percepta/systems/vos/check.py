"""Looks through a folder before training: videos, frames, masks and objects, what is wrong and what looks odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.datasets import layouts
from percepta.datasets.findings import PictureFindings
from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import Scene
from percepta.datasets.videos import Video, objects
from percepta.media import image
from percepta.systems.vos import MAX_OBJECTS
from percepta.systems.vos.clips import Marked
from percepta.systems.vos.data import marked_in, videos
from percepta.systems.vos.predict import drawn
from percepta.systems.vos.sequences import NEAR

UNJUDGED = "a training is not evaluated, and `percepta evaluate vos` needs other data or --split all"


class Report(PictureFindings):
    """What `check` found. Its examples are the first frames with a mask, and single pictures, with their objects."""

    shown = "picture with a good mask"


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads every mask once, the size of every frame, and every single picture with its masks.

    Args:
        root: a folder of videos with masks, of pictures with masks, or with several such folders in it.
        examples: how many the contact sheet will show.
        progress: called with (videos and pictures done, how many there are).

    Raises:
        MissingFileError, InputError: no such folder; no set that is known. What is wrong inside is in the findings.
    """
    root = Path(root)
    found = layouts.find(root, Video, Scene)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    items: list[Video | Marked] = []
    for one in found:
        with noting(problems, one.root):
            own = one.read(one.root, problems, warnings)
            items += own if one.kind is Video else [m for scene in own if (m := marked_in(scene)) is not None]
    good: list[tuple[Video | Marked, int]] = []
    counts = dict.fromkeys(("videos", "frames", "masks", "objects in videos", "pictures", "objects in pictures"), 0)
    for done, item in enumerate(items, 1):
        if isinstance(item, Video):
            counts["videos"] += 1
            counts["frames"] += len(item.frames)
            counts["masks"] += len(item.marked)
            count, fine = _video(item, problems, warnings)
            counts["objects in videos"] += count
            if fine:
                good.append((item, item.marked[0]))
        else:
            counts["pictures"] += 1
            counts["objects in pictures"] += len(item.masks)
            if _picture(item, problems, warnings):
                good.append((item, 0))
        if progress is not None:
            progress(done, len(items))
    if items and not any(isinstance(item, Video) for item in items):
        warnings.append(Problem(root, None, f"no video at all: {UNJUDGED}"))
    elif not problems and not videos(root, "val"):
        warnings.append(Problem(root, None, f"no video of the split 'val': {UNJUDGED}"))
    chosen = np.linspace(0, len(good) - 1, min(examples, len(good))).astype(int)
    shown = tuple(_example(*good[place]) for place in chosen)
    names = " and ".join(dict.fromkeys(one.set.NAME for one in found))
    there = {name: number for name, number in counts.items() if number}
    return Report(root, names, there, tuple(problems), tuple(warnings), shown)


def _video(video: Video, problems: list[Problem], warnings: list[Problem]) -> tuple[int, bool]:
    """Notes what is wrong with a video; the number of its objects, and whether it can be used."""
    before = len(problems)
    size = _sizes(video, problems)
    if len(video.frames) == 1:
        warnings.append(Problem(video.frames[0], None, "a video with one frame: there is nothing to follow"))
    ids: set[int] = set()
    for frame in video.marked:
        path = video.masks[frame]
        assert path is not None  # `marked` says so
        with noting(problems, path):
            mask = video.mask(frame)
            assert mask is not None
            if size is not None and mask.shape != size:
                _fits(path, mask.shape, size, problems, warnings)
            ids |= set(objects(mask))
    with noting(problems, video.frames[0].parent):
        first = video.first_frames()
        for number, frame in first.items():
            if frame in video.marked and number not in objects(video.mask(frame)):
                text = f"object {number} is given in this frame, but the mask does not show it"
                problems.append(Problem(video.masks[frame] or video.frames[frame], None, text))
            elif frame not in video.marked:
                problems.append(
                    Problem(video.frames[frame], None, f"object {number} is given in this frame, without mask")
                )
        if strange := sorted(ids - set(first)):
            text = f"masks show the objects {_ids(strange)}, which are given nowhere; they are not followed"
            warnings.append(Problem(video.frames[0].parent, None, text))
        if len(first) > MAX_OBJECTS:
            text = f"{len(first)} objects; at most {MAX_OBJECTS} are followed at once"
            problems.append(Problem(video.frames[0].parent, None, text))
    return len(ids), len(problems) == before


def _sizes(video: Video, problems: list[Problem]) -> tuple[int, int] | None:
    """The size of the frames; notes frames that cannot be opened, and those of another size."""
    size: tuple[int, int] | None = None
    other: list[Path] = []
    for path in video.frames:
        with noting(problems, path):
            found = image.size(path)
            size = size or found
            if found != size:
                other.append(path)
    if other and size is not None:
        text = f"{_said(image.size(other[0]))} pixels, but the first frame has {_said(size)}"
        text += f"; {len(other) - 1} more frames like it" if len(other) > 1 else ""
        problems.append(Problem(other[0], None, f"{text}: frames of a video have one size"))
    return size


def _fits(
    path: Path, shape: tuple[int, ...], size: tuple[int, int], problems: list[Problem], warnings: list[Problem]
) -> None:
    """Notes a mask of another size than its frame: a warning where it differs by a pixel or so."""
    text = f"the mask has {_said(shape)} pixels, its frame {_said(size)}"
    near = all(abs(a - b) <= max(1, NEAR * b) for a, b in zip(shape, size, strict=True))
    if near:
        warnings.append(Problem(path, None, f"{text}: it is resized"))
    else:
        problems.append(Problem(path, None, f"{text}: masks have the size of the frames"))


def _picture(marked: Marked, problems: list[Problem], warnings: list[Problem]) -> bool:
    """Notes what is wrong with a single picture; whether it can be used."""
    before = len(problems)
    with noting(problems, marked.picture):
        _, labels = marked.read()
        if not bool((labels > 0).any()):
            warnings.append(Problem(marked.picture, None, "nothing is marked in this picture"))
            return False
    return len(problems) == before


def _example(item: Video | Marked, frame: int) -> tuple[Image.Image, str]:
    """A picture with its objects drawn, and what it is."""
    if isinstance(item, Marked):
        pixels, labels = (value.numpy() for value in item.read())
        pixels, name = pixels.transpose(1, 2, 0), item.picture.name
    else:
        pixels = image.to_bytes(image.read(item.frames[frame], long_side=640).permute(1, 2, 0)).numpy()
        mask = item.mask(frame)
        assert mask is not None  # the frame was chosen for it
        size = (pixels.shape[1], pixels.shape[0])
        labels = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        name = f"{item.name}: {len(item.frames)} frames, {len(objects(mask))} objects in the first mask"
    return drawn(np.ascontiguousarray(pixels), labels, objects(labels)), name


def _said(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"


def _ids(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
