"""The memory of XMem (Cheng & Schwing 2022): how it is read, and how it stays bounded.

An element is a key with a shrinkage (how sharply it is matched) and, for every object that was there, a value. The
elements of some frames are the working memory; when it is full, all but the latest frames are consolidated: the most
read elements become prototypes of the long-term memory, each with the values around it, and the least read prototypes
are forgotten. Frames whose masks were given stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from percepta.systems.vos import Config


def similarity(
    key: Float[Tensor, "*b c m"],
    shrinkage: Float[Tensor, "*b m"] | None,
    query: Float[Tensor, "*b c q"],
    selection: Float[Tensor, "*b c q"] | None,
) -> Float[Tensor, "*b m q"]:
    """How well places fit elements of the memory (XMem, equation 2): −s Σ e (k − q)² / √c, as two products.

    Args:
        key: k, of the elements.
        shrinkage: s, at least 1; None for 1.
        query: q, the keys of the places.
        selection: e, 0..1, which channels a place goes by; None for all, and then without Σ q², which no softmax over
            elements notices.
    """
    memory = key.transpose(-1, -2)
    if selection is None:
        out = 2 * (memory @ query) - memory.square().sum(-1, keepdim=True)
    else:
        out = 2 * (memory @ (query * selection)) - memory.square() @ selection
        out = out - (selection * query.square()).sum(-2, keepdim=True)
    if shrinkage is not None:
        out = out * shrinkage[..., None]
    return out / math.sqrt(key.shape[-2])


def top_weights(scores: Float[Tensor, "m q"], k: int) -> tuple[Float[Tensor, "k q"], Int64[Tensor, "k q"]]:
    """Softmax over the k best elements of each place: (weights, which elements). All, where there are fewer."""
    values, index = scores.topk(min(k, scores.shape[0]), 0)
    return values.softmax(0), index


@dataclass(frozen=True)
class Group:
    """Objects whose values belong to the same elements.

    Attributes:
        ids: of the objects.
        values: of each element and object.
        place: where each element stands in the memory, rising.
    """

    ids: tuple[int, ...]
    values: Float[Tensor, "m n c"]
    place: Int64[Tensor, " m"]


@dataclass
class Memory:
    """Working and long-term memory, in 32 bits whatever the network has. Tensors are never changed in place: a shallow
    copy is a snapshot.

    Elements stand in the order long-term, permanent, working.

    Attributes:
        config: how large it may be.
        key, shrinkage, selection: of the elements; None before the first. Prototypes have no selection of their own.
        used, life: how much each was read, and in how many frames; permanent elements are counted, but never forgotten.
        groups: values of the objects.
        long, permanent: how many elements are of these kinds.
        per_frame: elements of one frame.
    """

    config: Config
    key: Float[Tensor, "c m"] | None = None
    shrinkage: Float[Tensor, " m"] | None = None
    selection: Float[Tensor, "c m"] | None = None
    used: Float[Tensor, " m"] | None = None
    life: Float[Tensor, " m"] | None = None
    groups: tuple[Group, ...] = ()
    long: int = 0
    permanent: int = 0
    per_frame: int = 0

    @property
    def size(self) -> int:
        """How many elements there are."""
        return 0 if self.key is None else self.key.shape[1]

    @property
    def working(self) -> int:
        """How many elements are working memory, without the permanent ones."""
        return self.size - self.long - self.permanent

    @property
    def ids(self) -> list[int]:
        """The objects that have values."""
        return [one for group in self.groups for one in group.ids]

    def copy(self) -> Memory:
        """A snapshot."""
        return replace(self)

    def read(self, query: Float[Tensor, "c q"], selection: Float[Tensor, "c q"]) -> dict[int, Float[Tensor, "v q"]]:
        """What the memory says about every place, for each object; counts what was read."""
        assert self.key is not None and self.used is not None and self.life is not None, "nothing was added"
        scores = similarity(self.key, self.shrinkage, _full(query), _full(selection))
        used, out = self.used, {}
        for group in self.groups:
            mine = scores if len(group.place) == self.size else scores[group.place]
            weights, index = top_weights(mine, self.config.top_k)
            read = functional.embedding_bag(
                index.T, group.values.flatten(1), per_sample_weights=weights.T.contiguous(), mode="sum"
            )
            out |= dict(zip(group.ids, read.unflatten(1, group.values.shape[1:]).permute(1, 2, 0), strict=True))
            if self._counts(group):
                used = used.index_add(0, group.place[index.flatten()], weights.flatten())
        self.used, self.life = used, self.life + 1
        return out

    def add(
        self,
        key: Float[Tensor, "c m"],
        shrinkage: Float[Tensor, " m"],
        selection: Float[Tensor, "c m"],
        values: Mapping[int, Float[Tensor, "v m"]],
        *,
        permanent: bool = False,
    ) -> None:
        """Adds the elements of a frame, and makes room where that is too many.

        Args:
            key: of the frame.
            shrinkage: of the frame.
            selection: of the frame.
            values: of every object, new ones too.
            permanent: whether the frame is never forgotten. At most `max_memory_frames` frames are permanent.
        """
        key, shrinkage, selection = _full(key), _full(shrinkage), _full(selection)
        values = {one: _full(value) for one, value in values.items()}
        count = key.shape[1]
        self.per_frame = count
        zeros = torch.zeros_like(shrinkage)
        if self.key is None:
            self.key, self.shrinkage, self.selection = key, shrinkage, selection
            self.used, self.life = zeros, zeros + 1e-7
        else:
            assert self.shrinkage is not None and self.selection is not None
            assert self.used is not None and self.life is not None
            self.key = torch.cat([self.key, key], 1)
            self.shrinkage = torch.cat([self.shrinkage, shrinkage])
            self.selection = torch.cat([self.selection, selection], 1)
            self.used, self.life = torch.cat([self.used, zeros]), torch.cat([self.life, zeros + 1e-7])
        new = torch.arange(self.size - count, self.size, device=key.device)
        self._add_values(values, new)
        if permanent and self.permanent < self.config.max_memory_frames * count:
            old = torch.arange(self.size - count, device=key.device)
            border = self.long + self.permanent
            self._take(torch.cat([old[:border], new, old[border:]]))
            self.permanent += count
        self.make_room()

    def make_room(self) -> None:
        """Consolidates or forgets the oldest frames where the working memory is full."""
        config = self.config
        # one frame less than the settings say: they count the first frame, which is permanent
        if self.working < (config.max_memory_frames - 1) * self.per_frame:
            return
        if config.long_term:
            if self.long >= config.max_long_term - config.prototypes:
                self._prune(config.max_long_term - config.prototypes - config.long_term_buffer)
            self._consolidate((config.min_memory_frames - 1) * self.per_frame)
        else:
            start = self.long + self.permanent
            gone = self.working - (config.max_memory_frames - 1) * self.per_frame
            if gone > 0:
                self._take(_without(self.size, start, start + gone, self._device))

    def remove(self, ids: Sequence[int]) -> None:
        """Forgets objects; elements without any object go too."""
        groups = []
        for group in self.groups:
            kept = [i for i, one in enumerate(group.ids) if one not in ids]
            if kept:
                groups.append(replace(group, ids=tuple(group.ids[i] for i in kept), values=group.values[:, kept]))
        self.groups = tuple(groups)
        if self.key is not None:
            owned = torch.zeros(self.size, dtype=torch.bool, device=self._device)
            for group in groups:
                owned[group.place] = True
            order = owned.nonzero()[:, 0]
            self.long, self.permanent = (
                int(owned[: self.long].sum()),
                int(owned[self.long : self.long + self.permanent].sum()),
            )
            self._take(order)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, to be saved."""
        out: dict[str, Any] = {"counts": torch.tensor([self.long, self.permanent, self.per_frame])}
        for name in ("key", "shrinkage", "selection", "used", "life"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        for i, group in enumerate(self.groups):
            out |= {f"{i}.ids": torch.tensor(group.ids), f"{i}.values": group.values, f"{i}.place": group.place}
        return out

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """The opposite of `tensors`."""
        self.long, self.permanent, self.per_frame = tensors["counts"].tolist()
        for name in ("key", "shrinkage", "selection", "used", "life"):
            setattr(self, name, tensors.get(name))
        count = sum(name.endswith(".ids") for name in tensors)
        self.groups = tuple(
            Group(tuple(tensors[f"{i}.ids"].tolist()), tensors[f"{i}.values"], tensors[f"{i}.place"])
            for i in range(count)
        )

    @property
    def _device(self) -> torch.device | None:
        return None if self.key is None else self.key.device

    def _counts(self, group: Group) -> bool:
        """Whether what a group reads counts as use."""
        return True

    def _add_values(self, values: Mapping[int, Tensor], new: Tensor) -> None:
        groups, left = [], dict(values)
        for group in self.groups:
            if group.ids[0] in left:
                rows = torch.stack([left.pop(one) for one in group.ids]).permute(2, 0, 1)
                group = replace(group, values=torch.cat([group.values, rows]), place=torch.cat([group.place, new]))
            groups.append(group)
        if left:
            groups.append(Group(tuple(left), torch.stack(list(left.values())).permute(2, 0, 1).contiguous(), new))
        self.groups = tuple(groups)

    def _take(self, order: Tensor) -> None:
        """Keeps the elements `order`, in this order."""
        assert self.key is not None and self.shrinkage is not None and self.selection is not None
        assert self.used is not None and self.life is not None
        moved = torch.full((self.size,), -1, device=order.device)
        moved[order] = torch.arange(len(order), device=order.device)
        self.key, self.shrinkage, self.selection = self.key[:, order], self.shrinkage[order], self.selection[:, order]
        self.used, self.life = self.used[order], self.life[order]
        groups = []
        for group in self.groups:
            rows = (moved[group.place] >= 0).nonzero()[:, 0]
            rows = rows[moved[group.place[rows]].argsort()]  # places always rise: `read` counts on it
            groups.append(replace(group, values=group.values[rows], place=moved[group.place[rows]]))
        self.groups = tuple(groups)

    def _usage(self) -> Tensor:
        assert self.used is not None and self.life is not None
        return self.used / self.life

    def _prune(self, most: int) -> None:
        """Leaves the `most` most read elements of the long-term memory."""
        if self.long <= most:
            return
        kept = self._usage()[: self.long].topk(most).indices.sort().values
        rest = torch.arange(self.long, self.size, device=self._device)
        self.long = most
        self._take(torch.cat([kept, rest]))

    def _consolidate(self, stay: int) -> None:
        """Turns the working memory, but for its latest `stay` elements, into prototypes (XMem, section 3.3)."""
        assert self.key is not None and self.shrinkage is not None and self.selection is not None
        start, stop = self.long + self.permanent, self.size - stay
        chosen = start + self._usage()[start:stop].topk(min(self.config.prototypes, stop - start)).indices
        affinity = similarity(
            self.key[:, start:stop], self.shrinkage[start:stop], self.key[:, chosen], self.selection[:, chosen]
        )
        shrinkage = self.shrinkage[start:stop] @ affinity.softmax(0)
        values = []
        for group in self.groups:
            row = torch.full((self.size,), -1, device=self._device)
            row[group.place] = torch.arange(len(group.place), device=self._device)
            there = row[start:stop] >= 0
            known = row[chosen] >= 0  # prototypes from before an object came say nothing of it
            weights = affinity[there][:, known].softmax(0)
            values.append(
                (known.nonzero()[:, 0], torch.einsum("mp,mnc->pnc", weights, group.values[row[start:stop][there]]))
            )
        self._insert(self.key[:, chosen], shrinkage, values, start, stop)

    def _insert(
        self, key: Tensor, shrinkage: Tensor, values: Sequence[tuple[Tensor, Tensor]], start: int, stop: int
    ) -> None:
        """Adds prototypes to the long-term memory and forgets the elements from `start` to `stop`.

        Args:
            key: of the prototypes.
            shrinkage: of the prototypes.
            values: of every group (which prototypes, their values).
            start: first element that goes.
            stop: first one that stays.
        """
        assert self.key is not None and self.shrinkage is not None and self.selection is not None
        assert self.used is not None and self.life is not None
        count, long = key.shape[1], self.long
        self._take(_without(self.size, start, stop, self._device))
        zeros = torch.zeros_like(shrinkage)
        self.key = torch.cat([self.key[:, :long], key, self.key[:, long:]], 1)
        self.shrinkage = torch.cat([self.shrinkage[:long], shrinkage, self.shrinkage[long:]])
        self.selection = torch.cat([self.selection[:, :long], torch.zeros_like(key), self.selection[:, long:]], 1)
        self.used = torch.cat([self.used[:long], zeros, self.used[long:]])
        self.life = torch.cat([self.life[:long], zeros + 1e-7, self.life[long:]])
        groups = []
        for group, (which, rows) in zip(self.groups, values, strict=True):
            place = torch.where(group.place >= long, group.place + count, group.place)
            place, rows = torch.cat([place, long + which]), torch.cat([group.values, rows])
            order = place.argsort()
            groups.append(replace(group, values=rows[order], place=place[order]))
        self.groups = tuple(groups)
        self.long += count


def _without(size: int, start: int, stop: int, device: torch.device | None) -> Tensor:
    """All places but those from `start` to `stop`."""
    every = torch.arange(size, device=device)
    return torch.cat([every[:start], every[stop:]])


def _full(x: Tensor) -> Tensor:
    """At least 32 bits a number: sums over the memory need them."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
