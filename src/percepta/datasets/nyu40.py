"""The 40 classes of NYU Depth v2 (Gupta et al. 2013) as ScanNet numbers them, and the smaller sets taken from them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer

NAMES = (
    "unlabelled", "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
    "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling",
    "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person",
    "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip

# ScanNet's benchmark counts twenty of them, in this order; in its instance task walls and floors are not counted.
SCANNET20 = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
SCANNET20_NAMES = tuple(NAMES[i] for i in SCANNET20)
STUFF = (1, 2)
THINGS = tuple(i for i, label in enumerate(SCANNET20) if label not in STUFF)  # places in SCANNET20 with instances

# PlaneMVS tells eleven classes apart (CVPR 2022); 0 is everything else.
PLANEMVS_NAMES = (
    "other", "wall", "chair", "floor", "door", "window", "table", "garbage bin", "pillow", "picture", "monitor",
    "cabinet",
)  # fmt: skip
# By NYU-40 class. Garbage bins and computer screens have no class of their own there: `planemvs_of` takes the name too.
_PLANEMVS_OF_NYU40 = {1: 1, 2: 3, 3: 11, 5: 2, 7: 6, 8: 4, 9: 5, 11: 9, 14: 6, 17: 11, 18: 8, 25: 10, 32: 11}
_PLANEMVS_OF_NAME = {"garbage bin": 7, "trash can": 7, "trash bin": 7, "monitor": 10}


def scannet20(labels: Integer[np.ndarray, "*any"], ignore: int = -1) -> Integer[np.ndarray, "*any"]:
    """NYU-40 labels 0..40 as places 0..19 in SCANNET20; labels that the benchmark leaves out become `ignore`."""
    table = np.full(len(NAMES), ignore, np.int64)
    table[list(SCANNET20)] = np.arange(len(SCANNET20))
    return table[labels]


def planemvs_of(label: int, name: str = "") -> int:
    """Place in PLANEMVS_NAMES of an object with this NYU-40 label; its own name decides where there is none for it."""
    return _PLANEMVS_OF_NAME.get(name, _PLANEMVS_OF_NYU40.get(label, 0))
