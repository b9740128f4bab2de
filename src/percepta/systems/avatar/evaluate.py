"""How good pictures are, on held-out views, held-out poses and a new motion.

PSNR and SSIM inside the mask, Lite0 distance inside the rectangle around it (`metrics.pictures`), IoU of the masks, and
flicker. Beside them what needs no network:

    mean colour       the true mask, filled with the mean colour of the true picture there: it is told both, so only
                      what lies inside the outline counts
    nearest picture   the trained picture in which the joints lie most alike before the camera (`data.Pictures.nearest`)
    nothing moves     of flicker: a picture that stays as it is
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image

from percepta.contract import Evaluation, Loader
from percepta.metrics import Metric, interval
from percepta.metrics.pictures import flicker, lite0_distance, psnr, ssim
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.report import Gallery
from percepta.systems.avatar.model import AvatarNetwork
from percepta.systems.avatar.predict import picture

ENCODER = "efficientnet-lite0"
NAMES = {"views": "held-out views", "poses": "held-out poses", "motion": "new motion"}


def encoder() -> EfficientNetLite0:
    """What Lite0 distances are taken with; no part of an avatar."""
    return EfficientNetLite0(classifier=False)


@torch.inference_mode()
def evaluate(
    model: AvatarNetwork, loader: Loader, *, examples: int = 0, encoder: EfficientNetLite0 | None = None
) -> Evaluation:
    """Numbers of each set; trained frames use the posterior's mean, all others the prior's.

    Args:
        model: in eval mode.
        loader: batches of `data.Pictures`.
        examples: how many pairs (truth, rendered) to show.
        encoder: for the Lite0 distance; None leaves it out.
    """
    values: dict[str, list[float]] = defaultdict(list)
    trivial: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    groups: dict[str, list[str]] = defaultdict(list)
    gallery: list[tuple[Image.Image, str]] = []
    before: tuple[str, int, int, np.ndarray, np.ndarray] | None = None
    for batch in loader:
        for place, kind in enumerate(batch["set"]):
            trained = kind == "views" and model.config.latent
            time = batch["time"][place : place + 1] if trained else None
            nodes = model.nodes(batch["joints"][place : place + 1], batch["condition"][place : place + 1], time)
            seen, alpha = picture(model, nodes, batch["origin"][place], batch["direction"][place])
            truth, mask, near, near_mask = (
                batch[name][place].cpu().numpy() for name in ("colour", "mask", "nearest", "nearest_mask")
            )
            inside = mask >= 0.5
            camera, frame = batch["camera"][place], batch["frame"][place]
            row = numbers(seen, alpha, truth, inside, encoder)
            others = {"nearest picture": numbers(near, near_mask, truth, inside, encoder)}
            if inside.any():
                flat = inside[..., None] * truth[inside].mean(0)
                others["mean colour"] = numbers(flat, None, truth, inside, encoder)
            if before is not None and before[:3] == (kind, camera, frame - 1):
                both = inside | (alpha >= 0.5)
                row["flicker"] = flicker(before[3], seen, before[4], truth, both)
                others["nothing moves"] = {"flicker": flicker(truth, truth, before[4], truth, both)}
            before = (kind, camera, frame, seen, truth)
            for name, value in row.items():
                if np.isfinite(value):
                    values[f"{kind}_{name}"].append(value)
                    groups[f"{kind}_{name}"].append(f"{batch['pair'][place]}")
                    for baseline, its in others.items():
                        if np.isfinite(its.get(name, np.nan)):
                            trivial[f"{kind}_{name}"][baseline].append(its[name])
            if len(gallery) < examples:
                pair = (255 * np.concatenate([truth, seen], 1).clip(0, 1)).astype(np.uint8)
                gallery.append((Image.fromarray(pair), f"{NAMES[kind]}, frame {frame}: {row['psnr']:.1f} dB"))
    metrics = {}
    for name, found in values.items():
        low, high = interval(np.array(found), groups[name])
        baselines = {baseline: float(np.mean(its)) for baseline, its in trivial[name].items()}
        unit = "dB" if name.endswith("psnr") else ""
        metrics[name] = Metric(float(np.mean(found)), low, high, len(found), unit, baselines)
    return Evaluation(metrics, [Gallery(gallery)] if gallery else [])


def numbers(
    seen: Float[np.ndarray, "h w 3"],
    alpha: Float[np.ndarray, "h w"] | None,
    truth: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"],
    encoder: EfficientNetLite0 | None,
) -> dict[str, float]:
    """PSNR, SSIM, Lite0 distance and IoU of one picture.

    Args:
        seen: what was made, on black.
        alpha: its opacity; None leaves out the IoU.
        truth: what should have come out, on black.
        inside: the true mask.
        encoder: for the Lite0 distance; None leaves it out.
    """
    row = {"psnr": psnr(seen, truth, inside), "ssim": ssim(seen, truth, inside)}
    if encoder is not None:
        row["lite0_distance"] = lite0_distance(encoder, seen, truth, inside)
    if alpha is not None:
        covered = alpha >= 0.5
        row["iou"] = float((inside & covered).sum() / max((inside | covered).sum(), 1))
    return row
