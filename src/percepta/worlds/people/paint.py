"""Textures of people: skin, hair, a face, shirts with a print, trousers, cloth with stripes, checks and a border."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Pattern = Literal["plain", "stripes", "checks", "bands"]
PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "checks", "bands")


@dataclass(frozen=True)
class Look:
    """Colours (RGB 0..255) and patterns of a person.

    Attributes:
        skin, hair, shirt, print_, trousers, shoes, cloth, cloth_second: colours; `print_` is the shirt's second colour.
        shirt_pattern: of the shirt. cloth_pattern: of skirt, coat and wide sleeves.
        logo: words on the chest; "" for none.
        short_sleeves: whether the forearms are bare. shorts: whether the shanks are bare.
    """

    skin: Colour = (224, 172, 140)
    hair: Colour = (60, 42, 30)
    shirt: Colour = (235, 232, 222)
    print_: Colour = (35, 60, 120)
    trousers: Colour = (52, 60, 80)
    shoes: Colour = (40, 36, 36)
    cloth: Colour = (176, 40, 52)
    cloth_second: Colour = (245, 224, 180)
    shirt_pattern: Pattern = "plain"
    cloth_pattern: Pattern = "stripes"
    logo: str = "PERCEPTA"
    short_sleeves: bool = True
    shorts: bool = False


def random_look(rng: np.random.Generator, logo: str = "") -> Look:
    """Colours and patterns drawn at random."""

    def colour(low: int = 30, high: int = 240) -> Colour:
        red, green, blue = (int(x) for x in rng.integers(low, high, 3))
        return red, green, blue

    light = rng.uniform(0.35, 1)
    skin = (int(235 * light), int(186 * light), int(155 * light))
    hair = [(40, 30, 25), (90, 60, 35), (190, 160, 100), (130, 130, 130), (120, 50, 30)][int(rng.integers(5))]
    first, second = PATTERNS[int(rng.integers(4))], PATTERNS[int(rng.integers(4))]
    return Look(
        skin, hair, colour(), colour(), colour(20, 160), colour(20, 120), colour(), colour(), first, second, logo,
        bool(rng.random() < 0.5), bool(rng.random() < 0.3),
    )  # fmt: skip


def cloth(
    height: int, width: int, pattern: Pattern, first: Colour, second: Colour, repeats: int = 20
) -> UInt8[np.ndarray, "h w 3"]:
    """A woven pattern.

    Args:
        height: in texels.
        width: in texels.
        pattern: which one.
        first: colour of the ground.
        second: colour of stripes, checks or bands.
        repeats: how often it repeats across.
    """
    y, x = np.mgrid[:height, :width]
    period = max(width / repeats, 2)
    across, down = (x % period) / period < 0.5, (y % period) / period < 0.5
    share = {
        "plain": np.zeros((height, width)),
        "stripes": across.astype(float),
        "checks": (0.5 * across + 0.5 * down),
        "bands": down.astype(float),
    }[pattern]
    base = np.array(first, float) * (1 - share[..., None]) + np.array(second, float) * share[..., None]
    weave = 1 + 0.035 * np.sin(2 * np.pi * x / 5) * np.sin(2 * np.pi * y / 5)
    return np.clip(base * weave[..., None], 0, 255).astype(np.uint8)


def words(
    height: int, width: int, text: str, ink: Colour
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """A line of small print that fills a rectangle: its colours and where the ink is, 0..1.

    Args:
        height: in texels.
        width: in texels.
        text: what is written.
        ink: its colour.
    """
    font = ImageFont.load_default(size=64)
    left, top, right, bottom = font.getbbox(text)
    page = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(page).text((2 - left, 2 - top), text, fill=255, font=font)
    cover = np.asarray(page.resize((width, height), Image.Resampling.LANCZOS), np.float64) / 255
    return np.broadcast_to(np.array(ink, np.uint8), (height, width, 3)).copy(), cover


LOGO = (0.5, 0.33, 0.19, 0.15)
"""The print on the chest, as shares of the torso's texture: middle across, middle down, width, height."""


def torso(look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """Shirt above, trousers below, the print on the chest."""
    height, width = 320, 448
    out = cloth(height, width, look.shirt_pattern, look.shirt, _mix(look.shirt, look.print_, 0.35), 24)
    out[int(0.80 * height) :] = cloth(height - int(0.80 * height), width, "plain", look.trousers, look.trousers)
    out[int(0.78 * height) : int(0.81 * height)] = (30, 26, 24)
    out[: int(0.02 * height)] = look.skin
    if look.logo:
        u, v, w, h = LOGO
        rows, columns = int(h * height), int(w * width)
        top, left = int(v * height - rows / 2), int(u * width - columns / 2)
        plate = out[top - 6 : top + rows + 6, left - 6 : left + columns + 6]
        plate[:] = _mix(look.shirt, (255, 255, 255), 0.6)
        half = rows // 2
        for number, text in enumerate(_two_lines(look.logo)):
            ink, cover = words(half - 2, columns, text, look.print_)
            place = out[top + number * half : top + number * half + half - 2, left : left + columns]
            place[:] = (place * (1 - cover[..., None]) + ink * cover[..., None]).astype(np.uint8)
    return out


def _two_lines(text: str) -> tuple[str, str]:
    if " " in text:
        first, second = text.split(" ", 1)
        return first, second
    half = (len(text) + 1) // 2
    return text[:half], text[half:] or "1"


def head(look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """Hair, and a face in front."""
    height, width = 128, 192
    out = np.empty((height, width, 3), np.uint8)
    out[:] = look.skin
    picture = Image.fromarray(out)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, int(0.34 * height)), fill=look.hair)
    draw.rectangle((0, 0, int(0.28 * width), int(0.74 * height)), fill=look.hair)
    draw.rectangle((int(0.72 * width), 0, width, int(0.74 * height)), fill=look.hair)
    for x in (0.435, 0.565):
        draw.ellipse((x * width - 7, 0.47 * height - 4, x * width + 7, 0.47 * height + 4), fill=(245, 245, 245))
        draw.ellipse((x * width - 3, 0.47 * height - 4, x * width + 3, 0.47 * height + 4), fill=(40, 40, 50))
        draw.line((x * width - 8, 0.41 * height, x * width + 8, 0.41 * height), fill=look.hair, width=3)
    shade = _mix(look.skin, (90, 30, 20), 0.35)
    draw.line((width / 2, 0.5 * height, width / 2 + 3, 0.6 * height), fill=shade, width=4)
    draw.line((0.455 * width, 0.7 * height, 0.545 * width, 0.7 * height), fill=(150, 60, 60), width=5)
    return np.asarray(picture)


def arm(look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """A sleeve, then skin or more sleeve."""
    out = cloth(128, 96, look.shirt_pattern, look.shirt, _mix(look.shirt, look.print_, 0.35), 8)
    if look.short_sleeves:
        out[48:] = look.skin
    return out


def hand(look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """Skin, with fingers drawn as darker lines."""
    out = np.empty((32, 48, 3), np.uint8)
    out[:] = look.skin
    out[16:, ::6] = _mix(look.skin, (80, 40, 30), 0.35)
    return out


def leg(look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """Trousers, or shorts and skin."""
    out = cloth(160, 96, "plain", look.trousers, look.trousers)
    if look.shorts:
        out[64:] = look.skin
    return out


def shoe(look: Look) -> UInt8[np.ndarray, "h w 3"]:
    """A shoe with a light sole."""
    out = np.empty((32, 64, 3), np.uint8)
    out[:] = look.shoes
    out[:, :8] = out[:, -8:] = _mix(look.shoes, (255, 255, 255), 0.7)
    return out


def garment(look: Look, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The cloth of a garment with a border at its hem and small print above it."""
    height, width = (160, 512) if name in ("skirt", "coat") else (64, 160)
    out = cloth(height, width, look.cloth_pattern, look.cloth, look.cloth_second, 20 if width > 200 else 8)
    out[int(0.92 * height) :] = look.print_
    if width > 200:
        for number in range(4):
            ink, cover = words(22, 100, "PER CEPTA", _mix(look.cloth_second, (255, 255, 255), 0.5))
            place = out[int(0.70 * height) : int(0.70 * height) + 22, 14 + 128 * number : 114 + 128 * number]
            place[:] = (place * (1 - cover[..., None]) + ink * cover[..., None]).astype(np.uint8)
    return out


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
