"""The verbs of action spotting on a video, on features, and on anybody's results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from percepta import shell
from percepta.datasets.soccer_results import Spot, write
from percepta.errors import InputError
from percepta.media import video
from percepta.media.source import answers
from percepta.systems.spotting import CLASSES, PRESETS, commands, predict
from percepta.systems.spotting.model import SmallNet, build
from percepta.systems.spotting.predict import Spotting
from percepta.train import Evaluator
from percepta.worlds.pitch import recording
from percepta.worlds.pitch.drawing import draw

TINY = PRESETS["tiny"]
PLACES = {10: "Corner", 24: "Goal"}  # frames at which `Sure` says something


class Sure(SmallNet):
    """A network that knows two moments, whatever it is shown."""

    def whole(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.zeros(len(frames), len(CLASSES))
        for place, label in PLACES.items():
            if place < len(frames):
                scores[place, CLASSES.index(label)] = 0.9
        return scores, torch.zeros_like(scores)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Spotting:
    model = Sure(TINY).eval()
    ready = Spotting(TINY, model, "", Evaluator("spotting", TINY, model), answers)
    monkeypatch.setattr(shell, "load", lambda name, options: ready)
    return ready


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen seconds of a rendered game."""
    half = recording.halves(3, 60.0)[0]
    frames = [draw(half, 20 + i / 4) for i in range(64)]
    return video.write(tmp_path_factory.mktemp("film") / "half.mp4", frames, 4)


def ran(run: Any, options: Any) -> str:
    screen = Console(record=True, width=200)
    assert run(options, screen) == 0
    return screen.export_text()


def test_a_video(system: Spotting, film: Path, tmp_path: Path, answers_of: Any) -> None:
    out = tmp_path / "out"
    options = commands.Predict(source=(film,), out=out, clips=True, clock=(60.0,), before=2.0, after=1.0)
    text = ran(commands.predict, options)
    assert "needs about" in text and "2 moments" in text and "begins" in text
    assert (out / "spots.csv").read_text().splitlines()[1:] == [
        "1,5.00,01:05,Corner,0.9000", "1,12.00,01:12,Goal,0.9000"]  # fmt: skip
    clips = sorted(path.name for path in (out / "clips").iterdir())
    assert clips == ["half-1-001-corner.mp4", "half-1-002-goal.mp4"]
    assert video.info(out / "clips" / clips[0]).duration_s >= 3
    edl = (out / "video-1.edl").read_text()
    assert "00:00:03:00 00:00:06:00" in edl and "Goal 90%" in edl
    rows = json.loads((out / "results" / "match" / "results_spotting.json").read_text())["predictions"]
    assert [(row["label"], row["half"], row["position"]) for row in rows] == [
        ("Corner", "1", "5000"), ("Goal", "1", "12000")]  # fmt: skip
    page = (out / "report.html").read_text()
    assert "01:05 Corner" in page and (out / "results.zip").is_file()
    assert len(answers_of(out, "spotting")) == 1
    began = len(list((out / "features").iterdir()))
    assert began == 1 and "2 moments" in ran(commands.predict, options)  # the second time from the kept features


def test_a_match_in_one_file_and_halves_as_features(system: Spotting, film: Path, tmp_path: Path) -> None:
    text = ran(commands.predict, commands.Predict(source=(film,), out=tmp_path / "a", break_s=(7.0, 8.0)))
    assert "half 2 begins at 8.0 s" in text
    rows = (tmp_path / "a" / "spots.csv").read_text().splitlines()[1:]
    assert rows == ["1,5.00,00:05,Corner,0.9000", "2,5.00,45:05,Corner,0.9000"]
    assert "00:00:05:00 00:00:16" in (tmp_path / "a" / "video-1.edl").read_text()
    for half in (1, 2):
        np.save(tmp_path / f"{half}_x.npy", np.zeros((60, 336), np.float32))
    files = tmp_path / "1_x.npy", tmp_path / "2_x.npy"
    text = ran(commands.predict, commands.Predict(source=files, out=tmp_path / "b"))
    assert len((tmp_path / "b" / "spots.csv").read_text().splitlines()) == 5
    with pytest.raises(InputError, match="needs videos"):
        commands.predict(commands.Predict(source=files, out=tmp_path / "b", clips=True), Console())
    with pytest.raises(InputError, match="one or two halves"):
        commands.predict(commands.Predict(source=(film, film, film), out=tmp_path / "b"), Console())


def test_features_of_a_video_to_train_on(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "lite0", lambda: lambda pictures: torch.zeros(len(pictures), 1792))
    game = tmp_path / "games" / "train" / "derby"
    ran(commands.features, commands.Features(source=(film,), out=game, sound=True))
    array = np.load(game / "1_lite0_sound.npy")
    assert array.shape == (32, 1793) and array.dtype == np.float16 and not array.any()  # the film has no sound


def test_anybodys_results(tmp_path: Path) -> None:
    rows = [{"gameTime": "1 - 01:00", "label": "Goal", "position": "60000", "team": "home", "visibility": "visible"},
            {"gameTime": "2 - 02:00", "label": "Corner", "position": "120000", "team": "home",
             "visibility": "not shown"}]  # fmt: skip
    (tmp_path / "games" / "a").mkdir(parents=True)
    (tmp_path / "games" / "a" / "Labels-v2.json").write_text(json.dumps({"UrlLocal": "a", "annotations": rows}))
    said = [Spot(1, 60.4, "Goal", 0.9), Spot(2, 130.0, "Corner", 0.8)]
    write(tmp_path / "said.zip", {"a": said, "b": said})
    options = commands.Evaluate(data=tmp_path / "games", predictions=tmp_path / "said.zip", out=tmp_path / "out")
    text = ran(commands.evaluate, options)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["left out"] == ["b"] and found["tight"]["classes"]["Goal"] == 1 and "tight" in text
    assert found["tight"]["classes"]["Corner"] == 0 and found["loose"]["classes"]["Corner"] > 0.5
    with pytest.raises(InputError, match="needs --data"):
        commands.evaluate(replace(options, data=None), Console())
    write(tmp_path / "other", {"c": said})
    with pytest.raises(InputError, match="none of its 1 games"):
        commands.evaluate(replace(options, predictions=tmp_path / "other"), Console())


def test_a_network_that_looks_at_frames(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(predict, "FILM_SIZE", (64, 96))
    config = replace(PRESETS["e2e"], window_frames=8, fps=0.5, least_score=1e-6)
    model = build(config).eval()
    ready = Spotting(config, model, "", Evaluator("spotting", config, model), answers)
    monkeypatch.setattr(shell, "load", lambda name, options: ready)
    text = ran(commands.predict, commands.Predict(source=(film,), out=tmp_path / "out", score=0.0))
    assert "needs about" in text and "moments in 0:16" in text
    with pytest.raises(InputError, match="one half a file"):
        commands.predict(commands.Predict(source=(film,), out=tmp_path / "out", break_s=(4.0, 5.0)), Console())
    np.save(tmp_path / "1_x.npy", np.zeros((60, 336), np.float32))
    with pytest.raises(InputError, match="give a video"):
        ready.predict(tmp_path / "1_x.npy")


def test_weights_that_no_video_fits(film: Path) -> None:
    config = replace(TINY, features="ResNET_TF2_PCA512", feature_width=512)
    model = build(config).eval()
    with pytest.raises(InputError, match="cannot make of a video"):
        Spotting(config, model, "", Evaluator("spotting", config, model), answers).predict(film)
