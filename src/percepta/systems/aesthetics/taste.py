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

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.traits import TraitNorm

# first values of the variances, in units of the score on a scale of 1 to 7
REST, OFFSET, NOISE, FOLLOW = 0.3, 1.0, 1.1, 0.14
ALIKE = 0.9  # cosine of features: hardly two pictures of OASIS reach it, slight crops of one have 0.97


class TasteHead(TraitNorm):
    """Every member's crowd model, directions of taste, profile map and variances."""

    crowd: Tensor
    level: Tensor
    misfit: Tensor

    def __init__(self, config: Config, width: int, traits: int) -> None:
        super().__init__(traits)
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

    @torch.no_grad()
    def fit_closed_form(
        self,
        features: Float[Tensor, "n w"],
        means: Float[Tensor, "m n"],
        traits: Float[Tensor, "people p"],
    ) -> None:
        """The parts in closed form: the crowd's model of every member, and how traits are centred.

        Args:
            features: all pictures.
            means: for every member the mean score of its training people; NaN for pictures that it may not see.
            traits: of all people, NaN where unknown.
        """
        for member, mean in enumerate(means):
            known = ~mean.isnan()
            before = features[known] @ self.crowd[member]  # zero, unless another study's weights are refined
            self.level[member] = (mean[known] - before).mean()
            rest = mean[known] - before - self.level[member]
            weights, left_out = ridge(features[known], rest, self.config.taste.crowd_noise)
            self.crowd[member] += weights
            self.misfit[member] = left_out.square().mean()
        self.fit_traits(traits)

    def prior_mean(self, member: int, features: Float[Tensor, "n w"], who: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        """The score before any rating.

        Args:
            member: place of the member of the model.
            features: of n pictures.
            who: normalised traits.
        """
        taste = (features @ self.directions[member]) @ (who @ self.profile[member])
        return self.level[member] + features @ self.crowd[member] + taste

    def crowd_score(self, features: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """The score that is expected of somebody of whom nothing is known."""
        chosen = list(self.config.predicting)
        return (self.level[chosen] + features @ self.crowd[chosen].T).mean(1)

    def covariance(
        self,
        member: int,
        a: Float[Tensor, "n w"],
        b: Float[Tensor, "k w"],
        gram: Float[Tensor, "n k"],
    ) -> Float[Tensor, "n k"]:
        """Covariance of one person's scores of two sets of pictures, without noise; gram is a @ b.T, which the members
        share.

        Args:
            member: place of the member of the model.
            a: features of n pictures.
            b: features of k pictures.
            gram: a @ b.T, which the members share.
        """
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
        features: Float[Tensor, "k w"],
        attributes: Float[Tensor, "k 8"] | None,
        scores: Float[Tensor, " k"],
        members: tuple[int, ...] | None = None,
    ) -> Person:
        """Somebody's taste from who they are and what they rated.

        Args:
            traits: as `traits.traits` gives them; None: nothing is known.
            features: features of the pictures that they rated; none at all is fine.
            attributes: not used here (other heads need them).
            scores: their ratings, in the study's scale.
            members: places of the members that predict; None: `Config.predicting`.
        """
        who = torch.zeros_like(self.trait_mean) if traits is None else self.normalise_traits(traits)
        chosen = self.config.predicting if members is None else members
        factors, weights = [], []
        gram = features @ features.T
        for member in chosen:
            covariance = self.covariance(member, features, features, gram) + self.noise(member) * torch.eye(
                len(features)
            ).to(features)
            factor = torch.linalg.cholesky(covariance)
            left = (scores - self.prior_mean(member, features, who))[:, None]
            factors.append(factor)
            weights.append(torch.cholesky_solve(left, factor)[:, 0] if len(features) else left[:, 0])
        return Person(self, who, features, chosen, factors, weights)


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
        self, features: Float[Tensor, "n w"], attributes: Float[Tensor, "n 8"] | None = None
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Expected scores and the deviation of what the person thinks (not of a single, noisy rating)."""
        means, variances = [], []
        gram = features @ self.rated.T
        for place, member in enumerate(self.members):
            across = self.head.covariance(member, features, self.rated, gram)
            means.append(self.head.prior_mean(member, features, self.who) + across @ self.weights[place])
            variances.append(self._own(member, features) - self._known(place, across).square().sum(0))
        mean, misfit = torch.stack(means), self.head.misfit[list(self.members)].mean()
        variance = torch.stack(variances).mean(0).clamp_min(0) + misfit + mean.var(0, correction=0)
        return mean.mean(0), variance.sqrt()

    def rating_deviation(self, deviation: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The deviation of a single rating, which is noisier than what somebody thinks."""
        noise = self.head.log_variances[list(self.members), 2].exp().mean()
        return (deviation.square() + noise.detach()).sqrt()

    @torch.no_grad()
    def choose(self, features: Float[Tensor, "n w"], count: int) -> list[int]:
        """Up to `count` pictures to rate next: each the one of most worth once those before it are rated.

        Pictures that are nearly alike to one that is chosen or rated come last: as ratings are noisy, a second one
        would be worth something to the model, but people give the same picture the same score again.
        """
        covariances, chosen = self._posterior(features), list[int]()
        unit = functional.normalize(features)
        again = (unit @ functional.normalize(self.rated).T > ALIKE).any(1)
        for _ in range(min(count, len(features))):
            worth = self._information(covariances)
            worth = torch.where(again, worth - worth.max() - 1, worth)  # below all that are new
            worth[chosen] = -torch.inf
            best = int(worth.argmax())
            chosen.append(best)
            again |= unit @ unit[best] > ALIKE
            for place, covariance in enumerate(covariances):
                column = covariance[:, best].clone()
                covariance -= column[:, None] * column / (column[best] + self.head.noise(self.members[place]))
        return chosen

    def _posterior(self, features: Float[Tensor, "n w"]) -> list[Float[Tensor, "n n"]]:
        """Every member's covariance of these pictures' scores after the ratings."""
        gram, across, out = features @ features.T, features @ self.rated.T, []
        for place, member in enumerate(self.members):
            known = self._known(place, self.head.covariance(member, features, self.rated, across))
            out.append(self.head.covariance(member, features, features, gram) - known.T @ known)
        return out

    def _information(self, covariances: list[Float[Tensor, "n n"]]) -> Float[Tensor, " n"]:
        """By how much the sum of variances around the mean falls with a rating of each picture; mean over members.

        Offsets count for nothing here: how generous somebody is changes no order.
        """
        total = torch.zeros(len(covariances[0])).to(covariances[0])
        for member, covariance in zip(self.members, covariances, strict=True):
            centred = covariance - covariance.mean(0, keepdim=True)
            total += centred.square().sum(0) / (covariance.diagonal() + self.head.noise(member))
        return total / len(self.members)

    def _own(self, member: int, features: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """The diagonal of covariance(features, features)."""
        rest, offset, _, follow = self.head.log_variances[member].exp()
        shared = (features @ self.head.directions[member]).square().sum(1)
        return (
            shared + rest * features.square().sum(1) + offset + follow * (features @ self.head.crowd[member]).square()
        )

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
