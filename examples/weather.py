"""What a camera sees of a street, frame by frame, and how much of it is drivable: python examples/weather.py DRIVE."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.media.frames import Frames


def main(drive: Path, out: Path, preset: str = "small") -> None:
    session = percepta.load("weather", preset=preset).session(drivable=("road",))
    shares = []
    for time_s, frame in Frames.open(drive):
        result = session.step(frame)
        shares.append(result.drivable_share)
        if result.far:
            print(f"{time_s:.1f} s: far from what training saw")
    result.save(out / "last.png")
    print(f"{len(shares)} frames, {min(shares):.0%} to {max(shares):.0%} drivable; the last: {result.text}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-weather"))
