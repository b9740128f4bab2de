"""Depth of real pairs of the red kitchen by every method in one run, and what the sweep costs.

    OMP_NUM_THREADS=1 python benchmarks/planes.py DATA [--weights MODEL] [--split test] [--pairs 40]
    python benchmarks/planes.py --sweep     memory and seconds of the sweep over 512 hypotheses, streamed and at once
    python benchmarks/planes.py --speed     pairs a second of `small`, peak memory of `paper`
    python benchmarks/planes.py --scenes    scenes of eight walks through rooms of the test split against their truth

DATA is the folder with `7scenes-redkitchen`. Baselines on the same pairs and the same sensor depth, registered to
colour: the network's own features swept by planes that face the camera, winner takes all (with parabola); the same by
the slanted hypotheses; OpenCV's semi-global matching on rectified pictures (extra `parity`); one depth for all pairs;
each pair's own median. Where a method gives no depth, its median fills in, and the share that it gave is printed.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import cell, record
from scipy.spatial import KDTree
from torch.nn import functional

import percepta
from percepta.contract import Evaluation
from percepta.geometry import pose as poses
from percepta.geometry.camera import back_project
from percepta.metrics import Metric, interval
from percepta.metrics.planes import depth_errors
from percepta.report import Table
from percepta.systems.planes import PRESETS, data, sweep
from percepta.systems.planes.fusion import Fusion
from percepta.systems.planes.model import PlaneNet, build, run
from percepta.systems.planes.pairs import Pair
from percepta.systems.planes.predict import Planes, View, decode
from percepta.systems.planes.world import camera_of, filmed_room


@torch.inference_mode()
def matched(model: PlaneNet, batch: dict[str, Any], planes: torch.Tensor) -> np.ndarray:
    """Winner-takes-all depth of the network's features, without its 3-D network: correlation averaged over 5 × 5."""
    image, source = batch["image"], batch["sources"][:, 0]
    s4, s8 = model.features(torch.cat([image, source]))
    maps = model.match_features(s4, s8)
    by = maps.shape[-1] / image.shape[-1]
    small, other = (sweep.scaled(m, by) for m in (batch["matrix"], batch["source_matrices"][:, 0]))
    way = sweep.carrier(small, other, batch["source_from_reference"][:, 0], *maps.shape[-2:])
    groups = model.config.cost_groups
    scores = torch.cat([v.mean(1) for v in sweep.costs(maps[:1], [maps[1:]], [way], planes, 32, groups)], 1)
    scores = functional.avg_pool2d(scores, 5, 1, 2, count_include_pad=False)
    inverse = -torch.einsum("nc,bchw->bnhw", planes, way.rays)
    scores = scores.masked_fill((inverse < 0.1) | (inverse > 5), -1e9)
    mean = (torch.softmax(40 * scores, 1) * inverse.clamp(0.1, 5)).sum(1, keepdim=True)
    return (1 / functional.interpolate(mean, image.shape[-2:], mode="bilinear")[0, 0]).numpy()


def semi_global(pair: Pair) -> np.ndarray | None:
    """Depth by OpenCV's SGBM on pictures rectified by the known pose; 0 where it gives none."""
    import cv2  # pyright: ignore[reportMissingImports]

    h, w = pair.depth_m.shape
    k, move = np.float64(pair.camera.matrix), np.float64(pair.source_from_reference[0])
    none = np.zeros(5)  # distortion
    turn, shift = np.ascontiguousarray(move[:3, :3]), np.ascontiguousarray(move[:3, 3:])
    r1, r2, _, p2, *_ = cv2.stereoRectify(k, none, k, none, (w, h), turn, shift)
    vertical = abs(p2[1, 3]) > abs(p2[0, 3])
    # Our own canvas at the pictures' focal length that holds both: OpenCV's zooms until no pixel is empty, which for
    # cameras that move forwards or turn leaves a few pixels of the scene, or puts it outside.
    ends = np.array([[0, 0, 1], [w - 1, 0, 1], [0, h - 1, 1], [w - 1, h - 1, 1]]) @ np.linalg.inv(k).T
    seen = np.concatenate([ends @ r1.T, ends @ r2.T])
    seen = seen[:, :2] / np.maximum(seen[:, 2:], 0.25)
    low, high = np.maximum(seen.min(0), -3), np.minimum(seen.max(0), 3)
    size = tuple(np.ceil((high - low) * k[0, 0]).astype(int) + 1)
    p1 = np.array([[k[0, 0], 0, -low[0] * k[0, 0]], [0, k[0, 0], -low[1] * k[0, 0]], [0, 0, 1]])
    maps = [cv2.initUndistortRectifyMap(k, none, r, p1, size, cv2.CV_32FC1) for r in (r1, r2)]
    pictures = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (pair.image, pair.sources[0])]
    left, right = (cv2.remap(x, *m, cv2.INTER_LINEAR) for x, m in zip(pictures, maps, strict=True))
    if vertical:
        left, right = left.T.copy(), right.T.copy()
    offset = k[0, 0] * float((r2 @ shift)[1 if vertical else 0, 0])
    backwards = offset > 0  # the source is on the left (or above): look from the other side
    if backwards:
        left, right = left[:, ::-1].copy(), right[:, ::-1].copy()
    matcher = cv2.StereoSGBM_create(0, 64, 5, P1=200, P2=800, disp12MaxDiff=1, uniquenessRatio=5, speckleWindowSize=60,
                                    speckleRange=2, mode=cv2.STEREO_SGBM_MODE_HH)  # fmt: skip
    disparity = matcher.compute(left, right).astype(np.float32) / 16
    disparity = disparity[:, ::-1] if backwards else disparity
    disparity = disparity.T if vertical else disparity
    z = np.where(disparity > 0.3, abs(offset) / np.maximum(disparity, 0.3), 0)
    # From the rectified camera back to the reference: each reading moves to the pixel that saw it.
    v, u = np.nonzero(z > 0)
    rays = np.linalg.inv(p1) @ np.stack([u, v, np.ones_like(u)])
    points = (r1.T @ (rays * z[v, u])).T
    at = points @ k.T
    x, y = np.rint(at[:, 0] / at[:, 2]).astype(int), np.rint(at[:, 1] / at[:, 2]).astype(int)
    good = (x >= 0) & (x < w) & (y >= 0) & (y < h) & (points[:, 2] > 0.1)
    out = np.full((h, w), np.inf)
    np.minimum.at(out, (y[good], x[good]), points[good, 2])
    return np.where(np.isfinite(out), out, 0).clip(0, 10)


SHOWN = {
    "planes, composed": "`small`, instances and pixel planes",
    "planes, pixel planes": "pixel planes alone",
    "same features, fronto-parallel": "its features, planes that face the camera",
    "same features, slanted": "its features, its slanted hypotheses",
    "OpenCV SGBM": "OpenCV SGBM",
    "one depth": "one depth for all",
    "own median (oracle)": "each pair's own median",
}  # rows of the card's table


def filled(depth: np.ndarray) -> tuple[np.ndarray, float]:
    """Depth with its median where there is none, and the share that there was."""
    seen = depth > 0
    return np.where(seen, depth, np.median(depth[seen]) if seen.any() else 2.0), float(seen.mean())


@torch.inference_mode()
def compare(args: argparse.Namespace) -> None:
    """The table."""
    system = percepta.load(args.weights or "planes", system="planes", device="cpu")
    model, config = system.model, system.config
    source = data.source(config, args.split, args.data / "7scenes-redkitchen")
    samples = data.Samples(config, source, False)
    chosen = np.linspace(0, len(source) - 1, min(args.pairs, len(source))).astype(int).tolist()
    slanted = model.get_buffer("planes")
    facing = sweep.hypotheses((1, 1, 64), ((0, 0), (0, 0), (-2.0, -0.1)), fronto=True)
    methods: dict[str, list[np.ndarray]] = {}
    shares: dict[str, list[float]] = {}
    truth, groups = [], []

    def add(name: str, depth: np.ndarray) -> None:
        whole, share = filled(depth)
        methods.setdefault(name, []).append(whole)
        shares.setdefault(name, []).append(share)

    for i in chosen:
        pair, batch = source[i], samples.collate([samples[(0, i)]])
        found = decode(model, run(model, batch), batch["matrix"], 0)
        add("planes, composed", found.depth_m)
        add("planes, pixel planes", found.pixel_depth_m)
        if config.cost == "correlation":
            add("same features, fronto-parallel", matched(model, batch, facing))
            add("same features, slanted", matched(model, batch, slanted))
        if find_spec("cv2") is not None:
            add("OpenCV SGBM", semi_global(pair))  # type: ignore[arg-type]
        truth.append(np.where(pair.depth_m < config.max_depth_m, pair.depth_m, 0))
        groups.append(str(pair.group))
    everything = np.median(np.concatenate([t[t > 0] for t in truth]))
    for t in truth:
        add("one depth", np.full_like(t, everything))
        add("own median (oracle)", np.full_like(t, np.median(t[t > 0])))
    if find_spec("cv2") is None:
        print("OpenCV SGBM: skipped, the extra percepta[parity] is not installed")
    print(f"{len(chosen)} pairs of {args.split}")
    best = np.mean([depth_errors(d, t)["AbsRel"] for d, t in zip(methods["planes, composed"], truth, strict=True)])
    numbers: dict[str, Metric] = {}
    for name, depths in methods.items():
        rows = [depth_errors(d, t) for d, t in zip(depths, truth, strict=True)]
        values = [row["AbsRel"] for row in rows]
        low, high = interval(values, groups)
        numbers[name] = Metric(float(np.mean(values)), low, high, len(values))
        numbers[f"below {name}"] = Metric(1 - float(best / np.mean(values)))
        numbers[f"gives, {name}"] = Metric(float(np.mean(shares[name])))
        print(
            f"{name:32s} AbsRel {np.mean(values):.3f} ({low:.3f} to {high:.3f})"
            f"  RMSE {np.mean([r['RMSE'] for r in rows]):.3f} m  δ1 {np.mean([r['δ1'] for r in rows]):.3f}"
            f"  gives {np.mean(shares[name]):.0%}  ours/this {best / np.mean(values):.2f}"
        )
    shown = [[title, cell(name, bounds=False), cell(name).partition("(")[2][:-1]] for name, title in SHOWN.items()
             if name in numbers]  # fmt: skip
    table = Table([f"{len(chosen)} {args.split} pairs, AbsRel", "mean", "95 % interval"], shown)
    record(
        "planes", "kitchen" if args.split == "test" else f"kitchen-{args.split}", numbers, model=model, tables=[table]
    )


def peak_mb(action: Callable[[], Any]) -> tuple[float, float]:
    """Bytes that tensors take at most beyond those there before, in MB, and processor seconds (the least of three)."""
    from torch.profiler import ProfilerActivity, profile

    seconds = []
    for _ in range(3):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        action()
    now = most = 0
    for event in sorted(record.profiler.kineto_results.events(), key=lambda e: e.start_ns()):  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()  # type: ignore[attr-defined]
            most = max(most, now)
    return most / 1e6, min(seconds)


@torch.inference_mode()
def sweeping() -> None:
    """512 hypotheses at 60 × 80 with 16 channels: correlation, summed up; streamed and by one grid_sample call."""
    torch.manual_seed(0)
    config = PRESETS["paper"]
    planes = sweep.hypotheses(config.hypothesis_counts, config.hypothesis_ranges)
    own, other = torch.randn(1, 16, 60, 80), torch.randn(1, 16, 60, 80)
    k = torch.tensor([[[72.0, 0, 39.5], [0, 72.0, 29.5], [0, 0, 1]]])
    move = torch.from_numpy(
        poses.compose(poses.from_vector(np.array([0.02, -0.03, 0.01])), np.array([0.1, 0.02, 0.03]))
    )
    way = sweep.carrier(k, k, move.float()[None], 60, 80)

    def streamed() -> torch.Tensor:
        return torch.cat([v[:, 0] for v in sweep.costs(own, [other], [way], planes, 32, 1, visible_only=False)], 1)

    def at_once() -> torch.Tensor:
        warped = sweep.sample(other, sweep.places(way, planes))
        return (warped * own[:, :, None]).mean(1)

    gap = float((streamed() - at_once()).abs().max())
    (a, s), (b, t) = peak_mb(streamed), peak_mb(at_once)
    print(
        f"largest difference {gap:.2g}; peak memory {a:.0f} MB streamed, {b:.0f} MB at once (ratio {a / b:.2f}); ",
        end="",
    )
    print(f"{1000 * s:.0f} ms streamed, {1000 * t:.0f} ms at once (ratio {s / t:.2f})")
    record("planes", "sweep", {"difference": gap, "memory over at once": a / b, "time over at once": s / t})


def not_evaluated(*_: Any, **__: Any) -> Evaluation:
    """Stands for the evaluation of a network with random weights."""
    raise NotImplementedError


@torch.inference_mode()
def speed() -> None:
    """Seconds a pair with random weights, and the process's peak memory."""
    values: dict[str, float] = {}
    for name in ("small", "paper"):
        config = PRESETS[name]
        planes = Planes(config, build(config).eval(), "", not_evaluated)
        camera = camera_of(config, "rooms")
        picture = np.random.default_rng(0).integers(0, 255, (config.height, config.width, 3), np.uint8)
        views = [View(picture, camera, poses.compose(np.eye(3), np.array([x, 0, 0]))) for x in (0.0, 0.1)]
        planes.predict(*views)
        start, count = time.perf_counter(), 5 if name == "small" else 1
        for _ in range(count):
            planes.predict(*views)
        seconds = (time.perf_counter() - start) / count
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        threads = torch.get_num_threads()
        values |= {f"{name}, s a pair": seconds, f"{name}, pairs a second": 1 / seconds, f"{name}, GB": memory}
        print(f"{name}: {seconds:.2f} s, {1 / seconds:.1f} pairs a second on {threads} threads; peak {memory:.2f} GB")
    record("planes", "speed", values)


def scenes(args: argparse.Namespace) -> None:
    """Merged scenes against what all key frames saw of the true planes.

    A surface's plane is the true one that is nearest to most of its cells. Beside it the same detections, none merged.
    """
    system = percepta.load(args.weights or "planes", system="planes", device="cpu")
    camera = camera_of(system.config, "rooms")
    rows: dict[str, list[list[float]]] = {}
    for number in range(700_000, 700_008):
        _, shots = filmed_room(number, camera)
        session, points, owner = system.session(), [], []
        apart = Fusion(min_overlap=np.inf)
        for shot in shots:
            pose = shot.world_from_camera
            result = session.step(View(shot.colour, camera, pose))
            if result is None:
                continue
            session.join(result, apart)
            seen = np.zeros(shot.depth_m.shape, bool)
            seen[::4, ::4] = shot.plane[::4, ::4] >= 0
            points.append(poses.transform(pose, back_project(shot.depth_m, camera))[seen])
            owner.append(shot.plane[seen])
        cloud, owners = np.concatenate(points), np.concatenate(owner)
        truth = KDTree(cloud)
        merged = {
            "merged": session.scene(), "merged, seen in two frames or more": session.scene(min_frames=2),
            "not merged": apart.scene(),
        }  # fmt: skip
        for name, scene in merged.items():
            cells = [surface.triangles()[0] for surface in scene.surfaces]
            away, nearest = truth.query(np.concatenate(cells))
            ends = np.cumsum([len(c) for c in cells])[:-1]
            planes = [np.bincount(owners[part]).argmax() for part in np.split(nearest, ends)]
            pure = [np.mean(owners[part] == own) for part, own in zip(np.split(nearest, ends), planes, strict=True)]
            covered = KDTree(np.concatenate(cells)).query(cloud)[0]
            rows.setdefault(name, []).append([
                len(cells), len(cells) / len(set(map(int, planes))), float(np.mean(pure)), float(np.mean(away < 0.2)),
                float(np.mean(covered < 0.2)),
            ])  # fmt: skip
    numbers, lines = {}, []
    for name, values in rows.items():
        count, per, pure, precise, complete = np.mean(values, 0)
        f = 2 * precise * complete / (precise + complete)
        print(f"{name}: {count:.0f} surfaces, {per:.2f} for each true plane, {pure:.0%} of a surface on its plane; "
              f"within 0.2 m precision {precise:.3f}, completeness {complete:.3f}, F {f:.3f}")  # fmt: skip
        row = {"surfaces": count, "for each true plane": per, "precision": precise, "completeness": complete}
        numbers |= {f"{key}, {name}": value for key, value in row.items()}
        forms = (".0f", ".2f", ".3f", ".3f")
        lines.append([name, *(cell(f"{k}, {name}", form, bounds=False) for k, form in zip(row, forms, strict=True))])
    columns = ["", "surfaces", "for each true plane", "precision at 0.2 m", "completeness at 0.2 m"]
    record("planes", "scenes", numbers, model=system.model, tables=[Table(columns, lines)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--scenes", action="store_true")
    args = parser.parse_args()
    if args.sweep:
        sweeping()
    if args.speed:
        speed()
    if args.scenes:
        scenes(args)
    if args.data is not None:
        compare(args)


if __name__ == "__main__":
    main()
