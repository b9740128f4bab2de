"""What every reader of videos with marked objects returns: the frames, the masks that there are, the objects.

The readers (`READS[Video]` of the files of this package) have the form that `scene.py` describes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.files import listed
from percepta.media.image import SUFFIXES

VOID = 255  # a pixel of which nobody says whose it is


@dataclass(frozen=True)
class Video:
    """A video some of whose frames have masks.

    Attributes:
        name: its name in the data set.
        frames: the picture files in their order.
        masks: the mask file of each frame, None where there is none.
        source: short name of the data set.
        split: the official split; "" where the set has none.
        given: the frame in which each object's mask is given, {id: number of the frame}; empty where the masks tell:
            the objects of the first mask.
        categories: what each object is, {id: name}; empty where the set does not say.
        binary: whether masks only say "foreground": every value but 0 is object 1.
        wanted: the numbers of the frames whose masks are asked for; empty: all.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    source: str
    split: str = ""
    given: Mapping[int, int] = field(default_factory=dict)
    categories: Mapping[int, str] = field(default_factory=dict)
    binary: bool = False
    wanted: tuple[int, ...] = ()

    @property
    def group(self) -> str:
        """What is never divided between training and testing."""
        return f"{self.source}/{self.name}"

    def mask(self, frame: int) -> UInt8[np.ndarray, "h w"] | None:
        """The object of each pixel: 0 none, 1 .. 254 an object's id, 255 not known; None where there is no mask."""
        path = self.masks[frame]
        return None if path is None else read_mask(path, self.binary)

    def first_frames(self) -> dict[int, int]:
        """{id: the frame in which the object is given}; where the set does not say, the objects of the first mask.

        Raises:
            InputError: there is no mask, or no object in the first one.
        """
        if self.given:
            return dict(self.given)
        start = next((i for i, path in enumerate(self.masks) if path is not None), None)
        if start is None:
            raise InputError(f"{self.frames[0].parent}: no frame of this video has a mask")
        mask = self.mask(start)
        ids = [] if mask is None else [int(value) for value in np.unique(mask) if 0 < value < VOID]
        if not ids:
            raise InputError(f"{self.masks[start]}: the first mask is empty; it has to show what is followed")
        return dict.fromkeys(ids, start)


def read_mask(path: Path, binary: bool = False) -> UInt8[np.ndarray, "h w"]:
    """The object of each pixel from an indexed or grey PNG; with `binary` every value but 0 is object 1.

    Raises:
        MissingFileError: there is no such file.
        InputError: it cannot be read, holds colours instead of indices, or ids above 255.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such mask")
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            values = np.asarray(
                picture.convert("L") if binary and mode not in ("1", "L", "P", "I;16", "I") else picture
            )
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: the mask cannot be read ({error})") from None
    if values.ndim == 3:
        raise InputError(f"{path}: a mask has one value a pixel (indexed or grey), this picture is {mode}")
    if binary:
        return (values > 0).astype(np.uint8)
    if values.dtype != np.uint8 and values.size and int(values.max()) > VOID:
        raise InputError(f"{path}: ids go from 1 to 254 (255: not known); the largest here is {int(values.max())}")
    return values.astype(np.uint8)


def is_binary(path: Path) -> bool:
    """Whether a mask has black and white only, so that white is one object (DAVIS-2016), not object 255."""
    with Image.open(path) as picture:
        if picture.mode == "1":
            return True
    values = np.unique(read_mask(path))
    return bool(len(values)) and values.max() == VOID and len(values) <= 2 and values.min() in (0, VOID)


def frames_and_masks(
    pictures: Path, masks: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> tuple[tuple[Path, ...], tuple[Path | None, ...]]:
    """The frames of a folder, and for each the mask of its name in another folder.

    Args:
        pictures: folder of the frames.
        masks: folder of the PNG masks; it may be missing.
        problems: a list to which masks without a frame are added; None: the first is raised.
        warnings: not used; as all readers have it.
    """
    frames = tuple(path for path in listed(pictures) if path.suffix.lower() in SUFFIXES)
    there = {path.stem: path for path in listed(masks) if path.suffix.lower() == ".png"} if masks.is_dir() else {}
    lost = sorted(set(there) - {path.stem for path in frames})
    if lost:
        text = f"a mask for a frame that is not there: {pictures} has no {lost[0]}"
        text += f", nor the frames of {len(lost) - 1} more masks" if len(lost) > 1 else ""
        if problems is None:
            raise InputError(f"{there[lost[0]]}: {text}")
        problems.append(Problem(there[lost[0]], None, text))
    return frames, tuple(there.get(path.stem) for path in frames)


def of_split(videos: Sequence[Video], split: str) -> list[Video]:
    """The videos of an official split, in their order; all of them for "all".

    Raises:
        InputError: there are none; names the splits that are there.
    """
    out = [video for video in videos if split in ("all", video.split)]
    if not out:
        there = ", ".join(sorted({video.split for video in videos if video.split})) or "none"
        raise InputError(f"no video of the split {split!r}; the splits that are there: {there}")
    return out


def folders(root: Path) -> list[Path]:
    """The sub-folders of a folder by name."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def names(videos: Iterable[Video]) -> list[str]:
    """The names of some videos."""
    return [video.name for video in videos]
