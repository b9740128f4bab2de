"""Videos of one's own, made by hand: a folder of frames a video, and a mask for one frame or several.

    images/street/00000.jpg
    masks/street/00000.png    indexed or grey; every value but 0 (nothing) and 255 (not known) is an object

An object is given in the first mask that shows it. Masks in which it is not given are compared with what is predicted.
A mask of black and white only marks one object.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem, noting
from percepta.datasets.videos import Video, folders, frames_and_masks, is_binary
from percepta.errors import MissingFileError
from percepta.media.image import SUFFIXES

NAME = "videos of one's own"
FILES = "images/<video>/ (frames) with masks/<video>/ (PNG of the same name, for one frame or several)"


def is_one(root: Path) -> bool:
    """Whether images/ and masks/ hold a folder of the same name with pictures."""
    images, masks = root / "images", root / "masks"
    if not (images.is_dir() and masks.is_dir()):
        return False
    return any(
        (masks / folder.name).is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
        for folder in folders(images)
    )


def videos(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Video]:
    """One video a folder of images/.

    Args:
        root: folder with images/ and masks/.
        problems: a list to add to; None: the first problem is raised.
        warnings: gets the videos without masks; None: they are dropped.

    Raises:
        MissingFileError: a video has no frames.
        InputError: a mask for a frame that is not there.
    """
    out = []
    for folder in folders(root / "images"):
        masks = root / "masks" / folder.name
        with noting(problems, folder):
            frames, there = frames_and_masks(folder, masks, problems)
            first = next((path for path in there if path is not None), None)
            if first is not None:
                out.append(Video(folder.name, frames, there, "folder", later=True, binary=is_binary(first)))
            elif warnings is not None:
                warnings.append(Problem(masks, None, f"no mask for a frame of {folder}, so that it is left out"))
    if not out and not problems:
        raise MissingFileError(f"{root}: no video in images/ has a mask in masks/")
    return out


READS = {Video: videos}
