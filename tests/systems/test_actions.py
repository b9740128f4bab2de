"""Temporal action localisation: held to the published code, to laws of its parts, and to what a user may give."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from percepta.contract import Batch, batches
from percepta.datasets.feature_files import Timing
from percepta.errors import InputError
from percepta.media.source import answers
from percepta.nn.looks import Rows
from percepta.systems.actions import PRESETS, Suppression, keys, losses
from percepta.systems.actions.clips import Bank, Clip, join, rows_of
from percepta.systems.actions.data import collate, data
from percepta.systems.actions.decode import candidates, segments
from percepta.systems.actions.evaluate import evaluate
from percepta.systems.actions.features import Sample, assemble, timed
from percepta.systems.actions.model import ActionsNetwork, build, pad, padded_length
from percepta.systems.actions.predict import Actions, Result
from percepta.systems.actions.suppress import Segments, fused, joined, overlaps, suppressed
from percepta.train import Evaluator

TINY = PRESETS["tiny"]


def by_rule(golden: Path, name: str) -> dict[str, Tensor]:
    """The weights of a golden folder, made by its rule."""
    spec = importlib.util.spec_from_file_location("weights_by_rule", golden / "weights_by_rule.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {key: torch.from_numpy(value) for key, value in module.state_dict(golden / name).items()}


@pytest.fixture(scope="module", params=["thumos", "anet"])
def published(golden: Path, request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """(preset, network, golden tensors, golden config, samples)."""
    folder = golden / f"actionformer-{request.param}"
    config, facts = PRESETS[request.param], json.loads((folder / "config.json").read_text())
    model = build(config).eval()
    state = {f"module.{key}": value for key, value in by_rule(golden, folder.name).items()}
    model.load_state_dict(keys.convert(state, config), strict=True)
    io = load_file(folder / "io.safetensors")
    samples = []
    for name in ("video0", "video1"):
        about, place = facts["videos"][name], facts["dataset"]
        timing = Timing(float(about["fps"]), float(place["feat_stride"]), float(place["num_frames"]))
        features, scale, shift = timed(io[f"in.{name}"].float().T / 32, timing, config)
        spans = np.array([one["segment"] for one in about["annotations"]], np.float64)
        one_class = len(config.labels) == 1
        labels = tuple(0 if one_class else one["label_id"] for one in about["annotations"])
        samples.append(Sample(features, spans, labels, scale, shift, about["duration"], name))
    return config, model, io, facts, samples


def test_logits_and_offsets_of_the_published_network(published: tuple[Any, ...]) -> None:
    config, model, io, _, samples = published
    for one in samples:
        with torch.no_grad():
            out = model(*pad(one.features, padded_length(one.features.shape[1], config)))
        for level in range(len(config.windows)):
            rows = (out.level == level) & out.valid[0]
            for name, value in (("logits", out.logits[0]), ("offsets", out.offsets[0])):
                wanted = io[f"out.{one.name}.{name}.{level}"]
                assert value[rows].shape == wanted.shape
                assert float((value[rows] - wanted).abs().max() / wanted.std()) < 5e-4, (one.name, name, level)


def test_segments_before_and_after_suppression(published: tuple[Any, ...]) -> None:
    config, model, io, _, samples = published
    for one in samples:
        with torch.no_grad():
            out = model(*pad(one.features, padded_length(one.features.shape[1], config)))
        before = candidates(out, config)
        scores = io[f"out.{one.name}.before_nms.scores"].numpy()
        np.testing.assert_allclose(np.sort(before.score), np.sort(scores), atol=1e-4)
        after = segments(model, one.features, one.scale, one.shift, one.duration_s)
        np.testing.assert_allclose(after.score, io[f"out.{one.name}.after_nms.scores"].numpy(), atol=1e-4)
        np.testing.assert_allclose(after.span, io[f"out.{one.name}.after_nms.segments"].numpy(), atol=5e-3)
        np.testing.assert_array_equal(after.label, io[f"out.{one.name}.after_nms.labels"].numpy())


def test_suppression_of_the_published_code(published: tuple[Any, ...]) -> None:
    _, _, io, facts, _ = published
    parts = [io[f"out.video0.before_nms.{name}"].numpy() for name in ("segments", "scores", "labels")]
    before = Segments(parts[0].astype(np.float64), parts[1].astype(np.float64), parts[2].astype(np.int64))
    for name, extra in facts["nms_extra"].items():
        how = Suppression(
            "soft" if extra["use_soft_nms"] else "hard", extra["iou_threshold"], extra["min_score"],
            extra["max_seg_num"], extra["multiclass"], extra.get("sigma", 0.5), extra.get("voting_thresh", 0.0),
        )  # fmt: skip
        kept = suppressed(before, how)
        np.testing.assert_allclose(kept.score, io[f"out.{name}.scores"].numpy(), atol=1e-4)
        np.testing.assert_allclose(kept.span, io[f"out.{name}.segments"].numpy(), atol=1e-4)


def test_targets_and_losses_of_the_published_code(published: tuple[Any, ...]) -> None:
    config, model, io, _, samples = published
    batch = collate(samples, config, fixed=True)
    for one, spans in zip(samples, batch["spans"], strict=True):
        torch.testing.assert_close(spans, io[f"mid.{one.name}.segments_grid"], atol=1e-4, rtol=0)
    with torch.no_grad():
        out = model(batch["features"], batch["mask"])
    made = [
        losses.targets(out.time, out.stride, out.level, spans, labels, config)
        for spans, labels in zip(batch["spans"], batch["labels"], strict=True)
    ]
    classes, offsets = (torch.stack(part) for part in zip(*made, strict=True))
    places = torch.nonzero((classes[0].sum(-1) > 0) & out.valid[0])[:, 0]
    assert places.tolist() == io["out.train.positive_points"].tolist()
    torch.testing.assert_close(classes[0][places], io["out.train.gt_cls"])
    torch.testing.assert_close(offsets[0][places], io["out.train.gt_offsets"], atol=1e-4, rtol=0)
    found, normalizer = losses.of_output(out, classes, offsets, config, config.normalizer)
    assert normalizer == pytest.approx(float(io["out.train.loss_normalizer_after"]))
    for ours, theirs in (("loss", "final_loss"), ("class_loss", "cls_loss"), ("border_loss", "reg_loss")):
        assert float(found[ours]) == pytest.approx(float(io[f"out.train.{theirs}"]), rel=1e-5)


def test_fusion_with_an_external_classifier(golden: Path) -> None:
    folder = golden / "actionformer-anet"
    io, facts = load_file(folder / "io.safetensors"), json.loads((folder / "config.json").read_text())
    parts = []
    for name in ("video0", "video1"):
        some = [io[f"out.{name}.after_nms.{part}"].numpy() for part in ("segments", "scores", "labels")]
        found = Segments(some[0].astype(np.float64), some[1].astype(np.float64), some[2].astype(np.int64))
        parts.append(fused(found, np.array(facts["external_scores"][name]), segments=60, top=2))
    ours = joined(parts)
    np.testing.assert_allclose(ours.score, io["out.fused.scores"].numpy(), atol=1e-6)
    np.testing.assert_array_equal(ours.label, io["out.fused.labels"].numpy())


def tiny_system() -> Actions:
    torch.manual_seed(0)
    model = build(TINY).eval()
    return Actions(TINY, model, "", Evaluator("actions", TINY, model), answers)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 90))
def test_more_padding_changes_nothing(length: int) -> None:
    """The padding of `padded_length` is enough, also for videos that are shorter than the coarsest stride."""
    torch.manual_seed(1)
    model = build(replace(TINY, max_length=128)).eval()
    x = torch.randn(TINY.channels, length)
    with torch.no_grad():
        short, long = model(*pad(x, padded_length(length, model.config))), model(*pad(x, 128))
    for level in range(len(TINY.windows)):
        a = short.logits[0][(short.level == level) & short.valid[0]]
        b = long.logits[0][(long.level == level) & long.valid[0]]
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


span = st.tuples(st.floats(0, 50), st.floats(0.5, 20), st.floats(0.01, 1.0), st.integers(0, 2))


@settings(max_examples=50, deadline=None)
@given(st.lists(span, min_size=1, max_size=20), st.booleans())
def test_what_suppression_keeps(rows: list[tuple[float, float, float, int]], each: bool) -> None:
    found = Segments(
        np.array([(a, a + n) for a, n, _, _ in rows]), np.array([p for _, _, p, _ in rows]),
        np.array([k for *_, k in rows], np.int64),
    )  # fmt: skip
    soft = suppressed(found, Suppression("soft", each_class=each, voting=0.0))
    hard = suppressed(found, Suppression("hard", 0.3, each_class=each, voting=0.0))
    assert (np.diff(soft.score) <= 0).all() and soft.score[0] == found.score.max()
    assert {tuple(x) for x in soft.span} <= {tuple(x) for x in found.span}
    for k in range(3) if each else (None,):
        some = hard.span if k is None else hard.span[hard.label == k]
        both = overlaps(some, some)
        assert (both[~np.eye(len(some), dtype=bool)] < 0.3 + 1e-6).all()


def bank() -> Bank:
    rng = np.random.default_rng(0)
    clips, first = [], 0
    for split in ("train", "test"):
        for label in ("jump", "wave", ""):
            for group in ("a", "b"):
                clips.append(Clip(f"{split} {label} {group}", label, split + group, split, 4.0, first, 20))
                first += 20
    look = np.repeat(np.arange(len(clips)), 20)[:, None].astype(np.float32)
    return Bank(tuple(clips), Rows(look, rng.random((first, 12, 16), np.float32)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["train", "test"]))
def test_joined_videos_keep_splits_apart_and_labels_true(seed: int, split: str) -> None:
    clips = bank()
    video = join(clips, split, seed, 100)
    where = np.searchsorted([clip.first for clip in clips.clips], video.place, side="right") - 1
    assert {clips.clips[i].split for i in where} == {split}
    assert (video.spans[:, 1] > video.spans[:, 0]).all() and video.spans.max() <= 25.0
    time = np.arange(100) / 4
    for i, t in zip(where, time, strict=True):
        named = [k for (a, b), k in zip(video.spans, video.labels, strict=True) if a <= t < b]
        assert len(named) <= 1
        if named:
            assert clips.clips[i].label == named[0]
    again = join(clips, split, seed, 100)
    np.testing.assert_array_equal(video.place, again.place)
    assert assemble(rows_of(clips, video)).shape == (1 + 192, 100)


def test_answers_are_written_as_json_csv_and_subtitles(tmp_path: Path) -> None:
    found = Segments(np.array([[3661.5, 3665.0], [1.0, 2.5]]), np.array([0.9, 0.1]), np.array([1, 0], np.int64))
    result = Result(found, ("a", "b"), 4000.0, "film", 0.2, "x")
    where = result.save(tmp_path / "film.png")
    assert where.with_suffix(".srt").read_text() == "1\n01:01:01,500 --> 01:01:05,000\nb 90%\n"
    assert where.with_suffix(".csv").read_text().splitlines()[1] == "film,3661.500,3665.000,b,0.9000"
    assert len(json.loads(where.with_suffix(".json").read_text())["results"]["film"]) == 2
    assert "1 segment in" in result.text and "b" in result.text


def test_wrong_input_is_said_in_one_sentence() -> None:
    system = tiny_system()
    for wrong in (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((4, 8, 8, 3)), np.zeros((4, 8, 8), np.uint8)):
        with pytest.raises(InputError, match="frames are"):
            system.predict(wrong)
    with pytest.raises(InputError, match="class_names"):
        system.predict(np.zeros((4, 8, 8, 3), np.uint8), class_scores=np.ones(2))
    one = system.predict(np.zeros((1, 40, 60, 3), np.uint8))
    assert one.duration_s == 0.25
    with pytest.raises(InputError, match="synthetic world is for"):
        data(PRESETS["small"], "train")


def test_a_perfect_network_scores_one() -> None:
    """An evaluation of the truth itself."""
    samples = data(TINY, "val")

    class Knows(ActionsNetwork):
        """Answers with what the targets say."""

        spans: list[Tensor]
        labels: list[Tensor]

        def forward(self, features: Tensor, mask: Tensor) -> Any:
            out = super().forward(features, mask)
            made = [
                losses.targets(out.time, out.stride, out.level, s, k, self.config)
                for s, k in zip(self.spans, self.labels, strict=True)
            ]
            classes, offsets = (torch.stack(part) for part in zip(*made, strict=True))
            return replace(out, logits=20 * classes - 10, offsets=offsets)

    model = Knows(TINY).eval()

    class Loader:
        """Batches whose answers the network is told."""

        def __iter__(self) -> Iterator[Batch]:
            for batch in batches(samples, 4):
                model.spans, model.labels = batch["spans"], batch["labels"]
                yield batch

        def __len__(self) -> int:
            return 2

    found = evaluate(model, Loader())
    assert found.metrics["average mAP"].value > 0.99
    assert found.metrics["average mAP"].baselines["whole video"] < 0.3
