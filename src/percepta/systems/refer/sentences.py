"""Sentences made from what is known of a picture: classes, places, sizes, colours, neighbours, and what is absent.

Every true sentence has a false one beside it, of the same form: about a class that is not there, or about one that is
there with something that is not true of it. Without that, "on the left" alone would say that the thing is there.
Also the batch that training gets of pictures with such sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from percepta.systems.refer.claims import (
    BOTTOM,
    LEFT,
    PLACES,
    RIGHT,
    TOP,
    Claim,
    Extent,
    centre,
    colours,
    extent,
    form,
    of_colours,
    of_one,
    of_several,
)

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
# Classes of which one is marked, and what is in no such picture, or next to none.
ELSEWHERE = (
    (("aeroplane", "bird", "boat", "bus", "train", "sheep", "cow", "horse", "motorbike"),
     ("cat", "sofa", "dining table", "tv monitor", "sink", "oven", "refrigerator", "keyboard", "bed", "laptop",
      "toothbrush", "cake", "donut", "remote", "fork", "bowl", "potted plant")),
    (("cat", "sofa", "dining table", "tv monitor", "potted plant", "bottle", "chair"),
     ("aeroplane", "sheep", "cow", "train", "bus", "elephant", "bear", "boat", "surfboard", "skis", "traffic light",
      "horse", "motorbike")),
)  # fmt: skip
SALIENT = (
    "the main subject",
    "the foreground",
    "what stands out",
    "the most prominent thing",
    "the main object",
)

BESIDE = {
    LEFT: ("the {} left of the {}", "the {} to the left of the {}"),
    RIGHT: ("the {} right of the {}", "the {} to the right of the {}"),
    TOP: ("the {} above the {}", "the {} over the {}"),
    BOTTOM: ("the {} below the {}", "the {} under the {}"),
}
OPPOSITE = {LEFT: RIGHT, RIGHT: LEFT, TOP: BOTTOM, BOTTOM: TOP}

# Classes that look or sound alike: what is asked for in vain where one of the same row is there.
ALIKE = (
    ("car", "bus", "truck", "train", "motorcycle", "motorbike", "bicycle", "boat", "aeroplane", "airplane"),
    ("dog", "cat", "horse", "cow", "sheep", "bear", "elephant", "zebra", "giraffe", "bird", "teddy bear"),
    ("chair", "couch", "sofa", "bench", "bed", "dining table", "toilet", "potted plant"),
    ("cup", "bowl", "wine glass", "bottle", "vase", "fork", "knife", "spoon"),
    ("skis", "skateboard", "snowboard", "surfboard", "tennis racket", "baseball bat", "baseball glove"),
    ("pizza", "cake", "donut", "sandwich", "hot dog", "banana", "apple", "orange", "carrot", "broccoli"),
    ("tv", "tv monitor", "laptop", "keyboard", "mouse", "remote", "cell phone", "book", "clock"),
    ("microwave", "oven", "toaster", "sink", "refrigerator", "toilet"),
    ("backpack", "handbag", "suitcase", "umbrella", "tie", "kite", "frisbee", "sports ball"),
    ("fire hydrant", "parking meter", "stop sign", "traffic light"),
    ("person", "dog", "teddy bear", "horse"),
)
# Classes that people mark as the one or the other: none of a row is called absent where another of it is there.
SAME = (
    ("jacket", "coat", "blazer", "cardigan", "sweater", "hoodie", "vest", "cape", "sweatshirt", "jumper", "suit"),
    ("shoes", "boots", "sneakers", "heels", "flats", "loafers", "pumps", "wedges", "clogs", "sandals"),
    ("pants", "jeans", "leggings", "tights", "stockings", "socks", "shorts", "panties"),
    ("shirt", "t-shirt", "blouse", "top", "bodysuit", "dress", "romper", "skirt", "bra", "intimate", "swimwear"),
    ("bag", "purse", "wallet"), ("necklace", "accessories", "scarf", "earrings", "bracelet", "ring", "tie", "watch"),
    ("glasses", "sunglasses"), ("sofa", "couch"), ("hair", "hat"), ("skin", "gloves"),
)  # fmt: skip
# Classes that are in many pictures, so that their name alone says nothing.
COMMON = ("person", "chair", "car", "dog", "cat", "bottle", "cup", "horse", "bird", "dining table", "train", "cow")
# Classes whose mask of "everything" can be cut into two things where it has two pieces.
APART = (
    "person", "dog", "cat", "horse", "cow", "sheep", "bird", "car", "bus", "aeroplane", "boat", "bottle", "chair",
    "motorbike", "bicycle", "potted plant",
)  # fmt: skip
SPREAD = 0.7  # deviation, in cells of 1/16, of the bump that marks the middle of a thing


@dataclass(frozen=True)
class Ask:
    """A sentence with its answer.

    Attributes:
        sentence: what is asked.
        mask: what fits.
        kind: what kind of sentence: class, place, order, size, depth, colour, relation, human, salient, finer; of false
            ones "absent" (no such thing there) or "false" (something else is true of it).
        present: False where nothing in the picture fits; the mask is empty then.
        form: the sentence with {} for the name of the class; "" where it was not made from one.
        middles: x and y of the middle of each thing that fits, as shares of the canvas; None: not known.
    """

    sentence: str
    mask: Bool[np.ndarray, "h w"]
    kind: str
    present: bool = True
    form: str = ""
    middles: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Thing:
    """A region as it is seen in one training picture.

    Attributes:
        mask: where it is.
        name: class, "" when unknown.
        sentences: what people wrote about it.
        every: whether the mask holds all of that class.
        place: where it stands among its like, when that is known beforehand (two pictures side by side).
        finer: other names of it, see `finer.py`.
    """

    mask: Bool[np.ndarray, "h w"]
    name: str = ""
    sentences: tuple[str, ...] = ()
    every: bool = False
    place: str = ""
    finer: tuple[str, ...] = ()


def plural(name: str) -> str:
    if name in PLURALS:
        return PLURALS[name]
    return name if name.endswith("s") else f"{name}s"


def phrase(many: bool, rng: np.random.Generator) -> str:
    """A form for all of a class: {} stands for its name, {s} for its plural.

    Args:
        many: whether there are several.
        rng: where the draws come from.
    """
    if many and rng.random() < 0.3:
        return str(rng.choice(["the {s}", "all the {s}", "every one of the {s}", "{s}"]))
    forms = ("the {}", "{}", "a {}", "the {} in the picture", "a photo of a {}", "find the {}")
    return forms[rng.choice(6, p=(0.55, 0.2, 0.1, 0.05, 0.05, 0.05))]


def said(words: str, name: str, rng: np.random.Generator) -> str:
    """A form with a class in it, now and then by another word for it.

    Args:
        words: a form of `phrase` or of `claims`.
        name: of the class.
        rng: where the draws come from.
    """
    if name in SYNONYMS and rng.random() < 0.3:
        name = str(rng.choice(SYNONYMS[name]))
    return words.replace("{s}", plural(name)).replace("{}", name, 1)


def compose(
    things: Sequence[Thing],
    image: Num[np.ndarray, "h w 3"],
    vocabulary: frozenset[str],
    rng: np.random.Generator,
    count: int,
    *,
    tainted: frozenset[str] = frozenset(),
    denied: Sequence[str] = (),
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    elsewhere: Sequence[str] = (),
) -> list[Ask]:
    """Draws `count` sentences about a picture, of as many kinds as it allows: every second one is true of nothing.

    Args:
        things: regions that are in sight.
        image: the picture, 0..255; colours are read from it.
        vocabulary: classes that were looked for everywhere in it.
        rng: what decides.
        count: how many sentences.
        tainted: classes of which something was cut away, so that neither "all of them" nor "none" is certain.
        denied: sentences of people that name nothing in it.
        frame: where on the canvas the picture lies: left, top, right, bottom as shares of it.
        elsewhere: finer names of which nothing is in it.
    """
    made = _Pools(things, image, vocabulary, rng, tainted, list(denied), frame, elsewhere)
    pools = [(weight, list(pool)) for weight, pool in made.true()]
    out: list[Ask] = []
    while len(out) < (count + 1) // 2:
        live = [(weight, pool) for weight, pool in pools if pool]
        if not live:
            break
        share = np.array([weight for weight, _ in live])
        pool = live[rng.choice(len(live), p=share / share.sum())][1]
        out.append(pool.pop(int(rng.integers(len(pool)))))
    if not out:
        return []
    certain = list(out)
    while len(out) < (count + 1) // 2:  # a picture with little in it: ask again, in other words where it is a class
        ask = certain[int(rng.integers(len(certain)))]
        name = next((t.name for t in things if t.mask is ask.mask and t.name), "") if ask.kind == "class" else ""
        words = phrase(False, rng)
        out.append(replace(ask, sentence=said(words, name, rng), form=words) if name else ask)
    twins = [made.untrue(ask) for ask in out]
    return [ask for pair in zip(out, twins, strict=True) for ask in pair][:count]


@dataclass
class _Pools:
    """What can be asked about a picture; the arguments of `compose`."""

    things: Sequence[Thing]
    image: Num[np.ndarray, "h w 3"]
    vocabulary: frozenset[str]
    rng: np.random.Generator
    tainted: frozenset[str]
    denied: list[str]
    frame: tuple[float, float, float, float]
    elsewhere: Sequence[str] = ()
    false: list[Ask] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_name: dict[str, list[Thing]] = {}
        for thing in self.things:
            if thing.name:
                self.by_name.setdefault(thing.name, []).append(thing)
        self.empty = np.zeros(self.image.shape[:2], bool)
        there = {*self.by_name, *self.tainted}
        doubtful = {name for row in SAME if there.intersection(row) for name in row}
        unlikely = {*UNLIKELY, *(n for marked, some in ELSEWHERE if there.intersection(marked) for n in some)}
        known = self.vocabulary - there - doubtful or unlikely - there
        self.absent = sorted(known) or [n for n in UNLIKELY if n not in there] or [UNLIKELY[0]]
        self.alike = sorted({n for row in ALIKE if there.intersection(row) for n in row if n in known})
        self.common = [n for n in COMMON if n in known]

    def true(self) -> list[tuple[float, list[Ask]]]:
        """(weight, sentences of one kind) of all that is true; fills `false` with what is not true of what is there."""
        rng = self.rng
        whole = {
            n: np.logical_or.reduce([t.mask for t in ts]) if len(ts) > 1 else ts[0].mask
            for n, ts in self.by_name.items()
        }
        # Of a tainted class there may be another one in sight: "left of the cup" would not say of which.
        complete = {name: ts for name, ts in self.by_name.items() if name not in self.tainted}
        extents = {id(t): extent(t.mask, self.frame) for t in self.things}
        classes = [self._class(name, ts, whole[name]) for name, ts in complete.items()]
        kinds: dict[str, list[Ask]] = {k: [] for k in ("place", "order", "size", "depth", "colour", "relation")}
        for name, ts in complete.items():
            others = [extents[id(t)] for t in self.things if t.name != name and t.name]
            for ask in [*self._claims(name, ts, extents, others), *self._relations(name, ts, whole, complete)]:
                (kinds[ask.kind] if ask.present else self.false).append(ask)
        human = [Ask(str(rng.choice(t.sentences)), t.mask, "human") for t in self.things if t.sentences]
        salient = [Ask(str(rng.choice(SALIENT)), t.mask, "salient") for t in self.things if not t.name and t.every]
        finer = [self._finer(t) for t in self.things if t.finer and self.elsewhere]
        return [
            (2.0, classes), (4.0, kinds["place"]), (0.5, kinds["order"]), (0.6, kinds["size"]), (0.6, kinds["depth"]),
            (0.8, kinds["colour"]), (0.8, kinds["relation"]), (2.0, human), (0.25, salient), (2.0, finer),
        ]  # fmt: skip

    def untrue(self, ask: Ask) -> Ask:
        """A sentence of the same form that is true of nothing: about something absent, or false of what is there."""
        rng = self.rng
        if ask.kind == "finer":
            return self._nothing(ask.form.replace("{}", str(rng.choice(list(self.elsewhere))), 1), "absent")
        if ask.kind == "human" and self.denied:
            return self._nothing(self.denied.pop(int(rng.integers(len(self.denied)))), "absent")
        false = [f for f in self.false if f.form and _kin(f, ask)]
        if ask.kind in ("class", "human", "salient") or not false or rng.random() < 0.35:
            words = ask.form if ask.form and "{" in ask.form else phrase(False, rng)
            return replace(self._nothing(said(words, self._missing(), rng), "absent"), form=words)
        return false[int(rng.integers(len(false)))]

    def _missing(self) -> str:
        draw = self.rng.random()
        some = self.alike if draw < 0.35 and self.alike else self.common if draw < 0.5 and self.common else self.absent
        return str(self.rng.choice(some))

    def _finer(self, thing: Thing) -> Ask:
        words = phrase(False, self.rng)
        name = str(self.rng.choice(thing.finer))
        return Ask(words.replace("{}", name, 1), thing.mask, "finer", True, words)

    def _nothing(self, sentence: str, kind: str) -> Ask:
        return Ask(sentence, self.empty, kind, False)

    def _class(self, name: str, ts: list[Thing], mask: Bool[np.ndarray, "h w"]) -> Ask:
        words = phrase(len(ts) > 1, self.rng)
        certain = not any(t.every or t.place for t in ts)
        return Ask(said(words, name, self.rng), mask, "class", True, words, _middles(ts) if certain else None)

    def _claims(self, name: str, ts: list[Thing], extents: dict[int, Extent], others: list[Extent]) -> list[Ask]:
        """Sides, order, sizes, depth and colours of a class that is completely in sight.

        Args:
            name: of the class.
            ts: all of it.
            extents: of each thing, by its identity.
            others: extents of what else is there.
        """
        claims: list[Claim]
        if any(t.place for t in ts):
            some = [t for t in ts if t.place]
            out = [
                self._ask(name, Claim(form(PLACES[t.place], self.rng), "place", i), some) for i, t in enumerate(some)
            ]
            return out + self._coloured(name, ts)
        whole = any(t.every for t in ts)
        pair = halves(ts[0].mask) if whole and len(ts) == 1 and name in APART else ()
        if pair:
            parts = [Thing(mask, name) for mask in pair]
            claims = [c for c in of_several([extent(m, self.frame) for m in pair], self.rng) if c.kind == "place"]
            return [self._ask(name, claim, parts) for claim in claims]
        if len(ts) == 1:
            claims = of_one(extents[id(ts[0])], others, self.rng, whole=whole)
        else:
            claims = [] if whole else of_several([extents[id(t)] for t in ts], self.rng)
        return [self._ask(name, claim, ts) for claim in claims] + self._coloured(name, ts)

    def _coloured(self, name: str, ts: list[Thing]) -> list[Ask]:
        claims = of_colours([colours(self.image[t.mask]) for t in ts], self.rng)
        return [self._ask(name, claim, ts) for claim in claims]

    def _ask(self, name: str, claim: Claim, ts: Sequence[Thing]) -> Ask:
        sentence = said(claim.form, name, self.rng) if claim.kind == "place" else claim.form.replace("{}", name, 1)
        if claim.place < 0:
            return replace(self._nothing(sentence, "false"), form=claim.form)
        thing = ts[claim.place]
        certain = not thing.every and not thing.place
        return Ask(sentence, thing.mask, claim.kind, True, claim.form, _middles([thing]) if certain else None)

    def _relations(
        self, name: str, ts: list[Thing], whole: dict[str, np.ndarray], by_name: dict[str, list[Thing]]
    ) -> list[Ask]:
        """ "the cup left of the laptop": the only one of its class on that side of something that occurs once.

        Where all of a class stand clearly on one side of it, none is on the other.

        Args:
            name: of the class.
            ts: all of it.
            whole: the mask of every class.
            by_name: the classes that are completely in sight.
        """
        anchors = [n for n, others in by_name.items() if n != name and len(others) == 1 and not others[0].place]
        if not anchors or any(t.every for t in ts):
            return []
        rng, other = self.rng, str(self.rng.choice(anchors))
        there = centre(whole[other])
        out = []
        for axis, sides in enumerate(((LEFT, RIGHT), (TOP, BOTTOM))):
            offset = np.array([centre(t.mask)[axis] - there[axis] for t in ts])
            if not (np.abs(offset) > 0.1).all():
                continue
            for side, on_it in zip(sides, (offset < -0.1, offset > 0.1), strict=True):
                first, second = form(BESIDE[side], rng).split("{}", 1)
                words = f"{first}{{}}{second.replace('{}', other)}"
                if on_it.sum() == 1:
                    out.append(self._ask(name, Claim(words, "relation", int(on_it.argmax())), ts))
                elif not on_it.any():
                    out.append(self._ask(name, Claim(words, "relation"), ts))
        return out


def _kin(false: Ask, true: Ask) -> bool:
    """Whether two sentences speak of the same sort of thing: both of sides, of sizes, ..."""
    words = {"place": ("left", "right", "middle", "center", "upper", "lower", "top", "bottom", "lowest"),
             "size": ("big", "large", "small", "tiny", "little"), "depth": ("ground", "front", "back", "far"),
             "order": ("from the",), "relation": (" of the ", " above ", " below ", " over ", " under ")}  # fmt: skip
    return any(word in false.form for word in words.get(true.kind, ("the",)))


def _middles(ts: Sequence[Thing]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in (centre(t.mask) for t in ts))


def halves(mask: Bool[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "h w"], ...]:
    """The two things that a mask of everything of a class clearly consists of: two large pieces side by side.

    Returns:
        Their masks; none where there are not exactly two such pieces.
    """
    small = mask[2::4, 2::4]
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(ndimage.binary_dilation(small)))
    if count < 2:
        return ()
    areas = np.bincount((labels * small).ravel(), minlength=count + 1)[1:]
    order = areas.argsort()[::-1]
    first, second = areas[order[0]], areas[order[1]]
    rest = areas.sum() - first - second
    if second < 0.4 * first or second < 0.012 * small.size or rest > 0.1 * second:
        return ()
    spans = [np.nonzero((labels == i + 1).any(0))[0][[0, -1]] for i in order[:2]]
    if max(spans[0][0], spans[1][0]) < min(spans[0][1], spans[1][1]):
        return ()
    # what the coarse pieces miss at their edge goes to the nearest one
    row, column = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)  # type: ignore[misc]
    y, x = (np.minimum(np.arange(n) // 4, m - 1) for n, m in zip(mask.shape, labels.shape, strict=True))
    large = labels[row, column][np.ix_(y, x)]
    return tuple(mask & (large == i + 1) for i in order[:2])


def training_batch(samples: list[dict[str, Any]], masks: int) -> dict[str, Any]:
    """Samples {image, asks} as the batch that `losses.loss` takes; in each, the first `masks` true ones get a mask."""
    asks = [a for s in samples for a in s["asks"]]
    drawn = torch.from_numpy(np.stack([a.mask for a in asks])).float()
    side = drawn.shape[-1] // 16
    return {
        "image": torch.stack([s["image"] for s in samples]),
        "sentences": [a.sentence for a in asks],
        "owner": torch.tensor([i for i, s in enumerate(samples) for _ in s["asks"]]),
        "mask": functional.avg_pool2d(drawn[:, None], 4)[:, 0],
        "present": torch.tensor([float(a.present) for a in asks]),
        "masked": torch.tensor([m for s in samples for m in _first([a.present for a in s["asks"]], masks)]),
        "centres": torch.stack([bumps(a.middles or (), side) for a in asks]),
        "counted": torch.tensor([float(a.middles is not None) for a in asks]),
        "kinds": [a.kind for a in asks],
    }


def _first(flags: list[bool], count: int) -> list[bool]:
    """The flags without those that come after the first `count`."""
    return [flag and sum(flags[: i + 1]) <= count for i, flag in enumerate(flags)]


def bumps(middles: Sequence[tuple[float, float]], side: int) -> Float[Tensor, "{side} {side}"]:
    """1 in the cell of each middle, falling off around it (CenterNet, Zhou et al. 2019, section 3).

    Args:
        middles: x and y, as shares of the canvas.
        side: cells along each side.
    """
    place = torch.arange(side)
    out = torch.zeros(side, side)
    for x, y in middles:
        column, row = (min(int(v * side), side - 1) for v in (x, y))
        falls = [torch.exp(-((place - at) ** 2) / (2 * SPREAD**2)) for at in (row, column)]
        out = torch.maximum(out, torch.outer(*falls))
    return out
