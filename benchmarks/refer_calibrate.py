"""Turns the presence logit of a trained `refer` into a calibrated one, on pictures that nothing is reported on.

    python benchmarks/refer_calibrate.py RUN/model.safetensors --data DATA --out calibrated.safetensors [--ship]
        [--average START [--share 0.5]]

With --average the weights are first averaged with those that the run started from (Wortsman et al. 2022); of shares 0,
0.5, 0.7 and 1 the one with the smallest printed log loss is taken.

Scale and offset (Platt 1999) are fitted on the questions of `data.promises` about the split "tune", where what is there
counts as much as what is not, and folded into the last layers. Prints the share that is found by form before and after.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from scipy.optimize import minimize

from percepta import checkpoint
from percepta.media import image
from percepta.systems.refer import data
from percepta.systems.refer.model import LateText, config_of, fit


@dataclass(frozen=True)
class Answer:
    """One question's kind, whether its thing is there, and the logit of that."""

    kind: str
    present: bool
    logit: float


@torch.inference_mode()
def ask(model: LateText, root: Path) -> list[Answer]:
    """The presence questions about the pictures of the split "tune"."""
    out = []
    for scene, questions in data.questions(data.scenes(root, data.TUNE)):
        asked = [q for q in questions if q.kind.startswith(data.FOUND)]
        if not asked:
            continue
        square, _ = fit(image.read(scene.image), config_of(model).size_at_prediction)
        pixels = model.encode_image(square[None])
        for at in range(0, len(asked), 16):
            some = asked[at : at + 16]
            owner = torch.zeros(len(some), dtype=torch.long)
            said = model.answer(pixels, model.encode_text([q.sentence for q in some]), owner, owner > 0)
            out += [Answer(q.kind, bool(q.regions), float(p)) for q, p in zip(some, said.presence, strict=True)]
    return out


def log_loss(answers: list[Answer], scale: float = 1.0, offset: float = 0.0) -> float:
    """Mean of -log probability of what is true, where what is there counts as much as what is not."""
    logit, there = np.array([a.logit for a in answers]), np.array([a.present for a in answers])
    each = np.logaddexp(0, -(2.0 * there - 1) * (scale * logit + offset))
    return float((each[there].mean() + each[~there].mean()) / 2)


def platt(answers: list[Answer]) -> tuple[float, float]:
    """Scale and offset with which the log loss of the logits is smallest."""
    scale, offset = minimize(lambda x: log_loss(answers, *x), np.array([1.0, 0.0])).x
    return float(scale), float(offset)


@torch.no_grad()
def rescale(model: LateText, scale: float, offset: float) -> None:
    """The presence logit times `scale` plus `offset`, in place."""
    for last in (cast(torch.nn.Linear, model.presence[2]), cast(torch.nn.Linear, model.presence_at.out[2])):
        last.weight.mul_(scale)
        last.bias.mul_(scale)
    cast(torch.nn.Linear, model.presence[2]).bias.add_(offset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ship", action="store_true", help="make it the weights that come with the package")
    parser.add_argument("--average", type=Path, help="checkpoint that the run started from")
    parser.add_argument("--share", type=float, default=0.5, help="of the run's weights in the average")
    args = parser.parse_args()
    header, config, restored = checkpoint.restore(args.run)
    model = cast(LateText, restored)
    if args.average is not None:
        checkpoint.average(model, args.average, args.share)
    answers = ask(model, args.data)
    scale, offset = platt(answers)
    print(f"scale {scale:.3f}, offset {offset:.3f}, log loss {log_loss(answers, scale, offset):.4f}")
    for kind in sorted({a.kind for a in answers}):
        logits = np.array([a.logit for a in answers if a.kind == kind])
        print(f"{kind:42s} {len(logits):4d} {np.mean(logits > 0):.3f} {np.mean(scale * logits + offset > 0):.3f}")
    rescale(model, scale, offset)
    checkpoint.save(
        args.out, model, system="refer", preset=header.preset, config=config, frozen=header.frozen, step=header.step
    )
    if args.ship:
        checkpoint.ship(args.out, "refer-small")


if __name__ == "__main__":
    main()
