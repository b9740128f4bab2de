"""Sparse convolution on voxels, in PyTorch operations alone: no compiled extension, CPU and GPU.

A *site* is an occupied voxel; everything else is empty and costs nothing. The layers are those of Graham et al., "3D
Semantic Segmentation with Submanifold Sparse Convolutional Networks", CVPR 2018: a submanifold 3³ convolution, whose
outputs are its input's sites; a 2³ convolution of stride 2, whose outputs are the parents of the sites; its transpose,
back onto the stored fine sites; and what works on each site by itself.

A convolution gathers, for 512 outputs at a time, the features of all their neighbours side by side and multiplies them
with the kernel: n × 27c times 27c × d, in a buffer that stays in the cache. On real surfaces at 2 cm, 20 of 27
neighbours are occupied, so little is multiplied for nothing, and nothing is scattered. Where the neighbours are is
looked up in blocks of 4³ cells; measured against sorting and hashing in benchmarks/sparse.py.

**Rows.** Tables of rows count from 1, and 0 says "no site": features are padded with a row of zeros in front, and a
gather needs no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from percepta.errors import InputError

BITS = 18  # of a key for each of x, y and z; the batch takes the 9 bits above
REACH = 2 ** (BITS - 1) - 16  # largest coordinate: 2.6 km at 2 cm; the rest is room for neighbours
BATCHES = 512
_SIDE = 2  # blocks of 2**_SIDE cells a side
_CELLS = 1 << 3 * _SIDE
_HALO = (1 << _SIDE) + 2
_ROWS = 512  # outputs that a convolution makes at a time on a CPU


def offsets(kernel: int, device: torch.device | None = None) -> Int[Tensor, "k 3"]:
    """The cells that a kernel of 3 (from -1 to 1) or 2 (from 0 to 1) covers, x slowest, z fastest."""
    first = -(kernel // 2) if kernel % 2 else 0
    side = torch.arange(first, first + kernel, device=device)
    return torch.cartesian_prod(side, side, side)


def check_coords(coords: Shaped[Tensor, "n 4"]) -> None:
    """InputError when a coordinate does not fit into a key."""
    if coords.is_floating_point() or coords.dtype == torch.bool:
        raise InputError(f"coordinates of sites are integers (batch, x, y, z); these are {coords.dtype}")
    if not len(coords):
        return
    low, high = torch.aminmax(coords, dim=0)
    if int(low[0]) < 0 or int(high[0]) >= BATCHES:
        raise InputError(f"the batch of a site is 0..{BATCHES - 1}; found {int(low[0])}..{int(high[0])}")
    if int(low[1:].min()) < -REACH or int(high[1:].max()) > REACH:
        found = f"{int(low[1:].min())}..{int(high[1:].max())}"
        raise InputError(
            f"coordinates of sites are -{REACH}..{REACH} voxels; found {found}. Use larger voxels, or move the scene "
            "to the origin"
        )


def pack(coords: Int[Tensor, "n 4"]) -> Int[Tensor, " n"]:
    """One integer a site, batch first and z last: the order of keys is that of (batch, x, y, z). Not checked."""
    batch, x, y, z = coords.long().unbind(-1)
    bias = 1 << (BITS - 1)
    return ((((batch << BITS) | (x + bias)) << BITS | (y + bias)) << BITS) | (z + bias)


class Sites:
    """Finds the row of a site; grows. Rows count from 1 in the order in which sites were added, and stay for ever.

    Space is cut into blocks of 4³ cells. The keys of occupied blocks are sorted; each has a slot of 64 cells that hold
    rows. Most of a search is thus in a list that is some 15 times shorter than that of the sites, and adding a site
    moves nothing but, where it opens a block, that list. Slot 0 is an empty block, which missing blocks point at.

    Attributes:
        count: how many sites there are.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.count = 0
        self._keys = torch.empty(0, dtype=torch.long, device=device)
        self._slots = torch.empty(0, dtype=torch.long, device=device)
        self._cells = torch.zeros(_CELLS, dtype=torch.int32, device=device)

    def state(self) -> dict[str, Tensor]:
        """What `restored` makes the same table from; it numbers further sites as this one would."""
        return {"keys": self._keys, "slots": self._slots, "cells": self._cells[: (len(self._keys) + 1) * _CELLS]}

    @classmethod
    def restored(cls, state: dict[str, Tensor]) -> Sites:
        sites = cls()
        sites._keys, sites._slots, sites._cells = state["keys"], state["slots"], state["cells"]
        sites.count = int(sites._cells.max())
        return sites

    def find(self, coords: Int[Tensor, "n 4"]) -> Int[Tensor, " n"]:
        """Rows of sites; 0 where there is none."""
        blocks, local = self._split(coords)
        return self._cells[self._slot(blocks) * _CELLS + local]

    def add(self, coords: Int[Tensor, "n 4"], keep_order: bool = False) -> tuple[Int[Tensor, " n"], Int[Tensor, "m 4"]]:
        """Adds sites that are new.

        Args:
            coords: sites, the same one more than once if need be.
            keep_order: they are all new and different, and get rows in their own order; InputError if they are not.
                Otherwise new sites are numbered block by block, so that neighbours lie near each other.

        Returns:
            the row of each; the new sites in the order of their rows.
        """
        place = self._place(coords)
        if keep_order:
            fresh = torch.arange(self.count + 1, self.count + len(coords) + 1, dtype=torch.int32, device=place.device)
            taken = bool(self._cells[place].any())
            self._cells[place] = fresh
            if taken or not torch.equal(self._cells[place], fresh):
                raise InputError("some site occurs twice; sites have to differ: average what falls into one voxel")
            self.count += len(coords)
            return fresh, coords
        rows = self._cells[place]
        missing = rows == 0
        if not bool(missing.any()):
            return rows, coords[:0]
        opened = distinct(place[missing], len(self._cells))
        self._cells[opened] = torch.arange(
            self.count + 1, self.count + len(opened) + 1, dtype=torch.int32, device=place.device
        )
        rows = self._cells[place]
        new = coords.new_empty(len(opened), 4)
        new[rows[missing].long() - self.count - 1] = coords[missing]
        self.count += len(opened)
        return rows, new

    def around(self, coords: Int[Tensor, "n 4"]) -> Int[Tensor, "n 27"]:
        """Rows of the 27 neighbours of a few sites, each searched by itself: its cost does not grow with the table."""
        shift = torch.nn.functional.pad(offsets(3, coords.device), (1, 0)).to(coords.dtype)
        return self.find((coords[:, None] + shift).view(-1, 4)).view(-1, 27)

    def neighbours(self, coords: Int[Tensor, "n 4"]) -> Int[Tensor, "n 27"]:
        """The same for most of the sites at once: blocks are first widened by the border cells of those around."""
        device = coords.device
        bias = 1 << (BITS - 1)
        parts = [(self._keys >> BITS * axis & (1 << BITS) - 1) - bias for axis in (2, 1, 0)]
        blocks = torch.stack((self._keys >> 3 * BITS, *parts), 1)
        shift = torch.nn.functional.pad(offsets(3, device), (1, 0))
        slots = self._slot(pack((blocks[:, None] + shift).view(-1, 4))).view(-1, 27)
        # Of every cell of a widened block: the block around that it is of, and its place in there.
        cell = torch.arange(-1, _HALO - 1, device=device)
        cell = torch.cartesian_prod(cell, cell, cell)
        of = (cell >> _SIDE) + 1
        of = of[:, 0] * 9 + of[:, 1] * 3 + of[:, 2]
        index = torch.int32 if max(len(self._cells), len(blocks) * _HALO**3) < 2**31 else torch.long
        first = (slots * _CELLS).to(index).index_select(1, of)
        wide = self._cells.index_select(0, (first + _local(cell).to(index)).flatten())
        keys, local = self._split(coords)
        x, y, z = (local >> 2 * _SIDE), (local >> _SIDE) & 3, local & 3
        base = torch.searchsorted(self._keys, keys, out_int32=index == torch.int32) * _HALO**3
        base += (((x + 1) * _HALO + y + 1) * _HALO + z + 1).to(index)
        near = offsets(3, device)
        near = (near[:, 0] * _HALO + near[:, 1]) * _HALO + near[:, 2]
        return wide.index_select(0, (base[:, None] + near.to(index)).flatten()).view(-1, 27)

    def _split(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of the blocks, and the cells inside them."""
        shift = torch.tensor([0, _SIDE, _SIDE, _SIDE], device=coords.device, dtype=coords.dtype)
        return pack(coords >> shift), _local(coords[:, 1:].long())

    def _slot(self, keys: Tensor) -> Tensor:
        if not len(self._keys):
            return torch.zeros_like(keys)
        at = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
        return torch.where(self._keys[at] == keys, self._slots[at], 0)

    def _place(self, coords: Tensor) -> Tensor:
        """The cell of each site; opens blocks."""
        keys, local = self._split(coords)
        slots = self._slot(keys)
        missing = slots == 0
        if bool(missing.any()):
            # Sites often come in some order of space, and then few of their keys are left for the sort.
            new = torch.unique(torch.unique_consecutive(keys[missing]))
            first = len(self._keys) + 1
            merged, order = torch.sort(torch.cat((self._keys, new)))
            numbers = torch.arange(first, first + len(new), device=keys.device)
            self._slots = torch.cat((self._slots, numbers))[order]
            self._keys = merged
            self._cells = grown(self._cells, (first + len(new)) * _CELLS)
            slots[missing] = self._slot(keys[missing])
        return slots * _CELLS + local


def grown(buffer: Tensor, rows: int) -> Tensor:
    """The buffer, or, where it is too short, a copy of half as many rows again as needed, new ones zero."""
    if len(buffer) >= rows:
        return buffer
    larger = buffer.new_zeros(rows + rows // 2, *buffer.shape[1:])
    larger[: len(buffer)] = buffer
    return larger


def _local(xyz: Tensor) -> Tensor:
    x, y, z = (xyz & (1 << _SIDE) - 1).unbind(-1)
    return (x << 2 * _SIDE) | (y << _SIDE) | z


def distinct(numbers: Tensor, end: int) -> Tensor:
    """The distinct ones of many numbers below `end`, sorted: by a sort, or by marking them where they lie densely."""
    if len(numbers) * 8 < end:
        return torch.unique(numbers)
    mark = torch.zeros(end, dtype=torch.bool, device=numbers.device)
    mark[numbers] = True
    return mark.nonzero()[:, 0]


@dataclass(frozen=True)
class Halving:
    """How sites and their parents, the sites of twice the stride, belong together.

    Attributes:
        children: rows of a parent's 8 children, 0 where there is none.
        parent: row of each site's parent.
        octant: which of its parent's children a site is.
    """

    children: Int[Tensor, "m 8"]
    parent: Int[Tensor, " n"]
    octant: Int[Tensor, " n"]


class Rules:
    """Tables of a set of sites and of its parents, grandparents, ..., each built when it is first asked for.

    All tensors that layers make from one input share its rules.

    Args:
        coords: sites (batch, x, y, z), all different. Batch 0..511, others within ±131,056.
    """

    def __init__(self, coords: Int[Tensor, "n 4"]) -> None:
        check_coords(coords)
        sites = Sites(coords.device)
        sites.add(coords, keep_order=True)
        self._sites = {1: (sites, coords)}
        self._tables: dict[int, Tensor] = {}
        self._halvings: dict[int, Halving] = {}

    def coords(self, stride: int) -> Int[Tensor, "n 4"]:
        """Sites at a stride, in units of that stride."""
        self._reach(stride)
        return self._sites[stride][1]

    def table(self, stride: int) -> Int[Tensor, "n 27"]:
        """Rows of the 3³ neighbours of every site, 0 where there is none."""
        self._reach(stride)
        if stride not in self._tables:
            sites, coords = self._sites[stride]
            self._tables[stride] = sites.neighbours(coords)
        return self._tables[stride]

    def halving(self, stride: int) -> Halving:
        """From a stride to twice that stride."""
        self._reach(2 * stride)
        return self._halvings[stride]

    def _reach(self, stride: int) -> None:
        if stride in self._sites:
            return
        if stride < 1 or stride & (stride - 1):
            raise InputError(f"a stride is a power of 2; this one is {stride}")
        self._reach(stride // 2)
        coords = self._sites[stride // 2][1]
        sites = Sites(coords.device)
        parent, coarse = sites.add(parents(coords))
        octant = octants(coords)
        children = parent.new_zeros(len(coarse) * 8)
        rows = torch.arange(1, len(coords) + 1, dtype=torch.int32, device=coords.device)
        children[(parent.long() - 1) * 8 + octant] = rows
        self._sites[stride] = (sites, coarse)
        self._halvings[stride // 2] = Halving(children.view(-1, 8), parent, octant)


def parents(coords: Int[Tensor, "n 4"]) -> Int[Tensor, "n 4"]:
    """The sites of twice the stride that sites lie in: rounded down, below zero too."""
    return torch.cat((coords[:, :1], coords[:, 1:] >> 1), 1)


def octants(coords: Int[Tensor, "n 4"]) -> Int[Tensor, " n"]:
    """Which child of its parent a site is, 0..7: 4, 2 and 1 for the upper half in x, y and z."""
    x, y, z = (coords[:, 1:].long() & 1).unbind(1)
    return 4 * x + 2 * y + z


class SparseTensor:
    """Features of sites.

    Args:
        features: one row a site.
        coords: sites (batch, x, y, z), all different: batch 0..511, others within ±131,056. Not needed with `rules`.
        stride: side of a voxel in those of the input.
        rules: the tables that this tensor shares with others; made from `coords` where they are not given.
    """

    def __init__(
        self,
        features: Float[Tensor, "n c"],
        coords: Int[Tensor, "m 4"] | None = None,
        stride: int = 1,
        rules: Rules | None = None,
    ) -> None:
        if rules is None:
            if coords is None or stride != 1:
                raise InputError("a sparse tensor is made from coordinates at stride 1, or has the rules of another")
            rules = Rules(coords)
        sites = len(rules.coords(stride))
        if len(features) != sites:
            raise InputError(f"expected features of {sites} sites, got {len(features)} rows")
        self.features, self.stride, self.rules = features, stride, rules

    @property
    def coords(self) -> Int[Tensor, "n 4"]:
        """Sites (batch, x, y, z) in units of the stride."""
        return self.rules.coords(self.stride)

    def map(self, function: Callable[[Tensor], Tensor]) -> SparseTensor:
        """The same sites with what a function makes of their features: a norm, an activation, a 1×1 convolution."""
        return SparseTensor(function(self.features), stride=self.stride, rules=self.rules)

    def __add__(self, other: SparseTensor) -> SparseTensor:
        self._same_sites(other)
        return self.map(lambda features: features + other.features)

    def join(self, other: SparseTensor) -> SparseTensor:
        """The channels of both, one after the other."""
        self._same_sites(other)
        return self.map(lambda features: torch.cat((features, other.features), 1))

    def _same_sites(self, other: SparseTensor) -> None:
        if self.rules is not other.rules or self.stride != other.stride:
            raise InputError("these tensors have different sites; only tensors of one input and stride go together")


def padded(x: Float[Tensor, "n c"]) -> Float[Tensor, "n+1 c"]:
    """Features with the row of zeros in front that row 0 means."""
    return torch.cat((x.new_zeros(1, x.shape[1]), x))


def gather_mm(
    source: Float[Tensor, "n c"], table: Int[Tensor, "m k"], weight: Float[Tensor, "k c d"]
) -> Float[Tensor, "m d"]:
    """y[i] = Σ_k source[table[i, k]] · weight[k]. No autograd; `source` is padded.

    Args:
        source: rows, the first of them padding.
        table: places in `source`, one for each output and kernel cell.
        weight: a matrix for each kernel cell.
    """
    (m, k), (_, c, d) = table.shape, weight.shape
    out = source.new_empty(m, d)
    for rows, gathered in _gathered(source, table):
        torch.mm(gathered.view(-1, k * c), weight.view(k * c, d), out=out[rows])
    return out


def _gathered(source: Tensor, table: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of rows, each with what they gather; the buffer is used again for the next."""
    (m, k), c = table.shape, source.shape[1]
    step = _ROWS if source.device.type == "cpu" else max(_ROWS, 2**26 // (k * c))
    buffer = source.new_empty(min(step, m) * k, c)
    flat = table.reshape(-1)
    for first in range(0, m, step):
        last = min(first + step, m)
        part = buffer[: (last - first) * k]
        torch.index_select(source, 0, flat[first * k : last * k], out=part)
        yield slice(first, last), part


def _weight_grad(source: Tensor, table: Tensor, grad: Tensor) -> Tensor:
    """Gradient of `gather_mm` to its weight."""
    (_, k), c = table.shape, source.shape[1]
    out = grad.new_zeros(k * c, grad.shape[1])
    for rows, gathered in _gathered(source, table):
        out.addmm_(gathered.view(-1, k * c).T, grad[rows])
    return out.view(k, c, -1)


def spread_mm(
    x: Float[Tensor, "m c"], parent: Int[Tensor, " n"], octant: Int[Tensor, " n"], weight: Float[Tensor, "8 c d"]
) -> Float[Tensor, "n d"]:
    """y[i] = x[parent[i] - 1] · weight[octant[i]]: every parent makes all its 8 children, and those that exist stay.

    Args:
        x: rows of the parents.
        parent: place of each child's parent, from 1.
        octant: which of 8 children each is.
        weight: a matrix for each octant.
    """
    c, d = weight.shape[1:]
    every = x @ weight.transpose(0, 1).reshape(c, 8 * d)
    return every.view(-1, d).index_select(0, (parent.long() - 1) * 8 + octant)


class _Submanifold(torch.autograd.Function):
    """Keeps the input alone for the backward pass: a plain gather would keep 27 copies of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, table)
        return gather_mm(padded(x), table, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, table = ctx.saved_tensors
        grad = grads[0].contiguous()
        # j is neighbour k of i where i is neighbour 26 - k of j: one table serves both directions.
        back = gather_mm(padded(grad), table, weight.flip(0).transpose(1, 2).contiguous())
        return back, _weight_grad(padded(x), table, grad), None


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, children: Tensor, parent: Tensor, octant: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, children, parent, octant)
        return gather_mm(padded(x), children, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, children, parent, octant = ctx.saved_tensors
        grad = grads[0].contiguous()
        back = spread_mm(grad, parent, octant, weight.transpose(1, 2))
        return back, _weight_grad(padded(x), children, grad), None, None, None


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, children: Tensor, parent: Tensor, octant: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, children)
        return spread_mm(x, parent, octant, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, children = ctx.saved_tensors
        source = padded(grads[0].contiguous())
        back = gather_mm(source, children, weight.transpose(1, 2).contiguous())
        by_child = _weight_grad(source, children, x)  # 8 d c: the roles of input and output are exchanged
        return back, by_child.transpose(1, 2), None, None, None


class Convolution(nn.Module):
    """What the three convolutions share: a kernel of k = 27 or 8 matrices and no bias, as in the paper's code.

    Attributes:
        weight: offsets in the order of `offsets` (x slowest), inputs, outputs.
    """

    def __init__(self, volume: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(volume, inputs, outputs) * (2 / (volume * inputs)) ** 0.5)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


class Submanifold(Convolution):
    """A 3³ convolution whose outputs are the sites of its input: features do not bleed into empty space."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(27, inputs, outputs)

    def forward(self, x: SparseTensor) -> SparseTensor:
        table = x.rules.table(x.stride)
        return x.map(lambda features: _apply(_Submanifold, features, self.weight, table))


class Down(Convolution):
    """A 2³ convolution of stride 2: one output for every parent of a site."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(8, inputs, outputs)

    def forward(self, x: SparseTensor) -> SparseTensor:
        half = x.rules.halving(x.stride)
        y = _apply(_Down, x.features, self.weight, half.children, half.parent, half.octant)
        return SparseTensor(y, stride=2 * x.stride, rules=x.rules)


class Up(Convolution):
    """The transpose of `Down`: from the parents back onto the fine sites that the input had."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(8, inputs, outputs)

    def forward(self, x: SparseTensor) -> SparseTensor:
        if x.stride == 1:
            raise InputError("there are no finer sites than those of the input, at stride 1")
        half = x.rules.halving(x.stride // 2)
        y = _apply(_Up, x.features, self.weight, half.children, half.parent, half.octant)
        return SparseTensor(y, stride=x.stride // 2, rules=x.rules)


def _apply(function: type[torch.autograd.Function], x: Tensor, weight: Tensor, *tables: Tensor) -> Tensor:
    # Under autocast the input may be narrower than the weight; features of any other type are the caller's.
    if torch.is_autocast_enabled(x.device.type):
        x, weight = (t.to(torch.get_autocast_dtype(x.device.type)) for t in (x, weight))
    return function.apply(x, weight, *tables)  # type: ignore[no-any-return]
