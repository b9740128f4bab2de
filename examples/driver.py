"""What a driver does when: python examples/driver.py FOLDER, with three videos whose names begin with the view."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.datasets import aicity_drives


def main(folder: Path, out: Path, model: str = "driver") -> None:
    system = percepta.load(model, system="driver")
    for name, views in aicity_drives.read(folder).videos.items():
        result = system.predict(dict(views), name=name)
        for span in result.spans:
            print(f"{span.start_s:7.1f} to {span.end_s:7.1f} s: {result.labels[span.label]} {span.score:.0%}")
        print(result.save(out / f"{name}.png"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-driver"))
