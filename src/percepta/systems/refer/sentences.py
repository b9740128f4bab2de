"""Sentences made from what is known of a picture: classes, places, sizes, colours, neighbours, and what is absent.

Also the batch that training gets of pictures with such sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from torch.nn import functional

# Other words for a class, which somebody would use as well.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "aeroplane": ("airplane", "plane", "aircraft"), "airplane": ("aeroplane", "plane"), "bicycle": ("bike",),
    "motorbike": ("motorcycle",), "motorcycle": ("motorbike",), "sofa": ("couch",), "couch": ("sofa",),
    "tv monitor": ("tv", "monitor", "television", "screen"), "tv": ("tv monitor", "television", "screen"),
    "potted plant": ("plant", "house plant"), "dining table": ("table",), "person": ("human", "human being"),
    "cell phone": ("phone", "mobile phone"), "hot dog": ("sausage in a bun",), "donut": ("doughnut",),
    "teddy bear": ("stuffed animal",), "wine glass": ("glass of wine",), "sports ball": ("ball",),
    "hair drier": ("hair dryer",), "skis": ("pair of skis",), "refrigerator": ("fridge",), "cow": ("cattle",),
    "pants": ("trousers",), "purse": ("handbag",), "bag": ("handbag",), "sneakers": ("trainers",),
    "skin": ("bare skin",), "swimwear": ("swimsuit",), "sweater": ("pullover",),
}  # fmt: skip
PLURALS = {"person": "people", "sheep": "sheep", "bus": "buses", "couch": "couches", "bench": "benches",
           "knife": "knives", "mouse": "mice", "wine glass": "wine glasses", "toothbrush": "toothbrushes",
           "sandwich": "sandwiches"}  # fmt: skip
# What a picture of one marked class is unlikely to hold, for pictures in which nobody looked for anything else.
UNLIKELY = (
    "zebra",
    "giraffe",
    "pizza",
    "toilet",
    "snowboard",
    "toaster",
    "banana",
    "microwave",
    "hot dog",
    "tiger",
)
SALIENT = (
    "the main subject",
    "the foreground",
    "what stands out",
    "the most prominent thing",
    "the main object",
)

LEFT, RIGHT, TOP, BOTTOM = "left", "right", "top", "bottom"
PLACES = {
    LEFT: ("the left {}", "the {} on the left", "the leftmost {}", "the {} at the left", "left {}"),
    RIGHT: ("the right {}", "the {} on the right", "the rightmost {}", "the {} at the right", "right {}"),
    TOP: ("the upper {}", "the {} at the top", "the top {}", "the topmost {}"),
    BOTTOM: ("the lower {}", "the {} at the bottom", "the bottom {}", "the lowest {}"),
}
BIGGER = ("the biggest {}", "the larger {}", "the big {}", "the largest {}")
SMALLER = ("the smallest {}", "the smaller {}", "the small {}")
BESIDE = {
    LEFT: ("the {} left of the {}", "the {} to the left of the {}"),
    RIGHT: ("the {} right of the {}", "the {} to the right of the {}"),
    TOP: ("the {} above the {}", "the {} over the {}"),
    BOTTOM: ("the {} below the {}", "the {} under the {}"),
}

# Hue in degrees up to which a saturated colour has its name.
HUES = (
    (15, "red"),
    (42, "orange"),
    (68, "yellow"),
    (165, "green"),
    (260, "blue"),
    (295, "purple"),
    (340, "pink"),
)


@dataclass(frozen=True)
class Ask:
    """A sentence with its answer.

    Attributes:
        sentence: what is asked.
        mask: what fits.
        kind: what kind of sentence: class, place, size, colour, relation, human, salient, absent.
        present: False where nothing in the picture fits; the mask is empty then.
    """

    sentence: str
    mask: Bool[np.ndarray, "h w"]
    kind: str
    present: bool = True


@dataclass(frozen=True)
class Thing:
    """A region as it is seen in one training picture.

    Attributes:
        mask: where it is.
        name: class, "" when unknown.
        sentences: what people wrote about it.
        every: whether the mask holds all of that class.
        place: where it stands among its like, when that is known beforehand (two pictures side by side).
    """

    mask: Bool[np.ndarray, "h w"]
    name: str = ""
    sentences: tuple[str, ...] = ()
    every: bool = False
    place: str = ""


def plural(name: str) -> str:
    if name in PLURALS:
        return PLURALS[name]
    return name if name.endswith("s") else f"{name}s"


def named(name: str, many: bool, rng: np.random.Generator) -> str:
    """A phrase for all of a class.

    Args:
        name: of the class.
        many: whether there are several.
        rng: where the draws come from.
    """
    if name in SYNONYMS and rng.random() < 0.3:
        name = str(rng.choice(SYNONYMS[name]))
    if many and rng.random() < 0.3:
        return str(rng.choice(["the {}", "all the {}", "every one of the {}", "{}"])).format(plural(name))
    forms = ("the {}", "{}", "a {}", "the {} in the picture", "a photo of a {}", "find the {}")
    return forms[rng.choice(6, p=(0.55, 0.2, 0.1, 0.05, 0.05, 0.05))].format(name)


def colour(pixels: Num[np.ndarray, "n 3"], share: float = 0.5) -> str:
    """The colour that most of some RGB pixels (0..255) have; "" when no colour has this share of them."""
    if len(pixels) == 0:
        return ""
    rgb = pixels[:: max(1, len(pixels) // 1000)].astype(np.float32) / 255
    high, low = rgb.max(1), rgb.min(1)
    spread = high - low
    r, g, b = rgb.T
    safe = np.maximum(spread, 1e-6)
    hue = np.where(high == r, (g - b) / safe % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)) * 60
    names = np.array([name for _, name in HUES] + ["red"])
    label = names[np.searchsorted([limit for limit, _ in HUES], hue)].astype("<U8")
    label[np.isin(label, ("orange", "yellow", "red")) & (high < 0.6) & (hue > 10) & (hue < 60)] = "brown"
    plain = spread < np.maximum(0.18 * high, 0.08)
    label[plain] = np.where(high > 0.75, "white", np.where(high < 0.25, "black", "grey"))[plain]
    label[high < 0.15] = "black"
    words, counts = np.unique(label, return_counts=True)
    best = counts.argmax()
    return str(words[best]) if counts[best] >= share * len(label) else ""


def centre(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 2"]:
    """Mean x and y of a mask, as shares of width and height."""
    y, x = np.nonzero(mask)
    return np.array([x.mean() / mask.shape[1], y.mean() / mask.shape[0]])


def compose(
    things: Sequence[Thing],
    image: Num[np.ndarray, "h w 3"],
    vocabulary: frozenset[str],
    rng: np.random.Generator,
    count: int,
    *,
    tainted: frozenset[str] = frozenset(),
    denied: Sequence[str] = (),
) -> list[Ask]:
    """Draws `count` sentences about a picture, of as many kinds as it allows.

    Args:
        things: regions that are in sight.
        image: the picture, 0..255; colours are read from it.
        vocabulary: classes that were looked for everywhere in it.
        rng: what decides.
        count: how many sentences.
        tainted: classes of which something was cut away, so that neither "all of them" nor "none" is certain.
        denied: sentences of people that name nothing in it.
    """
    pools = _pools(things, image, vocabulary, rng, tainted)
    if denied:
        empty = np.zeros(image.shape[:2], bool)
        pools.append((1.0, [Ask(sentence, empty, "absent", False) for sentence in denied]))
    out = []
    while len(out) < count:
        live = [(weight, pool) for weight, pool in pools if pool]
        if not live:
            break
        share = np.array([weight for weight, _ in live])
        pool = live[rng.choice(len(live), p=share / share.sum())][1]
        out.append(pool.pop(int(rng.integers(len(pool)))))
        if out[-1].kind == "absent" or not pool:
            pool.clear()
    certain = [ask for ask in out if ask.present] or out
    while 0 < len(out) < count:  # a picture with little in it: ask again, in other words where it is a class
        ask = certain[int(rng.integers(len(certain)))]
        name = next((t.name for t in things if t.mask is ask.mask and t.name), "") if ask.kind == "class" else ""
        out.append(replace(ask, sentence=named(name, False, rng)) if name else ask)
    return out


def _pools(
    things: Sequence[Thing],
    image: Num[np.ndarray, "h w 3"],
    vocabulary: frozenset[str],
    rng: np.random.Generator,
    tainted: frozenset[str],
) -> list[tuple[float, list[Ask]]]:
    """(weight, sentences of one kind) of everything that can be asked."""
    by_name: dict[str, list[Thing]] = {}
    for thing in things:
        if thing.name:
            by_name.setdefault(thing.name, []).append(thing)
    whole = {n: np.logical_or.reduce([t.mask for t in ts]) if len(ts) > 1 else ts[0].mask for n, ts in by_name.items()}
    classes = [
        Ask(named(name, len(ts) > 1, rng), whole[name], "class") for name, ts in by_name.items() if name not in tainted
    ]
    # Of a tainted class there may be another one in sight: "left of the cup" would not say of which.
    complete = {name: ts for name, ts in by_name.items() if name not in tainted}
    places, sizes, colours, relations = [], [], [], []
    for name, ts in by_name.items():
        if name in tainted:
            continue
        if any(t.place for t in ts):
            places += [Ask(_form(PLACES[t.place], rng, name), t.mask, "place") for t in ts if t.place]
        elif len(ts) > 1 and not any(t.every for t in ts):
            places += _places(name, ts, rng)
            sizes += _sizes(name, ts, rng)
        colours += _colours(name, ts, image)
        relations += _relations(name, ts, whole, complete, rng)
    human = [Ask(str(rng.choice(t.sentences)), t.mask, "human") for t in things if t.sentences]
    salient = [Ask(str(rng.choice(SALIENT)), t.mask, "salient") for t in things if not t.name and t.every]
    absent = sorted(vocabulary - set(by_name) - tainted) or [
        n for n in UNLIKELY if n not in by_name and n not in tainted
    ]
    empty = np.zeros(image.shape[:2], bool)
    missing = [Ask(named(str(rng.choice(absent)), False, rng), empty, "absent", False)] if things else []
    return [
        (2.0, classes), (2.5, places), (0.5, sizes), (0.7, colours), (0.8, relations), (2.0, human), (0.25, salient),
        (0.35, missing),
    ]  # fmt: skip


def _form(forms: Sequence[str], rng: np.random.Generator, *words: str) -> str:
    # The first form is the plainest, and comes as often as all others together.
    return (forms[0] if rng.random() < 0.5 else str(rng.choice(forms))).format(*words)


def _places(name: str, ts: list[Thing], rng: np.random.Generator) -> list[Ask]:
    """The outermost of several, along an axis, where it is clearly the outermost."""
    points = np.stack([centre(t.mask) for t in ts])
    out = []
    for axis, (first, last) in enumerate(((LEFT, RIGHT), (TOP, BOTTOM))):
        order = points[:, axis].argsort()
        for side, i, j in ((first, order[0], order[1]), (last, order[-1], order[-2])):
            if abs(points[i, axis] - points[j, axis]) > 0.08:
                out.append(Ask(_form(PLACES[side], rng, name), ts[i].mask, "place"))
    return out


def _sizes(name: str, ts: list[Thing], rng: np.random.Generator) -> list[Ask]:
    order = sorted(ts, key=lambda t: int(t.mask.sum()))
    areas = [int(t.mask.sum()) for t in order]
    out = []
    if areas[-1] > 1.7 * areas[-2]:
        out.append(Ask(_form(BIGGER, rng, name), order[-1].mask, "size"))
    if areas[1] > 1.7 * areas[0]:
        out.append(Ask(_form(SMALLER, rng, name), order[0].mask, "size"))
    return out


def _colours(name: str, ts: list[Thing], image: Num[np.ndarray, "h w 3"]) -> list[Ask]:
    """ "the red car", where no other car has that colour or one that cannot be told."""
    found = [colour(image[t.mask]) for t in ts]
    return [
        Ask(f"the {word} {name}", t.mask, "colour")
        for t, word in zip(ts, found, strict=True)
        if word and found.count(word) == 1 and "" not in found
    ]


def _relations(
    name: str,
    ts: list[Thing],
    whole: dict[str, np.ndarray],
    by_name: dict[str, list[Thing]],
    rng: np.random.Generator,
) -> list[Ask]:
    """ "the cup left of the laptop": the only one of its class on that side of something that occurs once."""
    anchors = [n for n, others in by_name.items() if n != name and len(others) == 1 and not others[0].place]
    if not anchors or any(t.every for t in ts):
        return []
    other = str(rng.choice(anchors))
    there = centre(whole[other])
    out = []
    for axis, sides in enumerate(((LEFT, RIGHT), (TOP, BOTTOM))):
        offset = np.array([centre(t.mask)[axis] - there[axis] for t in ts])
        for side, on_it in zip(sides, (offset < -0.1, offset > 0.1), strict=True):
            if on_it.sum() == 1 and (np.abs(offset) > 0.1).all():
                out.append(Ask(_form(BESIDE[side], rng, name, other), ts[int(on_it.argmax())].mask, "relation"))
    return out


def training_batch(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Samples {image, asks} as the batch that `losses.loss` takes."""
    asks = [a for s in samples for a in s["asks"]]
    masks = torch.from_numpy(np.stack([a.mask for a in asks])).float()
    return {
        "image": torch.stack([s["image"] for s in samples]),
        "sentences": [a.sentence for a in asks],
        "owner": torch.tensor([i for i, s in enumerate(samples) for _ in s["asks"]]),
        "mask": functional.avg_pool2d(masks[:, None], 4)[:, 0],
        "present": torch.tensor([float(a.present) for a in asks]),
        "kinds": [a.kind for a in asks],
    }
