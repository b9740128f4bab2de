"""Labels a room while its recording runs: python examples/online3d.py FOLDER [CHECKPOINT]."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.datasets.recordings import open_recording
from percepta.report import Page
from percepta.systems.online3d.page import result_blocks


def main(folder: Path, out: Path, weights: str = "online3d", stride: int = 3) -> None:
    recording = open_recording(folder)
    online = percepta.load(weights, system="online3d").session(up=recording.up)
    for frame in recording.frames((160, 120), stride):
        stats = online.step(frame)
        ms = sum(stats.ms.values())
        print(f"{stats.name}: {stats.active} of {stats.voxels} voxels anew, {ms:.0f} ms {stats.reason}")
    result = online.result()
    result.save(out / "room.png")  # beside it: room.ply, and room.json with the list of instances
    page = Page(folder.name, result_blocks(result)).write(out / "room.html")
    print(len(result.instances()), "instances:", page)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-online3d"), sys.argv[2] if len(sys.argv) > 2 else "online3d")
