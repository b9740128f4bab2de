"""Errors of trajectories: hand-made cases, laws, and the numbers of the published implementations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from percepta.errors import InputError
from percepta.metrics import forecast as fc


def made(seed: int, n: int = 5, k: int = 4, t: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(predicted, truth, probability) of random walks."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, t, 2)).cumsum(1)
    predicted = truth[:, None] + rng.normal(size=(n, k, t, 2)).cumsum(2)
    return predicted, truth, rng.dirichlet(np.ones(k), n)


SEEDS = st.integers(0, 10_000)


def test_the_share_off_the_road_weighs_modes_by_their_probability() -> None:
    road = np.array([[0.0, -2], [10, -2], [10, 2], [0, 2]])
    stays = [[1.0, 0], [2, 0], [3, 0], [4, 1]]
    leaves = [[1.0, 0], [2, 3], [3, 4], [np.nan, np.nan]]  # two of three known positions are outside
    way = np.array([[stays, leaves]])
    assert fc.off_road_share(way, [road], np.array([[0.25, 0.75]]))[0] == pytest.approx(0.75 * 2 / 3)
    assert fc.off_road_share(way, [road], np.array([[1.0, 0.0]]))[0] == 0
    assert np.isnan(fc.off_road_share(way, [], np.array([[0.5, 0.5]]))).all(), "without a road nothing is known"


@settings(deadline=None)  # 140 points one by one
@given(SEEDS)
def test_the_share_off_the_road_is_that_of_single_points(seed: int) -> None:
    predicted, _, probability = made(seed)
    areas = [np.array([[-3.0, -3], [3, -3], [3, 3], [-3, 3]]), np.array([[2.0, 2], [6, 2], [2, 6]])]
    by_point = [
        sum(
            p * np.mean([fc.off_road(point[None], areas)[0] for point in mode])
            for mode, p in zip(modes, ps, strict=True)
        )
        for modes, ps in zip(predicted, probability, strict=True)
    ]
    np.testing.assert_allclose(fc.off_road_share(predicted, areas, probability), by_point, atol=1e-12)


# ------------------------------------------------------------------------------------------------- hand-made cases


def test_the_best_mode_is_the_one_with_the_best_end() -> None:
    truth = np.array([[[1.0, 0], [2, 0], [3, 0]]])
    close = [[1, 0], [2, 0], [3, 2.5]]  # two right steps, then 2.5 m off: ADE 0.83
    wide = [[1, 3], [2, 3], [3, 1]]  # far away, but it ends 1 m off: ADE 2.33
    predicted = np.array([[close, wide]], float)
    found = fc.score(predicted, truth, np.array([[0.75, 0.25]]))
    assert found.best.tolist() == [1]
    assert found.min_ade[0] == pytest.approx(7 / 3)
    assert found.min_fde[0] == pytest.approx(1)
    assert found.lowest_ade[0] == pytest.approx(2.5 / 3)
    assert found.brier_min_fde[0] == pytest.approx(1 + 0.75**2)
    assert not found.missed[0]
    one = fc.score(predicted, truth, np.array([[0.75, 0.25]]), modes=1)
    assert one.best.tolist() == [0] and one.min_fde[0] == pytest.approx(2.5) and one.missed[0]
    assert one.brier_min_fde[0] == pytest.approx(2.5), "the one mode that counts has probability 1"


def test_what_is_unknown_counts_nowhere() -> None:
    truth = np.array([[[1.0, 0], [np.nan, np.nan], [3, 0], [np.nan, np.nan]]])
    predicted = np.array([[[[1.0, 1], [90, 90], [3, 3], [90, 90]]]])
    assert fc.ade(predicted, truth).tolist() == [[2.0]]
    assert fc.fde(predicted, truth).tolist() == [[3.0]], "the last known step is the end"
    nothing = np.full_like(truth, np.nan)
    assert np.isnan(fc.ade(predicted, nothing)).all() and np.isnan(fc.fde(predicted, nothing)).all()
    with pytest.raises(InputError, match="leave it out"):
        fc.score(predicted, nothing)


def test_a_joint_future_is_chosen_for_all_agents_at_once() -> None:
    truth = np.zeros((2, 2, 2))
    predicted = np.zeros((2, 2, 2, 2))
    predicted[0, 1, :, 0] = 4.0  # the first agent is right in future 0,
    predicted[1, 0, :, 0] = 3.0  # the second in future 1
    assert fc.score(predicted, truth).min_fde.tolist() == [0, 0]
    found = fc.joint_score(predicted, truth)
    assert (found.best, found.min_ade, found.min_fde, found.miss_rate) == (0, 1.5, 1.5, 0.5)
    assert fc.joint_fde(predicted, truth).tolist() == [1.5, 2.0]


def test_collisions_are_at_the_same_step_of_the_same_future() -> None:
    line = np.stack([np.arange(5.0), np.zeros(5)], -1)
    late = line - [3.0, 0]  # the same way, three steps behind: never near
    across = np.stack([np.full(5, 2.0), np.arange(5.0) - 2], -1)  # meets the first at step 2
    predicted = np.stack([[line, line], [late, across]])
    assert fc.collides(predicted).tolist() == [[False, True], [False, True]]
    assert not fc.collides(predicted[:1]).any(), "nobody collides alone"
    assert fc.collides(predicted, 3.5).all()


def test_points_in_polygons() -> None:
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    arrow = np.array([[0.0, 0], [4, 0], [4, 4], [2, 1]])  # not convex
    points = np.array([[1.0, 0.2], [2, 3], [5, 1], [3.9, 3.5]])
    assert fc.inside(points, square).tolist() == [True, True, False, True]
    assert fc.inside(points, arrow).tolist() == [True, False, False, True]
    assert fc.off_road(points, [square, square + np.array([4.5, 0])]).tolist() == [False, False, False, False]
    assert fc.off_road(points, [square]).tolist() == [False, False, True, False]
    assert fc.off_road(points, []).all()


def test_reliability_of_a_forecaster_that_knows() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 40_000)
    best = (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)
    found = fc.reliability(p, best)
    assert found.error < 0.01 and found.count.sum() == p.size
    sure = np.eye(3)[(best + 1) % 3]  # always sure, never right
    assert fc.reliability(sure, best).error == pytest.approx(2 / 3)


# ------------------------------------------------------------------------------------------------------------- laws


@given(SEEDS)
def test_the_order_of_modes_does_not_matter(seed: int) -> None:
    predicted, truth, p = made(seed)
    order = np.random.default_rng(seed).permutation(predicted.shape[1])
    a, b = fc.score(predicted, truth, p), fc.score(predicted[:, order], truth, p[:, order])
    assert (order[b.best] == a.best).all()
    for name in ("min_ade", "min_fde", "brier_min_fde", "lowest_ade"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name))


@given(SEEDS, st.integers(1, 4))
def test_fewer_modes_are_never_better(seed: int, modes: int) -> None:
    predicted, truth, p = made(seed)
    few, all_ = fc.score(predicted, truth, p, modes=modes), fc.score(predicted, truth, p)
    assert (few.min_fde >= all_.min_fde).all() and (few.lowest_ade >= all_.lowest_ade).all()
    assert (all_.lowest_ade <= all_.min_ade).all() and (all_.brier_min_fde >= all_.min_fde).all()
    rank = np.argsort(-p, 1)[:, :modes]
    assert all(few.best[i] in rank[i] for i in range(len(rank)))


@given(SEEDS)
def test_errors_do_not_depend_on_the_frame(seed: int) -> None:
    predicted, truth, p = made(seed)
    angle = seed % 7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    a, b = fc.score(predicted, truth, p), fc.score(predicted @ turn.T + 5, truth @ turn.T + 5, p)
    np.testing.assert_allclose(a.min_ade, b.min_ade)
    np.testing.assert_allclose(a.brier_min_fde, b.brier_min_fde)


@given(SEEDS)
def test_joint_futures_are_never_better_than_single_ones(seed: int) -> None:
    predicted, truth, _ = made(seed)
    joint, single = fc.joint_score(predicted, truth), fc.score(predicted, truth)
    assert joint.min_fde >= single.min_fde.mean() - 1e-12
    assert joint.lowest_ade >= single.lowest_ade.mean() - 1e-12
    alone = fc.joint_score(predicted[:1], truth[:1])
    assert alone.min_fde == pytest.approx(single.min_fde[0])


@given(SEEDS)
def test_collisions_by_brute_force(seed: int) -> None:
    predicted, _, _ = made(seed, n=4)
    n, k, t, _ = predicted.shape
    for i in range(n):
        for mode in range(k):
            near = any(
                np.hypot(*(predicted[i, mode, s] - predicted[j, mode, s])) < 1.0
                for j in range(n) if j != i for s in range(t)
            )  # fmt: skip
            assert fc.collides(predicted)[i, mode] == near


def test_wrong_shapes_are_said() -> None:
    predicted, truth, p = made(0)
    with pytest.raises((InputError, TypeError)):  # the second where types are checked
        fc.displacement(predicted[:, :, :-1], truth)
    with pytest.raises(InputError, match="finite"):
        fc.displacement(np.where(predicted > 0, np.nan, predicted), truth)
    with pytest.raises(InputError, match="probabilities"):
        fc.score(predicted, truth, -p)


# ----------------------------------------------------------------------------------------- published implementations


@pytest.mark.parametrize("name", ["qcnet", "qcnet-head"])
def test_as_the_official_metrics_of_qcnet(golden: Path, name: str) -> None:
    io = load_file(golden / name / "io.safetensors")
    future = json.loads((golden / name / "config.json").read_text())["model"]["num_historical_steps"]
    known = io["in.agent.predict_mask"][:, future:]
    truth = np.where(known[..., None], io["mid.target"][..., :2].astype(float), np.nan)
    some = known.any(1)
    pi = io["out.pi"].astype(float)
    p = np.exp(pi - pi.max(1, keepdims=True))
    found = fc.score(io["out.loc_refine_pos"].astype(float)[some], truth[some], p[some], modes=6)
    brier = float((found.brier_min_fde - found.min_fde).mean())
    for value, key in ((found.min_ade, "minADE"), (found.min_fde, "minFDE"), (found.missed, "MR"), (brier, "Brier")):
        assert float(np.mean(value)) == pytest.approx(float(io[f"metrics.{key}"]), rel=1e-5), key


@given(seed=SEEDS)
def test_as_av2(seed: int) -> None:
    av2 = pytest.importorskip("av2.datasets.motion_forecasting.eval.metrics", reason="the extra percepta[parity]")
    predicted, truth, p = made(seed)
    for i in range(len(truth)):
        np.testing.assert_allclose(fc.ade(predicted, truth)[i], av2.compute_ade(predicted[i], truth[i]))
        np.testing.assert_allclose(fc.fde(predicted, truth)[i], av2.compute_fde(predicted[i], truth[i]))
        brier = av2.compute_brier_fde(predicted[i], truth[i], p[i], normalize=True)
        found = fc.score(predicted[i : i + 1], truth[i : i + 1], p[i : i + 1])
        np.testing.assert_allclose(found.brier_min_fde[0], brier[found.best[0]])
        missed = av2.compute_is_missed_prediction(predicted[i], truth[i])
        assert bool(found.missed[0]) == bool(missed.all())
    np.testing.assert_allclose(fc.joint_ade(predicted, truth), av2.compute_world_ade(predicted, truth))
    np.testing.assert_allclose(fc.joint_fde(predicted, truth), av2.compute_world_fde(predicted, truth))
    misses = av2.compute_world_misses(predicted, truth)
    joint = fc.joint_score(predicted, truth)
    assert joint.miss_rate == pytest.approx(misses[:, joint.best].mean())
    assert (fc.collides(predicted) == av2.compute_world_collisions(predicted)).all()
