"""A live drive: frames of some views go in, activities come out with a stated delay.

The spans of the last minutes are decoded anew every few seconds. What ended more than `delay_s` ago is given out and
stays; the delay lets the network see what follows, and the decoder change its mind. Nothing is given out for the first
`quiet_s`, in which what is normal is learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import UInt8

from percepta.errors import InputError
from percepta.nn.looks import Rows
from percepta.systems.driver.decoder import Activity, activities
from percepta.systems.driver.features import alive, look_at
from percepta.systems.driver.model import DriverNetwork

EVERY_S = 5.0  # between two decodings
WINDOW_S = 180.0  # that is decoded


@dataclass
class Session:
    """Made by `Driver.session`.

    Attributes:
        model: the network.
        delay_s: how long after its end an activity is given out.
        quiet_s: first seconds, in which nothing but driving happens.
    """

    model: DriverNetwork
    delay_s: float
    quiet_s: float
    _look: dict[str, list[np.ndarray]] = field(default_factory=dict, repr=False)
    _thumb: dict[str, list[np.ndarray]] = field(default_factory=dict, repr=False)
    _given: list[Activity] = field(default_factory=list, repr=False)
    _reference: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _steps: int = field(default=0, repr=False)
    _first: int = field(default=0, repr=False)  # step of the first frame that is kept

    @property
    def now_s(self) -> float:
        """How far the drive is."""
        return self._steps / self.model.config.fps

    def step(self, frames: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> list[Activity]:
        """Takes the frames of one moment; the network's `fps` moments make a second.

        Args:
            frames: {view: RGB}; a view whose camera fails may be left out.

        Returns:
            Activities that are certain now and were not given out before.
        """
        config = self.model.config
        if odd := [name for name in frames if name not in config.views]:
            raise InputError(f"unknown view {odd[0]!r}; the views are {', '.join(config.views)}")
        for view in config.views:
            looks, thumbs = self._look.setdefault(view, []), self._thumb.setdefault(view, [])
            if view in frames:
                rows = look_at(self.model, np.asarray(frames[view])[None])
                looks.append(rows.look[0])
                thumbs.append(rows.thumb[0])
            else:  # a picture of one colour counts as a dead camera
                width = 3 * 1280 if config.features == "lite0" else 0
                looks.append(np.zeros(width, np.float32))
                thumbs.append(np.zeros((12, 16), np.float32))
        self._steps += 1
        every = max(1, round(EVERY_S * config.fps))
        if self._steps % every or self.now_s <= self.quiet_s:
            return []
        return self._settled(self.now_s - self.delay_s)

    def finish(self) -> list[Activity]:
        """What is left at the end of the drive."""
        return self._settled(self.now_s) if self._steps else []

    @torch.inference_mode()
    def _settled(self, until_s: float) -> list[Activity]:
        config = self.model.config
        features, present = [], []
        for view in config.views:
            rows = Rows(np.stack(self._look[view]), np.stack(self._thumb[view]))
            shows, vector = alive(rows, config.fps), rows.vectors()
            if view not in self._reference and shows.any():
                quiet = shows & (np.arange(len(shows)) + self._first < self.quiet_s * config.fps)
                self._reference[view] = vector[quiet if quiet.any() else shows].mean(0)
            features.append((vector - self._reference.get(view, 0.0)) * shows[:, None])
            present.append(shows)
        first = self._first
        weight = self.model.project.weight
        x = torch.from_numpy(np.stack(features).astype(np.float32))[None].to(weight.device, weight.dtype)
        there = torch.from_numpy(np.stack(present))[None].to(weight.device)
        p = self.model(x, there)[1].softmax(-1)[0].double().cpu().numpy()
        begin = first / config.fps
        new = []
        last = max((x.end_s for x in self._given), default=self.quiet_s)
        for one in activities(p, config, (self._steps - first) / config.fps):
            moved = Activity(one.label, one.start_s + begin, one.end_s + begin, one.score)
            if moved.end_s <= until_s + 1e-9 and moved.start_s >= last - 1e-9:
                new.append(moved)
                last = moved.end_s
        self._given += new
        spare = self._steps - self._first - round(WINDOW_S * config.fps)
        if spare > 0:
            self._first += spare
            for view in config.views:
                del self._look[view][:spare], self._thumb[view][:spare]
        return new
