"""docs/new-system.md works as it stands: its blocks are a system that passes the contract."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from shutil import which
from typing import Any

import pytest

import percepta
import test_contract as contract
import test_docstrings as docstrings
import test_imports as imports
from percepta import checkpoint, systems
from percepta import train as training

PAGE = Path(__file__).parents[1] / "docs" / "new-system.md"
BLOCK = re.compile(r"`src/percepta/systems/tint/(\w+\.py)`\n\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def tint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the page's system, where percepta finds it."""
    folder = tmp_path / "tint"
    folder.mkdir()
    for name, source in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (folder / name).write_text(source, encoding="utf-8")
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
    monkeypatch.setitem(systems.TABLE, "tint", "Names the colour of a picture.")
    monkeypatch.setitem(contract.INPUTS, "tint", lambda system: (contract.disc(),))
    invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith("percepta.systems.tint")]:
        del sys.modules[name]


def test_it_passes_the_contract(tint: Path, tmp_path: Path) -> None:
    made: list[Any] = []

    def trained(name: str) -> tuple[Path, Any]:
        if not made:
            out = tmp_path / "run"
            path = training.train(name, contract.tiny(name), out=out, device="cpu")
            made.extend((out, percepta.load(path, device="cpu")))
        return made[0], made[1]

    for check in (
        contract.test_names, contract.test_data_follow_from_their_key, contract.test_building_follows_from_the_seed,
        contract.test_the_loss_reaches_what_is_trained,
    ):  # fmt: skip
        check("tint")
    for check in (
        contract.test_training_writes_a_run_that_can_be_read, contract.test_metrics_come_with_how_many_samples,
        contract.test_an_evaluation_goes_through_its_data_once,
    ):  # fmt: skip
        check("tint", trained)
    for number, check in enumerate((
        contract.test_resuming_changes_no_bit, contract.test_a_result_can_be_drawn_and_saved,
        contract.test_a_checkpoint_gives_the_same_answers, contract.test_graphs_agree_with_torch,
    )):  # fmt: skip
        (folder := tmp_path / str(number)).mkdir()
        check("tint", trained, folder)


def test_its_files_keep_the_rules_of_style(tint: Path) -> None:
    """What a newcomer copies passes `make test`: ruff with the project's settings, and arguments that are explained."""
    ruff = which("ruff", path=str(Path(sys.executable).parent)) or which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    settings = PAGE.parents[1] / "pyproject.toml"
    ours = 'lint.isort.known-first-party = ["percepta"]'  # the folder of this test is not below src
    for command in (["check"], ["format", "--check"]):
        line = [ruff, *command, "--config", settings, "--config", ours, tint]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    for path in tint.glob("*.py"):
        for name, function in docstrings.public(ast.parse(path.read_text())):
            assert docstrings.unexplained(function) == [], f"{path.name}: {name}"


def test_it_learns(tint: Path, tmp_path: Path) -> None:
    config = import_module("percepta.systems.tint").PRESETS["tiny"]
    path = training.train("tint", config, out=tmp_path / "run", device="cpu")
    metric = percepta.load(path, system="tint", device="cpu").evaluate(batch_size=8).metrics["accuracy"]
    assert metric.value > 0.9 > metric.baselines["most frequent"] + 0.2
    assert checkpoint.read(path)[0].preset == "tiny"


def test_its_files_import_in_order(tint: Path) -> None:
    names = {path.name for path in tint.glob("*.py")}
    assert {f"{name}.py" for name in ("__init__", "model", "predict", "data", "losses", "evaluate", "task")} <= names
    for path in tint.glob("*.py"):
        module = f"percepta.systems.tint{'' if path.stem == '__init__' else '.' + path.stem}"
        found = imports.imported(path.read_text(), module, path.name == "__init__.py")
        assert imports.violations(module, found) == [] and imports.late(path.read_text(), module, False) == set()
    assert len((tint / "task.py").read_text().splitlines()) <= 60
