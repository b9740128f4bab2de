"""The ledger: what the losses of training say about architectures, at no cost beside training (ours).

A running regression of training losses on architecture features, in three buffers of the supernet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from percepta.systems.supernet.model import SupernetNetwork

FORGET = 0.9998  # of the ledger, a step: the last 5,000 steps count


@torch.no_grad()
def update(model: SupernetNetwork, codes: Sequence[str], losses: Sequence[float]) -> None:
    """Adds a step to the ledger: a running regression of training losses on architecture features.

    Training already tells how paths do, batch by batch. Losses of paths on the same batch are compared with each other,
    which takes out the batch and how far training is; a path alone is compared with the running mean.

    Args:
        model: the supernet, whose buffers hold the ledger.
        codes: of the step's paths.
        losses: of each path, on the same pictures.
    """
    phi = torch.from_numpy(model.space.features(codes)).to(model.ledger_gram.device)
    values = torch.tensor(losses, dtype=torch.float64, device=phi.device)
    scale = model.ledger_scale
    if len(codes) > 1:
        phi, values = phi - phi.mean(0), values - values.mean()
    else:
        before = scale[2].clone() if float(scale[0]) else values[0]
        scale[2] = before + 0.02 * (values[0] - before)
        values = values - before
    model.ledger_gram.mul_(FORGET).addmm_(phi.T, phi)
    model.ledger_sum.mul_(FORGET).add_(phi.T @ values)
    scale[0] = FORGET * scale[0] + len(codes)
    scale[1] = FORGET * scale[1] + values.square().sum()


def expected(model: SupernetNetwork, codes: Sequence[str]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """What the ledger expects of codes: (minus the training loss against the mean of all paths, its deviation)."""
    weight, squares, _ = model.ledger_scale.cpu().numpy()
    phi = model.space.features(codes)
    gram = model.ledger_gram.cpu().numpy() + np.eye(phi.shape[1])
    answer = np.linalg.solve(gram, np.stack([model.ledger_sum.cpu().numpy()], 1))[:, 0]
    noise = squares / max(weight, 1.0)
    deviation = np.sqrt(noise * np.einsum("nd,dn->n", phi, np.linalg.solve(gram, phi.T)))
    return -(phi @ answer), deviation
