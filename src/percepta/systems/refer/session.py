"""A picture that is asked sentences, and the answer to one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from percepta.errors import InputError, InputTypeError
from percepta.media import draw
from percepta.media import image as pictures
from percepta.metrics.masks import coco_rle_encode
from percepta.nn import clip
from percepta.systems.refer import Config
from percepta.systems.refer.cris import CRIS, letterbox
from percepta.systems.refer.data import fit
from percepta.systems.refer.model import LateText


@dataclass(frozen=True)
class Result:
    """The answer to one sentence.

    Attributes:
        sentence: as asked.
        mask: where it is, at the picture's own size; empty when nothing was found.
        probability: of each pixel to belong to it, 0..1 (before the answer "not found" empties the mask).
        score: how sure the network is that the thing is in the picture, 0..1.
        found: whether it is.
        picture: what was asked about, RGB.
    """

    sentence: str
    mask: Bool[np.ndarray, "h w"]
    probability: Float[np.ndarray, "h w"]
    score: float
    found: bool
    picture: UInt8[np.ndarray, "h w 3"]

    def draw(self) -> Image.Image:
        """The picture with the mask on it, below it the sentence and the score."""
        text = self.sentence if self.found else f"{self.sentence}: not found"
        return draw.overlay(self.picture, self.mask, text, draw.colours(2)[1], score=self.score)

    def save(self, path: Path | str) -> None:
        """Writes the mask as a PNG (0 and 255), and beside it a JSON with sentence, score and the mask as COCO RLE."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            path = path.with_name(f"{path.name}.png")
        row = {
            "sentence": self.sentence,
            "score": self.score,
            "found": self.found,
            "segmentation": coco_rle_encode(self.mask),
        }
        draw.write_picture(path, Image.fromarray(self.mask.astype(np.uint8) * 255), row)


class Session:
    """A picture that is encoded once and asked any number of sentences."""

    def __init__(self, config: Config, picture: Any) -> None:
        self.config = config
        self.image = pictures.read(picture)
        self.shown = np.array(pictures.to_pil(self.image))

    @torch.inference_mode()
    def predict(self, sentence: str | Sequence[str]) -> Result | list[Result]:
        """The answer to a sentence, or to each of several.

        Raises:
            InputError: a sentence is empty, or no string.
        """
        sentences = [sentence] if isinstance(sentence, str) else list(sentence)
        for s in sentences:
            if not isinstance(s, str) or not s.strip():
                raise InputError(f"expected a sentence that names something, such as 'the red skirt'; got {s!r}")
        if not sentences:
            return []
        probability, score = self.answer(sentences)
        results = []
        for s, p, sure in zip(sentences, probability.cpu().numpy(), score.tolist(), strict=True):
            mask = p > self.config.threshold
            found = sure >= self.config.found and bool(mask.any())
            results.append(Result(s, mask if found else np.zeros_like(mask), p, sure, found, self.shown))
        return results[0] if isinstance(sentence, str) else results

    def answer(self, sentences: list[str]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
        """Probability maps at the picture's own size, and scores 0..1."""
        raise NotImplementedError

    def fit_map(self, sentence: str) -> Float[np.ndarray, "h w"] | None:
        """How well a sentence fits each place by the encoders alone (a class-activation map), or None."""
        return None


class LateSession(Session):
    """With the light network: a further sentence costs the decoder alone."""

    def __init__(self, model: LateText, config: Config, picture: Any) -> None:
        super().__init__(config, picture)
        self.model = model
        square, self.place = fit(self.image, config.sight)
        weight = model.fit_scale
        with torch.inference_mode():
            self.seen = model.encode_image(square[None].to(weight.device, weight.dtype))

    def answer(self, sentences: list[str]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
        owner = torch.zeros(len(sentences), dtype=torch.long, device=self.seen.s16.device)
        said = self.model.answer(self.seen, self.model.encode_text(sentences), owner)
        return self.place.back(said.logits.float()).sigmoid(), said.presence.float().sigmoid()

    @torch.inference_mode()
    def fit_map(self, sentence: str) -> Float[np.ndarray, "h w"]:
        unit = self.model.align.image(self.seen.places.movedim(1, -1))
        direction = self.model.encode_text([sentence]).direction
        return self.place.back(torch.einsum("bhwd,bd->bhw", unit, direction).float())[0].cpu().numpy()


class CrisSession(Session):
    """With the paper's network: what of encoder and neck needs no text is kept.

    It has no answer for "not there": the score is the mean probability inside the mask.
    """

    def __init__(self, model: CRIS, config: Config, picture: Any) -> None:
        super().__init__(config, picture)
        self.model = model
        square, self.box = letterbox(self.image, config.sight)
        weight = next(model.parameters())
        with torch.inference_mode():
            seen = model.encode_image(clip.normalise(square)[None].to(weight.device, weight.dtype))
            self.seen = model.prepare(seen)

    def answer(self, sentences: list[str]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
        words = clip_words(sentences, self.model.word_len).to(self.seen[0].device)
        tokens, state = self.model.encode_text(words)
        probability = self.box.recover(self.model.answer(self.seen, tokens, state, words)[:, 0])
        inside = probability > self.config.threshold
        return probability, (probability * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)


def open_session(model: nn.Module, config: Config, picture: Any) -> Session:
    """The session of either network."""
    if isinstance(model, CRIS):
        return CrisSession(model, config, picture)
    if isinstance(model, LateText):
        return LateSession(model, config, picture)
    raise InputTypeError(f"expected a network that refer.task.build made, got {type(model).__name__}")


@functools.cache
def _tokenizer() -> clip.Tokenizer:
    return clip.Tokenizer()


def clip_words(sentences: Sequence[str], length: int) -> Int[Tensor, "b length"]:
    """CLIP's ids; a sentence that is too long keeps its end token."""
    return _tokenizer()(list(sentences), length)
