"""The paper's network (CRIS, CLIP RN50) at 416×416: eager float32 against the fast form, in one run.

    python benchmarks/refer_rn50.py [--threads 2] [--rounds 5] [--clock wall]

Prints the ratio of the times (goal ≤ 0.6 in bfloat16), the mask IoU between the two (goal ≥ 0.98), how far float32 with
folded norms is from plain float32 (goal 1e-4 of the deviation), the split into text, picture and head, what a further
sentence on the same picture costs, and the peak memory of a process that only predicts (goal < 1.5 GB).

The weights are random; so that they behave like trained ones, the batch norms first take the statistics of pictures, and
masks are cut where the float32 map has 35 % of its places. `--clock cpu` counts processor time instead, for a machine
that is busy with something else (use one thread with it).
"""

from __future__ import annotations

import argparse
import copy
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percepta.nn.clip import Tokenizer, normalise
from percepta.systems.refer import cris

SIZE = 416
SENTENCES = [
    "the red skirt",
    "the man on the left with a blue umbrella",
    "a small dog behind the chair",
    "second giraffe from the right",
]


def pictures(count: int) -> Tensor:
    """Soft colour fields with discs on them: edges and flat places, as photographs have."""
    fields = F.interpolate(torch.rand(count, 3, 6, 6), size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    across = torch.arange(SIZE).float()
    for picture in fields:
        for _ in range(12):
            (x, y), radius = torch.rand(2) * SIZE, 15 + 60 * torch.rand(1)
            inside = (across - x) ** 2 + (across[:, None] - y) ** 2 < radius**2
            picture[:, inside] = torch.rand(3, 1)
    return normalise((fields + 0.03 * torch.randn_like(fields)).clamp(0, 1))


@torch.no_grad()
def realistic(model: cris.CRIS, images: Tensor, words: Tensor) -> None:
    """Gives the batch norms the statistics of pictures and leaves the model in evaluation mode."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    model(images, words)
    model.eval()


def milliseconds(calls: dict[str, Callable[[], object]], rounds: int, clock: str) -> dict[str, float]:
    """The best of some rounds each; the calls take turns, so that a busy moment does not meet one of them alone."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = now()
            call()
            if turn:  # the first turn warms up
                best[name] = min(best[name], 1000 * (now() - start))
    return best


def overlap(one: Tensor, other: Tensor) -> float:
    """Lowest IoU over the samples, both cut where `one` has 35 % of its places."""
    cut = one.flatten(1).quantile(0.65, dim=1)[:, None, None, None]
    a, b = one > cut, other > cut
    return ((a & b).sum((1, 2, 3)) / (a | b).sum((1, 2, 3))).min().item()


def memory() -> None:
    """What a process that only predicts needs at most, in MB."""
    model = cris.fast(cris.CRIS())
    with torch.inference_mode():
        model(torch.zeros(1, 3, SIZE, SIZE), Tokenizer()(SENTENCES[:1], 17))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


@torch.inference_mode()
def compare(rounds: int, clock: str) -> None:
    torch.manual_seed(0)
    words = Tokenizer()(SENTENCES, 17)
    images = pictures(len(SENTENCES))
    plain = cris.CRIS()
    realistic(plain, images, words)
    expected = plain(images, words)
    folded = cris.fuse(copy.deepcopy(plain))
    error = ((folded(images, words) - expected).abs().max() / expected.std()).item()
    quick = cris.fast(copy.deepcopy(folded))
    iou = overlap(expected, quick(images, words))

    image, sentence = images[:1], words[:1]
    taken = milliseconds(
        {
            "float32, eager": lambda: plain(image, sentence),
            "float32, folded": lambda: folded(image, sentence),
            "bfloat16, fast": lambda: quick(image, sentence),
        },
        rounds,
        clock,
    )
    base = taken["float32, eager"]
    for name, value in taken.items():
        print(f"{name:16} {value:8.0f} ms   ratio {value / base:.2f}")
    print(f"mask IoU of bfloat16 against float32, lowest of {len(images)}: {iou:.4f} (goal ≥ 0.98)")
    print(f"folding changes float32 logits by {error:.1e} of their deviation (goal ≤ 1e-4)")
    amx = torch.cpu._is_amx_tile_supported()
    print(f"this processor has {'' if amx else 'no '}bfloat16 matrix tiles (AMX), which bfloat16 needs to be fast")

    for name, model in (("float32, folded", folded), ("bfloat16, fast", quick)):
        features = model.encode_image(image)
        prepared = model.prepare(features)
        tokens, state = model.encode_text(sentence)
        split = milliseconds(
            {
                "text": lambda m=model: m.encode_text(sentence),
                "picture": lambda m=model: m.encode_image(image),
                "head": lambda m=model, f=features, t=tokens, s=state: m.head(f, t, s, sentence),
                "further sentence": lambda m=model, p=prepared: m.answer(p, *m.encode_text(sentence), sentence),
            },
            rounds,
            clock,
        )
        shown = ", ".join(f"{part} {value:.0f} ms" for part, value in split.items())
        print(f"{name}: {shown} ({split['further sentence'] / (split['text'] + split['head']):.2f} of text + head)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--memory", action="store_true", help="only print the peak memory of a prediction, in MB")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory:
        memory()
        return
    compare(args.rounds, args.clock)
    command = [sys.executable, __file__, "--memory", "--threads", str(args.threads)]
    peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(f"peak memory of a process that predicts in bfloat16: {peak} MB (goal < 1500)")


if __name__ == "__main__":
    main()
