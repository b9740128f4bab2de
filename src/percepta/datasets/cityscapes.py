"""Cityscapes (Cordts et al. 2016): streets of 50 cities in fair weather by day, 19 classes.

Layout: leftImg8bit/<split>/<city>/<name>_leftImg8bit.png with gtFine/<split>/<city>/<name>_gtFine_labelTrainIds.png or
_gtFine_labelIds.png. Where both kinds of label maps are there, those with train ids count. Foggy Cityscapes and Rainy
Cityscapes keep their own folders of pictures and are not read.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.street_pictures import CITYSCAPES, StreetPicture, Values, numbered, pictures_in, with_labels
from percepta.files import subfolders

NAME = "Cityscapes"
FILES = "leftImg8bit/<split>/<city>/*_leftImg8bit.png with gtFine/<split>/<city>/*_labelTrainIds.png or *_labelIds.png"
# The label ids of the 19 classes, in their order; all others from −1 to 33 are void.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_IDS = numbered(len(CITYSCAPES))
IDS = Values({label: number for number, label in enumerate(LABEL_IDS)}, frozenset({255, *range(34)} - {*LABEL_IDS}))


def is_one(root: Path) -> bool:
    """Whether leftImg8bit/ holds a split with cities whose pictures end in _leftImg8bit."""
    return any(
        next((path.stem for path in pictures_in(city)), "").endswith("_leftImg8bit")
        for split in ("train", "val", "test")
        if (root / "leftImg8bit" / split).is_dir()
        for city in subfolders(root / "leftImg8bit" / split)[:1]
    )


def read(
    root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> list[StreetPicture]:
    """Every picture of the splits train, val and test.

    Args:
        root: folder with leftImg8bit/.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    out: list[StreetPicture] = []
    for split in ("train", "val", "test"):
        folder = root / "leftImg8bit" / split
        for city in subfolders(folder) if folder.is_dir() else []:
            truth = pictures_in(root / "gtFine" / split / city.name)
            labels, values = chosen_labels(truth, "_gtFine", "_leftImg8bit")
            for image, mask in with_labels(pictures_in(city), labels, problems, f"in {city}"):
                out.append(
                    StreetPicture(
                        image, mask, CITYSCAPES.name, values, "cityscapes", split, "day", f"cityscapes/{city.name}"
                    )
                )
    return out


def chosen_labels(files: list[Path], infix: str, ending: str) -> tuple[dict[str, Path], Values]:
    """({name of a picture: label file}, how they write classes): train ids where there are any, else label ids.

    Args:
        files: label files of one folder, of all kinds.
        infix: what stands before the kind, such as "_gtFine".
        ending: what a picture's name has instead, such as "_leftImg8bit".
    """
    for kind, values in (("_labelTrainIds", TRAIN_IDS), ("_labelIds", IDS)):
        found = {
            path.stem.removesuffix(infix + kind) + ending: path for path in files if path.stem.endswith(infix + kind)
        }
        if found:
            return found, values
    return {}, TRAIN_IDS


READS = {StreetPicture: read}
