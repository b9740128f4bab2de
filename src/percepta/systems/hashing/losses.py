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

from percepta.contract import Batch, Step
from percepta.systems.hashing.initialise import initialise
from percepta.systems.hashing.library import encode
from percepta.systems.hashing.model import Hasher
from percepta.systems.hashing.nets import HashNet, SharedNet

INTRA, INTER, CONSISTENCY = 0.1, 1.0, 2.0  # weights of the paper's losses
RANGE_SHARE = 0.1  # of the way that the extremes of the paper's bits move towards a batch's
TEACHER_SCALE = 25.0  # what the teacher's cosines are multiplied with before the softmax
SHARPNESS = 0.8  # of the tanh that stands for the sign when training begins; three times that at its end
CONTRAST = 0.3  # weight of the contrastive loss beside the distillation


def loss(model: Hasher, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The hashing network's loss on a batch of pairs.

    The library is encoded once. At step 0 what has a closed form is taken from all of it; at the last step the paper's
    network takes the extremes of its bits from all of it.

    Args:
        model: the network.
        batch: places of the pairs in their library.
        step: its number says what is taken from the whole library.
    """
    library, steps = batch["library"], model.config.train.steps
    videos, sentences = (part.float() for part in encode(model, library))
    if step.number == 0 and isinstance(model.net, SharedNet):
        initialise(model.net, videos, sentences, library.owner.to(videos.device))
    if step.number == steps - 1:
        finish(model.net, videos, sentences)
    return objective(model.net, videos[batch["video"]], sentences[batch["sentence"]], step.number / steps)


def objective(
    net: HashNet | SharedNet, videos: Float[Tensor, "n d"], sentences: Float[Tensor, "n d"], progress: float
) -> dict[str, Tensor]:
    """The losses of a batch of pairs.

    Args:
        net: the hashing network. In training the extremes of the paper's follow the batch's.
        videos: unit vectors of videos or pictures.
        sentences: unit vectors of a sentence of each.
        progress: share of the training that is done, 0..1; our codes come nearer to signs with it.
    """
    if isinstance(net, SharedNet):
        return shared_objective(net, videos, sentences, progress)
    similarity = dynamic_weighting(joint_similarity(videos, sentences))
    outputs = net(videos), net(sentences)
    if net.training:
        net.update_range(torch.cat(outputs).detach(), RANGE_SHARE)
    return clip4hashing(*outputs, similarity)


def shared_objective(
    net: SharedNet, videos: Float[Tensor, "n d"], sentences: Float[Tensor, "n d"], progress: float
) -> dict[str, Tensor]:
    """Ours: codes of every length rank a batch as the teacher does. Arguments as `objective`.

    Args:
        net: our hashing network.
        videos: unit vectors of the videos.
        sentences: unit vectors of their sentences.
        progress: share of the training that is done, 0..1.
    """
    projected = net.project(videos), net.project(sentences, sentences=True)
    teacher = TEACHER_SCALE * projected[1] @ projected[0].T
    sharpness = SHARPNESS * (1 + 2 * progress)
    pictures, texts = (
        torch.tanh(sharpness * net.projected_margin(rows, sentences=side))
        for rows, side in zip(projected, (False, True), strict=True)
    )
    distilled, contrasted = [], []
    for length, scale in zip(net.lengths, net.scales, strict=True):
        logits = scale.exp() * texts[:, :length] @ pictures[:, :length].T / length
        distilled.append(distillation(logits, teacher))
        contrasted.append(contrastive(logits))
    distilled_mean, contrast = torch.stack(distilled).mean(), torch.stack(contrasted).mean()
    return {"loss": distilled_mean + CONTRAST * contrast, "distillation": distilled_mean, "contrast": contrast}


@torch.no_grad()
def finish(net: HashNet | SharedNet, videos: Float[Tensor, "v d"], sentences: Float[Tensor, "s d"]) -> None:
    """Takes the extremes of the paper's bits over a whole training set; ours has none.

    Args:
        net: the hashing network.
        videos: unit vectors of all videos.
        sentences: unit vectors of all sentences.
    """
    if isinstance(net, HashNet):
        parts = [net(part) for rows in (videos, sentences) for part in rows.split(1024)]
        net.update_range(torch.stack([f for part in parts for f in (part.amin(0), part.amax(0))]), 1.0)


# ----------------------------------------------------------------------------------------------------- the paper's


def joint_similarity(videos: Float[Tensor, "n d"], sentences: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """S = ½ (S_vt + S_tv): mean of the cosines of picture i with sentence j and of sentence i with picture j; 1 for
    what belongs together."""
    cosines = functional.normalize(videos, dim=1) @ functional.normalize(sentences, dim=1).T
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
    videos: Float[Tensor, "n b"], sentences: Float[Tensor, "n b"], similarity: Float[Tensor, "n n"]
) -> Float[Tensor, ""]:
    """Mean squared error of the cosines across the modalities.

    Args:
        videos: codes of the videos, before the sign.
        sentences: codes of their sentences.
        similarity: what the cosines should be.
    """
    return functional.mse_loss(videos @ sentences.T, similarity)


def consistency(videos: Float[Tensor, "n b"], sentences: Float[Tensor, "n b"]) -> Float[Tensor, ""]:
    """Mean squared difference of the two codes of a pair, over all entries."""
    return functional.mse_loss(videos, sentences)


def clip4hashing(
    videos: Float[Tensor, "n b"], sentences: Float[Tensor, "n b"], similarity: Float[Tensor, "n n"]
) -> dict[str, Tensor]:
    """The paper's sum and its parts: 0.1 intra (of both modalities) + 1 inter + 2 consistency.

    Args:
        videos: codes of the videos, before the sign.
        sentences: codes of their sentences.
        similarity: what the cosines should be.
    """
    videos, sentences = functional.normalize(videos, dim=1), functional.normalize(sentences, dim=1)
    within = intra(videos, similarity) + intra(sentences, similarity)
    across, agree = inter(videos, sentences, similarity), consistency(videos, sentences)
    total = INTRA * within + INTER * across + CONSISTENCY * agree
    return {"loss": total, "intra": within, "inter": across, "consistency": agree}


# ------------------------------------------------------------------------------------------------------------ ours


def distillation(logits: Float[Tensor, "n n"], teacher: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """How far the distributions over a batch are from the teacher's, for both directions of search: Kullback-Leibler
    divergence of the softmax over rows and over columns, mean of both."""

    def one_way(own: Tensor, other: Tensor) -> Tensor:
        return functional.kl_div(own.log_softmax(1), other.log_softmax(1), reduction="batchmean", log_target=True)

    return (one_way(logits, teacher) + one_way(logits.T, teacher.T)) / 2


def contrastive(logits: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Cross-entropy of picking what belongs together, both directions (InfoNCE)."""
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
