"""What the house asks of a system, for picture classification."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from percepta.media.draw import write_picture
from percepta.media.image import crop_square, to_bytes
from percepta.nn import selfdistill
from percepta.systems.distill import Config
from percepta.systems.distill import data as pictures
from percepta.systems.distill.measure import answers, measure
from percepta.systems.distill.measure import page as page_items
from percepta.systems.distill.model import Classifier, export

PRETRAINED = {"image": "efficientnet-lite0"}
EXPORTS = {"classifier": export}
SHOWN = 5  # answers in a drawing


def settle(config: Config, root: Path | None) -> Config:
    """The settings with the classes of the data, which the network's last layer follows."""
    return replace(config, classes=pictures.classes(root))


def build(config: Config) -> Classifier:
    """The network with random weights; Lite0, which PRETRAINED names, is filled by `load` and `train`."""
    return Classifier(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def data(config: Config, split: str, root: Path | None = None) -> Any:
    """Samples of a split ("train", "val", "test", "all") of CIFAR-10, CIFAR-100 or a folder of class folders.

    Without a folder: eight signs in any colours, see `signs.py`. Only "train" has wrong labels (`noise`).
    """
    found = pictures.pool(config, split, None if root is None else Path(root))
    return (
        pictures.Training(found, config.self_distill, config.train.seed) if split == "train" else pictures.Whole(found)
    )


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """The method that `config.self_distill` names, see `nn/selfdistill.py`."""
    config = cast(Classifier, model).config
    return selfdistill.objective(
        config.self_distill,
        lambda pixels: model(pictures.unit(pixels)),
        batch,
        step.memory,
        temperature=config.temperature,
        alpha=config.alpha,
        smoothing=config.smoothing,
        trust=config.trust * min(1.0, step.number / config.train.steps),
        recall=config.recall,
        sharpen=config.sharpen,
        doubt=config.doubt,
    )


def metrics(model: nn.Module, loader: Any) -> dict[str, Any]:
    """Accuracy, NLL and ECE with intervals, beside trivial answers; see `measure.measure`."""
    return measure(*answers(model, loader), cast(Classifier, model).config.classes)


def page(model: nn.Module, dataset: pictures.Whole, metrics: Any = None, batch_size: int = 64) -> list[Any]:
    """For `report.Page.extend`: confusion matrix, reliability plot, the worst mistakes as pictures; and the metrics
    where the page does not have them yet (`metrics` is None)."""
    model.eval()
    device = next(model.parameters()).device
    rows = (range(i, min(i + batch_size, len(dataset))) for i in range(0, len(dataset), batch_size))
    batches = (dataset.collate(list(row)) for row in rows)
    moved = ({key: value.to(device) for key, value in batch.items()} for batch in batches)
    items = page_items(*answers(model, moved), dataset.pool.pixels, cast(Classifier, model).config.classes)
    return items if metrics is None else [item for item in items if item[0] != "metrics"]


@dataclass(frozen=True)
class Result:
    """What a picture is.

    Attributes:
        label: the most probable class.
        score: its probability, 0..1.
        probability: of every class, in the order of `classes`; they add up to 1.
        classes: their names.
        picture: RGB, as the network saw it.
    """

    label: str
    score: float
    probability: Float[np.ndarray, " k"]
    classes: tuple[str, ...]
    picture: UInt8[np.ndarray, "s s 3"]

    def draw(self, side: int = 256) -> Image.Image:
        """The picture, and the most probable classes as bars beside it."""
        best = np.argsort(-self.probability, kind="stable")[:SHOWN]
        canvas = Image.new("RGB", (2 * side, side), (250, 250, 250))
        canvas.paste(Image.fromarray(self.picture).resize((side, side), Image.Resampling.BICUBIC))
        pen, font, height = ImageDraw.Draw(canvas), ImageFont.load_default(14), side / SHOWN
        for row, number in enumerate(best):
            share, top = float(self.probability[number]), row * height
            pen.text((side + 12, top + 0.28 * height), self.classes[number], (34, 36, 42), font, anchor="lm")
            pen.text((2 * side - 10, top + 0.28 * height), f"{share:.0%}", (34, 36, 42), font, anchor="rm")
            bar = (side + 12, top + 0.55 * height, side + 12 + share * (side - 22), top + 0.8 * height)
            pen.rectangle(bar, (36, 104, 201) if row == 0 else (168, 180, 196))
        return canvas

    def save(self, path: Path | str) -> None:
        """The drawing as a picture, and beside it the probabilities as JSON of the same name."""
        row = {name: round(float(p), 6) for name, p in zip(self.classes, self.probability, strict=True)}
        write_picture(path, self.draw(), {"label": self.label, "score": self.score, "probability": row})


@torch.inference_mode()
def predict(model: nn.Module, picture: Any) -> Result:
    """Which class a picture shows: the middle square of it is looked at.

    Args:
        picture: a path, a PIL image, an array (h w, h w 3, h w 4) or a tensor (c h w), of any size; EXIF is applied.

    Raises:
        MissingFileError, InputError: no picture (a video, a damaged file).
    """
    config = cast(Classifier, model).config
    weight = cast(Classifier, model).head.weight
    seen = crop_square(picture, config.size)
    logits = model(seen[None].to(weight.device, weight.dtype)).logits[0]
    probability = logits.float().softmax(0).cpu().numpy()
    best = int(probability.argmax())
    shown = to_bytes(seen.permute(1, 2, 0)).numpy()
    return Result(config.classes[best], float(probability[best]), probability, config.classes, shown)
