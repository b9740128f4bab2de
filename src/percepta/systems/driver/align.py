"""How much later one camera began than another, from when something moves.

Cameras of one car see the same movements at the same time. The amount of movement of each view is a row of numbers; the
shift at which two rows agree best is the offset. It is believed only where the rows agree clearly and clearly better
than unshifted; otherwise the views count as synchronised.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LEAST = 0.3  # correlation
BETTER = 0.1  # than without a shift


def offset(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], most: int) -> int:
    """Steps by which `second` began later than `first` (negative: earlier): first[i] goes with second[i - offset].

    Args:
        first: amount of movement at each step.
        second: the same of another view.
        most: largest offset that is looked for.
    """
    best, value, plain = 0, -1.0, -1.0
    for shift in range(-most, most + 1):
        a, b = first[max(0, shift) :], second[max(0, -shift) :]
        n = min(len(a), len(b))
        if n < max(16, 0.5 * min(len(first), len(second))):
            continue
        found = agreement(a[:n], b[:n])
        if shift == 0:
            plain = found
        if found > value:
            best, value = shift, found
    return best if value >= LEAST and value >= plain + BETTER else 0


def agreement(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Correlation of the square roots of two rows; 0 where one of them is still."""
    a, b = np.sqrt(np.maximum(a, 0)), np.sqrt(np.maximum(b, 0))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 1e-12 else 0.0
