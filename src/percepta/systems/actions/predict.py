"""When what happens in a video: what `percepta.load("actions")` gives, and its answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from percepta.contract import Evaluate, OpenStream, Progress, described, weights_hash
from percepta.datasets.feature_files import Timing, read_features
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media.draw import Shown, colours, write_picture
from percepta.nn import looks
from percepta.systems.actions import Config
from percepta.systems.actions import features as seen
from percepta.systems.actions.decode import segments
from percepta.systems.actions.features import assemble, timed
from percepta.systems.actions.model import ActionsNetwork
from percepta.systems.actions.suppress import Segments, fused

SHOWN = 0.2  # least score of what drawings, tables and subtitles show


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The segments of a video, the best first.

    Attributes:
        segments: starts and ends in seconds, scores 0..1, places in `labels`.
        labels: names of the classes.
        duration_s: of the video.
        name: of the video.
        score_threshold: least score of what is shown.
        weights: hash of the weights that answered.
    """

    segments: Segments
    labels: tuple[str, ...]
    duration_s: float
    name: str = "video"
    score_threshold: float = SHOWN
    weights: str = ""

    @property
    def shown(self) -> Segments:
        """Those above the threshold, in the order of time."""
        kept = self.segments[self.segments.score >= self.score_threshold]
        return kept[np.argsort(kept.span[:, 0], kind="stable")]

    @property
    def text(self) -> str:
        """The answer in words: "3 segments in 61 s: brush teeth 4.0–11.5 s 93%, ..."."""
        best = self.segments[self.segments.score >= self.score_threshold]
        words = [
            f"{self.labels[k]} {s:.1f}–{e:.1f} s {score:.0%}"
            for (s, e), score, k in zip(best.span[:3], best.score[:3], best.label[:3], strict=True)
        ]
        more = ", ..." if len(best) > 3 else ""
        count = f"{len(best)} segment{'' if len(best) == 1 else 's'} in {self.duration_s:.0f} s"
        return f"{count}: {', '.join(words)}{more}" if len(best) else f"nothing found in {self.duration_s:.0f} s"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, in ActivityNet's form of results: {"results": {name: [{label, segment, score}]}, ...}."""
        rows = [
            {"label": self.labels[k], "segment": [round(float(s), 3), round(float(e), 3)], "score": round(float(p), 5)}
            for (s, e), p, k in zip(self.segments.span, self.segments.score, self.segments.label, strict=True)
        ]
        return {
            "version": "VERSION 1.3", "results": {self.name: rows}, "external_data": {},
            "duration_s": round(self.duration_s, 3), "weights": self.weights,
        }  # fmt: skip

    def to_csv(self) -> str:
        """Lines video, start, end, label, score of what is shown; the form that training reads."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["video", "start", "end", "label", "score"])
        some = self.shown
        for (s, e), p, k in zip(some.span, some.score, some.label, strict=True):
            writer.writerow([self.name, f"{s:.3f}", f"{e:.3f}", self.labels[k], f"{p:.4f}"])
        return out.getvalue()

    def to_srt(self) -> str:
        """Subtitles of what is shown; where segments overlap, each has its own."""
        some, blocks = self.shown, []
        for i, ((s, e), p, k) in enumerate(zip(some.span, some.score, some.label, strict=True), 1):
            blocks.append(f"{i}\n{_clock(float(s))} --> {_clock(float(e))}\n{self.labels[k]} {p:.0%}\n")
        return "\n".join(blocks)

    def draw(self) -> Image.Image:
        """The timeline."""
        return timeline(self.shown, self.labels, self.duration_s)

    def save(self, path: Path | str) -> Path:
        """The timeline, and beside it JSON, CSV and subtitles of the same name; returns where the timeline is."""
        where = write_picture(path, self.draw(), self.to_dict())
        write_atomically(where.with_suffix(".csv"), self.to_csv())
        write_atomically(where.with_suffix(".srt"), self.to_srt())
        return where


@dataclass(frozen=True)
class Actions:
    """Temporal action localisation, ready to use: `percepta.load("actions")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on data.
        open_stream: what systems that look at single pictures make streams of; a video is seen whole here.
    """

    config: Config
    model: ActionsNetwork
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "actions"

    def __repr__(self) -> str:
        return described(self)

    @torch.inference_mode()
    def predict(
        self,
        video: Path | str | np.ndarray | Sequence[np.ndarray],
        *,
        fps: float | None = None,
        score_threshold: float = SHOWN,
        cache: Path | str | None = None,
        class_scores: Float[np.ndarray, " k"] | None = None,
        class_names: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """The segments of a video, or of its features.

        Args:
            video: a video file; frames (t h w 3, RGB 0..255); or, where the network stands on feature files, a file of
                features or a table (t, channels).
            fps: of frames: how many a second; of features: frames a second of the video. None: the network's.
            score_threshold: least score of what is shown; `segments` has all.
            cache: a folder in which features of video files are kept by content; None: they are not.
            class_scores: scores 0..1 of the whole video by another classifier, joined with the proposals of a network
                of one class.
            class_names: their names.
            progress: called with (frames done, frames in all).

        Raises:
            InputError: no such video, features of another width, or class scores without names.
        """
        if not 0 <= score_threshold <= 1:
            raise InputError(f"score_threshold is 0 to 1; got {score_threshold}")
        table, scale, shift, duration, name = self._features(video, fps, cache, progress)
        found, labels = segments(self.model, table, scale, shift, duration), self.config.labels
        if class_scores is not None:
            if class_names is None or len(class_names) != len(class_scores):
                raise InputError("class_scores needs as many class_names")
            found, labels = fused(found, np.asarray(class_scores, np.float64)), tuple(class_names)
            found = found[np.argsort(-found.score, kind="stable")]
        return Result(found, labels, duration, name, score_threshold, weights_hash(self.model))

    def _features(self, video: Any, fps: float | None, cache: Any, progress: Progress | None) -> tuple[Any, ...]:
        """(features c n, scale, shift, duration in seconds, name)."""
        config = self.config
        if config.features == "file":
            name, table = "video", video
            if isinstance(video, str | Path):
                name, table = Path(video).stem, read_features(Path(video))
            table = np.asarray(table, np.float32)
            if table.ndim != 2 or not len(table):
                raise InputError(f"features are a table (vectors, {config.channels}); got {table.shape}")
            timing = Timing(fps or config.fps, config.stride, config.window)
            made, scale, shift = timed(torch.from_numpy(table.T.copy()), timing, config)
            return made, scale, shift, ((len(table) - 1) * config.stride + config.window) / timing.fps, name
        if isinstance(video, str | Path):
            kept = None if cache is None else Path(cache)
            rows, duration = seen.of_video(self.model, Path(video), kept, progress)
            return assemble(rows), 1 / config.fps, 0.0, duration, Path(video).stem
        frames, duration = looks.resampled(video, fps or config.fps, config.fps)
        rows = looks.joined([seen.look_at(self.model, part) for part in looks.batched(frames)])
        return assemble(rows), 1 / config.fps, 0.0, duration, "video"


def timeline(
    found: Segments, labels: tuple[str, ...], duration_s: float, *, truth: Segments | None = None, width: int = 900
) -> Image.Image:
    """Segments as bars, one row a class that occurs; the truth, where it is given, in the upper half of each row.

    Args:
        found: segments in seconds.
        labels: names of the classes.
        duration_s: of the video.
        truth: what there is.
        width: of the picture, in pixels.
    """
    present = sorted({*found.label.tolist(), *(truth.label.tolist() if truth is not None else ())})
    left, high = 150, 26
    picture = Image.new("RGB", (width, max(1, len(present)) * high + 30), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    scale = (width - left - 10) / max(duration_s, 1e-3)
    ink = colours(max(1, len(labels)))
    for row, k in enumerate(present):
        top = 4 + row * high
        pen.text((4, top + 4), labels[k][:22], fill="black", font=font)
        parts = [(truth, top, top + 9, (90, 90, 90)), (found, top + 11, top + 20, ink[k])]
        for some, y0, y1, colour in parts:
            if some is None:
                continue
            for (s, e), score in zip(some.span[some.label == k], some.score[some.label == k], strict=True):
                shade = tuple(round(255 - min(1.0, 0.3 + 0.7 * score) * (255 - c)) for c in colour)
                pen.rectangle((left + s * scale, y0, max(left + e * scale, left + s * scale + 1), y1), fill=shade)
    bottom = picture.height - 22
    pen.line((left, bottom, width - 10, bottom), fill="black")
    for second in np.linspace(0, duration_s, 6):
        x = left + second * scale
        pen.line((x, bottom, x, bottom + 4), fill="black")
        pen.text((x, bottom + 5), f"{second:.{0 if duration_s >= 20 else 1}f} s", fill="black", font=font, anchor="ma")
    return picture


def _clock(time_s: float) -> str:
    milliseconds = round(1000 * time_s)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d},{milliseconds:03d}"
