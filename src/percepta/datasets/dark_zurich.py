"""Dark Zurich (Sakaridis et al. 2019): streets of Zurich by day, at twilight and at night, 19 classes as in Cityscapes.

Layout: rgb_anon/<split>/<day|twilight|night>/<drive>/<name>_rgb_anon.png; gt/val/night/<drive>/
<name>_gt_labelTrainIds.png; the same views by day in rgb_anon/val_ref/day/<drive>_ref/<name>_ref_rgb_anon.png. Only
val has label maps. The pairs of the training split stand in lists of others and are not read.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.cityscapes import chosen_labels
from percepta.datasets.problem import Problem
from percepta.datasets.street_pictures import CITYSCAPES, StreetPicture, pictures_below, with_labels
from percepta.files import subfolders

NAME = "Dark Zurich"
FILES = "rgb_anon/<split>/<day|twilight|night>/<drive>/*_rgb_anon.png with gt/val/night/"
LIGHT = {"day": "day", "twilight": "dusk", "night": "night"}
SPLITS = ("train", "val", "test")


def is_one(root: Path) -> bool:
    """Whether rgb_anon/ holds splits with folders of light in them."""
    return any((root / "rgb_anon" / split / light).is_dir() for split in SPLITS for light in LIGHT)


def read(
    root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> list[StreetPicture]:
    """Every picture of the splits train, val and test.

    Args:
        root: folder with rgb_anon/.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    out: list[StreetPicture] = []
    for split in SPLITS:
        references = {
            path.stem.removesuffix("_ref_rgb_anon"): path
            for path in pictures_below(root / "rgb_anon" / f"{split}_ref" / "day")
        }
        for light, condition in LIGHT.items():
            folder = root / "rgb_anon" / split / light
            for drive in subfolders(folder) if folder.is_dir() else []:
                truth = pictures_below(root / "gt" / split / light / drive.name)
                labels, values = chosen_labels(truth, "_gt", "_rgb_anon")
                for image, mask in with_labels(pictures_below(drive), labels, problems, f"in {drive}"):
                    reference = references.get(image.stem.removesuffix("_rgb_anon"))
                    group = f"dark-zurich/{drive.name}"
                    out.append(
                        StreetPicture(
                            image, mask, CITYSCAPES.name, values, "dark-zurich", split, condition, group, reference
                        )
                    )
    return out


READS = {StreetPicture: read}
