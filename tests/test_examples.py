"""The examples run as they stand, and stay short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from percepta.systems import TABLE

FOLDER = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(folder: Path, count: int, seed: int = 0) -> Path:
    """Smooth noise in a colour of its own, as PNG."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(40 * seed, 120 + 40 * seed, (4, 4, 3), np.uint8))
        coarse.resize((72, 56), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", TABLE)
def test_every_system_has_a_short_one(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 30 and f"python examples/{name}.py" in text


def test_refer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = pictures(tmp_path / "a", 1) / "0.png"
    example("refer").main(str(picture), ["the sky", "a dog"], tmp_path / "out")
    assert capsys.readouterr().out.count("score") == 2 and (tmp_path / "out" / "2.png").is_file()


def test_aesthetics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "a", 4)
    (folder / "ratings.csv").write_text("file,score\n0.png,5\n1.png,2\n")
    example("aesthetics").main(folder, tmp_path / "out", str(folder / "ratings.csv"))
    assert "rate next:" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ranking.csv", "report.html"}


def test_distill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, kind in enumerate(("dark", "light")):
        pictures(tmp_path / "data" / kind, 12, 2 * seed)
    picture = str(tmp_path / "data" / "dark" / "0.png")
    example("distill").main(tmp_path / "data", [picture], tmp_path / "out", preset="tiny", steps=4)
    assert capsys.readouterr().out.startswith(picture) and (tmp_path / "out" / "mistakes.html").is_file()


def test_supernet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("supernet").main(None, tmp_path / "out", "tiny", 4)
    assert capsys.readouterr().out.count("expected to beat") == 5


def test_hashing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(pictures(tmp_path / str(seed), 1, seed) / "0.png") for seed in (0, 1)]
    example("hashing").main("the sky", files, tmp_path / "out")
    assert capsys.readouterr().out.count("bits agree") == 2 and (tmp_path / "out" / "2.json").is_file()
