"""Ranks a folder of pictures for you: python examples/aesthetics.py FOLDER [ratings.csv [profile.json]]."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta
from percepta.report import Page
from percepta.systems.aesthetics.page import album_blocks


def main(folder: Path, out: Path, ratings: str | None = None, profile: str | None = None) -> None:
    album = percepta.load("aesthetics").session(folder, ratings=ratings, profile=profile)
    for result in album.ranking()[:5]:
        reasons = "; ".join(reason.text for reason in album.why(result.name, 2))
        print(f"{result.name}: {result.text}, people in general {result.crowd:.1f}. {reasons}")
    print("rate next:", ", ".join(album.ask(5)))
    print(album.save(out), Page(folder.name, album_blocks(album)).write(out / "report.html"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path("out/example-aesthetics"), *sys.argv[2:4])
