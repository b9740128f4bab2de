"""Frames of a film as rows of numbers: which of them are looked at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.media import video
from percepta.nn import looks
from percepta.nn.efficientnet import EfficientNetLite0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.sampled_from((1, 2, 5, 12.5, 24, 25, 30)), st.sampled_from((1, 4, 5, 10)))
def test_each_moment_shows_the_last_frame_before_it(count: int, fps: float, rate: float) -> None:
    """The oracle asks every frame when it is shown, in whole numbers: frame i from i/fps on."""
    film = np.zeros((count, 2, 3, 3), np.uint8)
    film[:, 0, 0, 0] = np.arange(count)
    frames, seconds = looks.resampled(film, fps, rate)
    assert seconds == pytest.approx(count / fps)
    expected = []
    moment = 0
    while 2 * moment * fps < 2 * count * rate:  # the moment's time is below the film's end
        expected.append(max(i for i in range(count) if i * rate <= moment * fps))
        moment += 1
    assert frames[:, 0, 0, 0].tolist() == expected


def test_what_is_no_film_is_refused() -> None:
    for wrong in (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((4, 8, 8, 3)), np.zeros((4, 8, 8), np.uint8), []):
        with pytest.raises(InputError, match="frames are"):
            looks.resampled(wrong, 5, 5)
    for fps in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match="fps is above 0"):
            looks.resampled(np.zeros((4, 8, 8, 3), np.uint8), fps, 5)


def rows(count: int = 4, columns: int = 3, seed: int = 0) -> looks.Rows:
    rng = np.random.default_rng(seed)
    return looks.Rows(rng.random((count, columns), np.float32), rng.random((count, 12, 16), np.float32))


def test_vectors_are_looks_and_what_moved() -> None:
    """Ten times the difference of the greys from the frame before; at the first frame nothing has moved."""
    some = rows()
    found = some.vectors()
    assert found.shape == (4, 3 + 192) and (found[:, :3] == some.look).all() and not found[0, 3:].any()
    for i in range(1, 4):
        moved = 10 * np.abs(some.thumb[i] - some.thumb[i - 1])
        np.testing.assert_allclose(found[i, 3:], moved.reshape(-1), rtol=1e-5)
    blind = looks.Rows(np.zeros((4, 0), np.float32), some.thumb)
    np.testing.assert_allclose(blind.vectors(), np.c_[some.thumb.reshape(4, -1), found[:, 3:]], rtol=1e-5)


def test_rows_are_cut_joined_saved_and_read(tmp_path: Path) -> None:
    some = rows()
    assert len(some[1:3]) == 2 and (some[np.array([3, 0])].look == some.look[[3, 0]]).all()
    both = looks.joined([some[:1], some[1:]])
    assert (both.look == some.look).all() and (both.thumb == some.thumb).all()
    again, more = looks.read(some.save(tmp_path / "a.npz", fps=29.97, duration=1e6 + 0.125))
    np.testing.assert_allclose(again.look, some.look, atol=1e-3)
    np.testing.assert_allclose(again.thumb, some.thumb, atol=1e-3)
    assert more == {"fps": 29.97, "duration": 1e6 + 0.125} and again.look.dtype == np.float32


def test_greys_are_means_of_areas_by_the_weights_of_luma() -> None:
    """24 × 32 pixels: each of 12 × 16 greys is the mean of four, 0.299 R + 0.587 G + 0.114 B."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8)
    found = looks.look_at(frames, None, lambda x: x.mean((2, 3)), 64, torch.device("cpu"))
    luma = frames / 255 @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.thumb, luma.reshape(2, 12, 2, 16, 2).mean((2, 4)), atol=1e-5)
    assert found.look.shape == (2, 0) and len(found) == 2


class Seen(EfficientNetLite0):
    """Stands in for an encoder, and remembers the sizes of what it is shown."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.sizes: list[tuple[int, ...]] = []

    def fast(self) -> Any:
        def look(pictures: torch.Tensor) -> Any:
            self.sizes.append(tuple(pictures.shape))
            return SimpleNamespace(head=pictures)

        return look


@pytest.mark.parametrize(("size", "width"), [((90, 160), 128), ((90, 90), 64), ((160, 90), 32), ((90, 2), 32)])
def test_the_encoder_sees_batches_of_pictures_of_its_height(size: tuple[int, int], width: int) -> None:
    """64 high; the width keeps the shape up to the nearest multiple of 32: 160 / 90 · 64 is 113.8, so 128."""
    frames = np.full((17, *size, 3), 51, np.uint8)
    seen = Seen()
    found = looks.look_at(frames, seen, lambda x: x.mean((2, 3)), 64, torch.device("cpu"))
    assert seen.sizes == [(16, 3, 64, width), (1, 3, 64, width)]
    np.testing.assert_allclose(found.look, np.full((17, 3), 0.2), atol=1e-6)


@given(st.integers(0, 50))
def test_batches_hold_every_frame_once(count: int) -> None:
    stacks = list(looks.batched(np.full((1, 1, 3), i, np.uint8) for i in range(count)))
    assert [len(one) for one in stacks] == [16] * (count // 16) + [count % 16] * bool(count % 16)
    assert [int(frame[0, 0, 0]) for one in stacks for frame in one] == list(range(count))


def test_a_video_is_looked_at_at_a_rate(tmp_path: Path) -> None:
    """3.2 s of 10 frames a second, looked at 5 times a second: frames 0, 2, ... of half the size."""
    path = video.write(tmp_path / "a.mp4", [np.full((32, 64, 3), 7 * i, np.uint8) for i in range(32)], 10)
    sizes, said = [], []

    def look(frames: np.ndarray) -> looks.Rows:
        sizes.append(frames.shape)
        return looks.Rows(frames.mean((1, 2))[:, :1].astype(np.float32), np.zeros((len(frames), 12, 16), np.float32))

    found, seconds, whole = looks.of_video(path, look, fps=5, height=16, progress=lambda *x: said.append(x))
    assert whole and seconds == pytest.approx(3.2, abs=0.11) and len(found) == 16 and sizes == [(16, 16, 32, 3)]
    np.testing.assert_allclose(found.look[:, 0], 14 * np.arange(16), atol=4)
    assert said == [(16, 16)]
