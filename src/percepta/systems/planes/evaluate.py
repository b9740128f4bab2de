"""The numbers of an evaluation, and the pictures beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8
from PIL import Image

from percepta.contract import Evaluation, Loader
from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.errors import InputError
from percepta.metrics import Metric, interval
from percepta.metrics import planes as scores
from percepta.report import Gallery, Heading
from percepta.systems.planes.model import PlaneNet, run
from percepta.systems.planes.predict import Instances, decode, draw_depth, draw_planes


def evaluate(model: PlaneNet, loader: Loader, *, examples: int = 0) -> Evaluation:
    """The depth table, plane AP at each threshold, class mAP in both readings, VOI, RI and SC.

    Intervals: bootstrap over groups (rooms, or blocks of a recording). Beside AbsRel: the same depth everywhere (the
    median over all pictures), each picture's own median (which only an oracle knows), and pixel planes alone.

    Args:
        model: the network.
        loader: batches of `data.Samples`.
        examples: how many pictures the blocks may show, spread over the data; 0: no blocks.

    Raises:
        InputError: no picture has depth.
    """
    tables: list[dict[str, float]] = []
    pixel: list[float] = []
    matches, groups, medians, truths, segments = [], [], [], [], []
    shown: list[Example] = []
    for number, batch in enumerate(loader):
        output = run(model, batch)
        for i in range(len(batch["image"])):
            found = decode(model, output, batch["matrix"], i)
            truth = batch["depth"][i].cpu().numpy()
            index = batch["segments"][i].cpu().numpy()
            labels_of_all = batch["labels"][i].cpu().numpy()
            if len(shown) < examples * (number + 1) / len(loader):
                image = (batch["image"][i].float().permute(1, 2, 0) * 255).round().byte().cpu().numpy()
                shown.append(Example(image, found, index.astype(np.int32), labels_of_all, truth))
            known = truth[(truth > 0) & (truth < model.config.max_depth_m)]
            if not len(known):
                continue
            limited = np.where(truth < model.config.max_depth_m, truth, 0)
            tables.append(scores.depth_errors(found.depth_m, limited))
            pixel.append(scores.depth_errors(found.pixel_depth_m, limited)["AbsRel"])
            groups.append(str(int(batch["group"][i])))
            medians.append(float(np.median(known)))
            truths.append(known[:: max(1, len(known) // 2000)])
            numbers = np.flatnonzero(batch["instance"][i].cpu().numpy())
            labels = labels_of_all[numbers]
            matrix = batch["matrix"][i].double().cpu().numpy()
            depths = plane_depths(found.plane, matrix, *truth.shape)
            true_masks = index[None] == numbers[:, None, None]
            matches.append(scores.compare(found.score, found.mask, depths, found.label, true_masks, limited, labels))
            kept = np.where(np.isin(index, numbers), index, -1)
            segments.append(scores.agreement(found.index, kept))
    if not tables:
        raise InputError("no pictures with depth to measure on; name another --split")
    metrics = _metrics(tables, pixel, matches, segments, groups, medians, truths)
    heading = Heading("Planes and depth; below them the truth")
    return Evaluation(metrics, (heading, Gallery([(e, e.caption) for e in shown])) if shown else ())


@dataclass(frozen=True)
class Example:
    """A picture of an evaluation; it is drawn when the page is written.

    Attributes:
        image: the reference picture, RGB.
        found: its planes.
        segments: true plane of each pixel, −1 none.
        labels: true class of each plane, −1 not known.
        depth_m: true depth, 0 unknown.
    """

    image: UInt8[np.ndarray, "h w 3"]
    found: Instances
    segments: Int32[np.ndarray, "h w"]
    labels: np.ndarray
    depth_m: Float32[np.ndarray, "h w"]

    @property
    def caption(self) -> str:
        """How many planes were found, and how many there are."""
        return f"{len(self.found.label)} planes found, {len(np.unique(self.segments[self.segments >= 0]))} there"

    def draw(self) -> Image.Image:
        """Planes and depth as found, and below them the truth."""
        h, w = self.segments.shape
        true_names = [PLANEMVS_NAMES[k] if k >= 0 else "plane" for k in self.labels]
        canvas = Image.new("RGB", (2 * w, 2 * h))
        canvas.paste(draw_planes(self.image, self.found.index, [PLANEMVS_NAMES[k] for k in self.found.label]), (0, 0))
        canvas.paste(draw_depth(self.found.depth_m), (w, 0))
        canvas.paste(draw_planes(self.image, self.segments, true_names[: int(self.segments.max()) + 1]), (0, h))
        canvas.paste(draw_depth(self.depth_m), (w, h))
        return canvas


def plane_depths(
    planes: Float64[np.ndarray, "n 3"], matrix: Float64[np.ndarray, "3 3"], h: int, w: int, max_depth_m: float = 10.0
) -> np.ndarray:
    """Depth of each plane in every pixel.

    Args:
        planes: p = n/d.
        matrix: K.
        h: height of the picture.
        w: width of the picture.
        max_depth_m: given where a ray does not meet a plane before.

    Returns:
        `n h w`, metres.
    """
    v, u = np.mgrid[:h, :w]
    sight = np.linalg.inv(matrix) @ np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    inverse = -(planes @ sight).reshape(-1, h, w)
    return 1 / np.maximum(inverse, 1 / max_depth_m)


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
