"""The model: what looks at pictures, and on it a head that knows people.

A picture becomes one row of features, whatever the head is:

    pooled      mean and deviation over places of EfficientNet-Lite0's maps of stride 16, 32 and its head (3424)
    concepts    what it shows, as a mean sentence vector of ImageNet's class names (384, `nn/concepts.py`)
    attributes  the eight computed ones of `attributes.py`

The encoder `plain`, for synthetic pictures, has no weights: the attributes and the mean colours of 3 × 3 tiles. All of
it is frozen, so a picture is looked at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.media import image as media
from percepta.nn.concepts import WIDTH, Concepts
from percepta.nn.efficientnet import CHANNELS, EfficientNetLite0
from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.attributes import ATTRIBUTES, attributes
from percepta.systems.aesthetics.people import trait_names
from percepta.systems.aesthetics.piaa import make as make_head
from percepta.systems.aesthetics.taste import TasteHead

POOLED = (CHANNELS[16], CHANNELS[32], 1280)
TILES = 3
CONCEPT_SHARE = 0.4  # of the features' variance; the rest is the pooled maps'
BATCH = 2  # the maps of more pictures do not stay in a core's cache
_SETTING = threading.Lock()

T = TypeVar("T")
Pictures = Sequence[Path] | UInt8[Tensor, "n 3 h w"]


class Aesthetics(nn.Module):
    """Encoder, standardisation and head. `looks` gives a head its input."""

    mean: Tensor
    gain: Tensor
    settled: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.encoder == "lite0":
            self.image = EfficientNetLite0().requires_grad_(False)
            self.concepts = Concepts()
        self.sizes = _sizes(config)
        self.register_buffer("mean", torch.zeros(sum(self.sizes)))
        self.register_buffer("gain", torch.ones(sum(self.sizes)))
        self.register_buffer("settled", torch.zeros(()))
        traits = len(trait_names(config.fields))
        width = sum(self.sizes) - (len(ATTRIBUTES) if config.encoder == "lite0" else 0)
        make: Callable[..., nn.Module] = TasteHead if config.design == "taste" else make_head
        self.head = make(config, width, traits)
        self.width = width
        self._seen: tuple[Pictures, Tensor] | None = None

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The row of features of RGB pictures 0..1, the attributes last."""
        if self.config.encoder == "plain":
            tiles = functional.adaptive_avg_pool2d(images, TILES).flatten(1)
            return torch.cat([tiles, attributes(images)], 1)
        maps = self.image.fast()(images.contiguous(memory_format=torch.channels_last))
        pooled = [part for m in (maps.s16, maps.s32, maps.head) for part in _pool(m)]
        concepts = self.concepts(self.image.classifier(pooled[-2]))
        return torch.cat([*pooled, concepts, attributes(images)], 1)

    @property
    def head_mean(self) -> slice:
        """Where the means of Lite0's head, which ImageNet's classifier reads, stand in a row of features."""
        start = sum(self.sizes[:4])
        return slice(start, start + self.sizes[4])

    def words(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b 1000"]:
        """How much each of ImageNet's classes has part in the concepts of a row of features; only with Lite0."""
        return self.concepts.probabilities(self.image.classifier(features[:, self.head_mean]))

    def settle(self, features: Float[Tensor, "n d"]) -> None:
        """Takes mean and spread of the features from the pictures of a training folder; no score plays a part.

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

    def looks(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
        """Standardised features for the head; without the attributes where there is an encoder."""
        return ((features - self.mean) * self.gain)[:, : self.width]

    def judged(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n 8"]:
        """The eight computed attributes, each with variance 1 over the training folder."""
        count = len(ATTRIBUTES)
        unit = 1 if self.config.encoder == "lite0" else (2 * count) ** 0.5
        return ((features - self.mean) * self.gain)[:, -count:] * unit

    @torch.no_grad()
    def see(self, pictures: Pictures, progress: Callable[[int, int], None] | None = None) -> Float[Tensor, "n d"]:
        """Features of many pictures: files, or a stack of bytes. The last many that were seen are remembered.

        Raises:
            MissingFileError, InputError: a file is no picture.
        """
        if self._seen is not None and _same(self._seen[0], pictures):
            return self._seen[1]
        device = self.mean.device
        batches = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        rows, done = [], 0
        for part in at_once(lambda i: self.features(load(batches[i], self.config.size).to(device)), len(batches)):
            rows.append(part)
            done += len(part)
            if progress is not None:
                progress(done, len(pictures))
        features = torch.cat(rows)
        self._seen = (pictures, features)
        return features


def at_once(work: Callable[[int], T], count: int) -> Iterator[T]:
    """work(0), work(1), ... in this order, as many at a time as torch uses threads, each with torch on a single one.

    Two threads that look at a batch each are faster than two that share one: there is nothing to wait for after every
    layer, which matters most where the cores are busy with other things, and reading files goes on beside it.
    """

    def quietly(index: int) -> T:
        with torch.no_grad():  # holds for one thread alone
            return work(index)

    with _SETTING:  # two that change torch's number of threads at once would each restore what the other has set
        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(threads)
        torch.set_num_threads(1)  # new threads begin with this
        try:
            yield from pool.map(quietly, range(count))
        finally:
            torch.set_num_threads(threads)
            pool.shutdown(cancel_futures=True)


def load(pictures: Pictures, size: int) -> Float[Tensor, "b 3 size size"]:
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
