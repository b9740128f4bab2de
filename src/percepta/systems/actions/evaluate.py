"""How well segments are found: mean average precision as ActivityNet and THUMOS-14 define it, and errors by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from percepta.contract import Block, Evaluation, Loader
from percepta.datasets.untrimmed import SPLITS, read_annotations, read_table
from percepta.errors import InputError
from percepta.metrics import Metric
from percepta.metrics import temporal as tm
from percepta.report import Gallery, Table, Text
from percepta.systems.actions.decode import candidates, in_seconds
from percepta.systems.actions.model import ActionsNetwork
from percepta.systems.actions.predict import SHOWN, timeline
from percepta.systems.actions.suppress import Segments, suppressed

DRAWS = 200  # of the bootstrap over videos: each needs all average precisions anew


@torch.no_grad()
def evaluate(model: ActionsNetwork, loader: Loader, *, examples: int = 0) -> Evaluation:
    """ "average mAP", "mAP@X" at each overlap and "average recall@50", beside levels.

    Levels: whole videos of every class; where there are training videos, a classifier of single vectors with
    thresholds and joining, and spans of the usual length scored by how frequent their class is.

    Args:
        model: in eval mode.
        loader: batches.
        examples: how many timelines are shown; 0: no blocks.
    """
    config = model.config
    found: list[tuple[str, float, float, str, float]] = []
    truth: list[tuple[str, float, float, str, float]] = []
    whole: list[tuple[str, float]] = []
    levels: dict[str, list[tuple[str, float, float, str, float]]] = {}
    shown: list[tuple[Any, str]] = []
    for batch in loader:
        out = model(batch["features"], batch["mask"])
        for i, name in enumerate(batch["name"]):
            duration = batch["duration_s"][i]
            kept = suppressed(candidates(out, config, i), config.suppression)
            scale, shift = batch["seconds"][i]
            kept = in_seconds(kept, scale, shift, duration)
            spans, labels = batch["truth_s"][i].cpu().numpy(), batch["labels"][i].tolist()
            found += rows(name, kept, config.labels)
            truth += [(name, s, e, config.labels[k], 1.0) for (s, e), k in zip(spans, labels, strict=True)]
            whole.append((name, duration))
            for level, answers in batch.get("levels", {}).items():
                levels.setdefault(level, []).extend(rows(name, answers[i], config.labels))
            if len(shown) < examples:
                real = Segments(spans, np.ones(len(spans)), np.array(labels, np.int64))
                best = kept[kept.score >= SHOWN]
                shown.append((timeline(best, config.labels, duration, truth=real), name))
    p, t = tm.spans(found), tm.spans(truth)
    metrics = scored(p, t, config.iou_thresholds)
    if truth:
        metrics["average mAP"].baselines["whole video"] = _whole(whole, t, config.iou_thresholds)
        for level, answers in levels.items():
            metrics["average mAP"].baselines[level] = _mean(tm.spans(answers), t, config.iou_thresholds)
    blocks: list[Block] = []
    if examples and truth:
        each = tm.mean_average_precision(p, t, config.iou_thresholds)
        count = Counter(t.label)
        blocks.append(Table(["class", "mAP", "spans"], [[k, f"{v.mean():.2f}", count[k]] for k, v in each.items()]))
    if examples:
        visible = p.only(p.score >= SHOWN)
        kinds = tm.kinds_of_error(visible, t)
        blocks += [
            Text(f"Truth above, what was found with a score of at least {SHOWN:g} below."),
            Gallery(shown),
            Table(["", "segments"], [[kind, count] for kind, count in kinds.items()]),
        ]
    return Evaluation(metrics, blocks)


def rows(name: str, found: Segments, labels: tuple[str, ...]) -> list[tuple[str, float, float, str, float]]:
    """Segments of a video as rows of `metrics.temporal.spans`.

    Args:
        name: of the video.
        found: its segments, seconds.
        labels: names of the classes.
    """
    return [
        (name, float(s), float(e), labels[k], float(score))
        for (s, e), score, k in zip(found.span, found.score, found.label, strict=True)
    ]


def scored(found: tm.Spans, truth: tm.Spans, thresholds: tuple[float, ...]) -> dict[str, Metric]:
    """The numbers of predictions, with intervals over videos.

    Args:
        found: predictions.
        truth: what there is.
        thresholds: overlaps.
    """
    if not len(truth):
        nothing = Metric(float("nan"), n=0)
        return {"average mAP": nothing}
    table = np.array(list(tm.mean_average_precision(found, truth, thresholds).values()))
    mean = table.mean(0)
    videos = len(set(truth.video))
    per_class = table.mean(1)
    rng = np.random.default_rng(0)
    draws = [per_class[rng.integers(len(per_class), size=len(per_class))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(per_class) >= 3 else (float("nan"), float("nan"))
    metrics = {"average mAP": Metric(float(mean.mean()), float(low), float(high), videos, baselines={})}
    for threshold, value in zip(thresholds, mean, strict=True):
        metrics[f"mAP@{threshold:g}"] = Metric(float(value), n=videos)
    recall = tm.average_recall(found, truth, 50, thresholds)
    metrics["average recall@50"] = Metric(float(recall.mean()), n=len(truth))
    return metrics


def read_truth(file: Path, subset: str = "") -> tm.Spans:
    """A ground truth as published for ActivityNet or THUMOS-14 (gzip too), or any other that training reads.

    Args:
        file: the file.
        subset: which part, such as "validation" or "test"; "": all.

    Raises:
        InputError: no such subset.
    """
    recordings, _ = read_annotations(file)
    wanted = SPLITS.get(subset.lower(), subset) if subset else ""
    some = [one for one in recordings if not wanted or one.split == wanted]
    if not some:
        there = ", ".join(sorted({one.split or "(none)" for one in recordings}))
        raise InputError(f"{file}: no videos of the subset {subset!r}; it has {there}; give --subset ''")
    rows = [
        (one.name, float(s), float(e), label, 1.0)
        for one in some
        for (s, e), label in zip(one.spans, one.labels, strict=True)
    ]
    return tm.spans(rows)


def read_results(file: Path) -> tm.Spans:
    """Results in ActivityNet's form: {"results": {video: [{label, segment, score}]}}.

    Raises:
        InputError: something else; names the video.
    """
    data = read_table(file)
    if not isinstance(data, Mapping) or not isinstance(data.get("results"), Mapping):
        raise InputError(f'{file}: expected {{"results": {{video: [{{label, segment, score}}]}}}}')
    rows = []
    for name, entries in data["results"].items():
        for one in entries:
            try:
                start, end = one["segment"]
                rows.append((str(name), float(start), float(end), str(one["label"]), float(one["score"])))
            except (KeyError, TypeError, ValueError):
                wanted = "a result has label, segment [start, end] and score"
                raise InputError(f"{file}: {name}: {wanted}; got {one!r}") from None
    return tm.spans(rows)


def _whole(videos: list[tuple[str, float]], truth: tm.Spans, thresholds: tuple[float, ...]) -> float:
    names = sorted(set(truth.label))
    guess = tm.spans([(name, 0.0, duration, label, 1.0) for name, duration in videos for label in names])
    return _mean(guess, truth, thresholds)


def _mean(found: tm.Spans, truth: tm.Spans, thresholds: tuple[float, ...]) -> float:
    return float(np.mean(list(tm.mean_average_precision(found, truth, thresholds).values())))
