"""Fixtures that every test may use. A test that needs real data or golden files says what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from percepta import systems

# Folders of systems that stand in no row of TABLE yet: nobody can load them, and their own tests are not collected.
UNFINISHED = tuple(
    sorted(
        folder.name
        for folder in Path(systems.__file__).parent.iterdir()
        if (folder / "__init__.py").is_file() and folder.name not in systems.TABLE
    )
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out the tests of systems that are not finished."""
    own = collection_path.parent.name in ("systems", "learn") and collection_path.suffix == ".py"
    words = collection_path.stem.split("_")
    mine = own and len(words) > 1 and words[1] in UNFINISHED
    return True if mine else None


def pytest_report_header() -> str:
    """Says what is left out."""
    return f"systems that are not finished, whose tests are left out: {', '.join(UNFINISHED) or 'none'}"


def _data() -> Path:
    given = os.environ.get("PERCEPTA_DATA")
    if not given:
        pytest.skip("PERCEPTA_DATA is not set: it names the folder that holds the real data sets")
    root = Path(given)
    if not root.is_dir():
        pytest.skip(f"PERCEPTA_DATA={root} is no folder")
    return root


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets that PERCEPTA_DATA names; skips where it is not set."""
    return _data()


@pytest.fixture
def answers_of() -> Callable[[Path, str], list[dict[str, Any]]]:
    """(folder, system) -> entries of its predictions.json, whose form all systems share; its files are there."""

    def read(folder: Path, system: str) -> list[dict[str, Any]]:
        table = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
        assert table["version"] == 1 and table["system"] == system and table["percepta"]
        assert {"weights", "words", "failed", "left_out"} <= set(table)
        for row in table["predictions"]:
            assert row["source"] and row["text"]
            assert all((folder / row[key]).is_file() for key in ("drawing", "file") if key in row), row
        return table["predictions"]

    return read


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder `golden` beside PERCEPTA_DATA: numbers that published implementations computed."""
    folder = _data().parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: it holds the numbers of published implementations")
    return folder
