"""The synthetic world of referring segmentation: coloured shapes, and sentences that need one thing to be understood.

Every picture holds two shapes that differ in exactly what its kind of sentence tells apart (colour, size, shape, or the
side of a third shape on which they stand), so that a model which ignores that part of the sentence is right half of the
time at best. Every picture is also asked for what is not in it, in every form: a shape that is there with a colour,
size or side that it has not, and one that is not there at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from percepta.errors import InputError
from percepta.systems.refer import Config
from percepta.systems.refer.sentences import Ask, training_batch

COLOURS = {
    "red": (214, 48, 49), "green": (46, 160, 67), "blue": (41, 98, 220), "yellow": (240, 200, 40),
    "purple": (142, 68, 173), "white": (245, 245, 245),
}  # fmt: skip
FORMS = ("disc", "square", "triangle")
SIZES = {"small": 0.1, "big": 0.16}  # half the side, as a share of the picture
KINDS = ("colour", "size", "shape", "relation")
# Relations and shapes are the hardest, and come twice.
TURNS = ("colour", "relation", "size", "shape", "relation", "shape")
SIDES = (("left of", "right of"), ("above", "below"))
# Kinds of sentences that are true of nothing: what is wrong about them.
WRONG = ("wrong colour", "wrong size", "wrong side", "absent", "absent size", "absent side")
LENGTH = {"train": 4096, "val": 256, "test": 256}


@dataclass(frozen=True)
class Shape:
    """One shape of a picture.

    Attributes:
        colour: a key of COLOURS.
        form: one of FORMS.
        size: a key of SIZES.
        x: its middle, as a share of the picture's width.
        y: its middle, as a share of the picture's height.
    """

    colour: str
    form: str
    size: str
    x: float
    y: float

    def mask(self, side: int) -> Bool[np.ndarray, "s s"]:
        """Pixels of the shape in a picture of side × side."""
        y, x = np.mgrid[:side, :side] + 0.5
        r = SIZES[self.size] * side
        x, y = x - self.x * side, y - self.y * side
        if self.form == "disc":
            return x**2 + y**2 <= r**2
        if self.form == "square":
            return np.maximum(np.abs(x), np.abs(y)) <= 0.9 * r
        return (y <= 0.9 * r) & (y >= -r + 2 * np.abs(x))


@dataclass
class Shapes:
    """Samples of the synthetic world; training ones as `data.Pictures` gives them, others as `data.Questions`.

    Attributes:
        config: its size and its number of sentences are used.
        split: "train", "val" or "test": disjoint worlds.
        seed: of the training pictures.
    """

    config: Config
    split: str
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in LENGTH:
            raise InputError(f"the synthetic world has the splits {', '.join(LENGTH)}, not {self.split!r}")

    def __len__(self) -> int:
        return LENGTH[self.split]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        # Validation and test worlds do not depend on the seed: every run is measured on the same pictures.
        train = self.split == "train"
        rng = np.random.default_rng((self.seed, epoch, index) if train else (2**31, len(self.split), index))
        pixels, asks = world(self.config.size, rng, TURNS[index % len(TURNS)])
        if train:  # the pair first, then two of what is not there, or one and what else is there
            false = [a for a in asks if not a.present]
            false = [false[i] for i in rng.permutation(len(false))]
            rest = [asks[2], *false] if rng.random() < 0.5 else false
            asks = [*asks[:2], *rest][: self.config.sentences]
        return {
            "image": torch.from_numpy(pixels).permute(2, 0, 1).float() / 255,
            "asks": asks,
            "index": index,
        }

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        if self.split == "train":
            return training_batch(samples, self.config.masks)
        return {
            "pictures": [s["image"] for s in samples],
            "sentences": [[a.sentence for a in s["asks"]] for s in samples],
            "kinds": [[a.kind for a in s["asks"]] for s in samples],
            "masks": [[a.mask for a in s["asks"]] for s in samples],
            "groups": [f"{self.split}/{s['index']}" for s in samples],
        }


def world(side: int, rng: np.random.Generator, kind: str) -> tuple[np.ndarray, list[Ask]]:
    """A picture (side side 3, uint8) and its sentences: two of the kind, one for what else is there, and false ones.

    Args:
        side: of the picture, in pixels.
        rng: where the draws come from.
        kind: of sentence: "class", "colour", ...
    """
    colours = [str(c) for c in rng.permutation(list(COLOURS))]
    forms = [str(f) for f in rng.permutation(FORMS)]
    size = str(rng.choice(list(SIZES)))
    a = {"colour": colours[0], "form": forms[0], "size": size}
    b = dict(a)
    other = {"colour": colours[1], "form": forms[1], "size": str(rng.choice(list(SIZES)))}
    if kind == "colour":
        b["colour"] = colours[2]
        words = [f"the {x['colour']} {x['form']}" for x in (a, b)]
    elif kind == "size":
        a["size"], b["size"] = "small", "big"
        words = [f"the {x['size']} {x['colour']} {x['form']}" for x in (a, b)]
    elif kind == "shape":
        b["form"] = forms[2]
        words = [f"the {x['colour']} {x['form']}" for x in (a, b)]
    else:
        axis = int(rng.integers(2))
        anchor = f"the {other['colour']} {other['form']}"
        words = [f"the {a['colour']} {a['form']} {word} {anchor}" for word in SIDES[axis]]
    if kind == "relation":
        places = _around(rng, axis)
    else:
        places = _apart(rng)
    shapes = [Shape(**x, x=px, y=py) for x, (px, py) in zip((a, b, other), places, strict=True)]
    pixels = np.full((side, side, 3), rng.integers(60, 130, 3), np.float32)
    for shape in shapes:
        pixels[shape.mask(side)] = COLOURS[shape.colour]
    pixels = (pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
    masks = [shape.mask(side) for shape in shapes]
    for below in masks[:2]:  # the third one is drawn last and may hide a part of the others
        below &= ~masks[2]
    asks = [Ask(word, mask, kind) for word, mask in zip(words, masks, strict=False)]
    asks.append(Ask(f"the {other['colour']} {other['form']}", masks[2], "plain"))
    empty = np.zeros((side, side), bool)
    return pixels, asks + [Ask(words, empty, wrong, False) for wrong, words in untrue(shapes, colours[3], rng)]


def untrue(shapes: list[Shape], colour: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(kind of WRONG, sentence) of what is true of nothing in a picture.

    Args:
        shapes: the pair, then the third.
        colour: one that no shape has.
        rng: where the draws come from.
    """
    one, third = shapes[int(rng.integers(2))], shapes[2]
    form, size, (first, second) = str(rng.choice(FORMS)), str(rng.choice(list(SIZES))), SIDES[int(rng.integers(2))]
    side = first if rng.random() < 0.5 else second
    out = [
        ("wrong colour", f"the {colour} {one.form}"),
        ("absent", f"the {colour} {form}"),
        ("absent size", f"the {size} {colour} {form}"),
        ("absent side", f"the {colour} {form} {side} the {third.colour} {third.form}"),
    ]
    other = next(s for s in SIZES if s != third.size)
    out.append(("wrong size", f"the {other} {third.colour} {third.form}"))
    alike = [s for s in shapes[:2] if (s.colour, s.form) == (one.colour, one.form)]
    for axis, pair in enumerate(SIDES):
        gaps = [(s.x, s.y)[axis] - (third.x, third.y)[axis] for s in alike]
        for word, no in zip(pair, (min(gaps) > 0.15, max(gaps) < -0.15), strict=True):
            if no:  # all of them stand clearly on the other side
                out.append(("wrong side", f"the {one.colour} {one.form} {word} the {third.colour} {third.form}"))
    return out


def _apart(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Three places that do not overlap."""
    while True:
        points = rng.uniform(0.17, 0.83, (3, 2))
        gaps = np.abs(points[:, None] - points[None]).max(-1) + np.eye(3)
        if gaps.min() > 0.33:
            return [(float(x), float(y)) for x, y in points]


def _around(rng: np.random.Generator, axis: int) -> list[tuple[float, float]]:
    """Two places on both sides of a third, along an axis; where the three stand in the picture tells nothing."""
    middle = rng.uniform(0.4, 0.6) + rng.uniform(-0.05, 0.05)
    along = [middle - rng.uniform(0.2, 0.23) - 0.03, middle + rng.uniform(0.2, 0.23) + 0.03, middle]
    points = []
    for value in along:
        point = [0.0, 0.0]
        point[axis], point[1 - axis] = float(np.clip(value, 0.16, 0.84)), float(rng.uniform(0.2, 0.8))
        points.append((point[0], point[1]))
    return points
