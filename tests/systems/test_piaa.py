"""The papers' networks of personal aesthetics: their losses, what they may see, and fine-tuning on a person."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor, nn

from percepta.config import TrainConfig
from percepta.contract import Step
from percepta.optim import make_optimizer
from percepta.systems.aesthetics import Config, Head
from percepta.systems.aesthetics.data import People, data
from percepta.systems.aesthetics.losses import emd, rating_loss
from percepta.systems.aesthetics.model import AestheticsNetwork
from percepta.systems.aesthetics.piaa import Interaction, Network, adam, make, outer
from percepta.train import Batches

DESIGNS = ("giaa", "conditional", "control", "mir", "ici")
ASK_WHO = ("conditional", "mir", "ici")
WIDTH = 20

every_design = pytest.mark.parametrize("design", DESIGNS)


def settings(design: Any, **head: Any) -> Config:
    """The synthetic world, a quarter of which is held out."""
    small = {"width": 24, "subject": 8, "mixed": 16, "nodes": 6, "ratings": 6, "adapt_lr": 3e-3} | head
    return Config(design, study="world", encoder="plain", size=48, folds=4, head=Head(**small))


@pytest.fixture(scope="module")
def world() -> People:
    return data(settings("giaa"), "train", None)


@pytest.fixture(scope="module")
def looks() -> Tensor:
    """Any features; rows of length about 1."""
    return torch.randn(120, WIDTH, generator=torch.Generator().manual_seed(1)) / WIDTH**0.5


def batch_of(world: People, rows: range = range(12)) -> dict[str, Any]:
    """People of training, and some of the part that is held out beside them."""
    held = int(np.flatnonzero(world.person_fold == 0)[0])
    judged = torch.randn(120, 8, generator=torch.Generator().manual_seed(2))
    batch = world.collate([*(world[(0, row)] for row in rows), {"person": held, "member": -1}]) | {"attributes": judged}
    return {"histograms": histograms(world), **batch}


def histograms(world: People) -> Tensor:
    """The share of each score among the training people's; NaN for pictures of the held-out part."""
    scores = world.scores[world.person_fold != 0]
    counts = np.stack([(scores == value).sum(0) for value in range(1, 8)], 1) / (~np.isnan(scores)).sum(0)[:, None]
    return torch.from_numpy(np.where(np.isnan(world.means[0])[:, None], np.nan, counts))[None].float()


def fitted(design: str, world: People, looks: Tensor, **head: Any) -> Network:
    torch.manual_seed(3)
    network = make(settings(design, **head), WIDTH, world.traits.shape[1])
    network.fit_closed_form(looks, torch.from_numpy(world.means).float(), torch.from_numpy(world.traits).float())
    return network


def step() -> Step:
    return Step(0, 0, torch.Generator().manual_seed(4))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def slow_emd(p: list[float], q: list[float]) -> float:
    """Mean over bins of the squared difference of the shares up to and with this bin."""
    total = 0.0
    for last in range(len(p)):
        total += (sum(p[: last + 1]) - sum(q[: last + 1])) ** 2
    return total / len(p)


shares = st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(lambda row: [value / sum(row) for value in row])


@given(shares, shares)
def test_emd_is_that_of_a_loop(p: list[float], q: list[float]) -> None:
    fast = emd(torch.tensor([p, q]), torch.tensor([q, q]))
    assert fast[0].item() == pytest.approx(slow_emd(p, q), abs=1e-6)
    assert fast[1].item() == 0


def test_emd_grows_with_the_distance() -> None:
    """Unlike cross-entropy: the next bin is nearer than the one after it."""
    ends = torch.eye(7)
    near, far = emd(ends[:1], ends[1:2]), emd(ends[:1], ends[6:])
    assert near.item() == pytest.approx(1 / 7) and far.item() == pytest.approx(6 / 7)


def test_outer_holds_every_product() -> None:
    a, b = torch.randn(3, 4), torch.randn(3, 5)
    slow = [[a[n, i].item() * b[n, j].item() for i in range(4) for j in range(5)] for n in range(3)]
    assert torch.allclose(outer(a, b), torch.tensor(slow))


def test_nodes_interact_in_pairs() -> None:
    interaction, a, b = Interaction(6), torch.randn(2, 3, 6), torch.randn(2, 4, 6)
    on_a, on_b = interaction(a, b)
    for n in range(2):
        pair = [[interaction.second(interaction.first(a[n, i] * b[n, j]).relu()) for j in range(4)] for i in range(3)]
        for i in range(3):
            assert torch.allclose(on_a[n, i], sum(pair[i], torch.zeros(6)) / 4, atol=1e-5)
        for j in range(4):
            assert torch.allclose(on_b[n, j], sum((row[j] for row in pair), torch.zeros(6)) / 3, atol=1e-5)


def test_adam_is_torchs() -> None:
    inputs, target = torch.randn(9, 4), torch.randn(9)
    ours = nn.Linear(4, 1)
    theirs = copy.deepcopy(ours)
    with torch.no_grad():
        adam(list(ours.parameters()), lambda: (target - ours(inputs).flatten()).square().mean(), 7, 0.03)
    optimizer = torch.optim.Adam(theirs.parameters(), 0.03)
    for _ in range(7):
        optimizer.zero_grad()
        (target - theirs(inputs).flatten()).square().mean().backward()
        optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@every_design
def test_the_loss_reaches_every_parameter(design: str, world: People, looks: Tensor) -> None:
    network = fitted(design, world, looks).train()
    losses = rating_loss(network, looks, batch_of(world), step())
    assert losses["loss"].isfinite() and set(losses) == {"loss", "rating", "distribution", "attributes"}
    losses["loss"].backward()
    still = [n for n, v in network.named_parameters() if v.grad is None or not v.grad.abs().sum() > 0]
    assert still == []


@every_design
def test_what_is_held_out_has_no_influence(design: str, world: People, looks: Tensor) -> None:
    """Neither ratings of held-out people nor of held-out pictures change a loss; others do."""
    network, batch = fitted(design, world, looks).eval(), batch_of(world)
    before = rating_loss(network, looks, batch, step())["loss"]
    hidden = (batch["person_fold"] == 0)[:, None] | (batch["picture_fold"] == 0)[None]
    assert hidden.any(1).all() and hidden.all(1).any()
    flipped = 8 - batch["scores"]
    other = torch.where(hidden, flipped, batch["scores"])
    assert torch.equal(rating_loss(network, looks, batch | {"scores": other}, step())["loss"], before)
    seen = torch.where(hidden, batch["scores"], flipped)
    assert not torch.equal(rating_loss(network, looks, batch | {"scores": seen}, step())["loss"], before)


@every_design
def test_held_out_pictures_are_not_looked_at(design: str, world: People, looks: Tensor) -> None:
    network, batch = fitted(design, world, looks).eval(), batch_of(world)
    blank = looks.clone()
    blank[batch["picture_fold"] == 0] = torch.nan
    assert torch.equal(
        rating_loss(network, blank, batch, step())["loss"], rating_loss(network, looks, batch, step())["loss"]
    )


def test_a_batch_of_held_out_people_has_a_loss_of_nothing(world: People, looks: Tensor) -> None:
    network, batch = fitted("conditional", world, looks), batch_of(world, range(0))
    loss = rating_loss(network, looks, batch, step())["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all(value.grad is not None and not value.grad.any() for value in network.parameters())


@every_design
def test_predictions_start_at_the_level(design: str, world: People, looks: Tensor) -> None:
    network = fitted(design, world, looks)
    level = float(np.nanmean(world.means))
    mean, deviation = network.person(None, looks[:0], None, torch.zeros(0)).predict(looks)
    assert network.level.item() == pytest.approx(level, abs=1e-4)
    assert (mean - level).abs().mean() < 0.6
    assert (deviation > 0).all()


@every_design
def test_without_ratings_nothing_is_tuned(design: str, world: People, looks: Tensor) -> None:
    network = fitted(design, world, looks)
    mean, _ = network.person(None, looks[:0], None, torch.zeros(0)).predict(looks)
    assert torch.allclose(mean, network.crowd_score(looks), atol=1e-6)
    traits = torch.from_numpy(world.traits[0]).float()
    person = network.person(traits, looks[:0], None, torch.zeros(0), members=(0,))
    assert all(torch.equal(a, b) for a, b in zip(person.last.parameters(), network.last.parameters(), strict=True))
    assert person.offset == 0


@every_design
@pytest.mark.parametrize("ratings", [1, 12])
def test_tuning_fits_a_person_and_leaves_the_head_alone(
    design: str, ratings: int, world: People, looks: Tensor
) -> None:
    network = fitted(design, world, looks)
    before = weights(network)
    traits = torch.from_numpy(world.traits[0]).float()
    scores = torch.linspace(1, 7, 12)[:ratings]
    rated = looks[:ratings]
    with torch.no_grad():  # as an evaluation calls it
        one, again = (network.person(traits, rated, None, scores).predict(looks)[0] for _ in range(2))
        untold = network.person(traits, rated[:0], None, scores[:0]).predict(looks)[0]
    assert torch.equal(one, again)
    assert (one[:ratings] - scores).square().mean() < (untold[:ratings] - scores).square().mean()
    if ratings == 1:
        difference = one - untold
        assert torch.allclose(difference, difference[:1].expand_as(difference), atol=1e-5), "one rating: an offset only"
    else:
        assert (one - untold)[:ratings].sub((scores - untold[:ratings]).mean()).std() > 1e-3
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(value.requires_grad and value.grad is None for value in network.parameters())


def test_tuning_is_the_same_in_training_mode(world: People, looks: Tensor) -> None:
    network, scores = fitted("conditional", world, looks), torch.tensor([1.0, 5.0, 6.0])
    one, again = (
        mode.person(None, looks[:3], None, scores).predict(looks)[0]
        for mode in (copy.deepcopy(network).train(), network.eval())
    )
    assert torch.equal(one, again)


@every_design
def test_who_somebody_is_counts_where_it_should(design: str, world: People, looks: Tensor) -> None:
    network = fitted(design, world, looks)
    young, old = torch.tensor([-1.0, 1, 0, 0]), torch.tensor([1.0, 0, 1, 0])
    none = looks[:0]
    one, other, nobody = (network.person(t, none, None, torch.zeros(0)).predict(looks)[0] for t in (young, old, None))
    assert torch.equal(one, other) == (design not in ASK_WHO)
    unknown = network.person(torch.full((4,), torch.nan), none, None, torch.zeros(0)).predict(looks)[0]
    assert torch.equal(unknown, nobody)
    if design in ASK_WHO:  # not only how generous somebody is, but what they prefer
        assert (one - other).std() > 1e-4


def learned(design: str, world: People) -> dict[int, float]:
    """Mean rank correlation of held-out people on held-out pictures after 0 and 60 ratings."""
    config = replace(
        settings(design, width=64, mixed=64, dropout=0.1, ratings=16, adapt_lr=1e-3),
        train=TrainConfig(steps=150, batch_size=16, lr=3e-3, clip_norm=1.0),
    )
    torch.manual_seed(0)
    model = AestheticsNetwork(config, make)
    network, features = model.head, model.extract(world.pictures)
    assert isinstance(network, Network)
    model.fit_normalisation(features)
    looks, judged = model.normalise(features), model.attributes(features)
    optimizer = make_optimizer(network, config.train)
    for number, keys in enumerate(Batches(len(world), config.train)):
        batch = {"histograms": histograms(world), **world.collate([world[key] for key in keys]), "attributes": judged}
        if number == 0:
            network.fit_closed_form(looks, batch["means"], batch["everybody"])
        optimizer.zero_grad()
        rating_loss(network, looks, batch, Step(number, 0, torch.Generator().manual_seed(number)))["loss"].backward()
        optimizer.step()
    network.eval()
    found: dict[int, list[float]] = {0: [], 60: []}
    for who in np.flatnonzero(world.person_fold == 0):
        given, scores = np.flatnonzero(~np.isnan(world.scores[who])), torch.from_numpy(world.scores[who]).float()
        tested = given[world.picture_fold[given] == 0]
        rated = given[world.picture_fold[given] != 0]
        for shots, values in found.items():
            shown = rated[:shots]
            traits = torch.from_numpy(world.traits[who]).float()
            mean, _ = network.person(traits, looks[shown], judged[shown], scores[shown]).predict(looks[tested])
            values.append(float(spearmanr(mean, scores[tested]).statistic))  # type: ignore[attr-defined]
    return {shots: float(np.mean(values)) for shots, values in found.items()}


def test_who_somebody_is_and_their_ratings_both_help(world: People) -> None:
    """On the synthetic world, whose crowd agrees on little: the paper's point."""
    told, untold = learned("conditional", world), learned("control", world)
    assert told[0] > untold[0] + 0.15, (told, untold)
    assert told[60] > told[0] + 0.1 and untold[60] > untold[0] + 0.1, (told, untold)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"giaa has one member, not \(0, 1\)"):
        make(replace(settings("giaa"), members=(0, 1)), WIDTH, 4)
    with pytest.raises(ValueError, match="flickr-aes says nothing about people; take control"):
        make(replace(settings("mir"), study="flickr-aes"), WIDTH, 0)
    assert isinstance(make(replace(settings("control"), study="flickr-aes"), WIDTH, 0), Network)
