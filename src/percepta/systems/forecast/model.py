"""The networks of forecasting: ours (`small.py`), and the published ones, each in a file of its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from percepta.datasets.tracks import Moment
from percepta.systems.forecast import Config
from percepta.systems.forecast.hivt import HiVT, hivt_inputs
from percepta.systems.forecast.qcnet import QCNet
from percepta.systems.forecast.qcnet_inputs import qcnet_inputs
from percepta.systems.forecast.small import SmallNet
from percepta.systems.forecast.stgcnn import SocialSTGCNN

# What a published network reads besides the tensors of `scene.tensors`.
EXTRA: dict[str, Callable[[Moment, Config], tuple[Tensor, ...]]] = {"hivt": hivt_inputs, "qcnet": qcnet_inputs}


def build(config: Config) -> nn.Module:
    """The network with random weights."""
    kinds = {"small": SmallNet, "social-stgcnn": SocialSTGCNN, "hivt": HiVT, "qcnet": QCNet}
    return kinds[config.design](config)
