"""What a supernet says about an architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Num
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.errors import InputTypeError
from percepta.media.draw import Shown
from percepta.media.image import Source, crop_square, to_bytes
from percepta.systems.supernet import Config, ledger
from percepta.systems.supernet.model import SupernetNetwork
from percepta.systems.supernet.scores import BATCH_SIZE, MAX_CODES, calibrate
from percepta.systems.supernet.space import Macro, Space

COLOURS = ((214, 218, 224), (122, 176, 240), (36, 104, 201))


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """What is known of an architecture before it is trained.

    Attributes:
        code: of the network, canonical.
        parameters: how many the network that would be trained has.
        flops: its multiply-adds for one picture.
        blocks: how many layers are no identity.
        score: minus the training loss that its path is expected to have, against the mean of all paths.
        deviation: standard deviation of the score.
        quantile: share of the space's networks (of 2,000 in the largest space) that it is expected to beat, 0..1.
        label: what its inherited weights call the picture, "" without one.
        probability: of each class, as its inherited weights see the picture; None without one.
        weights: hash of the supernet's weights.
    """

    code: str
    parameters: int
    flops: int
    blocks: int
    score: float
    deviation: float
    quantile: float
    label: str = ""
    probability: Float[np.ndarray, " k"] | None = None
    weights: str = ""

    @property
    def text(self) -> str:
        """What is known, in words."""
        picture = f", calls the picture {self.label}" if self.label else ""
        return (
            f"{self.code}: {self.parameters:,} parameters, {self.flops:,} multiply-adds, {self.blocks} blocks, "
            f"expected to beat {self.quantile:.0%} of the space{picture}"
        )

    def draw(self, side: int = 240) -> Image.Image:
        """The chain as coloured bars (tall: many weights), with what it costs and where it stands.

        Args:
            side: height of the drawing, in pixels; it is twice as wide.
        """
        digits = [int(c) for c in self.code] if len(self.code) <= 16 else [int(c) % 3 for c in self.code[6:]]
        canvas = Image.new("RGB", (2 * side, side), (250, 250, 250))
        pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
        step = (2 * side - 24) / len(digits)
        for i, digit in enumerate(digits):
            tall = (0.12, 0.3, 0.5)[digit] * side
            left = 12 + i * step
            pen.rectangle((left, 0.55 * side - tall, left + 0.8 * step, 0.55 * side), COLOURS[digit])
        lines = (
            self.code if len(self.code) <= 30 else f"{self.code[:27]}...",
            f"{self.parameters / 1e6:.3f} M parameters, {self.flops / 1e6:.1f} M multiply-adds, {self.blocks} blocks",
            f"expected to beat {self.quantile:.0%} of the space",
            f"its inherited weights say: {self.label}" if self.label else "",
        )
        for row, text in enumerate(lines):
            pen.text((12, 0.6 * side + row * 20), text, (34, 36, 42), font)
        return canvas

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: every attribute; `probability` only where a picture was given."""
        row = {**vars(self), "probability": None if self.probability is None else self.probability.tolist()}
        return {key: value for key, value in row.items() if value is not None}


def describe(
    model: SupernetNetwork,
    code: str,
    picture: Source | None = None,
    calibration: Num[Tensor, "n 3 s s"] | None = None,
) -> Result:
    """What is known of an architecture; see `Supernet.predict`.

    Args:
        model: the supernet, in eval mode.
        code: of its space.
        picture: that it is to classify; None: none.
        calibration: pictures that set the batch norms; None: inherited ones.
    """
    space, target = model.space, model.config.target_space()
    if not isinstance(code, str):
        raise InputTypeError(f"expected a code, such as {space.largest()!r}; got {type(code).__name__}")
    code = space.canonical(space.validate(code))
    own, deviation = ledger.expected(model, [code])
    every = ledger.expected(model, _reference(space))[0]
    cost = target.cost(code)
    label, probability = "", None
    if picture is not None:
        probability = _probability(model, code, picture, calibration)
        label = model.config.classes[int(probability.argmax())]
    return Result(
        code, cost.parameters, cost.flops, target.blocks(code), float(own[0]), float(deviation[0]),
        float((every < own[0]).mean()), label, probability, weights_hash(model),
    )  # fmt: skip


def _reference(space: Space) -> list[str]:
    """The codes that a code is compared with."""
    if isinstance(space, Macro) and 3**space.length <= 2 * MAX_CODES:
        return space.distinct()
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(2000)]


@torch.inference_mode()
def _probability(
    model: SupernetNetwork, code: str, picture: Source, calibration: Num[Tensor, "n 3 s s"] | None
) -> Float[np.ndarray, " k"]:
    path = model.extract(code).eval()
    if calibration is not None:
        path = calibrate(path, model.prepare(torch.as_tensor(calibration)).split(BATCH_SIZE))
    square = to_bytes(crop_square(picture, model.space.side))
    weight = next(path.parameters())
    return path(model.prepare(square[None].to(weight.device)).to(weight.dtype))[0].float().softmax(0).cpu().numpy()


@dataclass(frozen=True)
class Supernet:
    """Ranking of architectures, ready to use: `percepta.load("supernet")`.

    Attributes:
        config: its settings.
        model: the weight-sharing network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: how well it ranks, on a folder of data; without one, on its synthetic world.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: SupernetNetwork
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "supernet"

    def __repr__(self) -> str:
        return described(self)

    @staticmethod
    def dtypes(config: Config) -> tuple[str, ...]:
        """What the network computes in; see `contract.HasDtypes`."""
        return ("float32", "float64")

    def predict(
        self, code: str, picture: Source | None = None, *, calibration: Num[Tensor, "n 3 s s"] | None = None
    ) -> Result:
        """What is known of an architecture before it is trained: its cost, and how its path did in training.

        Args:
            code: of the supernet's space.
            picture: a path, a PIL image, an array or a tensor; then also which class the inherited weights give it.
            calibration: pictures (bytes or 0..1) of the kind that it was trained on, by which the batch norms of the
                path are set; without them they keep the inherited statistics, which fit no path well.

        Raises:
            CodeError: no such network in the space; names the character.
            MissingFileError, InputError: no picture.
        """
        return describe(self.model, code, picture, calibration)
