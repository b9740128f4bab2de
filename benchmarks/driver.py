"""Clips of AI City that a published classifier has judged, and the choice of the decoder's settings.

    python benchmarks/driver.py --clips DATA/driver [--record]
    python benchmarks/driver.py --choose BANK --weights runs/small

The first is a description, no comparison. The files hold, for 482 clips of one view each, the top class and its
probability (MViTv2-B, 200 epochs); 79 clips are there from two views and seven from three. Of these 86 the command says
how often a view alone is right, and how often the surest view is, with and without the published weights of class and
view. The clips were cut by the truth, and with the top class alone no fusion can be judged: nothing is claimed.

The second decodes the drives of the split "val" with some settings and prints the overlap score of each.
"""

from __future__ import annotations

import argparse
import itertools
import re
import tarfile
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from record import record

import percepta
from percepta.datasets import aicity
from percepta.metrics import Metric, interval
from percepta.metrics import driver as dm
from percepta.systems.driver.data import data
from percepta.systems.driver.decoder import activities
from percepta.systems.driver.predict import probabilities

RUN = "MVITv2_B_32x3_mixup_aug_unprompted_pretrained200"
EPOCHS = "200"
WORDS = (
    "normal", "drinking", "phone call (right)", "phone call (left)", "eating", "text (right)", "text (left)",
    "reaching behind", "adjust control panel", "pick up from floor (driver)", "pick up from floor (passenger)",
    "talk to passenger at the right", "talk to passenger at backseat", "yawning", "hand on head",
    "singing or dancing with music",
)  # fmt: skip


def label_of(text: str) -> int:
    """The number of a class from the published words; their spelling varies a little."""
    plain = [re.sub(r"[^a-z]", "", word.lower()) for word in (text, *WORDS)]
    starts = [i for i, word in enumerate(plain[1:]) if word.startswith(plain[0][:14]) or plain[0].startswith(word[:14])]
    exact = [i for i, word in enumerate(plain[1:]) if word == plain[0]]
    return (exact or starts or [-1])[0]


def judged(root: Path) -> dict[str, Metric]:
    """What the published classifier says of the clips."""
    clips: dict[tuple[str, float, float], dict[str, tuple[int, float]]] = defaultdict(dict)
    seen = 0
    with tempfile.TemporaryDirectory() as folder, tarfile.open(root / "val_preds.tar.gz") as archive:
        archive.extractall(folder, filter="data")
        for kind in ("correct", "incorrect"):
            name = f"val_{kind}_pred_probs_mvitv2-b_{EPOCHS}_epochs.txt"
            for video, start, end, word, score in aicity.read_clip_scores(next(Path(folder).rglob(f"{RUN}/*/{name}"))):
                clips[video.recording, start, end][video.view] = (label_of(word), score)
                seen += 1
    spans, _ = aicity.read_cuts(root / "annotation.csv")
    truth = {(x.video.recording, x.start_s, x.end_s, x.video.view): x.label for x in spans}
    weights = np.loadtxt(root / "weighted_cam_view_action_probs.csv", delimiter=",", skiprows=1)
    every = [
        label == truth.get((recording, start, end, view))
        for (recording, start, end), views in clips.items()
        for view, (label, _) in views.items()
    ]
    alone, surest, weighted, unknown = [], [], [], 0
    for (recording, start, end), views in clips.items():
        labels = {truth.get((recording, start, end, view)) for view in views}
        if len(views) < 2:
            continue
        if len(labels) != 1 or None in labels:
            unknown += 1
            continue
        real = labels.pop()
        alone.append(np.mean([label == real for label, _ in views.values()]))
        surest.append(max(views.values(), key=lambda one: one[1])[0] == real)
        best = max(views.items(), key=lambda one: one[1][1] * weights[one[1][0], aicity.VIEWS.index(one[0])])
        weighted.append(best[1][0] == real)
    values = {}
    for name, found in (
        ("all clips", every),
        ("a view alone", alone),
        ("surest view", surest),
        ("surest view, weighted", weighted),
    ):
        low, high = interval(np.array(found, float))
        values[name] = Metric(float(np.mean(found)), low, high, len(found))
        print(f"{name}: {values[name].value:.3f} ({low:.3f} to {high:.3f}) of {len(found)} clips")
    print(f"{seen} predictions, {len(clips)} clips; {unknown} clips of several views without one truth")
    return values


def choose(root: Path, weights: str) -> None:
    """Overlap score of "val" by the decoder's settings."""
    system = percepta.load(weights, system="driver")
    found = data(system.config, "val", root)
    drives = [found[(0, i)] for i in range(len(found))]
    answers = [probabilities(system.model, one.drive) for one in drives]
    truth = [dm.Activity(one.name, x.label, x.start_s, x.end_s) for one in drives for x in one.spans]
    for weight, enter, again in itertools.product((0.2, 0.4, 0.8), (1.0, 3.0, 6.0), (1.0, 4.0, 8.0)):
        config = replace(
            system.config, decoding=replace(system.config.decoding, weight=weight, enter=enter, again=again)
        )
        spans = [
            dm.Activity(one.name, x.label, x.start_s, x.end_s)
            for one, p in zip(drives, answers, strict=True)
            for x in activities(p, config, one.drive.duration_s)
        ]
        print(f"weight {weight} enter {enter} again {again}: {dm.overlap_score(spans, truth):.4f}", flush=True)


def main() -> None:
    """Reads the command line, prints, and with --record writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--choose", type=Path)
    parser.add_argument("--weights", default="driver")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if (options.clips is None) == (options.choose is None):
        parser.error("give --clips DATA/driver or --choose BANK")
    if options.choose is not None:
        choose(options.choose, options.weights)
        return
    values = judged(options.clips)
    if options.record:
        record("driver", "clips", values)


if __name__ == "__main__":
    main()
