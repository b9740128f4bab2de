"""The verbs of action localisation on one's own videos, banks with bodies, and files that are wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from percepta.__main__ import main
from percepta.media import video
from percepta.systems.actions import PRESETS, bodies, world
from percepta.systems.actions.clips import Bank, join, read_bank, write_bank
from percepta.systems.actions.data import data, fit_config
from percepta.systems.actions.model import build
from percepta.train import train


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four videos of the synthetic world with a table of spans, and beside it a run of two steps."""
    root = tmp_path_factory.mktemp("mine")
    lines = ["video,start,end,label"]
    (root / "videos").mkdir()
    for i in range(4):
        frames, spans = world.video(4_000_000 + i, 48)
        video.write(root / "videos" / f"film{i}.mp4", frames, 4)
        lines += [f"film{i},{a / 4},{b / 4},{label}" for a, b, label in spans]
    (root / "videos" / "annotations.csv").write_text("\n".join(lines) + "\n")
    tiny = PRESETS["tiny"]
    train("actions", replace(tiny, train=replace(tiny.train, steps=2, batch_size=2)), out=root / "run", device="cpu")
    return root


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """(exit code, what was printed on both streams, in one line)."""
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, " ".join((out.out + out.err).split())


def test_from_a_folder_of_videos_to_a_network_of_ones_own(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "data", "actions", "check", mine / "videos")
    assert code == 0 and "videos" in said
    features = ("features", mine / "videos", "--weights", mine / "run", "--out", mine / "feats")
    code, said = run(capsys, "actions", *features)
    assert code == 0 and "4 videos" in said
    assert np.load(mine / "feats" / "film0.npy").shape == (48, 384)
    words = ("--data", mine / "feats", "--out", mine / "own", "--train.steps", 2, "--train.batch-size", 2)
    code, said = run(capsys, "train", "actions", "--preset", "tiny", *words)
    assert code == 0, said
    out = ("--out", mine / "evaluated")
    code, said = run(capsys, "evaluate", "actions", "--weights", mine / "own", "--data", mine / "feats", *out)
    assert code == 0 and "single" in said, "the level is beside it"
    page = (mine / "evaluated" / "report.html").read_text()
    assert "bad border" in page and "background" in page
    metrics = json.loads((mine / "evaluated" / "metrics.json").read_text())["metrics"]
    assert set(metrics["average mAP"]["baselines"]) >= {"whole video", "class prior", "classifier of single vectors"}


def test_a_folder_of_videos_gives_timelines_tables_and_subtitles(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mine / "videos" / "broken.mp4").write_bytes(b"no video")
    words = ("--weights", mine / "run", "--out", mine / "found", "--no-cache", "--score-threshold", 0.0)
    code, said = run(capsys, "predict", "actions", mine / "videos", *words)
    (mine / "videos" / "broken.mp4").unlink()
    assert code == 1 and "failed" in said and "broken.mp4" in said, "one bad video is named, the others are done"
    for ending in (".png", ".json", ".csv", ".srt"):
        assert (mine / "found" / f"film3{ending}").is_file()
    assert (mine / "found" / "report.html").is_file()
    assert (mine / "found" / "film0.csv").read_text().startswith("video,start,end,label,score")
    words = ("--predictions", mine / "found" / "film0.json", "--truth", mine / "videos" / "annotations.csv")
    code, said = run(capsys, "evaluate", "actions", *words, "--subset", "", "--out", mine / "scored")
    assert code == 0 and "average mAP" in said


def test_wrong_commands_are_said_in_one_line(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ("--weights", mine / "run")
    for words, part in (
        (("predict", "actions", tmp_path, *weights), "no videos"),
        (("predict", "actions", tmp_path / "none.mp4", *weights), "no such file"),
        (("evaluate", "actions", *weights, "--truth", "x.json"), "belongs to --predictions"),
        (("evaluate", "actions", "--predictions", "x.json"), "needs --truth"),
        (("evaluate", "actions", *weights, "--data", mine / "videos"), "have no features"),
    ):
        code, said = run(capsys, *words)
        assert code != 0 and part in said, said
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "a.npy", np.zeros((40, 384), np.float32))
    (other / "annotations.csv").write_text("video,start,end,label\na,1,2,juggle\n")
    code, said = run(capsys, "evaluate", "actions", *weights, "--data", other, "--split", "all")
    assert code != 0 and "unknown classes juggle" in said


def test_spans_outside_the_video_and_overlaps_are_reported(mine: Path, tmp_path: Path) -> None:
    from percepta.systems.actions.check import check

    frames, _ = world.video(5, 40)
    video.write(tmp_path / "film.mp4", frames, 4)
    rows = ("film,1,3,a", "film,2,4,a", "film,2,4,b", "film,90,99,b", "film,5,4,a", "other,1,2,a")
    (tmp_path / "annotations.csv").write_text("\n".join(("video,start,end,label", *rows)) + "\n")
    found = check(tmp_path)
    said = " / ".join(str(one) for one in (*found.problems, *found.warnings))
    for part in ("end after the video", "neither a video", "of one class overlap", "of different classes overlap"):
        assert part in said, said


def test_videos_of_any_frame_rate_give_the_same_times(mine: Path, tmp_path: Path) -> None:
    """The same film at 4 and at 12 frames a second, without sound: vectors and duration agree."""
    from percepta.systems.actions.features import of_video

    model = build(PRESETS["tiny"]).eval()
    frames, _ = world.video(6, 40)
    slow = video.write(tmp_path / "slow.mp4", frames, 4)
    fast = video.write(tmp_path / "fast.mp4", np.repeat(frames, 3, 0), 12)
    (a, first), (b, second) = (of_video(model, path) for path in (slow, fast))
    assert len(a) == len(b) == 40 and abs(first - second) < 0.3
    assert np.abs(a.thumb - b.thumb).mean() < 0.02


def test_bodies_are_split_by_recording_and_scene(shared_data: Path) -> None:
    films = list(bodies.films(shared_data / "motion"))
    assert len({film.name for film in films}) == len(films)
    by_split = {split: {film.group for film in films if film.split == split} for split in bodies.SCENES}
    assert not by_split["train"] & by_split["test"] and not by_split["train"] & by_split["val"]
    for split in bodies.SCENES:
        labels = {film.label for film in films if film.split == split}
        assert {"walk", "run", "kick", "dance", "turn around", "squat", ""} <= labels
    assert not set(bodies.VAL) & set(bodies.TEST)
    one = next(film for film in films if film.label == "squat")
    pixels = one.frames()
    assert pixels.shape == (bodies.FRAMES, bodies.HIGH, bodies.WIDE, 3)
    np.testing.assert_array_equal(pixels, one.frames())


def test_a_bank_is_gone_on_with_and_read_back(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SCENES", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(bodies, "CAMERAS", 1)
    monkeypatch.setattr(bodies, "film", lambda *_: np.zeros((bodies.FRAMES, 96, 128, 3), np.uint8))
    model = build(PRESETS["tiny"]).eval()
    clips, frames = write_bank(model, [shared_data / "motion"], tmp_path)
    stamp = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(stamp) == clips and frames == clips * bodies.FRAMES
    write_bank(model, [shared_data / "motion"], tmp_path)
    assert stamp == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    bank = read_bank(tmp_path)
    assert isinstance(bank, Bank) and len(bank.rows) == frames
    config = fit_config(replace(PRESETS["tiny"], labels=("walk",)), tmp_path)
    assert config.labels[0] == "walk" and "squat" in config.labels
    video_of = join(bank, "test", 3, 80)
    assert set(video_of.labels) <= set(config.labels)
    sample = data(config, "test", tmp_path)[(0, 0)]
    assert sample.features.shape[0] == config.channels
