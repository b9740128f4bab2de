"""What is answered about a street picture, and about the frames of a drive."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from warnings import warn

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from percepta.contract import Answers, Evaluate, OpenStream, described, weights_hash
from percepta.datasets.street_pictures import LABEL_SETS, MERGED, VOID, LabelSet
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media import image
from percepta.media.draw import Shown, png
from percepta.media.image import VIDEO_SUFFIXES, Source
from percepta.media.labels import label_overlay
from percepta.metrics.segmentation import flicker
from percepta.systems.weather import Config
from percepta.systems.weather.model import Network
from percepta.systems.weather.windows import probabilities

SMOOTHING = 0.6  # share of the frame before, for videos
STILL = 0.04  # a pixel that changes by less, in 0..1 and over a few pixels, shows the same thing as before


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The classes of a picture.

    Attributes:
        labels: class of each pixel, a place in `classes`; 255 where the car's own bonnet is.
        confidence: probability of that class, 0..1.
        classes: their names.
        chosen: names of those that are drawn.
        drivable: names of those that count as drivable.
        drivable_share: of the pixels outside of the bonnet, 0..1.
        unlike: how far the picture is from what training saw; 1 is the distance that one training picture in a hundred
            has; None where the weights do not tell.
        flicker: share of pixels that show the same thing as in the frame before and changed their class; None without
            a frame before.
        picture: RGB.
        weights: hash of the weights that answered.
    """

    labels: UInt8[np.ndarray, "h w"]
    confidence: Float[np.ndarray, "h w"]
    classes: tuple[str, ...]
    chosen: tuple[str, ...]
    drivable: tuple[str, ...]
    drivable_share: float
    unlike: float | None
    flicker: float | None
    picture: UInt8[np.ndarray, "h w 3"]
    colours: tuple[tuple[int, int, int], ...] = ()
    weights: str = ""

    @property
    def far(self) -> bool:
        """Whether the picture is far from what training saw, so that its answer should not be trusted."""
        return self.unlike is not None and self.unlike > 1

    @property
    def shares(self) -> dict[str, float]:
        """The share of each class that occurs, the largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=256)[: len(self.classes)]
        total = max(int(counts.sum()), 1)
        order = sorted(range(len(self.classes)), key=lambda number: -counts[number])
        return {self.classes[number]: float(counts[number] / total) for number in order if counts[number]}

    @property
    def text(self) -> str:
        """The answer in words: "31% drivable (road); building 40%, road 31%, sky 20%; confidence 91%"."""
        parts = ", ".join(f"{name} {share:.0%}" for name, share in list(self.shares.items())[:3])
        far = "; far from what training saw, do not trust this" if self.far else ""
        sure = float(self.confidence.mean())
        return (
            f"{self.drivable_share:.0%} drivable ({', '.join(self.drivable) or 'no class'}); {parts}; "
            f"confidence {sure:.0%}{far}"
        )

    def mask(self, name: str) -> Bool[np.ndarray, "h w"]:
        """Where a class is.

        Raises:
            InputError: there is no such class.
        """
        if name not in self.classes:
            raise InputError(f"no class {name!r}; there are: {', '.join(self.classes)}")
        return self.labels == self.classes.index(name)

    def draw(self) -> Image.Image:
        """The picture, each pixel of a chosen class tinted in its colour."""
        chosen = [self.classes.index(name) for name in self.chosen]
        return Image.fromarray(label_overlay(self.picture, self.labels, self.colours, chosen=chosen))

    def save(self, path: Path | str) -> Path:
        """The labels as an indexed PNG; beside it <name>.confidence.png (255 is sure) and <name>.json."""
        path = Path(path).with_suffix(".png")
        sure = Image.fromarray((self.confidence * 255).round().astype(np.uint8))
        write_atomically(path.with_suffix(".confidence.png"), png(sure))
        write_atomically(path.with_suffix(".json"), json.dumps(self.to_dict()) + "\n")
        return write_atomically(path, packed(self.labels, self.colours))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: shares of classes, drivable share, confidence, and what is odd about the picture."""
        return {
            "shares": {name: round(share, 5) for name, share in self.shares.items()},
            "drivable": list(self.drivable),
            "drivable_share": round(self.drivable_share, 5),
            "confidence": round(float(self.confidence.mean()), 4),
            "unlike": None if self.unlike is None else round(self.unlike, 4),
            "far_from_training": self.far,
            "flicker": None if self.flicker is None else round(self.flicker, 5),
            "classes": list(self.classes),
            "weights": self.weights,
        }


@dataclass(frozen=True)
class Asked:
    """What is asked of every picture.

    Attributes:
        own: classes of the network.
        shown: classes of the answer.
        table: the answer's class of each of the network's, VOID for none.
        chosen: names that are drawn.
        bonnet: pixels of the car itself; None for none.
        drivable: names that count as drivable.
    """

    own: LabelSet
    shown: LabelSet
    table: UInt8[np.ndarray, " 256"]
    chosen: tuple[str, ...]
    bonnet: Bool[np.ndarray, "h w"] | None
    drivable: tuple[str, ...]

    @classmethod
    def of(
        cls, config: Config, classes: Sequence[str], bonnet: Source | None, names: str | None, drivable: Sequence[str]
    ) -> Asked:
        """What a user asks.

        Args:
            config: of the network.
            classes: that are drawn; none for all.
            bonnet: a black and white picture, white where the car itself is; None for none.
            names: a label set whose names are given instead of the network's own.
            drivable: that count as drivable; none for those of the label set.

        Raises:
            InputError: no such class or label set, or a bonnet that is no picture.
        """
        own = LABEL_SETS[config.label_set]
        shown = own if names is None else LABEL_SETS.get(names)
        if shown is None or (shown is not own and (own.name, shown.name) not in MERGED):
            known = [own.name, *(other for one, other in MERGED if one == own.name)]
            raise InputError(f"names are those of {', '.join(known)}, not {names!r}")
        table = np.full(256, VOID, np.uint8)
        if shown is own:
            table[: len(own)] = np.arange(len(own))
        else:
            for name, parts in reversed(MERGED[own.name, shown.name].items()):
                table[[own.number(part) for part in parts]] = shown.number(name)
        for name in (*classes, *drivable):
            shown.number(name)
        white = None if bonnet is None else image.read(bonnet).mean(0).numpy() > 0.5
        return cls(own, shown, table, tuple(classes) or shown.classes, white, tuple(drivable) or shown.drivable)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of the answer that the network never gives, because nothing it learned from tells them apart."""
        return tuple(name for number, name in enumerate(self.shown.classes) if number not in self.table)


@dataclass
class Session:
    """The frames of a drive, one by one: what is likely in a still pixel changes slowly, so that the answer is steady.

    Attributes:
        model: the network.
        asked: what is asked of every frame.
        smoothing: share of the frame before in a pixel that shows the same thing, 0..1.
    """

    model: Network
    asked: Asked
    smoothing: float = SMOOTHING
    _before: tuple[Tensor, Tensor, np.ndarray] | None = field(default=None, repr=False)

    @torch.inference_mode()
    def step(self, picture: Source) -> Result:
        """Takes the next frame; one of another size begins anew.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3) or a tensor (c h w).

        Raises:
            MissingFileError, InputError: no picture, or a bonnet of another size.
        """
        seen = image.read(picture)
        probability, unlike = answered(self.model, seen)
        before = self._before
        still = None
        if before is not None and before[0].shape == seen.shape:
            change = torch.nn.functional.avg_pool2d((seen - before[0]).abs().mean(0)[None], 5, 1, 2)[0]
            still = change < STILL
            if self.smoothing:
                share = self.smoothing * still.to(probability)
                probability = probability + share * (before[1] - probability)
        result = answer(self.asked, seen, probability, unlike, weights_hash(self.model))
        if still is not None and before is not None:
            moved = flicker(before[2], result.labels, still.numpy())
            result = Result(**{**vars(result), "flicker": moved})
        self._before = (seen, probability, result.labels)
        return result


def answered(model: Network, picture: Float[Tensor, "3 h w"]) -> tuple[Float[Tensor, "k h w"], float | None]:
    """Probabilities of every class, and how far the picture is from what training saw (None: not told).

    Args:
        model: in eval mode.
        picture: RGB in 0..1.
    """
    limit = model.config.far_from_training
    if not limit:
        return probabilities(model, picture), None
    with model.head.watched() as distances:
        probability = probabilities(model, picture)
    return probability, float(np.mean(distances)) / limit


def answer(
    asked: Asked,
    picture: Float[Tensor, "3 h w"],
    probability: Float[Tensor, "k h w"],
    unlike: float | None,
    weights: str,
) -> Result:
    """A result of probabilities.

    Args:
        asked: what is asked.
        picture: RGB in 0..1.
        probability: of the network's classes.
        unlike: distance from what training saw.
        weights: their hash.

    Raises:
        InputError: the bonnet has another size than the picture.
    """
    score, best = probability.max(0)
    labels = asked.table[best.cpu().numpy()]
    if asked.bonnet is not None:
        if asked.bonnet.shape != labels.shape:
            (h, w), (a, b) = labels.shape, asked.bonnet.shape
            raise InputError(f"the bonnet's mask has {b}×{a} pixels, the picture {w}×{h}: they have one size")
        labels = np.where(asked.bonnet, np.uint8(VOID), labels)
    known = labels != VOID
    roads = np.isin(labels, [asked.shown.number(name) for name in asked.drivable])
    pixels = np.ascontiguousarray(image.to_bytes(picture).permute(1, 2, 0).numpy())
    return Result(
        labels, score.cpu().numpy(), asked.shown.classes, asked.chosen, asked.drivable,
        float(roads.sum() / max(int(known.sum()), 1)), unlike, None, pixels, asked.shown.colours, weights,
    )  # fmt: skip


@dataclass(frozen=True)
class Weather:
    """Street segmentation, ready to use: `percepta.load("weather")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: Network
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "weather"

    def __repr__(self) -> str:
        return described(self)

    @torch.inference_mode()
    def predict(
        self,
        picture: Source,
        *,
        classes: Sequence[str] = (),
        bonnet: Source | None = None,
        names: str | None = None,
        drivable: Sequence[str] = (),
    ) -> Result:
        """The class of every pixel.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3, h w 4) or a tensor (c h w), of any size; big ones are
                looked at in windows.
            classes: that are drawn; none for all.
            bonnet: a black and white picture of the same size, white where the car itself is seen; those pixels get no
                class and count nowhere.
            names: "cityscapes" or "idd-lite": answer in the names of that set; see `absent`.
            drivable: classes that count as drivable; none for those of the label set (road).

        Raises:
            MissingFileError, InputError: no picture; no such class or set of names; a bonnet of another size.
        """
        asked = Asked.of(self.config, classes, bonnet, names, drivable)
        seen = image.read(picture)
        probability, unlike = answered(self.model, seen)
        return answer(asked, seen, probability, unlike, weights_hash(self.model))

    def absent(self, names: str) -> tuple[str, ...]:
        """Classes of another label set that are never given: nothing that the network learned from tells them apart."""
        return Asked.of(self.config, (), None, names, ()).absent

    def session(
        self,
        *,
        smoothing: float = SMOOTHING,
        classes: Sequence[str] = (),
        bonnet: Source | None = None,
        names: str | None = None,
        drivable: Sequence[str] = (),
    ) -> Session:
        """The frames of one drive; see `Session.step`.

        Args:
            smoothing: share of the frame before in pixels that show the same thing, 0 to below 1.
            classes: as in `predict`.
            bonnet: as in `predict`.
            names: as in `predict`.
            drivable: as in `predict`.

        Raises:
            InputError: an argument out of its range.
        """
        if not 0 <= smoothing < 1:
            raise InputError(f"smoothing is a share from 0 to below 1, got {smoothing}")
        return Session(self.model, Asked.of(self.config, classes, bonnet, names, drivable), smoothing)

    def stream(
        self,
        source: Any,
        *,
        batch_size: int = 1,
        recursive: bool = False,
        fps: float | None = None,
        smoothing: float | None = None,
        classes: Sequence[str] = (),
        bonnet: Source | None = None,
        names: str | None = None,
        drivable: Sequence[str] = (),
    ) -> Answers[Result]:
        """The classes of each picture of a folder, a video, a camera ..., one after the other.

        Args:
            source: a path, folder, pattern, picture, bytes, video, "camera:0", or a list or generator of these.
            batch_size: pictures that are read before the first of them is answered.
            recursive: also the sub-folders of folders.
            fps: at most so many frames a second of a video; None for all.
            smoothing: see `session`; None: SMOOTHING for a video or a camera, 0 for pictures.
            classes: as in `predict`.
            bonnet: as in `predict`.
            names: as in `predict`.
            drivable: as in `predict`.
        """
        steady = smoothing if smoothing is not None else SMOOTHING if is_film(source) else 0.0
        session = self.session(smoothing=steady, classes=classes, bonnet=bonnet, names=names, drivable=drivable)
        alone = smoothing is None and not is_film(source)

        def answers(several: list[Any]) -> list[list[Result]]:
            if not alone:
                return [[session.step(one)] for one in several]
            asked = {"classes": classes, "bonnet": bonnet, "names": names, "drivable": drivable}
            return [[self.predict(one, **asked)] for one in several]

        return self.open_stream(source, answers, batch_size=batch_size, recursive=recursive, fps=fps)


def is_film(source: Any) -> bool:
    """Whether a source is one video or a camera, whose pictures follow each other."""
    if isinstance(source, list) and len(source) == 1:
        source = source[0]
    if not isinstance(source, str | Path):
        return False
    return str(source).startswith("camera:") or Path(source).suffix.lower() in VIDEO_SUFFIXES


def packed(labels: UInt8[np.ndarray, "h w"], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """A label map as an indexed PNG in the colours of the classes; 255 is black."""
    picture = Image.fromarray(labels).convert("P")
    flat = [value for colour in colours for value in colour]
    picture.putpalette(flat + [0] * (768 - len(flat)))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


STILL = 0.8  # share of quiet pixels from which a camera stands still: 47 % on a drive of KITTI, 10 frames a second
LARGEST_BONNET = 1 / 3  # of the picture


def bonnet_of(pictures: Sequence[Source], *, change: float = 0.05) -> Bool[np.ndarray, "h w"]:
    """Where the car itself is seen: pixels in the lower half that stay as they are while everything else moves.

    Warns where the camera seems to stand still, and where the answer is too large for a car.

    Args:
        pictures: ten or more of one drive, of one size, some seconds apart.
        change: mean change of a pixel between two pictures, 0..1, below which it stays as it is.

    Raises:
        InputError: fewer than ten pictures, or of different sizes.
    """
    if len(pictures) < 10:
        raise InputError(f"the bonnet shows by not moving: give 10 pictures of a drive or more, got {len(pictures)}")
    seen = [image.read(one) for one in pictures]
    stacked = image.stack(seen).mean(1)
    steps = (stacked[1:] - stacked[:-1]).abs()
    quiet = torch.nn.functional.avg_pool2d(steps.median(0).values[None], 9, 1, 4)[0] < change
    h = quiet.shape[0]
    rows = torch.arange(h)[:, None]
    # from the lowest row upwards, as far as it stays quiet
    reach = torch.where(quiet | (rows < h // 2), -1, rows).amax(0)
    mask = (rows > reach) & (rows >= h // 2)
    still, share = float(quiet.float().mean()), float(mask.float().mean())
    if still > STILL:
        warn(f"{still:.0%} of the picture does not change: does the camera move at all? Take pictures of a drive, some "
             "seconds apart; what stays the same in them is not the car alone", stacklevel=2)  # fmt: skip
    elif share > LARGEST_BONNET:
        warn(f"{share:.0%} of the picture is said to be the car, which is rarely more than a third: look at the mask; "
             "with a lower `change` (--change) less of an even road is taken for it", stacklevel=2)  # fmt: skip
    return mask.numpy()
