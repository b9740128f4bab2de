"""What training makes smaller: the likelihood of people's ratings (`taste.py`), or the papers' errors (`piaa.py`)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from percepta.contract import Batch, Step
from percepta.systems.aesthetics.model import AestheticsNetwork
from percepta.systems.aesthetics.piaa import GENEROUS, Network
from percepta.systems.aesthetics.taste import TasteHead

# Weights of the losses of NIMA-attr, beside a squared error of about 1.
DISTRIBUTION_WEIGHT, ATTRIBUTES_WEIGHT = 10.0, 0.1


def loss(model: AestheticsNetwork, batch: Batch, step: Step) -> dict[str, Tensor]:
    """The head's loss on a batch of people.

    At step 0 the pictures of the folder go through the encoder, once, and what has a closed form is computed.

    Args:
        model: changed at step 0 only.
        batch: as `data.People.collate` makes it.
        step: its number, and the generator that chooses ratings.

    Returns:
        "loss", and what `likelihood` or `rating_loss` logs beside it.
    """
    rows = model.extract(batch["pictures"])
    if step.number == 0:
        if not model.settled:
            model.fit_normalisation(rows)
        model.head.fit_closed_form(model.normalise(rows), batch["means"], batch["everybody"])
    if isinstance(model.head, TasteHead):
        return likelihood(model.head, model.normalise(rows), batch, step)
    assert isinstance(model.head, Network)
    return rating_loss(model.head, model.normalise(rows), batch | {"attributes": model.attributes(rows)}, step)


def likelihood(head: TasteHead, features: Float[Tensor, "n w"], batch: Batch, step: Step) -> dict[str, Tensor]:
    """Minus the log likelihood of people's ratings, per rating, plus the priors' share; mean over members.

    Args:
        head: its members learn, each from the people and pictures outside of its part.
        features: of all pictures.
        batch: as `data.People.collate` makes it.
        step: its generator chooses among a person's ratings.
    """
    scores, means = batch["scores"], batch["means"]
    who = head.normalise_traits(batch["traits"])
    order = torch.rand(scores.shape, generator=step.generator, device=scores.device)
    losses, errors = [], []
    for member, fold in enumerate(head.config.members):
        allowed = ~scores.isnan() & (batch["person_fold"] != fold)[:, None] & ~means[member].isnan()
        chosen, real = draw(allowed, order, head.config.taste.ratings)
        if not real.any():
            continue
        x, crowd = features[chosen], means[member].nan_to_num()[chosen]
        z = x @ head.directions[member] * real[..., None]
        shift = torch.einsum("bkr,br->bk", z, who @ head.profile[member])
        left = (scores.nan_to_num().gather(1, chosen) - crowd - shift) * real
        follow = (crowd - head.level[member]) * real
        rest, offset, noise, follows = head.log_variances[member].exp()
        both = real[:, :, None] * real[:, None, :]
        covariance = z @ z.mT + follows * follow[:, :, None] * follow[:, None, :]
        covariance = covariance + (rest * (x @ x.mT) + offset) * both
        covariance = covariance + torch.diag_embed(noise * real + (1 - real))
        factor = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(factor, left[..., None], upper=False)
        log_det = factor.diagonal(dim1=1, dim2=2).log().sum()
        losses.append((0.5 * white.square().sum() + log_det) / real.sum())
        errors.append(white.detach().square().sum() / real.sum())
    if not losses:
        losses, errors = [head.directions.sum() * 0], [head.directions.new_ones(())]
    fit = torch.stack(losses).mean()
    variance = head.config.taste.factor_variance * head.unit**2
    prior = head.directions.square().sum() / variance + head.profile.square().sum() / head.config.taste.profile_variance
    prior = 0.5 * prior / (len(head.config.members) * batch["ratings"])
    return {"loss": fit + prior, "fit": fit.detach(), "surprise": torch.stack(errors).mean()}


def rating_loss(head: Network, features: Float[Tensor, "n w"], batch: Batch, step: Step) -> dict[str, Tensor]:
    """Squared error of some ratings of each person, and NIMA-attr's losses on the pictures that they gave them to.

    Args:
        head: the network that learns.
        features: all pictures.
        batch: as `data.People.collate` makes it, with `attributes` (n × 8).
        step: its generator draws the ratings.

    Returns:
        loss; rating: mean squared error, in units; distribution: `emd`; attributes: their mean squared error.
    """
    scores, fold = batch["scores"], head.config.members[0]
    allowed = ~scores.isnan() & (batch["person_fold"] != fold)[:, None] & ~batch["means"][0].isnan()
    order = torch.rand(scores.shape, generator=step.generator, device=scores.device)
    place, real = draw(allowed, order, head.config.head.ratings)
    person, column = real.nonzero(as_tuple=True)
    if not len(person):  # a process whose people are all held out
        return {"loss": sum((value.sum() for value in head.parameters()), features.new_zeros(())) * 0}
    seen, row = place[person, column].unique(return_inverse=True)
    target = (scores[person, seen[row]] - head.level) / head.unit
    hidden = head.nima(functional.dropout(features[seen], head.config.head.dropout, head.training))
    subject = head.subject(head.normalise_traits(batch["traits"]))
    expected = head.last(head.meet(head.picture(hidden)[row], subject[person])).flatten()
    left = target - expected
    # How generous somebody is: the gradient is then that of a likelihood with an offset of each person.
    count = real.sum(1)
    offset = left.new_zeros(len(scores)).index_add(0, person, left.detach()) / (count + GENEROUS)
    squares = (left - offset[person]).square()
    crowd = emd(head.nima.distribution.probabilities(hidden), batch["histograms"][0, seen]).mean()
    described = functional.mse_loss(head.nima.attributes(hidden), batch["attributes"][seen])
    # The error's deviation is trained as a parameter: then processes and averaged weights treat it like all else.
    spread = 0.5 * (head.log_variance + squares.mean().detach() * (-head.log_variance).exp())
    loss = DISTRIBUTION_WEIGHT * crowd + ATTRIBUTES_WEIGHT * described + spread
    if head.personal:
        loss = loss + squares.mean()
    parts = {"rating": squares.mean(), "distribution": crowd, "attributes": described}
    return {"loss": loss} | {name: value.detach() for name, value in parts.items()}


def emd(p: Float[Tensor, "n bins"], q: Float[Tensor, "n bins"]) -> Float[Tensor, " n"]:
    """Squared earth mover's distance of two distributions over ordered bins (NIMA, eq. 1 with r = 2, without the root).

    0 where they are equal, (bins − 1) / bins where they lie at opposite ends.
    """
    return (p - q).cumsum(1).square().mean(1)


def draw(allowed: Tensor, order: Float[Tensor, "b n"], count: int) -> tuple[Tensor, Float[Tensor, "b k"]]:
    """Per row the places of at most `count` allowed entries, chosen by `order`, and 1 where there is one.

    Args:
        allowed: rows of Booleans.
        order: numbers 0..1; the smallest come first.
        count: how many to choose.
    """
    size = max(1, min(count, int(allowed.sum(1).max())))
    value, place = torch.where(allowed, order, 2.0).topk(size, dim=1, largest=False)
    return place, (value < 2).to(order.dtype)
