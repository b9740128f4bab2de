"""Files that say when what happens in a video: every form gives the same spans, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from percepta.datasets import feature_files, layouts, untrimmed
from percepta.datasets.untrimmed import Untrimmed
from percepta.errors import InputError

ELAN = """<?xml version="1.0"?><ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR MEDIA_URL="file:///x/a.mp4"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="1" TIME_VALUE="1500"/><TIME_SLOT TIME_SLOT_ID="2" TIME_VALUE="63000"/></TIME_ORDER>
<TIER><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="1" TIME_SLOT_REF2="2">
<ANNOTATION_VALUE>jump</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"""
VIA = {
    "file": {"1": {"fname": "a.mp4"}}, "view": {"1": {"fid_list": ["1"]}},
    "attribute": {"1": {"options": {"0": "jump"}}},
    "metadata": {"m": {"vid": "1", "z": [1.5, 63.0], "av": {"1": "0"}}},
}  # fmt: skip
DATABASE = {"database": {"a": {"subset": "training", "annotations": [{"segment": [1.5, 63.0], "label": "jump"}]}}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("annotations.csv", "video,start,end,label\na.mp4,1.5,1:03,jump\n"),
        ("annotations.csv", "label;end;start;video\njump;0:01:03;0:01,5;a\n"),
        ("a.eaf", ELAN),
        ("annotations.json", json.dumps(VIA)),
        ("annotations.json", json.dumps(DATABASE)),
        ("annotations.json", json.dumps(DATABASE["database"])),
    ],
)
def test_every_form_gives_the_same_spans(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "a.mp4").write_bytes(b"")
    found = layouts.find_one(tmp_path, Untrimmed)
    assert found.set is untrimmed
    one = found.read(tmp_path).recordings[0]
    assert (one.name, one.labels, one.video) == ("a", ("jump",), tmp_path / "a.mp4")
    np.testing.assert_allclose(one.spans, [[1.5, 63.0]])
    assert (one.fps, one.features) == (0, None), "the file does not say"


def test_an_annotation_file_may_be_named_itself(tmp_path: Path) -> None:
    for name in ("mine.csv", "mine.eaf", "mine.json", "mine.txt", "annotations.csv"):
        (tmp_path / name).write_text("video,start,end,label\na.mp4,1.5,63,jump\n")
        itself = [] if name.endswith(".txt") else [tmp_path / name]
        assert untrimmed.annotation_files(tmp_path / name) == itself
    assert untrimmed.annotation_files(tmp_path) == [tmp_path / "annotations.csv"]
    (one,) = untrimmed.read(tmp_path / "mine.csv").recordings
    np.testing.assert_allclose(one.spans, [[1.5, 63.0]])


def test_wrong_spans_are_named_and_the_rest_stays(tmp_path: Path) -> None:
    rows = [[5, 2], [1, 1], [90, 130], [3, 4]]
    entry = {"duration": 100, "annotations": [{"segment": r, "label": "x"} for r in rows] + [{"label": "y"}]}
    (tmp_path / "annotations.json").write_text(json.dumps({"a": entry, "b": entry}))
    (tmp_path / "blocked.txt").write_text("b\n")
    data = untrimmed.read(tmp_path)
    assert [one.name for one in data.recordings] == ["a"]
    np.testing.assert_allclose(data.recordings[0].spans, [[90, 100], [3, 4]])
    said = " ".join(problem.message for problem in data.problems)
    assert "before it starts" in said and "no length" in said and "cut" in said


def test_features_are_tables_of_numbers(tmp_path: Path) -> None:
    table = np.arange(12, dtype=np.float16).reshape(4, 3)
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "b.npz", feats=table)
    for name in ("a.npy", "b.npz"):
        np.testing.assert_allclose(feature_files.read_features(tmp_path / name), table)
    np.save(tmp_path / "c.npy", np.array(["x"]))
    with pytest.raises(InputError, match="table"):
        feature_files.read_features(tmp_path / "c.npy")


def test_the_published_files_are_read(shared_data: Path) -> None:
    some, problems = untrimmed.read_annotations(shared_data / "temporal" / "thumos14.json.gz")
    assert len(some) == 412 and not problems and {one.split for one in some} <= {"train", "val", "test"}
    some, _ = untrimmed.read_annotations(shared_data / "temporal" / "anet_anno_action.json.gz")
    assert len(some) == 19_228 and all(one.duration_s > 0 for one in some[:50])


# --- details


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("83.5", 83.5), (" 1:23,5 ", 83.5), ("0:01:23.5", 83.5), ("2:00:01", 7201), ("1:0:0:0", None), ("", None),
     ("a", None), ("1:", None)],
)  # fmt: skip
def test_times_in_words(text: str, wanted: float | None) -> None:
    found = untrimmed.seconds(text)
    assert np.isnan(found) if wanted is None else found == wanted


def test_spans_are_mended_at_their_bounds() -> None:
    """Of a video of 10 s: up to half a second beyond the end nothing is said, but the span is cut all the same."""
    rows = [(-1.0, 2.0), (9.0, 10.5), (9.0, 10.6), (10.0, 12.0), (3.0, 3.0), (5.0, 4.0), (0.0, 10.0)]
    names = tuple("abcdefg")
    one = untrimmed.Recording("v", np.array(rows), names, "", 10.0, 0.0)
    spans, labels, problems = untrimmed.mended(one, Path("x.json"))
    assert spans.tolist() == [[0, 2], [9, 10], [9, 10], [0, 10]] and labels == ("a", "b", "c", "g")
    said = [problem.message for problem in problems]
    assert [text.split(";")[-1].strip() for text in said] == ["cut", "cut", "left out", "left out", "left out"]
    assert "c ends at 10.6 s" in said[0] and "d at 10 s has no length" in said[2] and "f ends at 4 s" in said[4]
    unknown = untrimmed.Recording("v", np.array(rows), names, "", 0.0, 0.0)
    spans, labels, problems = untrimmed.mended(unknown, Path("x.json"))
    assert labels == ("a", "b", "c", "d", "g") and spans[3].tolist() == [10, 12] and len(problems) == 2
    assert (one.spans == rows).all(), "the recording itself stays"


def test_splits_rates_and_durations_of_a_database() -> None:
    entries = {
        "a": {"subset": "Validation", "duration": 7, "fps": 25, "annotations": []},
        "b": {"subset": "testing", "duration_second": 8.5}, "c": {"subset": "else", "duration": None, "fps": None},
        "d": 3, "e": {"annotations": {}}, "f": {"annotations": [{"segment": [1], "label": "x"},
        {"segment": [1, 2], "label": 3}, {"segment": [1, 2], "label": "x"}]},
    }  # fmt: skip
    for data in (entries, {"database": entries}):
        found, problems = untrimmed.from_database(data, Path("x.json"))
        rows = [(one.name, one.split, one.duration_s, one.fps, len(one.spans)) for one in found]
        assert rows == [("a", "val", 7, 25, 0), ("b", "test", 8.5, 0, 0), ("c", "", 0, 0, 0), ("f", "", 0, 0, 1)]
        assert len(problems) == 4 and found[0].spans.shape == (0, 2)
    with pytest.raises(InputError, match="no table of videos"):
        untrimmed.from_database({"database": []}, Path("x.json"))


def test_rows_of_a_table_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    path.write_text("video,start,end,label,split\na.MP4,1,2,x,Train\nb.b,1,2,y,\n,1,2,x,\na,one,2,x,\na,1,2,,\n")
    found, problems = untrimmed.from_csv(path)
    assert [(one.name, one.split, one.labels) for one in found] == [("a", "train", ("x",)), ("b.b", "", ("y",))]
    assert [problem.line for problem in problems] == [4, 5, 6]
    path.write_text("video,start,label\n")
    with pytest.raises(InputError, match="no column end"):
        untrimmed.from_csv(path)


def test_features_say_their_timing(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text("video,start,end,label\nb,1,2,y\na,1,2,x\n")
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    for said, wanted in (({"fps": 30, "stride": 4, "window": 16}, (30, 4, 16)), ({}, (0, 1, 1))):
        (tmp_path / "features.json").write_text(json.dumps(said))
        data = untrimmed.read(tmp_path)
        assert data.timing is not None
        assert (data.timing.fps, data.timing.stride, data.timing.window) == wanted
    assert [one.name for one in data.recordings] == ["a", "b"] and data.labels() == ("x", "y")
    assert data.recordings[0].features == tmp_path / "a.npy" and data.recordings[0].read_features().shape == (3, 2)
    with pytest.raises(InputError, match="b: no features"):
        data.recordings[1].read_features()
    (tmp_path / "features.json").write_text('{"speed": 3}')
    with pytest.raises(InputError, match="unknown speed"):
        untrimmed.read(tmp_path)
    (tmp_path / "features.json").unlink()
    assert untrimmed.read(tmp_path).timing is None and untrimmed.is_one(tmp_path)
    (tmp_path / "a.npy").unlink()
    assert not untrimmed.is_one(tmp_path), "neither videos nor features"
