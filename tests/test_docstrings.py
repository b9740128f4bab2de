"""What a reader finds above a public function: what it is, and each of its arguments where there are three or more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import percepta

ROOT = Path(percepta.__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))


def public(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions, and public methods of public classes, by their dotted name.

    A method without text that replaces one of a class above it has that one's text.
    """
    bases = {base.id for base in getattr(node, "bases", ()) if isinstance(base, ast.Name)}
    inherits = isinstance(node, ast.ClassDef) and bool(bases - {"Protocol"})
    for child in getattr(node, "body", ()):
        if inherits and isinstance(child, ast.FunctionDef) and ast.get_docstring(child) is None:
            continue
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield f"{prefix}{child.name}", child


def unexplained(function: ast.FunctionDef) -> list[str]:
    """The arguments that the docstring of a function with three or more of them does not name."""
    every = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    names = [argument.arg for argument in every if argument.arg not in ("self", "cls")]
    if len(names) < 3 or any("overload" in ast.dump(decorator) for decorator in function.decorator_list):
        return []
    text = ast.get_docstring(function) or ""
    return [name for name in names if "Args:" not in text or (f"{name}:" not in text and f"{name}," not in text)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arguments_are_explained(path: Path) -> None:
    found = {name: unexplained(function) for name, function in public(ast.parse(path.read_text(encoding="utf-8")))}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_the_rule_catches_what_it_must() -> None:
    (name, function), *_ = public(
        ast.parse('def f(a, b, *, c=1):\n    """Does.\n\n    Args:\n        a, b: both.\n    """')
    )
    assert (name, unexplained(function)) == ("f", ["c"])
