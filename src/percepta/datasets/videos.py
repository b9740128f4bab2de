"""What every reader of videos with marked objects returns: the frames, the masks that there are, the objects.

The readers (`READS[Video]` of the files of this package) have the form that `scene.py` describes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError
from percepta.files import is_system_file, listed, write_atomically
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
        given: the frame in which each object's mask is given, {id: number of the frame}; empty where the masks tell.
        later: where the masks tell: whether objects of later masks are given there; otherwise only the first counts.
        counted: the frames in which each object is compared, {id: numbers}; empty for those with a mask in which it
            is not given.
        drop_last: whether the last frame does not count either, as in DAVIS; where `counted` is empty.
        categories: what each object is, {id: name}; empty where the set does not say.
        seen: whether each object's category is one of the training videos', {id: whether}; empty where nobody knows.
        wanted: the numbers of the frames whose masks are asked for; empty: all.
        binary: whether masks only say "foreground": every value but 0 is object 1.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    source: str
    split: str = ""
    given: Mapping[int, int] = field(default_factory=dict)
    later: bool = False
    counted: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    drop_last: bool = False
    categories: Mapping[int, str] = field(default_factory=dict)
    seen: Mapping[int, bool] = field(default_factory=dict)
    wanted: tuple[int, ...] = ()
    binary: bool = False

    @property
    def group(self) -> str:
        """What is never divided between training and testing."""
        return f"{self.source}/{self.name}"

    @property
    def marked(self) -> tuple[int, ...]:
        """The numbers of the frames that have a mask."""
        return tuple(i for i, path in enumerate(self.masks) if path is not None)

    def mask(self, frame: int) -> UInt8[np.ndarray, "h w"] | None:
        """The object of each pixel: 0 none, 1 .. 254 an object's id, 255 not known; None where there is no mask."""
        path = self.masks[frame]
        return None if path is None else read_mask(path, self.binary)

    def first_frames(self) -> dict[int, int]:
        """{id: the frame in which the object is given}, the earliest first.

        Raises:
            InputError: no frame has a mask, or no object is in the first one.
        """
        if self.given:
            return dict(sorted(self.given.items(), key=lambda entry: (entry[1], entry[0])))
        if not self.marked:
            raise InputError(
                f"{self.frames[0].parent if self.frames else self.name}: no frame of this video has a mask"
            )
        out: dict[int, int] = {}
        for frame in self.marked if self.later else self.marked[:1]:
            for number in objects(self.mask(frame)):
                out.setdefault(number, frame)
            if not out:
                raise InputError(f"{self.masks[frame]}: the first mask is empty; it has to show what is followed")
        return out

    def compared(self) -> dict[int, tuple[int, ...]]:
        """{id: the numbers of the frames in which its prediction is compared with the truth}."""
        if self.counted:
            return {number: tuple(f for f in frames if self.masks[f]) for number, frames in self.counted.items()}
        last = len(self.frames) - 1 if self.drop_last else len(self.frames)
        return {
            number: tuple(f for f in self.marked if first < f < last) for number, first in self.first_frames().items()
        }


def objects(mask: UInt8[np.ndarray, "h w"] | None) -> list[int]:
    """The ids that a mask shows."""
    return [] if mask is None else [int(value) for value in np.unique(mask) if 0 < value < VOID]


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
    values = np.unique(read_mask(path))
    with Image.open(path) as picture:
        if picture.mode == "1":
            return True
    return values.tolist() in ([0, VOID], [VOID])


def frames_and_masks(
    pictures: Path, masks: Path, problems: list[Problem] | None = None
) -> tuple[tuple[Path, ...], tuple[Path | None, ...]]:
    """The frames of a folder, and for each the mask of its name in another folder.

    Args:
        pictures: folder of the frames.
        masks: folder of the PNG masks; it may be missing.
        problems: a list to which masks without a frame are added; None: the first is raised.

    Raises:
        MissingFileError: there are no frames.
    """
    frames = tuple(path for path in listed(pictures) if path.suffix.lower() in SUFFIXES)
    if not frames:
        raise MissingFileError(f"{pictures}: a video without frames")
    there = {path.stem: path for path in listed(masks) if path.suffix.lower() == ".png"} if masks.is_dir() else {}
    lost = sorted(set(there) - {path.stem for path in frames})
    if lost:
        text = f"a mask for a frame that is not there: {pictures} has no {lost[0]}"
        text += f", nor the frames of {len(lost) - 1} more masks" if len(lost) > 1 else ""
        if problems is None:
            raise InputError(f"{there[lost[0]]}: {text}")
        problems.append(Problem(there[lost[0]], None, text))
    return frames, tuple(there.get(path.stem) for path in frames)


def palette() -> list[int]:
    """The 256 colours of indexed masks as PASCAL VOC has them, the first 22 nearly DAVIS's: red, green, blue in turn.

    The bits of an index go to the channels in turn, the lowest ones into the highest bits of the colour.
    """
    out = []
    for index in range(256):
        colour = [0, 0, 0]
        for place in range(8):
            colour[place % 3] |= (index >> place & 1) << (7 - place // 3)
        out += colour
    return out


def write_mask(path: Path, labels: UInt8[np.ndarray, "h w"]) -> Path:
    """A label map as an indexed PNG with the colours of DAVIS, whole or not at all."""
    picture, content = Image.fromarray(labels), io.BytesIO()
    picture = picture.convert("P") if picture.mode != "P" else picture
    picture.putpalette(palette())
    picture.save(content, "PNG", optimize=False)
    return write_atomically(path, content.getvalue())


def result_file(results: Path, video: Video, frame: int) -> Path:
    """Where the servers look for the mask of a frame: DIR/<video>/<frame>.png; YouTube-VOS: in DIR/Annotations/.

    Args:
        results: the folder DIR.
        video: of the data set.
        frame: number of the frame.
    """
    folder = results / "Annotations" if video.source == "youtube-vos" else results
    return folder / video.name / f"{video.frames[frame].stem}.png"


def results_folder(results: Path, video: Video) -> Path | None:
    """The folder of a video in somebody's results: in DIR, DIR/Annotations or DIR/480p; None where there is none."""
    for part in ("", "Annotations", "480p", "Annotations/480p"):
        if (results / part / video.name).is_dir():
            return results / part / video.name
    return None


def folders(root: Path) -> list[Path]:
    """The sub-folders of a folder by name, without those that systems leave there."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_system_file(path))
