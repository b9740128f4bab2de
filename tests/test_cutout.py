"""The flow from a sentence to a cut-out: which frame it begins with, what it tells, and "not found"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from percepta import __main__ as cli
from percepta.errors import InputError
from percepta.flows import cutout as flow
from percepta.media import video
from percepta.media.frames import Frames
from percepta.systems.refer.predict import Result
from percepta.systems.vos import PRESETS, writers
from percepta.systems.vos.model import build
from percepta.systems.vos.predict import Vos

COUNT, FPS = 20, 5


def square(number: int) -> tuple[int, int]:
    """Left and top of the red square in a frame."""
    return 10 + 3 * number, 20


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.full((COUNT, 64, 112, 3), 110, np.uint8)
    for number, frame in enumerate(pixels):
        left, top = square(number)
        frame[top : top + 20, left : left + 20] = (230, 40, 30)
    return video.write(tmp_path_factory.mktemp("film") / "film.mp4", pixels, FPS)


@pytest.fixture(scope="module")
def vos() -> Vos:
    torch.manual_seed(0)
    config = PRESETS["tiny"]
    return Vos(config, build(config).eval(), "", lambda *_, **__: None)  # type: ignore[arg-type]


@dataclass
class Red:
    """Finds what is red, from a frame on; surest about one; in the frames `wrong` it says another place."""

    sure: int
    wrong: tuple[int, ...] = ()
    never: bool = False
    asked: int = 0

    def predict(self, pixels: np.ndarray, sentence: str) -> Result:
        number, self.asked = self.asked * FPS, self.asked + 1
        mask = (pixels[..., 0] > 170) & (pixels[..., 1] < 100)
        if number in self.wrong:
            mask = np.roll(mask, 30, 0)
        mask = mask & (not self.never)
        score = 0.1 if self.never else 0.9 if number == self.sure else 0.6
        return Result(sentence, mask, mask * np.float32(score), score, bool(mask.any()), pixels)


def test_it_begins_where_refer_is_surest_and_tells_where_the_masks_differ(film: Path, vos: Vos, tmp_path: Path) -> None:
    finder: Any = Red(sure=10, wrong=(5,))
    found = flow.cutout(Frames.open(film), "the square", refer=finder, vos=vos, folder=tmp_path)
    assert [check.frame for check in found.checks] == [0, 5, 10, 15] and found.best is not None
    assert found.best.frame == 10 and found.followed is not None and found.followed.count == COUNT
    at = found.followed.labels(10)
    assert at is not None and (at[22:38, 42:58] == 1).all() and (at > 0).sum() < 30 * 30, "given as refer said it"
    assert 5 in [check.frame for check in found.doubts] and 10 not in [check.frame for check in found.doubts]
    assert found.checks[2].overlap == 1.0
    assert any("at 1.0 s the mask overlaps 0.0" in line for line in found.lines())
    told = found.to_dict()
    assert told["found"] and told["best"] == 10 and len(told["checks"]) == 4


def test_not_found_is_an_answer(
    film: Path, vos: Vos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finder: Any = Red(sure=0, never=True)
    found = flow.cutout(Frames.open(film), "the whale", refer=finder, vos=vos, folder=tmp_path / "masks")
    assert not found.found and "not found in any of 4 frames (at most 10%)" in found.text
    assert not (tmp_path / "masks").exists() and found.to_dict()["best"] is None
    finder = {"refer": Red(sure=0, never=True), "vos": vos}
    monkeypatch.setattr(cli.percepta, "load", lambda name: finder[name])
    assert cli.main(["cutout", str(film), "the whale", "--out", str(tmp_path / "whale.webm")]) == 1
    assert "the whale: not found" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_the_command(
    film: Path, vos: Vos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finder = {"refer": Red(sure=0), "vos": vos}
    monkeypatch.setattr(cli.percepta, "load", lambda name: finder[name])
    assert cli.main(["cutout", str(film), "the square", "--out", str(tmp_path / "square"), "--overlay"]) == 0
    assert "followed from there" in capsys.readouterr().out
    pictures = sorted((tmp_path / "square").iterdir())
    first = np.array(Image.open(pictures[0]))
    assert len(pictures) == COUNT and (first[24:36, 14:26, 3] == 255).all() and first[5, 100, 3] == 0
    assert {path.name for path in (tmp_path / "square-masks").iterdir()} == {"masks", "objects.jsonl", "overlay.mp4"}
    assert cli.main(["cutout", str(film), "the square", "--out", str(tmp_path / "a.gif")]) == 2
    assert "--out ends in .webm or .mov" in capsys.readouterr().err


def test_wrong_arguments(film: Path, vos: Vos, tmp_path: Path) -> None:
    finder: Any = Red(sure=0)
    with pytest.raises(InputError, match="every_s is above 0"):
        flow.cutout(Frames.open(film), "the square", refer=finder, vos=vos, folder=tmp_path, every_s=0.0)


def test_after_a_cut_it_ends_where_refer_does_not_find_it(vos: Vos, tmp_path: Path) -> None:
    """Ten frames with a red square, then another scene whose square is blue; a network would go on with that."""
    pixels = np.full((COUNT, 64, 112, 3), 110, np.uint8)
    pixels[COUNT // 2 :] = np.random.default_rng(0).integers(0, 90, (64, 112, 3), np.uint8)
    for number, frame in enumerate(pixels):
        left, top = square(number)
        frame[top : top + 20, left : left + 20] = (230, 40, 30) if number < COUNT // 2 else (30, 40, 230)
    path = video.write(tmp_path / "two.mp4", pixels, FPS)
    found = flow.cutout(Frames.open(path), "the square", refer=Red(sure=0), vos=vos, folder=tmp_path / "masks")
    assert found.followed is not None and found.followed.cuts == (COUNT // 2,)
    for number in range(COUNT):
        labels = found.followed.labels(number)
        assert labels is not None and labels.any() == (number < COUNT // 2), number
    assert "another scene begins with frame 10" in found.lines()
    alone = writers.follow(vos, Frames.open(path), {0: found.followed.labels(0)}, tmp_path / "alone")  # type: ignore[dict-item]
    assert any((at := alone.labels(number)) is not None and at.any() for number in range(COUNT // 2, COUNT))
    assert all(one["lost"] for row in writers._rows(tmp_path / "masks") for one in row["objects"] if row["frame"] >= 10)
    assert [check.overlap for check in found.checks[2:]] == [1.0, 1.0]


def test_the_film_itself_is_never_written_over(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "film.mov"
    own.write_bytes(film.read_bytes())
    assert cli.main(["cutout", str(own), "the square", "--out", str(own)]) == 2
    assert "is an input itself" in capsys.readouterr().err and own.read_bytes() == film.read_bytes()
