"""Where everybody goes in the next seconds, for any recording: python examples/forecast.py scene.parquet|tracks.csv."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.datasets import traffic


def main(file: Path, out: Path, model: str = "forecast") -> None:
    system = percepta.load(model, system="forecast")
    for tracks in traffic.read(file):
        result = system.predict(tracks)
        for name, futures, probability in zip(result.ids, result.position, result.probability, strict=True):
            best = probability.argmax()
            x, y = futures[best, -1]
            print(f"{name}: in {result.time_s[-1]:g} s at ({x:.1f}, {y:.1f}) m, probability {probability[best]:.2f}")
        print(result.save(out / f"{tracks.name}.png"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-forecast"))
