"""What an editor knows: `percepta.load` gives each system's own class, and its `predict` is typed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from shutil import which
from typing import Any, get_type_hints

import pytest

import percepta
from percepta.systems import TABLE


def class_of(system: str) -> Any:
    return import_module(f"percepta.systems.{system}.task").System


def test_load_has_its_overloads_for_every_system() -> None:
    """Read from the source, since a type checker reads it too, and wrapped functions lose their overloads."""
    by_name: dict[str, str] = {}
    by_run: dict[str, str] = {}
    for node in ast.parse(Path(percepta.__file__).read_text()).body:
        if not isinstance(node, ast.FunctionDef) or node.name != "load" or not node.decorator_list:
            continue
        arguments = {item.arg: ast.unparse(item.annotation) for item in node.args.args + node.args.kwonlyargs}
        gives = ast.unparse(node.returns)
        if name := re.fullmatch(r"Literal\['(\w+)'\]", arguments["name_or_path"]):
            by_name[name[1]] = gives
        elif name := re.fullmatch(r"Literal\['(\w+)'\]", arguments.get("system", "")):
            by_run[name[1]] = gives
    classes = {name: class_of(name).__name__ for name in TABLE}
    assert by_name == classes and by_run == classes


@pytest.mark.parametrize("system", TABLE)
def test_predict_names_and_types_its_arguments(system: str) -> None:
    for method in ("predict", *(["session"] if hasattr(class_of(system), "session") else [])):
        function = getattr(class_of(system), method)
        arguments = list(signature(function).parameters.values())[1:]
        assert method == "session" or arguments
        assert all(item.annotation is not Parameter.empty for item in arguments), method
        assert all(item.kind is not Parameter.VAR_KEYWORD for item in arguments), f"{method}: name the options"
        assert get_type_hints(function)["return"] is not Any
        text = function.__doc__ or ""
        missing = [item.name for item in arguments if len(arguments) > 2 and f"{item.name}:" not in text]
        assert not missing, f"{method}: the docstring says nothing of {missing}"


def test_a_type_checker_sees_it(tmp_path: Path) -> None:
    """In one run of pyright, since each takes seconds: each `load` has the type of its own class."""
    checker = which("pyright", path=str(Path(sys.executable).parent)) or which("pyright")
    if checker is None:
        pytest.skip("pyright is not installed")
    lines = ["from typing import assert_type", "import percepta"]
    for name in TABLE:
        kind = class_of(name)
        lines.append(f"from {kind.__module__} import {kind.__name__}")
        lines.append(f'assert_type(percepta.load("{name}", device="cpu"), {kind.__name__})')
        lines.append(f'assert_type(percepta.load("runs/mine", system="{name}"), {kind.__name__})')
        lines.append(f'percepta.load("{name}").predict')
    lines.append('percepta.load("refer").predict(1.5, 2.5)  # wrong')
    path = tmp_path / "user.py"
    path.write_text("\n".join(lines))
    done = subprocess.run([checker, "--pythonpath", sys.executable, str(path)], capture_output=True, text=True)
    faults = [line for line in done.stdout.splitlines() if " - error:" in line]
    assert faults and all(f":{len(lines)}:" in line for line in faults), done.stdout
