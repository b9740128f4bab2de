"""Several views of a driver: fusion, missing and dead cameras, offsets, live drives, verbs on one's own folders."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.__main__ import main
from percepta.datasets import aicity, aicity_drives
from percepta.errors import InputError
from percepta.media import video
from percepta.media.source import answers
from percepta.nn.looks import Rows
from percepta.systems import driver as package
from percepta.systems.driver import LABELS, PRESETS, VIEWS, bank, world
from percepta.systems.driver.align import offset
from percepta.systems.driver.check import check
from percepta.systems.driver.data import data, fit_config
from percepta.systems.driver.decoder import Found, in_seconds
from percepta.systems.driver.features import alive, calibrated
from percepta.systems.driver.model import build
from percepta.systems.driver.predict import Driver
from percepta.systems.driver.recording import assembled
from percepta.train import Evaluator, train

TINY = PRESETS["tiny"]


def tiny_system(seed: int = 0) -> Driver:
    torch.manual_seed(seed)
    model = build(TINY).eval()
    return Driver(TINY, model, "Apache-2.0", Evaluator("driver", TINY, model), answers)


def filmed(number: int, fps: int = 2, size: int = 8) -> dict[str, np.ndarray]:
    """Pictures of a toy drive: {view: (t h w 3)}."""
    thumbs = world.toy(number).thumb
    grey = (255 * np.repeat(np.repeat(thumbs, size, 2), size, 3)).astype(np.uint8)
    grey = np.repeat(grey, fps // 2, 1)
    return {view: np.repeat(some[..., None], 3, -1) for view, some in zip(VIEWS, grey, strict=True)}


def test_the_classes_and_views_are_those_of_the_challenge() -> None:
    assert LABELS == aicity.LABELS_2023 and VIEWS == aicity.VIEWS and len(aicity.LABELS_2022) == 18
    assert package.Config(labels=aicity.LABELS_2022).channels == 192 + 3 * 1280


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sets(st.integers(0, 2), min_size=1))
def test_what_a_missing_view_shows_changes_nothing(seed: int, there: set[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = build(TINY).eval()
    with torch.no_grad():
        model.trust.copy_(torch.randn(model.trust.shape, generator=generator))
        features = torch.randn(1, 3, 20, TINY.channels, generator=generator)
        present = torch.zeros(1, 3, 20, dtype=torch.bool)
        present[:, sorted(there)] = True
        changed = features.clone()
        changed[~present] = 7.0
        first, second = model(features, present)[1], model(changed, present)[1]
        assert torch.allclose(first, second, atol=1e-5)
        if len(there) == 1:
            own = model.views(features, present)[:, next(iter(there))] * model.gain.exp()
            assert torch.allclose(first, own, atol=1e-4), "one view alone is itself"
        nothing = model(features, torch.zeros_like(present))[1]
        assert nothing.abs().max() == 0, "nothing is known where no camera sees"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(-12, 12))
def test_offsets_are_found(seed: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    movement = np.repeat(rng.exponential(1.0, 60), 3) * (np.repeat(rng.random(60), 3) < 0.4)
    noisy = np.maximum(movement + rng.normal(0, 0.05, len(movement)), 0)
    later = noisy[max(0, shift) :] if shift >= 0 else np.concatenate([rng.random(-shift), noisy])
    found = offset(movement, later, 15)
    assert found == shift or abs(shift) <= 1
    assert offset(movement, rng.random(len(movement)), 15) == 0, "what does not agree counts as synchronised"


def test_dark_and_frozen_cameras_are_dead() -> None:
    rng = np.random.default_rng(0)
    thumb = rng.random((120, 12, 16)).astype(np.float32)
    thumb[10:20] = 0.0
    thumb[50:] = thumb[50]
    shows = alive(Rows(np.zeros((120, 0), np.float32), thumb), 2.0)
    assert not shows[10:20].any() and not shows[50:].any() and shows[:10].all() and shows[20:50].all()
    x = Rows(np.zeros((120, 0), np.float32), thumb).vectors()
    out = calibrated(x, shows)
    assert (out[10:20] == 0).all() and np.abs(out[shows].mean(0)).max() < 1e-4
    quiet = calibrated(x, shows, 8)
    assert np.abs(quiet[:8].mean(0)).max() < 1e-4
    assert (calibrated(x, np.zeros(120, bool)) == 0).all()


def test_views_of_other_length_and_start_come_on_one_time() -> None:
    made = world.toy(7, 96)
    thumb = made.thumb[0]
    nothing = np.zeros((96, 0), np.float32)
    rng = np.random.default_rng(0)
    other = (thumb + rng.normal(0, 0.002, thumb.shape)).astype(np.float32)[6:70]
    seen = {"Dashboard": (Rows(nothing, thumb), 48.0), "Rear_view": (Rows(nothing[6:70], other), 32.0)}
    drive = assembled(seen, TINY)
    assert drive.offset_s == {"Dashboard": 0.0, "Rear_view": 3.0} and len(drive) == 96
    assert drive.present[1].tolist() == [6 <= t < 70 for t in range(96)] and not drive.present[2].any()
    given_ = assembled(seen, TINY, offset_s={"Rear_view": 0.0})
    assert given_.present[1, :64].all() and not given_.present[1, 64:].any()


def test_borders_lie_between_moments() -> None:
    (one,) = in_seconds([Found(1, 4, 10, 0.9)], 2.0, 4.6)
    assert (one.start_s, one.end_s) == (1.75, 4.6)
    assert in_seconds([Found(1, 0, 2, 0.9)], 2.0, 9.0)[0].start_s == 0.0


def test_wrong_input_is_said_in_one_sentence() -> None:
    system = tiny_system()
    frames = np.zeros((4, 24, 32, 3), np.uint8)
    for wrong, part in (
        ({}, "at least one view"), ({"roof": frames}, "unknown view 'roof'"),
        ({"Dashboard": frames[:0]}, "frames are"), ({"Dashboard": frames.astype(float)}, "frames are"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=part):
            system.predict(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no view shows anything"):
        system.predict({"Rear_view": frames})
    with pytest.raises(InputError, match="toy world is for"):
        data(PRESETS["small"], "train")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    import percepta

    root = tmp_path_factory.mktemp("driver")
    config = replace(TINY, train=replace(TINY.train, steps=60, checkpoint_every=60))
    path = train("driver", config, out=root / "run", device="cpu")
    return root / "run", percepta.load(path, system="driver", device="cpu")


def test_a_live_drive_gives_what_is_certain_and_all_at_the_end(trained: tuple[Path, Any]) -> None:
    system = trained[1]
    views = filmed(500)
    whole = system.predict(views)
    session = system.session(delay_s=8.0, quiet_s=2.0)
    out = []
    for t in range(len(views["Dashboard"])):
        for one in session.step({view: some[t] for view, some in views.items()}):
            assert one.end_s <= session.now_s - 8.0 + 1e-6, "the stated delay"
            out.append(one)
    out += session.finish()
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in itertools.pairwise(out))
    same = [x for x in whole.spans if any(x.label == y.label and abs(x.start_s - y.start_s) < 2 for y in out)]
    assert len(whole.spans) >= 3 and len(same) >= len(whole.spans) - 1
    with pytest.raises(InputError, match="unknown view"):
        session.step({"roof": views["Dashboard"][0]})


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, " ".join((out.out + out.err).split())


def test_folders_of_drives_are_answered_checked_and_scored(
    trained: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "A1" / "user_id_1"
    folder.mkdir(parents=True)
    lines = ["User ID,Filename,Camera View,Activity Type,Start Time,End Time,Label/Class ID,Appearance Block"]
    spellings = ("Dashboard", "Rearview", "Right_window")
    for drive in (3, 4):
        made = world.toy(600 + drive)
        for spelling, (view, frames) in zip(spellings, filmed(600 + drive).items(), strict=True):
            name = f"{spelling}_user_id_1_NoAudio_{drive}.MP4"
            video.write(folder / name, frames, 2)
            for i, (label, a, b) in enumerate(made.spans):
                lines.append(f"{'1' if not i else ''},{name if not i else ''},{view},x,{a / 2},{b / 2},{label},No")
    (folder / "user_id_1.csv").write_text("\n".join([*lines, ",,,x,50,49,1,No"]) + "\n")
    (tmp_path / "ids.csv").write_text(
        "video_id,video_files1,video_files2,video_files3\n"
        + "".join(f"{n},{','.join(f'{s}_user_id_1_NoAudio_{d}.MP4' for s in spellings)}\n" for n, d in ((1, 3), (2, 4)))
    )
    found = check(tmp_path / "A1")
    assert found.counts["drives"] == 2 and found.counts["videos"] == 6
    assert any("before it starts" in str(problem) for problem in found.problems)
    out = tmp_path / "out"
    weights = ("--weights", trained[0])
    ids = ("--video-ids", tmp_path / "ids.csv")
    code, said = run(capsys, "predict", "driver", tmp_path / "A1", *weights, *ids, "--out", out)
    assert code == 0 and "by 3 views" in said, said
    assert (out / "report.html").is_file() and (out / "1_3.json").is_file()
    assert (out / "spans.csv").read_text().startswith("name,class,label")
    rows = aicity.read_submission(out / "submission.txt")
    assert {row[0] for row in rows} == {1, 2}
    words = ("--predictions", out / "submission.txt", "--truth", folder / "user_id_1.csv", *ids)
    code, said = run(capsys, "evaluate", "driver", *words, "--out", out)
    assert code == 0 and "overlap score" in said
    assert json.loads((out / "metrics.json").read_text())["overlap score"] > 0.3
    one = folder / "Rearview_user_id_1_NoAudio_3.MP4"
    code, said = run(capsys, "predict", "driver", one, *weights, "--out", out, "--calibrate")
    assert code == 0 and "by 1 view" in said
    one.write_bytes(b"no video")
    code, said = run(capsys, "predict", "driver", tmp_path / "A1", *weights, "--out", out)
    assert code == 1 and "failed" in said and "1_3" in said, "the other drive is answered"
    for words, part in (
        (("predict", "driver", tmp_path / "none", *weights), "no such file"),
        (("predict", "driver", out, *weights), "no drives"),
        (("evaluate", "driver", "--predictions", out / "submission.txt"), "needs --truth"),
        (("evaluate", "driver", "--truth", folder), "belong to --predictions"),
        (("evaluate", "driver", *weights, "--data", tmp_path / "A1"), "no bank of drives"),
    ):
        code, said = run(capsys, *words)
        assert code != 0 and part in said, said


def test_a_folder_without_the_challenges_names_is_one_drive(tmp_path: Path) -> None:
    for name in ("dash board.mp4", "rear view.mp4", "right window.mp4", "garden.mp4"):
        (tmp_path / name).write_bytes(b"x")
    found = aicity_drives.read(tmp_path)
    assert [*found.videos] == [tmp_path.name] and [*found.videos[tmp_path.name]] == list(VIEWS)
    assert len(found.problems) == 1 and "no view" in str(found.problems[0])


def test_a_bank_of_drives_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "frames", lambda drive, view, fps: iter(np.zeros((9, 24, 32, 3), np.uint8)))
    config = replace(TINY, labels=LABELS)
    model = build(config).eval()
    assert bank.drives(model, tmp_path, 8, 0.1) == 8
    stamp = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(stamp) == 24 and bank.drives(model, tmp_path, 8, 0.1) == 8
    assert stamp == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    fitted = fit_config(config, tmp_path)
    assert len(fitted.length_s) == len(LABELS) and min(fitted.length_s) > 0.5
    assert [one.split for one in bank.read_index(tmp_path)[1]] == ["train"] * 6 + ["val", "test"]
    samples = data(fitted, "train", tmp_path)
    batch = samples.collate([samples[(0, 0)], samples[(0, 1)]])
    assert batch["features"].shape == (2, 3, config.max_length, config.channels)
    with pytest.raises(InputError, match="16 classes"):
        data(TINY, "train", tmp_path)
    eighteen = fit_config(replace(TINY, labels=aicity.LABELS_2022), tmp_path)
    assert len(eighteen.labels) == 16, "a bank brings its classes"


def test_a_drive_of_the_world_has_most_activities_once() -> None:
    for number in range(6):
        made = world.drive(number, 0.1)
        labels = [span.activity for span in made.spans]
        assert 14 <= len(labels) <= 16 and len(set(labels)) >= 14


def test_small_knows_how_long_activities_last() -> None:
    """The preset has what `fit_config` takes from the drives of the world: what ships has the preset's settings."""
    found = []
    for number in range(48):
        spans = tuple((x.activity, float(x.start_s), float(x.end_s)) for x in world.drive(number).spans)
        found.append(bank.Entry(f"{number}", bank.split_of(number), spans[-1][2], VIEWS, spans))
    small = PRESETS["small"]
    middle, spread = bank.lengths([one for one in found if one.split == "train"], small)
    assert small.length_s == pytest.approx(middle, abs=0.01)
    assert small.length_deviation == pytest.approx(spread, abs=0.01)


def test_views_that_show_nothing_or_too_little_are_said() -> None:
    system = tiny_system()
    views = filmed(500)
    whole = system.predict(views)
    assert whole.warnings == () and whole.to_dict()["warnings"] == []
    first, second = list(views)[:2]
    odd = system.predict({**views, second: np.zeros_like(views[second])})
    assert second not in odd.views and f"{second} shows something in 0% of the drive" in odd.warnings[0]
    short = system.predict({**views, second: views[second][: len(views[second]) // 4]}, offset_s={second: 0.0})
    assert len(short.warnings) == 1 and short.warnings[0].startswith(second) and first in short.views


def test_what_is_odd_in_a_submission_is_counted() -> None:
    rows = [(1, 2, 3.0, 9.0), (1, 2, 3.0, 9.0), (9, 2, 1.0, 2.0), (1, 99, 1.0, 2.0), (1, 1, 6.0, 2.0)]
    assert aicity.odd_rows(rows, {1}, 18) == {
        "unknown video_id": 1, "class outside of 0 to 17": 1, "it ends before it starts": 1, "the same line again": 1,
    }  # fmt: skip
    assert aicity.odd_rows(rows[:1], {1}, 18) == {}
