"""Outputs as answers: ranked times for a replay, and spans for the replays of a half."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from percepta.nn.spotting import soft_nms
from percepta.systems.replay import Config

LEAST = 1e-3  # of a proposal


def proposals(
    score: Float[np.ndarray, " t"], reach: Float[np.ndarray, "t 2"], start_s: float | int, config: Config
) -> tuple[tuple[float | int, ...], tuple[float | int, ...]]:
    """Times (s) and scores of what a replay may show, the best first.

    Args:
        score: of each frame of the past, 0..1.
        reach: frames back to the start and ahead to the end of the segment.
        start_s: where the replay begins; the last frame of the past is one frame before.
        config: frames a second and suppression.
    """
    frames = np.arange(len(score)) - len(score) + (reach[:, 1] - reach[:, 0]) / 2
    times = start_s + frames / config.fps
    allowed = (times >= 0) & (times <= start_s)
    found, scores = soft_nms(times[allowed], score[allowed], window=config.nms_s, least=LEAST, most=config.most)
    return tuple(found.tolist()), tuple(scores.tolist())


def spans(scores: Float[np.ndarray, "t 3"], config: Config) -> list[tuple[float | int, float | int, float | int]]:
    """Start, end (s) and score of the replays of a half.

    A run of frames inside of a replay is drawn to the best frame with a wipe within two seconds of each of its ends.

    Args:
        scores: inside, first frames, last frames.
        config: frames a second, threshold, shortest replay.
    """
    inside = np.concatenate([[False], scores[:, 0] >= config.span_score, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    out = []
    near = round(2 * config.fps)
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        first = _edge(scores[:, 1], int(low), near)
        last = _edge(scores[:, 2], int(high) - 1, near) + 1
        if (last - first) / config.fps >= config.shortest_s:
            out.append((first / config.fps, last / config.fps, float(scores[low:high, 0].mean())))
    return out


def _edge(wipes: np.ndarray, place: int, near: int) -> int:
    low = max(0, place - near)
    part = wipes[low : place + near + 1]
    best = int(part.argmax())
    return low + best if part[best] >= 0.5 else place
