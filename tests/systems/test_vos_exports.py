"""The ONNX parts of vos against torch, with another number of objects than the example has."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from percepta.export import parity, to_onnx
from percepta.systems.vos import PRESETS
from percepta.systems.vos.exports import EXPORTS
from percepta.systems.vos.model import build

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra percepta[export] is not installed",
)


@needs_onnx
@pytest.mark.parametrize("part", [name for name, how in EXPORTS.items() if callable(how)])
@pytest.mark.parametrize("design", ["tiny", "with a state", "xmem", "cutie"])
def test_a_part_agrees_with_torch(design: str, part: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(PRESETS["tiny" if design == "with a state" else design], height=64, width=96)
    if design == "with a state":
        config = replace(config, sensory_channels=16)
    if design == "xmem":
        config = replace(config, value_channels=32, sensory_channels=16)
    how: Any = EXPORTS[part]
    module, inputs, outputs, axes = how(build(config).eval())
    to_onnx(module, inputs, outputs, axes, tmp_path / "part.onnx")
    _, relative = parity(tmp_path / "part.onnx", module, inputs, axes)
    assert relative < 1e-4
