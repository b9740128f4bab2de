"""docs/new-system.md works as it stands: its blocks are a system that passes the contract."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path
from shutil import which
from typing import Any

import pytest

import percepta
import test_contract as contract
import test_docstrings as docstrings
import test_imports as imports
from percepta import card, checkpoint, systems, weights
from percepta import train as training
from percepta.config import TrainConfig
from percepta.metrics import Metric

PAGE = Path(__file__).parents[1] / "docs" / "new-system.md"
BLOCK = re.compile(r"^ *`([\w/]+\.(?:py|md))`\n\n( *)```\w+\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ROOT = PAGE.parents[1]


def blocks() -> dict[str, str]:
    """{path from the root of the project: text} of every file that the page shows."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return {path: "".join(line.removeprefix(indent) for line in text.splitlines(True)) for path, indent, text in found}


def snippet(start: str) -> str:
    """The Python block of the page that begins so, without its indentation."""
    found = re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (text,) = [textwrap.dedent(text) for text in found if textwrap.dedent(text).startswith(start)]
    return text


@pytest.fixture
def tint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the page's system, where percepta finds it."""
    folder = tmp_path / "tint"
    folder.mkdir()
    for path, source in blocks().items():
        if path.startswith("src/percepta/systems/tint/"):
            (folder / Path(path).name).write_text(source, encoding="utf-8")
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
    ):  # fmt: skip
        check("tint", trained)
    for number, check in enumerate((
        contract.test_resuming_changes_no_bit, contract.test_a_result_can_be_drawn_and_saved,
        contract.test_a_checkpoint_gives_the_same_answers,
    )):  # fmt: skip
        (folder := tmp_path / str(number)).mkdir()
        check("tint", trained, folder)
    contract.check_graphs(trained("tint")[1], tmp_path / "graphs")


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
    """The page's own test of learning passes, and fails for a network that learnt nothing."""
    names: dict[str, Any] = {}
    exec(compile(blocks()["tests/learn/test_tint.py"], "test_tint.py", "exec"), names)
    names["test_the_colour_is_learnt"](tmp_path)
    assert checkpoint.read(tmp_path / "run" / "model.safetensors")[0].preset == "tiny"
    names["PRESETS"] = {"tiny": replace(contract.tiny("tint"), train=TrainConfig(steps=1, lr=0.0))}
    with pytest.raises(AssertionError):
        names["test_the_colour_is_learnt"](tmp_path / "untrained")


def test_its_lines_for_other_files_are_like_those_that_stand_there() -> None:
    """Overloads and the entry of weights: what stands there for another system, with the names exchanged."""
    loading = (ROOT / "src/percepta/__init__.py").read_text(encoding="utf-8")
    assert snippet("@overload").replace("tint", "planes").replace("Tint", "Planes") in loading
    found = eval("{" + snippet('"tint-small"') + "}", {"Weight": weights.Weight})
    assert found["tint-small"].assets == ("tint-small.safetensors",)


def test_its_card_is_filled_by_a_measurement(tint: Path) -> None:
    values = {"accuracy": Metric(0.75, 0.5, 1.0, 24, baselines={"most frequent": 0.4})}
    result = card.measured("tint", "evaluate", values, command="percepta evaluate tint")
    filled = card.fill(blocks()["src/percepta/systems/tint/CARD.md"], lambda place: result)
    assert not filled.missing and "-->0.75<!--" in filled.text and "-->0.40<!--" in filled.text


def test_its_files_import_in_order(tint: Path) -> None:
    names = {path.name for path in tint.glob("*.py")}
    assert {f"{name}.py" for name in ("__init__", "model", "predict", "data", "losses", "evaluate", "task")} <= names
    for path in tint.glob("*.py"):
        module = f"percepta.systems.tint{'' if path.stem == '__init__' else '.' + path.stem}"
        found = imports.imported(path.read_text(), module, path.name == "__init__.py")
        assert imports.violations(module, found) == [] and imports.late(path.read_text(), module, False) == set()
    assert len((tint / "task.py").read_text().splitlines()) <= 60
