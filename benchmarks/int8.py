"""What weights of 8 bits would cost the two largest networks that ship in 16: planes and distill.

    python benchmarks/int8.py --cifar DATA/cifar10 [--record]

Every matrix and kernel is rounded row by row to 255 steps (one scale an output channel), as it would be kept in the
file; the arithmetic stays in floats. Evaluated as the cards are: rendered rooms, and the 10,000 test pictures of
CIFAR-10. With --record the numbers go to benchmarks/results and into docs/export.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from record import record
from torch import nn

import percepta
from percepta import card, weights
from percepta.metrics import Metric

DOCUMENT = Path(__file__).parents[1] / "docs" / "export.md"


def rounded(model: nn.Module) -> tuple[int, int]:
    """Rounds in place; returns bytes of what is kept in 16 bits, and in 8 with a scale a row."""
    before = after = 0
    with torch.no_grad():
        for value in model.state_dict().values():
            if not value.is_floating_point():
                continue
            before += 2 * value.numel()
            if value.dim() < 2:
                after += 2 * value.numel()
                continue
            scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            shape = (-1, *(1,) * (value.dim() - 1))
            value.copy_((value / scale.view(shape)).round() * scale.view(shape))
            after += value.numel() + 2 * len(value)
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder of CIFAR-10")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    values: dict[str, Metric | float] = {}
    chosen = {"planes": (None, ("AbsRel", "plane AP 0.2 m", "plane AP")), "distill": (args.cifar, ("accuracy",))}
    for name, (data, numbers) in chosen.items():
        found = {}
        for bits in (16, 8):
            system = percepta.load(name, device="cpu")
            if bits == 8:
                before, after = rounded(system.model)
                asset = (weights.ASSETS / f"{name}-small.safetensors").stat().st_size
                values[f"{name}: MB saved"] = asset / 1e6 * (1 - after / before)
            found[bits] = system.evaluate(data, split="test", batch_size=100 if data else 4).metrics
        for number in numbers:
            one, whole = found[8][number], found[16][number]
            values[f"{name}: {number}"] = Metric(
                one.value, one.low, one.high, one.n, one.unit, {"16 bits": whole.value}
            )
            print(f"{name} {number}: {one.value:.4f} in 8 bits, {whole.value:.4f} in 16", flush=True)
    if args.record:
        record("package", "int8", values)
        card.fill_file(DOCUMENT, card.results())


if __name__ == "__main__":
    main()
