"""Folders of games: what `check` finds, what training takes, and labels of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from percepta.config import TrainConfig
from percepta.contract import Step
from percepta.errors import InputError, MissingFileError
from percepta.systems.replay.check import check as check_replays
from percepta.systems.spotting import CLASSES, PRESETS
from percepta.systems.spotting.check import check
from percepta.systems.spotting.data import data, fit_config
from percepta.systems.spotting.evaluate import evaluate
from percepta.systems.spotting.losses import loss
from percepta.systems.spotting.model import build

OWN = replace(PRESETS["tiny"], features="mine", feature_width=6, window_frames=32, train=TrainConfig(batch_size=2))


def game(folder: Path, labels: list[tuple[int, int, str]], frames: tuple[int, int] = (5600, 5600)) -> Path:
    """A game with labels (half, s, class) and features of so many frames."""
    folder.mkdir(parents=True)
    rows = [{"gameTime": f"{half} - {s // 60:02d}:{s % 60:02d}", "label": label, "position": str(1000 * s),
             "team": "home", "visibility": "visible"} for half, s, label in labels]  # fmt: skip
    (folder / "Labels-v2.json").write_text(json.dumps({"UrlLocal": folder.name, "annotations": rows}))
    for half, count in enumerate(frames, 1):
        np.save(folder / f"{half}_mine.npy", np.random.default_rng(half).random((count, 6), np.float32))
    return folder


def said(found: Any) -> str:
    return "\n".join(str(problem) for problem in (*found.problems, *found.warnings))


def test_a_good_folder(tmp_path: Path) -> None:
    game(tmp_path / "train" / "a", [(half, 100 * i, "Goal") for half in (1, 2) for i in range(1, 4)])
    found = check(tmp_path)
    assert not found.problems and not found.warnings and found.counts["halves with mine"] == 2, said(found)


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    game(tmp_path / "exchanged", [(1, 2900, "Goal"), (2, 2700, "Goal")], (5500, 5900))
    cut = game(tmp_path / "cut", [(1, 60, "Goal")])
    (cut / "1_mine.npy").write_bytes((cut / "1_mine.npy").read_bytes()[:9000])
    game(tmp_path / "late", [(1, 60, "Goal"), (2, 5000, "Goal")])
    wrong = game(tmp_path / "wrong", [(1, 60, "Goal")])
    (wrong / "Labels-v2.json").write_text('{"annotations": [{"gameTime": "half past two", "label": "Goal"}]}')
    text = said(check(tmp_path))
    assert "may be exchanged" in text and "cut off" in text and "a label of half 2 lies at 5000 s" in text
    assert "half past two" in text or "gameTime" in text
    with pytest.raises(MissingFileError):
        check(tmp_path / "nothing")


def test_replays_are_checked(tmp_path: Path) -> None:
    link = {"half": "1", "time": "01:30", "label": "Goal", "team": "home", "visibility": "visible"}
    rows = [{"gameTime": "1 - 01:00", "label": "Main camera", "change_type": "logo", "replay": "real-time"},
            {"gameTime": "1 - 01:08", "label": "Goal line", "change_type": "logo", "replay": "replay",
             "link": link}]  # fmt: skip
    folder = game(tmp_path / "a", [(1, 60, "Goal")])
    (folder / "Labels-cameras.json").write_text(json.dumps({"UrlLocal": "a", "annotations": rows}))
    assert "which is later" in said(check_replays(tmp_path))


def test_labels_and_features_of_ones_own(tmp_path: Path) -> None:
    for name in ("train/a", "val/b"):
        folder = game(tmp_path / name, [])
        (folder / "Labels-v2.json").unlink()
        (folder / "labels.csv").write_text("half,time_s,label\n1,1:05,Save\n2,300,Header\n2,302.5,Save\n")
    config = fit_config(OWN, tmp_path)
    assert config.classes == ("Header", "Save") and config.feature_width == 6 and config.fps == 2
    torch.manual_seed(0)
    model, windows = build(config), data(config, "train", tmp_path)
    batch = windows.collate([windows[(0, i)] for i in range(2)])
    assert batch["near"].shape == (2, 32, 2) and float(batch["near"].max()) > 0
    assert float(loss(model, batch, Step(0, 0, torch.Generator()))["loss"].detach()) > 0
    halves = data(config, "val", tmp_path)
    found = evaluate(model.eval(), [halves.collate([halves[(0, i)]]) for i in range(2)], examples=1)
    assert found.metrics["average-mAP tight"].baselines["shown actions, decoded"] == pytest.approx(1)
    assert found.metrics["average-mAP tight"].n == 3 and found.blocks
    assert config.classes != CLASSES
    with pytest.raises(InputError, match="the games have mine: set --features"):
        data(replace(config, features="other"), "val", tmp_path)


def test_exchanged_halves_stop_a_training(tmp_path: Path) -> None:
    game(tmp_path / "train" / "a", [(1, 2900, "Goal")], (5500, 5900))
    config = replace(OWN, train=replace(OWN.train, strict=True))
    with pytest.raises(InputError, match="halves are exchanged"):
        data(config, "train", tmp_path)
