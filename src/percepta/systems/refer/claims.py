"""What can be said of a thing among its like, truly or falsely: side, order, size, depth and colour.

A claim is a form such as "the {} on the left" that is true of one thing of a class, or of none. Nothing is claimed
where people might disagree: between "clearly on the left" and "clearly not" lies a stretch in which neither is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Num

LEFT, RIGHT, TOP, BOTTOM = "left", "right", "top", "bottom"
PLACES = {
    LEFT: ("the left {}", "the {} on the left", "the leftmost {}", "the {} at the left", "left {}"),
    RIGHT: ("the right {}", "the {} on the right", "the rightmost {}", "the {} at the right", "right {}"),
    TOP: ("the upper {}", "the {} at the top", "the top {}", "the topmost {}"),
    BOTTOM: ("the lower {}", "the {} at the bottom", "the bottom {}", "the lowest {}"),
}
# Forms that do not say "of several", for one thing and where it stands in the picture.
SIDES = {
    LEFT: ("the {} on the left", "the left {}", "the {} on the left side", "left {}"),
    RIGHT: ("the {} on the right", "the right {}", "the {} on the right side", "right {}"),
    TOP: ("the {} at the top", "the upper {}", "the {} at the top of the picture"),
    BOTTOM: ("the {} at the bottom", "the lower {}", "the {} at the bottom of the picture"),
}
MIDDLE = ("the {} in the middle", "the middle {}", "the {} in the center", "the {} in the middle of the picture")
BIGGER = ("the biggest {}", "the larger {}", "the big {}", "the largest {}")
SMALLER = ("the smallest {}", "the smaller {}", "the small {}")
BIG, SMALL = ("the big {}", "the large {}"), ("the small {}", "the little {}", "the tiny {}")
BACK = ("the {} in the background", "the {} in the back", "the {} far away")
FRONT = ("the {} in the foreground", "the {} in front", "the {} at the front")
NUMBERS = ("first", "second", "third", "fourth", "fifth")

# Hue in degrees up to which a saturated colour has its name.
HUES = ((15, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (260, "blue"), (295, "purple"), (340, "pink"))
# Colours that people may take for one another.
NEAR = {
    "black": ("grey", "brown", "blue"), "white": ("grey", "yellow"), "grey": ("black", "white", "blue", "brown"),
    "red": ("pink", "orange", "brown", "purple"), "orange": ("red", "yellow", "brown"),
    "yellow": ("orange", "white", "brown", "green"), "green": ("blue", "yellow"),
    "blue": ("purple", "grey", "black", "green"), "purple": ("blue", "pink", "red"), "pink": ("red", "purple", "white"),
    "brown": ("orange", "red", "black", "grey", "yellow"),
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Something that is said of one thing of a class.

    Attributes:
        form: the sentence, with {} for the name of the class.
        kind: "place", "order", "size", "depth" or "colour".
        place: which of the things it is true of; -1: of none.
    """

    form: str
    kind: str
    place: int = -1


@dataclass(frozen=True)
class Extent:
    """Where a mask lies in its picture; everything in shares of the picture's width, height or area.

    Attributes:
        x, y: its mean.
        area: of its pixels.
        left, top, right, bottom: the ends of all but its outermost two per cent.
    """

    x: float
    y: float
    area: float
    left: float
    top: float
    right: float
    bottom: float


def extent(mask: Bool[np.ndarray, "h w"], frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)) -> Extent:
    """The extent of a mask that is not empty.

    Args:
        mask: on a canvas.
        frame: where on the canvas the picture lies: left, top, right, bottom as shares of it.
    """
    left, top, right, bottom = frame
    columns, rows = mask.sum(0), mask.sum(1)
    x = ((np.arange(mask.shape[1]) + 0.5) / mask.shape[1] - left) / (right - left)
    y = ((np.arange(mask.shape[0]) + 0.5) / mask.shape[0] - top) / (bottom - top)
    total = columns.sum()
    ends = []
    for places, counts in ((x, columns), (y, rows)):
        share = counts.cumsum() / total
        ends.append((float(places[np.searchsorted(share, 0.02)]), float(places[np.searchsorted(share, 0.98)])))
    area = float(total) / mask.size / ((right - left) * (bottom - top))
    (x0, x1), (y0, y1) = ends
    return Extent(float(x @ columns / total), float(y @ rows / total), area, x0, y0, x1, y1)


def aside(thing: Extent) -> bool:
    """Whether a thing is clearly not in the middle."""
    return (thing.right < 0.42 or thing.left > 0.58) and abs(thing.x - 0.5) > 0.16


def form(forms: Sequence[str], rng: np.random.Generator) -> str:
    """One of several forms; the first is the plainest, and comes as often as all others together."""
    return forms[0] if rng.random() < 0.5 else str(rng.choice(forms))


def of_one(thing: Extent, others: Sequence[Extent], rng: np.random.Generator, *, whole: bool = False) -> list[Claim]:
    """What is true and what is false of the only one of its class, apart from its colour.

    Args:
        thing: its extent.
        others: extents of what else is marked in the picture.
        rng: where the draws come from.
        whole: it is everything of its class, maybe several: only what holds for all of them is said.
    """
    out = []
    axes = ((LEFT, RIGHT, thing.x, thing.left, thing.right), (TOP, BOTTOM, thing.y, thing.top, thing.bottom))
    for first, last, at, start, end in axes:
        before = end < 0.5 if whole else at < 0.4 and end < 0.8
        behind = start > 0.5 if whole else at > 0.6 and start > 0.2
        if before or behind:
            out.append(Claim(form(SIDES[first], rng), "place", 0 if before else -1))
            out.append(Claim(form(SIDES[last], rng), "place", -1 if before else 0))
    if whole:
        return out
    if abs(thing.x - 0.5) < 0.12 and abs(thing.y - 0.5) < 0.2:
        out.append(Claim(form(MIDDLE, rng), "place", 0))
    elif aside(thing):
        out.append(Claim(form(MIDDLE, rng), "place"))
    if thing.area < 0.015 or thing.area > 0.15:
        out.append(Claim(form(SMALL, rng), "size", 0 if thing.area < 0.015 else -1))
        out.append(Claim(form(BIG, rng), "size", 0 if thing.area > 0.15 else -1))
    nearer = any(o.area > 4 * thing.area and o.bottom > thing.bottom + 0.1 for o in others)
    if thing.area < 0.03 and thing.bottom < 0.75 and nearer:
        out += [Claim(form(BACK, rng), "depth", 0), Claim(form(FRONT, rng), "depth")]
    elif thing.area > 0.15 and thing.bottom > 0.85:
        out += [Claim(form(BACK, rng), "depth"), Claim(form(FRONT, rng), "depth", 0)]
    return out


def of_several(things: Sequence[Extent], rng: np.random.Generator) -> list[Claim]:
    """What is true of one of two or more of a class, and what of none of them, apart from colours.

    Args:
        things: the extents of all of them.
        rng: where the draws come from.
    """
    out = []
    points = np.array([(t.x, t.y) for t in things])
    for axis, (first, last) in enumerate(((LEFT, RIGHT), (TOP, BOTTOM))):
        order = points[:, axis].argsort()
        for side, i, j in ((first, order[0], order[1]), (last, order[-1], order[-2])):
            if abs(points[i, axis] - points[j, axis]) > 0.08:
                out.append(Claim(form(PLACES[side], rng), "place", int(i)))
    order, count = points[:, 0].argsort(), len(things)
    gaps = np.diff(points[order, 0])
    if gaps.min() > 0.06 and count < len(NUMBERS):
        number = int(rng.integers(count))
        side, i = (LEFT, order[number]) if rng.random() < 0.5 else (RIGHT, order[count - 1 - number])
        out.append(Claim(f"the {NUMBERS[number]} {{}} from the {side}", "order", int(i)))
        out.append(Claim(f"the {NUMBERS[count]} {{}} from the {side}", "order"))
        if count == 3:
            out.append(Claim(form(MIDDLE[:2], rng), "place", int(order[1])))
    if count == 2 and all(map(aside, things)):
        out.append(Claim(form(MIDDLE, rng), "place"))
    by_area = sorted(range(count), key=lambda i: things[i].area)
    areas = [things[i].area for i in by_area]
    if areas[-1] > 1.7 * areas[-2]:
        out.append(Claim(form(BIGGER, rng), "size", by_area[-1]))
    if areas[1] > 1.7 * areas[0]:
        out.append(Claim(form(SMALLER, rng), "size", by_area[0]))
    small, big = things[by_area[0]], things[by_area[-1]]
    if areas[1] > 2.5 * areas[0] and all(t.bottom > small.bottom + 0.08 for t in things if t is not small):
        out.append(Claim(form(BACK, rng), "depth", by_area[0]))
    if areas[-1] > 2.5 * areas[-2] and all(t.bottom < big.bottom - 0.08 for t in things if t is not big):
        out.append(Claim(form(FRONT, rng), "depth", by_area[-1]))
    return out


def of_colours(shares: Sequence[dict[str, float]], rng: np.random.Generator) -> list[Claim]:
    """ "the red {}", where one of the things is mostly red and no other is or may be; a colour that none of them has.

    Args:
        shares: of each thing, how much of it has which colour.
        rng: where the draws come from.
    """
    main = [max(s, key=lambda word: s[word], default="") for s in shares]
    main = [word if word and s[word] >= 0.5 else "" for word, s in zip(main, shares, strict=True)]
    out = [
        Claim(f"the {word} {{}}", "colour", i)
        for i, word in enumerate(main)
        if word and main.count(word) == 1 and "" not in main
    ]
    never = [
        word
        for word, near in NEAR.items()
        if all(sum(s.get(v, 0.0) for v in (word, *near)) < 0.2 and s.get(word, 0.0) < 0.03 for s in shares)
    ]
    if never:
        out.append(Claim(f"the {rng.choice(never)} {{}}", "colour"))
    return out


def colours(pixels: Num[np.ndarray, "n 3"]) -> dict[str, float]:
    """How much of some RGB pixels (0..255) has which colour."""
    if len(pixels) == 0:
        return {}
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
    return {str(word): float(n) / len(label) for word, n in zip(words, counts, strict=True)}


def colour(pixels: Num[np.ndarray, "n 3"], share: float = 0.5) -> str:
    """The colour that most of some RGB pixels (0..255) have; "" when no colour has this share of them."""
    found = colours(pixels)
    best = max(found, key=lambda word: found[word], default="")
    return best if best and found[best] >= share else ""


def centre(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 2"]:
    """Mean x and y of a mask, as shares of width and height."""
    y, x = np.nonzero(mask)
    return np.array([x.mean() / mask.shape[1], y.mean() / mask.shape[0]])
