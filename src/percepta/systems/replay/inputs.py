"""What a network is given for a replay."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from percepta.datasets.soccer import ReplaySpan
from percepta.datasets.soccer_halves import HalfFeatures
from percepta.systems.replay import Config


def of_replay(half: HalfFeatures, replay: ReplaySpan, config: Config, shift: int = 0) -> dict[str, Tensor]:
    """What the network is given for a replay: past, replay, there.

    Args:
        half: its features.
        replay: start and end.
        config: how many frames.
        shift: frames between the end of the past and the replay.
    """
    start, stop = round(replay.start_s * config.fps), round(replay.end_s * config.fps)
    length = max(1, min(config.replay_frames, stop - start))
    past = half.window(start - shift - config.past_frames, start - shift)
    shown = half.window(start, start + config.replay_frames)
    there = np.arange(config.replay_frames) < length
    shown[~there] = 0
    return {"past": torch.from_numpy(past), "replay": torch.from_numpy(shown), "there": torch.from_numpy(there)}
