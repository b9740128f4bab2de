"""Our small network: one encoding of a picture for all objects, and for each object only what is light.

A picture gives features at a sixteenth, an eighth and a quarter of its size (EfficientNet-Lite0), keys of the memory at
a sixteenth (XMem, section 3.2), and fine keys at an eighth. For each object a frame that is kept gives a value. A frame
that is predicted reads values by keys; by fine keys the last frame's mask is carried to it, and the mask of the frame
in which the object was given is recalled. A decoder makes logits at a quarter of all of them, and objects share the
probability of a pixel by soft aggregation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.errors import InputTypeError
from percepta.nn.trunk import Trunk
from percepta.systems.vos import Config
from percepta.systems.vos.cutie import Cutie, CutieFollower
from percepta.systems.vos.follow import Follower, aggregate
from percepta.systems.vos.memory import similarity
from percepta.systems.vos.xmem import XMem, XMemFollower

LONGEST = 3.0  # times the shorter side: longer pictures are seen smaller


class Encoded(NamedTuple):
    """What is kept of a picture: it serves all objects.

    Attributes:
        key: of the memory.
        shrinkage: how sharply the key is matched once it is in the memory, from 1 on.
        selection: which of its channels a place goes by, 0..1.
        s16, s8, s4: features for values and the decoder.
        fine: keys by which masks are carried and recalled, of length 1.
    """

    key: Float[Tensor, "b k h16 w16"]
    shrinkage: Float[Tensor, "b 1 h16 w16"]
    selection: Float[Tensor, "b k h16 w16"]
    s16: Float[Tensor, "b c16 h16 w16"]
    s8: Float[Tensor, "b c8 h8 w8"]
    s4: Float[Tensor, "b c4 h4 w4"]
    fine: Float[Tensor, "b f h8 w8"]

    def pick(self, index: Any) -> Encoded:
        """The same of some pictures."""
        return Encoded(*(value[index] for value in self))


class Decoded(NamedTuple):
    """What the decoder says of objects in a frame, `n` of them.

    Attributes:
        logits: of the masks, at a quarter.
        coarse: the same at a sixteenth, from the memory and the state alone (trained as a guide).
        presence: logit of the object being in sight.
        sensory: the new state.
    """

    logits: Float[Tensor, "n h4 w4"]
    coarse: Float[Tensor, "n h16 w16"]
    presence: Float[Tensor, " n"]
    sensory: Float[Tensor, "n s h16 w16"]


class Residual(nn.Module):
    """Two 3×3 convolutions on top of what comes in; at first it changes nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))


class ValueEncoder(nn.Module):
    """Masks and the picture's features to values; the masks are looked at in full, by blocks of 4×4 pixels."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c16, c8, c4 = config.channels
        self.enter = nn.Conv2d(2 * 16, c4, 1)
        self.body4 = Residual(c4)
        self.down8, self.body8 = nn.Conv2d(c4, c8, 3, 2, 1), Residual(c8)
        self.down16, self.body16 = nn.Conv2d(c8, c16, 3, 2, 1), Residual(c16)
        self.leave = nn.Conv2d(c16, config.value_channels, 3, padding=1)

    def forward(self, encoded: Encoded, masks: Float[Tensor, "b n h w"]) -> Float[Tensor, "b n v h16 w16"]:
        """Values of n objects for each of b pictures; masks are probabilities."""
        b, n = masks.shape[:2]
        others = (masks.sum(1, keepdim=True) - masks).clamp(0, 1)
        x = functional.pixel_unshuffle(torch.stack([masks, others], 2).flatten(0, 1), 4)
        x = self.body4(_each(self.enter(x), encoded.s4))
        x = self.body8(_each(self.down8(functional.relu(x)), encoded.s8))
        x = self.body16(_each(self.down16(functional.relu(x)), encoded.s16))
        return self.leave(functional.relu(x)).unflatten(0, (b, n))


class Decoder(nn.Module):
    """What was read, matched masks and the state to logits at a quarter and a new state (a GRU)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c16, c8, c4 = config.channels
        s = self.sensory = config.sensory_channels
        self.enter = nn.Conv2d(config.value_channels + s, c16, 1)
        self.body16 = nn.Sequential(Residual(c16), Residual(c16))
        self.up8, self.matched8 = nn.Conv2d(c16, c8, 1), nn.Conv2d(9, c8, 1)
        self.body8 = nn.Sequential(Residual(c8), Residual(c8))
        self.up4, self.matched4 = nn.Conv2d(c8, c4, 1), nn.Conv2d(2, c4, 1)
        self.body4 = Residual(c4)
        self.leave = nn.Conv2d(c4, 1, 3, padding=1)
        self.coarse = nn.Conv2d(c16, 1, 1)
        self.presence = nn.Linear(2 * c16, 1)
        if s:
            self.mix16, self.mix8, self.mix4 = nn.Conv2d(c16, s, 1), nn.Conv2d(c8, s, 1), nn.Conv2d(c4 + 1, s, 1)
            self.gates = nn.Conv2d(2 * s, 3 * s, 3, padding=1)

    def forward(
        self,
        encoded: Encoded,
        readout: Float[Tensor, "b n v h16 w16"],
        matched: Float[Tensor, "b n 9 h8 w8"],
        sensory: Float[Tensor, "b n s h16 w16"],
    ) -> Decoded:
        """Objects of one frame.

        Args:
            encoded: of the frame.
            readout: what the memory gave.
            matched: the last frame's masks and the given ones, brought to this frame; see `Network.matched`.
            sensory: the state.

        Returns:
            All objects of all pictures in one row.
        """
        state, matched = sensory.flatten(0, 1), matched.flatten(0, 1)
        read = readout.flatten(0, 1)
        x16 = self.enter(torch.cat([read, state], 1) if self.sensory else read)
        x16 = self.body16(_each(x16, encoded.s16))
        x8 = self.up8(functional.relu(x16))
        x8 = _each(_larger(x8, 2) + self.matched8(matched), encoded.s8)
        x8 = self.body8(x8)
        x4 = _larger(self.up4(functional.relu(x8)), 2) + self.matched4(functional.pixel_shuffle(matched[:, :8], 2))
        x4 = self.body4(_each(x4, encoded.s4))
        logits = self.leave(functional.relu(x4))
        seen = functional.relu(x16).flatten(2)
        presence = self.presence(torch.cat([seen.amax(2), seen.mean(2)], 1))[:, 0]
        return Decoded(
            logits[:, 0], self.coarse(functional.relu(x16))[:, 0], presence, self.updated(x16, x8, x4, logits, state)
        )

    def updated(self, x16: Tensor, x8: Tensor, x4: Tensor, logits: Tensor, state: Tensor) -> Tensor:
        """The new state: a GRU without a reset gate, as XMem has it.

        Args:
            x16: features of the decoder at a sixteenth.
            x8: at an eighth.
            x4: at a quarter.
            logits: of the masks, at a quarter.
            state: before.
        """
        if not self.sensory:
            return state
        fine = functional.avg_pool2d(torch.cat([x4, logits], 1), 4)
        mixed = self.mix16(x16) + self.mix8(functional.avg_pool2d(x8, 2)) + self.mix4(fine)
        forget, update, new = self.gates(torch.cat([mixed, state], 1)).chunk(3, 1)
        forget, update = forget.sigmoid(), update.sigmoid()
        return forget * state * (1 - update) + update * new.tanh()


class Network(nn.Module):
    """The small network. `image` is EfficientNet-Lite0, the rest is trained from scratch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        c16, c8, c4 = config.channels
        self.image = Trunk(config.trunk_blocks)
        for module in (self.image.stem, *list(self.image.blocks)[: config.frozen_blocks]):
            module.requires_grad_(False)
        f4, f8, f16, f32 = self.image.channels
        self.lateral4, self.lateral8, self.lateral16 = (
            nn.Conv2d(f4, c4, 1),
            nn.Conv2d(f8, c8, 1),
            nn.Conv2d(f16, c16, 1),
        )
        self.context = nn.Conv2d(f32, c16, 1) if f32 else None
        for layer in (self.lateral4, self.lateral8, self.lateral16, self.context):
            if layer is not None:  # Lite0's features vary by 4; keys that far apart would match nothing but themselves
                layer.weight.data.mul_(0.25)
        self.fine = self.fine16 = None
        if config.fine_channels:
            self.fine = nn.Conv2d(c8, config.fine_channels, 3, padding=1)
            self.fine16 = nn.Conv2d(c16, c8, 1)
        self.key = nn.Conv2d(c16, 2 * config.key_channels + 1, 3, padding=1)
        nn.init.orthogonal_(self.key.weight[: config.key_channels].data.flatten(1))
        self.value, self.decoder = ValueEncoder(config), Decoder(config)
        # as logarithms: 1 / temperature of cosines of fine keys, to carry and to recall; 1 / (2 · distance²) of places
        self.sharpness, self.recall_sharpness = nn.Parameter(torch.tensor(2.5)), nn.Parameter(torch.tensor(3.0))
        self.nearness = nn.Parameter(torch.tensor(-4.0))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, image: Float[Tensor, "b 3 h w"], *, fast: bool = False) -> Encoded:
        """What all objects of a picture share.

        Args:
            image: RGB in 0..1; both sides multiples of 16, of 32 with more than 11 blocks.
            fast: without gradient, with batch norms folded into convolutions: the same up to rounding.
        """
        f4, f8, f16, *more = (self.image.fast() if fast else self.image)(image)
        s4, s8, s16 = self.lateral4(f4), self.lateral8(f8), self.lateral16(f16)
        if self.context is not None:
            s16 = s16 + _larger(self.context(more[0]), 2)
        key, selection, shrinkage = self.key(s16).split((self.config.key_channels, self.config.key_channels, 1), 1)
        fine = s8[:, :0]
        if self.fine is not None and self.fine16 is not None:
            fine = functional.normalize(self.fine(s8 + _larger(self.fine16(s16), 2)), dim=1)
        return Encoded(key, shrinkage.square() + 1, selection.sigmoid(), s16, s8, s4, fine)

    def carry(
        self, now: Float[Tensor, "b f h8 w8"], last: Float[Tensor, "b f h8 w8"], masks: Float[Tensor, "b n h w"]
    ) -> Float[Tensor, "b n 4 h8 w8"]:
        """The last frame's masks at this frame: every place takes those of the places that look like it nearby.

        Args:
            now: fine keys of this frame.
            last: fine keys of the last one.
            masks: of the last one, probabilities.

        Returns:
            Four values a place, of its four quarters.
        """
        # −a·|p − p'|² = 2a·p·p' − a·|p'|², and a term that no softmax over p' notices: three channels more of the keys
        near, (b, _, h, w) = self.nearness.exp(), now.shape
        place = _places(h, w, now).expand(b, -1, -1, -1)
        query = torch.cat([now * self.sharpness.exp(), 2 * near * place, -near * torch.ones_like(place[:, :1])], 1)
        key = torch.cat([last, place, place.square().sum(1, keepdim=True)], 1)
        return _moved(query, key, masks)

    def recall(
        self, now: Float[Tensor, "b f h8 w8"], then: Float[Tensor, "b f h8 w8"], masks: Float[Tensor, "b n h w"]
    ) -> Float[Tensor, "b n 4 h8 w8"]:
        """The masks of an earlier frame at this one: every place takes those of the places that look like it, wherever.

        Args:
            now: fine keys of this frame.
            then: fine keys of the earlier one.
            masks: of the earlier one.

        Returns:
            Four values a place, of its four quarters.
        """
        return _moved(now * self.recall_sharpness.exp(), then, masks)

    def matched(
        self, carried: Float[Tensor, "b n 4 h8 w8"], recalled: Float[Tensor, "b n 4 h8 w8"], keep: Bool[Tensor, " b"]
    ) -> Float[Tensor, "b n 9 h8 w8"]:
        """What the decoder is told of other frames' masks.

        Args:
            carried: from the last frame.
            recalled: from the frame in which each object was given.
            keep: whether anything is carried; after a cut nothing is.

        Returns:
            Carried and recalled values, and a ninth that says whether anything was carried.
        """
        told = torch.cat([carried, recalled, torch.ones_like(carried[:, :, :1])], 2)
        if self.fine is None:
            return torch.zeros_like(told)
        always = torch.tensor([False] * 4 + [True] * 4 + [False], device=keep.device)
        return told * (keep[:, None] | always)[:, None, :, None, None]

    def read(
        self,
        key: Float[Tensor, "b k m"],
        shrinkage: Float[Tensor, "b m"],
        values: Float[Tensor, "b n v m"],
        now: Encoded,
    ) -> Float[Tensor, "b n v h16 w16"]:
        """Reads from all elements of a memory, as in training; `memory.Memory` reads from the best ones.

        Args:
            key: of the elements.
            shrinkage: of the elements.
            values: of the elements.
            now: the frame that reads.
        """
        scores = similarity(key, shrinkage, now.key.flatten(2), now.selection.flatten(2))
        read = values.flatten(1, 2) @ scores.softmax(1)
        return read.view(*values.shape[:3], *now.key.shape[2:])

    def new_state(self, encoded: Encoded, n: int) -> Float[Tensor, "b n s h16 w16"]:
        """The state of objects that were just given: zeros."""
        b, _, h, w = encoded.key.shape
        return encoded.key.new_zeros(b, n, self.config.sensory_channels, h, w)

    def forward(
        self,
        pictures: Float[Tensor, "b t 3 h w"],
        masks: Float[Tensor, "b n h w"],
        known: Bool[Tensor, "b n"] | None = None,
        keep_carried: Bool[Tensor, "b t"] | None = None,
    ) -> list[tuple[Float[Tensor, "b n1 h w"], Decoded]]:
        """A clip, from the masks of its first frame: every predicted frame goes into the memory.

        Args:
            pictures: RGB in 0..1.
            masks: of n objects in the first frame, 0 or 1.
            known: which of the n objects there are; None for all.
            keep_carried: in which frames masks are carried from the last one; None for all.

        Returns:
            For each further frame the aggregated logits (background first) and what the decoder said.
        """
        (b, t), (h, w), n = pictures.shape[:2], pictures.shape[-2:], masks.shape[1]
        frames = Encoded(*(value.unflatten(0, (b, t)) for value in self.encode(pictures.flatten(0, 1))))
        at = [frames.pick((slice(None), i)) for i in range(t)]
        state, values, out = self.new_state(at[0], n), [], []
        if known is not None:
            masks = masks * known[:, :, None, None]
        given = masks
        keep = torch.ones(b, t, dtype=torch.bool, device=masks.device) if keep_carried is None else keep_carried
        for i in range(1, t):
            values.append(self.value(at[i - 1], masks).flatten(3))
            keys = frames.key[:, :i].transpose(1, 2).flatten(2)
            readout = self.read(keys, frames.shrinkage[:, :i].flatten(1), torch.cat(values, 3), at[i])
            now, last, first = at[i].fine, at[i - 1].fine, at[0].fine
            matched = self.matched(self.carry(now, last, masks), self.recall(now, first, given), keep[:, i])
            said = self.decoder(at[i], readout, matched, state)
            state = said.sensory.unflatten(0, (b, n))
            full = functional.interpolate(said.logits.unflatten(0, (b, n)), (h, w), mode="bilinear")
            logits = aggregate(full.sigmoid() if known is None else full.sigmoid() * known[:, :, None, None])
            masks = logits.softmax(1)[:, 1:].detach()
            out.append((logits, said))
        return out


def _places(h: int, w: int, like: Tensor) -> Float[Tensor, "2 h w"]:
    """Row and column of each place, from the middle."""
    rows, columns = (torch.arange(n, device=like.device, dtype=torch.float32) - n / 2 for n in (h, w))
    return torch.stack([rows[:, None].expand(h, w), columns[None].expand(h, w)])


def _moved(
    now: Float[Tensor, "b f h8 w8"], then: Float[Tensor, "b f h8 w8"], masks: Float[Tensor, "b n h w"]
) -> Float[Tensor, "b n 4 h8 w8"]:
    """What places take of masks by the softmax of the products of keys, in quarters.

    Args:
        now: keys of the places.
        then: keys of the masks' frame.
        masks: probabilities.
    """
    (b, n), (h, w) = masks.shape[:2], now.shape[2:]
    small = functional.pixel_unshuffle(functional.avg_pool2d(masks.flatten(0, 1)[:, None], 4), 2)
    values = small.view(b, n * 4, h, w)
    query, key, value = (x.float().flatten(2).transpose(1, 2).contiguous() for x in (now, then, values))
    if torch.compiler.is_exporting():
        out = torch.bmm(query, key.transpose(1, 2)).softmax(2) @ value
    else:  # the same, without ever holding all products; it is fast where all have as many channels
        most = max(query.shape[2], value.shape[2])
        query, key, wide = (functional.pad(x, (0, most - x.shape[2]))[:, None] for x in (query, key, value))
        out = functional.scaled_dot_product_attention(query, key, wide, scale=1.0)[:, 0, :, : value.shape[2]]
    return out.transpose(1, 2).reshape(b, n, 4, h, w).to(masks.dtype)


def _each(x: Tensor, shared: Tensor) -> Tensor:
    """The features of pictures added to those of each of their objects, which follow each other in `x`."""
    b = shared.shape[0]
    return x + shared if b in (1, x.shape[0]) else (x.unflatten(0, (b, -1)) + shared[:, None]).flatten(0, 1)


def _larger(x: Tensor, times: int) -> Tensor:
    return functional.interpolate(x, scale_factor=times, mode="bilinear")


@dataclass
class SmallFollower(Follower):
    """The small network from frame to frame.

    Attributes:
        fine: fine keys of the last frame.
        state: "sensory"; of the frame in which each object was given last: "first", its fine keys, "marked", the mask,
            and "since", its number.
    """

    fine: Tensor | None = None

    def encode(self, picture: Tensor) -> Encoded:
        return self.model.encode(picture[None], fast=True)

    def predict(self, encoded: Encoded, keeps: bool, cut: bool) -> tuple[Tensor, Tensor]:
        assert self.fine is not None and self.masks is not None
        kind, size = encoded.key.dtype, encoded.key.shape[2:]
        read = self.memory.read(encoded.key[0].flatten(1), encoded.selection[0].flatten(1))
        readout = torch.stack([read[one] for one in self.ids]).unflatten(2, size)[None].to(kind)
        carried = self.model.carry(encoded.fine, self.fine, self.masks[None].to(kind))
        recalled = torch.empty_like(carried)
        for frame in self.state["since"].unique():  # objects that were given together are recalled together
            rows = (self.state["since"] == frame).nonzero()[:, 0]
            masks = self.state["marked"][rows][None].to(kind)
            recalled[:, rows] = self.model.recall(encoded.fine, self.state["first"][rows[:1]], masks)
        matched = self.model.matched(carried, recalled, torch.tensor([not cut], device=carried.device))
        said = self.model.decoder(encoded, readout, matched, self.state["sensory"][None])
        self.state = {**self.state, "sensory": said.sensory}
        full = functional.interpolate(said.logits[None].float(), self.masks.shape[1:], mode="bilinear")[0]
        return aggregate(full.sigmoid()).softmax(0), said.presence.float().sigmoid()

    def keep(self, picture: Tensor, encoded: Encoded, masks: Tensor, given: Collection[int]) -> None:
        values = self.model.value(encoded, masks[None].to(encoded.key.dtype))[0].flatten(2)
        key, shrinkage, selection = (value[0].flatten(1) for value in encoded[:3])
        rows = dict(zip(self.ids, values, strict=True))
        self.memory.add(key, shrinkage[0], selection, rows, permanent=bool(given))
        fresh = torch.tensor([one in given for one in self.ids], device=masks.device)
        new = {"first": encoded.fine, "marked": masks, "since": torch.full_like(fresh, self.frame, dtype=torch.long)}
        self.state = dict(self.state)
        for name, value in new.items():
            where = fresh.view(-1, *[1] * (value.ndim - 1))
            self.state[name] = torch.where(where, value, self.state[name])

    def begin(self, encoded: Encoded, new: int, masks: Tensor) -> None:
        fresh = {
            "sensory": self.model.new_state(encoded, new)[0],
            "first": encoded.fine.expand(new, -1, -1, -1),
            "marked": masks.new_zeros(new, *masks.shape[1:]),
            "since": torch.full((new,), self.frame, device=masks.device),
        }
        old = self.state or {name: value[:0] for name, value in fresh.items()}
        self.state = {name: torch.cat([old[name], value]) for name, value in fresh.items()}

    def leave(self, encoded: Encoded) -> None:
        self.fine = encoded.fine

    def tensors(self) -> dict[str, Tensor]:
        out = super().tensors()
        return out if self.fine is None else {**out, "fine": self.fine}

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        super().fill(tensors)
        self.fine = tensors.get("fine")


def size_inside(config: Config, height: int, width: int) -> tuple[int, int]:
    """The size at which the network sees frames: the shorter side as configured, long pictures are made smaller.

    Published networks see smaller frames as they are.

    Args:
        config: the settings.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
    """
    side = config.height_at_prediction or config.height
    scale = min(side / min(height, width), LONGEST * side / max(height, width))
    if config.design != "small":
        scale = min(scale, 1.0)
        return max(1, round(height * scale)), max(1, round(width * scale))
    step = 16 if config.trunk_blocks == 11 else 32
    height, width = (max(1, round(side * scale / step)) * step for side in (height, width))
    return height, width


def build(config: Config) -> nn.Module:
    """The network with random weights; `load` and `train` fill Lite0, which PRETRAINED names."""
    return {"small": Network, "xmem": XMem, "cutie": Cutie}[config.design](config)


def follower(model: nn.Module, config: Config) -> Follower:
    """The loop that belongs to a network.

    Raises:
        InputTypeError: no network of `build`.
    """
    for kind, loop in ((Network, SmallFollower), (XMem, XMemFollower), (Cutie, CutieFollower)):
        if isinstance(model, kind):
            return loop(model, config)
    raise InputTypeError(f"expected a network that vos.model.build made, got {type(model).__name__}")
