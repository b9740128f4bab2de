"""A whole scan at once: its points in several voxel grids, whose answers are averaged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from scipy.special import softmax
from torch import nn

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.nn.sparse import SparseTensor
from percepta.systems.online3d import Config
from percepta.systems.online3d.fusion import cluster
from percepta.systems.online3d.model import OnlineNet
from percepta.systems.online3d.voxels import voxelise


@dataclass(frozen=True)
class ScanLabels:
    """The answer for the points of a whole scan.

    Attributes:
        label: place in SCANNET20.
        score: probability of the label.
        instance: number of the instance, 1 and up, 0 none.
        instance_label: place in SCANNET20 of instance i at i - 1.
        instance_score: mean score of its points.
    """

    label: Int64[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    instance: Integer[np.ndarray, " n"]
    instance_label: Integer[np.ndarray, " k"]
    instance_score: Float[np.ndarray, " k"]


# Turn about the vertical in degrees, and shift along each axis in voxels, of the grids that a scan is predicted in.
# Walls and floors often lie along the axes and at 0, where voxels meet and noise splits them: in these grids few do.
GRIDS = ((45.0, 0.5), (70.0, 0.3), (30.0, 0.0), (135.0, 0.25))


@torch.no_grad()
def label_scan(net: OnlineNet, xyz: Float[np.ndarray, "n 3"], rgb: np.ndarray, views: int) -> ScanLabels:
    """Labels and instances of a whole scan.

    Args:
        net: the network.
        xyz: places, metres, z up.
        rgb: colours `n 3`, 0..255.
        views: in how many grids it is predicted; 1: in that of a session. Logits and centres of instances are averaged
            at the points, and instances are found among the voxels of the first grid.

    Raises:
        InputError: there are not so many grids.
    """
    if not 1 <= views <= len(GRIDS):
        raise InputError(f"views is 1 to {len(GRIDS)}, got {views}")
    config, device = net.config, next(net.parameters()).device
    xyz, nothing, size = np.asarray(xyz, np.float64), np.zeros(len(xyz), np.int64), config.voxel_m
    answers, middle, of = list[np.ndarray](), np.zeros((0, 3)), nothing
    for number, (degrees, shift) in enumerate(GRIDS[:views] if views > 1 else ((0.0, 0.0),)):
        turn = poses.from_vector(np.array([0, 0, np.radians(degrees)]))
        voxels = voxelise(xyz @ turn.T + shift * size, rgb, nothing, nothing, size)
        coords = nn.functional.pad(torch.from_numpy(voxels.coords), (1, 0)).to(device)
        out = net(SparseTensor(torch.from_numpy(voxels.features).to(device), coords))
        places = (voxels.coords + 0.5) * size
        columns = [out.logits.float().cpu().numpy()]
        if out.offset_m is not None:
            columns.append((places + out.offset_m.float().cpu().numpy() - shift * size) @ turn)
        answers.append(np.concatenate(columns, 1)[voxels.of])
        if number == 0:
            middle, of = (places - shift * size) @ turn, voxels.of
    outputs = np.mean(answers, 0)
    probability = softmax(outputs[:, : config.classes], 1)
    label = probability.argmax(1)
    score = probability[np.arange(len(label)), label]
    return ScanLabels(label, score, *_instances(config, outputs, label, score, middle, of))


def _instances(
    config: Config, outputs: np.ndarray, label: np.ndarray, score: np.ndarray, middle: np.ndarray, of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of points, from the outputs there, through the voxels that they are `of`: numbers, and the instances' label and
    score."""
    if outputs.shape[1] == config.classes:
        return np.zeros(len(label), np.int32), np.zeros(0, int), np.zeros(0)
    number = np.bincount(of)
    mean = np.stack([np.bincount(of, column) / number for column in outputs.T], 1)
    kind = mean[:, : config.classes].argmax(1)
    found = cluster(middle, mean[:, config.classes :] - middle, kind, config.cluster_m, config.min_points)
    count = int(found.max(initial=0))
    class_of = np.full(count + 1, -1)
    class_of[found] = kind
    class_of[0] = -1
    own = found[of]
    own = np.where(class_of[own] == label, own, 0)  # a point is in an instance of its own class only
    mean_score = np.bincount(own, score, count + 1) / np.bincount(own, minlength=count + 1).clip(1)
    return own, class_of[1:], mean_score[1:]
