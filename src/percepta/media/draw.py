"""Masks drawn onto pictures, and pictures laid out on a sheet."""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media.image import Source, read, to_pil

Colour: TypeAlias = tuple[int, int, int]

# Far apart from each other, bright enough to stand on photographs; the first is the one for a single mask.
_PALETTE: tuple[Colour, ...] = (
    (255, 77, 77),
    (46, 196, 255),
    (255, 200, 40),
    (72, 214, 116),
    (186, 112, 255),
    (255, 140, 40),
    (255, 105, 190),
    (40, 220, 200),
)
_BAR, _INK, _FAINT = (24, 26, 31), (245, 246, 248), (168, 174, 186)
_PAPER, _TEXT = (250, 250, 250), (34, 36, 42)


def write_picture(path: Path | str, picture: Image.Image, numbers: Mapping[str, Any] | None = None) -> Path:
    """A drawing as a PNG, and beside it, of the same name, what it shows as JSON: each whole or not at all.

    Args:
        picture: the drawing.
        numbers: what the JSON holds; None writes none.
        path: with any ending; its folder is made.
    """
    path = Path(path)
    if numbers is not None:
        write_atomically(path.with_suffix(".json"), json.dumps(numbers, ensure_ascii=False) + "\n")
    return write_atomically(path, png(picture))


def write_image(path: Path | str, picture: Image.Image) -> Path:
    """A picture in the format of its ending (JPEG where that is none), whole or not at all."""
    path, content = Path(path), io.BytesIO()
    kind = Image.registered_extensions().get(path.suffix.lower(), "JPEG")
    picture.convert("RGB").save(content, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return write_atomically(path, content.getvalue())


def png(picture: Image.Image) -> bytes:
    """A drawing as the bytes of a PNG file; notebooks show results by it."""
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


class Shown(Protocol):
    """What results share: a text that names them, a drawing that notebooks show. Dataclasses say `repr=False`."""

    @property
    def text(self) -> str: ...
    def draw(self) -> Image.Image: ...
    def to_dict(self) -> dict[str, Any]: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text})"

    def _repr_png_(self) -> bytes:
        return png(self.draw())

    def save(self, path: Path | str) -> Path:
        """The drawing as a picture, and beside it `to_dict` as JSON of the same name; returns where the drawing is."""
        return write_picture(path, self.draw(), self.to_dict())


def colours(n: int) -> list[Colour]:
    """n distinct colours, RGB 0..255, up to 200; the first ones do not depend on n.

    Raises:
        InputError: more than that.
    """
    tones = ((1.0, 1.0), (0.55, 1.0), (0.9, 0.7), (0.5, 0.75))
    pool = [np.multiply(colorsys.hsv_to_rgb(hue / 48, *tone), 255).round() for hue in range(48) for tone in tones]
    if n > len(_PALETTE) + len(pool):
        raise InputError(f"at most {len(_PALETTE) + len(pool)} colours can be told apart, not {n}")
    chosen = [np.asarray(colour, float) for colour in _PALETTE[:n]]
    rest = np.stack(pool)
    gaps = np.min([np.linalg.norm(rest - colour, axis=1) for colour in _PALETTE], axis=0)
    while len(chosen) < n:  # the one farthest from all that are taken
        chosen.append(rest[gaps.argmax()])
        gaps = np.minimum(gaps, np.linalg.norm(rest - chosen[-1], axis=1))
    return [(int(r), int(g), int(b)) for r, g, b in chosen]


def overlay(
    image: Source,
    mask: Any,
    text: str = "",
    colour: Colour = _PALETTE[0],
    contour: float | None = None,
    *,
    score: float | None = None,
    alpha: float = 0.45,
    dim: float = 0.0,
) -> Image.Image:
    """The picture with a tinted, outlined mask, and below it a bar with the sentence and the score.

    Args:
        image: anything that `media.image.read` takes.
        mask: Boolean `h w` (array or tensor on the CPU) of the picture's size; an empty one draws nothing.
        text: sentence for the bar; with neither text nor score there is no bar and the size stays.
        colour: RGB 0..255.
        contour: width of the outline in pixels, 0 for none; None: 2, more on pictures above 800 pixels.
        score: 0..1, written at the right of the bar.
        alpha: strength of the tint, 0..1.
        dim: how much of their light the places outside lose, 0..1: a mask stands out then, whatever colour is below.
            Nothing is dimmed where the mask is empty.

    Raises:
        InputError: mask and picture differ in size; what `read` raises.
    """
    pixels = read(image).numpy().transpose(1, 2, 0)
    inside = np.asarray(mask).astype(bool)
    if inside.shape != pixels.shape[:2]:
        raise InputError(f"the mask is {inside.shape}, the picture {pixels.shape[:2]} (height, width)")
    width = max(2.0, max(inside.shape) / 400) if contour is None else float(contour)
    if dim and inside.any():
        pixels = np.where(inside[..., None], pixels, pixels * np.float32(1 - dim))
    drawn = to_pil(_tint(pixels, inside, colour, width, alpha).transpose(2, 0, 1))
    return with_bar(drawn, text, score, colour) if text or score is not None else drawn


def sheet(
    images: Sequence[Any], columns: int = 4, width: int = 1200, captions: Sequence[str] | None = None
) -> Image.Image:
    """Contact sheet: pictures of any sizes in rows, each fitted into a square, captions (two lines) below.

    Args:
        images: anything that `media.image.read` takes.
        columns: pictures a row; fewer pictures make fewer columns.
        width: of the sheet, in pixels.
        captions: one text a picture.

    Raises:
        InputError: no pictures, or not one caption a picture.
    """
    if not images:
        raise InputError("a contact sheet needs at least one picture")
    if captions is not None and len(captions) != len(images):
        raise InputError(f"{len(images)} pictures but {len(captions)} captions")
    columns = max(1, min(columns, len(images)))
    gap = max(4, width // 100)
    cell = (width - gap * (columns + 1)) // columns
    if cell < 8:
        raise InputError(f"{columns} columns do not fit into {width} pixels")
    letters = max(11, min(18, cell // 18))
    font, line = ImageFont.load_default(letters), round(letters * 1.35)
    thumbs = [_fit(image, cell) for image in images]
    rows = [range(i, min(i + columns, len(thumbs))) for i in range(0, len(thumbs), columns)]
    foot = 2 * line + gap // 2 if captions is not None else 0
    heights = [max(thumbs[i].height for i in row) + foot for row in rows]
    page = Image.new("RGB", (width, sum(heights) + gap * (len(rows) + 1)), _PAPER)
    pen = ImageDraw.Draw(page)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = gap + column * (cell + gap)
            space = height - foot - thumbs[i].height
            page.paste(thumbs[i], (left, top + space))
            for k, words in enumerate(wrapped(captions[i], font, cell, 2) if captions is not None else ()):
                pen.text((left, top + height - foot + gap // 2 + k * line), words, _TEXT, font)
        top += height + gap
    return page


def _tint(
    pixels: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"],
    colour: Colour,
    contour: float,
    alpha: float,
) -> Float[np.ndarray, "h w 3"]:
    out = pixels.copy()
    if not inside.any():
        return out
    margin = int(contour) + 4
    ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = (
        slice(max(0, ys[0] - margin), ys[-1] + margin + 1),
        slice(max(0, xs[0] - margin), xs[-1] + margin + 1),
    )
    distance = _signed_distance(inside[box])
    part = out[box]
    rgb = np.asarray(colour, np.float32) / 255
    part += (rgb - part) * (alpha * np.clip(0.5 - distance, 0, 1))[..., None]
    if contour > 0:
        # A darker line just outside keeps the outline visible on backgrounds of its own colour.
        halo = np.clip(contour / 2 + 1.5 - np.abs(distance), 0, 1) * 0.5 * (distance > 0)
        part *= (1 - halo)[..., None]
        line = np.clip(contour / 2 + 0.5 - np.abs(distance), 0, 1)
        part += (rgb - part) * line[..., None]
    return out


def _signed_distance(inside: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Pixels to the outline, negative inside; smoothed a little so that the steps of the mask do not show."""
    # The border repeats: a mask that runs out of the picture has no outline along the frame.
    padded = np.pad(inside, 4, mode="edge")
    if padded.all():
        return np.full(inside.shape, -4.0, np.float32)
    outer, inner = ndimage.distance_transform_edt(~padded), ndimage.distance_transform_edt(padded)
    distance = np.where(padded, 0.5 - np.asarray(inner), np.asarray(outer) - 0.5)
    return ndimage.gaussian_filter(distance, 0.9)[4:-4, 4:-4].astype(np.float32)


def with_bar(image: Image.Image, text: str, score: float | None, colour: Colour) -> Image.Image:
    """The picture with a bar of text below it: a chip of the colour, the text in three lines at most, the score.

    Args:
        image: what stands above the bar.
        text: the words; three lines at most.
        score: 0..1, written at the right; None for none.
        colour: RGB, 0..255, of the chip.
    """
    size = max(12, round(min(image.width / 22, 12 + image.width / 90)))
    font, pad = ImageFont.load_default(size), round(size * 0.6)
    number = "" if score is None else f"{score:.2f}"
    chip = round(size * 0.8)
    left = 2 * pad + chip
    room = image.width - left - pad - (round(font.getlength(number)) + pad if number else 0)
    lines = wrapped(text, font, max(room, size), 3)
    line = round(size * 1.3)
    out = Image.new("RGB", (image.width, image.height + line * max(1, len(lines)) + pad), _BAR)
    out.paste(image, (0, 0))
    pen = ImageDraw.Draw(out)
    top = image.height + pad // 2
    middle = top + line / 2
    spot = (pad, middle - chip / 2, pad + chip, middle + chip / 2)
    pen.rounded_rectangle(spot, radius=chip / 4, fill=colour)
    for k, words in enumerate(lines):
        pen.text((left, middle + k * line), words, _INK, font, anchor="lm")
    if number:
        pen.text((out.width - pad, middle), number, _FAINT, font, anchor="rm")
    return out


def wrapped(text: str, font: Any, width: int, max_lines: int = 3) -> list[str]:
    """Text in lines that fit; what exceeds the last line, or a word that is too long, ends in an ellipsis.

    Args:
        text: words.
        font: of PIL.
        width: of a line, in pixels.
        max_lines: how many there may be.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = len(lines) > max_lines
    lines = lines[:max_lines]
    for k, words in enumerate(lines):
        dots = cut and k == max_lines - 1
        while words and font.getlength(words + "…" * dots) > width:
            words, dots = words[:-1].rstrip(), True
        lines[k] = words + "…" * dots
    return lines


def _fit(image: Any, side: int) -> Image.Image:
    picture = image if isinstance(image, Image.Image) and image.mode == "RGB" else to_pil(read(image))
    scale = side / max(picture.size)
    new = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(new, Image.Resampling.LANCZOS)
