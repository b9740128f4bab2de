"""Photographs that demos are shown on: those that come with the package, and more where scikit-image is installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

MORE = 'More photographs come with scikit-image: `pip install "percepta[demo]"`.'  # for pages that show few
SHIPPED = Path(__file__).parents[1] / "assets" / "samples"


def photographs(names: Iterable[str]) -> list[Path]:
    """The files of these names that are here: of those that ship, else of scikit-image (extra `demo`).

    `astronaut.jpg`, `cat.jpg`, `coffee.jpg` and `rocket.jpg` always are.
    """
    spec = find_spec("skimage")
    folders = [SHIPPED, *(Path(where) / "data" for where in (spec and spec.submodule_search_locations) or ())]
    found = (next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names)
    return [path for path in found if path is not None]
