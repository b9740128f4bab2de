"""Action spotting: targets and decoder, chunks, answers, results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import soccer
from percepta.datasets.soccer_halves import HalfFeatures, check, split_of
from percepta.datasets.soccer_results import Spot
from percepta.errors import InputError
from percepta.media.source import answers
from percepta.nn.spotting import soft_nms
from percepta.systems.spotting import PRESETS, decode
from percepta.systems.spotting.evaluate import bootstrapped
from percepta.systems.spotting.model import build
from percepta.systems.spotting.predict import Spotting
from percepta.train import Evaluator

TINY = PRESETS["tiny"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(2, 110), min_size=1, max_size=5, unique_by=lambda t: int(t / 10)), st.integers(0, 16))
def test_targets_decode_to_what_they_were_made_of(times: list[float], label: int) -> None:
    times = sorted(t for i, t in enumerate(sorted(times)) if i == 0 or t - sorted(times)[i - 1] > 8)
    near, ahead, weight = decode.targets(times, [label] * len(times), 240, TINY)
    found = decode.moments(near * weight, ahead, TINY)
    order = np.argsort(-found.scores, kind="stable")[: len(times)]
    np.testing.assert_allclose(np.sort(found.times_s[order]), times, atol=1e-3)
    assert set(found.labels.tolist()) == {label}


def test_soft_nms_keeps_what_is_far_and_lowers_what_is_near() -> None:
    times, scores = soft_nms(np.array([0.0, 1.0, 50.0]), np.array([0.9, 0.8, 0.7]), window=4, least=0.01)
    assert times.tolist() == [0.0, 50.0, 1.0] and scores[:2].tolist() == [0.9, 0.7]
    assert scores[2] == pytest.approx(0.8 / 16)


@torch.no_grad()
def test_chunks_change_nothing() -> None:
    torch.manual_seed(0)
    model = build(TINY).eval()
    frames = torch.randn(700, TINY.feature_width)
    scores, offsets = model.whole(frames)  # type: ignore[operator]
    logits, ahead = model(frames[None])
    torch.testing.assert_close(scores, logits[0].sigmoid(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(offsets, ahead[0], rtol=1e-4, atol=1e-4)


def system() -> Spotting:
    torch.manual_seed(0)
    model = build(TINY).eval()
    return Spotting(TINY, model, "", Evaluator("spotting", TINY, model), answers)


def test_answers(tmp_path: Path) -> None:
    features = np.random.default_rng(0).random((120, TINY.feature_width), np.float32)
    result = replace(system().predict(features), spots=(Spot(1, 12.0, "Corner", 0.75), Spot(1, 40.5, "Goal", 0.5)))
    assert result.text == "2 moments in 1:00; best: Corner at 00:12 (75%)" and result.duration_s == 60
    assert len(result.above(0.6).spots) == 1 and replace(result, spots=()).text == "no moments in 1:00"
    again = soccer.read_csv(result.save_csv(tmp_path / "spots.csv"))
    assert [(a.half, a.time_s, a.label) for a in again] == [(1, 12.0, "Corner"), (1, 40.5, "Goal")]
    result.save(tmp_path / "out.png")
    assert json.loads((tmp_path / "out.json").read_text())["spots"][0]["label"] == "Corner"


def test_refusals(tmp_path: Path) -> None:
    one = system()
    with pytest.raises(InputError, match="frames × 336"):
        one.predict(np.zeros((4, 5), np.float32))
    with pytest.raises(InputError, match="half is 1 or 2"):
        one.predict(np.zeros((4, 336), np.float32), half=3)
    np.save(tmp_path / "1_x.npy", np.zeros((40, 336), np.float32))
    whole = (tmp_path / "1_x.npy").read_bytes()
    (tmp_path / "1_x.npy").write_bytes(whole[:5000])
    with pytest.raises(InputError, match="cut off"):
        one.predict(tmp_path / "1_x.npy")
    for size in (0, 5000):
        (tmp_path / "1_x.npy").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"1_x\.npy: not an array of features, or cut off"):
            HalfFeatures("g", 1, 2.0, (), (), tmp_path / "1_x.npy").window(0, 4)
    (tmp_path / "labels.csv").write_text("time_s,label\n1:05,Corner\nlater,Goal\n")
    with pytest.raises(InputError, match="line 3"):
        soccer.read_csv(tmp_path / "labels.csv")
    half = HalfFeatures("g", 1, 2.0, (soccer.Action(1, 90.0, "Goal"),), (), given=np.zeros((100, 4), np.float32))
    with pytest.raises(InputError, match="halves are exchanged"):
        check(half)


def test_splits() -> None:
    assert split_of("test/game-001") == "test" and split_of("a/b/c") == split_of("a/b/c")


def test_what_is_unlike_training_is_said() -> None:
    one = system()
    seen = np.random.default_rng(0).random((200, TINY.feature_width), np.float32)
    assert one.predict(seen).warning == ""  # nothing is known of a network that was never trained
    one.model.project.usual.see(torch.from_numpy(seen)[None])
    assert one.predict(seen).warning == "" and "unlike" in one.predict(seen + 1).warning


def test_an_interval_lies_around_its_number_though_draws_lack_rare_classes() -> None:
    """The mean of what is there: games without the rare, hard class have 1.0, the one with it 0.4."""
    values = {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}

    def number(which: Sequence[int]) -> float:
        return 0.7 if 0 in which else float(np.mean([values[i] for i in which]))

    low, high = bootstrapped(number, list("abcde"))
    assert low < 0.7 < high and high - low == pytest.approx(0.3)
    assert all(np.isnan(end) for end in bootstrapped(number, list("ab")))
