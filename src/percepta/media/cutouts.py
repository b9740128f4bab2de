"""What is marked, cut out of its pictures: transparent videos (WebM with VP9, MOV with ProRes 4444) and PNGs.

Alpha is straight, not premultiplied: the colours at the edge are those of the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy import ndimage

from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.media import draw, video

SOFT_PX = 0.8  # by so much the edge of a mask is smoothed
MARGIN_PX = 4  # around the mask, in which colours are kept for players that smooth


def cut_out(pixels: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "a b"]) -> UInt8[np.ndarray, "h w 4"]:
    """RGBA: the picture where the mask is, with a smooth edge, and nothing elsewhere.

    Args:
        pixels: RGB.
        mask: what stays, of the same size.

    Raises:
        InputError: they differ in size.
    """
    if mask.shape != pixels.shape[:2]:
        raise InputError(f"the mask is {mask.shape}, the picture {pixels.shape[:2]} (height, width)")
    out = np.zeros((*mask.shape, 4), np.uint8)
    if not mask.any():
        return out
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (
        slice(max(0, int(ys[0]) - MARGIN_PX), int(ys[-1]) + MARGIN_PX + 1),
        slice(max(0, int(xs[0]) - MARGIN_PX), int(xs[-1]) + MARGIN_PX + 1),
    )
    soft = ndimage.gaussian_filter(mask[box].astype(np.float32), SOFT_PX, mode="nearest")
    out[(*box, 3)] = np.rint(255 * soft)
    near = ndimage.maximum_filter(mask[box], 2 * MARGIN_PX + 1)
    out[(*box, slice(0, 3))] = pixels[box] * near[..., None]
    return out


class Writer:
    """Writes cut-outs, as a context: a video ending in .webm or .mov, else a folder of PNGs.

    Args:
        path: of the video or the folder.
        fps: frames a second.
    """

    def __init__(self, path: Path | str, fps: video.Real) -> None:
        self.path = Path(path)
        self._video = video.Writer(self.path, fps, alpha=True) if self.path.suffix.lower() in KINDS else None
        if self._video is None and self.path.suffix:
            raise InputError(f"{path}: cut-outs end in {' or '.join(KINDS)}, or are a folder of PNGs (no ending)")
        self._count = 0

    def add(self, pixels: UInt8[np.ndarray, "h w 4"], time_s: video.Real | None = None) -> None:
        """Appends a frame, RGBA.

        Args:
            pixels: what `cut_out` gives.
            time_s: when it comes on show; None: by the frame rate.
        """
        if self._video is not None:
            self._video.add(pixels, time_s)
        else:
            write_atomically(self.path / f"{self._count:05d}.png", draw.png(Image.fromarray(pixels)))
        self._count += 1

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._video is not None:
            self._video.__exit__(kind, *rest)


KINDS = video.TRANSPARENT
