"""The loss of a clip: bootstrapped cross-entropy and dice on every predicted frame, as in XMem (section 4)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.errors import InputError
from percepta.systems.vos.marks import HINT, box, disc
from percepta.systems.vos.model import Network

UNKNOWN = 255  # label of pixels that nobody knows
WORST = 0.15  # share of pixels that the cross-entropy narrows down to


def loss(model: nn.Module, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The first frame's masks are given, the others are predicted through the memory.

    Objects that are not to be seen in the first frame are background, since nobody asked for them.

    Args:
        model: in training mode.
        batch: see the top of `data.py`.
        step: its number says how far the cross-entropy has narrowed; draws which frames nothing is carried to.

    Returns:
        "loss", its parts, and the mean IoU of the predicted masks.
    """
    if not isinstance(model, Network):
        raise InputError("the published networks are read, not trained: use xmem and cutie with their own weights")
    config, pictures, labels = model.config, batch["pictures"], batch["labels"]
    b, t = labels.shape[:2]
    known = batch["known"]
    n = max(1, int((known * torch.arange(1, known.shape[1] + 1, device=known.device)).max()))  # no clip has more
    first = torch.stack([labels[:, 0] == i + 1 for i in range(n)], 1)
    known = known[:, :n] & first.flatten(2).any(2)
    drawn = torch.rand(b, t, generator=step.generator, device=step.generator.device).to(pictures.device)
    given = first.to(pictures.dtype)
    if config.marked_share:
        pictures, labels, given = hinted(pictures, labels, given, config.marked_share, step.generator)
    masks = torch.stack([labels == i + 1 for i in range(n)], 2)
    out = model(pictures, given, known, drawn >= config.carried_dropout)
    share = narrowed(step.number / config.train.steps, config.bootstrap)
    seen = labels != UNKNOWN
    index = torch.arange(1, n + 1, device=labels.device)
    # labels of objects that are not followed become background
    classes = torch.einsum("btnhw,n,bn->bthw", masks.long(), index, known.long())
    parts: dict[str, list[Tensor]] = {"cross_entropy": [], "dice": [], "coarse": [], "presence": [], "iou": []}
    for i, (logits, said) in enumerate(out, 1):
        logits = logits.float()
        probability, truth = logits.softmax(1)[:, 1:], masks[:, i] & known[:, :, None, None]
        parts["cross_entropy"].append(bootstrapped(logits, classes[:, i], seen[:, i], share))
        parts["dice"].append(_mean(dice(probability, truth, seen[:, i]), known))
        small = functional.adaptive_avg_pool2d(truth.to(logits.dtype), said.coarse.shape[-2:])
        coarse = functional.binary_cross_entropy_with_logits(
            said.coarse.float().unflatten(0, (b, n)), small, reduction="none"
        )
        parts["coarse"].append(_mean(coarse.mean((2, 3)), known))
        present = truth.flatten(2).any(2).to(logits.dtype)
        said_present = said.presence.float().unflatten(0, (b, n))
        parts["presence"].append(
            _mean(functional.binary_cross_entropy_with_logits(said_present, present, reduction="none"), known)
        )
        with torch.no_grad():
            won = logits.argmax(1)[:, None] == index[:, None, None]
            both = (won & truth & seen[:, i, None]).sum((2, 3))
            either = ((won | truth) & seen[:, i, None]).sum((2, 3))
            parts["iou"].append(_mean(torch.where(either > 0, both / either.clamp_min(1), 1.0), known))
    mean = {name: torch.stack(values).mean() for name, values in parts.items()}
    total = mean["cross_entropy"] + mean["dice"] + 0.3 * mean["coarse"] + 0.1 * mean["presence"]
    return {"loss": total, **{name: value.detach() for name, value in mean.items()}}


def hinted(
    pictures: Float[Tensor, "b t 3 h w"],
    labels: Int64[Tensor, "b t h w"],
    masks: Float[Tensor, "b n h w"],
    share: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b t 3 h w"], Int64[Tensor, "b t h w"], Float[Tensor, "b n h w"]]:
    """Some clips begin with clicks and boxes: their first two frames are the same picture, whose masks are to be found.

    What is given of an object then is a disc around a place inside it, or its box, with the value HINT instead of 1, so
    that the network can tell them from masks.

    Args:
        pictures: clips.
        labels: of their pixels.
        masks: of the objects in the first frames, 0 or 1.
        share: of the clips that begin so.
        generator: draws which clips, which marks, and where a click lies.

    Returns:
        pictures, labels and what is given.
    """
    b, n = masks.shape[:2]
    chosen = torch.rand(b, generator=generator, device=generator.device) < share
    draws = torch.rand(b, n, 2, generator=generator, device=generator.device).tolist()
    pictures, labels, given = pictures.clone(), labels.clone(), masks.clone()
    for clip in chosen.nonzero()[:, 0].tolist():
        pictures[clip, 1], labels[clip, 1] = pictures[clip, 0], labels[clip, 0]
        for one, (kind, place) in enumerate(draws[clip]):
            mask = masks[clip, one].cpu().numpy() > 0.5
            if mask.any():
                drawn = disc(mask.shape, _inside(mask, place)) if kind < 0.5 else box(mask)
                given[clip, one] = HINT * torch.from_numpy(drawn).to(given)
    return pictures, labels, given


def _inside(mask: Bool[np.ndarray, "h w"], draw: float) -> tuple[int, int]:
    """A place (x, y) well inside a mask: at least half as deep as the deepest one; `draw` (0..1) says which."""
    depth = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    places = np.argwhere(depth >= 0.5 * depth.max())
    row, column = places[int(draw * len(places))]
    return int(column), int(row)


def narrowed(done: float, schedule: tuple[float, float]) -> float:
    """The share of pixels that counts when `done` of the training (0..1) is over: 1 at first, WORST at last."""
    first, last = schedule
    if done < first:
        return 1.0
    return WORST if done >= last else WORST + (1 - WORST) * (last - done) / (last - first)


def bootstrapped(
    logits: Float[Tensor, "b n1 h w"], classes: Int64[Tensor, "b h w"], seen: Bool[Tensor, "b h w"], share: float
) -> Float[Tensor, ""]:
    """The cross-entropy, averaged over the worst share of each sample's pixels.

    Args:
        logits: background first.
        classes: 0 for background.
        seen: pixels that count.
        share: above 0, up to 1.
    """
    each = functional.cross_entropy(logits, classes, reduction="none") * seen
    if share < 1:
        each = each.flatten(1).topk(max(1, int(share * each[0].numel())), 1, sorted=False).values
    return each.mean()


def dice(
    probability: Float[Tensor, "b n h w"], truth: Bool[Tensor, "b n h w"], seen: Bool[Tensor, "b h w"]
) -> Float[Tensor, "b n"]:
    """1 − (2·overlap + 1) / (sum of both + 1), for each object.

    Args:
        probability: of the objects.
        truth: their masks.
        seen: pixels that count.
    """
    probability, target = probability * seen[:, None], (truth & seen[:, None]).to(probability.dtype)
    both = (probability * target).sum((2, 3))
    return 1 - (2 * both + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean over some places; 0 where there are none."""
    return (values * where).sum() / where.sum().clamp_min(1)
