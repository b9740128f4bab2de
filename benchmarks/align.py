"""Fits the image-text space on captioned pictures and prints its recall on pictures that were kept out.

    python benchmarks/align.py [DATA] [--write]

DATA, else the folder that PERCEPTA_DATA names, holds flickr8k/, oasis/ and coco-small/ in the layouts of
`percepta.datasets`. With --write the asset that ships is made anew, from every picture that is not kept out.
"""

from __future__ import annotations

import argparse
import csv
import os
import zlib
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from percepta import weights
from percepta.datasets import coco_small
from percepta.media import image as pictures
from percepta.nn.align import fit, recall
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.nn.text import TextEncoder

ASSETS = Path(weights.__file__).parent / "assets"


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


@torch.no_grad()
def pooled(network: EfficientNetLite0, files: list[Path], size: int = 288) -> Tensor:
    """Pooled head features (n 1280) of pictures squeezed to size × size."""
    rows = []
    for file in files:
        image = pictures.resize(pictures.read(file), size, size)
        rows.append(network(image[None]).head.mean((2, 3))[0])
    return torch.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("PERCEPTA_DATA"))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.data is None:
        print("skipped: no data; give a folder or set PERCEPTA_DATA")
        return
    image, text = EfficientNetLite0().eval(), TextEncoder().eval()
    image.read(weights.find("efficientnet-lite0"))
    text.read(*weights.files("minilm-l6-v2"))
    captions = captioned(args.data)
    files = sorted(captions)
    kept = [f.parent.parent.name == "flickr8k" and zlib.crc32(f.stem.encode()) % 8 == 0 for f in files]
    features = pooled(image.to(memory_format=torch.channels_last), files)
    owner = [i for i, f in enumerate(files) for _ in captions[f]]
    sentences = [s for f in files for s in captions[f]]
    vectors = torch.cat([text.encode(sentences[i : i + 64])[2] for i in range(0, len(sentences), 64)])
    names = (ASSETS / "imagenet-classes.txt").read_text().splitlines()
    named = torch.cat([text.encode([f"a photo of a {n}" for n in names[i : i + 64]])[2] for i in range(0, 1000, 64)])
    train = torch.tensor([not kept[o] for o in owner])
    index = torch.tensor(owner)
    space = fit(features[index[train]], vectors[train], image.classifier.weight.detach(), named)
    tests = [i for i, k in enumerate(kept) if k]
    place = {f: i for i, f in enumerate(tests)}
    with torch.no_grad():
        shown, said = space.image(features[tests]), space.text(vectors[~train])
    result = recall(shown, said, [place[o] for o in index[~train].tolist()])
    print(f"{len(tests)} pictures kept out: " + ", ".join(f"R@{k} {v:.3f}" for k, v in result.items()))
    print("chance: " + ", ".join(f"R@{k} {k / len(tests):.3f}" for k in result))
    if args.write:
        space.write(ASSETS / "align-v1.safetensors")
        weights.record(ASSETS / "align-v1.safetensors")


if __name__ == "__main__":
    main()
