"""The loss of a batch: the best of the modes is made better, and its probability larger.

`one` learns the mean distance from the truth. Of the other modes the nearest one learns; so that no mode stays unused,
in the beginning near ones learn with it, in shares that follow from their distance, and the shares sharpen during the
training. What is nearest is decided for each agent in `single`, for each scene in `joint`.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.systems.forecast.hivt import HiVT, HiVTInputs, hivt_losses
from percepta.systems.forecast.qcnet import QCNet, qcnet_losses
from percepta.systems.forecast.qcnet_inputs import QCNetInputs
from percepta.systems.forecast.scene import scene_mean, ways_turned
from percepta.systems.forecast.small import SmallNet
from percepta.systems.forecast.stgcnn import SocialSTGCNN, negative_log_likelihood

END = 0.5  # weight of the error at the end beside the mean error
CHOICE = 0.2  # weight of the probabilities


def loss(model: Any, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The loss of a batch; see above.

    Args:
        model: the network, in training mode.
        batch: of `data.Windows`.
        step: its number decides how sharp shares are.
    """
    if isinstance(model, SmallNet):
        return small_loss(model, batch, step)
    return stgcnn_loss(model, batch) if isinstance(model, SocialSTGCNN) else published_loss(model, batch)


def published_loss(model: HiVT | QCNet, batch: Batch) -> dict[str, Tensor]:
    """The published losses of HiVT and QCNet, the mean over scenes.

    Agents that are not visible at the last observed step count nowhere; truth comes in our frames and is turned into
    the network's. Headings are not in our samples: the heading branch of QCNet learns the direction of the true
    movement.
    """
    totals: dict[str, list[Tensor]] = {}
    for number, scene in enumerate(batch["extra"]):
        mine = batch["scene"] == number
        own = scene[-1]
        inputs = HiVTInputs(*scene[:-1]) if isinstance(model, HiVT) else QCNetInputs(*scene[:-1])
        angle = inputs.angle[own] if isinstance(inputs, HiVTInputs) else inputs.heading[own, -1]
        truth = ways_turned(batch["truth"][mine][:, None], batch["angle"][mine] - angle)[:, 0]
        known = batch["known"][mine]
        if isinstance(model, HiVT):
            way, scale, logits = model(inputs)
            parts = hivt_losses(way[:, own], scale[:, own], logits[own], truth, known)
        else:
            found = model(inputs)
            chosen = type(found)(*(None if part is None else part[own] for part in found))
            moved = functional.pad(truth, (0, 0, 1, 0)).diff(dim=1)
            parts = qcnet_losses(chosen, truth, torch.atan2(moved[..., 1], moved[..., 0]), known)
        for key, value in parts.items():
            totals.setdefault(key, []).append(value)
    return {key: torch.stack(values).mean() for key, values in totals.items()}


def stgcnn_loss(model: SocialSTGCNN, batch: Batch) -> dict[str, Tensor]:
    """The published loss, over the walkers whose future is known to its end."""
    whole = batch["known"].all(1)
    cos, sin = batch["angle"].cos(), batch["angle"].sin()
    matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    truth = torch.einsum("nij,ntj->nti", matrix, batch["truth"])
    parts = []
    for number in range(int(batch["scene"].max()) + 1):
        mine = batch["scene"] == number
        if whole[mine].any():
            values = model.distribution(batch["world"][mine])
            moved = functional.pad(truth[mine], (0, 0, 1, 0)).diff(dim=1).transpose(0, 1)
            parts.append(negative_log_likelihood(values[:, whole[mine]], moved[:, whole[mine]]))
    nothing = torch.stack([value.sum() for value in model.parameters()]).sum() * 0.0
    return {"loss": torch.stack(parts).mean() if parts else nothing}


def small_loss(model: SmallNet, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The loss of our network.

    Args:
        model: the network, in training mode.
        batch: of `data.Windows`.
        step: its number decides how sharp shares are.
    """
    out = model.predict(batch)
    config, target = model.config, batch["target"]
    truth, known = batch["truth"][target], batch["known"][target]
    steps = torch.arange(1, config.future_steps + 1, device=known.device)
    known = known & (steps <= (batch["horizon"] * config.future_steps).round()[:, None])
    some = known.any(1)
    scale = config.scale_m / 5
    one, _ = errors(out.one[:, None], truth, known)
    single, single_end = errors(out.single, truth, known)
    joint, joint_end = errors(out.joint, truth, known)
    weight = some.to(one.dtype)
    count = weight.sum().clamp_min(1)
    share = min(1.0, step.number / (0.7 * config.train.steps))
    heat = scale * (0.5 * (1 - share) ** 2 + 0.01)
    best = functional.softmax(-single.detach() / heat, 1)
    alone = ((best * single).sum(1) * weight).sum() / count / scale
    choice = functional.cross_entropy(out.single_logits, single_end.argmin(1), reduction="none")
    scene = batch["scene"][target]
    agents = torch.bincount(scene[some], minlength=int(scene.max()) + 1).to(one.dtype) if len(scene) else weight[:0]
    scene_error, scene_end = (scene_mean(e[some], scene[some]) for e in (joint, joint_end))
    scene_logits = scene_mean(out.joint_logits[some], scene[some])
    agents = agents[: len(scene_error)]
    best = functional.softmax(-scene_error.detach() / heat, 1)
    together = ((best * scene_error).sum(1) * agents).sum() / count / scale
    which = functional.cross_entropy(scene_logits, scene_end.argmin(1), reduction="none")
    parts = {
        "one": (one[:, 0] * weight).sum() / count / scale,
        "single": alone,
        "joint": together,
        "choice": (choice * weight).sum() / count,
        "joint_choice": (which * agents).sum() / count,
    }
    total = parts["one"] + parts["single"] + parts["joint"] + CHOICE * (parts["choice"] + parts["joint_choice"])
    return {"loss": total, **parts}


def errors(
    way: Float[Tensor, "n k t 2"], truth: Float[Tensor, "n t 2"], known: Bool[Tensor, "n t"]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """(mean error with that of the end, error of the end) of every mode, metres; 0 where nothing is known.

    Args:
        way: predicted positions.
        truth: true ones.
        known: where they are known.
    """
    away = ((way - truth[:, None]).square().sum(-1) + 1e-6).sqrt()
    mask = known.to(away.dtype)[:, None]
    mean = (away * mask).sum(-1) / mask.sum(-1).clamp_min(1)
    last = (torch.arange(known.shape[1], device=known.device) * known).amax(1)
    end = away.gather(2, last[:, None, None].expand(-1, away.shape[1], 1))[..., 0] * known.any(1, keepdim=True)
    return mean + END * end, end
