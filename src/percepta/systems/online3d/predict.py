"""Online 3-D segmentation, ready to use: a recording frame by frame, or a scan at once, into a labelled cloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, cast, overload, runtime_checkable

import numpy as np
from torch import nn

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.datasets import nyu40
from percepta.errors import InputError, InputTypeError
from percepta.systems.online3d import Config
from percepta.systems.online3d.cloud import Cloud, open_cloud
from percepta.systems.online3d.model import OnlineNet
from percepta.systems.online3d.online import Frame, Online
from percepta.systems.online3d.result import Result
from percepta.systems.online3d.stream import Mode, Rule
from percepta.systems.online3d.whole_scan import label_scan


@runtime_checkable
class Frames(Protocol):
    """Anything with frames in the order of time; `datasets.posed.Recording` is one."""

    def frames(self, size: tuple[int, int] | None = None, stride: int = 1) -> Iterator[Frame]:
        """Every n-th frame, at a size (width, height) or at its own."""
        ...


@dataclass(frozen=True)
class Online3d:
    """Labels of the surfaces and things of a room: `percepta.load("online3d")`.

    Attributes:
        config: the settings.
        model: the network, in eval mode.
        licence: of code and weights, and the terms of the data behind the weights.
        evaluate: metrics on a folder of labelled scans; without one, on synthetic rooms.
        open_stream: opens whatever `stream` is given; handed in by `percepta.load`.
    """

    config: Config
    model: nn.Module
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "online3d"

    def __repr__(self) -> str:
        return described(self)

    @overload
    def predict(self, source: Cloud | Path | str, *, views: int | None = None) -> Result: ...
    @overload
    def predict(
        self,
        source: Frames,
        *,
        stride: int = 1,
        size: tuple[int, int] | None = None,
        mode: Mode = "paper",
        up: str | Sequence[float] = "z",
    ) -> Result: ...
    def predict(
        self,
        source: Cloud | Frames | Path | str,
        *,
        views: int | None = None,
        stride: int = 1,
        size: tuple[int, int] | None = None,
        mode: Mode = "paper",
        up: str | Sequence[float] = "z",
    ) -> Result:
        """Labels and instances of a whole scan, or of a recording that is gone through frame by frame.

        Args:
            source: a scan (anything with `xyz`, metres, z up, and `rgb`, 0..255), its .ply or .npz file; or a recording
                (`datasets.recordings.open_recording` opens a folder of frames).
            views: of a scan: in how many grids it is predicted, 1..4; None: as configured.
            stride: of a recording: take every n-th frame.
            size: of a recording: (width, height) that frames are brought to; None: the size of the depth pictures.
            mode: of a recording: what a frame computes, see `session`.
            up: of a recording: what is up in its world, see `session`; `Recording.up` says it.

        Returns:
            One labelled point for each point of a scan, or for each voxel of the map of a recording.

        Raises:
            MissingFileError: no such file.
            InputTypeError: neither a scan nor a recording.
            InputError: a file that cannot be read, a scan without points, a frame that does not fit.
        """
        if isinstance(source, str | Path):
            source = open_cloud(source)
        if isinstance(source, Cloud):
            return self._scan(source, views)
        if not isinstance(source, Frames):
            raise InputTypeError(f"expected a scan, a recording or the path of a scan; got {type(source).__name__}")
        online = self.session(mode=mode, up=up)
        for frame in source.frames(size, stride):
            online.step(frame)
        return online.result()

    def _scan(self, cloud: Cloud, views: int | None) -> Result:
        xyz, rgb = np.asarray(cloud.xyz), np.asarray(cloud.rgb)
        if len(xyz) == 0 or not np.isfinite(xyz).all():
            raise InputError(f"a scan has at least one point and finite places; this one has {len(xyz)} points")
        found = label_scan(cast(OnlineNet, self.model), xyz, rgb, self.config.views if views is None else views)
        label = np.array(nyu40.SCANNET20, np.uint8)[found.label]
        instance, score = found.instance.astype(np.int32), found.score.astype(np.float32)
        return Result(xyz.astype(np.float32), rgb.astype(np.uint8), label, instance, score, weights_hash(self.model))

    def session(
        self,
        *,
        mode: Mode = "paper",
        up: str | Sequence[float] = "z",
        max_weight: float = 0.0,
        cluster_every: int = 10,
        min_depth_m: float = 0.1,
        max_depth_m: float = 5.0,
        max_step_m: float = 1.0,
        max_turn_deg: float = 60.0,
        rule: Rule = "values",
        threshold: float | None = None,
        coarse: float | None = None,
        halo: bool = True,
        growth: float = 0.1,
        anchor_every: int = 0,
        refresh: float = 0.0,
        drift_bound: float = float("inf"),
    ) -> Online:
        """A scan that is going on: its `step(frame)` takes a frame with its pose, `result()` gives the labelled map.

        Args:
            mode: what a step computes: "paper" (the published rule), "exact" (everything that can change) or "full"
                (everything).
            up: what is up in the world of the poses: "z", "camera" (what is up in the first frame) or a direction.
            max_weight: largest weight of what earlier frames predicted for a voxel; 0: the last prediction counts.
            cluster_every: instances are updated every so many frames.
            min_depth_m: depth below is no reading.
            max_depth_m: depth above is no reading.
            max_step_m: a frame whose camera is farther from the last one is left out (see `Online`).
            max_turn_deg: the same for the angle.
            rule: how a voxel is computed: "values" or "residuals" (see `stream`).
            threshold: smallest change of a colour (-1..1) that is computed; None: 0.08, and 0 for the preset "paper",
                the network as it was published.
            coarse: smallest change of a coarse voxel, in standard deviations, that is passed on; None: 1, and 0 for the
                preset "paper".
            halo: whether voxels beside new ones are computed too.
            growth: everything is computed anew when the map has grown by this share since it last was; 0: never.
            anchor_every: everything is computed anew every so many steps; 0: never.
            refresh: share of all voxels that each step computes anew in turn, 0..1.
            drift_bound: everything is computed anew after a step whose drift is larger; needs `refresh`.

        Raises:
            InputError: a value out of its range.
        """
        return Online(
            cast(OnlineNet, self.model),
            mode=mode,
            up=up,
            max_weight=max_weight,
            cluster_every=cluster_every,
            min_depth_m=min_depth_m,
            max_depth_m=max_depth_m,
            max_step_m=max_step_m,
            max_turn_deg=max_turn_deg,
            rule=rule,
            threshold=threshold,
            coarse=coarse,
            halo=halo,
            growth=growth,
            anchor_every=anchor_every,
            refresh=refresh,
            drift_bound=drift_bound,
        )
