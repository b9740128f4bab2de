"""Cutie as published (Cheng et al., CVPR 2024), size small, with the names of its weights.

XMem with ResNet-18 encoders, and between memory and decoder an object transformer: 16 queries of each object, which
start from summaries of it over all frames; half of them may look at its foreground only and half at the rest.
Objects that come at another time have a memory of their own. It agrees with the published code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.systems.vos import Config
from percepta.systems.vos.follow import aggregate
from percepta.systems.vos.memory import Memory
from percepta.systems.vos.published import (
    BasicBlock,
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

WIDTH, HEADS, QUERIES, HIDDEN, BLOCKS = 256, 8, 16, 2048, 3  # of the object transformer
SCALE = 32.0  # of positions, which lie in 0..1


class Encoded(NamedTuple):
    """What is kept of a picture: key, shrinkage and selection of the memory, features of three strides, and f16
    projected for the object transformer."""

    key: Float[Tensor, "b k h16 w16"]
    shrinkage: Float[Tensor, "b 1 h16 w16"]
    selection: Float[Tensor, "b k h16 w16"]
    f16: Float[Tensor, "b 256 h16 w16"]
    f8: Float[Tensor, "b 128 h8 w8"]
    f4: Float[Tensor, "b 64 h4 w4"]
    pixel: Float[Tensor, "b 256 h16 w16"]


class PixelEncoder(nn.Module):
    """ResNet-18 without its last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.res2 = stage(BasicBlock, 64, 64, 2, 1)
        self.layer2, self.layer3 = stage(BasicBlock, 64, 128, 2, 2), stage(BasicBlock, 128, 256, 2, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.res2(resnet_input(image, self.conv1, self.bn1))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class KeyProjection(nn.Module):
    """Features to key, shrinkage and selection."""

    def __init__(self, key_channels: int) -> None:
        super().__init__()
        self.pix_feat_proj = nn.Conv2d(256, WIDTH, 1)
        self.key_proj = nn.Conv2d(WIDTH, key_channels, 3, padding=1)
        self.d_proj = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.e_proj = nn.Conv2d(WIDTH, key_channels, 3, padding=1)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pix_feat_proj(f16)
        return self.key_proj(x), self.d_proj(x).square() + 1, self.e_proj(x).sigmoid()


class AttentiveBlock(nn.Module):
    """A residual block whose channels are weighted by their means (ECA, Wang et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.conv = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.conv1(functional.relu(x))))
        weights = self.conv(y.mean((2, 3))[:, None])[:, 0].sigmoid()
        return x + y * weights[:, :, None, None]


class Fuser(nn.Module):
    """Features of the picture and of an object, added."""

    def __init__(self, c_picture: int, c_object: int, c_out: int) -> None:
        super().__init__()
        self.distributor = nn.ModuleDict(
            {"x_transform": nn.Conv2d(c_picture, c_out, 1), "g_transform": nn.Conv2d(c_object, c_out, 1)}
        )
        self.block1, self.block2 = AttentiveBlock(c_out), AttentiveBlock(c_out)

    def forward(self, picture: Tensor, own: Tensor) -> Tensor:
        x = self.distributor["x_transform"](picture) + self.distributor["g_transform"](own)
        return self.block2(self.block1(x))


class MaskEncoder(nn.Module):
    """ResNet-18 without its last stage on picture, mask and other masks, fused with the picture's features."""

    def __init__(self, value_channels: int, state_channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(5, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.layer1 = stage(BasicBlock, 64, 64, 2, 1)
        self.layer2, self.layer3 = stage(BasicBlock, 64, 128, 2, 2), stage(BasicBlock, 128, 256, 2, 2)
        self.fuser = Fuser(WIDTH, 256, value_channels)
        self.sensory_update = Reinforcer(value_channels, state_channels)

    def forward(self, image: Tensor, pixel: Tensor, masks: Tensor) -> Tensor:
        """Values of n objects.

        Args:
            image: the picture, normalised.
            pixel: its projected features.
            masks: probabilities.
        """
        x = torch.stack([masks, others(masks).clamp(0, 1)], 1)
        x = torch.cat([image.expand(masks.shape[0], -1, -1, -1), x], 1)
        return self.fuser(pixel, self.layer3(self.layer2(self.layer1(resnet_input(x, self.conv1, self.bn1)))))


class PixelFuser(nn.Module):
    """What was read, the sensory state and the last masks, fused with the picture's features."""

    def __init__(self, value_channels: int, state_channels: int) -> None:
        super().__init__()
        self.fuser = Fuser(WIDTH, value_channels, WIDTH)
        self.sensory_compress = nn.Conv2d(state_channels + 2, value_channels, 1)

    def forward(self, pixel: Tensor, readout: Tensor, state: Tensor, masks: Tensor) -> Tensor:
        """Features of n objects.

        Args:
            pixel: of the picture.
            readout: what the memory gave.
            state: of the objects.
            masks: of the last frame, at any size.
        """
        small = functional.interpolate(masks[None], state.shape[2:], mode="area")[0]
        seen = torch.stack([small, others(small).clamp(0, 1)], 1)
        return self.fuser(pixel, readout + self.sensory_compress(torch.cat([state, seen], 1)))


class Upsampler(nn.Module):
    """Features of an object at twice the size, with those of the picture there."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.out_conv = ResBlock(c_in, c_out, 1)

    def forward(self, own: Tensor, picture: Tensor) -> Tensor:
        return self.out_conv(picture + larger(own, 2))


class MaskDecoder(nn.Module):
    """Features of objects to masks and a new sensory state."""

    def __init__(self, state_channels: int) -> None:
        super().__init__()
        self.sensory_update = Updater((256, 128, 129), state_channels, state_channels)
        transforms = nn.ModuleList([nn.Conv2d(128, 256, 1), nn.Conv2d(64, 128, 1)])
        self.decoder_feat_proc = nn.ModuleDict({"transforms": transforms})
        self.up_16_8, self.up_8_4 = Upsampler(256, 128), Upsampler(128, 128)
        self.pred = nn.Conv2d(128, 1, 3, padding=1)

    def forward(self, encoded: Encoded, g16: Tensor, state: Tensor, update: bool) -> tuple[Tensor, Tensor]:
        """(logits of n objects at a quarter, their new state).

        Args:
            encoded: of the frame.
            g16: features of the objects.
            state: of the objects.
            update: whether the state changes.
        """
        to8, to4 = self.decoder_feat_proc["transforms"].children()
        g8 = self.up_16_8(g16, to8(encoded.f8))
        g4 = self.up_8_4(g8, to4(encoded.f4))
        logits = self.pred(functional.relu(g4))
        if update:
            state = self.sensory_update(g16, g8, torch.cat([g4, logits], 1), state)
        return logits[:, 0], state


class Positions(nn.Module):
    """Sines and cosines of the place in the picture: half of the channels for columns, half for rows."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTH // 2
        self.register_buffer("inv_freq", 1 / 128 ** (torch.arange(0, half, 2).float() / half))

    def forward(self, h: int, w: int) -> Float[Tensor, "h w c"]:
        frequency = self.get_buffer("inv_freq")

        def waves(count: int) -> Tensor:
            place = torch.arange(count, device=frequency.device, dtype=frequency.dtype)
            angle = (place / (place[-1] + 1e-6) * SCALE)[:, None] * frequency
            return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)

        rows, columns = waves(h), waves(w)
        return torch.cat([columns[None].expand(h, -1, -1), rows[:, None].expand(-1, w, -1)], 2)


class ObjectSummarizer(nn.Module):
    """Values inside and outside of a mask to 16 sums with their weights, which may be added up over frames."""

    def __init__(self, value_channels: int) -> None:
        super().__init__()
        self.pos_enc = Positions()
        self.input_proj = nn.Linear(value_channels, WIDTH)
        self.feature_pred = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.weights_pred = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, QUERIES))

    def forward(self, masks: Tensor, value: Tensor) -> Float[Tensor, "n q c1"]:
        h, w = value.shape[2:]
        small = functional.interpolate(masks[None], (h, w), mode="area")[0, ..., None].expand(-1, -1, -1, QUERIES // 2)
        x = self.input_proj(value.permute(0, 2, 3, 1)) + self.pos_enc(h, w)
        weights = self.weights_pred(x).sigmoid() * torch.cat([small, 1 - small], 3)
        sums = torch.einsum("nhwq,nhwc->nqc", weights, self.feature_pred(x))
        return torch.cat([sums, weights.sum((1, 2))[..., None]], 2)


class CrossAttention(nn.Module):
    """Some places look at others; positions are added to what is compared, not to what is taken."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()

    def forward(
        self, x: Tensor, memory: Tensor, place: Tensor, memory_place: Tensor, blocked: Tensor | None = None
    ) -> Tensor:
        """`x` with what it saw added.

        Args:
            x: who looks.
            memory: what is looked at.
            place: positions of `x`.
            memory_place: positions of `memory`.
            blocked: where nobody may look.
        """
        x = self.norm(x)
        seen = self.cross_attn(x + place, memory + memory_place, memory, attn_mask=blocked, need_weights=False)[0]
        return x + seen


class SelfAttention(nn.Module):
    """Queries of an object look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        x = self.norm(x)
        return x + self.self_attn(x + place, x + place, x, need_weights=False)[0]


class FeedForward(nn.Module):
    """Two linear layers behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear2(functional.relu(self.linear1(self.norm(x))))


class TransformerBlock(nn.Module):
    """Queries read from pixels, then pixels from queries (section 3.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.read_from_pixel = CrossAttention(norm=True)
        self.self_attn, self.ffn = SelfAttention(), FeedForward()
        self.read_from_query = CrossAttention(norm=False)
        self.pixel_ffn = nn.Module()
        self.pixel_ffn.conv = AttentiveBlock(WIDTH)

    def forward(
        self, query: Tensor, pixel: Tensor, query_place: Tensor, pixel_place: Tensor, blocked: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(queries, pixels).

        Args:
            query: of n objects.
            pixel: of n objects.
            query_place: positions of the queries.
            pixel_place: positions of the pixels.
            blocked: where queries may not look.
        """
        flat = pixel.flatten(2).transpose(1, 2)
        query = self.read_from_pixel(query, flat, query_place, pixel_place, blocked)
        query = self.ffn(self.self_attn(query, query_place))
        flat = self.read_from_query(flat, query, pixel_place, query_place)
        return query, self.pixel_ffn.conv(flat.transpose(1, 2).reshape(pixel.shape))  # type: ignore[operator]


class ObjectTransformer(nn.Module):
    """Features of objects, enriched by queries that know the whole object."""

    def __init__(self) -> None:
        super().__init__()
        self.query_init, self.query_emb = nn.Embedding(QUERIES, WIDTH), nn.Embedding(QUERIES, WIDTH)
        self.summary_to_query_init, self.summary_to_query_emb = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.pixel_init_proj, self.pixel_emb_proj = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)
        self.spatial_pe = Positions()
        self.blocks = nn.ModuleList(TransformerBlock() for _ in range(BLOCKS))
        self.mask_pred = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Conv2d(WIDTH, 1, 1)) for _ in range(BLOCKS + 1))

    def forward(
        self, pixel: Float[Tensor, "n c h w"], summaries: Float[Tensor, "n q c1"]
    ) -> tuple[Float[Tensor, "n c h w"], list[Float[Tensor, "n h w"]]]:
        """(features, logits of the masks that tell queries where to look, before each block and after the last)."""
        values = summaries[..., :-1] / (summaries[..., -1:] + 1e-4)
        query = self.query_init.weight + self.summary_to_query_init(values)
        query_place = self.query_emb.weight + self.summary_to_query_emb(values)
        place = self.spatial_pe(*pixel.shape[2:]).flatten(0, 1)
        pixel_place = place + self.pixel_emb_proj(pixel).flatten(2).transpose(1, 2)
        pixel = self.pixel_init_proj(pixel)
        logits = [self.mask_pred[0](pixel)[:, 0]]
        for block, predict in zip(self.blocks, list(self.mask_pred)[1:], strict=True):
            query, pixel = block(query, pixel, query_place, pixel_place, blocked(logits[-1]))
            logits.append(predict(pixel)[:, 0])
        return pixel, logits


def blocked(logits: Float[Tensor, "n h w"]) -> Tensor:
    """Where queries may not look: half of them only at the object's foreground, half only at the rest.

    Returns:
        Boolean, n·heads × queries × places; a query that could look nowhere may look everywhere.
    """
    every = aggregate(logits.sigmoid())
    foreground = (every[1:] >= every.amax(0)).flatten(1)[:, None]
    each = torch.cat([~foreground.expand(-1, QUERIES // 2, -1), foreground.expand(-1, QUERIES // 2, -1)], 1)
    each = each & ~each.all(2, keepdim=True)
    return each.repeat_interleave(HEADS, 0)


class SensoryAid(nn.Module):
    """A layer that published checkpoints carry and only training used."""

    def __init__(self, state_channels: int) -> None:
        super().__init__()
        self.sensory_aux = nn.Module()
        self.sensory_aux.projection = nn.Conv2d(state_channels, WIDTH + 1, 1)


class Cutie(nn.Module):
    """The whole network; pictures are RGB in 0..1, with sides that are multiples of 16."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        value, state = config.value_channels, config.sensory_channels
        self.pixel_encoder = PixelEncoder()
        self.pix_feat_proj = nn.Conv2d(256, WIDTH, 1)
        self.key_proj = KeyProjection(config.key_channels)
        self.mask_encoder, self.mask_decoder = MaskEncoder(value, state), MaskDecoder(state)
        self.pixel_fuser = PixelFuser(value, state)
        self.object_transformer, self.object_summarizer = ObjectTransformer(), ObjectSummarizer(value)
        self.aux_computer = SensoryAid(state)

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Encoded:
        """What all objects of a picture share."""
        f16, f8, f4 = self.pixel_encoder(normalised(image))
        key, shrinkage, selection = self.key_proj(f16)
        return Encoded(key, shrinkage, selection, f16, f8, f4, self.pix_feat_proj(f16))

    def value(
        self,
        image: Float[Tensor, "1 3 h w"],
        pixel: Float[Tensor, "1 c h16 w16"],
        masks: Float[Tensor, "n h w"],
        state: Float[Tensor, "n s h16 w16"],
    ) -> tuple[Float[Tensor, "n v h16 w16"], Float[Tensor, "n s h16 w16"], Float[Tensor, "n q c1"]]:
        """(values of n objects, their state after the deep update, their summaries in this frame).

        Args:
            image: the picture.
            pixel: its projected features.
            masks: probabilities.
            state: before.
        """
        value = self.mask_encoder(normalised(image), pixel, masks)
        return value, self.mask_encoder.sensory_update(value, state), self.object_summarizer(masks, value)

    def enrich(
        self,
        pixel: Float[Tensor, "1 c h16 w16"],
        readout: Float[Tensor, "n v h16 w16"],
        state: Float[Tensor, "n s h16 w16"],
        masks: Float[Tensor, "n h w"],
        summaries: Float[Tensor, "n q c1"],
    ) -> Float[Tensor, "n c h16 w16"]:
        """Features of n objects that began in the same frame.

        Args:
            pixel: projected features of the picture.
            readout: what the memory gave.
            state: of the objects.
            masks: of the last frame.
            summaries: added up over all frames that were kept.
        """
        return self.object_transformer(self.pixel_fuser(pixel, readout, state, masks), summaries)[0]

    def segment(
        self,
        encoded: Encoded,
        features: Float[Tensor, "n c h16 w16"],
        state: Float[Tensor, "n s h16 w16"],
        update: bool = True,
    ) -> tuple[Float[Tensor, "n1 h w"], Float[Tensor, "n s h16 w16"]]:
        """(logits of background and n objects, their new state).

        Args:
            encoded: of the frame.
            features: of the objects.
            state: before.
            update: whether it changes.
        """
        logits, state = self.mask_decoder(encoded, features, state, update)
        return larger(aggregate(logits.sigmoid())[None], 4)[0], state


@dataclass
class Buckets:
    """A memory for each set of objects that began in the same frame.

    Attributes:
        config: how large each may be.
        memories: in the order in which the objects came.
    """

    config: Config
    memories: tuple[Memory, ...] = ()

    @property
    def size(self) -> int:
        """How many elements the first memory has."""
        return self.memories[0].size if self.memories else 0

    @property
    def long(self) -> int:
        """How many of them are prototypes."""
        return self.memories[0].long if self.memories else 0

    def add(self, key: Tensor, shrinkage: Tensor, selection: Tensor, values: Mapping[int, Tensor]) -> None:
        """Adds a frame; the first one of each memory is permanent.

        Args:
            key: of the frame.
            shrinkage: of the frame.
            selection: of the frame.
            values: of every object.
        """
        left = dict(values)
        memories = [memory.copy() for memory in self.memories]
        for memory in memories:
            memory.add(key, shrinkage, selection, {one: left.pop(one) for one in memory.ids})
        if left:
            memories.append(Memory(self.config))
            memories[-1].add(key, shrinkage, selection, left, permanent=True)
        self.memories = tuple(memories)

    def remove(self, ids: Sequence[int]) -> None:
        """Forgets objects."""
        memories = [memory.copy() for memory in self.memories]
        for memory in memories:
            memory.remove(ids)
        self.memories = tuple(memory for memory in memories if memory.groups)

    def copy(self) -> Buckets:
        """A snapshot."""
        return replace(self, memories=tuple(memory.copy() for memory in self.memories))

    def tensors(self) -> dict[str, Tensor]:
        """Everything, to be saved."""
        return {
            f"{i}/{name}": value for i, memory in enumerate(self.memories) for name, value in memory.tensors().items()
        }

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """The opposite of `tensors`."""
        memories = []
        for i in range(len({name.split("/")[0] for name in tensors})):
            memories.append(Memory(self.config))
            own = f"{i}/"
            memories[-1].fill(
                {name.removeprefix(own): value for name, value in tensors.items() if name.startswith(own)}
            )
        self.memories = tuple(memories)


@dataclass
class CutieFollower(PaddedFollower):
    """Cutie from frame to frame."""

    def new_memory(self) -> Buckets:
        return Buckets(self.config)

    def encode(self, picture: Tensor) -> Encoded:
        return self.model.encode(picture[None])

    def predict(self, encoded: Encoded, keeps: bool, cut: bool) -> tuple[Tensor, Tensor]:
        assert self.masks is not None
        features: dict[int, Tensor] = {}
        masks = self.masks.to(encoded.key.dtype)
        state, summaries = self.state["sensory"], self.state["summaries"]
        for memory in self.memory.memories:
            rows = [self.ids.index(one) for one in memory.ids]
            read = memory.read(encoded.key[0].flatten(1), encoded.selection[0].flatten(1))
            readout = as_rows(read, memory.ids, encoded.key)
            enriched = self.model.enrich(encoded.pixel, readout, state[rows], masks[rows], summaries[rows])
            features |= dict(zip(memory.ids, enriched, strict=True))
        every = torch.stack([features[one] for one in self.ids])
        logits, state = self.model.segment(encoded, every, state, update=self._updates())
        self.state = {**self.state, "sensory": state}
        return self._sure(logits.float().softmax(0))

    def _updates(self) -> bool:
        """Whether the decoder changes the state in this frame: `sensory_updates` times between two kept frames."""
        every, times = self.config.memory_every, self.config.sensory_updates
        chosen = np.arange(1, every + 1) if times >= every else np.round(np.linspace(1, every, times))
        return self.frame - self.kept in chosen

    def keep(self, picture: Tensor, encoded: Encoded, masks: Tensor, given: Collection[int]) -> None:
        values, state, summaries = self.model.value(
            picture[None], encoded.pixel, masks.to(picture.dtype), self.state["sensory"]
        )
        self.state = {"sensory": state, "summaries": self.state["summaries"] + summaries}
        key, shrinkage, selection = (value[0].flatten(1) for value in encoded[:3])
        self.memory.add(key, shrinkage[0], selection, dict(zip(self.ids, values.flatten(2), strict=True)))

    def begin(self, encoded: Encoded, new: int, masks: Tensor) -> None:
        size = encoded.key.shape[2:]
        zeros = {
            "sensory": encoded.key.new_zeros(new, self.config.sensory_channels, *size),
            "summaries": encoded.key.new_zeros(new, QUERIES, WIDTH + 1),
        }
        old = self.state or {name: value[:0] for name, value in zeros.items()}
        self.state = {name: torch.cat([old[name], value]) for name, value in zeros.items()}
