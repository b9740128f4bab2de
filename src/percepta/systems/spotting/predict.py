"""What is spotted, and how it is asked: `percepta.load("spotting")`."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.datasets import soccer_video
from percepta.datasets.soccer import game_time
from percepta.datasets.soccer_results import Spot
from percepta.datasets.soccer_video import Encoded
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media import draw, video
from percepta.media.draw import Shown
from percepta.nn.spotting import LITE0_SIZE, frame_features
from percepta.systems.spotting import Config
from percepta.systems.spotting.decode import moments

ROW_PX, LEFT_PX = 18, 130  # of the drawing
FILM_SIZE = (224, 398)  # pixels of the frames that E2E-Spot is trained on


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """Moments of one half.

    Attributes:
        spots: in the order of time; their half is the one that was said.
        duration_s: how long the half is.
        classes: that could have been spotted.
        source: what was looked at, in words.
        warning: why the answer may be worth little; "" for nothing.
        weights: hash of the weights that answered.
    """

    spots: tuple[Spot, ...]
    duration_s: float | int
    classes: tuple[str, ...]
    source: str = ""
    warning: str = ""
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "12 moments in 45:00; best: Corner at 12:30 (91%)"."""
        length = f"{int(self.duration_s) // 60}:{int(self.duration_s) % 60:02d}"
        if not self.spots:
            return f"no moments in {length}"
        best = max(self.spots, key=lambda spot: spot.score)
        moment = "moment" if len(self.spots) == 1 else "moments"
        return (f"{len(self.spots)} {moment} in {length}; best: {best.label} at "
                f"{game_time(best.half, best.time_s)[4:]} ({best.score:.0%})")  # fmt: skip

    def above(self, score_threshold: float | int) -> Result:
        """Only moments of at least a score (0..1)."""
        return replace(self, spots=tuple(spot for spot in self.spots if spot.score >= score_threshold))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: half, time_s, label and score of each moment."""
        rows = [{"half": s.half, "time_s": round(s.time_s, 3), "label": s.label, "score": round(s.score, 4)}
                for s in self.spots]  # fmt: skip
        return {"source": self.source, "duration_s": round(self.duration_s, 3), "spots": rows, "warning": self.warning,
                "weights": self.weights}  # fmt: skip

    def draw(self, width: int = 900) -> Image.Image:
        """A line of time for each class, ticks as high as their scores."""
        labels = [c for c in self.classes if any(s.label == c for s in self.spots)] or list(self.classes[:1])
        picture = Image.new("RGB", (width, ROW_PX * (len(labels) + 1) + 6), "white")
        pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
        scale = (width - LEFT_PX - 10) / max(self.duration_s, 1e-6)
        for row, (label, colour) in enumerate(zip(labels, draw.colours(len(labels)), strict=True)):
            base = ROW_PX * (row + 1)
            pen.text((4, base - 13), label, fill=(30, 30, 30), font=font)
            pen.line([(LEFT_PX, base), (width - 10, base)], fill=(210, 210, 210))
            for spot in self.spots:
                if spot.label == label:
                    x = LEFT_PX + spot.time_s * scale
                    pen.line([(x, base), (x, base - (ROW_PX - 3) * max(spot.score, 0.15))], fill=tuple(colour), width=2)
        for minute in range(0, int(self.duration_s / 60) + 1, max(1, int(self.duration_s / 600))):
            pen.text((LEFT_PX + 60 * minute * scale - 4, ROW_PX * len(labels) + 8), f"{minute}'", fill=(90, 90, 90),
                     font=font)  # fmt: skip
        return picture

    def to_csv(self, clock_s: float | int = 0.0) -> str:
        """A table with half, time_s, clock, label and score, which `datasets.soccer.read_csv` takes as labels.

        `clock_s` is what the clock of the match shows where the half begins in the video.
        """
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["half", "time_s", "clock", "label", "score"])
        for s in self.spots:
            table.writerow(
                [s.half, f"{s.time_s:.2f}", game_time(s.half, s.time_s + clock_s)[4:], s.label, f"{s.score:.4f}"]
            )
        return out.getvalue()

    def save_csv(self, path: Path | str) -> Path:
        """Writes `to_csv`."""
        return write_atomically(path, self.to_csv())


@dataclass(frozen=True)
class Spotting:
    """Action spotting, ready to use: `percepta.load("spotting")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode: ours, or a published one.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on games; without a folder, on its synthetic world.
        open_stream: what systems that look at single pictures make streams of; there is no `stream` here.
    """

    config: Config
    model: Any
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "spotting"

    def __repr__(self) -> str:
        return described(self)

    @torch.inference_mode()
    def predict(
        self,
        source: Path | str | Float[np.ndarray, "t f"],
        *,
        half: int = 1,
        offset_s: float | int = 0.0,
        cache: Path | None = None,
        progress: Callable[[float, float], None] | None = None,
    ) -> Result:
        """The moments of one half.

        Args:
            source: a video; a file of features (.npy, frames × numbers); or such features as an array.
            half: what the moments are said to be in, 1 or 2.
            offset_s: what is added to all times, such as the clock of the match at the start of the video.
            cache: a folder for the features of videos.
            progress: called with (seconds done, seconds in all) of a video.

        Raises:
            MissingFileError, InputError: no such file, no video, features of another width.
        """
        if half not in (1, 2):
            raise InputError(f"half is 1 or 2, not {half!r}")
        if self.config.features == "frames":
            scores, offsets, name = self._film(source, progress)
            features = np.zeros((0, 1), np.float32)
        else:
            seen, name = self.encoded(source, cache=cache, progress=progress)
            features = seen.features
            weight = next(self.model.parameters())
            scores, offsets = self.model.whole(torch.from_numpy(features).to(weight.device, weight.dtype))
        found = moments(scores.float().cpu().numpy(), offsets.float().cpu().numpy(), self.config)
        order = np.argsort(found.times_s, kind="stable")
        spots = tuple(Spot(half, float(found.times_s[i]) + offset_s, self.config.classes[found.labels[i]],
                           float(found.scores[i])) for i in order)  # fmt: skip
        seconds = len(scores) / self.config.fps
        warning = soccer_video.unlike(self.model, features)
        return Result(spots, seconds, self.config.classes, name, warning, weights_hash(self.model))

    def encoded(
        self,
        source: Path | str | Float[np.ndarray, "t f"],
        *,
        cache: Path | None = None,
        progress: Callable[[float, float], None] | None = None,
    ) -> tuple[Encoded, str]:
        """Features of a half or a match, and what it is called.

        Args:
            source: as in `predict`.
            cache: a folder for the features of videos.
            progress: called with (seconds done, seconds in all) of a video.
        """
        config = self.config
        return soccer_video.of_source(
            source, self._encode, features=config.encoder, with_sound=config.sound, width=config.feature_width,
            fps=config.fps, cache=cache, progress=progress,
        )  # fmt: skip

    def _film(
        self, source: Any, progress: Callable[[float, float], None] | None
    ) -> tuple[torch.Tensor, torch.Tensor, str]:
        """Scores and offsets of a network that looks at the frames themselves."""
        if isinstance(source, np.ndarray) or Path(source).suffix == ".npy":
            raise InputError("this network looks at frames, not at features: give a video")
        total = video.info(source).duration_s
        height, width = FILM_SIZE

        def pictures() -> Iterator[np.ndarray]:
            for sample in video.walk(source, 1 / self.config.fps, size=(height, width)):
                yield sample.frame
                if progress is not None:
                    progress(sample.time_s, total)

        return *self.model.film(pictures()), Path(source).name

    def estimate_s(self, path: Path | str) -> float:
        """About how many seconds a video will take here, from a few frames of it, which are looked at twice."""
        seconds = video.info(path).duration_s
        height, width = FILM_SIZE if self.config.features == "frames" else LITE0_SIZE
        clip = torch.zeros(8, 3, height, width)
        took = []
        for _ in range(2):
            began = time.perf_counter()
            with torch.inference_mode():
                if self.config.features == "frames":
                    self.model._features(clip, len(clip))
                else:
                    self._encode(clip)
            took.append((time.perf_counter() - began) / len(clip))
        twice = 2.0 if self.config.features == "frames" else 1.0
        return min(took) * twice * seconds * self.config.fps

    def _encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return frame_features(self.model, self.config.encoder, pictures)
