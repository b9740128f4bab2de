"""SegFormer and DAFormer against the numbers of the published implementations, and the strictness of their keys."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from percepta.errors import InputError
from percepta.systems.weather import PRESETS
from percepta.systems.weather.keys import convert, published
from percepta.systems.weather.model import Network, build

FOLDERS = {"segformer-nvidia": "segformer", "segformer-hf": "segformer-hf", "daformer": "daformer"}
TOLERANCE = 1e-4  # of each tensor's standard deviation


@pytest.fixture(scope="module")
def checkpoint(golden: Path) -> Callable[[str], dict[str, Tensor]]:
    """The state dict of a folder, made by its rule."""
    spec = importlib.util.spec_from_file_location("weights_by_rule", golden / "weights_by_rule.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name: {key: torch.as_tensor(value) for key, value in module.state_dict(golden / name).items()}


def close(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and float((ours - theirs).abs().max()) < TOLERANCE * float(theirs.std())


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_the_published_code_computes(folder: str, golden: Path, checkpoint: Any) -> None:
    network = build(PRESETS[FOLDERS[folder]]).eval()
    network.load_state_dict(convert(checkpoint(folder), network.config))
    io = load_file(golden / folder / "io.safetensors")
    image = io["in.image"].float() / 255
    with torch.inference_mode():
        maps = network.features(image)
        logits = network.head(maps)
    middle = "mid.hidden" if folder == "segformer-hf" else "mid.features"
    for level, features in enumerate(maps):
        assert close(features, io[f"{middle}.{level}"]), level
    assert close(logits, io["out.logits"])
    large = torch.nn.functional.interpolate(logits, image.shape[-2:], mode="bilinear")
    assert (large.argmax(1) == io["out.labels"]).float().mean() > 0.9999
    if "out.loss" in io:
        loss = torch.nn.functional.cross_entropy(large, io["in.target"].long(), ignore_index=255)
        assert torch.allclose(loss, io["out.loss"], rtol=1e-5)


def test_the_eps_of_the_norms_matters(golden: Path, checkpoint: Any) -> None:
    """NVIDIA's weights with the eps of transformers give other logits: the presets are not to be mixed up."""
    network = build(PRESETS["segformer-hf"]).eval()
    network.load_state_dict(convert(checkpoint("segformer-nvidia"), network.config))
    io = load_file(golden / "segformer-nvidia" / "io.safetensors")
    with torch.inference_mode():
        logits = network(io["in.image"].float() / 255)
    assert 0 < float((logits - io["out.logits"]).abs().max()) < 1e-3


def small_state(preset: str) -> dict[str, Tensor]:
    """A checkpoint in the words of a layout, from our own names."""
    network = build(PRESETS[preset])
    layout = "daformer" if preset == "daformer" else "transformers" if preset == "segformer-hf" else "nvidia"
    out = {}
    for name, value in network.state_dict().items():
        parts = published(name, layout)
        for part, piece in zip(parts, value.chunk(len(parts)) if len(parts) > 1 else [value], strict=True):
            out[part] = piece
    return out


@pytest.mark.parametrize("preset", ["segformer", "segformer-hf"])
def test_missing_odd_and_misshapen_tensors_are_named(preset: str) -> None:
    state, config = small_state(preset), PRESETS[preset]
    assert set(convert(state, config)) == set(build(config).state_dict())
    name = next(key for key in state if key.endswith("mlp.fc1.weight") or key.endswith("mlp.dense1.weight"))
    for change, said in (
        ({**{key: value for key, value in state.items() if key != name}}, name),
        ({**state, "backbone.extra": torch.zeros(1)}, "backbone.extra"),
        ({**state, name: torch.zeros(2, 2)}, name),
    ):
        with pytest.raises(InputError, match=said.replace(".", r"\.")):
            convert(change, config)


def test_a_training_of_daformer_keeps_three_copies() -> None:
    with torch.device("meta"):
        state = small_state("daformer")
    wrapped = {
        f"{prefix}.{name}": value for prefix in ("model", "ema_model", "imnet_model") for name, value in state.items()
    }
    assert set(convert(wrapped, PRESETS["daformer"])) == set(convert(state, PRESETS["daformer"]))


def test_our_own_network_reads_no_published_file() -> None:
    with pytest.raises(InputError, match="segformer"):
        convert({}, PRESETS["small"])
    assert isinstance(build(PRESETS["tiny"]), Network)
