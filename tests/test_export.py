from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

import fake_system
from percepta import export as exporting
from percepta.export import export, parity, to_onnx
from percepta.media.source import answers
from percepta.train import Evaluator

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fake_system.Fake:
    task: ModuleType = fake_system.install(tmp_path / "assets", monkeypatch.setitem, monkeypatch.setattr)
    torch.manual_seed(0)
    config = fake_system.Config(dropout=0.5)
    model = task.build(config)
    return fake_system.Fake(config, model, "none", Evaluator("fake", config, model), answers)


def test_graphs_agree_with_torch_and_the_rest_says_why_not(system: fake_system.Fake, tmp_path: Path) -> None:
    graph, other = export(system, tmp_path / "onnx")
    assert graph.path == tmp_path / "onnx" / "fake-model.onnx" and graph.path.is_file()
    assert graph.difference < 1e-5 and graph.relative < 1e-5
    assert other.path is None and other.reason == "it has no graph" and "it has no graph" in str(other)
    told: list[tuple[int, int, str]] = []
    export(system, tmp_path / "onnx", progress=lambda done, total, note: told.append((done, total, note)))
    assert told[0][0] == 0 and "writing" in told[0][2] and "torch" in told[1][2] and told[-1] == (2, 2, "")
    assert [result.part for result in export(system, tmp_path, ["other"])] == ["other"]


def test_parity_sees_a_difference_and_tries_other_sizes(tmp_path: Path) -> None:
    class Resize(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
            return nn.functional.avg_pool2d(x, 2) * self.scale, w.sum(1)

    inputs = {"x": torch.rand(1, 3, 8, 12), "w": torch.rand(1, 4)}
    axes = {"x": {0: "b", 2: "h"}, "w": {0: "b"}}
    to_onnx(Resize(1.0), inputs, ["y", "s"], axes, tmp_path / "a.onnx")
    assert max(parity(tmp_path / "a.onnx", Resize(1.0), inputs, axes)) < 1e-6
    difference, relative = parity(tmp_path / "a.onnx", Resize(1.5), inputs, axes)
    assert relative == pytest.approx(1 / 3, rel=1e-3) and difference > 0.1


def test_a_missing_extra_is_named(system: fake_system.Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ModuleNotFoundError, match=r"onnxscript.*pip install 'percepta\[export\]'"):
        export(system, tmp_path)


def test_an_unknown_part_is_refused(system: fake_system.Fake, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it has: model, other"):
        export(system, tmp_path, ["image"])
