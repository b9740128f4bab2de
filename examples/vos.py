"""Follows what is marked in a film's first frame and cuts it out: python examples/vos.py CLIP.mp4 FIRST.png."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.media import cutouts, video


def main(clip: Path, mask: Path, out: Path, preset: str = "small") -> None:
    session = percepta.load("vos", preset=preset).session()
    with cutouts.Writer(out / "cutout.webm", video.info(clip).fps) as writer:
        for number, (time_s, frame) in enumerate(video.every_frame(clip)):
            result = session.step(frame, mask if number == 0 else None)
            writer.add(cutouts.cut_out(frame, result.labels > 0), time_s)
            if result.lost or result.cut:
                print(result.text)
    result.save(out / "last.png")
    print(f"{result.text}: {out / 'cutout.webm'}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path("out/example-vos"))
