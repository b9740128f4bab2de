"""The published network of replay grounding against what the official code computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from percepta import pretrained
from percepta.systems.replay import PRESETS, keys
from percepta.systems.replay.calf import tiled
from percepta.systems.replay.model import build


@torch.no_grad()
@pytest.mark.parametrize("name", ["CALF_v2_trained", "CALF_v2_more_negative_trained"])
def test_published(golden: Path, name: str) -> None:
    folder, config = golden / "published" / "calf-grounding", PRESETS["calf"]
    model = build(config).eval()
    state = pretrained.tensors(folder / name / "model.pth.tar")
    pretrained.load_strictly(model, keys.convert(state, config), name)
    io = load_file(folder / "io.safetensors")
    video, replay = (io["in.features"].float() / 32).unbind(1)
    segmentation, spotting = model.pair(video, replay)  # type: ignore[operator]
    assert (segmentation - io[f"out.{name}.segmentation"]).abs().max() < 1e-5
    assert (spotting - io[f"out.{name}.spotting"]).abs().max() < 1e-5


def test_tiling(golden: Path) -> None:
    folder = golden / "calf-grounding"
    io = load_file(folder / "io.safetensors")
    video = io["in.video"].float() / 32
    for i, (first, last) in enumerate(json.loads((folder / "config.json").read_text())["replays"]):
        norms = tiled(video[first:last], 240).norm(dim=1)
        torch.testing.assert_close(norms, io[f"mid.replay_clip_rows_norm.{i}"].float(), rtol=1e-4, atol=1e-4)
