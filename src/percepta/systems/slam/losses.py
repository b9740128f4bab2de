"""There is no loss: nothing of SLAM is learnt by steps."""

from __future__ import annotations

from torch import Tensor

from percepta.contract import Batch, Step
from percepta.errors import InputError
from percepta.systems.slam.model import PlaceNet

NOT_TRAINED = (
    "slam is not trained: its settings are constants, and the one projection that describes places is fitted once, in "
    "closed form, on rendered rooms by `percepta slam fit --out FILE`"
)


def loss(model: PlaceNet, batch: Batch, step: Step) -> dict[str, Tensor]:
    """Says that there is nothing to train.

    Args:
        model: of no use here.
        batch: of no use here.
        step: of no use here.

    Raises:
        InputError: always.
    """
    raise InputError(NOT_TRAINED)
