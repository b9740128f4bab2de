"""Average-mAP and average-AP: the official numbers, a slow evaluator written from the definition, and laws."""

from __future__ import annotations

import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import soccer, soccer_results
from percepta.errors import InputError
from percepta.metrics import spotting
from percepta.metrics.spotting import Grounding, Moments, Replay, average_ap, average_map

times = st.lists(st.integers(0, 300), max_size=12)


def moments(frames: list[int], scores: list[float], label: int = 0) -> Moments:
    return Moments(np.array(frames, float) / 2, np.full(len(frames), label), np.array(scores, float))


@pytest.mark.parametrize("kind", ["loose", "tight"])
def test_official_numbers(shared_data: Path, golden: Path, kind: str) -> None:
    root = shared_data / "soccer"
    found = soccer_results.read(root / "official-NETVLAD_v2-test.zip")
    names = sorted(found)
    games = {game.name: game for game in soccer.read(root / "labels-v2.jsonl.gz")}
    actions, predictions = soccer_results.paired([games[n] for n in names], found, soccer.CLASSES)
    want = json.loads((golden / "soccer" / "official-NETVLAD_v2.json").read_text())[kind]
    got = average_map(actions, predictions, classes=17, tolerances_s=spotting.TOLERANCES_S[kind])
    assert abs(got.value - want["a_mAP"]) < 1e-9
    assert abs(got.visible - want["a_mAP_visible"]) < 1e-9
    assert abs(got.unshown - want["a_mAP_unshown"]) < 1e-9
    np.testing.assert_allclose(got.classes, want["a_mAP_per_class"], atol=1e-9)
    np.testing.assert_allclose(got.visible_classes, want["a_mAP_per_class_visible"], atol=1e-9)
    np.testing.assert_allclose(got.unshown_classes, want["a_mAP_per_class_unshown"], atol=1e-9)


def slow(actions: Moments, predictions: Moments, tolerance_s: float) -> float:
    """AP of one class in one half, from the definition: a loop over everything."""
    truth = sorted({int(t * 2) for t in actions.times_s})
    cells = {int(t * 2): s for t, s in zip(predictions.times_s, predictions.scores, strict=True)}
    right: set[int] = set()
    for frame in truth:
        near = [f for f in sorted(cells) if abs(f - frame) <= tolerance_s and f not in right]  # d / 2 at 2 frames a s
        if near:
            right.add(max(near, key=lambda f: cells[f]))
    points = []
    for threshold in np.linspace(0, 1, 200):
        taken = [f for f in cells if cells[f] >= threshold]
        hits = len(right.intersection(taken))
        points.append((hits / len(taken) if taken else 0.0, hits / len(truth) if truth else 0.0))
    return float(np.mean([max([p for p, r in points if r >= level], default=0.0) for level in np.arange(11) / 10]))


@settings(max_examples=60, deadline=None)
@given(times, times, st.integers(0, 10_000), st.sampled_from([1.0, 5.0, 30.0]))
def test_as_the_definition_says(truth: list[int], at: list[int], seed: int, tolerance_s: float) -> None:
    score = np.random.default_rng(seed).random(len(at)).round(3)
    actions, predictions = moments(truth, [1.0] * len(truth)), moments(at, list(score))
    got = average_map([actions], [predictions], classes=1, tolerances_s=[tolerance_s], never_unshown=0)
    assert got.value == pytest.approx(slow(actions, predictions, tolerance_s) if truth else 0.0, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200).map(lambda n: 20 * n), min_size=1, max_size=8, unique=True))
def test_truth_scores_one(truth: list[int]) -> None:
    answer = moments(truth, [1.0] * len(truth))
    got = average_map([answer], [answer], classes=1, tolerances_s=spotting.TIGHT_S, never_unshown=0)
    assert got.value == pytest.approx(1) and got.visible == pytest.approx(1) and got.unshown == 0


def test_games_of_any_length() -> None:
    late = Moments(np.array([7300.0, 7800.0]), np.zeros(2, int), np.ones(2))
    official = average_map([late], [late], classes=1, tolerances_s=[5], never_unshown=0)
    free = average_map([late], [late], classes=1, tolerances_s=[5], never_unshown=0, max_frame=None)
    assert free.value == 1 and official.value == 1  # both lie in the last frame there: one action, one hit
    late = Moments(np.array([7300.0, 7800.0]), np.zeros(2, int), np.array([1.0, 0.5]))
    assert average_map([late], [late], classes=1, tolerances_s=[5], never_unshown=0, max_frame=None).value == 1


def test_refusals() -> None:
    one = moments([3], [1.0])
    with pytest.raises(InputError, match="as many halves"):
        average_map([one], [], classes=1)
    with pytest.raises(InputError, match="labels are 0 to 0"):
        average_map([moments([3], [1.0], 4)], [one], classes=1)
    with pytest.raises(InputError, match="as many labels"):
        Moments(np.zeros(2), np.zeros(1, int), np.zeros(2))


def replay(action_s: float | None, times_s: list[float], scores: list[float]) -> Replay:
    return Replay(action_s, np.array(times_s), np.array(scores))


def test_grounding_by_hand() -> None:
    # right at 10 s tolerance and more from 20 s off on: off by 12 s is right for tolerances of 25 s and more
    first = replay(100.0, [112.0], [0.9])
    assert average_ap([first], tolerances_s=[20]) == 0 and average_ap([first], tolerances_s=[25]) == 1
    loose = [0.0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]  # 5, 10, .. 60
    expected = np.mean([(a + b) / 2 for a, b in pairwise(loose)])
    assert average_ap([first]) == pytest.approx(expected)
    # two proposals 5 s apart: suppressed from tolerances of 12 s on, two answers below
    two = replay(100.0, [100.0, 105.0], [0.5, 0.9])
    assert average_ap([two], tolerances_s=[4]) == pytest.approx(0.5)
    assert average_ap([two], tolerances_s=[12]) == pytest.approx(1)
    # of two replays one has no proposal: recall ends at a half
    assert average_ap([first, replay(50.0, [], [])], tolerances_s=[30]) == pytest.approx(6 / 11)
    assert average_ap([first, replay(None, [1.0], [1.0])], tolerances_s=[30]) == 1
    assert average_ap([], tolerances_s=[30]) == 0


def test_what_the_shipped_evaluator_cannot() -> None:
    late = replay(3600.0, [3600.0], [1.0])
    assert average_ap([late], tolerances_s=[1]) == 1
    with pytest.raises(InputError, match="3500 s"):
        average_ap([late], tolerances_s=[1], rules=spotting.OFFICIAL)
    assert Grounding() == Grounding(None, False)


def test_results_there_and_back(tmp_path: Path) -> None:
    spots = [soccer_results.Spot(1, 12.5, "Corner", 0.75), soccer_results.Spot(2, 0.0, "Goal", 1.0)]
    soccer_results.write(tmp_path / "out.zip", {"a/b/c": spots})
    soccer_results.write(tmp_path / "out", {"a/b/c": spots})
    assert soccer_results.read(tmp_path / "out.zip") == soccer_results.read(tmp_path / "out") == {"a/b/c": spots}
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["a/b/c/results_spotting.json"]
        entry = json.loads(archive.read("a/b/c/results_spotting.json"))["predictions"][0]
        assert entry == {"gameTime": "1 - 00:12", "label": "Corner", "position": "12500", "half": "1",
                         "confidence": "0.75"}  # fmt: skip
    grounded = [soccer_results.Grounded(1, 30.0, 36.0, (10.0, 12.5), (0.5, 0.25))]
    soccer_results.write_groundings(tmp_path / "g.zip", {"a/b/c": (grounded, (2700.0, 2800.0))})
    assert soccer_results.read_groundings(tmp_path / "g.zip") == {"a/b/c": grounded}
    with pytest.raises(InputError, match="no results"):
        soccer_results.read(tmp_path / "g.zip")


# --- label files of soccer


def test_game_times() -> None:
    assert soccer.parse_time("1 - 23:45", "x") == (1, 1425) and soccer.parse_time(" 2-105:07.5 ", "x") == (2, 6307.5)
    assert soccer.game_time(2, 6307.9) == "2 - 105:07" and soccer.game_time(1, 59.99) == "1 - 00:59"
    for text in ("3 - 00:00", "1 - 1000:00", "1 - 00", "1 : 00:00", ""):
        with pytest.raises(InputError, match="gameTime"):
            soccer.parse_time(text, "x")


def test_actions_of_a_label_file() -> None:
    rows = [
        {"gameTime": "1 - 00:10", "label": "Corner", "position": "10500", "team": "home", "visibility": "not shown"},
        {"gameTime": "2 - 00:20", "label": "Goal", "position": ""}, {"gameTime": "2 - 01:00", "label": "Foul"},
    ]  # fmt: skip
    found = soccer.parse_actions({"annotations": rows}, Path("x"))
    assert found == (
        soccer.Action(1, 10.5, "Corner", "home", False), soccer.Action(2, 20, "Goal"), soccer.Action(2, 60, "Foul"),
    )  # fmt: skip
    assert soccer.Game("g", found).of(2) == found[1:]
    for change, says in (
        ({"visibility": "maybe"}, "visibility"),
        ({"position": "x"}, "milliseconds"),
        ({"label": 3}, "label"),
    ):
        with pytest.raises(InputError, match=says):
            soccer.parse_actions({"annotations": [rows[0] | change]}, Path("x"))


def test_replays_go_from_the_change_before_to_their_own() -> None:
    """The first change of a half begins at 0; a replay without a length is none; a link into the other half is none."""

    def change(time: str, **more: object) -> dict[str, object]:
        return {"gameTime": time, "label": "Main camera", **more}

    rows = [
        change("1 - 00:05", replay="replay"), change("1 - 00:20"),
        change("1 - 00:30", link={"half": "1", "time": "00:12", "label": "Goal"}),
        change("1 - 00:30", replay="replay"),
        change("2 - 00:40", replay="Replay", link={"half": 1, "time": "00:12", "label": "Foul"}),
        change("2 - 00:50", replay="replay", link={"time": "00:45", "label": "Foul", "position": "44500"}),
        change("2 - 00:55", replay="real-time"),
    ]  # fmt: skip
    assert soccer.parse_replays({"annotations": rows}, Path("x")) == (
        soccer.ReplaySpan(1, 0.0, 5), soccer.ReplaySpan(1, 20, 30, 12, "Goal"), soccer.ReplaySpan(2, 0.0, 40),
        soccer.ReplaySpan(2, 40, 50, 44.5, "Foul"),
    )  # fmt: skip


def test_one_s_own_table(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("half,time_s,label,shown\n1,12.5, Goal ,0\n2,1:10,Foul,1\n,1:00:02,Corner,\n")
    assert soccer.read_csv(path) == (
        soccer.Action(1, 12.5, "Goal", shown=False), soccer.Action(2, 70, "Foul"), soccer.Action(1, 3602, "Corner"),
    )  # fmt: skip
    for row in ("3,1,Goal,1", "1,-1,Goal,1", "1,100000,Goal,1", "1,x,Goal,1", "1,1,,1"):
        path.write_text(f"half,time_s,label,shown\n{row}\n")
        with pytest.raises(InputError, match="line 2"):
            soccer.read_csv(path)
    path.write_text("half,time_s,label\n1,0,Goal\n1,99999,Goal\n")
    assert len(soccer.read_csv(path)) == 2
    path.write_text("half,label\n")
    with pytest.raises(InputError, match="line 1"):
        soccer.read_csv(path)
    assert (
        soccer.rate_of("baidu_soccer_embeddings") == 1 and soccer.rate_of("mine") == soccer.rate_of("ResNET_TF2") == 2
    )
