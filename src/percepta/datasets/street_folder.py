"""A folder of street pictures of one's own: without labels, or with label maps of one of the known sets of classes.

Layout: pictures in the folder itself (nothing else is needed: they are what a network adapts to), or images/ with
labels/<name>.png; in labels/classes.txt stands the name of the classes' set (camvid, cityscapes, idd-lite), camvid
where that file is missing. Pictures of one's own have no known condition.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.problem import Problem
from percepta.datasets.street_pictures import CAMVID, LABEL_SETS, StreetPicture, numbered, pictures_in, with_labels
from percepta.errors import InputError
from percepta.files import read_text

NAME = "pictures of your own"
FILES = "pictures in the folder itself, or images/ with labels/<name>.png"


def is_one(root: Path) -> bool:
    """Whether pictures lie in the folder, or in its folder images/."""
    return root.is_dir() and bool(pictures_in(root) or pictures_in(root / "images"))


def read(
    root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> list[StreetPicture]:
    """Every picture; where there are label maps, those of their names.

    Args:
        root: the folder.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        InputError: labels/classes.txt names no known set.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    said = root / "labels" / "classes.txt"
    name = read_text(said).strip() if said.is_file() else CAMVID.name
    if name not in LABEL_SETS:
        raise InputError(f"{said}: the classes are those of {', '.join(LABEL_SETS)}, not {name[:40]!r}")
    labels = {path.stem: path for path in pictures_in(root / "labels")}
    values = numbered(len(LABEL_SETS[name]), 11 if name == CAMVID.name else 255)
    return [
        StreetPicture(image, mask, name, values, "own", "", "day" if mask else "", f"own/{root.name}")
        for image, mask in with_labels(pictures_in(folder), labels, problems, f"in {folder}")
    ]


READS = {StreetPicture: read}
