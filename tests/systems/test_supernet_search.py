"""Predictor, search, ranking report, the challenge's files, commands and the demo."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.__main__ import main
from percepta.datasets import nasbench
from percepta.metrics.correlation import kendall
from percepta.report import Page
from percepta.systems.supernet import PRESETS, challenge, demo, evaluate, ranking, task
from percepta.systems.supernet.check import check
from percepta.systems.supernet.predictor import METHODS, curve, fit
from percepta.systems.supernet.scores import Scores, scores
from percepta.systems.supernet.search import Budget, Latency, by_hand, evolve, measure_latency, pareto
from percepta.systems.supernet.space import Macro, ResNet48

SPACE = Macro((2, 2), 8, 32, 16, 6)


def worth(code: str) -> float:
    """A made-up accuracy: choices add up, and two large ones in a row are worth less."""
    return 60 + sum(int(c) * (5 - i) for i, c in enumerate(code)) - 2.0 * code.count("22")


def table_file(folder: Path, space: Macro, name: str = "nas-bench-macro_cifar10.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for code in space.codes():
        cost, value = space.cost(code), worth(space.canonical(code))
        rows[code] = {"test_acc": [value, value + 0.1], "params": cost.parameters, "flops": cost.flops}
    (folder / name).write_text(json.dumps(rows))
    return folder / name


# ------------------------------------------------------------------------------------------------- predictor


def test_the_predictor_finds_a_smooth_truth_and_says_how_sure() -> None:
    space = Macro()
    codes = np.random.default_rng(0).permutation(space.distinct())[:500].tolist()
    features, truth = space.features(codes), np.array([worth(code) for code in codes])
    predictor = fit(features[:100], truth[:100])
    mean, deviation = predictor(features[100:])
    assert kendall(mean, truth[100:]) > 0.85
    near = np.abs(mean - truth[100:]) < 2 * deviation
    assert 0.8 < near.mean() <= 1, "two deviations hold about 95 %"
    on_known = predictor(features[:100])
    assert on_known[1].mean() < deviation.mean(), "what is known is surer"
    assert np.abs(on_known[0] - truth[:100]).mean() < np.abs(mean - truth[100:]).mean()


def test_inherited_accuracies_help_a_predictor() -> None:
    rng, n = np.random.default_rng(1), 300
    features = rng.integers(0, 2, (n, 10)).astype(float)
    truth = rng.normal(size=n)  # nothing that the features could tell
    inherited = truth + 0.3 * rng.normal(size=n)
    alone, helped = fit(features[:40], truth[:40]), fit(features[:40], truth[:40], inherited[:40])
    assert kendall(helped(features[40:], inherited[40:])[0], truth[40:]) > 0.6
    assert abs(kendall(alone(features[40:])[0], truth[40:])) < 0.2
    with pytest.raises(ValueError, match="either into fitting and predicting"):
        helped(features[40:])


def test_an_answer_does_not_depend_on_who_else_is_asked_and_deviations_hold_what_they_say() -> None:
    rng, n = np.random.default_rng(2), 400
    features = rng.normal(size=(n, 6))
    noisy = features[:, 0] + 0.5 * features[:, 1] ** 2 + 0.4 * rng.standard_t(3, n)
    inherited = noisy + rng.normal(size=n)
    for extra in (None, inherited):
        known, asked = (None, None) if extra is None else (extra[:80], extra[80:])
        predictor = fit(features[:80], noisy[:80], known)
        mean, deviation = predictor(features[80:], asked)
        one = predictor(features[80:81], None if asked is None else asked[:1])
        np.testing.assert_allclose((one[0][0], one[1][0]), (mean[0], deviation[0]), rtol=1e-6)
        assert 0.88 < (np.abs(mean - noisy[80:]) < 1.96 * deviation).mean() < 0.995


def test_too_little_is_known() -> None:
    with pytest.raises(ValueError, match="at least four"):
        fit(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        fit(np.zeros((4, 2)), np.array([1.0, 2.0, np.nan, 1.0]))


def test_no_method_is_asked_about_what_it_knows() -> None:
    """Rows that are one network lie on one side: a method that knows a group's answer by heart gains nothing."""
    rng = np.random.default_rng(0)
    groups = [f"net {i // 3}" for i in range(240)]
    features, accuracy = rng.normal(size=(240, 4)), rng.normal(size=240)
    asked: list[set[int]] = []

    def spy(known: Any, values: Any, rest: Any, seed: int) -> Any:
        rows = [{int(np.flatnonzero((features == row).all(1))[0]) // 3 for row in part} for part in (known, rest)]
        assert not rows[0] & rows[1]
        asked.append(rows[1])
        return rng.normal(size=len(rest))

    out = curve({"": features}, accuracy, groups, (10, 20), (0, 1), {"spy": spy})
    assert {size: len(values) for size, values in out["spy"].items()} == {10: 2, 20: 2} and len(asked) == 4


def test_every_peer_learns_something() -> None:
    codes = np.random.default_rng(0).permutation(Macro().distinct())[:300].tolist()
    one_hot = np.eye(3)[Macro().digits(codes)].reshape(300, -1)
    truth = np.array([worth(code) for code in codes])
    for name, method in METHODS.items():
        assert kendall(method(one_hot[:150], truth[:150], one_hot[150:], 0), truth[150:]) > 0.5, name


# ------------------------------------------------------------------------------------------------- search


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    cost, score = (np.array(row, float) for row in zip(*points, strict=True))
    kept = pareto(cost, score)
    for i in kept:
        assert not ((cost <= cost[i]) & (score > score[i])).any() and not ((cost < cost[i]) & (score >= score[i])).any()
    for i in range(len(points)):
        assert any(cost[k] <= cost[i] and score[k] >= score[i] for k in kept)


def test_evolution_finds_the_best_of_a_space_within_the_budget() -> None:
    space, limit = Macro(), Budget(flops=60e6, parameters=1.5e6)
    asked: set[str] = set()

    def score(codes: Any) -> Any:
        asked.update(codes)
        return np.array([worth(code) for code in codes])

    ranked = evolve(space, score, limit, seed=0)
    allowed = [code for code in space.distinct() if limit.allows(space, code)]
    best = max(map(worth, allowed))
    assert ranked[0][1] >= best - 1 and len(asked) < len(allowed), "near the best without looking at all"
    assert all(limit.allows(space, code) for code in asked)
    assert [value for _, value in ranked] == sorted((value for _, value in ranked), reverse=True)
    assert ranked == evolve(space, score, limit, seed=0)


def test_a_budget_that_nothing_fits_is_said() -> None:
    with pytest.raises(ValueError, match=r"no network fits.*the smallest has"):
        evolve(SPACE, lambda codes: np.zeros(len(codes)), Budget(flops=10.0))
    with pytest.raises(ValueError, match="needs a latency table"):
        Budget(latency_ms=1.0).allows(SPACE, "0000")


def test_latency_adds_up() -> None:
    latency = measure_latency(SPACE, repeats=3, whole=2)
    rows = itertools.product(range(3), repeat=4)
    for digits in itertools.islice(rows, 0, 81, 8):
        code = SPACE.canonical("".join(map(str, digits)))
        parts = sum(latency.choices_ms[i][int(c)] for i, c in enumerate(code))
        assert latency.of(code) == pytest.approx(latency.factor * (latency.ends_ms + parts))
    assert latency.choices_ms[1][0] == 0 and latency.choices_ms[0][0] > 0, "an identity is free where nothing changes"
    slow = Latency(SPACE, 1.0, ((1.0, 2.0, 3.0),) * 4)
    assert Budget(latency_ms=5.0).allows(SPACE, "0000", slow) and not Budget(latency_ms=5.0).allows(SPACE, "0100", slow)


def test_networks_drawn_by_hand_are_of_the_space() -> None:
    for code in by_hand(Macro()).values():
        Macro().validate(code)


# ------------------------------------------------------------------------------------------------- ranking


def test_the_report_stands_beside_what_costs_nothing(tmp_path: Path) -> None:
    table = nasbench.read_macro(table_file(tmp_path, SPACE))
    codes = SPACE.distinct()
    truth = ranking.truth_of(table, codes)
    found = ranking.rank_metrics(truth.accuracy, truth, ranking.cost_baselines(SPACE, codes), draws=20)
    assert found["Kendall"].value == 1 and found["top-1 regret, points"].value == 0
    assert {"parameters", "FLOPs", "blocks", "seed to seed"} == set(found["Kendall"].baselines)
    assert found["Kendall"].baselines["blocks"] == pytest.approx(
        kendall([float(SPACE.blocks(c)) for c in codes], truth.accuracy)
    )
    with pytest.raises(ValueError, match="lacks"):
        ranking.truth_of(table, ["22222"])


def test_numbers_and_page_of_one_evaluation_score_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = task.build(PRESETS["tiny"])
    whole = task.data(net.config, "val")
    asked = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked.append(len(args[1]))
        return scores(*args, **kwargs)

    monkeypatch.setattr(evaluate, "scores", counted)
    first = task.evaluate(net, [whole.collate(list(range(len(whole))))], examples=4)
    assert len(asked) == 1 and len(first.blocks) == 1
    values = first.metrics
    with torch.no_grad():
        list(net.parameters())[-1].add_(torch.arange(6.0))  # the biases of the classes
    second = task.evaluate(net, [whole.collate(list(range(len(whole))))])
    assert second.metrics != values and not second.blocks
    assert len(asked) == 2
    task.evaluate(net, [whole.collate(list(range(len(whole) // 2)))])
    assert len(asked) == 3


def test_smoothing_takes_out_noise_without_the_truth() -> None:
    space = Macro()
    codes = space.distinct()
    truth = np.array([worth(code) for code in codes])
    noisy = truth + np.random.default_rng(0).normal(0, 2 * truth.std(), len(codes))
    assert kendall(ranking.smooth(space, codes, noisy, 0.01), truth) > kendall(noisy, truth) + 0.3


def test_the_declared_part_is_small_and_always_the_same() -> None:
    codes = Macro().distinct()
    chosen = ranking.declared(codes)
    assert chosen.sum() == 200 and np.array_equal(chosen, ranking.declared(codes))


def test_proxies_prefer_networks_that_do_something() -> None:
    rng = torch.Generator().manual_seed(0)
    pictures = torch.randn(8, 3, 16, 16, generator=rng)
    found = ranking.proxies(SPACE, ["0000", "1111", "2222"], pictures)
    for name, values in found.items():
        assert np.isfinite(values).all() and values[0] < values[1] < values[2], name
    again = ranking.proxies(SPACE, ["1111"], pictures)
    assert all(again[name][0] == found[name][1] for name in found)


def test_a_scatter_marks_its_front() -> None:
    x, y = np.arange(10.0), np.arange(10.0) ** 2
    plain, marked = ranking.scatter(x, y, ("a", "b")), ranking.scatter(x, y, ("a", "b"), front=[0, 5, 9])
    orange = lambda picture: int((np.asarray(picture) == ranking.ORANGE).all(2).sum())  # noqa: E731
    assert orange(plain) == 0 < orange(marked)
    ranking.scatter(np.zeros(3), np.zeros(3), ("a", "b"))


# ------------------------------------------------------------------------------------------------- the challenge


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid codes in the form in which the challenge publishes 45,000; the checks of types make each cost 2 ms."""
    space, rng = ResNet48(), np.random.default_rng(0)
    rows = {f"arch{i + 1}": {"acc": 0.0, "arch": space.sample(rng)} for i in range(2_000)}
    path = tmp_path_factory.mktemp("challenge") / "test.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_submission_keeps_its_codes_and_ranks_by_cost(entries: Path, tmp_path: Path) -> None:
    assert main(["supernet", "submit", str(entries), "--out", str(tmp_path / "out.json")]) == 0
    asked, given_back = json.loads(entries.read_text()), json.loads((tmp_path / "out.json").read_text())
    assert list(asked) == list(given_back) and all(asked[k]["arch"] == given_back[k]["arch"] for k in asked)
    some = list(given_back.values())[:300]
    flops = [ResNet48().cost(row["arch"]).flops for row in some]
    assert kendall([row["acc"] for row in some], np.array(flops, float)) > 0.99


def test_known_accuracies_fill_in_the_rest(entries: Path, tmp_path: Path) -> None:
    space, rng = ResNet48(), np.random.default_rng(5)
    quality = lambda code: float(10 * sum(space.depths(code)) - space.cost(code).parameters / 1e6)  # noqa: E731
    known = {code: quality(code) for code in (space.sample(rng) for _ in range(80))}
    found = challenge.read(entries)
    part = challenge.Entries(found.names[:500], found.codes[:500], found.accuracy[:500])
    score = challenge.score(part, known)
    assert kendall(score, np.array([quality(code) for code in part.codes])) > 0.8
    with pytest.raises(ValueError, match="at least 8"):
        challenge.score(part, {part.codes[0]: 1.0})
    with pytest.raises(ValueError, match="500 finite scores"):
        challenge.write(tmp_path / "x.json", part, score[:3])
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nothing", "not JSON"),
        ("[1]", "expected an object"),
        ('{"arch1": {"acc": 0.0}}', "'arch1' has no 'arch'"),
        ('{"arch1": {"acc": 0.0, "arch": "12"}}', "'arch1': '12': a code of this space has 52 characters, this one 2"),
    ],
)
def test_bad_files_of_the_challenge(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        challenge.read(path)
    assert main(["supernet", "submit", str(path), "--out", str(tmp_path / "out.json")]) != 0
    assert not (tmp_path / "out.json").exists()


# ------------------------------------------------------------------------------------------------- check, commands


def test_check_finds_a_table_with_other_counts(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 20), (90, 30, 60)).save(tmp_path / name / "1.png")
    assert check(tmp_path).ok and "no truth" in check(tmp_path).text()
    table_file(tmp_path, SPACE)
    found = check(tmp_path)
    assert not found.ok and "lacks" in found.text()
    space = Macro()
    path = table_file(tmp_path, space)
    assert check(tmp_path).ok and check(tmp_path).counts["architectures"] == 6561
    rows = json.loads(path.read_text())
    rows["02012100"]["params"] += 1
    path.write_text(json.dumps(rows))
    assert "'02012100'" in check(tmp_path).text()


def test_rank_search_and_predict(tmp_path: Path, answers_of: Callable[[Path, str], Any]) -> None:
    from dataclasses import replace

    from percepta.train import train

    tiny = PRESETS["tiny"]
    config = replace(tiny, train=replace(tiny.train, steps=4, batch_size=8, warmup=0))
    train("supernet", config, out=tmp_path / "run", device="cpu")
    weights = ["--weights", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["supernet", "rank", *weights, "--out", str(tmp_path / "r"), "--pictures", "100"]) == 0
    rows = json.loads((tmp_path / "r" / "scores.json").read_text())
    assert len(rows["codes"]) == len(rows["score"]) == len(SPACE.distinct())
    scores = str(tmp_path / "r" / "scores.json")
    words = [
        "supernet",
        "search",
        *weights,
        "--scores",
        scores,
        "--out",
        str(tmp_path / "s"),
        "--train",
        "--epochs",
        "1",
    ]
    assert main([*words, "--samples", "128"]) == 0
    found = json.loads((tmp_path / "s" / "front.json").read_text())
    assert found["best"]["flops"] <= found["hand"]["flops"] and found["searched, trained"]["n"] == 240
    assert (tmp_path / "s" / "supernet-network.onnx").is_file()
    assert main(["predict", "supernet", "0211", *weights, "--out", str(tmp_path / "p")]) == 0
    assert [row["source"] for row in answers_of(tmp_path / "p", "supernet")] == ["0211"]
    assert main(["predict", "supernet", "0214", *weights]) != 0
    assert main(["supernet", "rnak"]) == 2


def runner(patch: pytest.MonkeyPatch) -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "ablations" / "supernet_ablation.py"
    spec = importlib.util.spec_from_file_location("supernet_ablation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    patch.syspath_prepend(path.parent)  # as where a script is run: it imports a file beside it
    spec.loader.exec_module(module)
    return module


def test_the_ablation_pairs_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = runner(monkeypatch)
    everything = module.jobs(("single", "nsas"), (0, 1))
    shares = [everything[part::2] for part in range(2)]
    assert sorted(map(str, shares[0] + shares[1])) == sorted(map(str, everything))
    for arm in module.ARMS:  # all of them are settings that go together
        module.base(module.Job(arm, 1), module.arguments(["--preset", "small"]))
    for seed, noise in enumerate((0.0, 0.2, -0.1)):
        for arm, gain in (("single", 0.0), ("nsas", 0.03)):
            row = {"job": {"arm": arm, "seed": seed}, **dict.fromkeys(module.NUMBERS, 0.5 + noise + gain)}
            (tmp_path / f"{arm}{seed}").mkdir()
            (tmp_path / f"{arm}{seed}" / "result.json").write_text(json.dumps(row))
    text = module.run_table.sum_up_arms(tmp_path, module.NUMBERS, module.PAIRS, list(module.ARMS))
    found = json.loads((tmp_path / "table.json").read_text())
    low, high = found["differences"]["nsas - single"]["tau"][1:3]
    assert 0.0299 < low <= high < 0.0301, "what the seeds share is taken out"
    wide = found["means"]["single"]["tau"]
    assert wide[2] - wide[1] > 0.3 and "nsas - single" in text


def test_the_demo_shows_a_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STEPS", 6)
    assert "<svg" in Page("demo", demo.demo(lambda name: None)).html()
    assert "not in this installation" in Page("", demo.shipped(tmp_path / "none.json")).html()
    codes = SPACE.distinct()
    rows = {"codes": codes, "score": [worth(c) for c in codes], "accuracy": [worth(c) for c in codes],
            "flops": [SPACE.cost(c).flops for c in codes], "note": "made for a test"}  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert "made for a test" in Page("shipped", demo.shipped(tmp_path / "results.json")).html()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_a_front_of_scores_is_a_front(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = SPACE.distinct()
    found = Scores(tuple(codes), rng.random(len(codes)), rng.random(len(codes)))
    cost = SPACE.costs(codes)[1].astype(float)
    assert evaluate.front(cost, found) == pareto(cost, found.accuracy)
