"""What synthetic rooms are painted with: procedural textures, 256 × 256, that repeat without a seam, and colours.

Neutral textures (wood, fabric, tiles, ...) are near white and take the tint of a material; pictures, screens and the
like bring their own colours. Everything depends on the random generator that is passed in, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, UInt8

from percepta.worlds.raster import TEXTURE as SIDE
from percepta.worlds.raster import Atlas

Grey = Float[np.ndarray, "256 256"]
Colour = Float[np.ndarray, "256 256 3"]
Rng = np.random.Generator

# Families of colours (RGB 0..255) with how much a single colour may stray from them; measured by eye on photographs of
# homes and offices: walls pale and warm, wood brown, fabrics dark or grey, few things saturated.
COLOURS: dict[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "wall": (12, ((232, 224, 206), (238, 236, 230), (222, 214, 190), (226, 228, 224), (240, 230, 214), (216, 208, 196),
                  (206, 214, 218), (228, 218, 170), (214, 222, 200), (232, 206, 190), (196, 204, 214))),
    "bold": (20, ((170, 60, 50), (60, 90, 140), (70, 120, 90), (200, 150, 60), (120, 60, 100), (150, 30, 40),
                  (230, 190, 80), (40, 110, 130))),
    "wood": (16, ((150, 104, 62), (178, 132, 84), (206, 168, 118), (112, 72, 44), (84, 54, 36), (194, 150, 96),
                  (136, 84, 52), (222, 194, 152), (160, 96, 60))),
    "fabric": (18, ((84, 86, 96), (112, 108, 104), (60, 64, 84), (150, 138, 120), (70, 60, 54), (44, 44, 48),
                    (126, 60, 56), (90, 104, 84), (176, 164, 146), (52, 66, 110), (150, 110, 80), (196, 190, 180))),
    "bedding": (20, ((226, 222, 214), (60, 68, 100), (150, 150, 160), (140, 70, 70), (100, 120, 150), (196, 176, 150),
                     (44, 46, 60), (120, 140, 110), (210, 190, 200))),
    "carpet": (14, ((150, 140, 124), (120, 120, 124), (98, 84, 72), (170, 156, 132), (86, 92, 110), (132, 100, 82),
                    (104, 108, 100))),
    "stone": (14, ((196, 188, 174), (150, 144, 136), (216, 212, 204), (120, 112, 104), (60, 58, 58), (176, 150, 124))),
    "tile": (12, ((224, 222, 214), (200, 190, 172), (180, 196, 200), (150, 170, 172), (228, 214, 190),
                  (130, 126, 120))),
    "white": (8, ((236, 234, 228), (228, 226, 222), (240, 240, 238))),
    "appliance": (8, ((232, 230, 226), (186, 186, 186), (60, 60, 62), (212, 208, 200))),
    "metal": (12, ((150, 150, 152), (110, 110, 114), (190, 188, 184), (70, 70, 74))),
    "dark": (10, ((38, 36, 36), (54, 52, 54), (28, 28, 32), (64, 56, 50))),
    "card": (12, ((176, 138, 96), (190, 154, 110), (160, 122, 82), (222, 216, 204))),
    "curtain": (16, ((160, 156, 130), (200, 192, 176), (120, 124, 110), (176, 140, 110), (110, 116, 140), (150, 80, 70),
                     (224, 220, 210), (130, 134, 120))),
    "any": (30, ((200, 60, 50), (50, 90, 170), (60, 140, 80), (230, 190, 60), (230, 228, 220), (40, 40, 46),
                 (150, 90, 150), (230, 130, 60), (120, 180, 200), (140, 110, 80), (90, 90, 96))),
    "leaf": (16, ((60, 96, 44), (84, 120, 60), (46, 80, 50))),
}  # fmt: skip


def colour(rng: Rng, family: str) -> Float64[np.ndarray, " 3"]:
    """A colour of a family, 0..255: one of its colours, moved a little in lightness and a little in hue."""
    spread, choices = COLOURS[family]
    base = np.array(choices[rng.integers(len(choices))], np.float64)
    return np.clip(base + rng.normal(0, spread) + rng.normal(0, spread / 4, 3), 12, 248)


@cache
def _bank() -> dict[str, Grey]:
    """Periodic noise of several kinds, mean 0, deviation 1: filtered in the frequency domain."""
    rng = np.random.default_rng(20220619)
    y, x = np.meshgrid(np.fft.fftfreq(SIDE) * SIDE, np.fft.fftfreq(SIDE) * SIDE, indexing="ij")
    radius = np.hypot(x, y)
    spectra = {
        "cloud": 1 / (1 + radius) ** 1.9,
        "soft": 1 / (1 + radius) ** 1.2,
        "grain": 1 / (20 + radius) ** 0.5,
        "streak": 1 / (1 + np.hypot(x * 9, y)) ** 1.1,
        "fibre": 1 / (8 + np.hypot(x * 24, y)) ** 0.9,
    }
    out = {}
    for name, spectrum in spectra.items():
        field_ = np.fft.ifft2(np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * spectrum).real
        field_ -= field_.mean()
        out[name] = (field_ / field_.std()).astype(np.float32)
    return out


def noise(rng: Rng, kind: str) -> Grey:
    """A field of the bank, moved at random."""
    field_ = np.roll(_bank()[kind], tuple(rng.integers(SIDE, size=2)), (0, 1))
    return field_[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def _grid() -> tuple[Grey, Grey]:
    """Coordinates 0..1 of texel centres: to the right, and down."""
    line = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    return np.broadcast_to(line, (SIDE, SIDE)), np.broadcast_to(line[:, None], (SIDE, SIDE))


def _neutral(value: np.ndarray) -> Colour:
    return np.repeat(value.astype(np.float32)[..., None], 3, 2)


def _fill(
    picture: np.ndarray, place: Sequence[float | int] | np.ndarray, size: Sequence[float | int] | np.ndarray, value: Any
) -> None:
    """Sets a rectangle, its left upper corner and its size in 0..1, at least one texel large."""
    left, top = (max(round(v * SIDE), 0) for v in place)
    right, bottom = (max(round(at * SIDE) + max(1, round(v * SIDE)), 0) for at, v in zip(place, size, strict=True))
    picture[top:bottom, left:right] = value


def _hash(cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values[cells.astype(np.int64) % len(values)].astype(np.float32)


# --- neutral: near 1, to be tinted ------------------------------------------------------------------------------------


def plain(rng: Rng) -> Colour:
    return _neutral(0.93 + 0.012 * noise(rng, "grain") + 0.018 * noise(rng, "cloud"))


def plaster(rng: Rng) -> Colour:
    strength = rng.uniform(0.004, 0.02)
    return _neutral(0.92 + strength * noise(rng, "soft") + 0.5 * strength * noise(rng, "grain"))


def wood(rng: Rng) -> Colour:
    _, y = _grid()
    rings = np.sin(2 * np.pi * (y * rng.integers(2, 6) + 0.25 * noise(rng, "streak") + 0.1 * noise(rng, "cloud")))
    value = 0.84 + 0.06 * rings + 0.05 * noise(rng, "fibre") + 0.05 * noise(rng, "streak")
    return _neutral(value) * np.array([1.02, 1.0, 0.95], np.float32)


def planks(rng: Rng) -> Colour:
    x, y = _grid()
    count = int(rng.integers(5, 10))
    board = np.floor(y * count)
    along = x * 2 + _hash(board, rng.uniform(size=count))
    tone = _hash(board * 7 + np.floor(along) * 3, rng.uniform(0.72, 1.0, 31))
    gap = (y * count % 1 < 0.035 * count / 6) | (along % 1 < 0.008)
    return wood(rng) * (np.where(gap, 0.45, tone) / 0.9)[..., None]


def tiles(rng: Rng) -> Colour:
    x, y = _grid()
    count, joint = int(rng.integers(3, 7)), rng.uniform(0.03, 0.06)
    number = np.floor(x * count) + count * np.floor(y * count)
    tone = _hash(number * 5, rng.uniform(1 - rng.uniform(0.02, 0.25), 1, 29)) * 0.93 + 0.02 * noise(rng, "soft")
    gap = (x * count % 1 < joint) | (y * count % 1 < joint)
    return _neutral(np.where(gap, rng.choice([0.55, 0.7, 1.0]), tone))


def checker(rng: Rng) -> Colour:
    x, y = _grid()
    count = 2 * int(rng.integers(1, 4))
    dark = (np.floor(x * count) + np.floor(y * count)) % 2
    return _neutral(0.95 - rng.uniform(0.2, 0.7) * dark + 0.02 * noise(rng, "soft"))


def brick(rng: Rng) -> Colour:
    x, y = _grid()
    row = np.floor(y * 8)
    along = x * 4 + 0.5 * (row % 2)
    number = np.floor(along) % 4 + 4 * row
    tone = _hash(number * 3, rng.uniform(0.65, 1.0, 23)) + 0.04 * noise(rng, "soft")
    gap = (y * 8 % 1 < 0.12) | (along % 1 < 0.05)
    return _neutral(np.where(gap, 1.0 if rng.random() < 0.5 else 0.6, tone))


def stripes(rng: Rng) -> Colour:
    x, _ = _grid()
    count = int(rng.integers(3, 12))
    wide = (x * count % 1 < rng.uniform(0.3, 0.7)).astype(np.float32)
    return _neutral(0.94 - rng.uniform(0.05, 0.25) * wide + 0.012 * noise(rng, "grain"))


def wallpaper(rng: Rng) -> Colour:
    x, y = _grid()
    count = int(rng.integers(2, 6))
    a, b = x * count * 2 * np.pi, y * count * 2 * np.pi
    motif = np.cos(a) * np.cos(b) + 0.5 * np.cos(2 * a + rng.uniform(0, 6)) + 0.5 * np.cos(2 * b) * np.sin(a)
    return _neutral(0.93 - rng.uniform(0.04, 0.2) * (motif > rng.uniform(0, 0.8)) + 0.015 * noise(rng, "grain"))


def carpet(rng: Rng) -> Colour:
    return _neutral(0.84 + rng.uniform(0.05, 0.12) * noise(rng, "grain") + 0.03 * noise(rng, "soft"))


def lines(rng: Rng) -> Colour:
    """A floor of fine lines of several tones, as office carpets have them."""
    count = int(rng.integers(24, 64))
    tone = np.repeat(rng.uniform(0.4, 1.0, (count, 1)), 3, 1) + rng.normal(0, 0.025, (count, 3))
    x, y = _grid()
    broken = np.floor(y * count) + 11 * np.floor(x * 2 + _hash(np.floor(y * count), rng.uniform(size=count)))
    return np.clip(tone[(broken % count).astype(np.int64)] + 0.05 * noise(rng, "grain")[..., None], 0, 1)


def weave(rng: Rng) -> Colour:
    x, y = _grid()
    count = int(rng.integers(30, 60))
    thread = np.sin(2 * np.pi * count * x) * np.sin(2 * np.pi * count * y)
    return _neutral(0.86 + 0.05 * thread + 0.05 * noise(rng, "grain") + 0.04 * noise(rng, "cloud"))


def folds(rng: Rng) -> Colour:
    return _neutral(
        0.84 + 0.06 * np.rot90(noise(rng, "streak")) + 0.05 * noise(rng, "cloud") + 0.03 * noise(rng, "grain")
    )


def leather(rng: Rng) -> Colour:
    return _neutral(0.85 + 0.05 * noise(rng, "soft") + 0.04 * noise(rng, "cloud"))


def granite(rng: Rng) -> Colour:
    spots = noise(rng, "soft") + noise(rng, "grain")
    return _neutral(0.82 + 0.12 * np.tanh(spots)) + 0.03 * np.stack([noise(rng, "soft") for _ in range(3)], -1)


def marble(rng: Rng) -> Colour:
    x, y = _grid()
    vein = np.abs(np.sin(np.pi * (2 * x + 2 * y) + 1.3 * noise(rng, "cloud")))
    return _neutral(0.95 - rng.uniform(0.1, 0.4) * np.exp(-6 * vein) + 0.02 * noise(rng, "soft"))


def metal(rng: Rng) -> Colour:
    return _neutral(0.9 + 0.03 * noise(rng, "fibre") + 0.03 * noise(rng, "cloud"))


def plaid(rng: Rng) -> Colour:
    x, y = _grid()
    out = np.full((SIDE, SIDE, 3), 0.95, np.float32)
    for _ in range(int(rng.integers(2, 5))):
        tone = colour(rng, "any").astype(np.float32) / 255
        count, share, start = int(rng.integers(1, 5)), rng.uniform(0.1, 0.45), rng.uniform()
        for line in (x, y):
            out *= np.where(((line + start) * count % 1 < share)[..., None], 0.45 + 0.55 * tone, 1)
    return out + 0.03 * noise(rng, "grain")[..., None]


def blobs(rng: Rng) -> Colour:
    """Flowers and camouflage: layers of a few colours where noise is high."""
    out = np.full((SIDE, SIDE, 3), 0.93, np.float32)
    for _ in range(int(rng.integers(2, 5))):
        out[noise(rng, "soft") + noise(rng, "cloud") > rng.uniform(0.8, 2.0)] = colour(rng, "any") / 255
    return out + 0.02 * noise(rng, "grain")[..., None]


# --- with colours and places of their own, to be fitted to one face ---------------------------------------------------


def rug(rng: Rng) -> Colour:
    x, y = _grid()
    rim = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    tones = np.stack([colour(rng, "fabric") for _ in range(5)]) / 255
    bands = np.floor(rim * rng.integers(6, 16)).astype(np.int64) % 5
    count = int(rng.integers(2, 6))
    motif = np.cos(2 * np.pi * count * x) * np.cos(2 * np.pi * count * y) > 0.3
    bands = np.where(motif & (rim > 0.12), (bands + 2) % 5, bands)
    return (tones[bands] + 0.05 * noise(rng, "grain")[..., None]).astype(np.float32)


def picture(rng: Rng) -> Colour:
    """A framed picture or a poster: a landscape, areas of colour, or a print with lines of text."""
    out = np.zeros((SIDE, SIDE, 3), np.float32)
    x, y = _grid()
    kind = rng.integers(4)
    if kind == 0:
        low, high = colour(rng, "any") / 255, colour(rng, "wall") / 255
        out[:] = low + (high - low) * (1 - y)[..., None]
        hill = 0.5 + 0.1 * noise(rng, "cloud")[0] + rng.uniform(-0.2, 0.2)
        out[y > hill] = colour(rng, "leaf") / 255
    elif kind == 1:
        out[:] = colour(rng, "wall") / 255
        for _ in range(int(rng.integers(4, 14))):
            _fill(out, rng.uniform(0, 0.9, 2), rng.uniform(0.05, 0.5, 2), colour(rng, "any") / 255)
    elif kind == 2:
        out[:] = 0.5 + 0.18 * np.stack([noise(rng, "cloud") for _ in range(3)], -1)
        out *= colour(rng, "any") / 180
    else:
        out[:] = colour(rng, str(rng.choice(["white", "any"]))) / 255
        _fill(out, (0.1, 0.08), (0.8, 0.12), colour(rng, "any") / 255)
        _fill(out, (0.1, 0.26), (0.8, 0.34), colour(rng, "any") / 255)
        _text(rng, out, 0.1, 0.64, 0.8, 0.3, 10)
    out += 0.04 * noise(rng, "soft")[..., None]
    frame = rng.choice([0.0, 0.03, 0.06])
    if frame:
        rim = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
        if rng.random() < 0.5:
            out[rim < frame * 2.5] = 0.93
        out[rim < frame] = colour(rng, str(rng.choice(["dark", "wood", "white"]))) / 255
    return out


def _text(rng: Rng, out: np.ndarray, left: float, top: float, width: float, height: float, count: int) -> None:
    """Grey strokes in lines: text from afar."""
    for i in range(count):
        at = left
        while at < left + width * rng.uniform(0.7, 1.0):
            word = rng.uniform(0.02, 0.09)
            _fill(out, (at, top + height * i / count), (min(word, left + width - at), height / count * 0.45), 0.25)
            at += word + 0.02


def paper(rng: Rng) -> Colour:
    out = np.full((SIDE, SIDE, 3), 0.95, np.float32)
    if rng.random() < 0.5:
        _fill(out, (0.1, 0.08), (0.8, 0.3), colour(rng, "any") / 255)
    _text(rng, out, 0.1, 0.42, 0.8, 0.52, int(rng.integers(8, 16)))
    return out


def cover(rng: Rng) -> Colour:
    """The front of a book, a box of cereals, a bag: large shapes and letters on a strong colour."""
    out = np.empty((SIDE, SIDE, 3), np.float32)
    out[:] = colour(rng, "any") / 255
    for _ in range(int(rng.integers(1, 5))):
        _fill(out, rng.uniform(0, 0.7, 2), rng.uniform(0.1, 0.5, 2), colour(rng, "any") / 255)
    _fill(out, (0.1, rng.uniform(0.1, 0.3)), (0.8, 0.12), colour(rng, "white") / 255)
    _text(rng, out, 0.15, 0.7, 0.7, 0.2, 4)
    return out + 0.03 * noise(rng, "soft")[..., None]


def spines(rng: Rng) -> Colour:
    """A row of books."""
    out = np.zeros((SIDE, SIDE, 3), np.float32)
    at = 0.0
    while at < 1:
        width, tone = rng.uniform(0.025, 0.08), colour(rng, "any") / 255
        _fill(out, (at, 0), (width, 1), tone)
        top = rng.choice([0, 0, 0.04, 0.12])
        if top:
            _fill(out, (at, 0), (width, top), 0.08)
        _fill(out, (at + width * 0.2, rng.uniform(0.15, 0.5)), (width * 0.6, rng.uniform(0.1, 0.3)), 1 - tone)
        _fill(out, (at, 0), (0.005, 1), tone * 0.4)
        at += width
    return out + 0.02 * noise(rng, "grain")[..., None]


def screen(rng: Rng) -> Colour:
    out = np.zeros((SIDE, SIDE, 3), np.float32)
    out[:] = colour(rng, "dark") / 255 * 0.5
    if rng.random() < 0.4:
        inner = (slice(8, -8), slice(8, -8))
        out[inner] = (0.4 + 0.2 * noise(rng, "cloud")[..., None] * colour(rng, "any") / 255 + 0.2)[inner]
        for _ in range(int(rng.integers(1, 5))):
            _fill(out, rng.uniform(0.05, 0.6, 2), rng.uniform(0.1, 0.35, 2), colour(rng, "any") / 255)
    return out


def window(rng: Rng) -> Colour:
    """What is outside, behind a frame: sky, houses or trees, often too bright to see."""
    x, y = _grid()
    sky = np.array([0.82, 0.9, 1.0]) * rng.uniform(0.8, 1.0)
    out = np.empty((SIDE, SIDE, 3), np.float32)
    out[:] = sky - 0.1 * y[..., None]
    if rng.random() < 0.7:
        line = rng.uniform(0.3, 0.7) + 0.06 * noise(rng, "cloud")[0]
        ground = colour(rng, str(rng.choice(["leaf", "stone", "card"]))) / 255
        out[y > line] = (ground * (0.9 + 0.15 * noise(rng, "soft")[..., None]))[y > line]
    out = out * 0.6 + 0.4 * rng.uniform(0.6, 1.0)
    bars, rows = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    tone = colour(rng, str(rng.choice(["white", "wood", "dark"]))) / 255 * 0.6
    frame = (np.abs((x * bars + 0.5) % 1 - 0.5) < 0.05 * bars) | (np.abs((y * rows + 0.5) % 1 - 0.5) < 0.04 * rows)
    out[frame] = tone
    return out


def panels(rng: Rng) -> Colour:
    """A door or the leaf of a wardrobe: neutral, with sunk panels and a handle."""
    out = wood(rng) if rng.random() < 0.5 else plain(rng)
    x, y = _grid()
    columns, rows = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    if rng.random() < 0.75:
        u, v = x * columns % 1, y * rows % 1
        rim = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
        out[(rim > 0.14) & (rim < 0.17)] *= 0.65
        out[(rim >= 0.17) & (rim < 0.19)] *= 1.05
    handle = 0.06 if rng.random() < 0.5 else 0.88
    _fill(out, (handle, 0.5), (0.07, 0.02), 0.45)
    return np.minimum(out, 1)


def fronts(rng: Rng) -> Colour:
    """The front of a cabinet: neutral, with doors beside each other, or drawers above each other, and handles."""
    out = wood(rng) if rng.random() < 0.6 else plain(rng)
    columns, rows = ((int(rng.integers(2, 5)), 1), (1, int(rng.integers(2, 5))), (2, int(rng.integers(2, 4))))[
        rng.integers(3)
    ]
    x, y = _grid()
    u, v = x * columns % 1, y * rows % 1
    out[(np.minimum(u, 1 - u) < 0.012 * columns) | (np.minimum(v, 1 - v) < 0.012 * rows)] *= 0.4
    rim = np.minimum(np.minimum(u, 1 - u) / columns, np.minimum(v, 1 - v) / rows)
    if rng.random() < 0.5:
        out[(rim > 0.05) & (rim < 0.06)] *= 0.7
    tone = 0.3 if rng.random() < 0.5 else 0.8
    for i in range(columns):
        for j in range(rows):
            if rows > columns or (rows > 1 and rng.random() < 0.7):
                _fill(out, ((i + 0.38) / columns, (j + 0.25) / rows), (0.24 / columns, 0.018), tone)
            else:
                _fill(
                    out, ((i + (0.86 if i % 2 == 0 else 0.1)) / columns, (j + 0.4) / rows), (0.015, 0.16 / rows), tone
                )
    return out


def blinds(rng: Rng) -> Colour:
    _, y = _grid()
    count = int(rng.integers(16, 30))
    return _neutral(0.95 - 0.3 * (y * count % 1 < 0.25) + 0.02 * noise(rng, "grain"))


def board(rng: Rng) -> Colour:
    """A whiteboard with writing."""
    out = np.full((SIDE, SIDE, 3), 0.94, np.float32)
    for _ in range(int(rng.integers(0, 7))):
        tone = colour(rng, "any") / 255 * 0.6
        at, steps = rng.uniform(0.1, 0.8, 2), rng.normal(0, 0.02, (40, 2))
        for point in at + np.cumsum(steps, 0):
            _fill(out, np.clip(point, 0.03, 0.95), (0.008, 0.008), tone)
    x, y = _grid()
    out[np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < 0.02] = 0.6
    return out


def keys(rng: Rng) -> Colour:
    x, y = _grid()
    gap = (x * 15 % 1 < 0.2) | (y * 5 % 1 < 0.2)
    return _neutral(np.where(gap, 0.35, 0.9))


def card(rng: Rng) -> Colour:
    """A cardboard box: tape, a label."""
    out = plain(rng)
    _fill(out, (0.42, 0), (0.16, 1), 0.8)
    if rng.random() < 0.6:
        _fill(out, (rng.uniform(0.05, 0.6), rng.uniform(0.1, 0.6)), (0.25, 0.2), 1.0)
        _text(rng, out, 0.1, 0.75, 0.3, 0.15, 3)
    return out


PAINTERS: dict[str, Callable[[Rng], Colour]] = {
    painter.__name__: painter
    for painter in (
        plain, plaster, wood, planks, tiles, checker, brick, stripes, wallpaper, carpet, lines, weave, folds, leather,
        granite, marble, metal, plaid, blobs, rug, picture, paper, cover, spines, screen, window, panels, fronts,
        blinds, board, keys, card,
    )
}  # fmt: skip
_FITTED = {
    "rug", "picture", "paper", "cover", "spines", "screen", "window", "panels", "fronts", "blinds", "board", "keys",
    "card",
}  # fmt: skip
_OWN_COLOURS = {"rug", "picture", "paper", "cover", "spines", "screen", "window", "board"}
# How many different ones of a kind a room has at most; those not named: two.
_VARIANTS = {"picture": 6, "cover": 6, "spines": 3, "paper": 3, "fronts": 4, "panels": 3, "wood": 3, "plain": 1}


@dataclass(frozen=True)
class Material:
    """What a face is made of.

    Attributes:
        texture: number in the room's atlas. tint: 0..255.
        metres: size of one repeat; 0 fits the texture to the face.
        gloss, glow: see `Faces`. grain: whether the texture has to run along the face's longer side.
    """

    texture: int
    tint: tuple[float, float, float]
    metres: float
    gloss: float = 0.0
    glow: float = 0.0
    grain: bool = False


@dataclass
class Palette:
    """The textures of one room, painted when they are first asked for."""

    rng: Rng
    pictures: list[UInt8[np.ndarray, "256 256 3"]] = field(default_factory=list)
    made: dict[str, list[int]] = field(default_factory=dict)

    def texture(self, kind: str) -> int:
        """Number of a texture of a kind; the same one comes again and again."""
        made = self.made.setdefault(kind, [])
        most = _VARIANTS.get(kind, 2)
        if len(made) < most and (not made or self.rng.random() < 0.6):
            made.append(len(self.pictures))
            painted = PAINTERS[kind](self.rng)
            self.pictures.append((np.clip(painted, 0, 1) * 255 + 0.5).astype(np.uint8))
            return made[-1]
        return made[self.rng.integers(len(made))]

    def material(
        self,
        kind: str,
        family: str | Float64[np.ndarray, " 3"] = "white",
        metres: float = 1.0,
        *,
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> Material:
        """A material of a kind of texture in a colour, or in a colour of a family.

        Args:
            kind: of texture.
            family: a colour, or the name of a family of colours.
            metres: length of one repeat; None: drawn for the kind.
            gloss: 0..1.
            glow: light that it gives off itself.
        """
        tint = colour(self.rng, family) if isinstance(family, str) else family
        tint = np.full(3, 255.0) if kind in _OWN_COLOURS else np.minimum(tint * 1.08, 255)
        grain = kind in ("wood", "planks", "metal")
        size = 0.0 if kind in _FITTED else metres
        return Material(self.texture(kind), (float(tint[0]), float(tint[1]), float(tint[2])), size, gloss, glow, grain)

    def atlas(self) -> Atlas:
        """All textures that were painted."""
        return Atlas.of(self.pictures)
