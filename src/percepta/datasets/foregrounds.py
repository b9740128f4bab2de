"""Pictures of one thing with its foreground mask: horses (Weizmann; Borenstein & Ullman 2002) and people.

Layout: <name>s/images/*, <name>s/masks/<stem>.png.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.scene import PngMask, Region, Scene, with_masks

NAME = "foregrounds of horses and people"
FILES = "horses/ and people/, each with images/ and masks/"
NAMES = {"horses": "horse", "people": "person"}


def is_one(root: Path) -> bool:
    """Whether every folder of NAMES is there with its images/ and masks/."""
    return all((root / folder / part).is_dir() for folder in NAMES for part in ("images", "masks"))


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """One scene a picture, one region that holds every object of its folder's name.

    Args:
        root: folder of the set.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    out = []
    for folder, name in NAMES.items():
        for image, mask in with_masks(root / folder / "images", root / folder / "masks", problems):
            region = Region(PngMask(mask), name, every=True)
            out.append(Scene(image, (region,), folder, f"{folder}/{image.stem}"))
    return out


READS = {Scene: read}
