"""What skinning does not explain: translations of the nodes and embeddings, decoded from a latent variable (cVAE)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from percepta.geometry.body import Motion
from percepta.systems.avatar import Config

_JOINTS = 19


def condition_size(config: Config) -> int:
    """Numbers that say a pose and its past, see `conditions`."""
    pose = 6 * (_JOINTS - 1) + 3
    return pose + (len(config.past_frames) * (pose + 4) if config.past else 0)


def conditions(config: Config, motion: Motion) -> Float32[np.ndarray, "t c"]:
    """What prior and decoder see of each frame of a motion; the same however it is turned or shifted on the floor.

    A pose: two columns of each joint's rotation in its parent's coordinates, and the direction of gravity in the
    pelvis. The past, where it is used: for each of `past_frames`, how the pose differs from the one so long ago, the
    speed of the pelvis since then in its own heading (m/s), and the rate at which it turned (rad/s). Before its first
    frame a motion is taken to have stood still.
    """
    local = motion.local[:, 1:, :, :2].reshape(len(motion), -1)
    gravity = motion.rotation[:, 0, 2, :]
    pose = np.concatenate([local, gravity], -1)
    parts = [pose]
    if config.past:
        forward = motion.rotation[:, 0, :2, 0]
        yaw = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
        for frames in config.past_frames:
            steps = frames * motion.fps / config.fps
            before = np.maximum(np.arange(len(motion)) - round(steps), 0)
            seconds = frames / config.fps
            speed = (motion.root - motion.root[before]) / seconds
            ahead = np.cos(yaw) * speed[:, 0] + np.sin(yaw) * speed[:, 1]
            aside = -np.sin(yaw) * speed[:, 0] + np.cos(yaw) * speed[:, 1]
            turn = (yaw - yaw[before]) / seconds
            parts += [pose - pose[before], np.stack([ahead, aside, speed[:, 2], turn], -1)]
    return np.concatenate(parts, -1).astype(np.float32)


@dataclass(frozen=True)
class State:
    """What is decoded for some frames.

    Attributes:
        translation: of the nodes in the rest pose, metres, `b n 3`.
        detail: embedding of each node, `b n e`.
        divergence: of posterior and prior, one number a frame; 0 where there is no posterior.
    """

    translation: Float[Tensor, "b n 3"]
    detail: Float[Tensor, "b n e"]
    divergence: Float[Tensor, " b"]


class Latent(nn.Module):
    """Prior p(z | pose, past), posterior q(z | pose, past, time stamp), and the decoder of nodes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        inputs, width, size = condition_size(config), config.decoder_width, config.latent_size if config.latent else 0
        self.condition = nn.Sequential(nn.Linear(inputs, width), nn.SiLU())
        self.waves = 6
        if size:
            self.prior = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * size))
            self.posterior = nn.Sequential(
                nn.Linear(width + 2 * self.waves + 1, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, 2 * size),
            )
        each = 3 * config.translations + config.detail_size * config.details
        if each:
            self.decoder = nn.Sequential(
                nn.Linear(width + size, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, config.nodes * each),
            )
            with torch.no_grad():
                last = self.decoder[-1]
                assert isinstance(last, nn.Linear)
                last.weight.mul_(0.1)
                last.bias.zero_()

    def stamp(self, time: Float[Tensor, " b"]) -> Float[Tensor, "b w"]:
        """The time stamp, 0..1 over the capture, as waves."""
        scale = math.pi * 2.0 ** torch.arange(self.waves, device=time.device, dtype=time.dtype)
        waves = time[:, None] * scale
        return torch.cat([time[:, None], waves.sin(), waves.cos()], -1)

    def forward(
        self,
        condition: Float[Tensor, "b c"],
        time: Float[Tensor, " b"] | None,
        noise: Float[Tensor, "b z"] | None = None,
    ) -> State:
        """Translations and embeddings.

        Args:
            condition: pose and past, see `conditions`.
            time: time stamps of trained frames, 0..1: z comes from the posterior; None: z is the prior's mean.
            noise: standard normal numbers of the draw; None: the mean is taken.
        """
        config, batch = self.config, condition.shape[0]  # not len: a graph would keep its value
        seen = self.condition(condition)
        divergence = condition.new_zeros(batch)
        if config.latent:
            mean, spread = self._moments(self.prior(seen))
            if time is not None:
                after, narrow = self._moments(self.posterior(torch.cat([seen, self.stamp(time)], -1)))
                divergence = kl(after, narrow, mean, spread)
                mean, spread = after, narrow
            z = mean if noise is None else mean + noise * torch.exp(spread)
            seen = torch.cat([seen, z], -1)
        each = 3 * config.translations + config.detail_size * config.details
        decoded = self.decoder(seen).view(batch, config.nodes, each) if each else seen.new_zeros(batch, config.nodes, 0)
        # a node moves by at most 40 cm
        shift = 0.4 * torch.tanh(decoded[..., :3]) if config.translations else decoded.new_zeros(batch, config.nodes, 3)
        detail = decoded[..., 3 * config.translations :] if config.details else decoded[..., :0]
        return State(shift, detail, divergence)

    @staticmethod
    def _moments(out: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b z"], Float[Tensor, "b z"]]:
        mean, spread = out.chunk(2, -1)
        return mean, spread.clamp(-5, 3)


def kl(
    mean: Float[Tensor, "b z"],
    spread: Float[Tensor, "b z"],
    prior_mean: Float[Tensor, "b z"],
    prior_spread: Float[Tensor, "b z"],
) -> Float[Tensor, " b"]:
    """Divergence of one diagonal normal distribution from another; spreads are logarithms of standard deviations.

    Args:
        mean, spread: of the posterior.
        prior_mean, prior_spread: of the prior.
    """
    ratio = torch.exp(2 * (spread - prior_spread))
    apart = (mean - prior_mean) ** 2 * torch.exp(-2 * prior_spread)
    return 0.5 * (ratio + apart - 1).sum(-1) + (prior_spread - spread).sum(-1)
