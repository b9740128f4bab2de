"""The networks cut into parts that have an ONNX graph: a picture, the values of a frame, and the masks of a frame.

The memory stays outside: what it holds, reads and forgets is a handful of products and a choice of the best
(`memory.py`), whose sizes change from frame to frame.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from percepta.contract import Graph
from percepta.systems.vos.cutie import Cutie
from percepta.systems.vos.cutie import Encoded as CutieEncoded
from percepta.systems.vos.model import Encoded, Network
from percepta.systems.vos.xmem import Encoded as XMemEncoded
from percepta.systems.vos.xmem import XMem

OBJECTS = 2  # of the example; as many as one likes


class Picture(nn.Module):
    """A picture (1 3 h w; RGB 0..1, for XMem normalised as ImageNet's) to what all objects share."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.encode(image))


class SmallValues(nn.Module):
    """What a frame puts into the memory for n objects."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, s16: Tensor, s8: Tensor, s4: Tensor, masks: Tensor) -> Tensor:
        """Values n v h16 w16.

        Args:
            s16: features at a sixteenth.
            s8: at an eighth.
            s4: at a quarter.
            masks: probabilities n h w.
        """
        nothing = s16[:, :0]
        return self.model.value(Encoded(nothing, nothing, nothing, s16, s8, s4, s8[:, :0]), masks[None])[0]


class SmallMasks(nn.Module):
    """What was read of n objects, the last masks and the state to masks."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, s16: Tensor, s8: Tensor, s4: Tensor, now: Tensor, last: Tensor, masks: Tensor, first: Tensor,
        marked: Tensor, readout: Tensor, state: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """(logits n h4 w4 before aggregation, logits of presence, new state where there is one).

        Args:
            s16: features at a sixteenth.
            s8: at an eighth.
            s4: at a quarter.
            now: fine keys of this frame.
            last: fine keys of the last frame.
            masks: of the last frame, probabilities n h w.
            first: fine keys of the frame in which the objects were given.
            marked: their masks there, n h w.
            readout: n v h16 w16, what the memory gave.
            state: n s h16 w16; None for a network without.
        """
        carried, recalled = self.model.carry(now, last, masks[None]), self.model.recall(now, first, marked[None])
        matched = self.model.matched(carried, recalled, torch.ones(1, dtype=torch.bool, device=now.device))
        nothing = s16[:, :0]
        encoded = Encoded(nothing, nothing, nothing, s16, s8, s4, now)
        before = readout[:, :0] if state is None else state
        said = self.model.decoder(encoded, readout[None], matched, before[None])
        return (said.logits, said.presence) if state is None else (said.logits, said.presence, said.sensory)


class XMemValues(nn.Module):
    """What a frame puts into the memory of XMem for n objects."""

    def __init__(self, model: XMem) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, f16: Tensor, masks: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(values, state after the deep update).

        Args:
            image: the picture, normalised.
            f16: its features.
            masks: probabilities n h w.
            state: n s h16 w16.
        """
        return self.model.value(image, f16, masks, state)


class XMemMasks(nn.Module):
    """What was read of n objects and their state to masks of XMem."""

    def __init__(self, model: XMem) -> None:
        super().__init__()
        self.model = model

    def forward(self, f16: Tensor, f8: Tensor, f4: Tensor, readout: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """(aggregated logits, background first; new state).

        Args:
            f16: features at a sixteenth.
            f8: at an eighth.
            f4: at a quarter.
            readout: n v h16 w16, what the memory gave.
            state: n s h16 w16.
        """
        nothing = f16[:, :0]
        return self.model.segment(XMemEncoded(nothing, nothing, nothing, f16, f8, f4), readout, state)


class CutieValues(nn.Module):
    """What a frame puts into the memory of Cutie for n objects."""

    def __init__(self, model: Cutie) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, pixel: Tensor, masks: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(values, state after the deep update, summaries).

        Args:
            image: the picture.
            pixel: its projected features.
            masks: probabilities n h w.
            state: n s h16 w16.
        """
        return self.model.value(image, pixel, masks, state)


class CutieMasks(nn.Module):
    """What was read of n objects that began together, the last masks, summaries and state to masks of Cutie."""

    def __init__(self, model: Cutie) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, f16: Tensor, f8: Tensor, f4: Tensor, pixel: Tensor, masks: Tensor, summaries: Tensor, readout: Tensor,
        state: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """(aggregated logits, background first; new state).

        Args:
            f16: features at a sixteenth.
            f8: at an eighth.
            f4: at a quarter.
            pixel: projected features.
            masks: of the last frame, probabilities n h w.
            summaries: n q c, added up.
            readout: n v h16 w16, what the memory gave.
            state: n s h16 w16.
        """
        nothing = f16[:, :0]
        encoded = CutieEncoded(nothing, nothing, nothing, f16, f8, f4, pixel)
        return self.model.segment(encoded, self.model.enrich(pixel, readout, state, masks, summaries), state)


def picture(model: Any) -> Graph:
    """The graph of `Picture`."""
    names = {Network: Encoded, XMem: XMemEncoded, Cutie: CutieEncoded}[type(model)]._fields
    return Picture(model), {"image": image(model)}, list(names), {}


def values(model: Any) -> Graph:
    """The graph of `SmallValues`, `XMemValues` or `CutieValues`."""
    shared, own = example(model)
    if isinstance(model, Network):
        names = ("s16", "s8", "s4", "masks")
        return SmallValues(model), _some(shared | own, names), ["values"], {"masks": {0: "n"}}
    free = {"masks": {0: "n"}, "state": {0: "n"}}
    if isinstance(model, XMem):
        inputs = _some(shared | own, ("image", "f16", "masks", "state"))
        return XMemValues(model), inputs, ["values", "state_after"], free
    inputs = _some(shared | own, ("image", "pixel", "masks", "state"))
    return CutieValues(model), inputs, ["values", "state_after", "summaries"], free


def masks(model: Any) -> Graph:
    """The graph of `SmallMasks`, `XMemMasks` or `CutieMasks`."""
    shared, own = example(model)
    if isinstance(model, Network):
        free, told = ("masks", "marked", "readout"), ["logits", "presence"]
        shared |= {"now": shared["fine"], "last": shared["fine"].roll(1, 3), "first": shared["fine"].roll(5, 3)}
        own |= {"marked": own["masks"].round()}
        names = ("s16", "s8", "s4", "now", "last", "masks", "first", "marked", "readout")
        if model.config.sensory_channels:
            free, told, names = (*free, "state"), [*told, "state_after"], (*names, "state")
        inputs = _some(shared | own, names)
        return SmallMasks(model), inputs, told, {name: {0: "n"} for name in free}
    if isinstance(model, XMem):
        inputs = _some(shared | own, ("f16", "f8", "f4", "readout", "state"))
        return XMemMasks(model), inputs, ["logits", "state_after"], {name: {0: "n"} for name in ("readout", "state")}
    free = ("masks", "summaries", "readout", "state")
    inputs = _some(shared | own, ("f16", "f8", "f4", "pixel", *free))
    return CutieMasks(model), inputs, ["logits", "state_after"], {name: {0: "n"} for name in free}


def _some(tensors: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: tensors[name] for name in names}


def image(model: Any) -> Tensor:
    """A picture of noise at the size of the settings."""
    draw = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, model.config.height, model.config.width, generator=draw)


@torch.no_grad()
def example(model: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(a picture and what it gives, by name; masks, what was read, state and summaries of OBJECTS objects)."""
    config, draw = model.config, torch.Generator().manual_seed(1)
    seen, n = image(model), OBJECTS
    shared = {"image": seen, **model.encode(seen)._asdict()}
    h, w = shared["key"].shape[2:]
    own = {
        "masks": torch.rand(n, config.height, config.width, generator=draw),
        "readout": torch.randn(n, config.value_channels, h, w, generator=draw),
        "state": torch.randn(n, config.sensory_channels, h, w, generator=draw).tanh(),
    }
    if isinstance(model, Cutie):
        own["summaries"] = 1 + torch.rand(n, 16, 257, generator=draw)
    return shared, own


EXPORTS = {
    "picture": picture,
    "values": values,
    "masks": masks,
    "memory": "what it holds changes with every frame; reading is similarity, the best 30, and their weighted sum",
}
