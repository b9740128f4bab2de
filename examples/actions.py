"""When what happens in a video: python examples/actions.py video.mp4 writes a timeline, JSON, CSV and subtitles."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta


def main(file: Path, out: Path, model: str = "actions") -> None:
    system = percepta.load(model, system="actions")
    result = system.predict(file)
    for (start, end), score, label in zip(result.shown.span, result.shown.score, result.shown.label, strict=True):
        print(f"{start:7.1f} to {end:7.1f} s: {result.labels[label]} {score:.0%}")
    print(result.save(out / f"{file.stem}.png"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-actions"))
