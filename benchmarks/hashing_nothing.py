"""How high the best answer scores where the index holds what a sentence asks for, and where it does not.

    python benchmarks/hashing_nothing.py DATA

DATA holds flickr8k/ and coco-small/. Captions of the kept-back photographs are asked of all of these, with their own
photograph and without. Names of COCO's 80 classes are asked of photographs that the network never saw (those without
captions), 50 drawn at a time; a class is there where an object of it covers 3 % of a photograph, and is not there where
none is marked. `percepta index search` says that nothing fits below the score that 95 of 100 captions reach with their
own photograph (`commands.NOTHING_FITS`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from record import record

import percepta
from percepta.datasets import captioned
from percepta.formats import read_json
from percepta.metrics import Metric, interval
from percepta.systems.hashing import PRESETS
from percepta.systems.hashing.data import read_clips

DRAWN, DRAWS = 50, 100  # photographs at a time, and how often
LARGE = 0.03  # share of a photograph


def agreement(system: Any, sentences: list[str], pictures: list[Path]) -> Float[np.ndarray, "s p"]:
    """Share of the bits in which the codes of sentences and of pictures agree."""
    words = np.stack([system.predict(one).bits for one in sentences]).astype(np.int32)
    seen = np.stack([system.predict(one).bits for one in pictures]).astype(np.int32)
    return 1 - (words.sum(1)[:, None] + seen.sum(1) - 2 * words @ seen.T) / words.shape[1]


def share(flags: np.ndarray, groups: np.ndarray) -> Metric:
    """A share with its interval over groups."""
    return Metric(float(flags.mean()), *interval(flags, groups), n=flags.size)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    system, config = percepta.load("hashing"), PRESETS["small"]
    clips = [clip for name in ("flickr8k", "coco-small") for clip in read_clips(options.data / name)]
    clips = [clip for clip in captioned.of_split(clips, "val", config.val_every) if clip.sentences]
    owner = np.array([i for i, clip in enumerate(clips) for _ in clip.sentences])
    scores = agreement(system, [s for clip in clips for s in clip.sentences], [Path(clip.first) for clip in clips])
    rows = np.arange(len(owner))
    own, others = scores[rows, owner], scores.copy()
    others[rows, owner] = 0
    level = float(np.percentile(own, 5))
    values = {
        "level": Metric(level, n=own.size),
        "captions refused, photograph there": share(np.maximum(own, others.max(1)) < level, owner),
        "captions refused, photograph taken out": share(others.max(1) < level, owner),
    }
    listed = read_json(options.data / "coco-small" / "objects.json")
    unseen = {name: row for name, row in listed.items() if not row.get("captions")}
    files = [next((options.data / "coco-small").rglob(f"{name}.webp")) for name in unseen]
    names = sorted({one["category"] for row in listed.values() for one in row["objects"]})
    covered = np.zeros((len(names), len(files)))
    for column, row in enumerate(unseen.values()):
        for one in row["objects"]:  # a crowd is marked without a size: it is there, how large is not known
            part = one.get("pixels", 0) / (row["width"] * row["height"])
            covered[names.index(one["category"]), column] += max(part, 1e-9)
    scores, draw = agreement(system, [f"a {name}" for name in names], files), np.random.default_rng(0)
    there: list[tuple[int, bool]] = []
    absent: list[tuple[int, bool]] = []
    for _ in range(DRAWS):
        some = draw.choice(len(files), DRAWN, replace=False)
        for i in range(len(names)):
            refused = bool(scores[i, some].max() < level)
            if (covered[i, some] > LARGE).any():
                there.append((i, refused))
            elif not covered[i, some].any():
                absent.append((i, refused))
    for name, pairs in (("present", there), ("absent", absent)):
        groups, flags = np.array(pairs).T
        values[f"names refused, {name}"] = share(flags.astype(float), groups)
    for name, value in values.items():
        print(f"{name}: {value.value:.3f} ({value.low} to {value.high}), n {value.n}")
    record("hashing", "nothing", values, model=system.model)


if __name__ == "__main__":
    main()
