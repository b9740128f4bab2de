"""Planes of a room from pictures with poses (7-Scenes, TUM RGB-D, COLMAP, ...): python examples/planes.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.systems.planes.data import posed_pictures, view_of


def main(folder: Path, out: Path, model: str = "planes", limit: int = 300) -> None:
    out.mkdir(parents=True, exist_ok=True)
    session = percepta.load(model, system="planes").session()
    for number, posed in enumerate(posed_pictures(folder, limit)):
        result = session.step(view_of(posed))
        if result is not None:  # the camera has moved far enough since the last one
            result.save(out / f"{number}.png")
            print(f"{posed.path.name}: {result.text}")
    scene = session.scene()
    for name in ("scene.glb", "scene.json", "plan.png"):
        scene.save(out / name)
    print(f"{len(scene.surfaces)} surfaces in {out / 'scene.glb'}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-planes"))
