"""What happens in a video of soccer, and when: python examples/spotting.py HALF.mp4 (or 1_lite0.npy)."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta


def main(source: Path, out: Path, preset: str = "small") -> None:
    spotting = percepta.load("spotting", preset=preset)
    result = spotting.predict(source, cache=out / "features").above(0.3)
    for spot in result.spots:
        print(f"{spot.time_s:8.1f} s  {spot.label} {spot.score:.0%}")
    result.save_csv(out / "spots.csv")
    print(f"{result.text}: {result.save(out / 'spots.png')}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-spotting"))
