"""Times albums of `aesthetics`: reading JPEGs, reading again with the cache, taking in ratings; and memory.

    python benchmarks/aesthetics.py [--pictures 2000] [--side 640]

Each part runs in a process of its own, so that its memory is its own. Run it on an idle machine. Goals on 2 cores: 60
pictures a second, the second look at least 20 times faster, a person's ratings in below 50 ms, an album of 2,000 below
1 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from record import record

import percepta
from percepta import checkpoint, weights


def make(folder: Path, count: int, side: int) -> None:
    """JPEGs of smooth noise, as large on disk as photographs of their size."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 16, side // 12, 3), np.uint8))
        picture = np.asarray(coarse.resize((side, 3 * side // 4), Image.Resampling.BICUBIC), np.int16)
        picture = (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:05d}.jpg", quality=88)


def look(folder: Path, cache: Path | None) -> dict[str, float]:
    """Times of an album, the model being there: to open it (s), and of what is done with it (ms)."""
    system = percepta.load("aesthetics", device="cpu")
    system.predict(next(folder.iterdir()))  # what only the first call costs
    start = time.perf_counter()
    album = system.session(folder, cache=cache)
    seconds = time.perf_counter() - start
    names, found = album.files, {"seconds": seconds}
    for shots in (10, 100):
        ratings = {name: 1 + index % 5 for index, name in enumerate(names[:shots])}
        if len(ratings) == shots:
            times = []
            for _ in range(7):
                began = time.perf_counter()
                album.rate(ratings, replace=True)
                times.append(time.perf_counter() - began)
            found[f"{shots} ratings taken in"] = 1000 * statistics.median(times)
    for name, action in (
        ("all ranked", album.ranking),
        ("the ten to rate next", lambda: album.ask(10)),
        ("a reason", lambda: album.why(names[0])),
    ):
        began = time.perf_counter()
        action()
        found[name] = 1000 * (time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.look:
        found = look(args.look, args.cache)
        print(json.dumps(found | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
        return
    print(f"{args.pictures} JPEGs of {args.side} x {3 * args.side // 4}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name) / "album", Path(name) / "cache"
        folder.mkdir()
        make(folder, args.pictures, args.side)
        runs = []
        for title in ("first look", "second look, from the cache"):
            print(title, flush=True)
            command = [sys.executable, __file__, "--look", str(folder), "--cache", str(cache)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            runs.append(json.loads(out.splitlines()[-1]))
            print("  " + ", ".join(f"{key} {value:.3g}" for key, value in runs[-1].items()) + " (s, ms, GB)")
    first, second = (run.pop("seconds") for run in runs)
    print(f"{args.pictures / first:.0f} pictures/s; the second look is {first / second:.0f} times faster")
    values = {
        "pictures a second": args.pictures / first, "ms a picture": 1000 * first / args.pictures,
        "second look, times faster": first / second, **runs[0],
    }  # fmt: skip
    record("aesthetics", "speed", values, weights=checkpoint.weights_hash(weights.find("aesthetics-small")))


if __name__ == "__main__":
    main()
