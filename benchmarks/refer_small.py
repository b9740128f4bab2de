"""Times `small` end to end: pictures a second from JPEG, and what a further sentence on one picture costs.

    python benchmarks/refer_small.py [--rounds 30]

Prints medians and their ratio; run it on an idle machine. Goals on 2 cores: 5 pictures a second, a further sentence
below a quarter of the first, 1.5 GB of memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from record import record

import percepta


def median_ms(call: Callable[[], object], rounds: int) -> float:
    """Median of a call's wall time, after two warm-up calls."""
    for _ in range(2):
        call()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def picture(folder: Path) -> Path:
    """A JPEG of 640 × 480 with coloured discs."""
    y, x = np.mgrid[:480, :640]
    pixels = np.full((480, 640, 3), 120, np.uint8)
    for i in range(12):
        pixels[(x - 50 * i) ** 2 + (y - 37 * i) ** 2 < 2500] = (20 * i, 255 - 20 * i, 90)
    path = folder / "discs.jpg"
    Image.fromarray(pixels).save(path, quality=90)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    system = percepta.load("refer")
    with tempfile.TemporaryDirectory() as folder:
        path = picture(Path(folder))
        sentences = iter(f"the disc number {i} from the left" for i in range(10**6))
        first = median_ms(lambda: system.predict(path, next(sentences)), args.rounds)
        session = system.session(path)
        further = median_ms(lambda: session.predict(next(sentences)), args.rounds)
        four = median_ms(lambda: session.predict([next(sentences) for _ in range(4)]), args.rounds) / 4
    # Linux counts in kilobytes, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    print(f"threads                     {torch.get_num_threads()}")
    print(f"first sentence, from JPEG   {first:7.1f} ms   {1000 / first:.1f} pictures/s   goal: at least 5")
    print(f"further sentence            {further:7.1f} ms   {further / first:.2f} of the first   goal: below 0.25")
    print(f"one of four asked together  {four:7.1f} ms   {four / first:.2f} of the first")
    print(f"peak memory                 {peak:7.2f} GB   goal: below 1.5")
    values = {
        "first sentence, ms": first, "pictures a second": 1000 / first, "further sentence, ms": further,
        "further over first": further / first, "one of four, ms": four, "peak memory, GB": peak,
    }  # fmt: skip
    record("refer", "speed", values, model=system.model)


if __name__ == "__main__":
    main()
