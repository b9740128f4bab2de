"""What the house asks of a system, for referring segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn import clip
from percepta.systems.refer import Config, exports
from percepta.systems.refer.cris import CRIS
from percepta.systems.refer.cris import loss as pixel_loss
from percepta.systems.refer.data import Pictures, Questions, questions, scenes
from percepta.systems.refer.measure import measure
from percepta.systems.refer.model import LateText
from percepta.systems.refer.session import Result, Session, clip_words, open_session
from percepta.systems.refer.shapes import Shapes

PRETRAINED = {"image": "efficientnet-lite0", "text": "minilm-l6-v2", "align": "align-v1", "backbone": "clip"}


def build(config: Config) -> nn.Module:
    """The network with random weights; the parts that PRETRAINED names are filled by `load` and `train`."""
    if config.design == "cris":
        model: nn.Module = CRIS(image_size=config.size, **asdict(config.cris))
    else:
        model = LateText(config.late)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.config = config  # type: ignore[assignment]
    return model


def config_of(model: nn.Module) -> Config:
    """The settings that `build` made a network from."""
    return cast(Config, model.config)


def data(config: Config, split: str, root: Path | None = None) -> Any:
    """Samples of a split ("train", "val", "test", "all") of a folder in any layout of docs/refer-your-data.md.

    Without a folder: coloured shapes on plain ground, with sentences that need colour, size, shape or relation.
    """
    if root is None:
        return Shapes(config, split, config.train.seed)
    found = scenes(Path(root), split)
    if split == "train":
        return Pictures(config, found, config.train.seed)
    return Questions(config, questions(found, every=split.startswith("test")))


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """The paper's text-to-pixel loss: binary cross-entropy of every pixel at a quarter of the input size.

    Our network adds Dice, both on the decoder's coarse answer, and cross-entropy of the thing being there at all. What
    is absent has no Dice: its mask is pushed to empty by cross-entropy alone.
    """
    target, present = batch["mask"], batch["present"]
    if isinstance(model, CRIS):
        words = clip_words(batch["sentences"], model.word_len).to(target.device)
        logits = model(clip.normalise(batch["image"])[batch["owner"]], words)
        return {"loss": pixel_loss(logits, (target[:, None] > 0.5).float())}
    answer = model(batch["image"], batch["sentences"], batch["owner"])
    logits, coarse = answer.logits.float(), answer.coarse.float()
    small = functional.adaptive_avg_pool2d(target[:, None], coarse.shape[-2:])[:, 0]
    pixel = functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))
    rough = functional.binary_cross_entropy_with_logits(coarse, small, reduction="none").mean((1, 2))
    shape, outline = dice(logits.sigmoid(), target), dice(coarse.sigmoid(), small)
    there = functional.binary_cross_entropy_with_logits(answer.presence.float(), present)
    mask = (pixel + present * shape + 0.5 * rough + 0.5 * present * outline).mean()
    with torch.no_grad():
        both = ((logits > 0) & (target > 0.5)).sum((1, 2))
        either = ((logits > 0) | (target > 0.5)).sum((1, 2)).clamp_min(1)
        iou = (both / either * present).sum() / present.sum().clamp_min(1)
        right = ((answer.presence > 0).float() == present).float().mean()
    return {
        "loss": mask + 0.25 * there,
        "pixel": pixel.mean(),
        "iou": iou,
        "presence": there,
        "presence_right": right,
    }


def dice(probability: Float[Tensor, "n h w"], target: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """1 − (2·overlap + 1) / (sum of both + 1), for each sample; everything in 0..1."""
    both = (probability * target).sum((1, 2))
    return 1 - (2 * both + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)


def metrics(model: nn.Module, loader: Any) -> dict[str, Any]:
    """mIoU, oIoU and Pr@50..90 by kind of sentence beside trivial answers; see `measure.measure`."""
    return measure(lambda picture: session(model, picture), loader)


def session(model: nn.Module, picture: Any) -> Session:
    """A picture, encoded once: each `session.predict(sentence)` then costs little more than the sentence."""
    return open_session(model, config_of(model), picture)


def predict(model: nn.Module, picture: Any, sentence: str | Sequence[str]) -> Result | list[Result]:
    """Where a sentence's thing is in a picture.

    Args:
        picture: a path, a PIL image, an array (h w, h w 3, h w 4) or a tensor (c h w), of any size; EXIF is applied.
        sentence: one, or several.

    Returns:
        one Result, or a list of them.

    Raises:
        MissingFileError, InputError: no picture (a video, a damaged file), or an empty sentence.
    """
    return session(model, picture).predict(sentence)


EXPORTS = {"picture": exports.picture, "sentence": exports.sentence, "reply": exports.reply}
