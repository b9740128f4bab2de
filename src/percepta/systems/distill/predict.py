"""What the classifier answers about a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from percepta.contract import Answers, Evaluate, OpenStream, described, weights_hash
from percepta.media.draw import Shown
from percepta.media.image import Source, crop_square, to_bytes
from percepta.systems.distill import Config
from percepta.systems.distill.model import Classifier

BARS = 5  # classes in a drawing
WRITTEN = 100  # probabilities at most in a file


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """What a picture is.

    Attributes:
        label: the most probable class.
        score: its probability, 0..1.
        probability: of every class, in the order of `classes`; they add up to 1.
        classes: their names.
        picture: RGB, as the network saw it.
        weights: hash of the weights that answered.
        sure: False where the score is below the level that `config.unsure_below` says: the picture may show
            something that is in none of the classes.
    """

    label: str
    score: float
    probability: Float[np.ndarray, " k"]
    classes: tuple[str, ...]
    picture: UInt8[np.ndarray, "s s 3"]
    weights: str = ""
    sure: bool = True

    @property
    def text(self) -> str:
        """The answer in words: "dog 65%", or "unsure (dog 31%)"."""
        answer = f"{self.label} {self.score:.0%}"
        return answer if self.sure else f"unsure ({answer})"

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
            pen.rectangle(bar, (36, 104, 201) if row == 0 and self.sure else (168, 180, 196))
        if not self.sure:
            pen.text((side + 12, 4), "unsure", (208, 86, 42), font)
        return canvas

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: label, score, sure, the probability of every class (of more than 100: the best 100), weights."""
        best = np.argsort(-self.probability, kind="stable")[:WRITTEN]
        kept = range(len(self.classes)) if len(self.classes) <= WRITTEN else best.tolist()
        probability = {self.classes[i]: round(float(self.probability[i]), 6) for i in kept}
        return {
            "label": self.label, "score": self.score, "sure": self.sure, "probability": probability,
            "weights": self.weights,
        }  # fmt: skip


@torch.inference_mode()
def classify(model: Classifier, pictures: list[Source]) -> list[Result]:
    """Which class each picture shows; see `Distill.predict`. The model has to be in eval mode."""
    config, weight = model.config, next(model.parameters())
    squares = torch.stack([crop_square(picture, config.size) for picture in pictures])
    logits = model(squares.to(weight.device, weight.dtype)).logits
    results = []
    for square, probability in zip(squares, logits.float().softmax(1).cpu().numpy(), strict=True):
        best = int(probability.argmax())
        shown = to_bytes(square.permute(1, 2, 0)).numpy()
        label, score = config.classes[best], float(probability[best])
        sure = score >= config.unsure_below
        results.append(Result(label, score, probability, config.classes, shown, weights_hash(model), sure))
    return results


@dataclass(frozen=True)
class Distill:
    """Picture classification, ready to use: `percepta.load("distill")`.

    Attributes:
        config: its settings; `config.classes` are the names of the classes.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: Classifier
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "distill"

    def __repr__(self) -> str:
        return described(self)

    @staticmethod
    def dtypes(config: Config) -> tuple[str, ...]:
        """What the network computes in; see `contract.HasDtypes`."""
        return ("float32", "bfloat16", "float16", "float64")

    def predict(self, picture: Source) -> Result:
        """Which class a picture shows: its middle square is classified.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3, h w 4) or a tensor (c h w), of any size; EXIF is
                applied.

        Raises:
            MissingFileError, InputError: no picture (a video, a damaged file).
        """
        return classify(self.model, [picture])[0]

    def stream(
        self, source: Any, *, batch_size: int = 1, recursive: bool = False, fps: float | None = None
    ) -> Answers[Result]:
        """Which class each picture of a folder, a video, a camera ... shows, one after the other.

        One that cannot be read gives an answer with an error; the others go on.

        Args:
            source: a path, folder, pattern, picture, bytes, video, "camera:0", or a list or generator of these.
            batch_size: pictures that go through the network together.
            recursive: also the sub-folders of folders.
            fps: at most so many frames a second of a video; None for all.

        Raises:
            InputError: an argument out of its range.
        """
        return self.open_stream(
            source,
            lambda several: [[result] for result in classify(self.model, several)],
            batch_size=batch_size,
            recursive=recursive,
            fps=fps,
        )
