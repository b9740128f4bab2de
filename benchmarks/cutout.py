"""The flow from a sentence to a cut-out on DAVIS 2016 with human sentences, beside `refer` frame by frame.

    python benchmarks/cutout.py DAVIS16 [--record]

The folder has DAVIS 2016's layout and expressions.csv (video, expression). J and F are averaged over the frames of a
video but the first and the last, then over videos. The truth is used for nothing but the comparison.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from record import record

import percepta
from percepta.datasets import davis
from percepta.datasets.videos import Video
from percepta.flows.cutout import cutout
from percepta.media.frames import Frames
from percepta.metrics import Metric, interval
from percepta.metrics.video_masks import scores


def mean_score(said: list[np.ndarray], video: Video) -> float:
    """J&F of masks of all frames."""
    values = []
    for number in range(1, len(video.frames) - 1):
        truth = video.mask(number)
        assert truth is not None
        values.append(np.mean(scores(said[number].astype(np.uint8), (truth > 0).astype(np.uint8), [1])))
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    refer, vos = percepta.load("refer"), percepta.load("vos")
    sentences = davis.read_expressions(args.root / "expressions.csv")
    flow, alone, names = [], [], []
    for video in davis.videos(args.root):
        if video.name not in sentences:
            continue
        sentence = sentences[video.name][0]
        frames = Frames.open(video.frames[0].parent)
        with tempfile.TemporaryDirectory() as folder:
            found = cutout(frames, sentence, refer=refer, vos=vos, folder=Path(folder) / "masks")
            size = frames.size
            labels = [None if found.followed is None else found.followed.labels(i) for i in range(len(video.frames))]
            flow.append(mean_score([np.zeros(size, bool) if one is None else one > 0 for one in labels], video))
        alone.append(mean_score([refer.predict(path, sentence).mask for path in video.frames], video))
        names.append(video.name)
        print(f"{video.name:16} {sentence!r}: flow {flow[-1]:.3f}, refer frame by frame {alone[-1]:.3f}", flush=True)
        for line in found.lines():
            print(f"    {line}")
    values = {}
    for name, row in (("flow J&F", flow), ("refer frame by frame J&F", alone)):
        low, high = interval(row, names)
        values[name] = Metric(float(np.mean(row)), low, high, len(row))
        print(f"{name}: {np.mean(row):.3f} ({low} to {high}), {len(row)} videos")
    if args.record:
        record("vos", "cutout", values, model=vos.model)


if __name__ == "__main__":
    main()
