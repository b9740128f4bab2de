"""Where a moving camera was and what it saw (video, pictures, 7-Scenes, TUM, ...): python examples/slam.py PATH."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.systems.slam.data import open_capture


def main(path: Path, out: Path, preset: str = "small") -> None:
    capture = open_capture(path)
    session = percepta.load("slam", preset=preset).session_of(capture)
    for shot in capture:
        result = session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
        if result.keyframe or result.warning:
            print(f"frame {result.frame}: {result.state}, {result.points_seen} points {result.warning}")
    walk = session.walk()
    walk.save(out / "walk.png")
    walk.save(out / "points.ply")
    print(f"{walk}: {out / 'walk.txt'}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-slam"))
