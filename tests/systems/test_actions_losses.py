"""The losses of actions place by place, and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.systems.actions import PRESETS
from percepta.systems.actions.losses import distance_iou, focal, of_output, targets
from percepta.systems.actions.model import Output

TINY = PRESETS["tiny"]
RANGES = ((0.0, 4.0), (4.0, 8.0), (8.0, 1e4))
CONFIG = replace(TINY, labels=("a", "b", "c"), windows=TINY.windows[:3], ranges=RANGES, radius=1.5)
TIME = torch.cat([torch.arange(0, 24, 2**i, dtype=torch.float32) for i in range(3)])
LEVEL = torch.cat([torch.full((24 // 2**i,), i) for i in range(3)])
STRIDE = 2.0**LEVEL


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(0, 2)), max_size=4))
@settings(max_examples=60, deadline=None)
def test_targets_place_by_place(rows: list[tuple[int, int, int]]) -> None:
    """A place learns the shortest segment that it lies in, near its middle, and whose farther end fits its level; of
    two that are equally short both classes, and the distances of one of them."""
    spans = torch.tensor([[s / 2, (s + n) / 2] for s, n, _ in rows], dtype=torch.float32).reshape(-1, 2)
    labels = torch.tensor([label for _, _, label in rows], dtype=torch.int64)
    classes, offsets = targets(TIME, STRIDE, LEVEL, spans, labels, CONFIG)
    for p in range(len(TIME)):
        t, stride, (low, high) = float(TIME[p]), float(STRIDE[p]), CONFIG.ranges[int(LEVEL[p])]
        fitting = []
        for (start, end), label in zip(spans.tolist(), labels.tolist(), strict=True):
            middle, farther = (start + end) / 2, max(t - start, end - t)
            if start < t < end and abs(t - middle) < 1.5 * stride and low <= farther <= high:
                fitting.append((end - start, label, start, end))
        shortest = min((one[0] for one in fitting), default=0.0)
        wanted = {label for length, label, _, _ in fitting if length == shortest}
        assert {i for i in range(3) if classes[p, i] == 1} == wanted and classes[p].sum() == len(wanted)
        if fitting:
            pairs = [((t - s) / stride, (e - t) / stride) for length, _, s, e in fitting if length == shortest]
            assert any(offsets[p].tolist() == pytest.approx(pair) for pair in pairs)


def test_focal_loss_by_hand() -> None:
    """A logit of log 3 is p = ¾. Right: ¼ · −log ¾ · (¼)²; wrong: ¾ · −log ¼ · (¾)²."""
    logit = torch.tensor([math.log(3.0)])
    assert float(focal(logit, torch.ones(1))) == pytest.approx(0.25 * -math.log(0.75) / 16)
    assert float(focal(logit, torch.zeros(1))) == pytest.approx(0.75 * -math.log(0.25) * 9 / 16)
    both = focal(logit.repeat(2), torch.tensor([1.0, 0.0]))
    assert float(both) == pytest.approx(0.25 * -math.log(0.75) / 16 + 0.75 * -math.log(0.25) * 9 / 16), "a sum"


def test_distance_iou_by_hand() -> None:
    """At 0: found −1..3, true −2..2. Both: 3, together: 5; the centres 1 and 0 are 1 apart, the hull is 5 long."""
    found, truth = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 2.0]])
    assert float(distance_iou(found, truth)) == pytest.approx(1 - 3 / 5 + (1 / 5) ** 2)
    assert float(distance_iou(truth, truth)) == pytest.approx(0) and float(distance_iou(found[:0], truth[:0])) == 0
    twice = distance_iou(found.repeat(2, 1), truth.repeat(2, 1))
    assert float(twice) == pytest.approx(2 * (0.4 + 0.04))
    assert float(distance_iou(torch.zeros(1, 2), torch.zeros(1, 2))) == pytest.approx(1), "no length, no overlap"


def test_the_sum_of_the_losses() -> None:
    """Two places count of three; the moving number goes a tenth of the way from 100 to 1 positive place: 90.1."""
    config = replace(CONFIG, label_smoothing=0.1, loss_weight=0.5)
    logits = torch.tensor([[[0.3, -1.0, 2.0], [0.1, 0.2, 0.3], [9.0, 9.0, 9.0]]])
    offsets, true = torch.tensor([[[1.0, 3.0], [7.0, 7.0], [1.0, 1.0]]]), torch.tensor([[[2.0, 2.0]] * 3])
    classes = torch.tensor([[[0.0, 1, 0], [0, 0, 0], [0, 0, 1]]])
    valid = torch.tensor([[True, True, False]])
    out = Output(**{name: torch.zeros(3) for name in Output.__annotations__} | {
        "logits": logits, "offsets": offsets, "valid": valid})  # fmt: skip
    parts, normalizer = of_output(out, classes, true, config, 100.0)
    assert normalizer == pytest.approx(90.1)
    smooth = classes[0, :2] * 0.9 + 0.1 / 4
    assert float(parts["class_loss"]) == pytest.approx(float(focal(logits[0, :2], smooth)) / 90.1)
    assert float(parts["border_loss"]) == pytest.approx(0.44 / 90.1)
    assert float(parts["loss"]) == pytest.approx(float(parts["class_loss"]) + 0.5 * 0.44 / 90.1)
    parts, normalizer = of_output(out, 0 * classes, true, config, 100.0)
    assert normalizer == pytest.approx(90.1) and float(parts["border_loss"]) == 0, "none counts as one"
