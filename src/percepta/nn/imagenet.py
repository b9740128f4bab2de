"""The names of ImageNet's thousand classes (the list of open_clip, MIT). Needs no PyTorch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

COUNT = 1000
_FILE = Path(__file__).parent.parent / "assets" / "imagenet-classes.txt"


@cache
def names() -> tuple[str, ...]:
    """The 1000 names in the order of the classes, as the list has them: two names stand in it twice."""
    return tuple(_FILE.read_text(encoding="utf-8").splitlines())


@cache
def classes() -> tuple[str, ...]:
    """The same with no name twice: of two classes of one name the second has " (2)" behind it."""
    found: dict[str, None] = {}
    for name in names():
        found[f"{name} (2)" if name in found else name] = None
    return tuple(found)
