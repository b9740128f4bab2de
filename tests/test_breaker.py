"""A short, seeded part of `benchmarks/breaker.py`: spoilt files are read or refused by name, and nothing else."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
MUTATIONS = 8  # of every file; the benchmark does 300


def benchmark(name: str) -> ModuleType | None:
    """A module of the folder of benchmarks; None where percepta was installed without it."""
    path = FOLDER / f"{name}.py"
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


BREAKER: Any = benchmark("breaker_readers")
SETS: Any = benchmark("breaker_sets")
needs_benchmarks = pytest.mark.skipif(BREAKER is None, reason="installed without its repository")


@needs_benchmarks
@pytest.mark.parametrize("reader", [*BREAKER.trees(), *SETS.sets()] if BREAKER else [], ids=lambda one: one.name)
def test_spoilt_files_are_read_or_refused_by_name(reader: Any, tmp_path: Path) -> None:
    found = BREAKER.break_reader(reader, tmp_path, MUTATIONS, seed=1)
    assert not found.faults, dict(found.faults)
    assert found.read + found.refused == MUTATIONS * len(reader.files)


@needs_benchmarks
def test_spoiling_changes_something_and_follows_from_its_seed() -> None:
    """A breaker that breaks nothing would find nothing."""
    text = "\n".join(f"{i} 0.5 -1 name-{i}" for i in range(20)).encode()
    for kind in ("text", "bytes"):
        spoilt = [BREAKER.spoil(text, kind, random.Random(i)) for i in range(50)]
        assert sum(one != text for one in spoilt) >= 45 and len(set(spoilt)) >= 40
        assert spoilt == [BREAKER.spoil(text, kind, random.Random(i)) for i in range(50)]


@needs_benchmarks
def test_a_reader_that_lets_other_errors_through_is_found(tmp_path: Path) -> None:
    def careless(root: Path) -> object:
        return [float(line) for line in (root / "a.txt").read_text().splitlines()]

    made = BREAKER.Reader("careless", lambda root: (root / "a.txt").write_text("1\n2\n"), careless, {"a.txt": "text"})
    assert BREAKER.break_reader(made, tmp_path, 40, seed=0).faults
