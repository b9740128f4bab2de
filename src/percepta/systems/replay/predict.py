"""Replays and what they show, and how it is asked: `percepta.load("replay")`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.datasets import soccer_video
from percepta.datasets.soccer import ReplaySpan
from percepta.datasets.soccer_halves import HalfFeatures
from percepta.datasets.soccer_results import Grounded
from percepta.datasets.soccer_video import Encoded
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media import draw
from percepta.media.draw import Shown
from percepta.nn.spotting import frame_features
from percepta.systems.replay import Config, decode
from percepta.systems.replay.inputs import of_replay


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The replays of one half.

    Attributes:
        replays: each with proposals for its action, the best first.
        duration_s: how long the half is.
        source: what was looked at, in words.
        warning: why the answer may be worth little; "" for nothing.
        weights: hash of the weights that answered.
    """

    replays: tuple[Grounded, ...]
    duration_s: float | int
    source: str = ""
    warning: str = ""
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "3 replays in 45:00; the first at 2:10 shows 1:48"."""
        if not self.replays:
            return f"no replays in {_clock(self.duration_s)}"
        first = self.replays[0]
        shown = f"shows {_clock(first.times_s[0])}" if first.times_s else "shows nothing that was found"
        many = "replay" if len(self.replays) == 1 else "replays"
        return f"{len(self.replays)} {many} in {_clock(self.duration_s)}; the first at {_clock(first.start_s)} {shown}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: start, end and proposals of each replay, in seconds."""
        rows = [{"half": r.half, "start_s": round(r.start_s, 3), "end_s": round(r.end_s, 3),
                 "times_s": [round(t, 3) for t in r.times_s], "scores": [round(s, 4) for s in r.scores]}
                for r in self.replays]  # fmt: skip
        return {"source": self.source, "duration_s": round(self.duration_s, 3), "replays": rows,
                "warning": self.warning, "weights": self.weights}  # fmt: skip

    def draw(self, width: int = 900, height: int = 120) -> Image.Image:
        """A line of time: replays as bars, an arc from each to its best action."""
        picture = Image.new("RGB", (width, height), "white")
        pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
        scale, base = (width - 20) / max(self.duration_s, 1e-6), height - 24
        pen.line([(10, base), (width - 10, base)], fill=(150, 150, 150))
        for replay, colour in zip(self.replays, draw.colours(len(self.replays)), strict=True):
            a, b = 10 + replay.start_s * scale, 10 + replay.end_s * scale
            pen.rectangle([a, base - 8, max(b, a + 2), base + 8], fill=tuple(colour))
            if replay.times_s:
                x = 10 + replay.times_s[0] * scale
                rise = min(base - 10, 12 + abs(a - x) / 4)
                low, high = min(a, x), max(a, x, min(a, x) + 1)
                pen.arc([low, base - rise, high, base + rise], 180, 360, fill=tuple(colour), width=2)
        pen.text((10, height - 14), f"0:00 to {_clock(self.duration_s)}", fill=(90, 90, 90), font=font)
        return picture

    def to_csv(self) -> str:
        """A table with half, start_s, end_s, action_s and score of each replay."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["half", "start_s", "end_s", "action_s", "score"])
        for r in self.replays:
            best = (f"{r.times_s[0]:.2f}", f"{r.scores[0]:.4f}") if r.times_s else ("", "")
            table.writerow([r.half, f"{r.start_s:.2f}", f"{r.end_s:.2f}", *best])
        return out.getvalue()

    def save_csv(self, path: Path | str) -> Path:
        """Writes `to_csv`."""
        return write_atomically(path, self.to_csv())


def _clock(time_s: float | int) -> str:
    return f"{int(time_s) // 60}:{int(time_s) % 60:02d}"


@dataclass(frozen=True)
class ReplayGrounding:
    """Replay grounding, ready to use: `percepta.load("replay")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode: ours, or the published one.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: its numbers on games; without a folder, on its synthetic world.
        open_stream: what systems that look at single pictures make streams of; there is no `stream` here.
    """

    config: Config
    model: Any
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "replay"

    def __repr__(self) -> str:
        return described(self)

    def predict(
        self,
        source: Path | str | Float[np.ndarray, "t f"],
        *,
        replays: Sequence[tuple[float | int, float | int]] | None = None,
        half: int = 1,
        cache: Path | None = None,
        progress: Callable[[float, float], None] | None = None,
    ) -> Result:
        """The replays of one half, and when what they show happened.

        Args:
            source: a video; a file of features (.npy, frames × numbers); or such features as an array.
            replays: start and end (s) of the replays; None: they are looked for.
            half: what they are said to be in, 1 or 2.
            cache: a folder for the features of videos.
            progress: called with (seconds done, seconds in all) of a video.

        Raises:
            MissingFileError, InputError: no such file, no video, features of another width, a replay outside of it, or
                replays that the published network cannot look for.
        """
        found, name = self.encoded(source, cache=cache, progress=progress)
        features = found.features
        frames, seconds = torch.from_numpy(features), len(features) / self.config.fps
        if replays is None:
            if not hasattr(self.model, "spans"):
                raise InputError("the published network does not look for replays: give their start and end")
            weight = next(self.model.parameters())
            with torch.inference_mode():
                scores = self.model.spans(frames.to(weight.device, weight.dtype)).float().cpu().numpy()
            spans = [(a, b) for a, b, _ in decode.spans(scores, self.config)]
        else:
            spans = [(float(a), float(b)) for a, b in replays]
        if odd := [s for s in spans if not 0 <= s[0] < s[1] <= seconds + 2]:
            raise InputError(f"{name}: a replay from {odd[0][0]:g} to {odd[0][1]:g} s is not inside its {seconds:g} s")
        found = tuple(Grounded(half, a, b, *self._ground(features, a, b)) for a, b in spans)
        return Result(found, seconds, name, soccer_video.unlike(self.model, features), weights_hash(self.model))

    @torch.inference_mode()
    def _ground(
        self, features: np.ndarray, start_s: float | int, end_s: float | int
    ) -> tuple[tuple[float | int, ...], tuple[float | int, ...]]:
        weight = next(self.model.parameters())
        half = HalfFeatures("", 1, self.config.fps, (), (), given=features)
        sample = of_replay(half, ReplaySpan(1, start_s, end_s), self.config)
        out = self.model(*(sample[name][None].to(weight.device, weight.dtype if name != "there" else None)
                           for name in ("past", "replay", "there")))  # fmt: skip
        score, reach = out.score[0].float().sigmoid().cpu().numpy(), out.reach[0].float().cpu().numpy()
        return decode.proposals(score, reach, start_s, self.config)

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

    def _encode(self, pictures: torch.Tensor) -> torch.Tensor:
        return frame_features(self.model, self.config.encoder, pictures)
