"""Ours: what the crowd thinks, a few directions of taste, and a Gaussian process for the rest of a person.

The score of person u for a picture with features x (a row of length about 1, mean 0 over training pictures):

    y_u(x) = level + w·x + b_u + a_u (w·x) + z(x)·t_u + g_u(x) + noise,    z(x) = xᵀV

    w·x        the crowd's mean. w is ridge regression in closed form, taken when training begins.
    b_u, a_u   how generous a person is, and how much they follow the crowd: N(0, offset), N(0, follow).
    t_u        their place along the directions of taste V: N(Wp_u, 1), where p_u is who they are (traits).
    g_u        the rest: a Gaussian process with covariance rest·xᵀx'.

All but w is Gaussian given V, W and four variances, so a person's ratings y at pictures X have the likelihood

    N(m + Z W p, Z Zᵀ + rest·X Xᵀ + follow·c cᵀ + offset + noise·1),

with the crowd's own mean m of those pictures. Its logarithm, summed over people, is what training climbs (type-II
maximum likelihood; Rasmussen and Williams 2006, ch. 5). A new person's ratings are taken in by the same algebra (their
eq. 2.25 and 2.26): milliseconds for hundreds of ratings, with an uncertainty.

Members: the model holds several of these. Each of some was trained without one part of the people and of the pictures,
and judges that part; the last was trained on everybody and predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.aesthetics import Config

# first values of the variances, in units of the score on a scale of 1 to 7
REST, OFFSET, NOISE, FOLLOW = 0.3, 1.0, 1.1, 0.14
ALIKE = 0.9  # cosine of features: hardly two pictures of OASIS reach it, slight crops of one have 0.97


class TasteHead(nn.Module):
    """Every member's crowd model, directions of taste, profile map and variances."""

    crowd: Tensor
    level: Tensor
    misfit: Tensor
    trait_mean: Tensor
    trait_gain: Tensor

    def __init__(self, config: Config, width: int, traits: int) -> None:
        super().__init__()
        members, factors = len(config.members), config.taste.factors
        self.config = config
        self.unit = (config.scale.high - config.scale.low) / 6
        self.directions = nn.Parameter(0.02 * self.unit * torch.randn(members, width, factors))
        self.profile = nn.Parameter(torch.zeros(members, traits, factors))
        first = torch.tensor([REST, OFFSET, NOISE, FOLLOW / self.unit**2]) * self.unit**2
        self.log_variances = nn.Parameter(first.log().repeat(members, 1))
        self.register_buffer("crowd", torch.zeros(members, width))
        self.register_buffer("level", torch.zeros(members))
        self.register_buffer("misfit", torch.zeros(members))
        self.register_buffer("trait_mean", torch.zeros(traits))
        self.register_buffer("trait_gain", torch.ones(traits))

    @torch.no_grad()
    def settle(
        self,
        looks: Float[Tensor, "n w"],
        means: Float[Tensor, "m n"],
        traits: Float[Tensor, "people p"],
    ) -> None:
        """The parts in closed form: the crowd's model of every member, and how traits are centred.

        Args:
            looks: all pictures.
            means: for every member the mean score of its training people; NaN for pictures that it may not see.
            traits: of all people, NaN where unknown.
        """
        for member, mean in enumerate(means):
            known = ~mean.isnan()
            before = looks[known] @ self.crowd[member]  # zero, unless another study's weights are refined
            self.level[member] = (mean[known] - before).mean()
            rest = mean[known] - before - self.level[member]
            weights, left_out = ridge(looks[known], rest, self.config.taste.crowd_noise)
            self.crowd[member] += weights
            self.misfit[member] = left_out.square().mean()
        if traits.numel():
            mean, gain = trait_statistics(traits)
            self.trait_mean.copy_(mean)
            self.trait_gain.copy_(gain)

    def who(self, traits: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
        """Traits centred and scaled; 0 where unknown, so that nothing is expected from them."""
        return standardise(traits, self.trait_mean, self.trait_gain)

    def loss(self, looks: Float[Tensor, "n w"], batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
        """Minus the log likelihood of people's ratings, per rating, plus the priors' share; mean over members."""
        scores, means = batch["scores"], batch["means"]
        who = self.who(batch["traits"])
        order = torch.rand(scores.shape, generator=step.generator, device=scores.device)
        losses, errors = [], []
        for member, fold in enumerate(self.config.members):
            allowed = ~scores.isnan() & (batch["person_fold"] != fold)[:, None] & ~means[member].isnan()
            chosen, real = draw(allowed, order, self.config.taste.ratings)
            if not real.any():
                continue
            x, crowd = looks[chosen], means[member].nan_to_num()[chosen]
            z = x @ self.directions[member] * real[..., None]
            shift = torch.einsum("bkr,br->bk", z, who @ self.profile[member])
            left = (scores.nan_to_num().gather(1, chosen) - crowd - shift) * real
            follow = (crowd - self.level[member]) * real
            rest, offset, noise, follows = self.log_variances[member].exp()
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
            losses, errors = [self.directions.sum() * 0], [self.directions.new_ones(())]
        fit = torch.stack(losses).mean()
        variance = self.config.taste.factor_variance * self.unit**2
        prior = (
            self.directions.square().sum() / variance + self.profile.square().sum() / self.config.taste.profile_variance
        )
        prior = 0.5 * prior / (len(self.config.members) * batch["ratings"])
        return {"loss": fit + prior, "fit": fit.detach(), "surprise": torch.stack(errors).mean()}

    def expect(self, member: int, looks: Float[Tensor, "n w"], who: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        """The score before any rating."""
        taste = (looks @ self.directions[member]) @ (who @ self.profile[member])
        return self.level[member] + looks @ self.crowd[member] + taste

    def crowd_score(self, looks: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """The score that is expected of somebody of whom nothing is known."""
        chosen = list(self.config.predicting)
        return (self.level[chosen] + looks @ self.crowd[chosen].T).mean(1)

    def relate(
        self,
        member: int,
        a: Float[Tensor, "n w"],
        b: Float[Tensor, "k w"],
        gram: Float[Tensor, "n k"],
    ) -> Float[Tensor, "n k"]:
        """Covariance of one person's scores of two sets of pictures, without noise; gram is a @ b.T, which the members
        share."""
        directions, crowd = self.directions[member], self.crowd[member]
        rest, offset, _, follow = self.log_variances[member].exp()
        shared = (a @ directions) @ (b @ directions).T
        return shared + rest * gram + offset + follow * (a @ crowd)[:, None] * (b @ crowd)[None]

    def noise(self, member: int) -> Tensor:
        """Variance of a rating around what a person's taste says of a picture that the crowd's model has not seen."""
        return self.log_variances[member, 2].exp() + self.misfit[member]

    @torch.no_grad()
    def person(
        self,
        traits: Float[Tensor, " p"] | None,
        looks: Float[Tensor, "k w"],
        attributes: Float[Tensor, "k 8"] | None,
        scores: Float[Tensor, " k"],
        members: tuple[int, ...] | None = None,
    ) -> Person:
        """Somebody's taste from who they are and what they rated.

        Args:
            traits: as `people.traits` gives them; None: nothing is known.
            looks: features of the pictures that they rated; none at all is fine.
            attributes: not used here (other heads need them).
            scores: their ratings, in the study's scale.
            members: places of the members that predict; None: `Config.predicting`.
        """
        who = torch.zeros_like(self.trait_mean) if traits is None else self.who(traits)
        chosen = self.config.predicting if members is None else members
        factors, weights = [], []
        gram = looks @ looks.T
        for member in chosen:
            covariance = self.relate(member, looks, looks, gram) + self.noise(member) * torch.eye(len(looks)).to(looks)
            factor = torch.linalg.cholesky(covariance)
            left = (scores - self.expect(member, looks, who))[:, None]
            factors.append(factor)
            weights.append(torch.cholesky_solve(left, factor)[:, 0] if len(looks) else left[:, 0])
        return Person(self, who, looks, chosen, factors, weights)


@dataclass
class Person:
    """One person's taste: what every member knows of it after their ratings."""

    head: TasteHead
    who: Float[Tensor, " p"]
    rated: Float[Tensor, "k w"]
    members: tuple[int, ...]
    factors: list[Float[Tensor, "k k"]]
    weights: list[Float[Tensor, " k"]]

    @torch.no_grad()
    def predict(
        self, looks: Float[Tensor, "n w"], attributes: Float[Tensor, "n 8"] | None = None
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Expected scores and the deviation of what the person thinks (not of a single, noisy rating)."""
        means, variances = [], []
        gram = looks @ self.rated.T
        for place, member in enumerate(self.members):
            across = self.head.relate(member, looks, self.rated, gram)
            means.append(self.head.expect(member, looks, self.who) + across @ self.weights[place])
            variances.append(self._own(member, looks) - self._known(place, across).square().sum(0))
        mean, misfit = torch.stack(means), self.head.misfit[list(self.members)].mean()
        variance = torch.stack(variances).mean(0).clamp_min(0) + misfit + mean.var(0, correction=0)
        return mean.mean(0), variance.sqrt()

    def rating_deviation(self, deviation: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The deviation of a single rating, which is noisier than what somebody thinks."""
        noise = self.head.log_variances[list(self.members), 2].exp().mean()
        return (deviation.square() + noise.detach()).sqrt()

    @torch.no_grad()
    def worth(self, looks: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """How much rating a picture would tell about all these pictures: by how much the sum of the variances falls.

        Offsets count for nothing here: how generous somebody is changes no order.
        """
        return self._gain(self._posterior(looks))

    @torch.no_grad()
    def choose(self, looks: Float[Tensor, "n w"], count: int) -> list[int]:
        """Up to `count` pictures to rate next: each the one of most worth once those before it are rated.

        Pictures that are nearly alike to one that is chosen or rated come last: as ratings are noisy, a second one
        would be worth something to the model, but people give the same picture the same score again.
        """
        covariances, chosen = self._posterior(looks), list[int]()
        unit = functional.normalize(looks)
        again = (unit @ functional.normalize(self.rated).T > ALIKE).any(1)
        for _ in range(min(count, len(looks))):
            worth = self._gain(covariances)
            worth = torch.where(again, worth - worth.max() - 1, worth)  # below all that are new
            worth[chosen] = -torch.inf
            best = int(worth.argmax())
            chosen.append(best)
            again |= unit @ unit[best] > ALIKE
            for place, covariance in enumerate(covariances):
                column = covariance[:, best].clone()
                covariance -= column[:, None] * column / (column[best] + self.head.noise(self.members[place]))
        return chosen

    def _posterior(self, looks: Float[Tensor, "n w"]) -> list[Float[Tensor, "n n"]]:
        """Every member's covariance of these pictures' scores after the ratings."""
        gram, across, out = looks @ looks.T, looks @ self.rated.T, []
        for place, member in enumerate(self.members):
            known = self._known(place, self.head.relate(member, looks, self.rated, across))
            out.append(self.head.relate(member, looks, looks, gram) - known.T @ known)
        return out

    def _gain(self, covariances: list[Float[Tensor, "n n"]]) -> Float[Tensor, " n"]:
        """By how much the sum of variances around the mean falls with a rating of each picture; mean over members."""
        total = torch.zeros(len(covariances[0])).to(covariances[0])
        for member, covariance in zip(self.members, covariances, strict=True):
            centred = covariance - covariance.mean(0, keepdim=True)
            total += centred.square().sum(0) / (covariance.diagonal() + self.head.noise(member))
        return total / len(self.members)

    def _own(self, member: int, looks: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """The diagonal of relate(looks, looks)."""
        rest, offset, _, follow = self.head.log_variances[member].exp()
        shared = (looks @ self.head.directions[member]).square().sum(1)
        return shared + rest * looks.square().sum(1) + offset + follow * (looks @ self.head.crowd[member]).square()

    def _known(self, place: int, across: Float[Tensor, "n k"]) -> Float[Tensor, "k n"]:
        return torch.linalg.solve_triangular(self.factors[place], across.T, upper=False)


def ridge(
    x: Float[Tensor, "n w"], y: Float[Tensor, " n"], noise: float
) -> tuple[Float[Tensor, " w"], Float[Tensor, " n"]]:
    """Ridge regression without an offset, in closed form, and its leave-one-out errors.

    Args:
        x, y: y has mean 0.
        noise: the penalty: variance of the noise over that of x·w, for x of length 1.

    Returns:
        weights; y minus what the regression without that sample says.
    """
    n, width = x.shape
    if n <= width:
        inverse = torch.linalg.inv(x @ x.T + noise * torch.eye(n).to(x))
        dual = inverse @ y
        return x.T @ dual, dual / inverse.diagonal()
    inverse = torch.linalg.inv(x.T @ x + noise * torch.eye(width).to(x))
    weights = inverse @ (x.T @ y)
    leverage = ((x @ inverse) * x).sum(1)
    return weights, (y - x @ weights) / (1 - leverage).clamp_min(1e-6)


def trait_statistics(traits: Float[Tensor, "people p"]) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Mean and one over the deviation of each trait where it is known; a trait that never differs has gain 0."""
    count = (~traits.isnan()).sum(0).clamp_min(1)
    mean = traits.nan_to_num().sum(0) / count
    spread = (traits - mean).nan_to_num().square().sum(0) / count
    return mean, torch.where(spread > 1e-6, spread.clamp_min(1e-6).rsqrt(), 0)


def standardise(
    traits: Float[Tensor, "*b p"], mean: Float[Tensor, " p"], gain: Float[Tensor, " p"]
) -> Float[Tensor, "*b p"]:
    """Traits centred and scaled; 0 where unknown, so that nothing is expected from them."""
    return ((traits - mean) * gain).nan_to_num().clamp(-3, 3)


def draw(allowed: Tensor, order: Float[Tensor, "b n"], most: int) -> tuple[Tensor, Float[Tensor, "b k"]]:
    """Per row the places of at most `most` allowed entries, chosen by `order`, and 1 where there is one."""
    size = max(1, min(most, int(allowed.sum(1).max())))
    value, place = torch.where(allowed, order, 2.0).topk(size, dim=1, largest=False)
    return place, (value < 2).to(order.dtype)
