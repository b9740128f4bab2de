"""The rendered broadcast: laws of the game, of the cameras, and how often things happen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from percepta.datasets import soccer
from percepta.worlds.pitch import recording
from percepta.worlds.pitch.broadcast import SPEED, Half, broadcast
from percepta.worlds.pitch.drawing import draw
from percepta.worlds.pitch.match import RATE, SPRINT_MS


@pytest.fixture(scope="module")
def half() -> Half:
    return broadcast(3, 1, 900.0)


def test_nobody_is_faster_than_people_are(half: Half) -> None:
    steps = np.linalg.norm(np.diff(half.match.players, axis=0), axis=2) * RATE
    assert steps.max() <= SPRINT_MS + 1e-3 and half.match.ball[:, 2].min() >= -1e-6
    assert np.abs(half.match.ball[:, 0]).max() < 60 and np.abs(half.match.ball[:, 1]).max() < 40


def test_shots_follow_each_other_without_a_gap(half: Half) -> None:
    assert half.shots[0].start_s == 0 and half.shots[-1].end_s >= 900
    assert all(a.end_s == b.start_s for a, b in zip(half.shots, half.shots[1:], strict=False))


def test_replays_show_their_action_at_half_speed(half: Half) -> None:
    assert half.replays
    for shot in half.replays:
        assert shot.action is not None and shot.action.time_s < shot.start_s <= shot.action.time_s + 101
        assert shot.source_s < shot.action.time_s < shot.game_s(shot.end_s)
        assert shot.game_s(shot.end_s) - shot.source_s == pytest.approx(SPEED * (shot.end_s - shot.start_s))
        assert half.before(shot) < shot.start_s


def test_what_is_shown_is_on_the_air(half: Half) -> None:
    for event, seen in zip(half.match.events, half.shown, strict=True):
        if seen:
            assert half.shot(event.time_s).kind not in ("replay", "crowd", "close"), event


def test_as_often_as_in_the_labels(shared_data: Path) -> None:
    games = soccer.read(shared_data / "soccer" / "labels-v2.jsonl.gz")
    real = Counter(a.label for game in games for a in game.actions)
    halves = [broadcast(seed, 1) for seed in range(6)]
    ours = Counter(e.label for half in halves for e in half.match.events)
    for label in ("Foul", "Ball out of play", "Throw-in", "Clearance", "Indirect free-kick", "Corner"):
        assert ours[label] / 6 == pytest.approx(real[label] / 400, rel=0.35), label
    assert np.mean([len(half.replays) for half in halves]) == pytest.approx(31, rel=0.25)


def test_pictures_follow_from_the_seed(half: Half) -> None:
    a = draw(half, 30.0)
    assert a.shape == (128, 224, 3) and a.dtype == np.uint8 and (a == draw(half, 30.0)).all()
    assert (a != draw(half, 34.0)).mean() > 0.05
    assert draw(half, 30.0, 64, 112, plain=True).shape == (64, 112, 3)


def test_a_game_in_soccernets_layout(tmp_path: Path) -> None:
    encode = lambda pictures: pictures.mean((1, 2), dtype=np.float32)  # noqa: E731
    recording.record(tmp_path, "val/game-000", 103, encode, "mean", seconds=120.0)
    (game,) = soccer.read(tmp_path)
    played = recording.halves(103, 120.0)
    assert game.name == "val/game-000" and set(game.features) == {"mean"}
    assert list(game.of(1)) == recording.actions(played[0], 1) and list(game.of(2)) == recording.actions(played[1], 2)
    wanted = [*recording.spans(played[0], 1), *recording.spans(played[1], 2)]
    assert len(game.replays) == len(wanted)
    for got, want in zip(game.replays, wanted, strict=True):
        assert (got.half, got.start_s, got.end_s, got.label) == (want.half, want.start_s, want.end_s, want.label)
        assert got.action_s == pytest.approx(want.action_s, abs=1e-3)
    features = soccer.read_features(tmp_path / "val" / "game-000" / "1_mean.npy")
    assert features.shape == (240, 3)
