"""Fixtures that every test may use. A test that needs real data or golden files says what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder `golden` beside PERCEPTA_DATA: numbers that published implementations computed."""
    folder = _data().parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: it holds the numbers of published implementations")
    return folder
