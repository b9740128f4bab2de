"""Length of a code against what it finds, beside other ways to make codes: 200 kept-back pictures at a time.

    python benchmarks/hashing.py [DATA] [--bits 64 256 512] [--folds 4] [--inner]

DATA, else the folder that PERCEPTA_DATA names, holds flickr8k/, coco-small/ and oasis/. The 800 Flickr8k pictures are
cut into folds of 200; the image-text space and every way to make codes are fitted on all pictures outside of a fold and
asked for the fold's with all of its sentences. --inner keeps the fold out altogether and asks for the next one's:
what settings are chosen by; that is not recorded.
"""

from __future__ import annotations

import argparse
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import cell, record
from torch import Tensor

from percepta import weights
from percepta.config import TrainConfig
from percepta.metrics import Metric
from percepta.nn import align
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.text import TextEncoder
from percepta.optim import learning_rate, make_optimizer
from percepta.report import Table, markdown_table, metric_rows
from percepta.systems.hashing import PRESETS, Config, baselines, evaluate, losses, nets
from percepta.systems.hashing.baselines import HashFunction
from percepta.systems.hashing.data import read_clips
from percepta.systems.hashing.initialise import initialise
from percepta.systems.hashing.library import Library, clip_frames, make_library

# The paper's network with its losses, cut to what a CPU does in seconds: a quarter of the hidden units, and Adam, which
# needs a few hundred steps where SGD at the paper's rate needs 200 epochs.
PAPER = replace(PRESETS["paper"], hidden=1024, train=TrainConfig(steps=200, batch_size=128, lr=1e-3, warmup=20))
PAPER_BITS = (64, 512)
PICTURES = ("flickr8k", "coco-small", "oasis")


def cached(library: Library, cache: Path) -> dict[str, Tensor]:
    """What the frozen encoders say of a library, of each picture as it is and mirrored: computed once, then read."""
    path = cache / f"views-v2-{library.key[:16]}.pt"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        image, text = EfficientNetLite0().eval(), TextEncoder().eval()
        image.read(weights.find("efficientnet-lite0"))
        text.read(*weights.files("minilm-l6-v2"))
        names = (weights.ASSETS / "imagenet-classes.txt").read_text().splitlines()
        fast, views = image.folded(), []
        for clip in library.videos:
            picture = clip_frames(clip, 1, align.SIDE)
            views.append(align.picture_views(fast, torch.cat([picture, picture.flip(-1)])).half())
        raw = {
            "views": torch.stack(views, 1),
            "sentences": align.sentence_views(text, library.sentences),
            "named": align.sentence_views(text, [f"a photo of a {name}" for name in names]),
            "rows": image.classifier.weight.detach(),
        }
        torch.save(raw, path)
    return torch.load(path, weights_only=True)


def space(raw: dict[str, Tensor], train: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of all pictures and sentences in an image-text space that was fitted on the sentences of `train`.

    Version 2's closed form; pictures outside of the training part are not used.
    """
    videos, places = owner[train].unique(return_inverse=True)
    views = [view[videos].float() for view in raw["views"]]
    fitted = align.fit2(views, raw["sentences"][train], places, raw["rows"], raw["named"])
    with torch.no_grad():
        return fitted.image(raw["views"][0].float()), fitted.text(raw["sentences"])


Fit = tuple[Tensor, Tensor, Tensor]  # vectors of pictures, of sentences, and the picture of each sentence


def codes(bits: int, fit: Fit, ours: HashFunction, settings: Config) -> dict[str, Callable[[], HashFunction]]:
    """Ways to make codes of some length, fitted on a training part when they are called.

    Args:
        ours: our network with the preset's length: shorter codes are its first bits.
    """
    width = fit[0].shape[1]
    ways: dict[str, Callable[[], HashFunction]] = {
        "random projections": lambda: baselines.random_projections(width, bits),
        "ours": lambda: (
            first(ours, bits)
            if bits <= settings.bits
            else learned(replace(settings, bits=bits, prefixes=(*settings.prefixes, settings.bits)), *fit)
        ),
    }
    if bits in PAPER_BITS:
        ways["paper"] = lambda: learned(replace(PAPER, bits=bits), *fit)
    if bits <= width:
        ways["PCA + sign"] = lambda: baselines.pca_sign(*fit[:2], bits)
        ways["ITQ"] = lambda: baselines.itq(*fit[:2], bits)
    return ways


def learned(config: Config, videos: Tensor, sentences: Tensor, owner: Tensor) -> HashFunction:
    """The hashing network of `config`, trained on vectors as `percepta train` would on what they come from.

    Args:
        config: of the network and its training.
        videos: unit vectors of pictures or videos (v d).
        sentences: unit vectors of sentences (s d).
        owner: the video of each sentence (s).
    """
    settings = config.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = nets.make(videos.shape[1], config)
    if isinstance(net, nets.SharedNet):
        initialise(net, videos, sentences, owner)
    table: list[list[int]] = [[] for _ in range(len(videos))]
    for number, video in enumerate(owner.tolist()):
        table[video].append(number)
    described = [video for video, own in enumerate(table) if own]
    optimizer = make_optimizer(net, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    net.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * learning_rate(settings, step)
        order = torch.randperm(len(described), generator=generator)[: settings.batch_size].tolist()
        chosen = [described[i] for i in order]
        draws = torch.rand(len(chosen), generator=generator).tolist()
        own = [table[v][int(draw * len(table[v]))] for v, draw in zip(chosen, draws, strict=True)]
        loss = losses.objective(net, videos[chosen], sentences[own], step / settings.steps)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    net.eval()
    losses.finish(net, videos, sentences)
    return lambda vectors, *, sentences=False: nets.to_bits(net, vectors, sentences)


def first(peer: HashFunction, bits: int) -> HashFunction:
    """The first bits of longer codes."""
    return lambda vectors, *, sentences=False: peer(vectors, sentences=sentences)[:, :bits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("PERCEPTA_DATA"))
    parser.add_argument("--bits", type=int, nargs="+", default=[64, 256, 512])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--inner", action="store_true")
    parser.add_argument("--ways", nargs="+", help="only these ways to make codes")
    parser.add_argument("--set", nargs="*", default=[], help="NAME=NUMBER for settings of ours")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "percepta-bench")
    args = parser.parse_args()
    if args.data is None:
        print("skipped: no data; give a folder or set PERCEPTA_DATA")
        return
    began = time.perf_counter()
    clips = [clip for clip in read_clips(args.data) if clip.source in PICTURES]
    library = make_library(clips, [clip.sentences for clip in clips])
    raw = cached(library, args.cache)
    owner = library.owner
    flickr = sorted(
        (i for i, c in enumerate(clips) if c.source == "flickr8k"), key=lambda i: zlib.crc32(clips[i].name.encode())
    )
    fold = torch.full((len(clips),), -1)
    for place, index in enumerate(flickr):
        fold[index] = place * 4 // len(flickr)
    changes = {
        name: float(value) if "." in value else int(value) for name, _, value in (w.partition("=") for w in args.set)
    }
    settings = replace(PRESETS["small"], **changes)
    found: dict[tuple[str, int], list[evaluate.Search]] = {}
    for kept in range(args.folds):
        asked = (kept + 1) % 4 if args.inner else kept
        outside = (fold != kept) & (fold != asked)
        train = outside[owner].nonzero()[:, 0]
        pictures, sentences = space(raw, train, owner)
        videos = outside.nonzero()[:, 0]
        place = torch.zeros(len(clips), dtype=torch.long)
        place[videos] = torch.arange(len(videos))
        fit = pictures[videos], sentences[train], place[owner[train]]
        tests, queries = (fold == asked).nonzero()[:, 0], (fold[owner] == asked).nonzero()[:, 0]
        here = {int(video): i for i, video in enumerate(tests)}
        own = np.array([here[int(video)] for video in owner[queries]])
        groups = [f"{kept}/{i}" for i in range(len(tests))]
        test = pictures[tests], sentences[queries]
        real = evaluate.search(evaluate.by_cosine(test[0].numpy(), test[1].numpy()), own, groups)
        found.setdefault(("cosine", 0), []).append(real)
        ours = learned(settings, *fit)
        for bits in args.bits:
            for name, way in codes(bits, fit, ours, settings).items():
                if args.ways and name not in args.ways:
                    continue
                peer = way()
                distances = evaluate.by_bits(peer(test[0]).numpy(), peer(test[1], sentences=True).numpy())
                found.setdefault((name, bits), []).append(evaluate.search(distances, own, groups))
        print(f"fold {kept + 1} of {args.folds}: {time.perf_counter() - began:.0f} s", flush=True)
    values: dict[str, Metric] = {}
    tables = [summary(found, values), compared(found, values)]
    print(markdown_table(*metric_rows(values)))
    if not args.inner:
        record("hashing", "bits", values, tables=tables)


def joined(parts: list[evaluate.Search]) -> evaluate.Search:
    """The queries of all folds together; each was asked among its own fold's pictures."""
    offset, groups = 0, []
    for part in parts:
        groups.append(tuple(side + offset for side in part.groups))
        offset += 1 + max(int(side.max()) for side in part.groups)
    both = (0, 1)
    return evaluate.Search(
        tuple(np.concatenate([p.ranks[d] for p in parts]) for d in both),  # type: ignore[arg-type]
        tuple(np.concatenate([p.precision[d] for p in parts]) for d in both),  # type: ignore[arg-type]
        tuple(np.concatenate([g[d] for g in groups]) for d in both),  # type: ignore[arg-type]
    )


def summary(found: dict[tuple[str, int], list[evaluate.Search]], values: dict[str, Metric]) -> Table:
    """A row a way and length: every number, text to picture / picture to text. They are added to `values`."""
    rows = []
    for name, bits in sorted(found, key=lambda key: (key[1], key[0])):
        whole = joined(found[name, bits])
        cells: dict[str, list[str]] = {}
        for direction, title in enumerate(("text to picture", "picture to text")):
            for number, (row, statistic) in whole.values(direction).items():
                metric = Metric(float(statistic(row)), n=len(row))
                own = f"{number}, {name} {bits or ''}, {title}"
                if number == "R@10" and direction == 0:
                    metric = replace(metric, **bounds(evaluate.bootstrap(row, whole.groups[0], statistic)))
                values[own] = metric
                form = ".3g" if number == "MedR" else ".3f"
                cells.setdefault(number, []).append(cell(own, form, bounds=False))
                if metric.low is not None:
                    interval = cell(own).partition("(")[2].rstrip(")")
        columns = (" / ".join(cells[number]) for number in ("R@1", "R@5", "R@10"))
        rows.append([str(bits or ""), name, *columns, interval, *(" / ".join(cells[n]) for n in ("MedR", "mAP"))])
    return Table(["bits", "codes", "R@1", "R@5", "R@10", "95 % interval", "MedR", "mAP"], rows)


def bounds(ends: Any) -> dict[str, float]:
    """The ends of an interval as a Metric has them."""
    return {"low": float(ends[0]), "high": float(ends[1])}


def compared(found: dict[tuple[str, int], list[evaluate.Search]], values: dict[str, Metric]) -> Table:
    """Ours against the others, paired: differences of R@10 text to picture, and the share of cosine's that is kept."""
    others = ("ITQ", "random projections", "PCA + sign", "paper")
    rows = []
    ceiling = joined(found["cosine", 0])

    def hits(search: evaluate.Search) -> Any:
        return (search.ranks[0] <= 10).astype(float)

    for bits in sorted({bits for name, bits in found if name == "ours"}):
        ours = joined(found["ours", bits])
        share = evaluate.ratio(hits(ours), hits(ceiling), ours.groups[0])
        values[own := f"kept of cosine's R@10, {bits}"] = Metric(float(share[0]), **bounds(share[1:]))
        row = [str(bits), cell(own)]
        for name in others:
            if (name, bits) not in found:
                row.append("")
                continue
            difference = evaluate.paired(hits(ours), hits(joined(found[name, bits])), ours.groups[0])
            values[own := f"R@10, ours minus {name}, {bits}"] = Metric(float(difference[0]), **bounds(difference[1:]))
            row.append(cell(own, "+.3f"))
        rows.append(row)
    return Table(["bits", "kept of cosine's R@10", *(f"minus {name}" for name in others)], rows)


if __name__ == "__main__":
    main()
