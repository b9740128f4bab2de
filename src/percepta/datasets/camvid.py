"""CamVid (Brostow et al. 2008): street videos of one car in Cambridge, 11 classes as SegNet and later work use them.

Layouts: train/, val/, test/ and dusk/, each with images/ and labels/ (class numbers, 11: void), as a copy of reduced
size has them; the SegNet tutorial's train/ and trainannot/ (val, test alike; class numbers); and the official one,
701_StillsRaw_full/ with LabeledApproved_full/<name>_L.png, whose colours are 32 classes that are joined to 11. The
drive 0001TP is at dusk; its label maps are never used for training.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.street_pictures import (
    CAMVID,
    VOID,
    Colour,
    StreetPicture,
    Values,
    numbered,
    packed,
    pictures_in,
    with_labels,
)

NAME = "CamVid"
FILES = (
    "train/, val/, test/, dusk/ with images/ and labels/, or train/ and trainannot/ (val, test), or "
    "701_StillsRaw_full/ with LabeledApproved_full/"
)
PARTS = ("train", "val", "test", "dusk")
DUSK = "0001TP"  # the drive at dusk
CHOSEN = 7890  # the last picture of that drive by which settings are chosen; later ones are for one report
# The 32 classes by which of the 11 they belong to (as in the SegNet tutorial); Void and what is not here: void.
OFFICIAL: dict[str, tuple[Colour, ...]] = {
    "sky": ((128, 128, 128),),
    "building": ((0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)),
    "pole": ((192, 192, 128), (0, 0, 64)),
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    "tree": ((128, 128, 0), (192, 192, 0)),
    "sign": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
}
NUMBERS = numbered(len(CAMVID), 11)
COLOURS = Values(
    {packed(colour): CAMVID.number(name) for name, colours in OFFICIAL.items() for colour in colours},
    frozenset({packed((0, 0, 0)), VOID}),
    colours=True,
)


def is_one(root: Path) -> bool:
    """Whether one of the layouts is there."""
    if (root / "701_StillsRaw_full").is_dir() and (root / "LabeledApproved_full").is_dir():
        return True
    if (root / "train").is_dir() and (root / "trainannot").is_dir():
        return True
    there = [root / part for part in PARTS if (root / part / "images").is_dir()]
    return any(_like_camvid(part) for part in there)


def read(
    root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> list[StreetPicture]:
    """Every picture. Those at dusk are "val" up to CHOSEN and "test" after it.

    Args:
        root: folder in one of the layouts.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    if (root / "701_StillsRaw_full").is_dir():
        pictures = pictures_in(root / "701_StillsRaw_full")
        labels = {path.stem.removesuffix("_L"): path for path in pictures_in(root / "LabeledApproved_full")}
        pairs = with_labels(pictures, labels, problems, "in 701_StillsRaw_full")
        # the usual division goes by drives: Seq05VD and the dusk for testing, what SegNet calls val is in 0016E5
        return [_picture(image, mask, "test" if image.stem.startswith("Seq05") else "train", COLOURS)
                for image, mask in pairs]  # fmt: skip
    out: list[StreetPicture] = []
    for part in PARTS:
        images, masks = root / part / "images", root / part / "labels"
        if not images.is_dir():
            images, masks = root / part, root / f"{part}annot"
        labels = {path.stem: path for path in pictures_in(masks)}
        for image, mask in with_labels(pictures_in(images), labels, problems, f"in {images}"):
            out.append(_picture(image, mask, part, NUMBERS))
    return out


def _like_camvid(part: Path) -> bool:
    first = next(iter(pictures_in(part / "images")), None)
    return first is not None and first.stem.startswith((DUSK, "0006R0", "0016E5", "Seq05"))


def _picture(image: Path, labels: Path | None, split: str, values: Values) -> StreetPicture:
    drive, _, number = image.stem.partition("_")
    condition = "day"
    if drive == DUSK:
        digits = "".join(letter for letter in number if letter.isdigit())
        condition, split = "dusk", "val" if not digits or int(digits) <= CHOSEN else "test"
    return StreetPicture(image, labels, CAMVID.name, values, "camvid", split, condition, f"camvid/{drive}")


READS = {StreetPicture: read}
