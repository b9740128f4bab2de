"""Labels a room while its recording runs: python examples/online3d.py FOLDER [CHECKPOINT]."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.report import Page
from percepta.systems.online3d import check


def main(folder: Path, out: Path, weights: str = "online3d", every: int = 3) -> None:
    recording = check.recording(folder)
    online = percepta.load(weights).session(up="camera" if check.layout(folder) == "7-Scenes" else "z")
    for frame in recording.frames((160, 120), every):
        stats = online.step(frame)
        print(
            f"{stats.name}: {stats.active} of {stats.voxels} voxels anew, {sum(stats.ms.values()):.0f} ms {stats.why}"
        )
    result = online.result()
    result.save(out / "room.png")  # beside it: room.ply and the list of instances
    print(len(result.instances()), "instances,", Page(folder.name).extend(result.page()).write(out / "room.html"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-online3d"), sys.argv[2] if len(sys.argv) > 2 else "online3d")
