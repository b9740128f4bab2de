"""What the house asks of a system, for search by hash codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from percepta.errors import InputError
from percepta.media import image as media
from percepta.media.draw import write_picture
from percepta.media.image import SUFFIXES, VIDEO_SUFFIXES
from percepta.systems.hashing import Config
from percepta.systems.hashing.data import Pairs, Whole, library, video_looks
from percepta.systems.hashing.measure import measure
from percepta.systems.hashing.model import Hasher

PRETRAINED = {"image": "efficientnet-lite0", "text": "minilm-l6-v2", "align": "align-v2", "clip": "clip-vit-b-32"}
SHOWN = 320  # pixels of the longer side of the picture in a drawing
_BAR, _INK, _ON, _OFF = (24, 26, 31), (245, 246, 248), (255, 200, 40), (52, 56, 66)


def build(config: Config) -> Hasher:
    """The network with random weights; the parts that PRETRAINED names are filled by `load` and `train`."""
    return Hasher(config)


def data(config: Config, split: str, root: Path | None = None) -> Pairs | Whole:
    """Samples of a split ("train", "val", "test", "all") of a folder in any layout of `data.LAYOUTS`.

    Without a folder: coloured quilts and sentences that name some of their patches, see `quilts.py`.
    """
    found = library(config, split, root)
    return Pairs(found, config.train.seed) if split == "train" else Whole(found)


def loss(model: nn.Module, batch: dict[str, Any], step: Any) -> dict[str, Tensor]:
    """The hashing network's loss on a batch of pairs; see `nets.py` and `losses.py`.

    The library is looked at once. At step 0 what has a closed form is taken from all of it, at the last one what the
    network freezes about it.
    """
    hasher = cast(Hasher, model)
    seen, said = (part.float() for part in hasher.see(batch["library"]))
    if step.number == 0:
        hasher.net.settle(seen, said, batch["library"].owner.to(seen.device))
    steps = hasher.config.train.steps
    if step.number == steps - 1:
        hasher.net.finish(seen, said)
    return hasher.net.objective(seen[batch["video"]], said[batch["sentence"]], step.number / steps)


def metrics(model: nn.Module, loader: Any) -> dict[str, Any]:
    """R@1/5/10, MedR and mAP in both directions, beside cosine, random projections and chance; see `measure`."""
    return measure(model, loader)


@dataclass(frozen=True)
class Result:
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
    """

    source: str
    kind: str
    code: UInt8[np.ndarray, " n8"]
    bits: Bool[np.ndarray, " n"]
    vector: Float[np.ndarray, " d"]
    picture: UInt8[np.ndarray, "h w 3"] | None = None
    sentence: str = ""
    score: float | None = None

    def draw(self) -> Image.Image:
        """The picture, or the sentence, and below it the code as a strip: a cell a bit, in rows."""
        width = SHOWN if self.picture is None else max(self.picture.shape[1], 160)
        columns = 64 if len(self.bits) > 64 else 32
        cell = max(2, (width - 20) // columns)
        rows = -(-len(self.bits) // columns)
        font = ImageFont.load_default(14)
        lines = _wrap(self.sentence or (self.source if self.picture is None else ""), font, width - 20)
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

    def save(self, path: Path | str) -> None:
        """The drawing as a picture, and beside it a JSON of the same name with code (hexadecimal) and vector."""
        row: dict[str, Any] = {"source": self.source, "kind": self.kind, "bits": len(self.bits)}
        row |= {"code": self.code.tobytes().hex(), "vector": [round(float(value), 6) for value in self.vector]}
        if self.sentence:
            row |= {"sentence": self.sentence, "score": self.score}
        write_picture(path, self.draw(), row)


@torch.no_grad()
def predict(model: nn.Module, given: Any, sentences: str | Sequence[str] | None = None) -> Result | list[Result]:
    """The code of a sentence, a picture or a video.

    Args:
        given: a sentence; the path of a picture or of a video; a picture (PIL image, array, tensor); or a list of any
            of these. Text counts as a path where such a file exists or where it ends as one of a picture or video does.
        sentences: one or several; then there is one result for each, with how well it fits what was given.

    Returns:
        one Result, or a list of them where a list, or several sentences, were given.

    Raises:
        MissingFileError, InputError: no such file, a damaged one, or an empty sentence.
    """
    hasher = cast(Hasher, model)
    if isinstance(given, list | tuple):
        found = [predict(model, one, sentences) for one in given]
        return [r for one in found for r in (one if isinstance(one, list) else [one])]
    result = _code(hasher, given)
    if sentences is None:
        return result
    asked = [sentences] if isinstance(sentences, str) else list(sentences)
    compared = []
    for sentence in asked:
        agree = float((_code(hasher, sentence, is_text=True).bits == result.bits).mean())
        compared.append(Result(**{**vars(result), "sentence": sentence, "score": agree}))
    return compared[0] if isinstance(sentences, str) else compared


def _code(hasher: Hasher, given: Any, is_text: bool = False) -> Result:
    if isinstance(given, str) and (is_text or not _is_file(given)):
        if not given.strip():
            raise InputError("the sentence is empty; say what to look for, such as 'a dog jumps over a hurdle'")
        vectors, bits = hasher.sentence_codes([given])
        return _result(given, "sentence", vectors, bits, None)
    path = Path(given) if isinstance(given, str | Path) else None
    if path is not None and path.suffix.lower() in VIDEO_SUFFIXES:
        frames = video_looks(path, hasher.config.frames, hasher.side)
        vectors = hasher.video(frames)
        return _result(path.name, "video", vectors, hasher.hash(vectors), frames[len(frames) // 2])
    shown = media.read(given, long_side=SHOWN)
    vectors, bits = hasher.picture_codes(media.squeeze_square(given, hasher.side)[None].to(hasher.device))
    return _result("" if path is None else path.name, "picture", vectors, bits, shown)


def _is_file(text: str) -> bool:
    """Whether a text means a file."""
    if Path(text).suffix.lower() in SUFFIXES | VIDEO_SUFFIXES:
        return True
    return len(text) < 1024 and Path(text).expanduser().is_file()


def _result(source: str, kind: str, vectors: Tensor, bits: Tensor, picture: Tensor | None) -> Result:
    row = bits[0].cpu().numpy()
    shown = None if picture is None else np.array(media.to_pil(picture))  # a copy: arrays of PIL are read-only
    return Result(source, kind, np.packbits(row), row, vectors[0].float().cpu().numpy(), shown)


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Lines that fit `width` pixels, three at most."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:3]


class PictureVectors(nn.Module):
    """The part with an ONNX graph: pictures (b 3 s s; RGB 0..1) to unit vectors and margins, whose signs are bits."""

    def __init__(self, model: Hasher) -> None:
        super().__init__()
        self.image, self.align, self.net = model.image or model.clip, model.align, model.net

    def forward(self, image: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b n"]]:
        vectors = self.align.pictures(self.image, image)
        return vectors, self.net.margin(vectors)


def export_picture(model: Hasher) -> tuple[nn.Module, dict[str, Tensor], list[str], dict[str, dict[int, str]]]:
    """What `percepta.export` asks for; several pictures at a time."""
    image = torch.rand(2, 3, model.side, model.side, generator=torch.Generator().manual_seed(0))
    return PictureVectors(model).eval(), {"image": image}, ["vector", "margin"], {"image": {0: "pictures"}}


EXPORTS = {
    "picture": export_picture,
    "sentence": "the tokenizer is no graph; a sentence takes a few milliseconds in torch",
}
