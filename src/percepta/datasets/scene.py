"""What every reader of labelled pictures returns: a picture and the regions in it that have a name or a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image


@runtime_checkable
class MaskSource(Protocol):
    """A mask that is read when it is asked for."""

    def read(self) -> Bool[np.ndarray, "h w"]: ...


@dataclass(frozen=True)
class PngMask:
    """The pixels of an indexed or grey PNG whose value is one of `values` (any value but 0 when empty)."""

    path: Path
    values: tuple[int, ...] = ()

    def read(self) -> Bool[np.ndarray, "h w"]:
        return self.select(self.load())

    def load(self) -> Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]:
        """The file's values, which all masks of one file share."""
        with Image.open(self.path) as picture:
            # An indexed picture keeps its indices; of colours and of transparency only the brightest colour counts.
            plain = picture if picture.mode in ("1", "L", "P", "I;16", "I") else picture.convert("RGB")
            pixels = np.asarray(plain)
        return pixels.max(-1) if pixels.ndim == 3 else pixels

    def select(self, pixels: Integer[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """The mask within the file's values."""
        return np.isin(pixels, self.values) if self.values else pixels > 0


@dataclass(frozen=True)
class Region:
    """One thing, or all things of one kind, in a picture.

    Attributes:
        mask: where it is, at the picture's stored size.
        name: its class in plain words ("dining table"); "" when unknown.
        sentences: what people wrote about it.
        every: whether the mask holds every object of that name, rather than one of them.
    """

    mask: MaskSource
    name: str = ""
    sentences: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True)
class Scene:
    """A picture with its regions.

    Attributes:
        image: file of the picture.
        regions: what is marked in it.
        source: short name of the data set.
        group: what belongs together when data are split or an interval is drawn: the picture or the video.
        vocabulary: the names that were looked for everywhere in this picture, so that one without a region is known
            to be absent; empty when nobody looked.
    """

    image: Path
    regions: tuple[Region, ...]
    source: str
    group: str
    vocabulary: frozenset[str] = frozenset()
