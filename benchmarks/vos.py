"""Time and memory of following objects through a long video, from JPEG files of 480p, beside Cutie.

    python benchmarks/vos.py DAVIS16 [--frames 5000] [--peer-frames 1000] [--record]

A clip of the folder (DAVIS 2016's layout) is played to and fro. Each measurement has a process of its own. The peer is
`rf-cutie` (small) with random weights, since time and memory do not depend on them, at its own setting for 480p; it is
left out where it is not installed (`pip install 'percepta[parity]'`, without torchvision: --no-deps). Run it on an idle
machine. Goals on 2 cores: 8 frames a second with one object, 5 with five; the process grows by less than 50 MB after
frame 200, and a frame costs at the end at most 1.1 times what it costs at frame 200.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import record

import percepta
from percepta.datasets import davis
from percepta.datasets.videos import Video

EARLY = (150, 250)  # frames around number 200
LATE = 100  # frames at the end


def clip(root: Path) -> Video:
    """The first video of the folder."""
    return davis.videos(root)[0]


def masks_of(video: Video, objects: int) -> np.ndarray:
    """The video's own object, and squares beside it."""
    mask = video.mask(0)
    assert mask is not None
    labels = (mask > 0).astype(np.uint8)
    height, width = labels.shape
    for one in range(2, objects + 1):
        left, top = width * (one - 2) // 4 + width // 16, height // 8
        labels[top : top + height // 6, left : left + height // 6] = one
    return labels


def memory_mb() -> float:
    """What this process holds."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def measured(step: Callable[[Path, np.ndarray | None], object], video: Video, objects: int, frames: int) -> dict:
    """Times of all frames, and memory at some of them."""
    first, seconds, memory = masks_of(video, objects), [], {}
    count = len(video.frames)
    for number in range(frames):
        place = number % max(2 * count - 2, 1)
        path = video.frames[place if place < count else 2 * count - 2 - place]
        start = time.perf_counter()
        step(path, first if number == 0 else None)
        seconds.append(time.perf_counter() - start)
        if number in (200, 999) or number == frames - 1:
            memory[number] = memory_mb()
    early = statistics.median(seconds[EARLY[0] : EARLY[1]] or seconds)
    late = statistics.median(seconds[-LATE:])
    return {"early": early, "late": late, "mean": statistics.mean(seconds[min(20, frames // 2) :]), "memory": memory}


def ours(video: Video, objects: int, frames: int, path: str) -> dict:
    session = percepta.load(path, system="vos").session()
    return measured(lambda picture, masks: session.step(picture, masks), video, objects, frames)


def peer(video: Video, objects: int, frames: int, path: str) -> dict:
    """Cutie with random weights; nothing is fetched."""
    from hydra import compose, initialize_config_module  # pyright: ignore[reportMissingImports]

    with initialize_config_module("cutie.config", version_base="1.3.2"):
        config: Any = compose("eval_config", overrides=["model=small"])
    import cutie.model.utils.resnet as resnet  # pyright: ignore[reportMissingImports]
    from cutie.inference.inference_core import InferenceCore  # pyright: ignore[reportMissingImports]
    from cutie.inference.utils.args_utils import get_dataset_cfg  # pyright: ignore[reportMissingImports]
    from cutie.model.cutie import CUTIE  # pyright: ignore[reportMissingImports]
    from omegaconf import open_dict  # pyright: ignore[reportMissingImports]

    resnet.model_zoo.load_url = lambda *given, **rest: {}
    resnet.load_weights_add_extra_dim = lambda *given, **rest: None
    with open_dict(config):
        config.dataset = "d17-val"
        config.weights = ""
        get_dataset_cfg(config)
    network = CUTIE(config).eval()
    core = InferenceCore(network, cfg=config)

    def step(picture: Path, masks: np.ndarray | None) -> None:
        pixels = torch.from_numpy(np.array(Image.open(picture).convert("RGB"))).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            if masks is None:
                core.step(pixels)
            else:
                core.step(pixels, torch.from_numpy(masks).long(), list(range(1, objects + 1)))

    return measured(step, video, objects, frames)


def apart(what: str, root: Path, objects: int, frames: int, path: str) -> dict:
    """A measurement in a process of its own."""
    words = [sys.executable, __file__, str(root), "--only", what, str(objects), str(frames), path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--peer-frames", type=int, default=1000)
    parser.add_argument("--weights", default="vos", help="a system's name or a checkpoint")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", nargs=4, metavar=("WHAT", "OBJECTS", "FRAMES", "WEIGHTS"))
    args = parser.parse_args()
    if args.only:
        what, objects, frames, path = args.only
        found = {"ours": ours, "peer": peer}[what](clip(args.root), int(objects), int(frames), path)
        print(json.dumps(found))
        return
    one = apart("ours", args.root, 1, args.frames, args.weights)
    five = apart("ours", args.root, 5, 300, args.weights)
    memory = {int(key): value for key, value in one["memory"].items()}
    grown, last = memory[args.frames - 1] - memory[200], one["late"] / one["early"]
    values = {
        "frames a second, one object": 1 / one["mean"], "frames a second, five objects": 1 / five["mean"],
        "ms a frame, one object": 1000 * one["mean"], "growth after frame 200, MB": grown,
        "last frames over frame 200": last, "frames": float(args.frames), "memory, MB": memory[args.frames - 1],
    }  # fmt: skip
    print(f"threads              {torch.get_num_threads()}")
    print(f"one object           {1 / one['mean']:6.1f} frames a second (goal: 8)")
    print(f"five objects         {1 / five['mean']:6.1f} frames a second (goal: 5)")
    print(f"growth of memory     {grown:6.1f} MB from frame 200 to {args.frames} (goal: below 50)")
    print(f"a frame at the end   {last:6.2f} times one at frame 200 (goal: at most 1.1)")
    try:
        other = apart("peer", args.root, 1, args.peer_frames, args.weights)
    except RuntimeError as error:
        print(f"peer left out: {str(error).strip().splitlines()[-1]}")
    else:
        held = {int(key): value for key, value in other["memory"].items()}
        same = min(args.peer_frames - 1, 999)
        values |= {
            "peer ms a frame": 1000 * other["mean"], "peer time over ours": other["mean"] / one["mean"],
            "peer memory, MB": held[same],
            "peer memory over ours": held[same] / memory.get(same, memory[args.frames - 1]),
        }  # fmt: skip
        print(f"Cutie                {values['peer time over ours']:6.1f} times our time a frame")
        print(f"                     {values['peer memory over ours']:6.1f} times our memory after {same + 1} frames")
    if args.record:
        record("vos", "speed", values, model=percepta.load(args.weights, system="vos").model)


if __name__ == "__main__":
    main()
