"""XMem as published (Cheng & Schwing, ECCV 2022), with the names of its weights.

A ResNet-50 gives keys, a ResNet-18 the values of picture and masks, a decoder the masks and a sensory state that every
frame changes; frames that are kept change it through their values ("deep update"). It agrees with the published code.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.vos import Config
from percepta.systems.vos.follow import aggregate
from percepta.systems.vos.memory import Group, Memory, similarity
from percepta.systems.vos.published import (
    BasicBlock,
    Bottleneck,
    PaddedFollower,
    Reinforcer,
    ResBlock,
    Updater,
    as_rows,
    larger,
    normalised,
    others,
    resnet_input,
    stage,
)


class Encoded(NamedTuple):
    """What is kept of a picture: key, shrinkage and selection of the memory, features of three strides."""

    key: Float[Tensor, "b k h16 w16"]
    shrinkage: Float[Tensor, "b 1 h16 w16"]
    selection: Float[Tensor, "b k h16 w16"]
    f16: Float[Tensor, "b 1024 h16 w16"]
    f8: Float[Tensor, "b 512 h8 w8"]
    f4: Float[Tensor, "b 256 h4 w4"]


class ChannelGate(nn.Module):
    """CBAM's weights of channels (Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, channels // 16), nn.ReLU(), nn.Linear(channels // 16, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * gate.sigmoid()[:, :, None, None]


class SpatialGate(nn.Module):
    """CBAM's weights of places."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Module()
        self.spatial.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * self.spatial.conv(pooled).sigmoid()  # type: ignore[operator]


class Fuser(nn.Module):
    """Features of the picture and of an object, put together."""

    def __init__(self, c_picture: int, c_object: int, c_out: int) -> None:
        super().__init__()
        self.block1 = ResBlock(c_picture + c_object, c_out)
        self.attention = nn.Module()
        self.attention.ChannelGate, self.attention.SpatialGate = ChannelGate(c_out), SpatialGate()
        self.block2 = ResBlock(c_out, c_out)

    def forward(self, picture: Tensor, own: Tensor) -> Tensor:
        x = self.block1(torch.cat([picture.expand(own.shape[0], -1, -1, -1), own], 1))
        seen = self.attention.SpatialGate(self.attention.ChannelGate(x))  # type: ignore[operator]
        return self.block2(x + seen)


class KeyEncoder(nn.Module):
    """ResNet-50 without its last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.res2 = stage(Bottleneck, 64, 64, 3, 1)
        self.layer2, self.layer3 = stage(Bottleneck, 256, 128, 4, 2), stage(Bottleneck, 512, 256, 6, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.res2(resnet_input(image, self.conv1, self.bn1))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class KeyProjection(nn.Module):
    """Features to key, shrinkage and selection (section 3.2)."""

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(channels, key_channels, 3, padding=1)
        self.d_proj = nn.Conv2d(channels, 1, 3, padding=1)
        self.e_proj = nn.Conv2d(channels, key_channels, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.key_proj(x), self.d_proj(x).square() + 1, self.e_proj(x).sigmoid()


class ValueEncoder(nn.Module):
    """ResNet-18 without its last stage on picture, mask and other masks, fused with the picture's features."""

    def __init__(self, value_channels: int, state_channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(5, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.layer1 = stage(BasicBlock, 64, 64, 2, 1)
        self.layer2, self.layer3 = stage(BasicBlock, 64, 128, 2, 2), stage(BasicBlock, 128, 256, 2, 2)
        self.fuser = Fuser(1024, 256, value_channels)
        self.hidden_reinforce = Reinforcer(value_channels, state_channels)

    def forward(self, image: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """Values of n objects.

        Args:
            image: the picture, normalised.
            f16: its features.
            masks: probabilities.
        """
        x = torch.cat([image.expand(masks.shape[0], -1, -1, -1), masks[:, None], others(masks)[:, None]], 1)
        x = self.layer1(resnet_input(x, self.conv1, self.bn1))
        return self.fuser(f16, self.layer3(self.layer2(x)))


class Upsampler(nn.Module):
    """Features of an object at twice the size, with those of the picture there."""

    def __init__(self, c_picture: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(c_picture, c_in, 3, padding=1)
        self.out_conv = ResBlock(c_in, c_out)

    def forward(self, picture: Tensor, own: Tensor) -> Tensor:
        return self.out_conv(self.skip_conv(picture) + larger(own, 2))


class Decoder(nn.Module):
    """What was read and the sensory state to masks."""

    def __init__(self, value_channels: int, state_channels: int) -> None:
        super().__init__()
        self.fuser = Fuser(1024, value_channels + state_channels, 512)
        self.hidden_update = Updater((512, 256, 257), 256, state_channels)
        self.up_16_8, self.up_8_4 = Upsampler(512, 512, 256), Upsampler(256, 256, 256)
        self.pred = nn.Conv2d(256, 1, 3, padding=1)

    def forward(
        self, encoded: Encoded, state: Tensor, readout: Tensor, update: bool
    ) -> tuple[Float[Tensor, "n h w"], Float[Tensor, "n s h16 w16"]]:
        """(logits of n objects, their new state).

        Args:
            encoded: of the frame.
            state: of the objects.
            readout: what the memory gave.
            update: whether the state changes.
        """
        g16 = self.fuser(encoded.f16, torch.cat([readout, state], 1))
        g8 = self.up_16_8(encoded.f8, g16)
        g4 = self.up_8_4(encoded.f4, g8)
        logits = self.pred(functional.relu(g4))
        if update:
            state = self.hidden_update(g16, g8, torch.cat([g4, logits], 1), state)
        return larger(logits, 4)[:, 0], state


class XMem(nn.Module):
    """The whole network; pictures come normalised, with sides that are multiples of 16."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.key_encoder = KeyEncoder()
        self.value_encoder = ValueEncoder(config.value_channels, config.sensory_channels)
        self.key_proj = KeyProjection(1024, config.key_channels)
        self.decoder = Decoder(config.value_channels, config.sensory_channels)

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Encoded:
        """What all objects of a picture share."""
        f16, f8, f4 = self.key_encoder(image)
        key, shrinkage, selection = self.key_proj(f16)
        return Encoded(key, shrinkage, selection, f16, f8, f4)

    def value(
        self,
        image: Float[Tensor, "1 3 h w"],
        f16: Float[Tensor, "1 1024 h16 w16"],
        masks: Float[Tensor, "n h w"],
        state: Float[Tensor, "n s h16 w16"],
    ) -> tuple[Float[Tensor, "n v h16 w16"], Float[Tensor, "n s h16 w16"]]:
        """(values of n objects, their state after the deep update).

        Args:
            image: the picture.
            f16: its features.
            masks: probabilities.
            state: before.
        """
        value = self.value_encoder(image, f16, masks)
        return value, self.value_encoder.hidden_reinforce(value, state)

    def segment(
        self,
        encoded: Encoded,
        readout: Float[Tensor, "n v h16 w16"],
        state: Float[Tensor, "n s h16 w16"],
        update: bool = True,
    ) -> tuple[Float[Tensor, "n1 h w"], Float[Tensor, "n s h16 w16"]]:
        """(logits of background and n objects, their new state).

        Args:
            encoded: of the frame.
            readout: what the memory gave.
            state: before.
            update: whether it changes.
        """
        logits, state = self.decoder(encoded, state, readout, update)
        return aggregate(logits.sigmoid()), state


class XMemMemory(Memory):
    """The memory with the published code's own ways, which only show with objects that come later.

    How much an element is used is counted by the first objects. The values of later objects are always paired with the
    last keys: after a consolidation, in which they stay, they meet keys of other frames; `memory.Memory` keeps every
    value with its key. Prototypes that are read equally little are forgotten together.
    """

    def _counts(self, group: Group) -> bool:
        return group.ids == self.groups[0].ids

    def _prune(self, most: int) -> None:
        usage = self._usage()[: self.long]
        if self.long <= most:
            return
        border = usage.topk(self.long - most, largest=False).values.max()
        kept = (usage > border).nonzero()[:, 0]
        rest = torch.arange(self.long, self.size, device=usage.device)
        long, self.long = self.long, len(kept)
        self._take(torch.cat([kept, rest]))
        assert self.long <= long

    def _consolidate(self, stay: int) -> None:
        assert self.key is not None and self.shrinkage is not None and self.selection is not None
        one, start, stop = self.per_frame, self.long + self.permanent, self.size - stay
        chosen = self._usage()[start:stop].topk(min(self.config.prototypes, stop - start)).indices
        affinity = similarity(
            self.key[:, start:stop],
            self.shrinkage[start:stop],
            self.key[:, start + chosen],
            self.selection[:, start + chosen],
        )
        shrinkage = self.shrinkage[start:stop] @ affinity.softmax(0)
        work, new, kept = self.size - self.long, [], []
        for group in self.groups:
            own = int((group.place >= self.long).sum())
            rows = group.values[len(group.place) - own :]
            gone = slice(one, own - stay)  # without the first frame, which for later objects is not the permanent one
            said = rows[gone] if own == work or own > stay + 2 * one else rows[:0]
            known = chosen >= (stop - start) - len(said)
            weights = affinity[len(affinity) - len(said) :, known].softmax(0)
            new.append(torch.einsum("mp,mnc->pnc", weights, said) if len(said) else rows[:0])
            stays = own == work or own >= stay + 2 * one
            kept.append(torch.cat([rows[:one], rows[own - stay :]]) if stays else rows)
        before = [group.values[: int((group.place < self.long).sum())] for group in self.groups]
        nothing = torch.zeros(0, dtype=torch.long, device=affinity.device)
        self._insert(self.key[:, start + chosen], shrinkage, [(nothing, rows[:0]) for rows in new], start, stop)
        groups = []
        for group, old, more, rows in zip(self.groups, before, new, kept, strict=True):
            long = len(old) + len(more)
            every = torch.arange(self.size, device=affinity.device)
            place = torch.cat([every[self.long - long : self.long], every[self.size - len(rows) :]])
            groups.append(Group(group.ids, torch.cat([old, more, rows]), place))
        self.groups = tuple(groups)


@dataclass
class XMemFollower(PaddedFollower):
    """XMem from frame to frame."""

    def new_memory(self) -> Memory:
        return XMemMemory(self.config)

    def prepared(self, picture: Tensor) -> Tensor:
        return normalised(picture)

    def encode(self, picture: Tensor) -> Encoded:
        return self.model.encode(picture[None])

    def predict(self, encoded: Encoded, keeps: bool, cut: bool) -> tuple[Tensor, Tensor]:
        read = self.memory.read(encoded.key[0].flatten(1), encoded.selection[0].flatten(1))
        readout = as_rows(read, self.ids, encoded.key)
        logits, state = self.model.segment(encoded, readout, self.state["sensory"], update=not keeps)
        self.state = {"sensory": state}
        return self._sure(logits.float().softmax(0))

    def keep(self, picture: Tensor, encoded: Encoded, masks: Tensor, given: Collection[int]) -> None:
        values, state = self.model.value(picture[None], encoded.f16, masks.to(picture.dtype), self.state["sensory"])
        self.state = {"sensory": state}
        key, shrinkage, selection = (value[0].flatten(1) for value in encoded[:3])
        rows = dict(zip(self.ids, values.flatten(2), strict=True))
        self.memory.add(key, shrinkage[0], selection, rows, permanent=self.memory.size == 0)

    def begin(self, encoded: Encoded, new: int, masks: Tensor) -> None:
        zeros = encoded.key.new_zeros(new, self.config.sensory_channels, *encoded.key.shape[2:])
        self.state = {"sensory": torch.cat([self.state["sensory"], zeros]) if self.state else zeros}
