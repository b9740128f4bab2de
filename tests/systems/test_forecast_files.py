"""A scenario of Argoverse 2 made small, and the commands of forecasting on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from percepta.__main__ import main
from percepta.systems.forecast import PRESETS
from percepta.systems.forecast.model import build


def scenario_files(folder: Path, name: str = "s1") -> Path:
    """The folder of a scenario: two cars and a walker, and one lane."""
    pyarrow = pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    from pyarrow import parquet

    rows: dict[str, list[Any]] = {}
    for agent, (kind, category, speed) in {
        "7": ("vehicle", 3, 0.5),
        "AV": ("vehicle", 1, 0.4),
        "9": ("pedestrian", 2, 0.1),
    }.items():
        for t in range(110):
            row = {
                "observed": t < 50, "track_id": agent, "object_type": kind, "object_category": category, "timestep": t,
                "position_x": t * speed, "position_y": {"7": 0.0, "AV": 8.0, "9": -6.0}[agent], "heading": 0.0,
                "velocity_x": speed * 10, "velocity_y": 0.0, "scenario_id": name, "focal_track_id": "7",
            }  # fmt: skip
            for key, value in row.items():
                rows.setdefault(key, []).append(value)
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(rows), folder / f"scenario_{name}.parquet")

    def line(y: float) -> list[dict[str, float]]:
        return [{"x": -10.0, "y": y, "z": 0.0}, {"x": 90.0, "y": y, "z": 0.0}]

    lane = {"id": 5, "is_intersection": False, "lane_type": "VEHICLE", "left_lane_boundary": line(2.0),
            "right_lane_boundary": line(-2.0), "predecessors": [], "successors": []}  # fmt: skip
    content = {"lane_segments": {"5": lane}, "drivable_areas": {}, "pedestrian_crossings": {}}
    (folder / f"log_map_archive_{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that predicts 6 s."""
    from dataclasses import replace

    import torch

    from percepta import checkpoint

    torch.manual_seed(0)
    config = replace(PRESETS["tiny"], future_steps=60, windows=((10, 60),), modes=6)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    return checkpoint.save(path, build(config), system="forecast", preset="custom", config=config)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_submission_replaces_no_input(tmp_path: Path, weights: Path, capsys: Any) -> None:
    tracks = tmp_path / "tracks.csv"
    tracks.write_text("time,id,x,y\n" + "".join(f"{t / 10:.1f},a,{t},0\n" for t in range(60)))
    before = tracks.read_bytes()
    for words, said in (
        (("--submission", tracks), "is an input itself"),
        (("--submission", tmp_path / "x.csv"), "ends in .parquet"),
        (("--submission", tmp_path / "x.parquet", "--joint"), "leave out --joint"),
        (("--submission", tmp_path / "x.parquet", "--modes", 3, "--film"), "leave out --modes, --film"),
        (("--submission", tmp_path / "x.parquet"), "which step is the last observed one"),
        (("--horizon-s", "nan"), "at least one step"),
    ):
        assert run("predict", "forecast", tracks, "--weights", weights, "--out", tmp_path / "o", *words) != 0
        printed = capsys.readouterr()
        assert said in " ".join((printed.out + printed.err).split())
        assert tracks.read_bytes() == before and not (tmp_path / "x.csv").exists()


def test_a_scenario_becomes_a_picture_and_a_submission(tmp_path: Path, weights: Path, capsys: Any) -> None:
    folder = scenario_files(tmp_path / "val" / "s1")
    file = folder / "scenario_s1.parquet"
    assert run("predict", "forecast", file, "--weights", weights, "--out", tmp_path / "out", "--modes", 2) == 0
    content = json.loads((tmp_path / "out" / "s1.json").read_text())
    assert {agent["id"] for agent in content["agents"]} == {"7", "AV", "9"} and len(content["time_s"]) == 60
    assert len(content["agents"][0]["futures"]) == 2 and (tmp_path / "out" / "s1.png").is_file()
    submission = tmp_path / "x.parquet"
    assert run("predict", "forecast", tmp_path / "val", "--weights", weights, "--submission", submission) == 0
    assert run("evaluate", "forecast", "--predictions", submission, "--truth", folder, "--out", tmp_path / "e") == 0
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert metrics["minFDE"]["n"] == 2, "the focal track and the scored one"
    assert "constant velocity" in capsys.readouterr().out
    assert run("evaluate", "forecast", "--predictions", submission) == 2
    assert run("predict", "forecast", tmp_path / "none.csv", "--weights", weights) == 2


def test_scenarios_are_found_by_what_is_inside(tmp_path: Path, weights: Path, capsys: Any) -> None:
    folder = scenario_files(tmp_path / "val")
    assert run("predict", "forecast", folder, "--weights", weights, "--submission", tmp_path / "s.parquet", "--out",
               tmp_path / "o") == 0  # fmt: skip
    assert "1 scenario" in capsys.readouterr().out.replace("scenarios", "?")
    (folder / "scenario_s1.parquet").rename(folder / "scenario_renamed.parquet")
    assert run("evaluate", "forecast", "--predictions", tmp_path / "s.parquet", "--truth", folder, "--out",
               tmp_path / "e") == 0  # fmt: skip


def test_tables_that_are_not_understood_are_named(tmp_path: Path, weights: Path, capsys: Any) -> None:
    good = "time,id,x,y\n" + "".join(f"{t / 10:.1f},a,{t / 2},0\n" for t in range(60))
    (tmp_path / "good.csv").write_text(good)
    (tmp_path / "other.csv").write_text("frame,track,left,top\n0,1,2,3\n")
    (tmp_path / "short.csv").write_text(good + "6.0,a,3\n")
    assert run("predict", "forecast", tmp_path, "--weights", weights, "--out", tmp_path / "o") == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "other.csv: no tracks that are known: its columns are frame, track, left, top" in printed
    assert "short.csv, line 62" in printed and "the row is too short" in printed
    assert (tmp_path / "o" / "good.png").is_file()
    assert run("predict", "forecast", tmp_path / "other.csv", "--weights", weights, "--out", tmp_path / "p") == 2
    assert "its columns are frame, track, left, top; tracks of your own have time" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_prediction_says_what_is_wrong_with_tracks(tmp_path: Path, weights: Path, capsys: Any) -> None:
    def rows(factor_s: float, factor_m: float) -> str:
        lines = (f"{t * 0.1 * factor_s:.1f},a,{t * factor_m},0\n" for t in range(60))
        return "time,id,x,y\n" + "".join(lines)

    lane = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[9000, 0], [9100, 0]]}}
    for name, content, said in (
        ("pixels", rows(1, 12), "not in pixels"),
        ("milliseconds", rows(1000, 1), "not in milliseconds"),
        ("elsewhere", rows(1, 1), "m away from the tracks"),
    ):
        (tmp_path / f"{name}.csv").write_text(content)
        if name == "elsewhere":
            map_ = json.dumps({"type": "FeatureCollection", "features": [lane]})
            (tmp_path / f"{name}.geojson").write_text(map_)
        run("predict", "forecast", tmp_path / f"{name}.csv", "--weights", weights, "--out", tmp_path / "o")
        assert said in " ".join(capsys.readouterr().out.split()), name


WRONG = """
import sys, percepta
from percepta.errors import InputError
system = percepta.load(sys.argv[1], system="forecast")
session = system.session()
for call in (
    lambda: system.predict(sys.argv[2]),
    lambda: system.session("map.geojson"),
    lambda: session.step([(0, 0)]),
    lambda: session.step({"a": (0, 0)}, "1.0"),
    lambda: session.step({"a": (0, 0)}, float("nan")),
    lambda: session.step({"a": (0, 1e30)}),
    lambda: session.step({"a": "here"}),
):
    try:
        call()
        print("nothing")
    except InputError as error:
        print(error)
"""


def test_wrong_kinds_of_arguments_are_said(tmp_path: Path, weights: Path) -> None:
    """In a process of its own, where nothing but the system checks types."""
    words = [sys.executable, "-c", WRONG, str(weights), "good.csv"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = ("traffic.read(path)[0]", "StreetMap", "positions are", "time_s is", "time_s is", "agent a", "agent a")
    assert len(said) == len(wanted)
    for line, part in zip(said, wanted, strict=True):
        assert part in line


def test_positions_are_on_earth(tmp_path: Path, weights: Path) -> None:
    import percepta
    from percepta.datasets import traffic
    from percepta.errors import InputError

    path = tmp_path / "far.csv"
    path.write_text("time,id,x,y\n" + "".join(f"{t / 10:.1f},far,{t / 2}e30,0\n" for t in range(60)))
    with pytest.raises(InputError, match="agent far is more than"):
        percepta.load(weights, system="forecast").predict(traffic.read(path)[0])


def test_tracks_of_a_camera_by_a_homography(tmp_path: Path, weights: Path) -> None:
    """Pixels of a camera that looks along the ground: 50 pixels a metre, shifted."""
    rows = "\n".join(f"{t / 10:.1f},a,{100 + 5 * t},{400},pedestrian" for t in range(30))
    (tmp_path / "t.csv").write_text(f"time,id,x,y,type\n{rows}\n")
    (tmp_path / "h.txt").write_text("0.02 0 -2\n0 -0.02 8\n0 0 1\n")
    words = ("predict", "forecast", tmp_path / "t.csv", "--weights", weights, "--out", tmp_path / "o")
    assert run(*words, "--homography", tmp_path / "h.txt") == 0
    now = json.loads((tmp_path / "o" / "t.json").read_text())["agents"][0]["now_m"]
    assert now == pytest.approx([(100 + 5 * 29) * 0.02 - 2, 0.0])
    (tmp_path / "h.txt").write_text("1 2 3")
    assert run(*words, "--homography", tmp_path / "h.txt") == 2


def test_a_network_is_evaluated_as_every_other(tmp_path: Path, weights: Path) -> None:
    assert run("evaluate", "forecast", "--weights", weights, "--out", tmp_path / "e", "--batch-size", 4) in (0, 2)
