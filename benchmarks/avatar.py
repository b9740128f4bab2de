"""An avatar beside its baselines: paired differences, the print on the chest, speed in full and baked.

    python benchmarks/avatar.py CAPTURE RUN [--against PLAIN ...] [--fine CAPTURE_384x480] [--record]
    python benchmarks/avatar.py CAPTURE RUN --against WITHOUT_A WITHOUT_B ... --parts [--record]

Every held-out picture of every set is rendered by every run: PSNR inside the mask, Lite0 distance
(`metrics.pictures`, smaller is better) and the IoU with the true mask. A difference has an interval over pairs of
neighbouring frames. The print is judged in held-out views of the finer capture (384×480) by the correlation, after
the mean is taken off, of what is rendered with what is true inside the rectangle around the print, where it faces the
camera; beside it the true picture blurred to the width that the print has at 128×160. Baked pictures are compared
with the truth like the others. Speeds are of one frame of 128×160 in this process; run it on an idle machine. With
--parts nothing but the differences is measured: what each part of the model gives, by runs of equal steps that lack
it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import cell, record
from scipy.ndimage import gaussian_filter

import percepta
from percepta import weights
from percepta.datasets import thuman4
from percepta.errors import InputError
from percepta.geometry.body import make_body
from percepta.geometry.camera import project_world
from percepta.metrics import Metric, interval
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.report import Table
from percepta.systems.avatar import bake
from percepta.systems.avatar import evaluate as avatar
from percepta.systems.avatar.data import Pictures, data, held_out_cameras, on_black
from percepta.systems.avatar.evaluate import NAMES, numbers
from percepta.systems.avatar.predict import picture
from percepta.worlds.people.paint import LOGO

Numbers = dict[tuple[str, str], list[float]]  # by set and metric
WORDS = {"psnr": "PSNR, dB", "lite0_distance": "Lite0 distance", "iou": "mask IoU"}


@torch.inference_mode()
def rendered(system: Any, pictures: Pictures, encoder: EfficientNetLite0) -> Numbers:
    """PSNR, Lite0 distance and mask IoU of each held-out picture."""
    out: Numbers = defaultdict(list)
    for i in range(len(pictures)):
        item = pictures[(0, i)]
        time_stamp = item["time"][None] if item["set"] == "views" and system.config.latent else None
        nodes = system.model.nodes(item["joints"][None], item["condition"][None], time_stamp)
        seen, alpha = picture(system.model, nodes, item["origin"], item["direction"])
        inside = item["mask"].numpy() >= 0.5
        for name, value in numbers(seen, alpha, item["colour"].numpy(), inside, encoder).items():
            out[item["set"], name].append(value)
    return out


def baked_numbers(baked: bake.Baked, pictures: Pictures, encoder: EfficientNetLite0) -> Numbers:
    """The same of the baked form."""
    moved = {id(s): (baked.posed(s.motion), baked.coloured(s.motion)) for s in pictures.sources.values()}
    out: Numbers = defaultdict(list)
    for kind, camera, frame in pictures.items:
        source = pictures.sources[kind]
        view = source.cameras[camera]
        places, colours = moved[id(source)]
        colour, alpha = baked.render(places[frame], colours[frame], view.intrinsics, view.world_from_camera)
        truth, mask = source.read(camera, frame)
        for name, value in numbers(colour, alpha, on_black(truth, mask), mask >= 128, encoder).items():
            out[kind, name].append(value)
    return out


@torch.inference_mode()
def print_on_chest(system: Any, root: Path, count: int = 12) -> dict[str, Metric]:
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
            pixel, _ = project_world(places, view.intrinsics, view.world_from_camera)
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
        print(f"{root}: no held-out picture shows the print from the front, 24 pixels wide or more")
        return {}
    chosen = np.array(rows[:count])
    ours, blur, wide = (Metric(float(column.mean()), *interval(column), len(column)) for column in chosen.T)
    return {"print, correlation": ours, "print, blurred truth, correlation": blur, "print, width in pixels": wide}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, over all values of two pictures."""
    x, y = a.mean(-1).ravel(), b.mean(-1).ravel()
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-9))


def gains(ours: Numbers, other: Numbers, pairs: dict[str, list[str]], words: str) -> dict[str, Metric]:
    """How much larger our numbers are than others of the same pictures, with intervals over pairs of frames.

    Args:
        ours: of each picture.
        other: of each picture.
        pairs: the pair of frames that each picture of a set belongs to.
        words: what the difference is called.
    """
    out = {}
    for (kind, name), values in ours.items():
        if name in WORDS:
            apart = np.array(values) - np.array(other[kind, name])
            low, high = interval(apart, pairs[kind])
            out[f"{NAMES[kind]}, {WORDS[name]}: {words}"] = Metric(float(apart.mean()), low, high, len(apart))
    return out


def differences(runs: list[str]) -> Table:
    """PSNR of the first run, and how much more that is than each of the others has."""
    kinds = [*NAMES.values()]
    lines = [["whole", *(cell(f"{kind}, PSNR, dB", ".2f") for kind in kinds)]]
    lines += [
        [f"more than {run}", *(cell(f"{kind}, PSNR, dB: more than {run}", ".2f") for kind in kinds)] for run in runs
    ]
    return Table(["PSNR, dB", *kinds], lines)


def show(values: Mapping[str, Metric | float]) -> None:
    """A line for each number."""
    for name, value in values.items():
        plain = value if isinstance(value, Metric) else Metric(value)
        around = "" if plain.low is None or plain.high is None else f"  ({plain.low:.3f} to {plain.high:.3f})"
        print(f"{plain.value:10.3f}{around}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--fine", type=Path)
    parser.add_argument("--parts", action="store_true", help="nothing but the differences, as the table avatar/parts")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    system: Any = percepta.load(options.run, system="avatar")
    pictures = data(system.config, "test", options.capture)
    assert isinstance(pictures, Pictures)
    pairs: dict[str, list[str]] = defaultdict(list)
    for number, (kind, _, _) in enumerate(pictures.items):
        pairs[kind].append(f"{number // 2}")
    encoder = avatar.encoder()
    encoder.read(*weights.files(avatar.ENCODER))
    encoder.eval()
    ours = rendered(system, pictures, encoder)
    values: dict[str, Metric | float] = {}
    for (kind, name), found in ours.items():
        if name in WORDS:
            low, high = interval(found, pairs[kind])
            values[f"{NAMES[kind]}, {WORDS[name]}"] = Metric(float(np.mean(found)), low, high, len(found))
    against: dict[str, Metric | float] = {}
    for run in options.against:
        other: Any = percepta.load(run, system="avatar")  # which may see less of a pose
        same = data(other.config, "test", options.capture)
        assert isinstance(same, Pictures) and same.items == pictures.items
        against |= gains(ours, rendered(other, same, encoder), pairs, f"more than {run.name}")
    if options.parts:
        show(values | against)
        if options.record:
            record("avatar", "parts", values | against, tables=[differences([run.name for run in options.against])])
        return
    motion = thuman4.read(options.capture).motion
    baked = None
    try:
        baked = bake.bake(system.model, motion.part(0, int(0.8 * len(motion))))
    except InputError as error:
        print(f"the rows about the baked form are left out: {error}")
    start = time.perf_counter()
    for frame in range(4):
        system.predict(motion, frame=frame)
    values["frames a second, in full"] = 4 / (time.perf_counter() - start)
    view = thuman4.read(options.capture).cameras[0]
    if baked is not None:
        values |= gains(baked_numbers(baked, pictures, encoder), ours, pairs, "baked, more than in full")
        values["baked, triangles"] = float(len(baked.faces))
        frames = range(min(20, len(motion)))
        start = time.perf_counter()
        for frame in frames:
            one = motion.part(frame, frame + 1)
            baked.render(
                baked.posed(one)[0], baked.coloured(one)[0], view.intrinsics, view.world_from_camera, samples=1
            )
        values["frames a second, baked"] = len(frames) / (time.perf_counter() - start)
    if options.fine is not None:
        values |= print_on_chest(system, options.fine)
    show(values | against)
    if options.record:
        record("avatar", "bench", values, model=system.model)
        if against:
            record("avatar", "against", against, model=system.model)


if __name__ == "__main__":
    main()
