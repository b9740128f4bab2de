"""Times albums of `aesthetics`: reading JPEGs, reading again with the cache, taking in ratings; and memory.

    python benchmarks/aesthetics.py [--pictures 2000] [--side 640]

Each part runs in a process of its own, so that its memory is its own. Run it on an idle machine. Goals on 2 cores: 60
pictures a second, the second look at least 20 times faster, a person's ratings in below 50 ms, an album of 2,000 below
1 GB.
"""

from __future__ import annotations

import argparse
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

import percepta


def make(folder: Path, count: int, side: int) -> None:
    """JPEGs of smooth noise, as large on disk as photographs of their size."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 16, side // 12, 3), np.uint8))
        picture = np.asarray(coarse.resize((side, 3 * side // 4), Image.Resampling.BICUBIC), np.int16)
        picture = (picture + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:05d}.jpg", quality=88)


def look(folder: Path, cache: Path | None) -> float:
    """Seconds to open an album, the model being there."""
    system = percepta.load("aesthetics", device="cpu")
    system.predict(next(folder.iterdir()))  # what only the first call costs
    start = time.perf_counter()
    album = system.session(folder, cache=cache)
    seconds = time.perf_counter() - start
    names = album.files
    for shots in (10, 100):
        ratings = {name: 1 + index % 5 for index, name in enumerate(names[:shots])}
        if len(ratings) == shots:
            times = []
            for _ in range(7):
                began = time.perf_counter()
                album.rate(ratings, replace=True)
                times.append(time.perf_counter() - began)
            print(f"  {shots} ratings taken in: {1000 * statistics.median(times):.1f} ms")
    began = time.perf_counter()
    album.ranking()
    print(f"  all {len(names)} ranked: {1000 * (time.perf_counter() - began):.0f} ms")
    began = time.perf_counter()
    album.ask(10)
    print(f"  the ten to rate next: {1000 * (time.perf_counter() - began):.0f} ms")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.look:
        seconds = look(args.look, args.cache)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"  {seconds:.3f} s, {memory:.2f} GB")
        return
    print(f"{args.pictures} JPEGs of {args.side} x {3 * args.side // 4}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name) / "album", Path(name) / "cache"
        folder.mkdir()
        make(folder, args.pictures, args.side)
        seconds = []
        for title in ("first look", "second look, from the cache"):
            print(title, flush=True)
            command = [sys.executable, __file__, "--look", str(folder), "--cache", str(cache)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print(out, end="")
            seconds.append(float(out.splitlines()[-1].split()[0]))
        faster = seconds[0] / seconds[1]
        print(f"{args.pictures / seconds[0]:.0f} pictures/s; the second look is {faster:.0f} times faster")


if __name__ == "__main__":
    main()
