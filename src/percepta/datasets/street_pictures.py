"""What every reader of labelled street pictures returns: a picture, its label map where there is one, its condition.

The readers (`READS[StreetPicture]` of the files of this package) have the form that `scene.py` describes. A label map
is read as class numbers of a label set, 255 where nothing is said of a pixel; files hold other values (label ids,
colours), and a `Values` says which class each of them is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from percepta.datasets.problem import Problem, noting
from percepta.errors import InputError, MissingFileError
from percepta.files import listed, subfolders
from percepta.media import image
from percepta.media.image import SUFFIXES

VOID = 255  # a pixel of which nothing is said
CONDITIONS = ("day", "dusk", "night", "fog", "rain", "snow")
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSet:
    """Classes that belong together.

    Attributes:
        name: of the set.
        classes: their names; the place is the class number.
        colours: RGB of each, to draw them.
        things: those that move or can be counted; the others are what the street is made of.
        drivable: those that a car may stand on.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    things: tuple[str, ...]
    drivable: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def number(self, name: str) -> int:
        """The class of a name.

        Raises:
            InputError: there is no such class; names those that there are.
        """
        if name not in self.classes:
            raise InputError(f"{self.name} has no class {name!r}; it has: {', '.join(self.classes)}")
        return self.classes.index(name)


CAMVID = LabelSet(
    "camvid",
    ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    ((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
     (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
    ("sign", "car", "pedestrian", "bicyclist"),
    ("road",),
)  # fmt: skip
CITYSCAPES = LabelSet(
    "cityscapes",
    ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
     "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
     (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
     (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ("traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ("road",),
)  # fmt: skip
IDD_LITE = LabelSet(
    "idd-lite",
    ("drivable", "non-drivable", "living things", "vehicles", "roadside objects", "far objects", "sky"),
    ((128, 64, 128), (244, 35, 232), (220, 20, 60), (0, 0, 142), (220, 220, 0), (70, 70, 70), (70, 130, 180)),
    ("living things", "vehicles"),
    ("drivable",),
)  # fmt: skip
LABEL_SETS: dict[str, LabelSet] = {one.name: one for one in (CAMVID, CITYSCAPES, IDD_LITE)}

# Which classes of a set are a class of another one, for those whose names differ. A class that stands for several is
# any of them.
MERGED: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("camvid", "idd-lite"): {
        "drivable": ("road",),
        "non-drivable": ("pavement",),
        "living things": ("pedestrian", "bicyclist"),
        "vehicles": ("car", "bicyclist"),
        "roadside objects": ("pole", "sign", "fence"),
        "far objects": ("building", "tree"),
        "sky": ("sky",),
    },
    ("camvid", "cityscapes"): {
        "road": ("road",),
        "sidewalk": ("pavement",),
        "building": ("building",),
        "fence": ("fence",),
        "pole": ("pole",),
        "traffic sign": ("sign",),
        "vegetation": ("tree",),
        "sky": ("sky",),
        "person": ("pedestrian",),
        "rider": ("bicyclist",),
        "car": ("car",),
    },
    ("cityscapes", "camvid"): {
        "sky": ("sky",),
        "building": ("building", "wall"),
        "pole": ("pole",),
        "road": ("road",),
        "pavement": ("sidewalk",),
        "tree": ("vegetation", "terrain"),
        "sign": ("traffic sign", "traffic light"),
        "fence": ("fence",),
        "car": ("car", "truck", "bus", "train"),
        "pedestrian": ("person",),
        "bicyclist": ("rider", "bicycle", "motorcycle"),
    },
    ("cityscapes", "idd-lite"): {
        "drivable": ("road",),
        "non-drivable": ("sidewalk", "terrain"),
        "living things": ("person", "rider"),
        "vehicles": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
        "roadside objects": ("wall", "fence", "pole", "traffic light", "traffic sign"),
        "far objects": ("building", "vegetation"),
        "sky": ("sky",),
    },
}


@dataclass(frozen=True)
class Values:
    """How label files write classes.

    Attributes:
        classes: {value of a pixel: class}; a value of colours is red · 65536 + green · 256 + blue.
        void: values that say nothing of a pixel.
        colours: whether files hold colours instead of one value a pixel.
    """

    classes: Mapping[int, int]
    void: frozenset[int] = frozenset({VOID})
    colours: bool = False

    def numbers(self, values: Int64[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Class numbers of the values of a file; VOID where a value is no class."""
        if self.colours:
            known = np.array(sorted(self.classes), np.int64)
            place = np.searchsorted(known, values).clip(max=len(known) - 1)
            wanted = np.array([self.classes[int(value)] for value in known], np.uint8)
            return np.where(known[place] == values, wanted[place], np.uint8(VOID))
        table = np.full(256, VOID, np.uint8)
        for value, number in self.classes.items():
            table[value] = number
        return table[values.clip(0, 255)]

    def unknown(self, values: Int64[np.ndarray, "h w"]) -> list[int]:
        """Values that are neither a class nor void, in order."""
        found = np.unique(values)
        return [int(value) for value in found if int(value) not in self.classes and int(value) not in self.void]


@dataclass(frozen=True)
class StreetPicture:
    """A picture of a street.

    Attributes:
        image: its file.
        labels: file of its label map; None where there is none.
        label_set: name of the classes, in LABEL_SETS.
        values: how the label file writes them.
        source: short name of the data set.
        split: the official split; "" where the set has none.
        condition: light and weather, one of CONDITIONS; "" where nothing is known.
        drive: what is never divided between training and testing.
        reference: a picture of nearly the same view in fair weather; None where there is none.
    """

    image: Path
    labels: Path | None
    label_set: str
    values: Values
    source: str
    split: str = ""
    condition: str = "day"
    drive: str = ""
    reference: Path | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.image.stem

    def read_labels(self) -> UInt8[np.ndarray, "h w"] | None:
        """The class of each pixel, VOID where nothing is said; None where there is no label map.

        Raises:
            MissingFileError, InputError: the file is gone or is no label map.
        """
        return None if self.labels is None else self.values.numbers(read_values(self.labels, self.values.colours))


def read_values(path: Path, colours: bool = False) -> Int64[np.ndarray, "h w"]:
    """What a label file holds: one number a pixel, for colours red · 65536 + green · 256 + blue.

    Raises:
        MissingFileError: there is no such file.
        InputError: it cannot be read, or has colours where one value a pixel is expected.
    """
    picture = image.load(path)
    if colours:
        pixels = np.asarray(picture.convert("RGB")).astype(np.int64)
        return pixels[..., 0] * 65536 + pixels[..., 1] * 256 + pixels[..., 2]
    if picture.mode not in ("1", "L", "P", "I;16", "I"):
        raise InputError(f"{path}: a label map has one value a pixel (grey or indexed), this picture is {picture.mode}")
    return np.asarray(picture).astype(np.int64)


def packed(colour: Colour) -> int:
    """A colour as one number."""
    return colour[0] * 65536 + colour[1] * 256 + colour[2]


def numbered(count: int, void: int = VOID) -> Values:
    """The values of files that hold class numbers: 0 to count − 1; the label `void` says nothing."""
    return Values({number: number for number in range(count)}, frozenset({void, VOID}))


def merging(own: LabelSet, other: LabelSet) -> Int64[np.ndarray, "other own"]:
    """1 where a class of `own` may be a class of `other`; each class is its own where both sets are the same.

    Raises:
        InputError: nobody has said how the two belong together.
    """
    if own.name == other.name:
        return np.eye(len(own), dtype=np.int64)
    if (own.name, other.name) not in MERGED:
        raise InputError(f"labels of {other.name} cannot be compared with classes of {own.name}")
    out = np.zeros((len(other), len(own)), np.int64)
    for name, parts in MERGED[own.name, other.name].items():
        out[other.number(name), [own.number(part) for part in parts]] = 1
    return out


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name; none where there is no such folder."""
    return list(listed(folder, endings=SUFFIXES)) if folder.is_dir() else []


def pictures_below(folder: Path) -> list[Path]:
    """The picture files of a folder and of its sub-folders, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return [*pictures_in(folder), *(path for inner in subfolders(folder) for path in pictures_below(inner))]


def with_labels(
    pictures: Sequence[Path], labels: Mapping[str, Path], problems: list[Problem] | None, what: str
) -> list[tuple[Path, Path | None]]:
    """Each picture with the label map of its name, None for none; label maps without a picture are problems.

    Args:
        pictures: files.
        labels: {name of a picture: label file}.
        problems: a list to add to; None: the first is raised.
        what: what the label maps' names are made of, for the message.
    """
    known = {path.stem for path in pictures}
    for name in sorted(set(labels) - known):
        with noting(problems, labels[name]):
            raise MissingFileError(f"{labels[name]}: a label map without a picture: no {name}.* {what}")
    return [(path, labels.get(path.stem)) for path in pictures]
