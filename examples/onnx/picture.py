"""Pictures as the graphs take them, with numpy alone. The other programs of this folder import it."""

from __future__ import annotations

import numpy as np


def read(path: str) -> np.ndarray:
    """RGB bytes, h w 3: of an .npy file, or of any picture where Pillow is installed."""
    if path.endswith(".npy"):
        return np.load(path)[..., :3]
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def middle(picture: np.ndarray) -> np.ndarray:
    """The middle square."""
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Numbers h w c at another size: bilinear; where it shrinks, an average over what falls together."""
    down, across = _weights(picture.shape[0], height), _weights(picture.shape[1], width)
    return np.einsum("yh,xw,hwc->yxc", down, across, picture.astype(np.float32), optimize=True)


def batch(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bytes h w 3 as a graph's input: 1 3 height width, 0..1."""
    return (resize(picture, height, width) / 255).clip(0, 1).transpose(2, 0, 1)[None].astype(np.float32)


def _weights(before: int, after: int) -> np.ndarray:
    """Of each old row (or column) in each new one."""
    scale = max(before / after, 1.0)
    centre = (np.arange(after) + 0.5) * before / after - 0.5
    weight = np.maximum(0, 1 - np.abs(np.arange(before) - centre[:, None]) / scale)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)
