"""Sorts pictures and videos by how well they fit a sentence: python examples/hashing.py "a dog" FILE [FILE ...]."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta


def main(sentence: str, files: list[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    results = percepta.load("hashing").predict(files, sentence)
    ranked = sorted(results, key=lambda result: -(result.score or 0.0))
    for place, result in enumerate(ranked, start=1):
        result.save(out / f"{place}.png")  # beside it: the code as JSON
        print(f"{place}. {result.source}: {result.score:.0%} of {len(result.bits)} bits agree")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:], Path("out/example-hashing"))
