"""From what the network says to segments in seconds."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from percepta.systems.actions import Config
from percepta.systems.actions.model import ActionsNetwork, Output, pad, padded_length
from percepta.systems.actions.suppress import Segments, joined, suppressed


def candidates(out: Output, config: Config, which: int = 0) -> Segments:
    """The candidates of one video, in feature vectors: by level, then by score.

    Args:
        out: of the network.
        config: thresholds.
        which: video of the batch.
    """
    parts = []
    probability = (out.logits[which].sigmoid() * out.valid[which][:, None]).float()
    for level in range(len(config.windows)):
        rows = out.level == level
        flat = probability[rows].flatten()
        places = torch.nonzero(flat > config.pre_threshold)[:, 0]
        score, order = flat[places].sort(descending=True)
        order = order[: config.pre_top]
        score, chosen = score[: config.pre_top], places[order]
        row, label = chosen // len(config.labels), chosen % len(config.labels)
        offset = out.offsets[which][rows][row] * out.stride[rows][row][:, None]
        time = out.time[rows][row]
        span = torch.stack([time - offset[:, 0], time + offset[:, 1]], 1)
        keep = (span[:, 1] - span[:, 0]) > config.min_duration
        parts.append(
            Segments(span[keep].cpu().numpy(), score[keep].cpu().numpy(), label[keep].cpu().numpy().astype(np.int64))
        )
    return joined(parts)


def in_seconds(found: Segments, scale: float, shift: float, duration_s: float) -> Segments:
    """Segments on the time of the video, cut at its ends.

    Args:
        found: in feature vectors.
        scale: seconds between two vectors.
        shift: seconds of vector 0.
        duration_s: of the video.
    """
    span = np.clip(found.span.astype(np.float64) * scale + shift, 0.0, duration_s)
    return Segments(span, found.score, found.label)


@torch.inference_mode()
def segments(
    model: ActionsNetwork, features: Float[Tensor, "c n"], scale: float, shift: float, duration_s: float
) -> Segments:
    """The segments of one video in seconds, the best first.

    Args:
        model: the network.
        features: of the video.
        scale: seconds between two vectors.
        shift: seconds of vector 0.
        duration_s: of the video.
    """
    weight = next(model.backbone.parameters())
    features = features.to(weight.device, weight.dtype)
    padded, mask = pad(features, padded_length(features.shape[1], model.config))
    found = suppressed(candidates(model(padded, mask), model.config), model.config.suppression)
    return in_seconds(found, scale, shift, duration_s)
