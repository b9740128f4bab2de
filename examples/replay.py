"""Where the replays of a video are, and what they show: python examples/replay.py HALF.mp4 (or 1_lite0.npy)."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta


def main(source: Path, out: Path, preset: str = "small") -> None:
    replay = percepta.load("replay", preset=preset)
    result = replay.predict(source, cache=out / "features")
    for one in result.replays:
        shown = f"{one.times_s[0]:.1f} s ({one.scores[0]:.0%})" if one.times_s else "nothing that was found"
        print(f"{one.start_s:8.1f} to {one.end_s:.1f} s shows {shown}")
    result.save_csv(out / "replays.csv")
    print(f"{result.text}: {result.save(out / 'replays.png')}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-replay"))
