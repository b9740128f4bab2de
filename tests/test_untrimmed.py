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
