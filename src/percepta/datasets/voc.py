"""PASCAL-VOC pictures in which every object of one class is marked (the co-segmentation subset of VOC 2010).

Layout: images/<class>_<id>.webp, masks/<class>_<id>.png. Other classes may be in the picture, unmarked: nothing is
known to be absent.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.scene import PngMask, Region, Scene, with_masks
from percepta.files import listed
from percepta.media.image import SUFFIXES

NAME = "PASCAL VOC, co-segmentation"
FILES = "images/<class>_<id>.* with masks/<class>_<id>.png, a class being one of VOC's twenty"
NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
PREFIXES = {
    "aero": "aeroplane", "mbike": "motorbike", "monitor": "tv monitor", "plant": "potted plant",
    "table": "dining table",
}  # fmt: skip


def is_one(root: Path) -> bool:
    """Whether there are images/ and masks/, and the first picture is named after a class."""
    if not ((root / "images").is_dir() and (root / "masks").is_dir()):
        return False
    first = next((path.stem for path in listed(root / "images", endings=SUFFIXES)), "")
    return _name(first).split("_")[0] in NAMES and (root / "masks" / f"{first}.png").is_file()


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """One scene a picture, one region that holds every object of the class its name starts with.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    out = []
    for image, mask in with_masks(root / "images", root / "masks", problems):
        region = Region(PngMask(mask), _name(image.stem), every=True)
        out.append(Scene(image, (region,), "voc", f"voc/{image.stem}"))
    return out


def _name(stem: str) -> str:
    prefix = stem.rsplit("_", 1)[0]
    return PREFIXES.get(prefix, prefix)


READS = {Scene: read}
