"""The parts of personal aesthetics against slow references: splits, likelihood, closed forms, attributes, measures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from percepta import report
from percepta.contract import Step
from percepta.datasets.ratings import Field
from percepta.metrics import Metric
from percepta.nn import concepts, imagenet
from percepta.systems.aesthetics import PRESETS, SCALES, Config
from percepta.systems.aesthetics.attributes import ATTRIBUTES, attributes
from percepta.systems.aesthetics.data import data, parts
from percepta.systems.aesthetics.evaluate import Ridge, fairness, plcc, srocc
from percepta.systems.aesthetics.losses import likelihood, loss
from percepta.systems.aesthetics.model import AestheticsNetwork
from percepta.systems.aesthetics.taste import ridge
from percepta.systems.aesthetics.traits import trait_names, traits

CONFIG = replace(PRESETS["tiny"], members=(0, 1, -1))


def step(number: int = 0) -> Step:
    return Step(number, 0, torch.Generator().manual_seed(3))


def batch(config: Config = CONFIG, split: str = "train", count: int = 12) -> dict[str, Any]:
    found = data(config, split, None)
    return found.collate([found[(0, index)] for index in range(count)])


def fitted(config: Config = CONFIG) -> tuple[AestheticsNetwork, dict[str, Any]]:
    """A model whose closed forms are taken and whose directions are not small."""
    torch.manual_seed(1)
    model, some = AestheticsNetwork(config).eval(), batch(config)
    loss(model, some, step())
    with torch.no_grad():
        for value in model.head.parameters():
            value += 0.1 * torch.randn_like(value)
    return model, some


# ---------------------------------------------------------------------------------------------------- splits


@given(st.lists(st.text(max_size=3), max_size=40), st.integers(1, 6), st.integers(0, 99))
def test_parts_are_even_and_keep_equal_names_together(names: list[str], count: int, seed: int) -> None:
    place = parts(names, count, seed, "pictures")
    by_name: dict[str, set[int]] = {}
    for name, part in zip(names, place, strict=True):
        by_name.setdefault(name, set()).add(int(part))
    assert all(len(found) == 1 for found in by_name.values())
    sizes = np.bincount([next(iter(found)) for found in by_name.values()], minlength=count)
    assert sizes.max(initial=0) - sizes.min() <= 1
    assert (parts(names, count, seed, "pictures") == place).all()


def test_what_is_held_out_has_no_influence() -> None:
    """Other scores of its part's people or pictures change nothing about a member; the member that saw all changes."""
    results = []
    for change in (False, True):
        some = batch(count=96)
        if change:
            hidden = (some["person_fold"] == 0)[:, None] | (some["picture_fold"] == 0)[None]
            noise = torch.randint(1, 8, some["scores"].shape, generator=torch.Generator().manual_seed(9)).float()
            some["scores"] = torch.where(hidden & ~some["scores"].isnan(), noise, some["scores"])
            fold = some["person_fold"].numpy()
            whole = some["scores"].numpy()
            for member, held in enumerate(CONFIG.members):
                mean = np.nanmean(whole[fold != held], 0)
                some["means"][member] = torch.from_numpy(np.where(some["picture_fold"] == held, np.nan, mean))
        torch.manual_seed(0)
        model = AestheticsNetwork(CONFIG)
        loss(model, some, step())["loss"].backward()
        results.append((model.head.crowd.clone(), model.head.directions.grad.clone()))
    for before, after in zip(*results, strict=True):
        assert torch.equal(before[0], after[0])
        assert not torch.equal(before[1], after[1]) and not torch.equal(before[2], after[2])


def test_val_tests_every_held_out_person_once_by_the_member_that_does_not_know_them() -> None:
    found = data(CONFIG, "val", None)
    assert len({who for who, _ in found.rows}) == len(found.rows)
    assert all(found.person_fold[who] == CONFIG.members[member] for who, member in found.rows)
    assert np.isnan(found.means[0]).sum() == (found.picture_fold == 0).sum() and not np.isnan(found.means[2]).any()


def test_histograms_have_the_means_of_the_crowd() -> None:
    found = data(CONFIG, "train", None)
    values = np.arange(1, 8)
    means = (found.histograms * values).sum(2)
    assert (np.isnan(means) == np.isnan(found.means)).all()
    assert np.allclose(means, found.means, equal_nan=True) and np.nanmax(abs(found.histograms.sum(2) - 1)) < 1e-9


def test_a_model_that_saw_everything_has_nothing_to_be_judged_by() -> None:
    with pytest.raises(ValueError, match="nothing is held out"):
        data(replace(CONFIG, members=(-1,)), "val", None)
    with pytest.raises(ValueError, match="no split 'tset'"):
        data(CONFIG, "tset", None)
    with pytest.raises(ValueError, match="too few for 90 parts"):
        data(replace(CONFIG, folds=90), "train", None)


def test_other_layouts_and_albums_are_refused_with_what_to_do(tmp_path: Any) -> None:
    from PIL import Image

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "ratings.csv").write_text("file,score\na.png,3\n")
    with pytest.raises(ValueError, match="percepta predict aesthetics"):
        data(CONFIG, "train", tmp_path)


# ------------------------------------------------------------------------------------------- the model of taste


def test_the_loss_is_the_gaussian_log_likelihood() -> None:
    """Person by person with scipy's multivariate normal, in double precision."""
    model, some = fitted()
    head, looks = model.head, model.normalise(model.extract(some["pictures"])).double()
    value = float(likelihood(head, looks.float(), some, step())["fit"])
    means = []
    for member, fold in enumerate(CONFIG.members):
        total, count = 0.0, 0
        rest, offset, noise, follow = head.log_variances[member].double().exp().tolist()
        for row in range(len(some["scores"])):
            if int(some["person_fold"][row]) == fold:
                continue
            mean = some["means"][member].double()
            seen = torch.where(~some["scores"][row].isnan() & ~mean.isnan())[0]
            x, y = looks[seen], some["scores"][row][seen].double()
            z = x @ head.directions[member].double()
            who = head.normalise_traits(some["traits"][row]).double() @ head.profile[member].double()
            crowd = mean[seen] - head.level[member].double()
            covariance = z @ z.T + rest * x @ x.T + offset + follow * crowd[:, None] * crowd[None]
            covariance = (covariance + noise * torch.eye(len(seen))).detach().numpy()
            expected = (mean[seen] + z @ who).detach().numpy()
            total -= stats.multivariate_normal(expected, covariance).logpdf(y.numpy())
            total -= 0.5 * len(seen) * np.log(2 * np.pi)  # the loss leaves out what no parameter changes
            count += len(seen)
        means.append(total / count)
    assert value == pytest.approx(np.mean(means), rel=1e-4)


@given(st.integers(2, 12), st.integers(1, 9), st.floats(0.05, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_ridge_and_its_left_out_errors(n: int, width: int, noise: float, seed: int) -> None:
    """Whichever side is smaller: the normal equations, and really leaving each sample out."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    weights, left_out = ridge(x, y, noise)

    def solve(rows: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve(
            x[rows].T @ x[rows] + noise * torch.eye(width, dtype=torch.float64), x[rows].T @ y[rows]
        )

    assert torch.allclose(weights, solve(torch.arange(n)), atol=1e-8)
    for i in range(n):
        rest = torch.cat([torch.arange(i), torch.arange(i + 1, n)])
        assert float(left_out[i]) == pytest.approx(float(y[i] - x[i] @ solve(rest)), abs=1e-7)


def test_ratings_move_predictions_towards_them_and_make_them_surer() -> None:
    model, some = fitted()
    head, looks = model.head, model.normalise(model.extract(some["pictures"]))
    before, unsure = head.person(None, looks[:0], None, looks.new_zeros(0)).predict(looks)
    surprise = torch.tensor([2.0, 2.0, 1.0, -2.5, -2.5])
    after, surer = head.person(None, looks[:5], None, before[:5] + surprise).predict(looks)
    moved = (after - before)[:5]
    assert float(moved @ surprise) > 0.5 and (surprise - moved).norm() < surprise.norm()
    assert (surer <= unsure + 1e-5).all() and (surer[:5] < unsure[:5] - 0.05).all()


def test_who_nobody_is_counts_for_nothing() -> None:
    """A profile of which nothing is known, and no profile, are the same; one that is known is not."""
    model, some = fitted()
    head, looks = model.head, model.normalise(model.extract(some["pictures"]))
    blank = torch.full((some["traits"].shape[1],), float("nan"))
    people_ = [None, blank, some["traits"][0]]
    first, second, third = (head.person(who, looks[:0], None, looks.new_zeros(0)).predict(looks)[0] for who in people_)
    assert torch.equal(first, second) and not torch.allclose(first, third, atol=1e-3)


def test_the_member_that_saw_everything_predicts() -> None:
    model, some = fitted()
    head, looks = model.head, model.normalise(model.extract(some["pictures"]))
    alone = head.person(None, looks[:0], None, looks.new_zeros(0), (2,)).predict(looks)[0]
    assert torch.equal(head.person(None, looks[:0], None, looks.new_zeros(0)).predict(looks)[0], alone)
    assert torch.allclose(head.crowd_score(looks), alone, atol=1e-5)
    assert replace(CONFIG, members=(0, 1)).predicting == (0, 1)


def test_standardised_features_have_the_variance_that_is_said() -> None:
    model, some = fitted()
    features = model.extract(some["pictures"])
    looks = model.normalise(features)
    assert float(looks.mean(0).abs().max()) < 1e-4
    assert float(looks.square().sum(1).mean()) == pytest.approx(1, rel=1e-3)
    spread = model.attributes(features).std(0, correction=0)
    assert torch.allclose(spread, torch.ones(8), atol=1e-2)


# --------------------------------------------------------------------------------------------------- people


def test_traits_of_a_profile() -> None:
    fields = (Field("age", "number", low=20, high=60), Field("gender", "choice", ("male", "female")))
    assert trait_names(fields) == ["age", "gender=male", "gender=female"]
    assert traits({"age": 40, "gender": "Female"}, fields).tolist() == [0, 0, 1]
    assert np.isnan(traits({}, fields)).all()
    with pytest.raises(ValueError, match="no field 'agee' in a profile; it may hold age, gender"):
        traits({"agee": 4}, fields)
    with pytest.raises(ValueError, match="gender: expected one of male, female"):
        traits({"gender": "cat"}, fields)
    for config in PRESETS.values():
        assert config.scale == SCALES[config.study] and len(trait_names(config.fields)) > 0


# ----------------------------------------------------------------------------------- attributes and concepts


def slow(image: np.ndarray) -> list[float]:
    """The attributes of one picture with loops, from their definitions."""
    _, height, width = image.shape
    light = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            r, g, b = image[:, y, x]
            light[y, x] = 0.2126 * r + 0.7152 * g + 0.0722 * b
    red_green, yellow_blue = image[0] - image[1], (image[0] + image[1]) / 2 - image[2]
    colour = np.hypot(red_green.std(), yellow_blue.std()) + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    edges, total, middle, gradients = [], 0.0, 0.0, []
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            around = light[y - 1, x] + light[y + 1, x] + light[y, x - 1] + light[y, x + 1]
            edges.append(abs(4 * light[y, x] - around))
    h, w = height - 1, width - 1
    for y in range(h):
        for x in range(w):
            value = abs(light[y, x + 1] - light[y, x]) + abs(light[y + 1, x] - light[y, x])
            gradients.append(value)
            total += value
            middle += value * (h // 4 <= y < h - h // 4 and w // 4 <= x < w - w // 4)
    mirrored = np.mean([abs(light[y, x] - light[y, width - 1 - x]) for y in range(height) for x in range(width)])
    return [
        light.mean(), light.std(), colour, (image[0] - image[2]).mean(), np.log(np.mean(edges) + 1e-4),
        np.log(np.mean(gradients) + 1e-4), middle / max(total, 1e-6), 1 - mirrored,
    ]  # fmt: skip


@given(st.integers(8, 13), st.integers(8, 13), st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_attributes_by_their_definitions(height: int, width: int, seed: int) -> None:
    images = np.random.default_rng(seed).random((2, 3, height, width)).astype(np.float32)
    fast = attributes(torch.from_numpy(images)).numpy()
    assert fast.shape == (2, len(ATTRIBUTES))
    for row, image in zip(fast, images.astype(np.float64), strict=True):
        assert np.allclose(row, slow(image), atol=1e-4)


def test_concepts_are_a_mean_of_names() -> None:
    from percepta import weights

    space = concepts.Concepts()
    space.read(weights.find("concepts"))
    logits = torch.full((1, 1000), -1e4)
    logits[0, 7] = 0
    assert torch.allclose(space(logits)[0], space.vectors[7])
    assert float(space.vectors.mean(0).abs().max()) < 1e-3
    vectors = torch.nn.functional.normalize(space.vectors, dim=1)
    place = {name: index for index, name in enumerate(imagenet.names())}
    cats, drill = [place["tabby cat"], place["Siamese cat"]], place["power drill"]
    assert vectors[cats[0]] @ vectors[cats[1]] > vectors[cats[0]] @ vectors[drill] + 0.2


# ------------------------------------------------------------------------------------------------- measures


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(-3, 3, width=32)), min_size=3, max_size=30))
def test_correlations_are_scipys(pairs: list[tuple[int, float]]) -> None:
    a, b = np.array([p[1] for p in pairs], np.float64), np.array([p[0] for p in pairs], np.float64)
    if np.ptp(a) < 1e-3 or np.ptp(b) == 0:
        return
    assert srocc(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-9)
    assert plcc(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-6)


def test_correlations_of_constants() -> None:
    rising, still = np.arange(4.0), np.ones(4)
    assert np.isnan(srocc(rising, still)) and srocc(still, rising) == 0


def test_the_ridge_baseline_learns_a_linear_crowd_and_a_linear_taste() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 10, generator=generator) / 10**0.5
    crowd, own = torch.randn(10, generator=generator), torch.randn(10, generator=generator)
    means = 4 + 3 * rows @ crowd
    means[150:] = float("nan")
    line, wanted = Ridge(rows, means), torch.arange(150, 200)
    assert srocc(line.predict(wanted, wanted[:0], means), (rows @ crowd)[150:].numpy()) > 0.97
    scores = 4 + 3 * rows @ (crowd + own)
    truth = scores[150:].numpy()
    informed = srocc(line.predict(wanted, torch.arange(100), scores), truth)
    assert informed > 0.95 and informed > srocc(line.predict(wanted, wanted[:0], scores), truth) + 0.05


def test_fairness_shows_every_group() -> None:
    metrics = {"MAE, 10 ratings, age below 30": Metric(1.0, 0.9, 1.1, 9), "SROCC, 0 ratings": Metric(0.4)}
    heading, dots = fairness(metrics)
    assert isinstance(heading, report.Heading) and isinstance(dots, report.Dots)
    assert list(dots.metrics) == ["age below 30"]
    assert fairness({}) == []
