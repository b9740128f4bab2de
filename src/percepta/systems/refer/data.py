"""Pictures and sentences into batches: which pictures of a folder, what is trained on, what an evaluation asks.

A training batch is {image: b 3 s s, sentences: n strings, owner: n, mask: n s/4 s/4 (share of each cell inside),
present: n, kinds: n}; an evaluation adds the masks at the pictures' own size.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from percepta.contract import Dataset
from percepta.datasets import layouts
from percepta.datasets.layouts import Found
from percepta.datasets.problem import Problem, noting, problem_of, tell
from percepta.datasets.scene import PngMask, Scene, of_split, stride
from percepta.errors import InputError
from percepta.media import image as pictures
from percepta.systems.refer import Config, finer
from percepta.systems.refer.claims import LEFT, NEAR, RIGHT, centre, colours, extent
from percepta.systems.refer.model import GREY
from percepta.systems.refer.sentences import APART, Thing, compose, halves, training_batch
from percepta.systems.refer.world import Shapes

SMALLEST = 0.0015  # share of the training picture below which a thing is not asked for
HELD_OUT = 10  # one group in so many is kept for validation, by the checksum of its name
TUNE = "tune"  # the split of a collection on which thresholds and the like are chosen: half of what is kept

# Folders of a collection in their order, and how often an epoch goes through each (others: once, behind these).
REPEATS: dict[str, float] = {
    "coco-small": 3, "voc-coseg": 1.5, "ccp": 1, "flickr8k": 1, "oasis": 1, "foregrounds": 0.7, "davis16-train": 1,
}  # fmt: skip
# A folder of a collection that is only evaluated on, and which of its frames: 0, 5, 10, ...
TEST_VIDEOS, TEST_STRIDE = "davis16", 5
# Words that say nothing about what is in a picture, and those of people, who are in most pictures with captions.
LITTLE = ("the", "and", "with", "are", "for", "its", "his", "her", "their", "that", "this", "from", "into", "while",
          "near", "next", "over", "has", "two", "one")  # fmt: skip
PEOPLE = ("man", "woman", "boy", "girl", "child", "children", "people", "person", "men", "women", "kid", "kids", "baby",
          "player", "players", "group", "couple", "someone", "lady", "guy", "adult", "toddler", "boys", "girls",
          "standing", "sitting", "looking", "wearing", "walking", "running")  # fmt: skip


def data(config: Config, split: str, root: Path | None = None) -> Dataset:
    """Samples of a split ("train", "val", "test", "all") of a folder in any layout of docs/refer-your-data.md.

    Without a folder: coloured shapes on plain ground, with sentences that need colour, size, shape or relation.

    Args:
        config: settings.
        split: "train", "val", "test" or "all".
        root: a folder of data; None: the synthetic world.
    """
    if root is None:
        return Shapes(config, split, config.train.seed)
    strict = config.train.strict
    found = scenes(Path(root), split, strict=strict)
    if split == "train":
        if config.finer:
            found = finer.named(found, Path(config.finer))
        return Pictures(config, found, config.train.seed)
    return Questions(config, questions(readable(found, str(root), strict), every=split.startswith("test")))


def readable(found: Sequence[Scene], what: str, strict: bool = False) -> list[Scene]:
    """The scenes whose picture and masks can be decoded; a warning counts the others.

    Args:
        found: the scenes.
        what: where they come from, for the message.
        strict: the first that cannot be decoded is an error.
    """
    problems: list[Problem] = []
    out = []
    for scene in found:
        with noting(problems, scene.image):
            if wrong := pictures.broken(scene.image):
                raise InputError(wrong)
            for region in scene.regions:
                region.mask.read()
            out.append(scene)
    tell(problems, what, strict=strict)
    return out


def scenes(root: Path, split: str, *, strict: bool = False) -> list[Scene]:
    """The labelled pictures of a folder for a split: "train", "val", "test", or "all".

    Sets without official splits are cut by the checksum of each group's name; their "test" is everything. Of a
    collection (a folder with several sets in it) "val" and "tune" are a half each of what training leaves out, so that
    what is chosen on the one can be reported on the other. Where it has the folder TEST_VIDEOS, "test" is every fifth
    frame of these videos, which "val" holds too. What is wrong with single pictures is left out; a warning counts it.

    Args:
        root: the folder.
        split: see above.
        strict: what is wrong is an error.

    Raises:
        MissingFileError, InputError: no set that is known, which says what was looked for; no such split.
    """
    found = layouts.find(root, Scene)
    if [one.root for one in found] == [root.expanduser()]:
        return part(_read(found[0], strict), split)
    videos = [one for one in found if one.root.name == TEST_VIDEOS]
    out = [s for one in videos if split in ("val", "test") for s in stride(_read(one, strict), TEST_STRIDE)]
    if videos and split == "test":
        return out
    order = [*REPEATS]
    others = [one for one in found if one not in videos]
    for one in sorted(others, key=lambda one: order.index(one.root.name) if one.root.name in order else len(order)):
        some = part(_read(one, strict), "val" if split == TUNE else split)
        if split in ("val", TUNE):
            some = [s for s in some if bool(s.split) or (crc(s) // HELD_OUT % 2 == 0) is (split == "val")]
        if split == "train":  # whole copies, then the part that is left
            times = REPEATS.get(one.root.name, 1)
            some = [s for copy in range(ceil(times)) for s in some[: round(len(some) * min(1.0, times - copy))]]
        out += some
    return out


def _read(one: Found[list[Scene]], strict: bool) -> list[Scene]:
    problems: list[Problem] = []
    found = one.read(one.root, problems)
    if not found and problems:
        raise InputError(problems[0])
    tell(problems, str(one.root), strict=strict)
    return found


def part(found: list[Scene], split: str) -> list[Scene]:
    """The scenes of a split of one set: its official one, or by the checksum of their group."""
    if split == "all":
        return found
    if any(scene.split for scene in found):
        return of_split(found, split)
    return found if split == "test" else held_out(found, split)


def held_out(found: list[Scene], split: str) -> list[Scene]:
    """The scenes of a split by the checksum of their group."""
    if split == "all":
        return found
    wanted = split != "train"
    return [s for s in found if (crc(s) % HELD_OUT == 0) is wanted]


def crc(scene: Scene) -> int:
    """The checksum of the name of a scene's group."""
    return zlib.crc32(scene.group.encode())


@dataclass(frozen=True)
class View:
    """A picture as one training sample shows it, before sentences.

    Attributes:
        pixels: RGB.
        things: what is marked and in sight.
        tainted: classes of which something was cut away.
        vocabulary: classes that were looked for everywhere in it.
        denied: sentences that somebody wrote and that name nothing in it.
        frame: where on the canvas the picture lies: left, top, right, bottom as shares of it.
        elsewhere: finer names of which nothing is in it.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    things: list[Thing]
    tainted: frozenset[str]
    vocabulary: frozenset[str]
    denied: tuple[str, ...] = ()
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    elsewhere: tuple[str, ...] = ()


@dataclass
class Pictures:
    """Training samples: a random view of a picture (or of two side by side) with sentences about it."""

    config: Config
    found: list[Scene]
    seed: int = 0

    def __post_init__(self) -> None:
        self.by_name: dict[str, list[int]] = {}
        self.single: dict[str, list[int]] = {}
        self.said: list[int] = []
        for i, scene in enumerate(self.found):
            names = [r.name for r in scene.regions if r.name]
            for name in {r.name for r in scene.regions if r.name and r.every} | {
                n for n in names if names.count(n) == 1
            }:
                self.by_name.setdefault(name, []).append(i)
            for name in {r.name for r in scene.regions if r.name and not r.every}:
                self.single.setdefault(name, []).append(i)
            if any(r.sentences for r in scene.regions):
                self.said.append(i)

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        for _ in range(10):
            try:
                seen = self._view(index, rng)
            except (OSError, ValueError) as error:
                # A file that can be listed and not decoded is found here only; another picture stands in for it.
                tell([problem_of(self.found[index].image, error)], "this epoch", strict=self.config.train.strict)
                index = int(rng.integers(len(self.found)))
                continue
            asks = compose(
                seen.things, seen.pixels, seen.vocabulary, rng, self.config.sentences, tainted=seen.tainted,
                denied=(*seen.denied, *self._stranger(index, rng)), frame=seen.frame, elsewhere=seen.elsewhere,
            )  # fmt: skip
            if asks:
                pixels = jitter(seen.pixels, rng) if self.config.augment else plain(seen.pixels)
                return {"image": pixels, "asks": asks}
            index = int(rng.integers(len(self.found)))
        raise InputError(f"ten pictures in a row have nothing in them that can be asked for, e.g. {self.found[index]}")

    def _view(self, index: int, rng: np.random.Generator) -> View:
        size, scene = self.config.size, self.found[index]
        if not self.config.augment:
            return view(scene, rng, size, size, whole=True)
        draw = rng.random()
        if draw > 0.45:
            return view(scene, rng, size, size)
        if draw > 0.3:
            seen = view(scene, rng, size, size)
            return self._pasted(seen, rng)
        names = sorted({r.name for r in scene.regions if r.name in self.by_name})
        if rng.random() < 0.3:  # the same twice, mirrored or cut otherwise: only where it is tells the two apart
            other = index
        elif names and rng.random() < 0.75:  # two of a kind
            other = int(rng.choice(self.by_name[str(rng.choice(names))]))
        else:
            other = int(rng.integers(len(self.found)))
        upright = rng.random() < 0.7
        w, h = (size // 2, size) if upright else (size, size // 2)
        return beside(view(scene, rng, w, h), view(self.found[other], rng, w, h), upright)

    def _pasted(self, seen: View, rng: np.random.Generator) -> View:
        """The view with an object of another picture in it, more often than not of a class that is there."""
        there = sorted({t.name for t in seen.things if t.name in self.single and not t.every})
        name = str(rng.choice(there if there and rng.random() < 0.7 else sorted(self.single))) if self.single else ""
        if not name or (name not in seen.vocabulary or name in seen.tainted):
            return seen
        height, width = seen.pixels.shape[:2]
        donor = view(self.found[int(rng.choice(self.single[name]))], rng, width, height)
        some = [t for t in donor.things if t.name == name and not t.every and t.mask.mean() > 0.01]
        if not some:
            return seen
        elsewhere = tuple(n for n in seen.elsewhere if n in donor.elsewhere)
        return replace(paste(seen, donor.pixels, some[int(rng.integers(len(some)))], rng), elsewhere=elsewhere)

    def _stranger(self, index: int, rng: np.random.Generator) -> tuple[str, ...]:
        """What a person wrote about another picture, where it shares no longer word with what is known of this one."""
        if not self.said:
            return ()
        here, there = self.found[index], self.found[int(rng.choice(self.said))]
        region = there.regions[int(rng.integers(len(there.regions)))]
        if not region.sentences or there.group == here.group:
            return ()
        sentence = str(rng.choice(region.sentences))
        known = " ".join(text for r in here.regions for text in (r.name, *r.sentences)).lower()
        words = [w for w in re.findall(r"[a-z]{3,}", sentence.lower()) if w not in LITTLE]
        return () if not words or any(w in known or w in PEOPLE for w in words) else (sentence,)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return training_batch(samples, self.config.masks)


@dataclass(frozen=True)
class Window:
    """Where a picture lies on a canvas: inner_w × inner_h pixels at (left, top), maybe beyond its edge or mirrored."""

    width: int
    height: int
    left: int
    top: int
    inner_w: int
    inner_h: int
    mirrored: bool

    @classmethod
    def draw(cls, size: tuple[int, int], width: int, height: int, rng: np.random.Generator, whole: bool) -> Window:
        """A random crop or placement of a picture of `size` (w, h); the whole of it, in the middle, with `whole`.

        Args:
            size: (width, height) of the picture, in pixels.
            width: of the canvas, in pixels.
            height: of the canvas, in pixels.
            rng: where the draws come from.
            whole: all of the picture, in the middle.
        """
        w, h = size
        scale, stretch = min(width / w, height / h), 1.0
        centred = whole or rng.random() < 0.3
        if not centred:
            scale *= float(np.exp(rng.uniform(-0.3, 0.7)))
            stretch = float(np.exp(rng.uniform(-0.12, 0.12)))
        inner_w, inner_h = max(8, round(w * scale * stretch)), max(8, round(h * scale))
        spare = (width - inner_w, height - inner_h)
        left, top = (s // 2 if centred else int(rng.integers(min(s, 0), max(s, 0) + 1)) for s in spare)
        return cls(width, height, left, top, inner_w, inner_h, not whole and rng.random() < 0.5)

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """Where on the canvas the picture is seen: left, top, right, bottom as shares of it."""
        left, right = max(self.left, 0) / self.width, min(self.left + self.inner_w, self.width) / self.width
        top, bottom = max(self.top, 0) / self.height, min(self.top + self.inner_h, self.height) / self.height
        return (1 - right, top, 1 - left, bottom) if self.mirrored else (left, top, right, bottom)

    def paste(self, picture: Image.Image, fill: int, resample: Image.Resampling) -> np.ndarray:
        """The canvas with a picture, or with a mask of another size that shows the same, on it.

        Args:
            picture: or a mask that shows the same.
            fill: value beyond its border.
            resample: how pixels are interpolated.
        """
        x0, x1 = max(self.left, 0), min(self.left + self.inner_w, self.width)
        y0, y1 = max(self.top, 0), min(self.top + self.inner_h, self.height)
        across, down = picture.width / self.inner_w, picture.height / self.inner_h
        left, top = (x0 - self.left) * across, (y0 - self.top) * down
        box = (left, top, left + (x1 - x0) * across, top + (y1 - y0) * down)
        box = (box[0], box[1], min(box[2], picture.width), min(box[3], picture.height))
        part = np.asarray(picture.resize((x1 - x0, y1 - y0), resample, box))
        canvas = np.full((self.height, self.width, *part.shape[2:]), fill, part.dtype)
        canvas[y0:y1, x0:x1] = part
        return canvas[:, ::-1] if self.mirrored else canvas


def view(scene: Scene, rng: np.random.Generator, width: int, height: int, *, whole: bool = False) -> View:
    """A random view of a picture on a grey canvas, with what is left of its regions.

    Args:
        scene: a picture with regions.
        rng: where the draws come from.
        width: of the canvas, in pixels.
        height: of the canvas, in pixels.
        whole: all of the picture, in the middle, as it is.

    Raises:
        InputError: a mask of another shape than its picture.
    """
    large = max(pictures.size(scene.image)) > 4 * max(width, height)
    least = (2 * width, 2 * height) if large else None  # JPEG files are then decoded at a fraction of their size
    picture = pictures.load(scene.image, at_least=least, upright=True).convert("RGB")
    window = Window.draw(picture.size, width, height, rng, whole)
    things: list[Thing] = []
    denied: list[str] = []
    lost: dict[str, int] = {}
    kept: dict[str, int] = {}
    for region, source in zip(scene.regions, _masks(scene), strict=True):
        if abs(source.shape[1] / source.shape[0] * picture.height / picture.width - 1) > 0.05:
            raise InputError(f"{scene.image}: a mask of {source.shape[1]}×{source.shape[0]} for {picture.size} pixels")
        sentences = tuple(map(mirror, region.sentences)) if window.mirrored else region.sentences
        if not source.any():
            denied += sentences
            continue
        mask = window.paste(Image.fromarray(source), 0, Image.Resampling.NEAREST)
        area, before = int(mask.sum()), float(source.mean()) * window.inner_w * window.inner_h
        kept[region.name] = kept.get(region.name, 0) + area
        least = 0.5 if not region.name else 0.0 if region.every else 0.3
        if area >= SMALLEST * width * height and area >= least * before:
            # Where nobody looked for all of a class, one marked thing is not "the dog".
            name = region.name if region.every or scene.vocabulary else ""
            things.append(Thing(mask, name, sentences, region.every, finer=region.finer))
        else:
            lost[region.name] = lost.get(region.name, 0) + area
    tainted = frozenset(name for name, area in lost.items() if area > 0.1 * kept[name])
    pixels = window.paste(picture, GREY, Image.Resampling.BILINEAR)
    return View(pixels, things, tainted, scene.vocabulary, tuple(denied), window.frame, scene.elsewhere)


def _masks(scene: Scene) -> Iterator[Bool[np.ndarray, "h w"]]:
    """The masks of all regions; a file that holds several is read once."""
    files: dict[Path, np.ndarray] = {}
    for region in scene.regions:
        if isinstance(region.mask, PngMask):
            if region.mask.path not in files:
                files[region.mask.path] = region.mask.load()
            yield region.mask.select(files[region.mask.path])
        else:
            yield region.mask.read()


def mirror(sentence: str) -> str:
    """The sentence for the mirrored picture: left and right change places."""
    swap = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return re.sub(r"\b([Ll]eft|[Rr]ight)(?=(?:most)?\b)", lambda found: swap[found[0]], sentence)


def beside(a: View, b: View, upright: bool) -> View:
    """Two views as one picture: side by side when upright, else one above the other.

    Args:
        a: the first.
        b: the second.
        upright: side by side; False: one above the other.
    """
    axis = 1 if upright else 0
    pixels = np.concatenate((a.pixels, b.pixels), axis)
    both = {t.name for t in a.things if t.name} & {t.name for t in b.things if t.name}
    things = []
    for seen, side in ((a, "left" if upright else "top"), (b, "right" if upright else "bottom")):
        before = seen is b
        blank = np.zeros_like(a.pixels[..., 0] if before else b.pixels[..., 0], bool)
        for thing in seen.things:
            mask = np.concatenate((blank, thing.mask) if before else (thing.mask, blank), axis)
            alone = sum(t.name == thing.name for t in seen.things) == 1
            place = side if thing.name in both and alone else ""
            # An only one of its class in each half: "the left dog" is then all of the left half's dogs.
            finer = tuple(n for n in thing.finer if n in (a if before else b).elsewhere)  # the only one of it
            things.append(replace(thing, mask=mask, place=place, every=thing.every or thing.name in both, finer=finer))
    known = a.vocabulary & b.vocabulary
    named = {t.name for t in things}
    # A name that only one half looked for may be in the other, unmarked.
    doubtful = {
        n for n in named if (n not in a.vocabulary and not _has(a, n)) or (n not in b.vocabulary and not _has(b, n))
    }
    unsure = frozenset(n for n in doubtful if n and (a.vocabulary or b.vocabulary))
    things = [t for t in things if t.name not in unsure or t.place]
    elsewhere = tuple(n for n in a.elsewhere if n in b.elsewhere)
    return View(pixels, things, a.tainted | b.tainted | unsure, known, elsewhere=elsewhere)


def paste(seen: View, pixels: UInt8[np.ndarray, "h w 3"], thing: Thing, rng: np.random.Generator) -> View:
    """A view with a thing of another one put where it hides little.

    What is hidden is taken off the masks below; of a class of which it hides too much, the view is left as it was.

    Args:
        seen: the view.
        pixels: the other view, of the same size.
        thing: in the other view.
        rng: where the draws come from.
    """
    height, width = seen.pixels.shape[:2]
    rows, columns = (np.nonzero(thing.mask.any(axis))[0][[0, -1]] for axis in (1, 0))
    (y0, y1), (x0, x1) = rows, columns
    cut, part = thing.mask[y0 : y1 + 1, x0 : x1 + 1], pixels[y0 : y1 + 1, x0 : x1 + 1]
    if rng.random() < 0.5:
        cut, part = cut[:, ::-1], part[:, ::-1]
    for _ in range(8):
        top, left = (
            int(rng.integers(0, max(1, n - m + 1))) for n, m in ((height, cut.shape[0]), (width, cut.shape[1]))
        )
        mask = np.zeros((height, width), bool)
        mask[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
        if all((t.mask & mask).sum() <= (0.05 if t.name == thing.name else 0.3) * t.mask.sum() for t in seen.things):
            break
    else:
        return seen
    out = seen.pixels.copy()
    out[mask] = part[cut]
    things = [replace(t, mask=t.mask & ~mask) for t in seen.things]
    same = any(t.name == thing.name and t.every for t in things)
    sentences = () if same else thing.sentences
    return replace(seen, pixels=out, things=[*things, Thing(mask, thing.name, sentences)])


def _has(seen: View, name: str) -> bool:
    return any(t.name == name for t in seen.things)


def plain(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """RGB in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255


def jitter(pixels: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Brightness, contrast and saturation changed a little; RGB in 0..1."""
    x = plain(pixels)
    bright, contrast, saturation = (float(v) for v in np.exp(rng.uniform(-0.2, 0.2, 3)))
    grey = x.mean(0, keepdim=True)
    x = grey + (x - grey) * saturation
    mean = grey.mean()
    return ((x - mean) * contrast + mean * bright).clamp(0, 1)


class Question(NamedTuple):
    """One sentence of an evaluation.

    Attributes:
        sentence: what is asked.
        regions: places of the scene's regions whose union is the mask; none where nothing fits.
        kind: as `questions` says.
        piece: which piece of the mask is meant (`sentences.halves`); None: all of it.
        count: how many things fit; 0: not known, or none.
        bare: the sentence without its side, where that is what it is about.
    """

    sentence: str
    regions: tuple[int, ...]
    kind: str
    piece: int | None = None
    count: int = 0
    bare: str = ""


@dataclass
class Questions:
    """Evaluation samples: a whole picture with fixed sentences."""

    config: Config
    items: list[tuple[Scene, list[Question]]]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        scene, questions = self.items[key[1]]
        image = pictures.read(scene.image)
        masks = []
        for question in questions:
            mask = np.zeros(tuple(image.shape[1:]), bool)
            for r in question.regions:
                source = scene.regions[r].mask.read()
                mask |= scaled(source if question.piece is None else halves(source)[question.piece], *mask.shape)
            masks.append(mask)
        return {"picture": image, "questions": questions, "masks": masks, "group": scene.group}

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pictures": [s["picture"] for s in samples],
            "sentences": [[q.sentence for q in s["questions"]] for s in samples],
            "kinds": [[q.kind for q in s["questions"]] for s in samples],
            "masks": [s["masks"] for s in samples],
            "groups": [s["group"] for s in samples],
            "counts": [[q.count for q in s["questions"]] for s in samples],
            "bare": [[q.bare for q in s["questions"]] for s in samples],
        }


def scaled(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """A mask at another size, by the nearest pixel.

    Args:
        mask: of any size.
        height: in pixels.
        width: in pixels.
    """
    if mask.shape == (height, width):
        return mask
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def questions(found: Sequence[Scene], *, every: bool = False) -> list[tuple[Scene, list[Question]]]:
    """What an evaluation asks of labelled pictures, the same every time.

    Kinds: "<source> class" (a class that occurs once, where it does not say everything; all of it where `every` holds),
    "<source> left/right" (of exactly two), "<source> small" (below half a percent of the picture), "<source> sentence"
    (what a person wrote: the first sentence of each region, all of them with `every`, as the RefCOCO papers do for
    validation and test), "<source> absent" (a class of the vocabulary that is not there), and what `promises` asks.
    """
    out = []
    for scene in found:
        by_name: dict[str, list[int]] = {}
        for i, region in enumerate(scene.regions):
            if region.name:
                by_name.setdefault(region.name, []).append(i)
        asked: list[Question] = []
        for i, region in enumerate(scene.regions):
            asked += [Question(s, (i,), f"{scene.source} sentence") for s in region.sentences[: None if every else 1]]
        human = bool(asked) and scene.source not in ("flickr8k", "oasis")
        for name, rows in [] if human else by_name.items():
            masks = [scene.regions[i].mask.read() for i in rows]
            area = float(np.mean(np.logical_or.reduce(masks)))
            if len(rows) == 1 and (scene.regions[rows[0]].every or len(by_name) > 1):
                kind = "class" if area >= 0.005 else "small"
                asked.append(Question(f"the {name}", (rows[0],), f"{scene.source} {kind}"))
            elif len(rows) == 2 and min(m.mean() for m in masks) >= 0.005:
                asked += _sides(name, masks, [(rows[0],), (rows[1],)], (None, None), scene.source)
            if len(rows) == 1 and scene.regions[rows[0]].every and name in APART and (pair := halves(masks[0])):
                asked += _sides(name, pair, [(rows[0],)] * 2, (0, 1), scene.source)
        missing = sorted(scene.vocabulary - set(by_name))
        if missing:
            pick = crc(scene) % len(missing)
            asked.append(Question(f"the {missing[pick]}", (), f"{scene.source} absent"))
        asked += promises(scene)
        if asked:
            out.append((scene, asked))
    return out


def _sides(
    name: str,
    masks: Sequence[Bool[np.ndarray, "h w"]],
    rows: Sequence[tuple[int, ...]],
    pieces: Sequence[int | None],
    source: str,
) -> list[Question]:
    """ "the left X" and "the right X" of two, where they do not stand one above the other.

    Args:
        name: of the class.
        masks: of the two.
        rows: the regions that they are in.
        pieces: which piece of its region each is.
        source: of the data.
    """
    x = [centre(m)[0] for m in masks]
    if abs(x[0] - x[1]) <= 0.08:
        return []
    order = (0, 1) if x[0] < x[1] else (1, 0)
    return [
        Question(f"the {side} {name}", rows[i], f"{source} left/right", pieces[i], bare=f"the {name}")
        for side, i in zip((LEFT, RIGHT), order, strict=True)
    ]


# The forms in which what is absent is asked for; {} stands for its name.
ABSENT = (
    "the {}", "the black {}", "the small {}", "the left {}", "the {} on the left", "the {} on the right",
    "the {} in the middle", "the {} in the background",
)  # fmt: skip
FOUND = "found, "  # what kinds begin with that only ask whether something is there
MISSING = 3  # classes a picture that are asked for in vain


def promises(scene: Scene) -> list[Question]:
    """Whether what is there is found and what is not there is not, in a picture with single objects of known classes.

    Kinds: "found, absent: <form>" (classes that are not there, in every form of ABSENT), "found, present: bare", "...
    true side", "... true colour", "... true size" (of a class that occurs once), "found, present: wrong side" and "...
    wrong colour" (of which nothing is true).
    """
    if not scene.vocabulary or not scene.regions or any(region.every for region in scene.regions):
        return []
    by_name: dict[str, list[int]] = {}
    for i, region in enumerate(scene.regions):
        by_name.setdefault(region.name, []).append(i)
    missing = sorted(scene.vocabulary - set(by_name))
    chosen = np.random.default_rng(crc(scene)).permutation(len(missing))[:MISSING]
    out = [
        Question(words.format(missing[i]), (), f"{FOUND}absent: {words.format('X')}")
        for i in chosen
        for words in ABSENT
    ]
    image = np.asarray(pictures.to_pil(pictures.read(scene.image)))
    for name, rows in by_name.items():
        masks = [scene.regions[i].mask.read() for i in rows]
        whole = np.logical_or.reduce(masks)
        if whole.mean() < 0.005:
            continue
        out.append(Question(f"the {name}", tuple(rows), f"{FOUND}present: bare", count=len(rows)))
        if len(rows) > 1:
            continue
        at = extent(whole)
        if at.x < 0.35 or at.x > 0.65:
            side, other = (LEFT, RIGHT) if at.x < 0.35 else (RIGHT, LEFT)
            for words in ("the {1} {0}", "the {0} on the {1}"):
                out.append(Question(words.format(name, side), tuple(rows), f"{FOUND}present: true side"))
                out.append(Question(words.format(name, other), (), f"{FOUND}present: wrong side"))
        if at.area < 0.015 or at.area > 0.2:
            word = "small" if at.area < 0.015 else "big"
            out.append(Question(f"the {word} {name}", tuple(rows), f"{FOUND}present: true size"))
        shares = colours(scaled_to(image, whole)[whole])
        word = max(shares, key=lambda c: shares[c])
        if shares[word] >= 0.5:
            out.append(Question(f"the {word} {name}", tuple(rows), f"{FOUND}present: true colour"))
        wrong = [c for c, near in NEAR.items() if sum(shares.get(v, 0.0) for v in (c, *near)) < 0.1]
        if wrong:
            out.append(Question(f"the {wrong[crc(scene) % len(wrong)]} {name}", (), f"{FOUND}present: wrong colour"))
    return out


def scaled_to(image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture at the size of a mask."""
    if image.shape[:2] == mask.shape:
        return image
    return np.asarray(Image.fromarray(image).resize(mask.shape[::-1], Image.Resampling.BILINEAR))
