"""A driver's activities: metrics by hand, the decoder against all segmentations, and the challenge's tables."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import aicity, state_farm
from percepta.errors import InputError
from percepta.metrics.driver import Activity, f1, overlap, overlap_score
from percepta.systems.driver.decoder import Lengths, decoded, recipe


def act(label: int, start: float, end: float, video: str = "1") -> Activity:
    return Activity(video, label, float(start), float(end))


def test_f1_of_2022_by_hand() -> None:
    truth = [act(1, 10, 20), act(2, 30, 40), act(3, 50, 60)]
    assert f1(truth, truth) == 1.0
    assert f1([act(1, 11, 19), act(2, 30, 42), act(4, 50, 60), act(0, 0, 5)], truth) == pytest.approx(2 / 6)
    assert f1([act(1, 10, 20), act(1, 10, 20)], truth) == pytest.approx(2 / 5), "a double is wrong"
    assert f1([act(1, 10, 20, "2")], truth) == 0.0


def test_overlap_score_of_2023_by_hand() -> None:
    truth = [act(1, 10, 20), act(2, 30, 40)]
    assert overlap_score(truth, truth) == 1.0
    assert overlap_score([act(1, 12, 22)], truth) == pytest.approx((8 / 12 + 0) / 2)
    assert overlap_score([act(1, 0, 20)], truth) == 0.0, "ten seconds off is no pair"
    assert overlap_score([act(1, 10, 20), act(1, 11, 20), act(2, 30, 40)], truth) == pytest.approx(2 / 3)


@given(st.integers(0, 9), st.integers(0, 6), st.integers(0, 9), st.integers(0, 6))
def test_overlap_is_the_share_of_the_hull(a: int, a_length: int, b: int, b_length: int) -> None:
    first, second = set(range(a, a + a_length)), set(range(b, b + b_length))
    hull = max(a + a_length, b + b_length) - min(a, b)
    spans = Activity("v", 1, a, a + a_length), Activity("v", 2, b, b + b_length)
    wanted = len(first & second) / hull if hull else 0.0  # two moments have nothing in common
    assert overlap(*spans) == overlap(*spans[::-1]) == wanted


def value(found: list[tuple[int, int, int]], logs: np.ndarray, lengths: Lengths, enter: float) -> float:
    """The objective of the decoder without the prior of "once"."""
    total = logs[:, 0].sum()
    for label, a, b in found:
        total += (logs[a:b, label] - logs[a:b, 0]).sum() - enter
        total += lengths.log_prior(label, np.array([float(b - a)]))[0]
    return float(total)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_decoder_finds_the_best_of_all_segmentations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(3, 0.4), 6)
    lengths = Lengths.usual(3, 2.5, 0.5)
    logs = np.log(np.clip(p, 1e-6, 1))
    best = -np.inf
    spans = [(k, a, b) for k in (1, 2) for a in range(6) for b in range(a + 1, 7)]
    for n in range(4):
        for some in itertools.combinations(spans, n):
            ordered = sorted(some, key=lambda x: x[1])
            if all(x[2] <= y[1] for x, y in itertools.pairwise(ordered)):
                best = max(best, value(ordered, logs, lengths, 1.0))
    ours = decoded(p, lengths, enter=1.0, again=0.0)
    assert value([(x.label, x.start, x.end) for x in ours], logs, lengths, 1.0) >= best - 1e-9 or len(ours) > 3


def test_an_activity_occurs_once_unless_the_pictures_insist() -> None:
    p = np.full((100, 3), 0.02)
    p[:, 0] = 0.96
    for a, b, strength in ((10, 22, 0.9), (60, 66, 0.55)):
        p[a:b] = [1 - strength - 0.01, strength, 0.01]
    lengths = Lengths.usual(3, 12.0, 0.6)
    once = decoded(p, lengths, enter=0.0, again=8.0)
    assert [(x.label, x.start, x.end) for x in once] == [(1, 10, 22)]
    p[60:72] = [0.04, 0.95, 0.01]
    twice = decoded(p, lengths, enter=0.0, again=8.0)
    assert [x.label for x in twice] == [1, 1]
    assert len(recipe(p)) == 1, "the published recipe always keeps one"
    assert decoded(np.zeros((0, 3)), lengths) == []


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("Dashboard_user_id_1_NoAudio_3.MP4", "Dashboard"), ("Rearview_user_id_1_NoAudio_3.MP4", "Rear_view"),
        ("Rear_view_user_id_1_3.MP4", "Rear_view"), ("Right_window_user_id_1_NoAudio_3.MP4", "Right_side_window"),
        ("Right_side_window_user_id_1_NoAudio_3.mp4", "Right_side_window"),
        ("Right_side_user_id_1_NoAudio_3.MP4", "Right_side_window"),
    ],
)  # fmt: skip
def test_every_spelling_of_a_view(name: str, view: str) -> None:
    assert aicity.parse_name(name) == (view, "1", 3)


def test_a_table_of_a_driver(tmp_path: Path) -> None:
    file = tmp_path / "user_id_1.csv"
    file.write_text(
        "User ID,Filename,Camera View,Activity Type,Start Time,End Time,Label/Class ID,Appearance Block\n"
        "1,Dashboard_user_id_1_NoAudio_3.MP4,Dashboard,Appearance,0:00,10:00,N/A,Hat\n"
        ",,,Drinking,1:15,1:30,1,Hat\n,,,Eating,2:00,1:10,4,No\n,,,Yawning,0:02:00,0:02:05,Class 13,No\n"
    )
    spans, problems = aicity.read_table(file)
    assert [(x.label, x.start_s, x.end_s, x.appearance) for x in spans] == [
        (1, 75.0, 90.0, "hat"), (13, 120.0, 125.0, "none")
    ]  # fmt: skip
    assert len(problems) == 1 and problems[0].line == 4 and "50 s before" in problems[0].message
    with pytest.raises(InputError, match="no column"):
        (tmp_path / "x.csv").write_text("a,b\n1,2\n")
        aicity.read_table(tmp_path / "x.csv")


def test_submissions_are_written_as_they_are_read(tmp_path: Path) -> None:
    file = aicity.write_submission(tmp_path / "s.txt", {2: [(3, 7.4, 7.6)], 1: [(0, 0.0, 5.0), (1, 5.2, 9.9)]})
    assert file.read_text() == "1 1 5 10\n2 3 7 8\n"
    assert aicity.read_submission(file) == [(1, 1, 5.0, 10.0), (2, 3, 7.0, 8.0)]


def test_the_tables_of_a1(shared_data: Path) -> None:
    spans, problems = aicity.read_cuts(shared_data / "driver" / "annotation.csv")
    assert len({x.video.recording for x in spans}) == 50 and len(spans) + len(problems) == 4955
    assert {x.video.view for x in spans} == set(aicity.VIEWS)
    assert max(x.label for x in spans) == 15 and any("-" not in p.message for p in problems)
    found = aicity.truth(spans)
    assert all(rows == sorted(rows, key=lambda r: r[1]) for rows in found.values())
    assert 13 <= np.mean([len(rows) for rows in found.values()]) <= 17
    ids = aicity.read_video_ids(shared_data / "driver" / "video_ids.csv")
    assert len(ids) == 10 and all(len(names) == 3 for names in ids.values())


def test_folds_of_state_farm_keep_drivers_apart(shared_data: Path) -> None:
    data = state_farm.read(shared_data / "state-farm")
    assert data.pixels.shape == (4000, 60, 80, 3) and len(set(data.driver)) == 20
    some = state_farm.folds(data.driver)
    assert sorted(x for fold in some for x in fold) == sorted(set(data.driver)) and len(some) == 5
