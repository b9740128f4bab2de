"""The code of a sentence, a picture or a video, and how well a sentence fits a picture or a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload
from warnings import warn

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from percepta.contract import Answers, Evaluate, OpenStream, described, weights_hash
from percepta.errors import InputError
from percepta.media import image as media
from percepta.media.draw import Shown, wrapped
from percepta.media.image import SUFFIXES, VIDEO_SUFFIXES, Source
from percepta.nn.text import check_words, foreign_note
from percepta.systems.hashing import Config
from percepta.systems.hashing.frames import video_frames
from percepta.systems.hashing.model import Hasher

S = TypeVar("S", bound=Source)
LONG_SIDE = 320  # pixels of the longer side of the picture in a drawing
_BAR, _INK, _ON, _OFF = (24, 26, 31), (245, 246, 248), (255, 200, 40), (52, 56, 66)


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The code of a sentence, a picture or a video.

    Attributes:
        source: what was given: the sentence, or the file's name ("" for pixels).
        kind: "sentence", "picture" or "video".
        code: the bits, eight a byte, the first bit the highest: what an index holds.
        bits: one by one.
        vector: of length 1, in the image-text space: what was hashed.
        picture: RGB, at most 320 pixels long (of a video: the frame in the middle); None for a sentence.
        sentence: what it was compared with; "" for nothing.
        score: share of the bits in which the two codes agree: 0.5 is chance, 1 the same code; None for nothing.
        weights: hash of the weights that made it.
    """

    source: str
    kind: str
    code: UInt8[np.ndarray, " n8"]
    bits: Bool[np.ndarray, " n"]
    vector: Float[np.ndarray, " d"]
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    sentence: str = ""
    score: float | None = None
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "a dog jumps: 62 % of the bits agree", or the kind and the first bits of the code."""
        if self.score is not None:
            return f"{self.sentence}: {self.score:.0%} of the bits agree"
        return f"{self.kind}, code of {len(self.bits)} bits {self.code[:8].tobytes().hex()}..."

    def draw(self) -> Image.Image:
        """The picture, or the sentence, and below it the code as a strip: a cell a bit, in rows."""
        width = LONG_SIDE if self.picture is None else max(self.picture.shape[1], 160)
        columns = 64 if len(self.bits) > 64 else 32
        cell = max(2, (width - 20) // columns)
        rows = -(-len(self.bits) // columns)
        font = ImageFont.load_default(14)
        lines = wrapped(self.sentence or (self.source if self.picture is None else ""), font, width - 20)
        top = 0 if self.picture is None else self.picture.shape[0]
        text = 20 * len(lines) + (0 if self.score is None else 20)
        out = Image.new("RGB", (width, top + text + rows * cell + 24), _BAR)
        if self.picture is not None:
            out.paste(Image.fromarray(self.picture), ((width - self.picture.shape[1]) // 2, 0))
        pen = ImageDraw.Draw(out)
        if self.score is not None:
            lines = [*lines, f"{self.score:.0%} of the bits agree"]
        for number, line in enumerate(lines):
            pen.text((10, top + 8 + 20 * number), line, _INK, font)
        top += 14 + text
        left = (width - columns * cell) // 2
        for number, bit in enumerate(self.bits):
            x, y = left + number % columns * cell, top + number // columns * cell
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), _ON if bit else _OFF)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: source, kind, code (hexadecimal), vector, the sentence and its score, weights."""
        row: dict[str, Any] = {"source": self.source, "kind": self.kind, "bits": len(self.bits)}
        row |= {"code": self.code.tobytes().hex(), "vector": [round(float(value), 6) for value in self.vector]}
        if self.sentence:
            row |= {"sentence": self.sentence, "score": self.score}
        return {**row, "weights": self.weights}


@dataclass(frozen=True)
class Hashing:
    """Search by hash codes, ready to use: `percepta.load("hashing")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on a folder of data; without one, on its synthetic world.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: Hasher
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "hashing"

    def __repr__(self) -> str:
        return described(self)

    @staticmethod
    def dtypes(config: Config) -> tuple[str, ...]:
        """What the network computes in; see `contract.HasDtypes`."""
        return ("float32", "bfloat16", "float16", "float64")

    @overload
    def predict(self, source: Source, sentences: str | None = None) -> Result: ...
    @overload
    def predict(self, source: Source, sentences: list[str] | tuple[str, ...]) -> list[Result]: ...
    @overload
    def predict(
        self, source: list[S] | tuple[S, ...], sentences: str | list[str] | tuple[str, ...] | None = None
    ) -> list[Result]: ...
    @torch.no_grad()
    def predict(self, source: Any, sentences: str | Sequence[str] | None = None) -> Result | list[Result]:
        """The code of a sentence, a picture or a video.

        Args:
            source: a sentence; the path of a picture or of a video; a picture (PIL image, array, tensor); or a list of
                any of these. Text counts as a path where such a file exists or where it ends as one of a picture or
                video does.
            sentences: one or several; then there is one result for each, with how well it fits what was given.

        Returns:
            One Result, or a list of them where a list, or several sentences, were given.

        Raises:
            MissingFileError, InputError: no such file, a damaged one, or an empty sentence.
        """
        if isinstance(source, list | tuple):
            return [result for one in source for result in self._compared(one, sentences)]
        results = self._compared(source, sentences)
        return results[0] if sentences is None or isinstance(sentences, str) else results

    def stream(
        self,
        source: Any,
        sentences: str | list[str] | tuple[str, ...] | None = None,
        *,
        batch_size: int = 1,
        recursive: bool = False,
        fps: float | None = None,
    ) -> Answers[Result]:
        """The code of every picture of a folder, of every frame of a video, of a camera ..., one after the other.

        One that cannot be read gives an answer with an error; the others go on.

        Args:
            source: a path, folder, pattern, picture, bytes, video, "camera:0", or a list or generator of these.
            sentences: one or several; then there is one result for each, with how well it fits the picture.
            batch_size: pictures that are read before the first of them is answered.
            recursive: also the sub-folders of folders.
            fps: at most so many frames a second of a video; None for all.

        Raises:
            InputError: an argument out of its range, or an empty sentence.
        """
        with torch.no_grad():
            asked = None if sentences is None else self._asked(sentences)

        @torch.no_grad()
        def answer(several: list[Source]) -> list[list[Result]]:
            return [_against(_encode(self.model, one), asked) for one in several]

        return self.open_stream(source, answer, batch_size=batch_size, recursive=recursive, fps=fps)

    def _compared(self, source: Source, sentences: str | Sequence[str] | None) -> list[Result]:
        return _against(_encode(self.model, source), None if sentences is None else self._asked(sentences))

    def _asked(self, sentences: Any) -> list[Result]:
        """The codes of sentences, each computed once."""
        several = list(sentences) if isinstance(sentences, list | tuple) else [sentences]
        if not several:
            raise InputError("expected a sentence, or a list with at least one; got an empty list")
        return [_encode_sentence(self.model, sentence) for sentence in several]


def _against(result: Result, asked: list[Result] | None) -> list[Result]:
    """A result, compared with each of some sentences."""
    if asked is None:
        return [result]
    return [replace(result, sentence=one.source, score=float((one.bits == result.bits).mean())) for one in asked]


def _encode(model: Hasher, source: Source) -> Result:
    if isinstance(source, str) and not _is_file(source):
        return _encode_sentence(model, source)
    path = Path(source) if isinstance(source, str | Path) else None
    if path is not None and path.suffix.lower() in VIDEO_SUFFIXES:
        frames = video_frames(path, model.config.frames, model.side)
        vectors = model.video(frames)
        return _result(model, path.name, "video", vectors, model.hash(vectors), frames[len(frames) // 2])
    shown = media.read(source, long_side=LONG_SIDE)
    vectors, bits = model.picture_codes(media.squeeze_square(source, model.side)[None].to(model.device))
    return _result(model, "" if path is None else path.name, "picture", vectors, bits, shown)


def _encode_sentence(model: Hasher, sentence: str) -> Result:
    if not isinstance(sentence, str) or not sentence.strip():
        raise InputError(f"expected a sentence, such as 'a dog jumps over a hurdle'; got {sentence!r}")
    check_words(model.text, [sentence])
    if note := foreign_note(model.text, sentence):
        warn(f"{sentence!r}: {note}", stacklevel=3)
    vectors, bits = model.sentence_codes([sentence])
    return _result(model, sentence, "sentence", vectors, bits, None)


def _is_file(text: str) -> bool:
    """Whether a text means a file."""
    if Path(text).suffix.lower() in SUFFIXES | VIDEO_SUFFIXES:
        return True
    return len(text) < 1024 and Path(text).expanduser().is_file()


def _result(model: Hasher, source: str, kind: str, vectors: Tensor, bits: Tensor, picture: Tensor | None) -> Result:
    row = bits[0].cpu().numpy()
    shown = None if picture is None else np.array(media.to_pil(picture))  # a copy: arrays of PIL are read-only
    vector = vectors[0].float().cpu().numpy()
    return Result(source, kind, np.packbits(row), row, vector, shown, weights=weights_hash(model))
