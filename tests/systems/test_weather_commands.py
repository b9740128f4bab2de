"""The commands of street segmentation: folders, a drive, the archive for the ACDC server, the bonnet, distances."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from percepta import checkpoint
from percepta.__main__ import main
from percepta.media import video
from percepta.systems.weather import PRESETS
from percepta.systems.weather.model import build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of tiny with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weather") / "tiny.safetensors"
    config = PRESETS["tiny"]
    return str(checkpoint.save(path, build(config), system="weather", preset="tiny", config=config))


def pixels(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def said(*words: str) -> int:
    return main([*words, "--device", "cpu"])


def test_a_folder_with_a_bonnet(
    weights: str, tmp_path: Path, answers_of: Callable[[Path, str], list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "in").mkdir()
    for number in range(2):
        Image.fromarray(pixels(number)).save(tmp_path / "in" / f"{number}.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[40:] = 255
    Image.fromarray(mask).save(tmp_path / "bonnet.png")
    words = ["--weights", weights, "--bonnet", str(tmp_path / "bonnet.png"), "--drivable", "road", "pavement"]
    assert said("predict", "weather", str(tmp_path / "in"), *words, "--out", str(tmp_path / "out")) == 0
    rows = answers_of(tmp_path / "out", "weather")
    assert [row["drivable"] for row in rows] == [["road", "pavement"]] * 2
    labels = np.asarray(Image.open(tmp_path / "out" / "0.png"))
    assert (labels[40:] == 255).all() and (labels[:40] < 11).all()
    assert (tmp_path / "out" / "0.confidence.png").is_file() and "drivable (road, pavement)" in capsys.readouterr().out
    words = ["--weights", weights, "--names", "cityscapes", "--out", str(tmp_path / "named")]
    assert said("predict", "weather", str(tmp_path / "in" / "0.png"), *words) == 0
    assert "never given" in (printed := capsys.readouterr().out) and "motorcycle" in printed
    assert said("predict", "weather", str(tmp_path / "in"), "--weights", weights, "--classes", "lorry") != 0
    assert "no class 'lorry'" in capsys.readouterr().err


def test_a_drive_gives_a_drive_back(weights: str, tmp_path: Path) -> None:
    clip = video.write(tmp_path / "drive.mp4", (pixels(0) // 2 + number for number in range(4)), 8)
    assert said("predict", "weather", str(clip), "--weights", weights, "--out", str(tmp_path / "out")) == 0
    rows = [json.loads(line)["results"][0] for line in (tmp_path / "out" / "drive.jsonl").read_text().splitlines()]
    assert len(rows) == 4 and rows[0]["flicker"] is None and all(0 <= row["flicker"] <= 1 for row in rows[1:])
    assert (tmp_path / "out" / "drive.mp4").is_file()


def test_the_archive_for_the_server(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for condition in ("fog", "night"):
        folder = tmp_path / "acdc" / "rgb_anon" / condition / "test" / "GOPR0475"
        folder.mkdir(parents=True)
        Image.fromarray(pixels(1)).save(folder / "GOPR0475_frame_000001_rgb_anon.png")
    out = tmp_path / "acdc.zip"
    assert said("weather", "submit", str(tmp_path / "acdc"), "--weights", weights, "--out", str(out)) == 0
    with zipfile.ZipFile(out) as archive:
        names = sorted(archive.namelist())
        assert names == [f"{one}/test/GOPR0475/GOPR0475_frame_000001_gt_labelTrainIds.png" for one in ("fog", "night")]
        with archive.open(names[0]) as file:
            labels = np.asarray(Image.open(file))
    assert labels.shape == (48, 64) and labels.max() < 19
    assert said("weather", "submit", str(tmp_path / "acdc"), "--weights", weights, "--split", "val") != 0
    assert "no picture of the split 'val'" in capsys.readouterr().err


def test_bonnet_and_distances(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "drive").mkdir()
    for number in range(12):
        frame = pixels(number)
        frame[40:] = 60
        Image.fromarray(frame).save(tmp_path / "drive" / f"{number}.png")
    assert main(["weather", "bonnet", str(tmp_path / "drive"), "--out", str(tmp_path / "bonnet.png")]) == 0
    mask = np.asarray(Image.open(tmp_path / "bonnet.png"))
    assert mask[44:].all() and not mask[:36].any()
    bonnet = ["weather", "bonnet", str(tmp_path / "drive"), "--out", str(tmp_path / "bonnet.png")]
    for rows, text in ((slice(28, None), "said to be the car"), (slice(None), "does the camera move at all")):
        for number in range(12):
            frame = pixels(number)
            frame[rows] = 60
            Image.fromarray(frame).save(tmp_path / "drive" / f"{number}.png")
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert main(bonnet) == 0
        noted = " ".join(capsys.readouterr().err.split())
        assert text in noted and noted.count("note:") == 1
    for number in range(12):
        Image.fromarray(pixels(number)).save(tmp_path / "drive" / f"{number}.png")
    assert said("weather", "far", str(tmp_path / "drive"), "--weights", weights) == 0
    assert "unknown: median" in capsys.readouterr().out


def test_a_run_is_averaged_with_what_it_started_from(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    config = PRESETS["tiny"]
    run = checkpoint.save(tmp_path / "run.safetensors", build(config), system="weather", preset="tiny", config=config)
    words = ["weather", "average", "--weights", str(run), "--start", weights, "--share", "0.25"]
    out = tmp_path / "new" / "model.safetensors"
    assert said(*words, "--out", str(out)) == 0
    assert "25% of the run's weights, 75% of" in " ".join(capsys.readouterr().out.split())
    one, other, mean = (checkpoint.read(Path(path))[1] for path in (weights, run, out))
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * one[name] + 0.25 * other[name])
    capsys.readouterr()
    assert said("weather", "average", "--weights", str(run), "--start", "weather-small", "--out", str(out)) == 2
    assert "another network" in capsys.readouterr().err
    assert said("weather", "average", "--weights", str(run), "--start", weights, "--share", "2") == 2
    assert "share lies in 0..1" in capsys.readouterr().err
