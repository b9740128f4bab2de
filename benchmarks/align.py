"""The image-text space on captioned pictures that it was not fitted on: versions 1 and 2 and a plain ridge map.

    python benchmarks/align.py [DATA] [--cache FILE] [--write]

DATA, else the folder that PERCEPTA_DATA names, holds flickr8k/, oasis/ and coco-small/ in the layouts of
`percepta.datasets`. Flickr8k is split into four folds of 200 pictures, near duplicates together; each fold is searched
by its own captions, in a space that is fitted on all other pictures. The intervals are a bootstrap over pictures, the
difference is paired. With --write the asset of version 2 is made anew, from every picture: its numbers are the folds'.
Encoding the pictures takes some minutes; --cache keeps the result.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from record import record
from torch import Tensor
from torch.nn import functional

from percepta import weights
from percepta.datasets import coco_small
from percepta.media import image as pictures
from percepta.metrics import Metric
from percepta.nn.align import SIDE, fit, fit2, picture_views, sentence_views
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.text import TextEncoder

FOLDS, AT = 4, (1, 5, 10)
ASSET = weights.ASSETS / "align-v2.safetensors"


@dataclass
class Material:
    """Everything that the spaces are fitted on: p pictures in four views, m captions, the 1000 class names."""

    views: list[Tensor]  # whole, mirrored and two crops, each p v
    captions: Tensor  # m t
    owner: Tensor  # the picture of each caption
    names: Tensor  # 1000 t
    rows: Tensor  # 1000 1280
    flickr: list[int]  # the pictures of Flickr8k


def captioned(root: Path) -> dict[Path, list[str]]:
    """Captions by picture file, over the three data sets."""
    out: dict[Path, list[str]] = defaultdict(list)
    with (root / "flickr8k" / "captions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            out[root / "flickr8k" / "images" / row["image"]].append(row["caption"])
    with (root / "oasis" / "images.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            out[root / "oasis" / "images" / row["file"]].append(row["caption"].split(".")[0])
    for name, sentences in coco_small.captions(root / "coco-small").items():
        out[root / "coco-small" / "images" / name] += sentences
    return dict(out)


def crop(image: Tensor, seed: str) -> Tensor:
    """A part of 50 to 90 % of a picture, sometimes mirrored; the same seed gives the same part."""
    chance = random.Random(seed)
    height, width = image.shape[-2:]
    side, shape = chance.uniform(0.5, 0.9) ** 0.5, chance.uniform(0.85, 1.18)
    h, w = min(height, int(height * side * shape)), min(width, int(width * side / shape))
    y, x = chance.randint(0, height - h), chance.randint(0, width - w)
    part = image[:, y : y + h, x : x + w]
    return part.flip(-1) if chance.random() < 0.5 else part


@torch.no_grad()
def read_views(network: EfficientNetLite0, files: list[Path]) -> Tensor:
    """What version 2 reads off each picture (4 p v): whole, mirrored, and two parts of it."""
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rows = []
    for number, file in enumerate(files):
        image = pictures.read(file)
        kinds = image, image.flip(-1), crop(image, f"{file.stem} 0"), crop(image, f"{file.stem} 1")
        batch = torch.stack([pictures.resize(kind, SIDE, SIDE) for kind in kinds])
        rows.append(picture_views(network, batch.contiguous(memory_format=torch.channels_last)))
        if number % 200 == 0:
            print(f"read {number} of {len(files)} pictures", flush=True)
    return torch.stack(rows, 1)


def material(root: Path, cache: Path | None) -> Material:
    """Reads and encodes everything; `cache` holds the pictures' part."""
    network, text = EfficientNetLite0().eval(), TextEncoder().eval()
    network.read(weights.find("efficientnet-lite0"))
    text.read(*weights.files("minilm-l6-v2"))
    captions = captioned(root)
    files = sorted(captions)
    if cache is not None and cache.exists():
        views = torch.load(cache, weights_only=True).float()
    else:
        views = read_views(network.folded(), files)
        if cache is not None:
            torch.save(views.half(), cache)
    names = (weights.ASSETS / "imagenet-classes.txt").read_text().splitlines()
    return Material(
        list(views),
        sentence_views(text, [s for f in files for s in captions[f]]),
        torch.tensor([i for i, f in enumerate(files) for _ in captions[f]]),
        sentence_views(text, [f"a photo of a {n}" for n in names]),
        network.classifier.weight.detach(),
        [i for i, f in enumerate(files) if f.parent.parent.name == "flickr8k"],
    )


def grouped(views: Tensor, flickr: list[int], alike: float = 0.6, seed: int = 0) -> list[Tensor]:
    """Flickr8k's pictures in folds of one size; pictures whose standardised features are that alike stay together."""
    z = views[flickr, :1280].square()
    z = functional.normalize((z - z.mean(0)) / z.std(0).clamp_min(1e-3), dim=1)
    group = list(range(len(flickr)))

    def root(a: int) -> int:
        while group[a] != a:
            a = group[a]
        return a

    for a, b in (z @ z.T > alike).nonzero().tolist():
        group[root(b)] = root(a)
    groups: dict[int, list[int]] = defaultdict(list)
    for place, picture in enumerate(flickr):
        groups[root(place)].append(picture)
    mixed = list(groups.values())
    random.Random(seed).shuffle(mixed)
    folds: list[list[int]] = [[] for _ in range(FOLDS)]
    for members in sorted(mixed, key=len, reverse=True):
        min(folds, key=len).extend(members)
    return [torch.tensor(sorted(fold)) for fold in folds]


@dataclass
class Ranks:
    """0 for found first; `text`: of each caption's picture (p, 5), `image`: of each picture's best caption (p)."""

    text: Tensor
    image: Tensor


Space = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]  # pictures' and captions' numbers to vectors


@torch.no_grad()
def searched(known: Material, folds: list[Tensor], make: Callable[[Tensor, Tensor], Space]) -> Ranks:
    """Ranks over all folds; `make` gets which pictures (numbers) and captions (Boolean) it may be fitted on."""
    text, image = [], []
    for fold in folds:
        free = torch.ones(len(known.views[0]), dtype=torch.bool)
        free[fold] = False
        inside = free[known.owner]
        of_pictures, of_captions = make(free, inside)
        asked = (~inside).nonzero()[:, 0]
        own = torch.searchsorted(fold, known.owner[asked])
        scores = of_captions(asked) @ of_pictures(fold).T
        better = scores > scores.gather(1, own[:, None])
        text.append(better.sum(1).view(len(fold), -1))
        mine = own[None] == torch.arange(len(fold))[:, None]
        best = scores.T.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        image.append(((best < scores.T) & ~mine).sum(1))
    return Ranks(torch.cat(text), torch.cat(image))


def version1(known: Material, weight: float) -> Callable[[Tensor, Tensor], Space]:
    """The ridge map of version 1 from MiniLM's sentence vectors to the head's means."""
    features, sentence = known.views[0][:, :1280].square(), known.captions[:, -384:] * 2
    names = known.names[:, -384:] * 2

    def make(free: Tensor, inside: Tensor) -> Space:
        space = fit(features[known.owner[inside]], sentence[inside], known.rows, names, names_weight=weight)
        return lambda at: space.image(features[at]), lambda at: space.text(sentence[at])

    return make


def version2(known: Material) -> Callable[[Tensor, Tensor], Space]:
    def make(free: Tensor, inside: Tensor) -> Space:
        number = free.cumsum(0) - 1
        space = fit2(
            [view[free] for view in known.views],
            known.captions[inside], number[known.owner[inside]], known.rows, known.names,
        )  # fmt: skip
        return lambda at: space.image(known.views[0][at]), lambda at: space.text(known.captions[at])

    return make


def interval(values: Tensor, draws: int = 2000) -> tuple[float, float, float]:
    """Mean over pictures, and the 95 % interval of a bootstrap over them."""
    chosen = torch.randint(len(values), (draws, len(values)), generator=torch.Generator().manual_seed(0))
    low, high = values[chosen].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return float(values.mean()), low, high


def table(results: dict[str, Ranks], reference: str) -> dict[str, Metric]:
    """Both directions of every space, and its paired difference to the reference."""
    values: dict[str, Metric] = {}
    for direction in ("text", "image"):
        print(f"{direction} to {'image' if direction == 'text' else 'text'}")
        for name, ranks in results.items():
            cells = []
            for k in AT:
                hit, base = ((getattr(r, direction) < k).float() for r in (ranks, results[reference]))
                hit, base = hit.view(len(hit), -1).mean(1), base.view(len(base), -1).mean(1)
                mean, low, high = interval(hit)
                values[f"R@{k} of {direction}, {name}"] = Metric(mean, low, high, len(hit))
                cell = f"R@{k} {mean:.3f} [{low:.3f}, {high:.3f}]"
                if name != reference:
                    cell += " ({:+.3f} [{:+.3f}, {:+.3f}])".format(*interval(hit - base))
                cells.append(cell)
            print(f"  {name:24} " + "  ".join(cells))
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("PERCEPTA_DATA"))
    parser.add_argument("--cache", type=Path, help="file for what the encoder made of the pictures")
    parser.add_argument("--write", action="store_true", help="make the asset of version 2 anew")
    args = parser.parse_args()
    if args.data is None:
        print("skipped: no data; give a folder or set PERCEPTA_DATA")
        return
    known = material(Path(args.data), args.cache)
    folds = grouped(known.views[0], known.flickr)
    makers = {
        "ridge": version1(known, 1e-6),
        "ridge and names (v1)": version1(known, 3.0),
        "version 2": version2(known),
    }
    values = table({name: searched(known, folds, make) for name, make in makers.items()}, "ridge and names (v1)")
    record("align", "folds", values)
    size = len(folds[0])
    print("chance, text to image: " + ", ".join(f"R@{k} {k / size:.3f}" for k in AT))
    if args.write:
        fit2(known.views, known.captions, known.owner, known.rows, known.names).write(ASSET)
        weights.record(ASSET)
        print(f"wrote {ASSET}, fitted on all {len(known.views[0])} pictures: its numbers are the folds' above")


if __name__ == "__main__":
    main()
