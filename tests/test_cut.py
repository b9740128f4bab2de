"""Pieces of videos copied without encoding, lists of cuts, and the choice of highlights."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from percepta.datasets.soccer_results import Grounded, Spot
from percepta.errors import InputError
from percepta.flows.highlights import choose
from percepta.media import cut, video


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds at 10 frames a second; the brightness says the time."""
    frames = [np.full((64, 96, 3), 2 * i, np.uint8) for i in range(120)]
    return video.write(tmp_path_factory.mktemp("film") / "film.mp4", frames, 10)


def test_a_piece_begins_at_or_before_its_start(film: Path, tmp_path: Path) -> None:
    early = cut.cut(film, 5.0, 7.0, tmp_path / "piece.mp4")
    assert 0 <= early <= 5.0
    shown = [float(s.frame.mean()) / 2 for s in video.every_frame(tmp_path / "piece.mp4")]
    assert shown[0] == pytest.approx(10 * (5.0 - early), abs=2.5)
    assert shown[-1] == pytest.approx(69, abs=3)


def test_pieces_are_joined(film: Path, tmp_path: Path) -> None:
    early = cut.join(film, [(0.0, 1.0), (8.0, 9.0)], tmp_path / "reel.mp4")
    shown = [float(s.frame.mean()) / 2 for s in video.every_frame(tmp_path / "reel.mp4")]
    assert len(early) == 2 and shown[0] < 3 and shown[-1] == pytest.approx(89, abs=3)


def test_refusals(film: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a piece goes"):
        cut.cut(film, 3.0, 3.0, tmp_path / "x.mp4")
    with pytest.raises(InputError, match="at least one"):
        cut.join(film, [], tmp_path / "x.mp4")
    assert not (tmp_path / "x.mp4").exists()


def test_edl() -> None:
    text = cut.edl("goals", "half1.mp4", [(10.0, 12.5, "Goal 90%"), (60.0, 61.0, "Corner 50%")], 25)
    assert "001  AX       V     C        00:00:10:00 00:00:12:12 00:00:00:00 00:00:02:12" in text
    assert "00:01:00:00 00:01:01:00 00:00:02:12 00:00:03:12" in text


@given(st.lists(st.tuples(st.floats(0, 2700), st.sampled_from(["Goal", "Foul", "Throw-in"]), st.floats(0.1, 1)),
                max_size=20), st.floats(5, 120))  # fmt: skip
def test_reels_fit_and_never_overlap(rows: list[tuple[float, str, float]], length: float) -> None:
    spots = [Spot(1, t, label, score) for t, label, score in rows]
    pieces = choose(spots, [Grounded(1, 100.0, 108.0, (90.0,), (1.0,))], 2700.0, length)
    assert sum(p.end_s - p.start_s for p in pieces) <= length + 1e-6
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(pieces))


def test_pieces_with_reordered_pictures_and_sound_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("mpeg4", rate=10, options={"bf": "2", "g": "10"})
        pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
        tone = out.add_stream("aac", rate=8000, layout="mono")
        rng = np.random.default_rng(0)
        for i in range(100):
            texture = rng.integers(0, 40, (64, 96, 3)) + 2 * i
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(texture.astype(np.uint8), format="rgb24")))
            piece = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), format="fltp", layout="mono")
            piece.sample_rate, piece.pts = 8000, 800 * i
            out.mux(tone.encode(piece))
        out.mux(pictures.encode())
        out.mux(tone.encode())
    wanted = [(2.0, 3.5), (3.5, 5.0), (0.5, 1.5), (8.0, 10.0)]
    early = cut.join(path, wanted, tmp_path / "reel.mp4")
    shown = [s.time_s for s in video.every_frame(tmp_path / "reel.mp4")]
    assert all(b > a for a, b in itertools.pairwise(shown)) and all(0 <= e <= 1.3 for e in early), early
    seconds = sum(b - a for a, b in wanted) + sum(early)
    assert shown[-1] == pytest.approx(seconds, abs=1.5) and len(shown) >= 10 * seconds - 4
    assert video.info(tmp_path / "reel.mp4").has_audio


def test_a_replay_is_shown_whole_and_what_is_unsure_is_passed_over() -> None:
    spots = [
        SimpleNamespace(time_s=20.0, label="Goal", score=0.9),
        SimpleNamespace(time_s=60.0, label="Goal", score=0.1),
    ]
    replays = [SimpleNamespace(start_s=22.0, end_s=30.0, times_s=(20.0,)),
               SimpleNamespace(start_s=5.0, end_s=14.0, times_s=(1.0,))]  # fmt: skip
    pieces = choose(spots, replays, 100.0, 60.0)
    assert [(p.start_s, p.end_s) for p in pieces] == [(14.0, 22.0), (22.0, 30.0)]
