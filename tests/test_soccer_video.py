"""Features of videos, the break between halves, how loud it is, and whether frames are like those of training."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import soccer_video
from percepta.datasets.soccer_video import Encoded, halves_of, parts
from percepta.errors import InputError
from percepta.media import video
from percepta.media.loudness import loudness
from percepta.nn.spotting import FrameProjection, Usual, pixel_features

RATE = 8000


def match(first_s: int, break_s: int, second_s: int) -> Encoded:
    """A match of which only the grass is known: cut-aways of ten seconds every two minutes."""
    grass = np.full(2 * (first_s + break_s + second_s), 0.6, np.float32)
    for start in range(100, len(grass), 240):
        grass[start : start + 20] = 0.05
    grass[2 * first_s : 2 * (first_s + break_s)] = 0.02
    return Encoded(np.arange(len(grass), dtype=np.float32)[:, None], grass, 2.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(2700, 3300), st.integers(90, 1200), st.integers(2700, 3300))
def test_the_break_is_found(first_s: int, break_s: int, second_s: int) -> None:
    (a, b), (c, d) = halves_of(match(first_s, break_s, second_s))
    assert a == 0 and abs(b - first_s) <= 16 and abs(c - first_s - break_s) <= 16 and d == first_s + break_s + second_s


def test_halves_of_files(tmp_path: Path) -> None:
    one, whole = match(2700, 0, 0), match(2700, 600, 2700)
    file = tmp_path / "a.mp4"
    assert [(p.half, p.start_s, len(p.features)) for p in parts([(file, one)])] == [(1, 0, 5400)]
    assert [(p.half, p.start_s) for p in parts([(file, one), (file, one)])] == [(1, 0), (2, 0)]
    first, second = parts([(file, whole)])
    assert second.half == 2 and second.features[0, 0] == 2 * second.start_s
    first, second = parts([(file, whole)], (2600.0, 3400.0))
    assert len(first.features) == 5200 and second.start_s == 3400
    with pytest.raises(InputError, match="does not lie inside"):
        parts([(file, whole)], (100.0, 9000.0))
    with pytest.raises(InputError, match="match in one file"):
        parts([(file, one), (file, one)], (1.0, 2.0))
    with pytest.raises(InputError, match="no break without grass"):
        halves_of(Encoded(np.zeros((12000, 1), np.float32), np.full(12000, 0.5, np.float32), 2.0))


def film(path: Path, with_sound: bool) -> Path:
    """Four seconds of 64 x 96 pixels: grass, then grey; silent for two seconds, then a tone."""
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
        tone = out.add_stream("aac", rate=RATE, layout="mono") if with_sound else None
        for i in range(40):
            colour = (40, 140, 50) if i < 20 else (120, 120, 120)
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), colour, np.uint8), format="rgb24")
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode())
        if tone is not None:
            at = np.arange(4 * RATE)
            wave = (np.sin(2 * np.pi * 440 * at / RATE) * 0.5 * (at >= 2 * RATE)).astype(np.float32)
            for start in range(0, len(wave), 1024):
                piece = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.pts = RATE, start
                out.mux(tone.encode(piece))
            out.mux(tone.encode())
    return path


def test_features_grass_and_loudness(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", True)
    calls: list[int] = []

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        calls.append(len(pictures))
        return pixel_features(pictures)

    found = soccer_video.encoded(source, encode, cache=tmp_path / "kept", with_sound=True)
    assert found.features.shape == (8, 337) and found.seconds == 4
    assert found.grass[:3].min() > 0.9 and found.grass[5:].max() == 0
    assert found.features[:3, -1].max() < 0.3 and found.features[5:7, -1].min() > 0.7
    again = soccer_video.encoded(source, encode, cache=tmp_path / "kept", with_sound=True)
    assert calls == [8] and (again.features == found.features).all() and (again.grass == found.grass).all()
    silent = film(tmp_path / "b.mp4", False)
    assert (soccer_video.encoded(silent, encode, with_sound=True).features[:, -1] == 0).all()
    np.testing.assert_array_equal(loudness(silent, 0.5, 8), np.zeros(8))
    (tmp_path / "cut.mp4").write_bytes(source.read_bytes()[:300])
    with pytest.raises(video.VideoError):
        soccer_video.encoded(tmp_path / "cut.mp4", encode)


@torch.no_grad()
def test_what_is_unlike_training_is_far() -> None:
    generator = torch.Generator().manual_seed(0)
    usual = Usual(30)
    assert usual.distance(torch.randn(50, 30)) == 0  # nothing was seen yet
    for _ in range(40):
        frames = 3 + 2 * torch.randn(4, 60, 30, generator=generator)
        frames[:, 50:] = 0  # outside of the video
        usual.see(frames)
    torch.testing.assert_close(usual.mean, torch.full((30,), 3.0), atol=0.15, rtol=0)
    assert usual.distance(3 + 2 * torch.randn(500, 30, generator=generator)) < 0.2
    assert usual.distance(9 + 2 * torch.randn(500, 30, generator=generator)) == pytest.approx(3, abs=0.3)


@torch.no_grad()
def test_distance_is_in_deviations_of_each_number() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, deviation = torch.tensor([0.5, -2.0, 7.0]), torch.tensor([3.0, 0.5, 1.5])
    usual = Usual(3)
    usual.see(mean + deviation * torch.randn(4, 5000, 3, generator=generator))
    for shift in ((2.0, 0.0, 0.0), (0.0, -2.0, 0.0), (0.0, 0.0, 2.0), (2.0, 2.0, 2.0)):
        far = (mean + deviation * torch.tensor(shift))[None]
        assert usual.distance(far) == pytest.approx(float(torch.tensor(shift).square().mean().sqrt()), abs=0.05)


@torch.no_grad()
def test_loudness_counts_and_statistics_only_move_in_training() -> None:
    torch.manual_seed(0)
    project = FrameProjection(9, 4, sound=True).eval()
    frames = torch.rand(2, 5, 9)
    quiet, loud = frames.clone(), frames.clone()
    quiet[..., -1], loud[..., -1] = 0, 1
    assert (project(quiet) - project(loud)).abs().max() > 1e-3 and int(project.usual.count) == 0
    project.train()(frames)
    assert int(project.usual.count) == 1
