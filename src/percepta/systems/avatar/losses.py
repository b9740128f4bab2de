"""The loss of an avatar: colour, mask, size of translations and embeddings, divergence of posterior and prior."""

from __future__ import annotations

import torch
from torch import Tensor

from percepta.contract import Batch, Step
from percepta.systems.avatar.model import AvatarNetwork


def loss(model: AvatarNetwork, batch: Batch, step: Step) -> dict[str, Tensor]:
    """Mean squared error of the rays' colours on black, of their opacity, and the regularisers.

    In `prior_share` of the steps the latent variable is the prior's mean, as it will be for new poses.

    Args:
        model: in training mode.
        batch: see `data`.
        step: number, epoch, generator and memory.
    """
    config = model.config
    generator, device = step.generator, batch["origin"].device
    frames, rays = batch["origin"].shape[:2]
    jitter = torch.rand(frames, rays, config.samples, generator=generator).to(device)
    noise = torch.randn(frames, config.latent_size, generator=generator).to(device)
    as_new = bool(torch.rand((), generator=generator) < config.prior_share)
    if as_new or not config.latent:
        nodes = model.nodes(batch["joints"], batch["condition"])
    else:
        nodes = model.nodes(batch["joints"], batch["condition"], batch["time"], noise)
    seen = model.render(nodes, batch["origin"], batch["direction"], jitter)
    colour = ((seen.colour - batch["colour"]) ** 2).mean()
    mask = ((seen.alpha - batch["mask"]) ** 2).mean()
    state = nodes.state
    moved = (state.translation**2).mean()
    detail = (state.detail**2).mean() if state.detail.numel() else colour.new_zeros(())
    divergence = state.divergence.mean()
    total = colour + config.mask_weight * mask + config.translation_weight * moved
    total = total + config.detail_weight * detail + config.kl_weight * divergence
    return {"loss": total, "colour": colour, "mask": mask, "moved": moved, "divergence": divergence}
