"""From the network's answer to planes of a picture, and the numbers of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from torch import Tensor
from torch.nn import functional

from percepta.errors import InputError
from percepta.metrics import Metric, interval
from percepta.metrics import planes as scores
from percepta.systems.planes import sweep
from percepta.systems.planes.head import detect
from percepta.systems.planes.model import Answer, PlaneNet


class Planes(NamedTuple):
    """Planes of one picture, the surest first, in its camera's coordinates.

    Attributes:
        plane: p = n/d. label: place in PLANEMVS_NAMES. mask: of the plane, may overlap. index: of each pixel its plane,
            −1 none. pixel_depth_m: of pixel planes; depth_m: of the instance's plane where there is one.
    """

    plane: Float64[np.ndarray, "n 3"]
    label: Int64[np.ndarray, " n"]
    score: Float64[np.ndarray, " n"]
    mask: Bool[np.ndarray, "n h w"]
    index: Int32[np.ndarray, "h w"]
    depth_m: Float32[np.ndarray, "h w"]
    pixel_depth_m: Float32[np.ndarray, "h w"]


@torch.no_grad()
def decode(model: PlaneNet, answer: Answer, matrix: Tensor, picture: int) -> Planes:
    """Instances with soft-pooled planes, and the composed depth (PlaneMVS, section 3.4).

    Args:
        matrix: K of every picture of the batch.
    """
    config = model.config
    found = detect(answer.found, picture, config.most, config.sure, config.least_area)
    refined = answer.refined[picture]
    h, w = refined.shape[-2:]
    soft = functional.interpolate(found.mask[:, None], (h, w), mode="bilinear", align_corners=False)[:, 0]
    solid = soft > 0.5
    weight = soft * solid if config.soft_pooling else solid.to(soft.dtype)
    plane = torch.einsum("nhw,chw->nc", weight, refined) / weight.sum((1, 2)).clamp_min(1e-3)[:, None]
    sight = sweep.rays(matrix[picture : picture + 1], h, w)
    depth = answer.depth_refined[picture].clone()
    index = torch.full((h, w), -1, dtype=torch.int32, device=depth.device)
    if len(plane):
        best = (soft * solid * found.score[:, None, None]).max(0)
        covered = best.values > 0
        index[covered] = best.indices[covered].to(torch.int32)
        wide = plane[:, :, None, None].expand(-1, -1, h, w)
        flat = sweep.depth_of(wide, sight.expand_as(wide), config.near_m, config.far_m)
        # A ray may meet a plane only far away or behind: there the pixel's own plane is the better answer.
        own = flat.gather(0, best.indices[None])[0]
        ratio = own / depth
        depth = torch.where(covered & (ratio > 0.67) & (ratio < 1.5), own, depth)
    return Planes(
        plane.double().cpu().numpy(), found.label.cpu().numpy(), found.score.double().cpu().numpy(),
        solid.cpu().numpy(), index.cpu().numpy(), depth.float().cpu().numpy(),
        answer.depth_refined[picture].float().cpu().numpy(),
    )  # fmt: skip


def plane_depths(
    planes: Float64[np.ndarray, "n 3"], matrix: Float64[np.ndarray, "3 3"], h: int, w: int, far_m: float = 10.0
) -> np.ndarray:
    """Depth of each plane in every pixel, `n h w`; `far_m` where a ray does not meet it before."""
    v, u = np.mgrid[:h, :w]
    sight = np.linalg.inv(matrix) @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    inverse = -(planes @ sight).reshape(-1, h, w)
    return 1 / np.maximum(inverse, 1 / far_m)


def run(model: PlaneNet, batch: dict[str, Any]) -> Answer:
    """The network on a batch of `data`."""
    names = ("image", "sources", "matrix", "source_matrices", "source_from_reference")
    return model(*(batch[name] for name in names))


def measure(model: PlaneNet, loader: Iterable[dict[str, Any]]) -> dict[str, Metric]:
    """The depth table, plane AP at each threshold, class mAP in both readings, VOI, RI and SC.

    Intervals: bootstrap over groups (rooms, or blocks of a recording). Beside AbsRel: the same depth everywhere (the
    median over all pictures), each picture's own median (which only an oracle knows), and pixel planes alone.
    """
    tables: list[dict[str, float]] = []
    pixel: list[float] = []
    matches, groups, medians, truths, segments = [], [], [], [], []
    for batch in loader:
        answer = run(model, batch)
        for i in range(len(batch["image"])):
            found = decode(model, answer, batch["matrix"], i)
            truth = batch["depth"][i].cpu().numpy()
            index = batch["segments"][i].cpu().numpy()
            known = truth[(truth > 0) & (truth < model.config.far_m)]
            if not len(known):
                continue
            limited = np.where(truth < model.config.far_m, truth, 0)
            tables.append(scores.depth_errors(found.depth_m, limited))
            pixel.append(scores.depth_errors(found.pixel_depth_m, limited)["AbsRel"])
            groups.append(str(int(batch["group"][i])))
            medians.append(float(np.median(known)))
            truths.append(known[:: max(1, len(known) // 2000)])
            numbers = np.flatnonzero(batch["instance"][i].cpu().numpy())
            labels = batch["labels"][i].cpu().numpy()[numbers]
            matrix = batch["matrix"][i].double().cpu().numpy()
            depths = plane_depths(found.plane, matrix, *truth.shape)
            true_masks = index[None] == numbers[:, None, None]
            matches.append(scores.compare(found.score, found.mask, depths, found.label, true_masks, limited, labels))
            kept = np.where(np.isin(index, numbers), index, -1)
            segments.append(scores.agreement(found.index, kept))
    if not tables:
        raise InputError("no pictures with depth to measure on; name another --split")
    return _metrics(tables, pixel, matches, segments, groups, medians, truths)


def _metrics(
    tables: list[dict[str, float]], pixel: list[float], matches: list[Any], segments: list[dict[str, float]],
    groups: list[str], medians: list[float], truths: list[np.ndarray],
) -> dict[str, Metric]:  # fmt: skip
    constant = float(np.median(np.concatenate(truths)))
    same = float(np.mean([(np.abs(constant - t) / t).mean() for t in truths]))
    oracle = float(np.mean([(np.abs(m - t) / t).mean() for m, t in zip(medians, truths, strict=True)]))
    out: dict[str, Metric] = {}
    for name in tables[0]:
        values = [row[name] for row in tables]
        more = {"one depth": same, "own median": oracle, "pixel planes": float(np.mean(pixel))}
        unit = "m" if name in ("SqRel", "RMSE") else ""
        baselines = more if name == "AbsRel" else {}
        out[name] = Metric(float(np.mean(values)), *interval(values, groups), len(values), unit, baselines)
    some = [i for i, match in enumerate(matches) if match.iou.shape[1]]
    for within in scores.THRESHOLDS_M:
        if some:
            values = [scores.plane_ap([matches[i]], within) for i in some]
            name = f"plane AP {within:g} m" if np.isfinite(within) else "plane AP"
            pooled = scores.plane_ap(matches, within, pooled=True)
            low, high = interval(values, [groups[i] for i in some])
            out[name] = Metric(float(np.mean(values)), low, high, len(values), "", {"pooled curve": pooled})
    for name, skip in (("class mAP", True), ("class mAP, missing as 0", False)):
        value = scores.class_map(matches, range(1, 12), skip_missing=skip)
        if np.isfinite(value) and any((m.true_label > 0).any() for m in matches):
            out[name] = Metric(value, n=len(matches))
    for name in ("VOI", "RI", "SC"):
        pairs = [(row[name], group) for row, group in zip(segments, groups, strict=True) if np.isfinite(row[name])]
        if pairs:
            values = [value for value, _ in pairs]
            out[name] = Metric(float(np.mean(values)), *interval(values, [g for _, g in pairs]), len(values))
    return out
