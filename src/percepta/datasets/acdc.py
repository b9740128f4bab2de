"""ACDC (Sakaridis et al. 2021): streets in fog, night, rain and snow, 19 classes as in Cityscapes.

Layouts: the official rgb_anon/<condition>/<split>/<drive>/<name>_rgb_anon.png with
gt/<condition>/<split>/<drive>/<name>_gt_labelTrainIds.png (or _gt_labelIds.png), and pictures of nearly the same view
in fair weather in rgb_anon/<condition>/<split>_ref/<drive>/<name>_rgb_ref_anon.png; and the flattened one of DAFormer
and HRDA, rgb_anon/<split>/ and gt/<split>/ with all files of a split in one folder (or in folders by drive). There the
condition is not told by the path and is "". Both may lie in rgb_anon_trainvaltest/ and gt_trainval/, the folders of
the archives.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.cityscapes import chosen_labels
from percepta.datasets.problem import Problem
from percepta.datasets.street_pictures import CITYSCAPES, StreetPicture, pictures_below, with_labels

NAME = "ACDC"
FILES = "rgb_anon/<fog|night|rain|snow>/<split>/<drive>/*_rgb_anon.png with gt/, or rgb_anon/<split>/ with gt/<split>/"
WEATHER = ("fog", "night", "rain", "snow")
SPLITS = ("train", "val", "test")


def is_one(root: Path) -> bool:
    """Whether rgb_anon/ holds folders of conditions or of splits."""
    return any((rgb / name).is_dir() for rgb, _ in _folders(root) for name in (*WEATHER, *SPLITS))


def _folders(root: Path) -> list[tuple[Path, Path]]:
    """Where pictures and label maps may lie: as they are joined, and as the two archives unpack."""
    return [
        (root / "rgb_anon", root / "gt"),
        (root / "rgb_anon_trainvaltest" / "rgb_anon", root / "gt_trainval" / "gt"),
    ]


def read(
    root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None
) -> list[StreetPicture]:
    """Every picture of the splits train, val and test, with its reference picture where there is one.

    Args:
        root: folder with rgb_anon/.
        problems: a list to add to; None: the first is raised.
        warnings: a list to add to; None: they are dropped.
    """
    out: list[StreetPicture] = []
    rgb, gt = next((pair for pair in _folders(root) if pair[0].is_dir()), _folders(root)[0])
    for condition in (*WEATHER, ""):
        for split in SPLITS:
            folder = rgb / condition / split
            if not folder.is_dir():
                continue
            references = {
                path.stem.removesuffix("_rgb_ref_anon"): path
                for path in pictures_below(folder.with_name(f"{split}_ref"))
                if path.stem.endswith("_rgb_ref_anon")
            }
            truth = pictures_below(gt / condition / split)
            labels, values = chosen_labels(truth, "_gt", "_rgb_anon")
            pictures = [path for path in pictures_below(folder) if path.stem.endswith("_rgb_anon")]
            for image, mask in with_labels(pictures, labels, problems, f"in {folder}"):
                drive = image.stem.partition("_frame")[0]
                reference = references.get(image.stem.removesuffix("_rgb_anon"))
                out.append(
                    StreetPicture(
                        image, mask, CITYSCAPES.name, values, "acdc", split, condition, f"acdc/{drive}", reference
                    )
                )
    return out


READS = {StreetPicture: read}
