"""Frames of a film as rows of numbers: which of them are looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.nn import looks


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
