"""Times the layers of nn/sparse.py on real voxels, against spconv's CPU forward and against other ways to do it.

    python benchmarks/sparse.py DATA [--frames 145] [--preset small] [--threads 1]

DATA is the folder with `7scenes-redkitchen`; its first frames make a map of 2 cm voxels. Printed are: tables of
neighbours by block look-up (ours), by binary search and by a dictionary; convolutions by gathering (ours) and by
gather, multiply, add for each offset; the whole network from the coordinates on, beside the same one made of spconv's
layers (extra `parity`). One thread unless told: with two, spconv 2.3.8 gives another output every time (ours does not).
Seconds are of the clock, the best of three, so run it on an idle machine; those of the processor stand in brackets.
Goal: no slower than spconv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from online3d_stream import VoxelMap, points
from record import record
from torch import Tensor, nn

from percepta.nn.sparse import Down, Rules, SparseTensor, Submanifold, Up, gather_mm, offsets, pack, padded
from percepta.systems.online3d import PRESETS
from percepta.systems.online3d.model import Block, Level, OnlineNet


def best(name: str, function: Callable[[], Any], repeat: int = 3) -> tuple[float, Any]:
    """Seconds of the best run; printed with those of the processor."""
    wall, processor, result = float("inf"), float("inf"), None
    for _ in range(repeat):
        start = time.perf_counter(), time.process_time()
        result = function()
        wall, processor = min(wall, time.perf_counter() - start[0]), min(processor, time.process_time() - start[1])
    print(f"{name:58} {1000 * wall:8.1f} ms ({1000 * processor:.1f})")
    return processor, result


def by_search(coords: Tensor) -> Tensor:
    """The table of neighbours by sorting the keys and searching every neighbour's."""
    keys, order = pack(coords).sort()
    table = torch.zeros(len(coords), 27, dtype=torch.int32)
    for column, offset in enumerate(offsets(3)):
        wanted = pack(coords[order] + nn.functional.pad(offset, (1, 0)))
        at = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        table[order, column] = torch.where(keys[at] == wanted, order[at] + 1, 0).int()
    return table


def by_dictionary(coords: Tensor) -> Tensor:
    """The same with a hash table of Python's."""
    rows = {key: row for row, key in enumerate(pack(coords).tolist(), 1)}
    table = torch.zeros(len(coords), 27, dtype=torch.int32)
    for column, offset in enumerate(offsets(3)):
        wanted = pack(coords + nn.functional.pad(offset, (1, 0))).tolist()
        table[:, column] = torch.tensor([rows.get(key, 0) for key in wanted], dtype=torch.int32)
    return table


def by_offset(x: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """A convolution that gathers, multiplies and adds offset by offset."""
    out = x @ weight[13]
    for column, matrix in enumerate(weight):
        if column != 13:
            to = (table[:, column] > 0).nonzero()[:, 0]
            out.index_add_(0, to, x.index_select(0, table[to, column].long() - 1) @ matrix)
    return out


class Peer:
    """The network of spconv's layers, with our weights. What works on each site by itself is ours."""

    def __init__(self, model: OnlineNet, spconv: Any) -> None:
        self.model, self.spconv = model, spconv
        self.layers = {layer: self._layer(layer, name) for name, layer in model.named_modules()}

    def _layer(self, layer: nn.Module, name: str) -> Any:
        if not isinstance(layer, Submanifold | Down | Up):
            return None
        _, inputs, outputs = layer.weight.shape
        own = {"bias": False, "algo": self.spconv.ConvAlgo.Native}
        if isinstance(layer, Submanifold):
            theirs = self.spconv.SubMConv3d(inputs, outputs, 3, indice_key=f"same {name.count('inner')}", **own)
        elif isinstance(layer, Down):
            theirs = self.spconv.SparseConv3d(inputs, outputs, 2, 2, indice_key=f"down {name.count('inner')}", **own)
        else:
            theirs = self.spconv.SparseInverseConv3d(
                inputs, outputs, 2, indice_key=f"down {name.count('inner')}", **own
            )
        side = 3 if isinstance(layer, Submanifold) else 2
        weight = layer.weight.view(side, side, side, inputs, outputs).permute(4, 0, 1, 2, 3)
        with torch.no_grad():
            theirs.weight.copy_(weight)
        return theirs

    def __call__(self, features: Tensor, coords: Tensor) -> Tensor:
        low = coords[:, 1:].amin(0) & -64  # a multiple of the coarsest voxel: parents stay the same
        moved = torch.cat((coords[:, :1], coords[:, 1:] - low), 1).int()
        # Of an odd extent, spconv's strided convolution leaves the last voxel out.
        extent = ((moved[:, 1:].amax(0) >> 6) + 1) << 6
        x = self.spconv.SparseConvTensor(features, moved, extent.tolist(), 1)
        x = self._level(self.model.unet, self.layers[self.model.stem](x))
        return self.model.heads(self.model.norm(x.features))

    def _level(self, level: Level, x: Any) -> Any:
        for block in level.before:
            x = self._block(block, x)  # type: ignore[arg-type]
        if level.inner is None:
            return x
        y = self._level(level.inner, self.layers[level.down](self._map(level.norm_down, x)))
        y = self.layers[level.up](self._map(level.norm_up, y))
        x = x.replace_feature(torch.cat((x.features, y.features), 1))
        for block in level.after:
            x = self._block(block, x)  # type: ignore[arg-type]
        return x

    def _block(self, block: Block, x: Any) -> Any:
        y = self.layers[block.conv1](self._map(block.norm1, x))
        y = self.layers[block.conv2](self._map(block.norm2, y))
        return y.replace_feature(block.shortcut(x.features) + y.features)

    @staticmethod
    def _map(function: nn.Module, x: Any) -> Any:
        return x.replace_feature(function(x.features))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--frames", type=int, default=145)
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    maps = VoxelMap(0.02)
    for number in range(args.frames):
        maps.add(*points(args.data / "7scenes-redkitchen", number))
    coords, features = maps.coords, maps.features
    print(f"{len(coords)} voxels, {args.threads} threads")
    table = Rules(coords).table(1)
    print(f"{float((table > 0).sum()) / len(table):.1f} of 27 neighbours are there")
    for name, build in (
        ("neighbours by blocks", lambda: Rules(coords).table(1)),
        ("neighbours by search", lambda: by_search(coords)),
        ("neighbours by a dictionary", lambda: by_dictionary(coords)),
    ):
        _, built = best(name, build, 2)
        assert torch.equal(built, table)
    for inputs, outputs in ((16, 16), (32, 32), (64, 64)):
        x, weight = torch.randn(len(coords), inputs), torch.randn(27, inputs, outputs)
        name = f"3³ convolution {inputs} to {outputs}"
        best(f"{name} by gathering", partial(gather_mm, padded(x), table, weight))
        best(f"{name} offset by offset", partial(by_offset, x, table, weight), 1)
    torch.manual_seed(0)
    model = OnlineNet(PRESETS[args.preset]).eval()
    ours, prediction = best("whole network, ours, with rules", lambda: model(SparseTensor(features, coords)))
    try:
        import spconv.pytorch as spconv  # type: ignore[import-not-found]
    except ImportError:
        print("spconv is not installed (extra `parity`)")
        return
    peer = Peer(model, spconv)
    theirs, outputs = best("whole network, spconv's layers, with rules", lambda: peer(features, coords))
    difference = float((outputs[:, : prediction.logits.shape[1]] - prediction.logits).abs().max())
    difference /= float(prediction.logits.std())
    print(f"largest difference of logits {difference:.1e} of their deviation")
    print(f"ours takes {ours / theirs:.2f} of spconv's processor time")
    record("online3d", "sparse", {"voxels": len(coords), "ours over spconv": ours / theirs})


if __name__ == "__main__":
    main()
