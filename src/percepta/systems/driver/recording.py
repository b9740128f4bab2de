"""The views of one drive on one time: features v t c, and which are present (v t).

The first view that is given says the time. Others are moved by the offset that is given or estimated, cut or filled
up: a shorter video, a later start or a dead camera leaves moments at which a view is not present.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from percepta.errors import InputError
from percepta.nn.looks import Rows
from percepta.systems.driver import Config
from percepta.systems.driver.align import offset
from percepta.systems.driver.features import alive, calibrated

MOST_S = 15.0  # largest offset that is looked for


@dataclass(frozen=True)
class Recording:
    """One drive.

    Attributes:
        features: of each view at each moment; zero where it is not present.
        present: where a view shows something.
        offset_s: seconds by which each view began later than the first.
        duration_s: of the first view.
    """

    features: Float32[np.ndarray, "v t c"]
    present: Bool[np.ndarray, "v t"]
    offset_s: dict[str, float]
    duration_s: float

    def __len__(self) -> int:
        return self.features.shape[1]


def assembled(
    views: Mapping[str, tuple[Rows, float]],
    config: Config,
    *,
    quiet_s: float | int = 0.0,
    offset_s: Mapping[str, float | int] | None = None,
) -> Recording:
    """A drive from what was seen of each view.

    Args:
        views: {view: (rows, duration in seconds)}; the first says the time.
        config: settings.
        quiet_s: first seconds in which nothing but driving happens, for calibration; 0: none.
        offset_s: by how much each view began later than the first; those not named are estimated.

    Raises:
        InputError: there is no view, or one that the network does not know.
    """
    if not views:
        raise InputError(f"give at least one view of {', '.join(config.views)}")
    if odd := [name for name in views if name not in config.views]:
        raise InputError(f"unknown view {odd[0]!r}; the views are {', '.join(config.views)}")
    first = next(iter(views))
    length = len(views[first][0])
    features = np.zeros((len(config.views), length, config.channels), np.float32)
    present = np.zeros((len(config.views), length), bool)
    movement = {name: _movement(rows) for name, (rows, _) in views.items()}
    offsets: dict[str, float] = {}
    for name, (rows, _) in views.items():
        if name == first:
            shift = 0
        elif offset_s is not None and name in offset_s:
            shift = round(offset_s[name] * config.fps)
        else:
            shift = offset(movement[first], movement[name], round(MOST_S * config.fps))
        offsets[name] = shift / config.fps
        shows = alive(rows, config.fps)
        vector = calibrated(rows.vectors(), shows, max(0, round(quiet_s * config.fps) - shift))
        place = config.views.index(name)
        start, end = max(0, shift), min(length, shift + len(rows))
        if end > start:
            features[place, start:end] = vector[start - shift : end - shift]
            present[place, start:end] = shows[start - shift : end - shift]
    return Recording(features, present, offsets, views[first][1])


def _movement(rows: Rows) -> np.ndarray:
    """How much moves at each moment; the first, of which nothing is known, as much as the second."""
    thumb = rows.thumb.astype(np.float32).reshape(len(rows), -1)
    moved = np.abs(np.diff(thumb, axis=0)).mean(1) if len(rows) > 1 else np.zeros(1, np.float32)
    return np.concatenate([moved[:1], moved]) if len(rows) > 1 else moved
