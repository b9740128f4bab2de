"""PSNR and SSIM inside the mask, IoU of the masks and flicker: on held-out views, held-out poses and a new motion."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from percepta.contract import Evaluation, Loader
from percepta.metrics import Metric, interval
from percepta.metrics.pictures import flicker, psnr, ssim
from percepta.report import Gallery
from percepta.systems.avatar.model import AvatarNetwork, Nodes

_CHUNK = 4096  # rays at a time
NAMES = {"views": "held-out views", "poses": "held-out poses", "motion": "new motion"}


def picture(
    model: AvatarNetwork, nodes: Nodes, origin: Float[torch.Tensor, "h w 3"], direction: Float[torch.Tensor, "h w 3"]
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Colour on black and opacity of every pixel.

    Args:
        model: in eval mode.
        nodes: of one frame.
        origin: of each pixel's ray.
        direction: of each pixel's ray.
    """
    flat_origin, flat_direction = origin.flatten(0, 1), direction.flatten(0, 1)
    colours, alphas = [], []
    for start in range(0, len(flat_origin), _CHUNK):
        part = slice(start, start + _CHUNK)
        seen = model.render(nodes, flat_origin[None, part], flat_direction[None, part])
        colours.append(seen.colour[0])
        alphas.append(seen.alpha[0])
    shape = origin.shape[:2]
    return torch.cat(colours).view(*shape, 3).cpu().numpy(), torch.cat(alphas).view(shape).cpu().numpy()


@torch.inference_mode()
def evaluate(model: AvatarNetwork, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Numbers of each set; trained frames use the posterior's mean, all others the prior's.

    Args:
        model: in eval mode.
        loader: batches of `data.Pictures`.
        examples: how many pairs (truth, rendered) to show.
    """
    values: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[str]] = defaultdict(list)
    gallery: list[tuple[Image.Image, str]] = []
    before: tuple[str, int, int, np.ndarray, np.ndarray] | None = None
    for batch in loader:
        for place, kind in enumerate(batch["set"]):
            trained = kind == "views" and model.config.latent
            time = batch["time"][place : place + 1] if trained else None
            nodes = model.nodes(batch["joints"][place : place + 1], batch["condition"][place : place + 1], time)
            seen, alpha = picture(model, nodes, batch["origin"][place], batch["direction"][place])
            truth, mask = batch["colour"][place].cpu().numpy(), batch["mask"][place].cpu().numpy()
            inside = mask >= 0.5
            camera, frame = batch["camera"][place], batch["frame"][place]
            both = inside | (alpha >= 0.5)
            row = {
                "psnr": psnr(seen, truth, inside),
                "ssim": ssim(seen, truth, inside),
                "iou": float((inside & (alpha >= 0.5)).sum() / max(both.sum(), 1)),
            }
            if before is not None and before[:3] == (kind, camera, frame - 1):
                row["flicker"] = flicker(before[3], seen, before[4], truth, both)
            before = (kind, camera, frame, seen, truth)
            for name, value in row.items():
                if np.isfinite(value):
                    values[f"{kind}_{name}"].append(value)
                    groups[f"{kind}_{name}"].append(f"{camera} {frame // 2}")
            if len(gallery) < examples:
                pair = np.concatenate([truth, seen], 1).clip(0, 1)
                gallery.append(
                    (
                        Image.fromarray((255 * pair).astype(np.uint8)),
                        f"{NAMES[kind]}, frame {frame}: {row['psnr']:.1f} dB",
                    )
                )
    metrics = {}
    for name, numbers in values.items():
        low, high = interval(np.array(numbers), groups[name])
        unit = "dB" if name.endswith("psnr") else ""
        metrics[name] = Metric(float(np.mean(numbers)), low, high, len(numbers), unit)
    return Evaluation(metrics, [Gallery(gallery)] if gallery else [])
