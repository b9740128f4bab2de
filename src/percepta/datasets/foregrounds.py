"""Pictures of one thing with its foreground mask: horses (Weizmann; Borenstein & Ullman 2002) and people.

Layout: <name>s/images/*, <name>s/masks/<stem>.png.
"""

from __future__ import annotations

from pathlib import Path

from percepta.datasets.scene import PngMask, Region, Scene

NAMES = {"horses": "horse", "people": "person"}


def read(root: Path) -> list[Scene]:
    """One scene a picture, one region that holds every object of its folder's name."""
    out = []
    for folder, name in NAMES.items():
        for image in sorted((root / folder / "images").iterdir()):
            region = Region(PngMask(root / folder / "masks" / f"{image.stem}.png"), name, every=True)
            out.append(Scene(image, (region,), folder, f"{folder}/{image.stem}"))
    return out
