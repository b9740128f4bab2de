"""Weather and light that are painted into a picture of a street: fog by depth, rain, snow, wet road, darkness, lamps.

All functions take and give RGB in 0..1, `h w 3`. Depth is in metres; `guessed_depth` guesses one from which pixels are
ground and sky. What is painted follows from the generator alone.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

GAMMA = 2.2  # of the pictures
FAR_M = 300.0  # depth of the sky
CAMERA_M = 1.4  # height of a car's camera above the road
NEAREST_M = 3.0
HORIZON = 0.42  # row of the horizon, as a share of the height, where nothing is known
FOCAL = 1.1  # focal length in heights of the picture

Picture = Float[np.ndarray, "h w 3"]


def guessed_depth(
    ground: Bool[np.ndarray, "h w"], sky: Bool[np.ndarray, "h w"], horizon: float = HORIZON
) -> Float[np.ndarray, "h w"]:
    """Metres: ground as a plane below the camera, the sky far, all else as far as the ground at its foot.

    Args:
        ground: road, pavement and the like.
        sky: the sky.
        horizon: row of the horizon as a share of the height.
    """
    h = ground.shape[0]
    below = np.arange(h) - horizon * h
    plane = np.where(below > 0, FOCAL * h * CAMERA_M / np.maximum(below, 1e-6), FAR_M).clip(NEAREST_M, FAR_M)
    # the row of the nearest ground pixel at or below each pixel; the last row where there is none
    rows = np.where(ground, np.arange(h)[:, None], h - 1)
    foot = np.minimum.accumulate(rows[::-1], 0)[::-1] if h else rows
    foot = np.where(ground, np.arange(h)[:, None], foot)
    return np.where(sky, FAR_M, plane[foot.clip(0, h - 1)])


def fog(picture: Picture, depth_m: Float[np.ndarray, "h w"], visibility_m: float, air: float = 0.8) -> Picture:
    """Light scattered by the air: t · picture + (1 − t) · air with t = exp(−3.9 · depth / visibility) (Koschmieder).

    Args:
        picture: RGB.
        depth_m: of each pixel.
        visibility_m: where contrast falls to 2 of 100.
        air: brightness of the fog.
    """
    through = np.exp(-3.912 * depth_m / visibility_m)[..., None]
    return (picture * through + air * (1 - through)).astype(np.float32)


def night(
    picture: Picture, rng: np.random.Generator, gain: float, sky: Bool[np.ndarray, "h w"] | None = None,
    cast: float = 0.2, noise: float = 0.02, lamps: int = 0,
) -> Picture:  # fmt: skip
    """Less light, in linear values: a gain that varies over the picture, a colour cast, lamps, and a sensor's noise.

    Args:
        picture: RGB.
        rng: where the draws come from.
        gain: of the light, 0..1.
        sky: it stays brighter, with clouds; None: as all else.
        cast: strongest relative change of a colour.
        noise: deviation of the sensor's noise at half brightness, in values of the picture.
        lamps: glows that are added.
    """
    h, w = picture.shape[:2]
    light = picture.astype(np.float32) ** GAMMA
    field = _smooth(rng, h, w, 3, 0.6)[..., None]
    if sky is not None:
        clouds = np.exp(rng.uniform(0, 1.8)) * np.minimum(_smooth(rng, h, w, int(rng.integers(4, 12)), 0.5), 2.0)
        field = np.where(sky[..., None], clouds[..., None], field)
    colour = 1 + cast * rng.uniform(-1, 1, 3)
    light = light * (gain * field * colour).astype(np.float32)
    light = light + glows(rng, h, w, lamps)
    shot = noise * np.sqrt(light + 0.02) * rng.normal(size=light.shape)
    dark = (light.clip(0, 1) ** (1 / GAMMA)) + shot + noise * 0.3 * rng.normal(size=light.shape)
    return dark.clip(0, 1).astype(np.float32)


def glows(rng: np.random.Generator, h: int, w: int, count: int) -> Float[np.ndarray, "h w 3"]:
    """Lamps with a halo, in linear light, in the upper two thirds.

    Args:
        rng: where the draws come from.
        h: height of the picture.
        w: its width.
        count: of lamps.
    """
    out = np.zeros((h, w, 3), np.float32)
    y, x = np.mgrid[:h, :w].astype(np.float32)
    for _ in range(count):
        place, radius = (rng.uniform(0.15, 0.75) * h, rng.uniform(0, 1) * w), rng.uniform(0.004, 0.02) * h
        away = ((y - place[0]) ** 2 + (x - place[1]) ** 2) / radius**2
        colour = np.array([1, rng.uniform(0.75, 1), rng.uniform(0.45, 0.95)])
        out += ((np.exp(-0.5 * away) + 0.06 / (1 + 0.05 * away))[..., None] * colour * rng.uniform(0.5, 1.5)).astype(
            np.float32
        )
    return out


def rain(picture: Picture, rng: np.random.Generator, amount: float) -> Picture:
    """Bright streaks that fall at one angle, over a picture of less contrast.

    Args:
        picture: RGB.
        rng: where the draws come from.
        amount: 0..1.
    """
    h, w = picture.shape[:2]
    length = max(5, int(0.06 * h)) | 1
    kernel = np.zeros((length, length), np.float32)
    lean = rng.uniform(-0.35, 0.35)
    row = np.arange(length)
    kernel[row, np.round((length - 1) / 2 + lean * (row - (length - 1) / 2)).astype(int)] = 1 / length
    drops = (rng.random((h, w)) < 0.006 * amount).astype(np.float32) * rng.uniform(0.5, 1, (h, w))
    streaks = ndimage.convolve(drops, kernel, mode="wrap") * length * 0.25
    flat = picture * (1 - 0.3 * amount) + 0.3 * amount * 0.55
    return (flat + streaks[..., None] * (0.9 - flat)).clip(0, 1).astype(np.float32)


def wet(picture: Picture, ground: Bool[np.ndarray, "h w"], strength: float) -> Picture:
    """A road that mirrors what stands above it: darker, with the picture upside down in it.

    Args:
        picture: RGB.
        ground: what is wet.
        strength: of the mirror, 0..1.
    """
    h = picture.shape[0]
    rows = np.arange(h)[:, None]
    top = np.where(ground.any(0), ground.argmax(0), h)  # the highest ground pixel of each column
    source = (2 * top[None] - rows).clip(0, h - 1)
    mirrored = ndimage.uniform_filter1d(np.take_along_axis(picture, source[..., None], 0), max(3, h // 40), axis=0)
    mixed = (1 - strength) * 0.75 * picture + strength * mirrored
    return np.where(ground[..., None], mixed, picture).astype(np.float32)


def snow(
    picture: Picture, rng: np.random.Generator, ground: Bool[np.ndarray, "h w"], amount: float, flakes: float = 0.5
) -> Picture:
    """White on parts of the ground, a little on everything that is bright, and falling flakes.

    Args:
        picture: RGB.
        rng: where the draws come from.
        ground: road, pavement and the like.
        amount: of the snow that lies, 0..1.
        flakes: of the snow that falls, 0..1.
    """
    h, w = picture.shape[:2]
    patches = (_smooth(rng, h, w, 12, 1.0) > rng.uniform(0.6, 1.2)) & ground
    cover = ndimage.gaussian_filter(patches.astype(np.float32), max(1, h / 120))[..., None] * amount
    white = picture * (1 - cover) + cover * 0.9
    for size, share in ((1.0, 0.004), (2.0, 0.001)):
        radius = size * h / 240
        seeds = (rng.random((h, w)) < share * flakes / size).astype(np.float32)
        blobs = (ndimage.gaussian_filter(seeds, radius) * 2 * np.pi * radius**2 * 1.5).clip(0, 0.9)[..., None]
        white = white * (1 - blobs) + blobs * 0.95
    return white.clip(0, 1).astype(np.float32)


def _smooth(rng: np.random.Generator, h: int, w: int, cells: int, spread: float) -> Float[np.ndarray, "h w"]:
    """A smooth field around 1: exp of bilinear noise with deviation `spread`."""
    coarse = np.exp(spread * rng.normal(size=(cells, cells + 1)))
    y, x = np.linspace(0, cells - 1, h), np.linspace(0, cells, w)
    top, left = np.minimum(y.astype(int), cells - 2), np.minimum(x.astype(int), cells - 1)
    down, right = (y - top)[:, None], x - left
    rows = coarse[top] * (1 - down) + coarse[top + 1] * down
    return rows[:, left] * (1 - right) + rows[:, left + 1] * right
