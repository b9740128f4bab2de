"""IDD-Lite (Varma et al. 2019): roads in India, 7 classes of the first level.

Layouts: train/images/<drive>_<frame>_image.* with train/labels/<drive>_<frame>_label.png or of the picture's name (val
alike); and the official leftImg8bit/<split>/<drive>/<frame>_image.jpg with
gtFine/<split>/<drive>/<frame>_label.png. 0 drivable .. 6 sky, 255 void.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.street_pictures import (
    IDD_LITE,
    StreetPicture,
    numbered,
    pictures_below,
    pictures_in,
    with_labels,
)
from percepta.files import subfolders

NAME = "IDD-Lite"
FILES = "train/images/*_image.* with train/labels/, or leftImg8bit/<split>/<drive>/*_image.jpg with gtFine/"
SPLITS = ("train", "val", "test")
VALUES = numbered(len(IDD_LITE))


def is_one(root: Path) -> bool:
    """Whether there are pictures that end in _image."""
    return any(_first(root, split).endswith("_image") for split in SPLITS)


def read(
    root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> list[StreetPicture]:
    """Every picture; where only train/ is there, a fifth of the drives is "val".

    Args:
        root: folder in one of the layouts.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    out: list[StreetPicture] = []
    for split in SPLITS:
        folder = root / split / "images"
        official = root / "leftImg8bit" / split
        for drive in subfolders(official) if official.is_dir() else []:
            labels = _labels(root / "gtFine" / split / drive.name)
            for image, mask in with_labels(pictures_below(drive), labels, problems, f"in {drive}"):
                out.append(_picture(image, mask, split, drive.name))
        for image, mask in with_labels(pictures_in(folder), _labels(root / split / "labels"), problems, f"in {folder}"):
            out.append(_picture(image, mask, split, image.stem.partition("_")[0]))
    if {one.split for one in out} == {"train"}:
        out = [_with_split(one) for one in out]
    return out


def _first(root: Path, split: str) -> str:
    official = root / "leftImg8bit" / split
    drives = subfolders(official) if official.is_dir() else []
    folder = drives[0] if drives else root / split / "images"
    return next((path.stem for path in pictures_in(folder)), "")


def _labels(folder: Path) -> dict[str, Path]:
    found = {}
    for path in pictures_in(folder):
        if not path.stem.endswith("_inst_label"):
            found[path.stem.removesuffix("_label").removesuffix("_image") + "_image"] = path
    return found


def _picture(image: Path, labels: Path | None, split: str, drive: str) -> StreetPicture:
    return StreetPicture(image, labels, IDD_LITE.name, VALUES, "idd-lite", split, "day", f"idd-lite/{drive}")


def _with_split(one: StreetPicture) -> StreetPicture:
    return replace(one, split="val" if zlib.crc32(one.drive.encode()) % 5 == 0 else "train")


READS = {StreetPicture: read}
