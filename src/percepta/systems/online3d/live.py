"""How a map grows: a film of it, and a live view in the browser."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from percepta.errors import MissingExtraError
from percepta.media import video
from percepta.systems.online3d.result import Result, instance_colours, label_colours, spacing


def film(path: Path | str, shots: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float = 10.0) -> Path:
    """An MP4 of pictures of one size, such as `slanted` makes after each step of a session.

    Args:
        path: of the video.
        shots: pictures of one size.
        fps: frames a second.
    """
    return video.write(path, shots, fps)


class Live:
    """A live view in the browser (viser, in the extra `viz`): `show(result)` after a step.

    Only this machine can open it.

    Args:
        port: of the page; 0: any that is free.

    Raises:
        MissingExtraError: viser is not installed.
    """

    def __init__(self, port: int = 8080) -> None:
        try:
            import viser  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError("the live view needs viser: pip install percepta[viz]") from error
        self.server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
        self.server.scene.set_up_direction("+z")
        self.legend = self.server.gui.add_html("")

    def show(self, result: Result, by: Literal["label", "instance", "rgb"] = "label") -> None:
        """The cloud in colours of its "label", "instance" or "rgb"; the classes and their colours stand beside it."""
        tones = {"label": label_colours()[result.label], "instance": instance_colours(result.instance)}
        tone = tones.get(by, result.rgb)
        self.server.scene.add_point_cloud("map", result.xyz, tone, point_size=spacing(result.xyz))
        self.legend.content = "".join(
            f'<div><span style="color: rgb({r}, {g}, {b})">&#9632;</span> {name}</div>'
            for name, (r, g, b) in (result.legend() if by == "label" else ())
        )

    def close(self) -> None:
        """Ends the live view."""
        self.server.stop()
