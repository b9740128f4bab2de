"""What the classifier answers about a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from percepta.contract import Evaluate, weights_hash
from percepta.media.draw import write_picture
from percepta.media.image import Source, crop_square, to_bytes
from percepta.systems.distill import Config
from percepta.systems.distill.model import Classifier

BARS = 5  # classes in a drawing


@dataclass(frozen=True)
class Result:
    """What a picture is.

    Attributes:
        label: the most probable class.
        score: its probability, 0..1.
        probability: of every class, in the order of `classes`; they add up to 1.
        classes: their names.
        picture: RGB, as the network saw it.
        weights: hash of the weights that answered.
    """

    label: str
    score: float
    probability: Float[np.ndarray, " k"]
    classes: tuple[str, ...]
    picture: UInt8[np.ndarray, "s s 3"]
    weights: str = ""

    def draw(self, side: int = 256) -> Image.Image:
        """The picture, and the most probable classes as bars beside it.

        Args:
            side: of the picture, in pixels; the drawing is twice as wide.
        """
        best = np.argsort(-self.probability, kind="stable")[:BARS]
        canvas = Image.new("RGB", (2 * side, side), (250, 250, 250))
        canvas.paste(Image.fromarray(self.picture).resize((side, side), Image.Resampling.BICUBIC))
        pen, font, height = ImageDraw.Draw(canvas), ImageFont.load_default(14), side / BARS
        for row, number in enumerate(best):
            share, top = float(self.probability[number]), row * height
            pen.text((side + 12, top + 0.28 * height), self.classes[number], (34, 36, 42), font, anchor="lm")
            pen.text((2 * side - 10, top + 0.28 * height), f"{share:.0%}", (34, 36, 42), font, anchor="rm")
            bar = (side + 12, top + 0.55 * height, side + 12 + share * (side - 22), top + 0.8 * height)
            pen.rectangle(bar, (36, 104, 201) if row == 0 else (168, 180, 196))
        return canvas

    def save(self, path: Path | str) -> None:
        """The drawing as a picture, and beside it the probabilities as JSON of the same name."""
        probability = {name: round(float(p), 6) for name, p in zip(self.classes, self.probability, strict=True)}
        numbers = {"label": self.label, "score": self.score, "probability": probability, "weights": self.weights}
        write_picture(path, self.draw(), numbers)


@torch.inference_mode()
def classify(model: Classifier, picture: Source) -> Result:
    """Which class a picture shows; see `Distill.predict`. The model has to be in eval mode."""
    config, weight = model.config, model.head.weight
    square = crop_square(picture, config.size)
    logits = model(square[None].to(weight.device, weight.dtype)).logits[0]
    probability = logits.float().softmax(0).cpu().numpy()
    best = int(probability.argmax())
    shown = to_bytes(square.permute(1, 2, 0)).numpy()
    return Result(
        config.classes[best], float(probability[best]), probability, config.classes, shown, weights_hash(model)
    )


@dataclass(frozen=True)
class Distill:
    """Picture classification, ready to use: `percepta.load("distill")`.

    Attributes:
        config: its settings; `config.classes` are the names of the classes.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
    """

    config: Config
    model: Classifier
    licence: str
    evaluate: Evaluate
    name: ClassVar[str] = "distill"

    def predict(self, picture: Source) -> Result:
        """Which class a picture shows: its middle square is classified.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3, h w 4) or a tensor (c h w), of any size; EXIF is
                applied.

        Raises:
            MissingFileError, InputError: no picture (a video, a damaged file).
        """
        return classify(self.model, picture)
