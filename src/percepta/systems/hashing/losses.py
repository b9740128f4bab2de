"""What is minimised: the paper's three losses on a weighted similarity, and ours.

S is the similarity of a batch of n pairs, rows pictures or videos, columns sentences. H are continuous codes of length
1, one row each; bits play no part in the paper's losses, nor does anything stand in for the gradient of a sign.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

INTRA, INTER, CONSISTENCY = 0.1, 1.0, 2.0  # weights of the paper's losses


def joint_similarity(seen: Float[Tensor, "n d"], said: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """S = ½ (S_vt + S_tv): mean of the cosines of picture i with sentence j and of sentence i with picture j; 1 for
    what belongs together."""
    cosines = functional.normalize(seen, dim=1) @ functional.normalize(said, dim=1).T
    joint = (cosines + cosines.T) / 2
    return joint - torch.diag(joint.diag()) + torch.eye(len(joint), dtype=joint.dtype, device=joint.device)


def dynamic_weighting(similarity: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The similarity with every entry weighted by where it lies between the smallest, the mean and the largest.

    Below the mean S · exp(−½ (mean − S) / (mean − min) − ½), from e⁻¹ at the smallest to e^−½ at the mean; above it
    S · exp(½ (S − mean) / (max − mean) − ½), from e^−½ to 1 at the largest; then clipped to −1..1. Where all entries
    are the same (a batch of one) there is no spread, and the weight is that of the mean.
    """
    mean, low, high = similarity.mean(), similarity.min(), similarity.max()
    tiny = torch.finfo(similarity.dtype).eps
    below = -0.5 * (mean - similarity) / (mean - low).clamp_min(tiny) - 0.5
    above = 0.5 * (similarity - mean) / (high - mean).clamp_min(tiny) - 0.5
    exponent = torch.where(similarity < mean, below, above).clamp(-1.0, 0.0)  # rounding must not leave the range
    weighted = similarity * exponent.exp() if high - low > tiny else similarity * math.exp(-0.5)
    return weighted.clamp(-1.0, 1.0)


def intra(codes: Float[Tensor, "n b"], similarity: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Mean squared error of the cosines within one modality."""
    return functional.mse_loss(codes @ codes.T, similarity)


def inter(
    seen: Float[Tensor, "n b"], said: Float[Tensor, "n b"], similarity: Float[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """Mean squared error of the cosines across the modalities."""
    return functional.mse_loss(seen @ said.T, similarity)


def consistency(seen: Float[Tensor, "n b"], said: Float[Tensor, "n b"]) -> Float[Tensor, ""]:
    """Mean squared difference of the two codes of a pair, over all entries."""
    return functional.mse_loss(seen, said)


def clip4hashing(
    seen: Float[Tensor, "n b"], said: Float[Tensor, "n b"], similarity: Float[Tensor, "n n"]
) -> dict[str, Tensor]:
    """The paper's sum and its parts: 0.1 intra (of both modalities) + 1 inter + 2 consistency."""
    seen, said = functional.normalize(seen, dim=1), functional.normalize(said, dim=1)
    within = intra(seen, similarity) + intra(said, similarity)
    across, agree = inter(seen, said, similarity), consistency(seen, said)
    total = INTRA * within + INTER * across + CONSISTENCY * agree
    return {"loss": total, "intra": within, "inter": across, "consistency": agree}


def taught(logits: Float[Tensor, "n n"], teacher: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """How far the distributions over a batch are from the teacher's, for both directions of search: Kullback-Leibler
    divergence of the softmax over rows and over columns, mean of both."""

    def one_way(own: Tensor, other: Tensor) -> Tensor:
        return functional.kl_div(own.log_softmax(1), other.log_softmax(1), reduction="batchmean", log_target=True)

    return (one_way(logits, teacher) + one_way(logits.T, teacher.T)) / 2


def contrastive(logits: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Cross-entropy of picking what belongs together, both directions (InfoNCE)."""
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
