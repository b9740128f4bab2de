"""The verbs of replay grounding on a video, and on anybody's results; a reel of both systems."""

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
from percepta.datasets.soccer_results import Grounded, Spot, read_groundings, write_groundings
from percepta.errors import InputError
from percepta.flows.highlights import highlights
from percepta.media import video
from percepta.media.source import answers
from percepta.systems.replay import PRESETS, commands
from percepta.systems.replay.model import SmallNet
from percepta.systems.replay.predict import ReplayGrounding
from percepta.train import Evaluator
from percepta.worlds.pitch import recording
from percepta.worlds.pitch.drawing import draw

TINY = PRESETS["tiny"]


class Sure(SmallNet):
    """A network that finds one replay, from 8 to 11 s."""

    def spans(self, frames: Tensor) -> Tensor:
        scores = torch.zeros(len(frames), 3)
        scores[16:22, 0] = scores[16, 1] = scores[21, 2] = 0.9
        return scores


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> ReplayGrounding:
    torch.manual_seed(0)
    model = Sure(TINY).eval()
    ready = ReplayGrounding(TINY, model, "", Evaluator("replay", TINY, model), answers)
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


def test_a_video(system: ReplayGrounding, film: Path, tmp_path: Path, answers_of: Any) -> None:
    out = tmp_path / "out"
    text = ran(commands.predict, commands.Predict(source=(film,), out=out, clips=True, before=2.0, after=1.0))
    assert "1 replay in 0:16" in text
    row = (out / "replays.csv").read_text().splitlines()[1].split(",")
    assert row[:3] == ["1", "8.00", "11.00"] and 0 <= float(row[3]) <= 8
    names = {path.name for path in (out / "clips").iterdir()}
    assert names == {"half-1-replay-1.mp4", "half-1-action-of-replay-1.mp4"}
    assert "00:00:08:00 00:00:11:00" in (out / "video-1.edl").read_text()
    (one,) = read_groundings(out / "results.zip")["match"]
    assert (one.half, one.start_s, one.end_s) == (1, 8, 11) and len(one.times_s) == len(one.scores) > 0
    assert "shows" in (out / "report.html").read_text() and len(answers_of(out, "replay")) == 1
    with pytest.raises(InputError, match="one or two halves"):
        commands.predict(commands.Predict(source=(), out=out), Console())


def test_two_halves_as_features(system: ReplayGrounding, tmp_path: Path) -> None:
    for half in (1, 2):
        np.save(tmp_path / f"{half}_x.npy", np.zeros((60, 336), np.float32))
    files = tmp_path / "1_x.npy", tmp_path / "2_x.npy"
    ran(commands.predict, commands.Predict(source=files, out=tmp_path / "out"))
    rows = (tmp_path / "out" / "replays.csv").read_text().splitlines()[1:]
    assert [row[:12] for row in rows] == ["1,8.00,11.00", "2,8.00,11.00"]
    with pytest.raises(InputError, match="needs videos"):
        commands.predict(commands.Predict(source=files, out=tmp_path / "out", clips=True), Console())


def test_anybodys_groundings(tmp_path: Path) -> None:
    link = {"half": "1", "time": "00:20", "label": "Goal", "team": "home", "visibility": "visible"}
    rows = [{"gameTime": "1 - 00:30", "label": "Main camera", "change_type": "logo", "replay": "real-time"},
            {"gameTime": "1 - 00:36", "label": "Goal line", "change_type": "logo", "replay": "replay",
             "link": link}]  # fmt: skip
    game = tmp_path / "games" / "a"
    game.mkdir(parents=True)
    (game / "Labels-cameras.json").write_text(json.dumps({"UrlLocal": "a", "annotations": rows}))
    write_groundings(tmp_path / "said.zip", {"a": ([Grounded(1, 30.0, 35.0, (20.0, 5.0), (0.9, 0.1))], (60.0, 60.0))})
    options = commands.Evaluate(data=tmp_path / "games", predictions=tmp_path / "said.zip", out=tmp_path / "out")
    ran(commands.evaluate, options)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["loose"] == 1
    with pytest.raises(InputError, match="no replay is linked"):  # officially only the same end counts
        commands.evaluate(replace(options, official=True), Console())
    with pytest.raises(InputError, match="needs --data"):
        commands.evaluate(replace(options, data=None), Console())


def test_a_reel(system: ReplayGrounding, film: Path, tmp_path: Path) -> None:
    class Spots:
        """What spotting would say."""

        def predict(self, source: Path, **options: Any) -> Any:
            self.spots, self.duration_s, self.warning = (Spot(1, 4.0, "Goal", 0.9),), 16.0, "unlike"
            return self

    reel = highlights(film, tmp_path / "reel.mp4", spotting=Spots(), replay=system, minutes=0.25)
    assert (reel.path is not None and "1 piece" in reel.text) or "pieces" in reel.text
    assert reel.warning == "unlike" and len(reel.early_s) == len(reel.pieces)
    assert video.info(tmp_path / "reel.mp4").duration_s >= sum(p.end_s - p.start_s for p in reel.pieces) - 1
    with pytest.raises(InputError, match="minutes have to be"):
        highlights(film, tmp_path / "reel.mp4", spotting=Spots(), replay=system, minutes=0)
    before = film.read_bytes()
    with pytest.raises(InputError, match="is an input itself"):
        highlights(film, film, spotting=Spots(), replay=system)
    assert film.read_bytes() == before
