"""An avatar beside its baselines: paired differences, the print on the chest, speed in full and baked.

    python benchmarks/avatar.py CAPTURE RUN [--against PLAIN ...] [--fine CAPTURE_384x480] [--record]

Every held-out picture of every set is rendered by every run; a difference has an interval over pairs of neighbouring
frames. The print is judged in held-out views of the finer capture (384×480) by the correlation, after the mean is
taken off, of what is rendered with what is true inside the rectangle around the print, where it faces the camera;
beside it the true picture blurred to the width that the print has at 128×160. Baked pictures are compared with the
truth like the others. Speeds are of one frame of 128×160 in this process; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import record
from scipy.ndimage import gaussian_filter

import percepta
from percepta.datasets import thuman4
from percepta.geometry import pose as poses
from percepta.geometry.body import make_body
from percepta.geometry.camera import project
from percepta.metrics import Metric, interval
from percepta.metrics.pictures import psnr
from percepta.systems.avatar import bake
from percepta.systems.avatar.data import Pictures, data, held_out_cameras, on_black
from percepta.systems.avatar.evaluate import picture
from percepta.worlds.people.paint import LOGO


@torch.inference_mode()
def rendered(system: Any, pictures: Pictures) -> dict[str, list[float]]:
    """PSNR inside the mask of each held-out picture, by set."""
    out: dict[str, list[float]] = defaultdict(list)
    for i in range(len(pictures)):
        item = pictures[(0, i)]
        time_stamp = item["time"][None] if item["set"] == "views" and system.config.latent else None
        nodes = system.model.nodes(item["joints"][None], item["condition"][None], time_stamp)
        seen, _ = picture(system.model, nodes, item["origin"], item["direction"])
        out[item["set"]].append(psnr(seen, item["colour"].numpy(), item["mask"].numpy() >= 0.5))
    return out


def baked_numbers(baked: bake.Baked, pictures: Pictures) -> dict[str, list[float]]:
    """The same of the baked form."""
    places = {id(s): baked.posed(s.motion) for s in pictures.sources.values()}
    out: dict[str, list[float]] = defaultdict(list)
    for kind, camera, frame in pictures.items:
        source = pictures.sources[kind]
        view = source.cameras[camera]
        colour, _ = baked.render(places[id(source)][frame], view.intrinsics, view.world_from_camera)
        truth, mask = source.read(camera, frame)
        out[kind].append(psnr(colour, on_black(truth, mask), mask >= 128))
    return out


@torch.inference_mode()
def print_on_chest(system: Any, root: Path, count: int = 12) -> dict[str, Any]:
    """Correlation of the print with the true one, and of the blurred true one; how wide it is in pixels."""
    capture = thuman4.read(root)
    body = make_body(capture.shape)
    torso = np.flatnonzero(body.part == 0)
    u, v, width, height = LOGO
    on_print = torso[
        (np.abs(body.uv[torso, 0] - u) < width / 2 + 0.02) & (np.abs(body.uv[torso, 1] - v) < height / 2 + 0.04)
    ]
    rows: list[tuple[float, float, float]] = []
    for camera in held_out_cameras(len(capture.cameras)):
        view = capture.cameras[camera]
        for frame in capture.frames[: int(0.8 * len(capture.frames)) : 4]:
            motion = capture.motion.part(frame, frame + 1)
            places = body.posed(motion)[0][on_print]
            facing = motion.rotation[0, 2, :, 0] @ -view.world_from_camera[:3, 2]
            pixel, _ = project(poses.transform(poses.inverse(view.world_from_camera), places), view.intrinsics)
            low, high = np.floor(pixel.min(0)).astype(int), np.ceil(pixel.max(0)).astype(int)
            if facing < 0.8 or high[0] - low[0] < 24:
                continue
            seen = system.predict(
                capture.motion, frame=frame, camera=view.intrinsics, world_from_camera=view.world_from_camera
            ).colour
            picture_, mask = capture.read(camera, frame)
            truth = on_black(picture_, mask)
            part = (slice(low[1], high[1] + 1), slice(low[0], high[0] + 1))
            blurred = gaussian_filter(truth, (1.2, 1.2, 0))  # pixels three times as large
            rows.append(
                (correlation(seen[part], truth[part]), correlation(blurred[part], truth[part]), high[0] - low[0])
            )
    if not rows:
        return {"pictures": 0}
    chosen = np.array(rows[:count])
    ours, blur, wide = chosen.mean(0)
    return {"pictures": len(chosen), "correlation": ours, "blurred truth": blur, "width_px": wide}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, over all values of two pictures."""
    x, y = a.mean(-1).ravel(), b.mean(-1).ravel()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-9))


def summary(ours: list[float], other: list[float], pair: list[str]) -> dict[str, Any]:
    """Mean of both, and the difference with its interval over pairs of frames."""
    apart = np.array(ours) - np.array(other)
    low, high = interval(apart, pair)
    return {
        "ours": float(np.mean(ours)),
        "other": float(np.mean(other)),
        "gain_db": float(apart.mean()),
        "low": low,
        "high": high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--fine", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    system: Any = percepta.load(options.run, system="avatar")
    pictures = data(system.config, "test", options.capture)
    assert isinstance(pictures, Pictures)
    pairs: dict[str, list[str]] = defaultdict(list)
    for kind, camera, frame in pictures.items:
        pairs[kind].append(f"{camera} {frame // 2}")
    ours = rendered(system, pictures)
    out: dict[str, Any] = {kind: {"psnr_db": float(np.mean(values)), "n": len(values)} for kind, values in ours.items()}
    for run in options.against:
        other = rendered(percepta.load(run, system="avatar"), pictures)
        out[f"against {run.name}"] = {kind: summary(ours[kind], other[kind], pairs[kind]) for kind in ours}
    motion = thuman4.read(options.capture).motion
    baked = bake.bake(system.model, motion.part(0, int(0.8 * len(motion))))
    flat = baked_numbers(baked, pictures)
    out["baked"] = {kind: summary(flat[kind], ours[kind], pairs[kind]) for kind in ours}
    out["baked"]["triangles"] = len(baked.faces)
    start = time.perf_counter()
    for frame in range(4):
        system.predict(motion, frame=frame)
    out["full_fps"] = 4 / (time.perf_counter() - start)
    view = thuman4.read(options.capture).cameras[0]
    start = time.perf_counter()
    for frame in range(20):
        place = baked.posed(motion.part(frame, frame + 1))[0]
        baked.render(place, view.intrinsics, view.world_from_camera, samples=1)
    out["baked_fps"] = 20 / (time.perf_counter() - start)
    if options.fine is not None:
        out["print"] = print_on_chest(system, options.fine)
    print(json.dumps(out, indent=1))
    if options.record:
        values: dict[str, Any] = {}
        for name, group in out.items():
            for key, value in group.items() if isinstance(group, dict) else [("", group)]:
                words = f"{name} {key}".strip().replace(" ", "-")
                if isinstance(value, dict):
                    values[words] = Metric(value["gain_db"], value["low"], value["high"], unit="dB")
                else:
                    values[words] = value
        record("avatar", "bench", values, model=system.model)


if __name__ == "__main__":
    main()
