"""PASCAL-VOC pictures in which every object of one class is marked (the co-segmentation subset of VOC 2010).

Layout: images/<class>_<id>.webp, masks/<class>_<id>.png. Other classes may be in the picture, unmarked: nothing is
known to be absent.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.scene import PngMask, Region, Scene

NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
PREFIXES = {
    "aero": "aeroplane", "mbike": "motorbike", "monitor": "tv monitor", "plant": "potted plant",
    "table": "dining table",
}  # fmt: skip


def read(root: Path) -> list[Scene]:
    """One scene a picture, one region that holds every object of the class its name starts with."""
    out = []
    for image in sorted((root / "images").iterdir()):
        prefix = image.stem.rsplit("_", 1)[0]
        region = Region(PngMask(root / "masks" / f"{image.stem}.png"), PREFIXES.get(prefix, prefix), every=True)
        out.append(Scene(image, (region,), "voc", f"voc/{image.stem}"))
    return out
