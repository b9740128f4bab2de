"""What the networks of replay grounding say."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Output(NamedTuple):
    """For each frame of the past.

    Attributes:
        score: logits that the action is here.
        reach: frames back to the start and ahead to the end of its segment, 0 or more.
    """

    score: Float[Tensor, "b t"]
    reach: Float[Tensor, "b t 2"]
