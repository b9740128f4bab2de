"""Below which probability `distill` should say "unsure": chosen on one half of real photographs, judged on the other.

    python benchmarks/distill_unsure.py VOC [--record]

VOC is a folder of PASCAL VOC photographs `images/<class>_<number>.*`. For the preset imagenet an answer counts as
right where it names a kind of what the class names (any breed for "dog"); classes without clear kinds (person,
chair, table, plant) are left out. For `small` all photographs but those of buses count, and whatever shows none of
its ten classes has no right answer. The level is the one at which the share of right answers that are kept plus the
share of wrong ones that are refused is largest (Youden's index) on photographs 1, 3, 5, ...; what is printed and
recorded is measured on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from record import cell, record

import percepta
from percepta.media.image import crop_square
from percepta.metrics import Metric, interval
from percepta.report import Table
from percepta.systems.distill.predict import Distill

# Numbers of ImageNet's classes that are kinds of a class of VOC.
KINDS = {
    "aero": (404, 895, 908), "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "boat": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914), "bus": (654, 779, 874),
    "car": (407, 436, 468, 511, 609, 627, 656, 661, 705, 717, 734, 751, 817), "cat": tuple(range(281, 286)),
    "dog": tuple(range(151, 269)), "horse": (339,), "mbike": (665, 670), "bicycle": (444, 671),
    "bottle": (440, 720, 737, 898, 907), "sheep": (348, 349), "cow": (345,), "train": (466, 547, 565, 705, 820),
    "sofa": (831,), "monitor": (527, 664, 782, 851),
}  # fmt: skip
TEN = {
    "aero": "airplane", "bird": "bird", "boat": "ship", "car": "automobile", "cat": "cat", "dog": "dog",
    "horse": "horse",
}  # fmt: skip


def right(system: Distill, preset: str, shown: str, best: int) -> bool:
    """Whether class number `best` is what a photograph of VOC's class `shown` shows."""
    return best in KINDS[shown] if preset == "imagenet" else TEN.get(shown) == system.config.classes[best]


@torch.inference_mode()
def answers(system: Distill, preset: str, files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(probability of the first answer, whether it is right) for every photograph."""
    scores, hits = [], []
    for start in range(0, len(files), 16):
        part = files[start : start + 16]
        squares = torch.stack([crop_square(file, system.config.size) for file in part])
        probability = system.model(squares).logits.softmax(1)
        for file, score, best in zip(part, *probability.max(1), strict=True):
            scores.append(float(score))
            hits.append(right(system, preset, file.stem.rsplit("_", 1)[0], int(best)))
    return np.array(scores), np.array(hits)


def level(score: np.ndarray, hit: np.ndarray) -> float:
    """The level with the largest Youden's index, in hundredths."""
    levels = np.arange(1, 100) / 100
    kept = score >= levels[:, None]
    index = (kept & hit).sum(1) / hit.sum() + (~kept & ~hit).sum(1) / (~hit).sum()
    return float(levels[index.argmax()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of VOC photographs")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/distill-unsure.json")
    options = parser.parse_args()
    files = sorted((options.data / "images").iterdir())
    values: dict[str, Metric] = {}
    rows = []
    names = ("right, all answers", "right, sure answers", "right ones that are kept", "wrong ones that are refused")
    for preset in ("imagenet", "small"):
        system = percepta.load("distill", preset=preset, device="cpu")
        own = [f for f in files if preset == "small" or f.stem.rsplit("_", 1)[0] in KINDS]
        if preset == "small":  # a bus is no truck and no automobile; who calls it so is neither right nor wrong
            own = [f for f in own if not f.stem.startswith("bus_")]
        score, hit = answers(system, preset, own)
        odd = np.arange(len(own)) % 2 == 0
        found = level(score[odd], hit[odd])
        score, hit = score[~odd], hit[~odd]
        kept = score >= found
        parts = (hit.astype(float), hit[kept].astype(float), kept[hit].astype(float), (~kept[~hit]).astype(float))
        for name, part in zip(names, parts, strict=True):
            values[f"{preset} {name}"] = Metric(float(part.mean()), *interval(part), len(part))
        print(f"{preset}: level {found:.2f}, config has {system.config.unsure_below:.2f}")
        rows.append([preset, f"{found:.2f}", *(cell(f"{preset} {name}", ".2f") for name in names)])
        for name in names:
            one = values[f"{preset} {name}"]
            print(f"  {name}: {one.value:.2f} ({one.low:.2f} to {one.high:.2f}), n {one.n}")
    if options.record:
        record("distill", "unsure", values, tables=[Table(["preset", "unsure below", *names], rows)])


if __name__ == "__main__":
    main()
