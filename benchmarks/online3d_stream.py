"""Times incremental segmentation over the 300 real frames of 7-Scenes' red kitchen, and measures what it costs.

    python benchmarks/online3d_stream.py DATA [--weights online3d] [--voxel-m 0.02] [--frames 300] [--rules] [--drift]

DATA is the folder with `7scenes-redkitchen`. Weights are those that come with the package, a checkpoint, or with
`--weights random` such with batch norms of the data's statistics (a network that learnt something bears missing changes
far better). The same map goes through several streams at once; every so many frames the whole network runs on the map
as it then is, from the coordinates on, which gives the speed-up and the error. `--rules` adds the published residual
rule, `--drift` other anchorings. Seconds are of the processor (one thread), so that a busy machine disturbs them less.

Goals on 2 cores: from 100,000 voxels on 10 times below the full pass at the default threshold, 3 times at 0; the last
50 frames at most 1.3 times the 50 after the first 100,000 voxels.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from record import record

import percepta
from percepta.nn.sparse import Rules, Sites, SparseTensor
from percepta.systems.online3d import PRESETS
from percepta.systems.online3d.model import OnlineNet, Prediction
from percepta.systems.online3d.stream import COARSE, THRESHOLD, Stream, Update

COLOUR_FROM_DEPTH = np.array(
    [
        [0.999965, 0.002677, -0.007904, -0.02556],
        [-0.002741, 0.999963, -0.008150, 0.0001],
        [0.007882, 0.008172, 0.999936, 0.00203],
    ]
)
DEPTH_FOCAL, COLOUR_FOCAL, CENTRE_X, CENTRE_Y = 585.0, 525.0, 320.0, 240.0


def points(folder: Path, number: int, step: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Points of a frame in the world, metres, and their colours 0..255: every second pixel that has both."""
    stem = folder / f"frame-{number:06d}"
    depth = np.asarray(Image.open(f"{stem}.depth.png"))[::step, ::step]
    colour = np.asarray(Image.open(f"{stem}.color.jpg").convert("RGB"))
    world_from_camera = np.loadtxt(f"{stem}.pose.txt")
    v, u = np.nonzero((depth > 0) & (depth < 65535))
    z = depth[v, u] / 1000
    camera = np.stack(((u * step - CENTRE_X) / DEPTH_FOCAL * z, (v * step - CENTRE_Y) / DEPTH_FOCAL * z, z), 1)
    seen = camera @ COLOUR_FROM_DEPTH[:, :3].T + COLOUR_FROM_DEPTH[:, 3]
    x = np.rint(seen[:, 0] / seen[:, 2] * COLOUR_FOCAL + CENTRE_X).astype(int)
    y = np.rint(seen[:, 1] / seen[:, 2] * COLOUR_FOCAL + CENTRE_Y).astype(int)
    inside = (x >= 0) & (x < colour.shape[1]) & (y >= 0) & (y < colour.shape[0])
    world = camera[inside] @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]
    return world, colour[y[inside], x[inside]]


class VoxelMap:
    """Running average of the colours that fell into each voxel."""

    def __init__(self, voxel_m: float) -> None:
        self.voxel_m, self.sites = voxel_m, Sites()
        self.coords = torch.zeros(0, 4, dtype=torch.int32)
        self.sums = torch.zeros(0, 4)

    def add(self, world: np.ndarray, colour: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Voxels that the points fell into, and their averages, -1..1."""
        voxel = torch.from_numpy(np.floor(world / self.voxel_m).astype(np.int32))
        rows, new = self.sites.add(torch.nn.functional.pad(voxel, (1, 0)))
        self.coords = torch.cat((self.coords, new))
        index = rows.numpy() - 1
        value = colour.astype(np.float64) / 127.5 - 1
        first, last = index.min(), index.max() + 1
        parts = [np.bincount(index - first, weights, last - first) for weights in (None, *value.T)]
        self.sums = torch.cat((self.sums, self.sums.new_zeros(len(new), 4)))
        self.sums[first:last] += torch.from_numpy(np.stack(parts, 1)).float()
        touched = torch.from_numpy(np.nonzero(parts[0])[0] + first)
        sums = self.sums[touched]
        return self.coords[touched, 1:], sums[:, 1:] / sums[:, :1]

    @property
    def features(self) -> torch.Tensor:
        return self.sums[:, 1:] / self.sums[:, :1]


def network(preset: str, maps: VoxelMap, weights: str) -> OnlineNet:
    """What a checkpoint holds, or random weights with batch norms as after training: by the statistics of the map."""
    if weights != "random":
        return cast(OnlineNet, percepta.load(weights, device="cpu").model).eval()
    torch.manual_seed(0)
    model = OnlineNet(PRESETS[preset])
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = None
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.3)
    with torch.no_grad():
        model(SparseTensor(maps.features, maps.coords))
    return model.eval()


@dataclass
class Track:
    """What is measured of one stream."""

    stream: Stream
    seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    share: list[tuple[float, ...]] = field(default_factory=list)
    errors: list[tuple[int, float, float]] = field(default_factory=list)

    def step(self, coords: torch.Tensor, features: torch.Tensor) -> Update:
        start = time.process_time()
        update = self.stream.step(coords, features)
        self.seconds.append(time.process_time() - start)
        for part, seconds in update.seconds.items():
            self.parts[part].append(seconds)
        self.share.append(tuple(a / max(n, 1) for a, n in zip(update.active, update.sites, strict=True)))
        return update

    def compare(self, frame: int, full: Prediction) -> None:
        own = self.stream.prediction.logits
        error = (own - full.logits).abs().mean() / full.logits.std()
        self.errors.append((frame, float(error), float((own.argmax(1) != full.logits.argmax(1)).float().mean())))


def frames(folder: Path, count: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    for number in range(count):
        yield number, *points(folder, number)


def report(name: str, track: Track, first: int, map_s: np.ndarray, full_s: float) -> dict[str, float]:
    seconds = np.array(track.seconds)
    late, wall = seconds[first:], sum(np.array(part[first:]).mean() for part in track.parts.values())
    share = np.array(track.share[first:]).mean(0)
    print(f"\n{name}: {1000 * late.mean():.0f} ms a frame from frame {first} on (median {1000 * np.median(late):.0f})")
    print(
        f"  speed-up {full_s / late.mean():.1f}; with the map's {1000 * map_s[first:].mean():.1f} ms in both", end=" "
    )
    both = late.mean() + map_s[first:].mean()
    print(f"{(full_s + map_s[first:].mean()) / both:.1f}; {1 / both:.1f} frames per second")
    parts = ", ".join(f"{part} {100 * np.mean(v[first:]) / wall:.0f} %" for part, v in track.parts.items())
    print(f"  share of the step (wall clock): {parts}")
    print("  sites computed by level: " + " ".join(f"{100 * s:.1f} %" for s in share))
    flat = seconds[-50:].mean() / seconds[first : first + 50].mean()
    slope = np.polyfit(np.arange(len(late)), late / late.mean(), 1)[0] if len(late) > 1 else 0.0
    print(f"  last 50 frames / 50 from {first} on: {flat:.2f}; slope {100 * slope:+.2f} % a frame")
    print(f"  {track.stream.bytes / track.stream.count * 1e5 / 1e6:.0f} MB for 100,000 voxels")
    for frame, error, labels in track.errors:
        print(f"  frame {frame}: logits off by {100 * error:.2f} % of their deviation, labels {100 * labels:.2f} %")
    values = {
        "ms a frame": 1000 * late.mean(), "ms a frame with the map": 1000 * both, "frames a second": 1 / both,
        "speed-up": full_s / late.mean(), "speed-up with the map": (full_s + map_s[first:].mean()) / both,
        "fine voxels computed": share[0], "labels unlike full at the end": track.errors[-1][2],
        "labels unlike full at most": max(labels for _, _, labels in track.errors),
        "last 50 frames over first 50": flat, "slope": slope,
        "MB for 100,000 voxels": track.stream.bytes / track.stream.count * 1e5 / 1e6,
    }  # fmt: skip
    values |= {f"share of a step, {part}": np.mean(v[first:]) / wall for part, v in track.parts.items()}
    return {f"{name}, {key}": float(value) for key, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="online3d", help='a name, a checkpoint, or "random"')
    parser.add_argument("--preset", default="small", choices=PRESETS, help="for random weights")
    parser.add_argument("--voxel-m", type=float, default=0.02)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--voxels", type=int, default=100_000, help="map size from which on seconds count")
    parser.add_argument(
        "--thresholds", type=float, nargs="*", help="pairs: threshold and coarse; default: 0 0 and those of a session"
    )
    parser.add_argument("--growth", type=float, default=0.1, help="of the map, until all is computed anew")
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--drift", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.data / "7scenes-redkitchen"
    calibration = VoxelMap(args.voxel_m)
    for number in range(0, args.frames, max(args.frames // 8, 1)):
        calibration.add(*points(folder, number))
    model = network(args.preset, calibration, args.weights)
    config = model.config
    pairs = args.thresholds or [0.0, 0.0, THRESHOLD, COARSE]
    tracks: dict[str, Track] = {}
    for threshold, coarse in zip(pairs[::2], pairs[1::2], strict=True):
        name = f"threshold {threshold:g}, coarse {coarse:g}"
        tracks[name] = Track(Stream(model, threshold=threshold, coarse=coarse, growth=args.growth))
        if args.rules:
            plain = Stream(model, threshold=threshold, coarse=coarse, halo=False, growth=args.growth)
            tracks[f"no halo, {name}"] = Track(plain)
            tracks[f"residuals, threshold {threshold:g}"] = Track(
                Stream(model, threshold=threshold, rule="residuals", halo=False, growth=args.growth)
            )
        if args.drift:
            for other in ({}, {"refresh": 0.005}, {"anchor_every": 50}, {"growth": 0.2}):
                settings: dict[str, Any] = {"growth": 0.0, **other}
                title = ", ".join(f"{key} {value:g}" for key, value in settings.items())
                tracks[f"{name}, {title}"] = Track(Stream(model, threshold=threshold, coarse=coarse, **settings))
    maps, map_s, full_s, rules_s, first = VoxelMap(args.voxel_m), [], [], [], None
    for number, world, colour in frames(folder, args.frames):
        start = time.process_time()
        coords, features = maps.add(world, colour)
        map_s.append(time.process_time() - start)
        for track in tracks.values():
            track.step(coords, features)
        if maps.sites.count >= args.voxels and first is None:
            first = number
        if number % args.every == args.every - 1:
            start = time.process_time()
            rules = Rules(maps.coords)
            for level in range(config.levels):
                rules.table(2**level)
            middle = time.process_time()
            with torch.no_grad():
                full = model(SparseTensor(maps.features, rules=rules))
            if first is not None:
                rules_s.append(middle - start)
                full_s.append(time.process_time() - start)
            for track in tracks.values():
                # A stream numbers its voxels as the map does: both meet them in the same order.
                track.compare(number, full)
    if first is None:
        raise SystemExit(f"the map has {maps.sites.count} voxels at the end; give --voxels below that")
    print(f"{args.weights}, {sum(p.numel() for p in model.parameters()):,} parameters; {maps.sites.count} voxels")
    print(f"full pass, mean of {len(full_s)}: {np.mean(full_s):.2f} s, of it rules {np.mean(rules_s):.2f} s")
    values = {"full pass, s": float(np.mean(full_s)), "map, ms a frame": 1000 * float(np.mean(map_s[first:]))}
    for name, track in tracks.items():
        values |= report(name, track, first, np.array(map_s), float(np.mean(full_s)))
    record("online3d", "stream", values, model=model)


if __name__ == "__main__":
    main()
