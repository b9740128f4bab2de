"""The papers' networks: a head on the picture's features, trained on ratings and fine-tuned on a new person's.

All of them stand on NIMA-attr, which is trained at the same time: features → hidden layer → the distribution of the
crowd's scores (Talebi and Milanfar 2018; squared earth mover's distance) and the picture's attributes. On top of that

    giaa         nothing: the distribution's mean is everybody's score.
    conditional  the crowd's score, plus what two layers make of the hidden layer beside an embedding of who somebody
                 is (Yang et al. 2022; there the crowd's network is trained first, here everything at once).
    control      the same without the embedding.
    mir          MLP(attributes ⊗ traits) + MLP(distribution): PIAA-MIR as re-implementations describe it.
    ici          eight nodes each for picture and person, which act on each other and among themselves: PIAA-ICI.

Inside, scores are (score − level) / unit, and how generous somebody is counts for little while a network learns: it
changes no order, and is as much noise as all the rest. A new person's ratings fine-tune a copy of the last layers; all
before them is computed once for each picture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.datasets.ratings import Scale
from percepta.errors import InputError
from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.attributes import ATTRIBUTES
from percepta.systems.aesthetics.traits import TraitNorm

NODES = 8  # of a picture and of a person in PIAA-ICI, as many as there are attributes
MLP, NODE_MLP = 1024, 256  # hidden units in MIR and direct heads, and before nodes, as in re-implementations
GENEROUS = 1.0  # variance of a rating around somebody's offset, over the variance of offsets
TRUSTED = 50  # ratings after which fine-tuning goes half as fast as after very many


def outer(a: Float[Tensor, "n i"], b: Float[Tensor, "n j"]) -> Float[Tensor, "n i*j"]:
    """Every product of an entry of a row of `a` with one of the same row of `b`, those of `a`'s first entry first."""
    return (a[:, :, None] * b[:, None, :]).flatten(1)


def adam(values: list[nn.Parameter], loss: Callable[[], Tensor], steps: int, lr: float) -> None:
    """Steps of Adam (Kingma and Ba 2015, with their constants), in place, also where gradients are switched off.

    torch's own takes seconds to import its compiler, which nobody's first rating should wait for.

    Args:
        values: what is changed.
        loss: gives what is made smaller.
        steps: how many.
        lr: the learning rate.
    """
    means, squares = ([torch.zeros_like(value) for value in values] for _ in range(2))
    for step in range(1, steps + 1):
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(), values)
        with torch.no_grad():
            for value, gradient, mean, square in zip(values, gradients, means, squares, strict=True):
                mean.lerp_(gradient, 0.1)
                square.lerp_(gradient.square(), 0.001)
                value -= lr * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)


class Distribution(nn.Module):
    """Hidden layer → distribution of scores, and its mean. Without training: a normal around the level."""

    values: Tensor

    def __init__(self, scale: Scale, width: int) -> None:
        super().__init__()
        bins = 1 + round((scale.high - scale.low) / scale.step)
        self.linear = nn.Linear(width, bins)
        self.register_buffer("values", torch.linspace(-1, 1, bins))

    def probabilities(self, hidden: Float[Tensor, "n w"]) -> Float[Tensor, "n bins"]:
        return (self.linear(hidden) - 0.5 * self.values.square()).softmax(1)

    def forward(self, hidden: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        return self.probabilities(hidden) @ self.values


class Nima(nn.Module):
    """Features → hidden layer → distribution of scores and attributes."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(width, config.head.width)
        self.distribution = Distribution(config.scale, config.head.width)
        self.attributes = nn.Linear(config.head.width, len(ATTRIBUTES))

    def forward(self, features: Float[Tensor, "n w"]) -> Float[Tensor, "n hidden"]:
        """The hidden layer. Rows of features have length about 1; layers expect that of entries."""
        return self.trunk(features * features.shape[1] ** 0.5).relu()


class Network(TraitNorm):
    """What the designs share. Each adds `picture`, `subject` and `meet`, which a new person leaves as they are, and
    `last`, which their ratings fine-tune."""

    level: Tensor
    last: nn.Module
    personal = True  # whether single ratings train it

    def __init__(self, config: Config, width: int, traits: int) -> None:
        super().__init__(traits)
        self.config = config
        self.unit = (config.scale.high - config.scale.low) / 4
        self.nima = Nima(config, width)
        self.log_variance = nn.Parameter(torch.zeros(()))  # of a rating around what is expected
        self.register_buffer("level", torch.tensor((config.scale.high + config.scale.low) / 2.0))

    def picture(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n d"]:
        """What is known of a picture alone, from NIMA's hidden layer."""
        return hidden

    def subject(self, who: Float[Tensor, "b p"]) -> Float[Tensor, "b s"]:
        """What is known of a person alone, from their traits."""
        return who[:, :0]

    def meet(self, picture: Float[Tensor, "n d"], subject: Float[Tensor, "n s"]) -> Float[Tensor, "n z"]:
        """Both together: what `last` sees."""
        return torch.cat([picture, subject], 1)

    @torch.no_grad()
    def fit_closed_form(
        self, features: Float[Tensor, "n w"], means: Float[Tensor, "m n"], traits: Float[Tensor, "people p"]
    ) -> None:
        """The mean score, where predictions start, and how traits are centred; see `TasteHead.fit_closed_form`.

        Args:
            features: not used.
            means: for every member the mean score of its training people; NaN for pictures that it may not see.
            traits: of all people, NaN where unknown.
        """
        self.level.copy_(means[0, ~means[0].isnan()].mean())
        scale, values = self.config.scale, self.nima.distribution.values
        bins = torch.linspace(scale.low, scale.high, len(values), device=values.device)
        values.copy_((bins - self.level) / self.unit)
        self.fit_traits(traits)

    def crowd_score(self, features: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """The score that is expected of somebody of whom nothing is known, in the study's scale."""
        subject = self.subject(torch.zeros_like(self.trait_mean)[None]).expand(len(features), -1)
        expected = self.last(self.meet(self.picture(self.nima(features)), subject)).flatten()
        return self.level + self.unit * expected

    @torch.no_grad()
    def person(
        self,
        traits: Float[Tensor, " p"] | None,
        features: Float[Tensor, "k w"],
        attributes: Float[Tensor, "k 8"] | None,
        scores: Float[Tensor, " k"],
        members: tuple[int, ...] | None = None,
    ) -> Person:
        """Somebody's network: `last` fine-tuned on their ratings. The head itself stays as it is.

        Args:
            traits: as `traits.traits` gives them; None: nothing is known.
            features: features of the pictures that they rated; none at all is fine.
            attributes: not used: NIMA-attr has its own idea of them.
            scores: their ratings, in the study's scale.
            members: not used: there is one.
        """
        who = torch.zeros_like(self.trait_mean) if traits is None else self.normalise_traits(traits[None])[0]
        person = Person(self, self.subject(who[None]), copy.deepcopy(self.last), features.new_zeros(()))
        if len(scores):
            person.tune(person.inputs(features), (scores - self.level) / self.unit)
        return person


@dataclass
class Person:
    """One person's network: who they are, their own last layers, and how generous they are (in units)."""

    head: Network
    subject: Float[Tensor, "1 s"]
    last: nn.Module
    offset: Float[Tensor, ""]

    def inputs(self, features: Float[Tensor, "n w"]) -> Float[Tensor, "n z"]:
        """What the last layers see of pictures."""
        picture = self.head.picture(self.head.nima(features))
        return self.head.meet(picture, self.subject.expand(len(features), -1))

    def tune(self, inputs: Float[Tensor, "k z"], target: Float[Tensor, " k"]) -> None:
        """Fine-tuning on ratings: a few steps of Adam on the squared error.

        How generous somebody is changes no order, and gradient steps should not be spent on it: in every step the
        offset is the best one, and at the end it is shrunk as if it had been known to be about 0.
        """
        settings = self.head.config.head

        def loss() -> Tensor:
            return (target - self.last(inputs).flatten()).var(correction=0)

        # A step of Adam is as long for two ratings as for a hundred; what they tell is not.
        lr = settings.adapt_lr * len(target) / (len(target) + TRUSTED)
        if len(target) > 1:
            adam(list(self.last.requires_grad_(True).parameters()), loss, settings.adapt_steps, lr)
        left = target - self.last.requires_grad_(False)(inputs).flatten()
        self.offset = left.sum() / (len(target) + GENEROUS)

    @torch.no_grad()
    def predict(
        self, features: Float[Tensor, "n w"], attributes: Float[Tensor, "n 8"] | None = None
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Expected scores and the deviation of a rating from them, the same for all pictures, in the study's scale."""
        mean = self.last(self.inputs(features)).flatten() + self.offset
        deviation = (0.5 * self.head.log_variance).exp().expand_as(mean)
        return self.head.level + self.head.unit * mean, self.head.unit * deviation

    def rating_deviation(self, deviation: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The deviation of a single rating, which is what `predict` gives here."""
        return deviation


class Generic(Network):
    """GIAA: one score for everybody. A new person's ratings fine-tune the layer of the distribution."""

    personal = False

    @property
    def last(self) -> nn.Module:  # type: ignore[override]
        return self.nima.distribution


class Conditional(Network):
    """The paper's: the crowd's score plus a network on the hidden layer beside an embedding of the subject; without the
    embedding (`told` is False) the control."""

    def __init__(self, config: Config, width: int, traits: int, told: bool = True) -> None:
        super().__init__(config, width, traits)
        self.told = told
        beside = config.head.subject if told else 0
        if told:
            self.embed = nn.Linear(traits, beside)
        self.last = Sum(1, nn.Identity(), _mlp(config.head.width + beside, config.head.mixed))

    def picture(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n d"]:
        return torch.cat([self.nima.distribution(hidden)[:, None], hidden], 1)

    def subject(self, who: Float[Tensor, "b p"]) -> Float[Tensor, "b s"]:
        return self.embed(who).relu() if self.told else who[:, :0]


class Mir(Network):
    """PIAA-MIR: each attribute times each trait, and beside it what the crowd's scores say."""

    def __init__(self, config: Config, width: int, traits: int) -> None:
        super().__init__(config, width, traits)
        crossed = len(ATTRIBUTES) * traits
        bins = len(self.nima.distribution.values)
        self.last = Sum(crossed, _mlp(crossed, MLP), _mlp(bins, MLP))

    def picture(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n d"]:
        return torch.cat([self.nima.attributes(hidden), _weighed(self.nima, hidden)], 1)

    def subject(self, who: Float[Tensor, "b p"]) -> Float[Tensor, "b s"]:
        return who

    def meet(self, picture: Float[Tensor, "n d"], subject: Float[Tensor, "n s"]) -> Float[Tensor, "n z"]:
        attributes, crowd = picture[:, : len(ATTRIBUTES)], picture[:, len(ATTRIBUTES) :]
        return torch.cat([outer(attributes, subject), crowd], 1)


class Ici(Network):
    """PIAA-ICI: nodes of the picture's attributes and of the person's traits interact among themselves (internal) and
    with those of the other (external); a GRU cell takes both into each node."""

    def __init__(self, config: Config, width: int, traits: int) -> None:
        super().__init__(config, width, traits)
        size, bins = config.head.nodes, len(self.nima.distribution.values)
        self.size = size
        self.picture_nodes = _mlp(len(ATTRIBUTES), NODE_MLP, NODES * size)
        self.person_nodes = _mlp(traits, NODE_MLP, NODES * size)
        self.picture_inside, self.person_inside, self.outside = (Interaction(size) for _ in range(3))
        self.picture_cell, self.person_cell = (nn.GRUCell(2 * size, size) for _ in range(2))
        self.last = Sum(size, nn.Linear(size, 1), _mlp(bins, MLP))

    def picture(self, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n d"]:
        nodes = self._nodes(self.picture_nodes(self.nima.attributes(hidden)))
        inside, _ = self.picture_inside(nodes, nodes)
        return torch.cat([nodes.flatten(1), inside.flatten(1), _weighed(self.nima, hidden)], 1)

    def subject(self, who: Float[Tensor, "b p"]) -> Float[Tensor, "b s"]:
        nodes = self._nodes(self.person_nodes(who))
        inside, _ = self.person_inside(nodes, nodes)
        return torch.cat([nodes.flatten(1), inside.flatten(1)], 1)

    def meet(self, picture: Float[Tensor, "n d"], subject: Float[Tensor, "n s"]) -> Float[Tensor, "n z"]:
        length = NODES * self.size
        crowd = picture[:, 2 * length :]
        a, a_inside = (self._nodes(part) for part in picture[:, : 2 * length].split(length, 1))
        b, b_inside = (self._nodes(part) for part in subject.split(length, 1))
        a_outside, b_outside = self.outside(a, b)
        looked = self._fuse(self.picture_cell, a, a_inside, a_outside)
        fused = looked + self._fuse(self.person_cell, b, b_inside, b_outside)
        return torch.cat([fused, crowd], 1)

    def _nodes(self, flat: Float[Tensor, "n d"]) -> Float[Tensor, "n 8 size"]:
        return flat.reshape(len(flat), NODES, self.size)

    def _fuse(
        self,
        cell: nn.GRUCell,
        nodes: Float[Tensor, "n 8 size"],
        inside: Float[Tensor, "n 8 size"],
        outside: Float[Tensor, "n 8 size"],
    ) -> Float[Tensor, "n size"]:
        """Mean over nodes, after each has taken in what acts on it."""
        given = torch.cat([inside, outside], 2).flatten(0, 1)
        return cell(given, nodes.flatten(0, 1)).reshape(nodes.shape).mean(1)


class Interaction(nn.Module):
    """MLP(a_i ⊙ b_j) for all pairs of nodes, as means: the papers' sums, up to a factor of weights."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size)

    def forward(
        self, a: Float[Tensor, "n i size"], b: Float[Tensor, "n j size"]
    ) -> tuple[Float[Tensor, "n i size"], Float[Tensor, "n j size"]]:
        """What acts on every node of a, and on every node of b."""
        pairs = self.first(a[:, :, None] * b[:, None]).relu()
        return self.second(pairs.mean(2)), self.second(pairs.mean(1))  # linear: the same after the mean as before


class Sum(nn.Module):
    """One network on the first entries of a row plus another on the rest."""

    def __init__(self, cut: int, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.cut, self.first, self.second = cut, first, second

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        return self.first(x[:, : self.cut]) + self.second(x[:, self.cut :])


def make(config: Config, width: int, traits: int) -> Network:
    """The head of a design.

    Args:
        config: says which design.
        width: of the features.
        traits: numbers that are known about a person.

    Raises:
        InputError: several members, or a study that tells nothing about people for a design that asks who they are.
    """
    if len(config.members) != 1:
        raise InputError(f"{config.design} has one member, not {config.members}; say which part it leaves out: (0,)")
    if config.design in ("conditional", "mir", "ici") and not traits:
        raise InputError(
            f"{config.design} asks who somebody is, and {config.study} says nothing about people; take control or giaa"
        )
    if config.design == "control":
        return Conditional(config, width, traits, told=False)
    return {"giaa": Generic, "conditional": Conditional, "mir": Mir, "ici": Ici}[config.design](config, width, traits)


def _mlp(width: int, hidden: int, out: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


def _weighed(nima: Nima, hidden: Float[Tensor, "n hidden"]) -> Float[Tensor, "n bins"]:
    """The distribution, each share times its score."""
    return nima.distribution.probabilities(hidden) * nima.distribution.values
