"""Incremental inference: the network's output for a growing map, at the cost of what a frame changes.

Every convolution keeps the values that it gathers from. A step computes some sites anew, from kept values, and puts
what they become in place of what was kept. Which sites, on each level, is the mode:

- `paper` (Liu et al., CVPR 2022): those whose input changed, and their parents. Neighbours that did not change keep
  what they had, although their surroundings changed; only those beside new voxels are computed too (`halo`, not in
  the published rule). Changes below a threshold wait in the input until, together with later ones, they exceed it.
- `exact`: all that can change: after every convolution the neighbours as well.
- `full`: everything, by the plain network; the oracle of the others.

Two rules compute a site. `values` gathers all neighbours from what is kept: a site that is computed is right about its
neighbours as they are kept, whatever was left out before. `residuals` is the published rule: what is passed on are
differences to the frame before, gathered from neighbours of the increment alone; a change that a site missed stays
missing. Both compute the same sites. `values` is the default: measured, it is half as far off, keeps half as much and
takes two thirds of the time (benchmarks/online3d_stream.py).

The official code keeps values of its last full pass and increments relative to that; here what is kept advances.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from percepta.errors import InputError
from percepta.files import check_regular, write_atomically
from percepta.formats import parse_json
from percepta.nn.archive import fingerprint
from percepta.nn.sparse import (
    Rules,
    Sites,
    SparseTensor,
    check_coords,
    distinct,
    gather_mm,
    grown,
    octants,
    pack,
    parents,
    spread_mm,
)
from percepta.systems.online3d.model import Block, Level, NormReLU, OnlineNet, Prediction

Mode = Literal["paper", "exact", "full"]
Rule = Literal["values", "residuals"]
THRESHOLD, COARSE = 0.08, 1.0  # defaults of `Stream`; 0.08 is 10 of 255 steps of a colour
LASTING = ("features", "outputs")  # buffers that are no layer's
STEM = "stem"  # name of the first convolution, whose kept values are the input as the network last saw it


class StreamOptions(TypedDict, total=False):
    """What `Stream` takes besides the network and the mode; its docstring explains each."""

    rule: Rule
    threshold: float | None
    coarse: float | None
    halo: bool
    growth: float
    anchor_every: int
    refresh: float
    drift_bound: float


@dataclass(frozen=True)
class Update:
    """What a step changed.

    Attributes:
        rows: voxels whose prediction was computed anew, ascending; rows count from 0 and stay for ever.
        coords: their coordinates.
        prediction: of these rows.
        given: row of each voxel that was given to the step.
        before: voxels before the step; rows from here on are new.
        active: sites computed on each level, finest first.
        sites: sites that there are on each level.
        drift: mean absolute change of the outputs of voxels that were refreshed although nothing changed there: how far
            off what is kept is, about. NaN where none was.
        anchored: whether everything was computed.
        seconds: of the parts "rules", "convolutions", "norms" (and heads) and "bookkeeping" (a GPU is not waited for).
    """

    rows: Int[Tensor, " k"]
    coords: Int[Tensor, "k 3"]
    prediction: Prediction
    given: Int[Tensor, " n"]
    before: int
    active: tuple[int, ...]
    sites: tuple[int, ...]
    drift: float
    anchored: bool
    seconds: dict[str, float]


@dataclass
class Grid:
    """The sites of one level. Rows count from 1; row 0 of every buffer is zeros and stands for "no site"."""

    sites: Sites
    coords: Tensor
    table: Tensor
    parent: Tensor
    octant: Tensor
    children: Tensor
    buffers: dict[str, Tensor] = field(default_factory=dict)
    before: int = 0  # sites before the step

    @classmethod
    def empty(cls, device: torch.device) -> Grid:
        def rows(*size: int) -> Tensor:
            return torch.zeros(1, *size, dtype=torch.int32, device=device)

        return cls(Sites(device), rows(4), rows(27), rows(), rows(), rows(8))

    @property
    def count(self) -> int:
        return self.sites.count

    def grow(self) -> None:
        rows = self.count + 1
        for name in ("coords", "table", "parent", "octant", "children"):
            setattr(self, name, grown(getattr(self, name), rows))

    def buffer(self, name: str, channels: int) -> Float[Tensor, "rows c"]:
        """Values that are kept under a name; zero at new sites."""
        if name not in self.buffers:
            self.buffers[name] = torch.zeros(1, channels, device=self.table.device)
        self.buffers[name] = grown(self.buffers[name], self.count + 1)
        return self.buffers[name]

    def all_rows(self) -> Int[Tensor, " n"]:
        return torch.arange(1, self.count + 1, device=self.table.device)

    def reach(self, rows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        """The sites that a 3³ convolution carries a change at `rows` to."""
        return _some(self.table[rows], self.count)

    def parents_of(self, rows: Int[Tensor, " n"], coarse: int) -> Int[Tensor, " m"]:
        return _some(self.parent[rows], coarse)


def beside_new(grid: Grid, rows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Rows, and beside them those of all sites that are new or have new neighbours."""
    if grid.count == grid.before:
        return rows
    return _some(torch.cat((rows, grid.table[grid.before + 1 : grid.count + 1].flatten().long())), grid.count)


def _some(rows: Tensor, count: int) -> Int[Tensor, " n"]:
    """The distinct rows, ascending, without the 0 of "no site"."""
    found = distinct(rows.flatten().long(), count + 1)
    return found[1:] if len(found) and int(found[0]) == 0 else found


class Stream:
    """A network on a map that grows and changes.

    Args:
        model: is put into eval mode; its weights must not change while the stream lives.
        mode: see the module.
        rule: see the module; `full` has none.
        threshold: smallest change of any channel of a voxel's input (-1..1), since the network last saw it, that is
            computed; None: 0.08, and 0 for the network as it was published, which has no instance head: every change
            counts there. `exact` and `full` know none.
        coarse: smallest change of a coarse voxel, in standard deviations of its channels, that is passed on to the
            levels below; None: 1, and 0 for the network as it was published. Only for the rule `values` in the mode
            `paper`.
        halo: whether voxels beside new ones are computed too, and so on each level: not in the published rule, little
            work, and most of what a frame changes elsewhere. Only in the mode `paper`.
        growth: everything is computed anew when the map has grown by this share since it last was; 0: never. A voxel
            above all lacks the surroundings that were seen after it, so this follows the need; and as the maps so
            computed grow geometrically, a scan has few full passes, however long it is. Only in the mode `paper`.
        anchor_every: everything is computed anew every that many steps, too; 0: never.
        refresh: share of all voxels that each step computes anew although they did not change, in turn: an anchoring
            that is spread over many frames.
        drift_bound: everything is computed anew in the step after one whose `drift` exceeds this; needs `refresh`.
    """

    def __init__(
        self,
        model: OnlineNet,
        mode: Mode = "paper",
        *,
        rule: Rule = "values",
        threshold: float | None = None,
        coarse: float | None = None,
        halo: bool = True,
        growth: float = 0.1,
        anchor_every: int = 0,
        refresh: float = 0.0,
        drift_bound: float = math.inf,
    ) -> None:
        if mode not in get_args(Mode) or rule not in get_args(Rule):
            raise InputError(f"mode is one of {get_args(Mode)} and rule of {get_args(Rule)}; got {mode!r}, {rule!r}")
        published = model.instance is None
        threshold = (0.0 if published else THRESHOLD) if threshold is None else threshold
        coarse = (0.0 if published else COARSE) if coarse is None else coarse
        if not (min(threshold, coarse, growth, anchor_every) >= 0 and 0 <= refresh <= 1 and drift_bound > 0):
            raise InputError(
                "threshold, coarse, growth and anchor_every are at least 0, refresh is 0..1, drift_bound above 0"
            )
        self.model, self.mode, self.rule = model.eval(), mode, rule
        self.threshold = threshold if mode == "paper" else 0.0
        self.coarse = coarse if mode == "paper" and rule == "values" else 0.0
        self.halo = halo and mode == "paper"
        self.growth = growth if mode == "paper" else 0.0
        self.anchor_every, self.refresh, self.drift_bound = anchor_every, refresh, drift_bound
        self.steps = 0
        self._device = next(model.parameters()).device
        self._grids = [Grid.empty(self._device) for _ in range(model.config.levels)]
        self._cursor = 0  # where the refreshing goes on
        self._due = False  # everything has to be computed in the next step
        self._anchored = 0  # voxels when everything was computed last
        self._clock = Clock()

    @property
    def count(self) -> int:
        """Voxels of the map."""
        return self._grids[0].count

    @property
    def coords(self) -> Int[Tensor, "n 3"]:
        """Coordinates of all voxels by row."""
        return self._grids[0].coords[1 : self.count + 1, 1:]

    @property
    def features(self) -> Float[Tensor, "n c"]:
        """Inputs of all voxels by row, as given last. A view, as the next: later steps write into it."""
        return self._grids[0].buffer("features", self.model.config.inputs)[1 : self.count + 1]

    @property
    def prediction(self) -> Prediction:
        """What is held to be true of all voxels, by row."""
        return self.model.split(self._outputs()[1 : self.count + 1])

    @property
    def bytes(self) -> int:
        """Memory that the stream holds, spare room included."""
        held = [
            tensor
            for grid in self._grids
            for tensor in (*vars(grid).values(), *grid.buffers.values(), *grid.sites.state().values())
            if isinstance(tensor, Tensor)
        ]
        return sum(tensor.untyped_storage().nbytes() for tensor in held)

    @torch.no_grad()
    def step(self, coords: Int[Tensor, "n 3"], features: Float[Tensor, "n c"]) -> Update:
        """Takes in voxels that are new or may have changed.

        Args:
            coords: x, y, z in voxels, all different, within ±131,056.
            features: their new inputs (averages, not increments), finite.

        Raises:
            InputError: for any other input. The stream is then as it was.
        """
        start = time.perf_counter()
        coords, features = self._checked(coords, features)
        self._clock = Clock()
        for grid in self._grids:
            grid.before = grid.count
        anchor = self._due or (self.anchor_every > 0 and (self.steps + 1) % self.anchor_every == 0)
        self._due = True  # until the step is through: if it is interrupted, the next one sets things right
        with self._clock("rules"):
            given = self._insert(0, coords).long()
        anchor = anchor or (self.growth > 0 and self.count > (1 + self.growth) * self._anchored)
        self._grids[0].buffer("features", features.shape[1])[given] = features
        refreshed = given[:0]
        if self.mode == "full":
            rows, outputs = self._full()
        else:
            active, refreshed = self._chosen(given, features, anchor)
            rows, outputs = self._walk(active, anchor)
        kept = self._outputs()
        drift = self._drift(rows, outputs, kept, refreshed)
        kept[rows] = outputs
        self.steps += 1
        self._anchored = self.count if anchor else self._anchored
        self._due = drift > self.drift_bound
        return Update(
            rows - 1,
            self._grids[0].coords[rows, 1:],
            self.model.split(outputs),
            given - 1,
            self._grids[0].before,
            tuple(self._active),
            tuple(grid.count for grid in self._grids),
            drift,
            anchor or self.mode == "full",
            self._clock.parts(time.perf_counter() - start),
        )

    def anchor(self) -> Update:
        """Computes everything anew, exactly."""
        self._due = True
        inputs = self.model.config.inputs
        nothing = torch.zeros(0, 3, dtype=torch.int32, device=self._device)
        return self.step(nothing, torch.zeros(0, inputs, device=self._device))

    def _checked(self, coords: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.model.config.inputs
        if coords.ndim != 2 or coords.shape[1] != 3 or tuple(features.shape) != (len(coords), inputs):
            raise InputError(
                f"a step takes coordinates n × 3 and features n × {inputs}; got {tuple(coords.shape)} and "
                f"{tuple(features.shape)}"
            )
        check_coords(nn.functional.pad(coords, (1, 0)))
        if not bool(features.isfinite().all()):
            bad = int((~features.isfinite().all(1)).nonzero()[0, 0])
            raise InputError(f"features have to be finite; voxel {coords[bad].tolist()} has {features[bad].tolist()}")
        coords = nn.functional.pad(coords.to(self._device, torch.int32), (1, 0))
        keys = pack(coords)
        if not bool((keys[1:] > keys[:-1]).all()):
            keys, order = torch.sort(keys)
            twice = (keys[1:] == keys[:-1]).nonzero()[:, 0]
            if len(twice):
                voxel = coords[order[twice[0]], 1:].tolist()
                raise InputError(f"voxel {voxel} was given more than once; average what falls into one voxel")
        return coords, features.to(self._device, torch.float32)

    def _insert(self, level: int, coords: Int[Tensor, "n 4"]) -> Int[Tensor, " n"]:
        """Rows of sites. New ones get theirs, with their tables and parents, at a cost that only they make."""
        grid = self._grids[level]
        rows, new = grid.sites.add(coords)
        if not len(new):
            return rows
        grid.grow()
        own = torch.arange(grid.count - len(new) + 1, grid.count + 1, dtype=torch.int32, device=self._device)
        mine = slice(int(own[0]), int(own[-1]) + 1)
        grid.coords[mine] = new
        near = grid.sites.around(new)
        grid.table[mine] = near
        site, offset = near.nonzero(as_tuple=True)
        grid.table[near[site, offset].long(), 26 - offset] = own[site]  # who is near me has me near
        if level + 1 < len(self._grids):
            parent = self._insert(level + 1, parents(new))
            octant = octants(new)
            grid.parent[mine], grid.octant[mine] = parent, octant.int()
            self._grids[level + 1].children[parent.long(), octant] = own
        return rows

    def _chosen(self, given: Tensor, features: Tensor, anchor: bool) -> tuple[Tensor, Tensor]:
        """Rows to compute, ascending, and those of them that did not change but have their turn."""
        grid = self._grids[0]
        if anchor:
            return grid.all_rows(), given[:0]
        seen = grid.buffer(STEM, features.shape[1])
        moved = (features - seen[given]).abs().amax(1) > self.threshold
        changed = given[moved | (given > grid.before)].sort().values
        if self.halo:
            changed = beside_new(grid, changed)
        share = math.ceil(self.refresh * grid.before)
        if not share:
            return changed, given[:0]
        turn = (torch.arange(share, device=given.device) + self._cursor) % grid.before + 1
        self._cursor = (self._cursor + share) % grid.before
        rows, times = torch.cat((changed, turn)).unique(return_counts=True)
        alone = torch.isin(turn, rows[times == 1])
        return rows, turn[alone].sort().values

    def _drift(self, rows: Tensor, outputs: Tensor, kept: Tensor, refreshed: Tensor) -> float:
        if not len(refreshed):
            return math.nan
        at = torch.searchsorted(rows, refreshed)
        return float((outputs[at] - kept[refreshed]).abs().mean())

    def _outputs(self) -> Tensor:
        return self._grids[0].buffer("outputs", self.model.semantic.out_features + self._instance_width())

    def _instance_width(self) -> int:
        return 0 if self.model.instance is None else 3 + self.model.config.embedding

    def _full(self) -> tuple[Tensor, Tensor]:
        """All rows whose output is not what it was, by the plain network."""
        grid = self._grids[0]
        self._active = [grid.count for grid in self._grids]
        every = grid.all_rows()
        if not len(every):
            return every, self._outputs()[:0]
        with self._clock("rules"):
            rules = Rules(grid.coords[1 : grid.count + 1])
            for level in range(len(self._grids)):
                rules.table(2**level)
        with self._clock("convolutions"):
            net = self.model
            x = net.unet(net.stem(SparseTensor(self.features, rules=rules)))
            outputs = net.heads(x.map(net.norm).features)
        changed = (outputs != self._outputs()[1 : grid.count + 1]).any(1) | (every > grid.before)
        return every[changed], outputs[changed]

    def _walk(self, rows: Tensor, anchor: bool) -> tuple[Tensor, Tensor]:
        """Through the network, mirroring `OnlineNet.forward`; rows to compute become rows that were."""
        self._active = [0] * len(self._grids)
        if not len(rows):
            return rows, self._outputs()[:0]
        net, grid = self.model, self._grids[0]
        rule = (Values if self.rule == "values" else Residuals)(
            self._grids, self._clock, self.mode == "exact", self.coarse, self.halo, anchor
        )
        rule.start()
        x = grid.buffer("features", net.config.inputs)[rows]
        seen, given = rows, x
        rows, x = rule.submanifold(0, STEM, net.stem, rows, rule.given(x, rows))
        grid.buffer(STEM, net.config.inputs)[seen] = given  # exactly, so that what is repeated changes nothing
        rows, x = self._level(rule, 0, net.unet, "unet", rows, x)
        with self._clock("norms"):
            return rows, net.heads(rule.value(0, "norm", net.norm, rows, x))

    def _level(
        self, rule: Values | Residuals, depth: int, net: Level, name: str, rows: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        for index, block in enumerate(net.before):
            assert isinstance(block, Block)
            rows, x = self._block(rule, depth, block, f"{name}.before.{index}", rows, x)
        if net.inner is None:
            self._active[depth] = len(rows)
            return rows, x
        h = rule.activated(depth, f"{name}.down", net.norm_down, rows, x)
        below, y = rule.down(depth, f"{name}.down", net.down, net.inner, rows, h)
        if len(below):
            below, y = self._level(rule, depth + 1, net.inner, f"{name}.inner", below, y)
        h = rule.activated(depth + 1, f"{name}.up", net.norm_up, below, y)
        wider, up = rule.up(depth, f"{name}.up", net.up, rows, below, h)
        rows, x = wider, torch.cat((rule.at(depth, f"{name}.skip", rows, x, wider), up), 1)
        for index, block in enumerate(net.after):
            assert isinstance(block, Block)
            rows, x = self._block(rule, depth, block, f"{name}.after.{index}", rows, x)
        self._active[depth] = len(rows)
        return rows, x

    def _block(
        self, rule: Values | Residuals, depth: int, block: Block, name: str, rows: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor]:
        h = rule.activated(depth, f"{name}.1", block.norm1, rows, x)
        wider, y = rule.submanifold(depth, f"{name}.1", block.conv1, rows, h)
        h = rule.activated(depth, f"{name}.2", block.norm2, wider, y)
        wider, y = rule.submanifold(depth, f"{name}.2", block.conv2, wider, h)
        x = rule.at(depth, f"{name}.x", rows, x, wider)
        with self._clock("norms"):
            return wider, block.shortcut(x) + y

    def save(self, path: Path) -> None:
        """Writes the state: a stream loaded from it goes on bit by bit as this one would (safetensors)."""
        tensors: dict[str, Tensor] = {}
        for level, grid in enumerate(self._grids):
            for name in ("coords", "table", "parent", "octant", "children"):
                tensors[f"{level}/{name}"] = getattr(grid, name)[: grid.count + 1]
            tensors |= {f"{level}/sites/{name}": value for name, value in grid.sites.state().items()}
            for name in grid.buffers:
                tensors[f"{level}/buffers/{name}"] = grid.buffer(name, 0)[: grid.count + 1]
        settings = {
            "mode": self.mode, "rule": self.rule, "threshold": self.threshold, "coarse": self.coarse, "halo": self.halo,
            "growth": self.growth, "anchor_every": self.anchor_every, "refresh": self.refresh,
            "drift_bound": None if math.isinf(self.drift_bound) else self.drift_bound,
        }  # fmt: skip
        state = {"steps": self.steps, "cursor": self._cursor, "due": self._due, "anchored": self._anchored}
        header = {"weights": _fingerprint(self.model), "settings": settings, "state": state}
        write_state(path, _FORMAT, header, {name: value.contiguous().cpu() for name, value in tensors.items()})

    @classmethod
    def load(cls, path: Path, model: OnlineNet) -> Stream:
        """A stream that `save` wrote, for the same weights; InputError for anything else."""
        header, tensors = read_state(path, _FORMAT)
        if header["weights"] != _fingerprint(model):
            raise InputError(f"{path} was written with other weights; load it with those")
        settings = header["settings"]
        bound = settings.pop("drift_bound")
        stream = cls(model, **settings, drift_bound=math.inf if bound is None else bound)
        state = header["state"]
        stream.steps, stream._cursor = state["steps"], state["cursor"]
        stream._due, stream._anchored = state["due"], state["anchored"]
        for level, grid in enumerate(stream._grids):
            own = {
                name.removeprefix(f"{level}/"): value.to(stream._device)
                for name, value in tensors.items()
                if name.startswith(f"{level}/")
            }
            for name in ("coords", "table", "parent", "octant", "children"):
                setattr(grid, name, own[name])
            grid.sites = Sites.restored({name: own[f"sites/{name}"] for name in ("keys", "slots", "cells")})
            prefix = "buffers/"
            grid.buffers = {name.removeprefix(prefix): own[name] for name in own if name.startswith(prefix)}
        return stream


_FORMAT = "state of a stream of online3d, version 2"


def write_state(path: Path, form: str, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Writes a state as safetensors, with a seal by which a damaged one is known.

    Args:
        path: of the file.
        form: what it is a state of, and the version.
        header: what JSON takes.
        tensors: contiguous, on the CPU.
    """
    text = json.dumps({**header, "format": form})
    # The seal and the text in one value: several values would be written in an order that differs from run to run.
    write_atomically(path, to_bytes(tensors, {"state": f"{_seal(text, tensors)} {text}"}))


def read_state(path: Path, form: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors that `write_state` wrote.

    Raises:
        MissingFileError: no such file.
        InputError: a state of something else, of another version, or a damaged one.
    """
    try:
        with safe_open(check_regular(path), "pt") as file:
            seal, _, text = (file.metadata() or {}).get("state", "").partition(" ")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is no {form}: {error}") from error
    header = parse_json(text or "{}", f"{path}: its header")
    if not isinstance(header, dict) or header.get("format") != form:
        raise InputError(f"{path} is no {form}, or one of another version of percepta")
    if seal != _seal(text, tensors):
        raise InputError(f"{path}: damaged: its content is not what was written")
    return header, tensors


def _seal(text: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{text} {fingerprint(tensors)}".encode()).hexdigest()


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Clock:
    """Seconds by part of a step."""

    def __init__(self) -> None:
        self._seconds = {"rules": 0.0, "convolutions": 0.0, "norms": 0.0}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - start

    def parts(self, total: float) -> dict[str, float]:
        return {**self._seconds, "bookkeeping": total - sum(self._seconds.values())}


class Values:
    """What is passed on are values. A convolution puts those of its input into what it keeps, and gathers from there.

    Args:
        grids: the levels; what is kept lies in their buffers.
        clock: counts the seconds.
        exact: whether a convolution computes all that it can change.
        coarse, halo: see `Stream`.
        anchor: whether everything is computed.
    """

    def __init__(self, grids: list[Grid], clock: Clock, exact: bool, coarse: float, halo: bool, anchor: bool) -> None:
        self.grids, self.clock, self.exact = grids, clock, exact
        self.coarse, self.halo, self.anchor = coarse, halo, anchor

    def start(self) -> None:
        """Before the first layer."""

    def given(self, x: Tensor, rows: Tensor) -> Tensor:
        """The input, as this rule passes it on."""
        return x

    def activated(self, level: int, name: str, norm: NormReLU, rows: Tensor, x: Tensor) -> Tensor:
        """Norm and ReLU before the convolution of that name.

        Args:
            level: place in `grids`.
            name: of the convolution that follows.
            norm: the layer.
            rows: sites of x.
            x: features.
        """
        with self.clock("norms"):
            return norm(x)

    def value(self, level: int, name: str, norm: NormReLU, rows: Tensor, x: Tensor) -> Tensor:
        """The same where values are wanted in either rule.

        Args:
            level: place in `grids`.
            name: of the convolution that follows.
            norm: the layer.
            rows: sites of x.
            x: features.
        """
        return norm(x)

    def submanifold(self, level: int, name: str, conv: nn.Module, rows: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The convolution that keeps its sites.

        Args:
            level: place in `grids`.
            name: of the convolution.
            conv: the layer.
            rows: sites that changed.
            h: their features.
        """
        grid = self.grids[level]
        source = self._keep(grid, name, rows, h)
        reach = rows
        if self.exact:
            with self.clock("rules"):
                reach = grid.reach(rows)
        with self.clock("convolutions"):
            return reach, gather_mm(source, grid.table.index_select(0, reach), _weight(conv))

    def down(
        self, level: int, name: str, conv: nn.Module, inner: Level, rows: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """To the parents of `rows`; of old ones only those that changed by more than `coarse`.

        Args:
            level: place in `grids`.
            name: of the convolution.
            conv: the layer.
            inner: the level below.
            rows: sites that changed.
            h: their features.
        """
        grid, below = self.grids[level], self.grids[level + 1]
        source = self._keep(grid, name, rows, h)
        with self.clock("rules"):
            reach = grid.parents_of(rows, below.count)
            reach = beside_new(below, reach) if self.halo else reach
        with self.clock("convolutions"):
            y = gather_mm(source, below.children.index_select(0, reach), _weight(conv))
        if not self.coarse:
            return reach, y
        passed = below.buffer(f"{name}.passed", y.shape[1])
        if not self.anchor:
            first = inner.before[0]
            assert isinstance(first, Block) and first.norm1.running_var is not None
            scale = torch.rsqrt(first.norm1.running_var + first.norm1.eps)
            moved = ((y - passed[reach]).abs() * scale).amax(1) > self.coarse
            moved |= reach > below.before
            if self.halo:
                moved |= torch.isin(reach, beside_new(below, reach[:0]))
            reach, y = reach[moved], y[moved]
        passed[reach] = y
        return reach, y

    def up(
        self, level: int, name: str, conv: nn.Module, rows: Tensor, below: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Back onto `rows` and, in the exact mode, onto all children of what changed below.

        Args:
            level: place in `grids`.
            name: of the convolution.
            conv: the layer.
            rows: sites of this level.
            below: sites of the level below that changed.
            h: their features.
        """
        grid = self.grids[level]
        source = self._keep(self.grids[level + 1], name, below, h)
        reach = rows
        if self.exact:
            with self.clock("rules"):
                reach = _some(torch.cat((self.grids[level + 1].children[below].flatten().long(), rows)), grid.count)
        return reach, self._spread(grid, source, reach, conv)

    def at(self, level: int, name: str, rows: Tensor, x: Tensor, reach: Tensor) -> Tensor:
        """What was passed on at `rows`, at the sites `reach`, which hold all of them.

        Args:
            level: place in `grids`.
            name: under which it is kept.
            rows: sites of x.
            x: features.
            reach: sites that are asked for.
        """
        return self._keep(self.grids[level], name, rows, x)[reach] if self.exact else x

    def _keep(self, grid: Grid, name: str, rows: Tensor, values: Tensor) -> Tensor:
        return grid.buffer(name, values.shape[1]).index_copy_(0, rows, values)

    def _spread(self, grid: Grid, source: Tensor, rows: Tensor, conv: nn.Module) -> Tensor:
        """The transposed convolution at `rows`, from values of the level below."""
        with self.clock("rules"):
            parent = grid.parent.index_select(0, rows).long()
            needed = distinct(parent, len(source))
            at = torch.searchsorted(needed, parent) + 1
        with self.clock("convolutions"):
            return spread_mm(
                source.index_select(0, needed), at, grid.octant.index_select(0, rows).long(), _weight(conv)
            )


class Residuals(Values):
    """The published rule. What is passed on are differences to before; where they meet a norm, values are kept.

    Kept under a convolution's name are its inputs as of before the step, until it has been computed; under that name
    with ".in", the inputs of its norm.
    """

    def start(self) -> None:
        """An anchor forgets all that is kept, so that differences to it are everything."""
        for grid in self.grids if self.anchor else []:
            for name, buffer in grid.buffers.items():
                if name not in LASTING:
                    buffer.zero_()

    def given(self, x: Tensor, rows: Tensor) -> Tensor:
        return x - self.grids[0].buffer(STEM, x.shape[1])[rows]

    def activated(self, level: int, name: str, norm: NormReLU, rows: Tensor, x: Tensor) -> Tensor:
        grid = self.grids[level]
        h = self.value(level, f"{name}.in", norm, rows, x)
        return h - grid.buffer(name, h.shape[1])[rows]

    def value(self, level: int, name: str, norm: NormReLU, rows: Tensor, x: Tensor) -> Tensor:
        kept = self.grids[level].buffer(name, x.shape[1])
        kept[rows] += x
        with self.clock("norms"):
            return norm(kept[rows])

    def submanifold(self, level: int, name: str, conv: nn.Module, rows: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.grids[level]
        reach = grid.reach(rows) if self.exact else rows
        with self._differences(grid, rows, h) as changes, self.clock("convolutions"):
            y = gather_mm(changes, grid.table[reach], _weight(conv))
            fresh = reach > grid.before  # old neighbours are new to a new site
            old = grid.buffer(name, h.shape[1])
            y[fresh] += gather_mm(old, grid.table[reach[fresh]], _weight(conv))
        self._keep(grid, name, rows, old[rows] + h)
        return reach, y

    def down(
        self, level: int, name: str, conv: nn.Module, inner: Level, rows: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        grid, below = self.grids[level], self.grids[level + 1]
        reach = grid.parents_of(rows, below.count)
        reach = beside_new(below, reach) if self.halo else reach
        with self._differences(grid, rows, h) as changes, self.clock("convolutions"):
            y = gather_mm(changes, below.children[reach], _weight(conv))
        self._keep(grid, name, rows, grid.buffer(name, h.shape[1])[rows] + h)
        return reach, y

    def up(
        self, level: int, name: str, conv: nn.Module, rows: Tensor, below: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        grid, coarse = self.grids[level], self.grids[level + 1]
        reach = rows
        if self.exact:
            reach = _some(torch.cat((coarse.children[below].flatten().long(), rows)), grid.count)
        with self._differences(coarse, below, h) as changes:
            y = self._spread(grid, changes, reach, conv)
        fresh = reach > grid.before
        if bool(fresh.any()):
            y[fresh] += self._spread(grid, coarse.buffer(name, h.shape[1]), reach[fresh], conv)
        self._keep(coarse, name, below, coarse.buffer(name, h.shape[1])[below] + h)
        return reach, y

    def at(self, level: int, name: str, rows: Tensor, x: Tensor, reach: Tensor) -> Tensor:
        if not self.exact:
            return x
        with self._differences(self.grids[level], rows, x) as changes:
            return changes[reach]

    @contextmanager
    def _differences(self, grid: Grid, rows: Tensor, x: Tensor) -> Iterator[Tensor]:
        """A buffer that is zero but for x at `rows`."""
        buffer = grid.buffer(f"differences {x.shape[1]}", x.shape[1])
        buffer[rows] = x
        yield buffer
        buffer[rows] = 0


def _weight(conv: nn.Module) -> Tensor:
    weight = conv.weight
    assert isinstance(weight, Tensor)
    return weight
