"""How good the mask is that a box or a click becomes: its overlap with the true mask, beside what was drawn.

    python benchmarks/vos_marks.py DAVIS16 [--every 20] [--record]

Frames of the test split of DAVIS 2016 (official layout), none of which was trained on. The box is the true mask's; the
click lies where the true mask is thickest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from record import record
from scipy.ndimage import distance_transform_edt

import percepta
from percepta.datasets import davis
from percepta.metrics import Metric, interval
from percepta.metrics.masks import iou
from percepta.systems.vos.grow import from_box, from_click
from percepta.systems.vos.marks import box, disc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=20, help="frames from one that is measured to the next")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    system = percepta.load("vos", device="cpu")
    names = ("box itself", "ellipse in the box", "mask from the box", "disc around the click", "mask from the click")
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for video in (one for one in davis.videos(args.data) if one.split != "train"):
        for number in range(0, len(video.frames), args.every):
            labels = video.mask(number)
            if labels is None or not (labels > 0).any():
                continue
            truth = labels > 0
            rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
            left, top, right, bottom = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
            across, down = right - left, bottom - top
            ellipse = ((2 * (x - left) - across + 1) / across) ** 2 + ((2 * (y - top) - down + 1) / down) ** 2 <= 1
            depth = np.asarray(distance_transform_edt(truth))
            click = tuple(int(v) for v in np.unravel_index(depth.argmax(), depth.shape))[::-1]
            with Image.open(video.frames[number]) as picture:
                picture.load()
                grown = from_box(system, picture, (left, top, across, down))
                clicked = from_click(system, picture, (click[0], click[1]))
            for name, mask in zip(
                names, (box(truth), ellipse, grown, disc(truth.shape, (click[0], click[1])), clicked), strict=True
            ):
                found[name].setdefault(video.name, []).append(iou(mask, truth))
        print(
            video.name, {name: round(float(np.mean(rows[video.name])), 3) for name, rows in found.items()}, flush=True
        )
    values = {}
    for name, videos in found.items():
        means = [float(np.mean(rows)) for rows in videos.values()]
        low, high = interval(means)
        values[name] = Metric(float(np.mean(means)), low, high, len(means))
        print(f"{name:24} IoU {np.mean(means):.3f} ({low:.3f} to {high:.3f}), mean of {len(means)} videos")
    if args.record:
        record("vos", "marks", values, model=system.model)


if __name__ == "__main__":
    main()
