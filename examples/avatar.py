"""A person in a motion, as a film: python examples/avatar.py walk.bvh [film.mp4] [RUN]; left out: who ships."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.datasets import motions
from percepta.media import video
from percepta.systems.avatar.model import template
from percepta.worlds.people.rig import retarget


def main(motion: Path, out: Path, run: str = "avatar") -> None:
    system = percepta.load(run, system="avatar")
    moves = retarget(motions.read(motion), template(system.config)).resampled(15)
    print(video.write(out, (result.over() for result in system.film(moves, turn_deg_s=40)), 15))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "out/example-avatar.mp4"), *sys.argv[3:])
