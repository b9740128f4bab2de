"""A scene from above: the map, where agents were, and where they may go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFont

from percepta.datasets.tracks import StreetMap
from percepta.media.draw import colours

GROUND, ROAD, LANE, EDGE, ZEBRA = (252, 252, 250), (232, 234, 237), (176, 182, 190), (120, 126, 134), (206, 196, 150)
PAST, OTHER, TRUTH = (40, 44, 50), (150, 156, 164), (20, 20, 20)
FINER = 2  # drawn so many times larger and made smaller: lines come out smooth


@dataclass(frozen=True)
class Scene:
    """What a drawing shows.

    Attributes:
        map: of lanes and areas.
        past: of all agents, metres; NaN where not seen.
        target: rows of the agents whose futures are drawn.
        way: their futures, metres.
        probability: of these.
        truth: where they went, dashed; None or NaN: not drawn.
    """

    map: StreetMap
    past: Float[np.ndarray, "a h 2"]
    target: Int[np.ndarray, " n"]
    way: Float[np.ndarray, "n k t 2"]
    probability: Float[np.ndarray, "n k"]
    truth: Float[np.ndarray, "n t 2"] | None = None

    def draw(self, size: int = 640, text: str = "", *, steps: int | None = None) -> Image.Image:
        """The picture, north up, the same scale in both directions.

        Args:
            size: of a side, in pixels.
            text: written at the bottom left.
            steps: how many predicted steps are shown; None: all.
        """
        view = _view(self, size * FINER)
        canvas = Image.new("RGB", (size * FINER, size * FINER), GROUND)
        pen = ImageDraw.Draw(canvas)
        for area in self.map.areas:
            pen.polygon(view.pixels(area), fill=ROAD)
        for one in self.map.crossings:
            pen.polygon(view.pixels(np.concatenate([one.edge1[:, :2], one.edge2[::-1, :2]])), fill=ZEBRA)
        for lane in self.map.lanes:
            _line(pen, view.pixels(lane.centre[:, :2]), LANE, FINER)
        for edge in self.map.edges:
            _line(pen, view.pixels(edge), EDGE, FINER)
        shown = set(self.target.tolist())
        for i, past in enumerate(self.past):
            seen = past[np.isfinite(past).all(1)]
            colour = PAST if i in shown else OTHER
            _line(pen, view.pixels(seen), colour, 2 * FINER)
            _dot(pen, view.pixels(seen[-1:]), colour, 4 * FINER)
        self._draw_futures(pen, view, steps)
        picture = canvas.resize((size, size), Image.Resampling.BOX)
        if text:
            ImageDraw.Draw(picture).text((8, size - 22), text, PAST, ImageFont.load_default(13))
        return picture

    def _draw_futures(self, pen: ImageDraw.ImageDraw, view: _View, steps: int | None) -> None:
        palette = colours(max(1, min(len(self.target), 24)))
        for row, i in enumerate(self.target):
            start, colour = self.past[i, -1:], palette[row % len(palette)]
            order = np.argsort(self.probability[row])
            for mode in order:
                p = float(self.probability[row, mode])
                way = view.pixels(np.concatenate([start, self.way[row, mode, :steps]]))
                _line(pen, way, colour, round(FINER * (1 + 4 * p)))
                _dot(pen, way[-1:], colour, FINER * (2 + 4 * p))
            if self.truth is not None:
                true = self.truth[row, :steps]
                true = np.concatenate([start, true[np.isfinite(true).all(1)]])
                points = view.pixels(true)
                for a, b in zip(points[:-1:2], points[1::2], strict=False):
                    pen.line([a, b], TRUTH, FINER)


@dataclass(frozen=True)
class _View:
    """From metres to pixels."""

    low: np.ndarray
    scale: float
    size: int

    def pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        place = (points - self.low) * self.scale
        return [(x, self.size - y) for x, y in place.tolist()]


def _view(scene: Scene, size: int) -> _View:
    past = _known(scene.past[scene.target] if len(scene.target) else scene.past)
    low, high = np.percentile(past, 1, axis=0), np.percentile(past, 99, axis=0)  # a track may have a jump in it
    future = _known(scene.way) if scene.truth is None else np.concatenate([_known(scene.way), _known(scene.truth)])
    if len(scene.target):
        low, high = np.minimum(low, future.min(0)), np.maximum(high, future.max(0))
    reach = max(float((high - low).max()) * 1.15, 8.0)
    return _View((low + high) / 2 - reach / 2, size / reach, size)


def _known(points: np.ndarray) -> np.ndarray:
    """The points that are known, as rows; the origin where none is."""
    rows = points.reshape(-1, 2)
    rows = rows[np.isfinite(rows).all(1)]
    return rows if len(rows) else np.zeros((1, 2))


def _line(
    pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: tuple[int, int, int], width: int
) -> None:
    if len(points) > 1:
        pen.line(points, colour, max(1, width), joint="curve")


def _dot(
    pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: tuple[int, int, int], size: float | int
) -> None:
    for x, y in points:
        pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)
