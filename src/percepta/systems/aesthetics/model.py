"""The model: an image encoder, and on it a head that knows people.

A picture becomes one row of features, whatever the head is:

    pooled      mean and deviation over places of EfficientNet-Lite0's maps of stride 16, 32 and its head (3424)
    concepts    what it shows, as a mean sentence vector of ImageNet's class names (384, `nn/concepts.py`)
    attributes  the eight computed ones of `attributes.py`

The encoder `plain`, for synthetic pictures, has no weights: the attributes and the mean colours of 3 × 3 tiles. The
encoder is frozen, so each picture goes through it once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Progress
from percepta.media import image as media
from percepta.nn.concepts import WIDTH, Concepts
from percepta.nn.efficientnet import CHANNELS, EfficientNetLite0
from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.attributes import ATTRIBUTES, attributes
from percepta.systems.aesthetics.taste import TasteHead
from percepta.systems.aesthetics.traits import trait_names

POOLED = (CHANNELS[16], CHANNELS[32], 1280)
TILES = 3
CONCEPT_SHARE = 0.4  # of the features' variance; the rest is the pooled maps'
BATCH = 2  # the maps of more pictures do not stay in a core's cache
_THREADS = threading.Lock()

T = TypeVar("T")
Pictures = Sequence[Path] | UInt8[Tensor, "n 3 h w"]


@runtime_checkable
class Person(Protocol):
    """What a head knows of one person after their ratings: `taste.Person`, or `piaa.Person` of the papers' networks."""

    def predict(
        self, features: Float[Tensor, "n w"], attributes: Float[Tensor, "n 8"] | None = None
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Expected scores and their deviations, in the study's scale."""
        ...

    def rating_deviation(self, deviation: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The deviation of a single rating, from the deviation that `predict` gave."""
        ...


@runtime_checkable
class PeopleHead(Protocol):
    """What maps a picture's normalised features to scores: `taste.TasteHead`, or a `piaa.Network`."""

    def fit_closed_form(
        self, features: Float[Tensor, "n w"], means: Float[Tensor, "m n"], traits: Float[Tensor, "people p"]
    ) -> None:
        """Computes what needs no gradient steps.

        Args:
            features: normalised, of all pictures.
            means: for every member the mean score of its training people; NaN for pictures that it may not see.
            traits: of all people, NaN where unknown.
        """
        ...

    def crowd_score(self, features: Float[Tensor, "n w"]) -> Float[Tensor, " n"]:
        """The score that is expected of somebody of whom nothing is known, in the study's scale."""
        ...

    def person(
        self,
        traits: Float[Tensor, " p"] | None,
        features: Float[Tensor, "k w"],
        attributes: Float[Tensor, "k 8"] | None,
        scores: Float[Tensor, " k"],
        members: tuple[int, ...] | None = None,
    ) -> Person:
        """Somebody, from who they are and what they rated.

        Args:
            traits: as `traits.traits` gives them; None: nothing is known.
            features: normalised, of the pictures that they rated; none at all is fine.
            attributes: of these pictures.
            scores: their ratings, in the study's scale.
            members: places of the members that predict; None: `Config.predicting`.
        """
        ...


class AestheticsNetwork(nn.Module):
    """Encoder, normalisation and head.

    Args:
        config: its settings.
        make_head: makes the head from (config, width of its features, number of traits).

    Attributes:
        config: its settings.
        image, concepts: the frozen encoder; not there for the encoder `plain`.
        sizes: lengths of the parts of a row of features.
        width: of the normalised features that the head gets.
        head: what knows people.
        mean, gain: of the normalisation, for each feature.
        settled: 1 where the normalisation has been computed, else 0.
    """

    mean: Tensor
    gain: Tensor
    settled: Tensor
    head: PeopleHead

    def __init__(self, config: Config, make_head: Callable[[Config, int, int], PeopleHead] = TasteHead) -> None:
        super().__init__()
        self.config = config
        if config.encoder == "lite0":
            self.image = EfficientNetLite0().requires_grad_(False)
            self.concepts = Concepts()
        self.sizes = _sizes(config)
        self.register_buffer("mean", torch.zeros(sum(self.sizes)))
        self.register_buffer("gain", torch.ones(sum(self.sizes)))
        self.register_buffer("settled", torch.zeros(()))
        self.width = sum(self.sizes) - (len(ATTRIBUTES) if config.encoder == "lite0" else 0)
        self.head = make_head(config, self.width, len(trait_names(config.fields)))
        self._extracted: tuple[Pictures, Tensor] | None = None

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The row of features of RGB pictures 0..1, the attributes last."""
        return self.features_by(self.image.fast() if self.config.encoder == "lite0" else None, images)

    def features_by(self, encoder: EfficientNetLite0 | None, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """`features` with a copy of the encoder at hand, such as the folded one; None for the encoder `plain`."""
        if encoder is None:
            tiles = functional.adaptive_avg_pool2d(images, TILES).flatten(1)
            return torch.cat([tiles, attributes(images)], 1)
        maps = encoder(images.contiguous(memory_format=torch.channels_last))
        pooled = [part for m in (maps.s16, maps.s32, maps.head) for part in _pool(m)]
        concepts = self.concepts(encoder.classifier(pooled[-2]))
        return torch.cat([*pooled, concepts, attributes(images)], 1)

    @property
    def head_mean(self) -> slice:
        """Where the means of Lite0's head, which ImageNet's classifier reads, stand in a row of features."""
        start = sum(self.sizes[:4])
        return slice(start, start + self.sizes[4])

    def class_probabilities(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b 1000"]:
        """The share of each of ImageNet's classes in the concepts of a row of features; only with Lite0."""
        return self.concepts.probabilities(self.image.classifier(features[:, self.head_mean]))

    def fit_normalisation(self, features: Float[Tensor, "n d"]) -> None:
        """Computes mean and gain of the features from the pictures of a training folder; no score plays a part.

        Then each pooled part has the same share of the variance, the concepts have `CONCEPT_SHARE`, and the whole row
        has 1; attributes have variance 1 each.
        """
        self.mean.copy_(features.mean(0))
        spread = features.std(0, correction=0).clamp_min(1e-4)
        gains, start = [], 0
        pooled = len(self.sizes) - 2 if self.config.encoder == "lite0" else 0
        for index, size in enumerate(self.sizes):
            part = spread[start : start + size]
            if index < pooled:
                gains.append(((1 - CONCEPT_SHARE) / (pooled * size)) ** 0.5 / part)
            elif pooled and index == pooled:
                gains.append((CONCEPT_SHARE / part.square().sum()).sqrt().expand(size))
            else:
                gains.append((1 if pooled else (2 * size) ** -0.5) / part)
            start += size
        self.gain.copy_(torch.cat(gains))
        self.settled.fill_(1)

    def normalise(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
        """Normalised features for the head; without the attributes where there is an encoder."""
        return ((features - self.mean) * self.gain)[:, : self.width]

    def attributes(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n 8"]:
        """The eight computed attributes of rows of features, each with variance 1 over the training folder."""
        count = len(ATTRIBUTES)
        unit = 1 if self.config.encoder == "lite0" else (2 * count) ** 0.5
        return ((features - self.mean) * self.gain)[:, -count:] * unit

    @torch.no_grad()
    def extract(self, pictures: Pictures, progress: Progress | None = None) -> Float[Tensor, "n d"]:
        """Features of many pictures: files, or a stack of bytes. Those of the last call are remembered, since every
        step of a training and every batch of an evaluation asks for those of the whole folder.

        Raises:
            MissingFileError, InputError: a file is no picture.
        """
        if self._extracted is not None and _same(self._extracted[0], pictures):
            return self._extracted[1]
        device = self.mean.device
        batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        rows, done = [], 0
        for part in in_parallel(
            lambda i: self.features(read_pictures(batches[i], self.config.size).to(device)), len(batches)
        ):
            rows.append(part)
            done += len(part)
            if progress is not None:
                progress(done, len(pictures))
        features = torch.cat(rows)
        self._extracted = (pictures, features)
        return features


def in_parallel(work: Callable[[int], T], count: int) -> Iterator[T]:
    """work(0), work(1), ... in this order, as many at a time as torch uses threads, each with torch on a single one.

    Two threads with a batch each are faster than two that share one: there is nothing to wait for after every layer,
    which matters most where the cores are busy with other things, and files are read meanwhile.

    Args:
        work: gets a number; runs without gradients.
        count: how many numbers there are.
    """

    def without_gradients(index: int) -> T:
        with torch.no_grad():  # holds for one thread alone
            return work(index)

    with _THREADS:  # two that change torch's number of threads at once would each restore what the other has set
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads)
        torch.set_num_threads(1)  # new threads begin with this
        try:
            yield from pool.map(without_gradients, range(count))
        finally:
            torch.set_num_threads(threads)
            pool.shutdown(cancel_futures=True)


def read_pictures(pictures: Pictures, size: int) -> Float[Tensor, "b 3 size size"]:
    """Pictures as the encoder takes them: the whole picture, squeezed into a square.

    Raises:
        MissingFileError, InputError: a file is no picture.
    """
    if isinstance(pictures, Tensor):
        return pictures.float() / 255
    return torch.stack([media.squeeze_square(path, size) for path in pictures])


def _sizes(config: Config) -> tuple[int, ...]:
    """Lengths of the parts of a row of features."""
    if config.encoder == "plain":
        return (3 * TILES**2, len(ATTRIBUTES))
    return (*(size for size in POOLED for _ in range(2)), WIDTH, len(ATTRIBUTES))


def _pool(features: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """Mean and deviation over places."""
    return features.mean((2, 3)), features.std((2, 3), correction=0)


def _same(a: Pictures, b: Pictures) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        both = isinstance(a, Tensor) and isinstance(b, Tensor)
        return both and torch.equal(cast(Tensor, a), cast(Tensor, b))
    return a is b or list(a) == list(b)
