"""Cuts out of a picture what sentences name: python examples/refer.py PICTURE "the red skirt" "the bag"."""

from __future__ import annotations

import sys
from pathlib import Path

import percepta


def main(picture: str, sentences: list[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    session = percepta.load("refer").session(picture)  # the picture is encoded once for all sentences
    for number, sentence in enumerate(sentences, start=1):
        result = session.predict(sentence)
        result.draw().convert("RGB").save(out / f"{number}.jpg")
        result.save(out / f"{number}.png")
        share = result.mask.mean()
        print(f"{sentence!r}: score {result.score:.2f}, {share:.1%} of the picture, {out / f'{number}.jpg'}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:], Path("out/example"))
