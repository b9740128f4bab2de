"""A picture and a sentence to a mask: what `percepta.load("refer")` gives, its sessions and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Answers, Evaluate, OpenStream, described, weights_hash
from percepta.errors import InputError, InputTypeError, check_between
from percepta.media import draw
from percepta.media import image as pictures
from percepta.media.draw import Shown
from percepta.media.image import Source
from percepta.metrics.masks import coco_rle_encode
from percepta.nn import clip
from percepta.nn.text import check_words, foreign_note
from percepta.systems.refer import Config
from percepta.systems.refer import cris as paper
from percepta.systems.refer.cris import CRIS, letterbox, tokenize
from percepta.systems.refer.model import LateText, fit

# Where nothing else is asked for, by `Config.design`. The paper's network has no answer for "not there".
# 0.4 is where, on the held-out half that nothing is reported on, most of what is there is found and most of what is not
# is refused (the largest sum of both shares).
SCORE_THRESHOLD = {"late": 0.4, "cris": 0.0}
MASK_THRESHOLD = {"late": 0.5, "cris": paper.THRESHOLD}
# Of `every`: probability of a place being the middle of a thing, and the share of the largest thing's pixels below
# which a piece without a middle is no thing.
MIDDLE_THRESHOLD, PIECE = 0.3, 0.1


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The answer to one sentence.

    Attributes:
        sentence: as asked.
        mask: where it is, at the picture's own size; empty when nothing was found.
        probability: of each pixel to belong to it, 0..1 (before the answer "not found" empties the mask).
        score: how sure the network is that the thing is in the picture, 0..1.
        found: whether it is: the score reaches `score_threshold` and a pixel lies above `mask_threshold`.
        picture: what was asked about, RGB.
        weights: hash of the weights that gave the answer.
        note: what is odd about the sentence: that it does not seem to be English; "" for nothing.
    """

    sentence: str
    mask: Bool[np.ndarray, "h w"]
    probability: Float[np.ndarray, "h w"]
    score: float
    found: bool
    picture: UInt8[np.ndarray, "h w 3"]
    weights: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "the red skirt 93 %", or "the dog: not found (8 %)"."""
        said = f"{self.sentence} {self.score:.0%}" if self.found else f"{self.sentence}: not found ({self.score:.0%})"
        return f"{said}; {self.note}" if self.note else said

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Left, top, width and height of the mask in pixels, as COCO has them; None where nothing was found."""
        if not self.mask.any():
            return None
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        left, top = int(columns[0]), int(rows[0])
        return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1

    def draw(self) -> Image.Image:
        """The picture with the mask on it, below it the sentence and the score."""
        text = self.sentence if self.found else f"{self.sentence}: not found"
        return draw.overlay(self.picture, self.mask, text, draw.colours(2)[1], score=self.score, dim=0.4)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: sentence, score, found, box (left, top, width, height), mask as COCO run lengths, weights."""
        return {
            "sentence": self.sentence,
            "score": self.score,
            "found": self.found,
            "box": self.box,
            "segmentation": coco_rle_encode(self.mask),
            "weights": self.weights,
            **({"note": self.note} if self.note else {}),
        }

    def save(self, path: Path | str) -> Path:
        """Writes the mask as a PNG (0 and 255), and beside it `to_dict` as JSON; returns where the mask is."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            path = path.with_name(f"{path.name}.png")
        return draw.write_picture(path, Image.fromarray(self.mask.astype(np.uint8) * 255), self.to_dict())


class Session:
    """A picture that is encoded once and asked any number of sentences.

    Attributes:
        image: the picture, RGB in 0..1, `3 h w`.
        score_threshold: lowest score of what counts as found.
        mask_threshold: probability above which a pixel belongs to the mask.
        weights: hash of the network's weights.
    """

    def __init__(
        self,
        model: Any,
        config: Config,
        picture: Source,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> None:
        self.score_threshold = SCORE_THRESHOLD[config.design] if score_threshold is None else score_threshold
        self.mask_threshold = MASK_THRESHOLD[config.design] if mask_threshold is None else mask_threshold
        check_between("score_threshold", self.score_threshold, 0, 1)
        check_between("mask_threshold", self.mask_threshold, 0, 1)
        self.image = pictures.read(picture)
        self.weights = weights_hash(model)
        self._model = model
        self._pixels = np.array(pictures.to_pil(self.image))
        with torch.inference_mode():
            self._encode(config.size_at_prediction)

    @overload
    def predict(self, sentence: str, *, every: Literal[False] = False) -> Result: ...
    @overload
    def predict(self, sentence: list[str] | tuple[str, ...], *, every: Literal[False] = False) -> list[Result]: ...
    @overload
    def predict(self, sentence: str, *, every: Literal[True]) -> list[Result]: ...
    @overload
    def predict(self, sentence: list[str] | tuple[str, ...], *, every: Literal[True]) -> list[list[Result]]: ...
    @torch.inference_mode()
    def predict(
        self, sentence: str | list[str] | tuple[str, ...], *, every: bool = False
    ) -> Result | list[Result] | list[list[Result]]:
        """The answer to a sentence, or to each of several.

        Args:
            sentence: one, or several.
            every: give each thing that a sentence fits as a result of its own, the surest first; none where nothing is
                found. Not with the paper's network.

        Raises:
            InputError: a sentence is empty, or no string; `every` is asked of the paper's network.
        """
        if every:
            single = isinstance(sentence, str)
            things = [self._every(text) for text in check_sentences(sentence)]
            return things[0] if single else things
        sentences = check_sentences(sentence)
        check_words(getattr(self._model, "text", None), sentences)
        probabilities, scores = self.answer(sentences)
        results = []
        for text, probability, score in zip(sentences, probabilities.cpu().numpy(), scores.tolist(), strict=True):
            mask = probability > self.mask_threshold
            found = score >= self.score_threshold and bool(mask.any())
            mask = mask if found else np.zeros_like(mask)
            note = foreign_note(getattr(self._model, "text", None), text)
            results.append(Result(text, mask, probability, score, found, self._pixels, self.weights, note))
        return results[0] if isinstance(sentence, str) else results

    def _every(self, sentence: str) -> list[Result]:
        """Each thing that a sentence fits; the score is that of the sentence times the thing's mean probability."""
        whole = self.predict(sentence)
        if not whole.found:
            return []
        masks = apart(whole.mask, self.middles(sentence))
        sure = [whole.score * float(whole.probability[mask].mean()) for mask in masks]
        results = [replace(whole, mask=mask, score=score) for mask, score in zip(masks, sure, strict=True)]
        return sorted(results, key=lambda result: -result.score)

    def middles(self, sentence: str) -> list[tuple[float, float]]:
        """x and y, in pixels of the picture, of the middle of each thing that a sentence fits.

        Raises:
            InputError: the paper's network has no answer to that.
        """
        raise InputError("the paper's network gives one mask; every=True needs the light network, as in preset small")

    def _encode(self, size: int) -> None:
        """Keeps what no sentence changes of the picture, fitted into a square of `size` pixels."""
        raise NotImplementedError

    def answer(self, sentences: Sequence[str]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
        """Probability maps at the picture's own size, and scores 0..1."""
        raise NotImplementedError

    def activation_map(self, sentence: str) -> Float[np.ndarray, "h w"] | None:
        """How well a sentence fits each place by the encoders alone (a class-activation map), or None."""
        return None


class LateSession(Session):
    """With the light network: a further sentence costs the decoder alone."""

    _model: LateText

    def _encode(self, size: int) -> None:
        square, self._place = fit(self.image, size)
        weight = self._model.fit_scale
        self._encoded = self._model.encode_image(square[None].to(weight.device, weight.dtype))

    def answer(self, sentences: Sequence[str]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
        owner = torch.zeros(len(sentences), dtype=torch.long, device=self._encoded.s16.device)
        answer = self._model.answer(self._encoded, self._model.encode_text(sentences), owner)
        return self._place.back(answer.logits.float()).sigmoid(), answer.presence.float().sigmoid()

    @torch.inference_mode()
    def middles(self, sentence: str) -> list[tuple[float, float]]:
        owner = torch.zeros(1, dtype=torch.long, device=self._encoded.s16.device)
        none = torch.zeros(1, dtype=torch.bool, device=owner.device)
        answer = self._model.answer(self._encoded, self._model.encode_text([sentence]), owner, none)
        probability = answer.centres.float().sigmoid()
        top = probability == functional.max_pool2d(probability, 3, 1, 1)
        found = (top & (probability > MIDDLE_THRESHOLD))[0].nonzero().tolist()
        place, cell = self._place, self._place.size / probability.shape[-1]
        scale = place.height / place.inner_h, place.width / place.inner_w
        at = [(((y + 0.5) * cell - place.top) * scale[0], ((x + 0.5) * cell - place.left) * scale[1]) for y, x in found]
        return [(x, y) for y, x in at]

    @torch.inference_mode()
    def activation_map(self, sentence: str) -> Float[np.ndarray, "h w"]:
        unit = self._model.align.image(self._encoded.places.movedim(1, -1))
        direction = self._model.encode_text([sentence]).direction
        return self._place.back(torch.einsum("bhwd,bd->bhw", unit, direction).float())[0].cpu().numpy()


class CrisSession(Session):
    """With the paper's network: what of encoder and neck needs no text is kept.

    It has no answer for "not there": the score is the mean probability inside the mask.
    """

    _model: CRIS

    def _encode(self, size: int) -> None:
        square, self._box = letterbox(self.image, size)
        weight = next(self._model.parameters())
        features = self._model.encode_image(clip.normalise(square)[None].to(weight.device, weight.dtype))
        self._prepared = self._model.prepare(features)

    def answer(self, sentences: Sequence[str]) -> tuple[Float[Tensor, "n h w"], Float[Tensor, " n"]]:
        words = tokenize(sentences, self._model.word_len).to(self._prepared[0].device)
        tokens, state = self._model.encode_text(words)
        probability = self._box.recover(self._model.answer(self._prepared, tokens, state, words)[:, 0])
        inside = probability > self.mask_threshold
        return probability, (probability * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)


def check_sentences(given: Any) -> list[str]:
    """The sentences that a user gave, one or several.

    Raises:
        InputError: there is none, one is empty, or one is no text.
    """
    sentences = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else [given]
    if not sentences:
        raise InputError("expected a sentence, or a list with at least one; got an empty list")
    for text in sentences:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"expected a sentence that names something, such as 'the red skirt'; got {text!r}")
    return sentences


def open_session(
    model: nn.Module,
    config: Config,
    picture: Source,
    score_threshold: float | None = None,
    mask_threshold: float | None = None,
) -> Session:
    """The session of either network.

    Args:
        model: a network of `model.build`.
        config: what it was built from.
        picture: as `Refer.predict` takes it.
        score_threshold: lowest score of what counts as found, 0..1; None: that of the design.
        mask_threshold: probability above which a pixel belongs to the mask, 0..1; None: that of the design.

    Raises:
        MissingFileError, InputError: no picture (a video, a damaged file).
        InputTypeError: another network.
    """
    if isinstance(model, CRIS):
        return CrisSession(model, config, picture, score_threshold, mask_threshold)
    if isinstance(model, LateText):
        return LateSession(model, config, picture, score_threshold, mask_threshold)
    raise InputTypeError(f"expected a network that refer.model.build made, got {type(model).__name__}")


def apart(mask: Bool[np.ndarray, "h w"], middles: Sequence[tuple[float, float]]) -> list[Bool[np.ndarray, "h w"]]:
    """A mask cut into things: each piece of it is shared by the middles in it, a pixel goes to the nearest.

    A piece without a middle is a thing where it is not small beside the largest, and dropped elsewhere.

    Args:
        mask: of all things together; not empty.
        middles: x and y of each, in pixels; those outside of the mask go to the piece that is nearest.
    """
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(mask))
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    owned: dict[int, list[tuple[float, float]]] = {i + 1: [] for i in range(count)}
    for x, y in middles:
        row, column = (min(max(int(v), 0), n - 1) for v, n in zip((y, x), mask.shape, strict=True))
        row, column = (int(index[row, column]) for index in nearest)  # type: ignore[union-attr]
        owned[int(labels[row, column])].append((x, y))
    things = []
    for label, points in owned.items():
        piece = labels == label
        if len(points) < 2:
            things.append((piece, bool(points)))
            continue
        y, x = np.nonzero(piece)
        owner = np.argmin([(x - px) ** 2 + (y - py) ** 2 for px, py in points], 0)
        for i in range(len(points)):
            part = np.zeros_like(piece)
            part[y[owner == i], x[owner == i]] = True
            if part.any():
                things.append((part, True))
    least = PIECE * max(int(thing.sum()) for thing, _ in things)
    return [thing for thing, certain in things if certain or thing.sum() >= least]


@dataclass(frozen=True)
class Refer:
    """Referring segmentation, ready to use: `percepta.load("refer")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: nn.Module
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "refer"

    def __repr__(self) -> str:
        return described(self)

    @staticmethod
    def dtypes(config: Config) -> tuple[str, ...]:
        """What the network computes in; see `contract.HasDtypes`."""
        return ("float32", "bfloat16", "float16", "float64") if config.design == "cris" else ("float32",)

    @overload
    def predict(
        self,
        picture: Source,
        sentence: str,
        *,
        every: Literal[False] = False,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> Result: ...
    @overload
    def predict(
        self,
        picture: Source,
        sentence: list[str] | tuple[str, ...],
        *,
        every: Literal[False] = False,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> list[Result]: ...
    @overload
    def predict(
        self,
        picture: Source,
        sentence: str,
        *,
        every: Literal[True],
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> list[Result]: ...
    @overload
    def predict(
        self,
        picture: Source,
        sentence: list[str] | tuple[str, ...],
        *,
        every: Literal[True],
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> list[list[Result]]: ...
    def predict(
        self,
        picture: Source,
        sentence: str | list[str] | tuple[str, ...],
        *,
        every: bool = False,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> Result | list[Result] | list[list[Result]]:
        """Where the thing that a sentence names is in a picture.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3, h w 4) or a tensor (c h w), of any size; EXIF is
                applied.
            sentence: one, or several, each of which gets its own answer.
            every: give each thing that a sentence fits as a result of its own, the surest first; not with the paper's
                network.
            score_threshold: lowest score of what counts as found, 0..1; None: 0.4, with the paper's network 0.
            mask_threshold: probability above which a pixel belongs to the mask, 0..1; None: 0.5, with the paper's
                network 0.35.

        Returns:
            One result for one sentence, else a list of them; with `every` a list of results in place of each.

        Raises:
            MissingFileError, InputError: no picture (a video, a damaged file), or an empty sentence.
        """
        check_words(getattr(self.model, "text", None), check_sentences(sentence))
        session = self.session(picture, score_threshold=score_threshold, mask_threshold=mask_threshold)
        return session.predict(sentence, every=True) if every else session.predict(sentence)

    def stream(
        self,
        source: Any,
        sentence: str | list[str] | tuple[str, ...],
        *,
        batch_size: int = 1,
        recursive: bool = False,
        fps: float | None = None,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> Answers[Result]:
        """Every sentence for every picture of a folder, a video, a camera ..., one picture after the other.

        Each picture is encoded once. One that cannot be read gives an answer with an error; the others go on.

        Args:
            source: a path, folder, pattern, picture, bytes, video, "camera:0", or a list or generator of these.
            sentence: one, or several.
            batch_size: pictures that are read before the first of them is answered.
            recursive: also the sub-folders of folders.
            fps: at most so many frames a second of a video; None for all.
            score_threshold: as in `predict`.
            mask_threshold: as in `predict`.

        Returns:
            An iterable of answers, whose `results` are one for each sentence.

        Raises:
            InputError: an argument out of its range, or an empty sentence.
        """
        sentences = check_sentences(sentence)
        check_words(getattr(self.model, "text", None), sentences)

        def answer(several: list[Source]) -> list[list[Result]]:
            opened = (
                self.session(one, score_threshold=score_threshold, mask_threshold=mask_threshold) for one in several
            )
            return [session.predict(sentences) for session in opened]

        return self.open_stream(source, answer, batch_size=batch_size, recursive=recursive, fps=fps)

    def session(
        self,
        picture: Source,
        *,
        score_threshold: float | None = None,
        mask_threshold: float | None = None,
    ) -> Session:
        """A picture, encoded once: each `session.predict(sentence)` then costs little more than the sentence.

        Args:
            picture: as in `predict`.
            score_threshold: as in `predict`.
            mask_threshold: as in `predict`.

        Raises:
            MissingFileError, InputError: no picture (a video, a damaged file).
        """
        return open_session(self.model, self.config, picture, score_threshold, mask_threshold)
