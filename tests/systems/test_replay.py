"""Replay grounding: targets, proposals, spans, overlaps, answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from percepta.datasets.soccer import ReplaySpan, parse_replays
from percepta.datasets.soccer_results import Grounded, paired_replays
from percepta.errors import InputError
from percepta.media.source import answers
from percepta.metrics.spotting import OFFICIAL
from percepta.systems.replay import PRESETS, Config, decode
from percepta.systems.replay.data import groups
from percepta.systems.replay.evaluate import counted, overlap
from percepta.systems.replay.losses import overlaps
from percepta.systems.replay.model import build
from percepta.systems.replay.predict import ReplayGrounding
from percepta.train import Evaluator

TINY = PRESETS["tiny"]


def test_overlaps_are_intersections_over_unions() -> None:
    a, b = torch.tensor([[2.0, 4.0]]), torch.tensor([[1.0, 5.0]])
    assert overlaps(a, b).item() == pytest.approx(5 / 7) and overlaps(a, a).item() == pytest.approx(1)


def test_proposals() -> None:
    score, reach = np.zeros(96, np.float32), np.ones((96, 2), np.float32)
    score[40], score[41], score[80] = 0.9, 0.8, 0.6
    reach[40] = (1, 5)  # the middle lies two frames later
    times, scores = decode.proposals(score, reach, 100.0, TINY)
    assert times[0] == pytest.approx(100 + (40 - 96 + 2) / 2) and times[1] == pytest.approx(92.0)
    assert scores[0] == pytest.approx(0.9) and list(scores) == sorted(scores, reverse=True)


def test_spans_end_at_wipes() -> None:
    scores = np.zeros((100, 3), np.float32)
    scores[20:40, 0], scores[18, 1], scores[41, 2] = 0.9, 0.8, 0.8
    scores[60:62, 0] = 0.9  # too short
    assert [s[:2] for s in decode.spans(scores, TINY)] == [(9.0, 21.0)]


def test_counts() -> None:
    assert counted([(0, 10), (20, 30)], [(1, 10), (50, 60)]) == (1, 2, 2)
    assert overlap((0, 10), (5, 15)) == pytest.approx(1 / 3)


def test_replays_without_a_break_are_one() -> None:
    spans = [ReplaySpan(1, 10, 15), ReplaySpan(1, 15, 20), ReplaySpan(1, 30, 35)]
    assert groups(spans) == [(10, 20), (30, 35)]


def test_labels() -> None:
    rows = [
        {"gameTime": "1 - 00:10", "label": "", "replay": "real-time"},
        {"gameTime": "1 - 00:17", "replay": "replay", "link": {"half": "1", "time": "00:02", "label": "Goal"}},
        {"gameTime": "1 - 00:17", "replay": "replay", "link": {"half": "1", "time": "00:02", "label": "Goal"}},
        {"gameTime": "2 - 00:05", "replay": "replay", "link": ""},
        {"gameTime": "2 - 00:09", "replay": "replay", "link": {"half": "1", "time": "00:02", "label": "Goal"}},
    ]
    spans = parse_replays({"annotations": rows}, Path("x.json"))
    assert spans[0] == ReplaySpan(1, 10, 17, 2.0, "Goal")
    assert [s.action_s for s in spans] == [2.0, None, None] and spans[1].start_s == 0
    said = [Grounded(1, 10.0, 16.0, (2.0,), (1.0,))]
    assert len(paired_replays(spans[:1], said)) == 1 and len(paired_replays(spans[:1], said)[0].times_s) == 1
    assert paired_replays(spans[:1], said, OFFICIAL) == []  # its end is another second


def test_answers(tmp_path: Path) -> None:
    system = ready(TINY)
    features = np.random.default_rng(0).random((240, TINY.feature_width), np.float32)
    result = system.predict(features, replays=[(60.0, 66.0)])
    (one,) = result.replays
    assert one.times_s and all(0 <= t <= 60 for t in one.times_s)
    assert "1 replay in 2:00" in result.text and result.to_csv().splitlines()[1].startswith("1,60.00,66.00")
    result.save(tmp_path / "out.png")
    assert len(json.loads((tmp_path / "out.json").read_text())["replays"]) == 1
    with pytest.raises(InputError, match="not inside"):
        system.predict(features, replays=[(60.0, 600.0)])
    with pytest.raises(InputError, match="give their start and end"):
        config = replace(PRESETS["calf"], feature_width=336)
        ready(config).predict(features)


def ready(config: Config) -> ReplayGrounding:
    torch.manual_seed(0)
    model = build(config).eval()
    return ReplayGrounding(config, model, "", Evaluator("replay", config, model), answers)
