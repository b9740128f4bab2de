"""What a driver does when: what `percepta.load("driver")` gives, and its answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from percepta.contract import Evaluate, OpenStream, Progress, described, weights_hash
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media.draw import Shown, colours, write_picture
from percepta.nn.looks import Rows, resampled
from percepta.systems.driver import Config
from percepta.systems.driver.decoder import Activity, activities
from percepta.systems.driver.features import of_frames, of_video
from percepta.systems.driver.model import DriverNetwork
from percepta.systems.driver.recording import Recording, assembled
from percepta.systems.driver.stream import Session

SHOWN = 0.0  # least confidence of what is shown: the decoder has chosen already
SEEN_LEAST = 0.9  # of a drive: less of a view is said
Video = Path | str | np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The activities of a drive, in the order of time.

    Attributes:
        spans: class, seconds, confidence.
        probability: of each class at each moment, rows with the sum 1.
        labels: names of the classes; the first is normal driving.
        fps: moments a second.
        duration_s: of the drive.
        views: which were seen at some moment.
        offset_s: seconds by which each view began later than the first.
        name: of the drive.
        weights: hash of the weights that answered.
        warnings: what has to be said: views that are cut off, dark, or seen for a part only.
    """

    spans: tuple[Activity, ...]
    probability: Float[np.ndarray, "t k"]
    labels: tuple[str, ...]
    fps: float
    duration_s: float
    views: tuple[str, ...]
    offset_s: dict[str, float]
    name: str = "drive"
    weights: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The answer in words: "3 activities in 61 s by 3 views: drink 4.0–11.5 s 93%, ..."."""
        words = [f"{self.labels[x.label]} {x.start_s:.1f}–{x.end_s:.1f} s {x.score:.0%}" for x in self.spans[:3]]
        more = ", ..." if len(self.spans) > 3 else ""
        seen = f"in {self.duration_s:.0f} s by {len(self.views)} view{'' if len(self.views) == 1 else 's'}"
        many = f"{len(self.spans)} activit{'y' if len(self.spans) == 1 else 'ies'}"
        return f"{many} {seen}: {', '.join(words)}{more}" if self.spans else f"normal driving {seen}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: spans with class, name, seconds and confidence; views and their offsets."""
        rows = [
            {"class": x.label, "label": self.labels[x.label], "start_s": round(x.start_s, 2),
             "end_s": round(x.end_s, 2), "score": round(x.score, 4)} for x in self.spans
        ]  # fmt: skip
        return {
            "name": self.name, "duration_s": round(self.duration_s, 3), "views": list(self.views),
            "offset_s": self.offset_s, "spans": rows, "warnings": list(self.warnings), "weights": self.weights,
        }  # fmt: skip

    def to_csv(self) -> str:
        """Lines name, class, label, start_s, end_s, score."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["name", "class", "label", "start_s", "end_s", "score"])
        for x in self.spans:
            row = [self.name, x.label, self.labels[x.label], f"{x.start_s:.2f}", f"{x.end_s:.2f}", f"{x.score:.4f}"]
            writer.writerow(row)
        return out.getvalue()

    def draw(self) -> Image.Image:
        """The timeline."""
        return timeline(self.spans, self.labels, self.duration_s)

    def save(self, path: Path | str) -> Path:
        """The timeline, and beside it JSON and CSV of the same name; returns where the timeline is."""
        where = write_picture(path, self.draw(), self.to_dict())
        write_atomically(where.with_suffix(".csv"), self.to_csv())
        return where


@dataclass(frozen=True)
class Driver:
    """A driver's activities, ready to use: `percepta.load("driver")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on data.
        open_stream: what systems that look at single pictures make streams of; a drive has several views.
    """

    config: Config
    model: DriverNetwork
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "driver"

    def __repr__(self) -> str:
        return described(self)

    def predict(
        self,
        views: Mapping[str, Video],
        *,
        fps: float | int | None = None,
        quiet_s: float | int = 0.0,
        offset_s: Mapping[str, float | int] | None = None,
        name: str = "drive",
        progress: Progress | None = None,
    ) -> Result:
        """The activities of a drive.

        Args:
            views: {view: a video file, or frames (t h w 3, RGB 0..255)}; one view is enough. The first says the time.
            fps: of frames: how many a second; None: the network's.
            quiet_s: first seconds in which nothing but driving happens: what is normal for new cameras is taken from
                them. 0: from the mean of the whole drive.
            offset_s: seconds by which views began later than the first; those not named are estimated.
            name: of the drive.
            progress: called with (frames done, frames in all) of each view.

        Raises:
            InputError: no view, an unknown one, frames that are none, or none that shows anything.
        """
        if not isinstance(views, Mapping):
            raise InputError(f"views is a dictionary such as {{{self.config.views[0]!r}: video}}; got {type(views)}")
        if quiet_s < 0:
            raise InputError(f"quiet_s is at least 0; got {quiet_s}")
        seen, warnings = {}, []
        for view, video in views.items():
            rows, duration, whole = self._seen(video, fps, progress)
            seen[view] = rows, duration
            if not whole:
                warnings.append(f"{view} is cut off: {duration:.1f} s of it can be decoded")
        drive = assembled(seen, self.config, quiet_s=quiet_s, offset_s=offset_s)
        for view in views:
            share = float(drive.present[self.config.views.index(view)].mean())
            if share < SEEN_LEAST:
                warnings.append(f"{view} shows something in {share:.0%} of the drive: it is shorter, dark or frozen")
        if not drive.present.any():
            raise InputError(f"{name}: no view shows anything; all are dark or frozen")
        return replace(self.decide(drive, name), warnings=tuple(warnings))

    def decide(self, drive: Recording, name: str = "drive") -> Result:
        """The activities of a drive whose features are there."""
        p = probabilities(self.model, drive)
        spans = activities(p, self.config, drive.duration_s)
        there = tuple(view for view, row in zip(self.config.views, drive.present, strict=True) if row.any())
        config, weights = self.config, weights_hash(self.model)
        return Result(
            tuple(spans), p, config.labels, config.fps, drive.duration_s, there, drive.offset_s, name, weights
        )

    def session(self, *, delay_s: float | int = 20.0, quiet_s: float | int = 60.0) -> Session:
        """A live drive: frames go in, activities come out with a delay; see `stream.Session`.

        Args:
            delay_s: how long after its end an activity is given out.
            quiet_s: first seconds in which nothing but driving happens, from which is taken what is normal.
        """
        return Session(self.model, float(delay_s), float(quiet_s))

    def _seen(self, video: Video, fps: float | int | None, progress: Progress | None) -> tuple[Rows, float, bool]:
        if isinstance(video, str | Path):
            return of_video(self.model, Path(video), progress)
        frames, duration = resampled(video, fps or self.config.fps, self.config.fps)
        return of_frames(self.model, frames), duration, True


@torch.inference_mode()
def probabilities(model: DriverNetwork, drive: Recording) -> Float[np.ndarray, "t k"]:
    """Of each class at each moment of a drive."""
    weight = model.project.weight
    features = torch.from_numpy(drive.features)[None].to(weight.device, weight.dtype)
    present = torch.from_numpy(drive.present)[None].to(weight.device)
    return model(features, present)[1].softmax(-1)[0].double().cpu().numpy()


def timeline(
    found: Sequence[Activity],
    labels: tuple[str, ...],
    duration_s: float,
    *,
    truth: Sequence[Activity] = (),
    width: int = 900,
) -> Image.Image:
    """Activities as bars, one row a class that occurs; the truth, where it is given, in the upper half of each row.

    Args:
        found: activities.
        labels: names of the classes.
        duration_s: of the drive.
        truth: what there is.
        width: of the picture, in pixels.
    """
    present = sorted({x.label for x in (*found, *truth)})
    left, high = 230, 26
    picture = Image.new("RGB", (width, max(1, len(present)) * high + 30), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    scale = (width - left - 10) / max(duration_s, 1e-3)
    ink = colours(len(labels))
    for row, k in enumerate(present):
        top = 4 + row * high
        pen.text((4, top + 4), labels[k][:36], fill="black", font=font)
        for some, y0, y1, colour in ((truth, top, top + 9, (90, 90, 90)), (found, top + 11, top + 20, ink[k])):
            for x in some:
                if x.label == k:
                    shade = tuple(round(255 - min(1.0, 0.3 + 0.7 * x.score) * (255 - c)) for c in colour)
                    right = max(left + x.end_s * scale, left + x.start_s * scale + 1)
                    pen.rectangle((left + x.start_s * scale, y0, right, y1), fill=shade)
    bottom = picture.height - 22
    pen.line((left, bottom, width - 10, bottom), fill="black")
    for second in np.linspace(0, duration_s, 6):
        x = left + second * scale
        pen.line((x, bottom, x, bottom + 4), fill="black")
        pen.text((x, bottom + 5), f"{second:.{0 if duration_s >= 20 else 1}f} s", fill="black", font=font, anchor="ma")
    return picture
