"""The examples run as they stand, and stay short; the demos show photographs without any extra."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import percepta
from percepta import weights
from percepta.__main__ import main
from percepta.media import samples, video
from percepta.report import Gallery
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


@pytest.mark.parametrize("name", ("aesthetics", "hashing", "refer"))
def test_the_demo_shows_the_photographs_that_ship(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "find_spec", lambda package: None)  # as if scikit-image were not installed
    found = samples.photographs(["moon.png", *(percepta.sample(one).name for one in percepta.SAMPLES)])
    assert found == [percepta.sample(one) for one in percepta.SAMPLES]
    blocks = import_module(f"percepta.systems.{name}.demo").demo(percepta.load)
    shown = [text for block in blocks if isinstance(block, Gallery) for _, text in block.pictures]
    assert samples.MORE in " ".join(getattr(block, "text", "") for block in blocks)
    if name == "refer":  # its answers say what was asked, not where
        assert sum("found" in text for text in shown) == 15
    else:
        assert all(any(one in text for text in shown) for one in ("cat", "rocket"))


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


def test_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{t / 10:.1f},{k},{t * 0.5 * k:.2f},{3 * k}" for t in range(30) for k in (1, 2))
    (tmp_path / "yard.csv").write_text(f"time,id,x,y\n{rows}\n")
    example("forecast").main(tmp_path / "yard.csv", tmp_path / "out")
    assert capsys.readouterr().out.count("probability") == 2 and (tmp_path / "out" / "yard.json").is_file()


@pytest.mark.skipif("actions-small" not in weights.TABLE, reason="the weights of actions do not ship yet")
def test_actions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [np.full((48, 64, 3), 10 * i % 250, np.uint8) for i in range(40)]
    example("actions").main(video.write(tmp_path / "film.mp4", frames, 8), tmp_path / "out")
    assert (tmp_path / "out" / "film.srt").is_file() and "film.png" in capsys.readouterr().out


def test_avatar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pose = [0.1, 0, 0.9, 0, *[1, 0, 0, 0] * 4, 0, *[1, 0, 0, 0] * 2, 0, *[1, 0, 0, 0], 0, *[1, 0, 0, 0] * 2, 0]
    motion = tmp_path / "humanoid3d_stand.txt"
    motion.write_text(json.dumps({"Loop": "wrap", "Frames": [pose] * 3}))
    example("avatar").main(motion, tmp_path / "out.mp4")
    assert "out.mp4" in capsys.readouterr().out
    assert len(list(video.every_frame(tmp_path / "out.mp4"))) == 4  # 0.2 s at 15 frames a second


def test_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from percepta.systems.driver.world import drive, frames

    made = drive(0, 0.1)
    for view, name in (("Dashboard", "dashboard"), ("Rear_view", "rear_view")):
        shots = [frame for frame, _ in zip(frames(made, view, 2.0), range(16), strict=False)]
        video.write(tmp_path / "drive" / f"{name}.mp4", shots, 2)
    example("driver").main(tmp_path / "drive", tmp_path / "out")
    assert "drive.png" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"drive.png", "drive.json", "drive.csv"}


@pytest.mark.parametrize("name", ("spotting", "replay"))
def test_soccer(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from percepta.worlds.pitch import recording
    from percepta.worlds.pitch.drawing import draw

    half = recording.halves(recording.FIRST["test"] + 900, 20.0)[0]
    film = video.write(tmp_path / "half.mp4", (draw(half, i / 4, 128, 224) for i in range(64)), 4)
    example(name).main(film, tmp_path / "out")
    table = {"spotting": "spots", "replay": "replays"}[name]
    assert f"{table}.png" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "features", *(f"{table}.{kind}" for kind in ("png", "json", "csv"))
    }  # fmt: skip


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


def test_planes(tmp_path: Path, capsys: pytest.CaptureFixture[str], answers_of: Callable[[Path, str], Any]) -> None:
    from dataclasses import replace

    from percepta.geometry.camera import Intrinsics
    from percepta.systems.planes import PRESETS
    from percepta.systems.planes.world import Box
    from percepta.train import train

    box, camera = Box(3), Intrinsics(90.0, 90.0, 49.5, 39.5, 100, 80)
    for number, pose in enumerate(box.cameras(np.random.default_rng(0), (0.25, 0.3))):
        for kind in ("color", "pose"):
            (tmp_path / "walk" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(box.render(camera, pose).colour).save(tmp_path / "walk" / "color" / f"{number}.png")
        np.savetxt(tmp_path / "walk" / "pose" / f"{number}.txt", pose)
    np.savetxt(tmp_path / "walk" / "intrinsics.txt", camera.matrix)
    tiny = PRESETS["tiny"]
    model = train("planes", replace(tiny, train=replace(tiny.train, steps=2)), out=tmp_path / "run")
    example("planes").main(tmp_path / "walk", tmp_path / "out", str(model))
    assert "surfaces in" in capsys.readouterr().out and (tmp_path / "out" / "plan.png").is_file()
    words = [str(tmp_path / "walk"), "--weights", str(model), "--device", "cpu", "--out"]
    assert main(["predict", "planes", *words, str(tmp_path / "command")]) == 0
    assert "from 1 key frames" in capsys.readouterr().out
    made = {file.name for file in (tmp_path / "command").iterdir()}
    assert [row["source"].rsplit("/")[-1] for row in answers_of(tmp_path / "command", "planes")] == ["1.png", "walk"]
    assert {"scene.glb", "scene.ply", "scene.json", "plan.png", "report.html", "1.png", "1.json"} <= made
    assert (tmp_path / "command" / "scene.json").read_text() == (tmp_path / "out" / "scene.json").read_text()
    assert main(["predict", "planes", *words, str(tmp_path / "none"), "--baseline-m", "5", "6"]) == 1
    assert "poses in metres?" in capsys.readouterr().out and not (tmp_path / "none").exists()


def test_vos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from percepta.media import video
    from percepta.systems.vos.world import clip

    pixels, labels, _ = clip(1, 96, 160, 6, 2)
    Image.fromarray(labels[0]).save(tmp_path / "first.png")
    example("vos").main(
        video.write(tmp_path / "clip.mp4", pixels, 12), tmp_path / "first.png", tmp_path / "out", "small"
    )
    assert "frame 5: object 1" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"cutout.webm", "last.png", "last.json"}


def test_weather(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from percepta import weights
    from percepta.worlds.street.scene import view

    if "weather-small" not in weights.TABLE:
        pytest.skip("the weights of weather are not trained yet")
    (tmp_path / "in").mkdir()
    for number in range(3):
        pixels = (view(2_000_000 + number, "day", 64, 96).picture * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    example("weather").main(tmp_path / "in", tmp_path / "out")
    assert "3 frames" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"last.png", "last.json", "last.confidence.png"}


def test_slam(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "slam" not in TABLE:
        pytest.skip("slam is not in the table of systems yet")
    pytest.importorskip("cv2")
    from percepta.systems.slam.world import RoundTrip

    (tmp_path / "in").mkdir()
    for number, shot in enumerate(RoundTrip(0, "mono", 40, 240)):
        Image.fromarray(shot.frame).save(tmp_path / "in" / f"{number}.png")
    np.savetxt(tmp_path / "in" / "intrinsics.txt", RoundTrip(0, "mono", 1, 240).camera.matrix)
    example("slam").main(tmp_path / "in", tmp_path / "out", "tiny")
    assert "frames tracked" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"walk.png", "walk.json", "walk.txt", "points.ply"}


def test_online3d(tmp_path: Path, capsys: pytest.CaptureFixture[str], answers_of: Callable[[Path, str], Any]) -> None:
    import torch

    from percepta import checkpoint
    from percepta.geometry.camera import Intrinsics
    from percepta.systems.online3d import PRESETS, task
    from percepta.worlds import rooms

    world, camera = rooms.room(4), Intrinsics.field_of_view(48, 36, 58.0)
    for name in ("color", "depth", "pose"):
        (tmp_path / "in" / name).mkdir(parents=True)
    np.savetxt(tmp_path / "in" / "intrinsics.txt", camera.matrix)
    for i, pose in enumerate(rooms.walk(world, 0, frames=6, fps=3)):
        view = rooms.render(world, pose, camera)
        Image.fromarray(view.colour).save(tmp_path / "in" / "color" / f"{i}.png")
        Image.fromarray((view.depth_m * 1000).astype(np.uint16)).save(tmp_path / "in" / "depth" / f"{i}.png")
        np.savetxt(tmp_path / "in" / "pose" / f"{i}.txt", pose)
    torch.manual_seed(0)
    config = PRESETS["tiny"]
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, task.build(config), system="online3d", preset="tiny", config=config)
    example("online3d").main(tmp_path / "in", tmp_path / "out", str(path))
    assert capsys.readouterr().out.count("voxels anew") == 2
    made = {"room.png", "room.ply", "room.json", "room.html"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == made
    words = ["--weights", str(path), "--device", "cpu", "--out", str(tmp_path / "command")]
    streamed = ["--stride", "3", "--size", "160", "120"]
    assert main(["predict", "online3d", str(tmp_path / "in"), *words, *streamed]) == 0
    assert "2 frames (0 left out)" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "command").iterdir()} == made | {"predictions.json"}
    (row,) = answers_of(tmp_path / "command", "online3d")
    assert row["points"] > 0 and row["weights"]
    assert (tmp_path / "command" / "room.ply").read_bytes() == (tmp_path / "out" / "room.ply").read_bytes()
    assert main(["predict", "online3d", str(tmp_path / "in"), *words, *streamed, "--film"]) == 0
    assert (tmp_path / "command" / "room.mp4").stat().st_size > 1000
    assert main(["predict", "online3d", str(tmp_path / "out" / "room.ply"), *words]) == 0  # a scan, at once
    assert "points at once" in capsys.readouterr().out
