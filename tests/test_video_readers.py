"""Readers of captioned videos in their official layouts, and what they say about broken ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import captioned, didemo, layouts, msrvtt, msvd
from percepta.datasets.captioned import Clip
from percepta.datasets.problem import Problem
from percepta.media import video
from percepta.systems.hashing import check
from percepta.systems.hashing.data import read_clips


def film(path: Path, seconds: float = 1.0) -> Path:
    """A short video of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = np.full((32, 48, 3), 90, np.uint8)
    return video.write(path, [frame] * round(8 * seconds), 8)


def empty(folder: Path, *names: str) -> None:
    """Files that readers, which look at names alone, take for videos."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def tables(root: Path, content: dict[str, Any]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in content.items():
        (root / name).write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return root


def by_split(clips: list[Clip]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    out: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for clip in clips:
        out.setdefault(clip.split, []).append((clip.name, clip.sentences))
    return out


VIDEOS = [
    {"video_id": f"video{i}", "split": split, "category": 1, "start time": 0.0, "end time": 9.0}
    for i, split in enumerate(("train", "validate", "test", "test"))
]
SENTENCES = [{"video_id": f"video{i}", "caption": f"{text} {i}", "sen_id": 0} for i in range(4) for text in ("a", "b")]


@pytest.mark.parametrize("name", ["MSRVTT_data.json", "train_val_videodatainfo.json", "annotation/MSRVTT.json"])
def test_msrvtt_official_split(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    tables(tmp_path, {name: {"info": {}, "videos": VIDEOS, "sentences": SENTENCES}})
    empty(tmp_path / "TrainValVideo", "video0.mp4", "video1.mp4")
    empty(tmp_path / "TestVideo", "video2.mp4", "video3.mp4")
    found = by_split(msrvtt.read(tmp_path))
    assert found["train"] == [("video0", ("a 0", "b 0"))] and found["val"] == [("video1", ("a 1", "b 1"))]
    assert [name for name, _ in found["test"]] == ["video2", "video3"]


def test_msrvtt_1k_a(tmp_path: Path) -> None:
    tables(tmp_path, {
        "MSRVTT_data.json": {"videos": VIDEOS, "sentences": SENTENCES},
        "MSRVTT_JSFUSION_test.csv": 'key,vid_key,video_id,sentence\nret0,msr1,video1,"one, and only"\n',
        "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo3\n",
    })  # fmt: skip
    empty(tmp_path / "all", *(f"video{i}.mp4" for i in range(4)))
    found = by_split(msrvtt.read(tmp_path))
    assert found == {
        "train": [("video0", ("a 0", "b 0")), ("video3", ("a 3", "b 3"))],
        "test": [("video1", ("one, and only",))],
    }
    (tmp_path / "MSRVTT_train.9k.csv").unlink()
    assert [name for name, _ in by_split(msrvtt.read(tmp_path))["train"]] == ["video0", "video2", "video3"]


def test_msrvtt_says_what_is_wrong(tmp_path: Path) -> None:
    table = {"videos": [*VIDEOS, {"video_id": "odd", "split": "x"}], "sentences": [*SENTENCES, {"caption": "lost"}]}
    tables(tmp_path, {"MSRVTT_data.json": table})
    empty(tmp_path / "v", "video0.mp4", "video1.mp4", "video9.mp4")
    problems: list[Problem] = []
    warnings: list[Problem] = []
    assert len(msrvtt.read(tmp_path, problems, warnings)) == 2
    text = "\n".join(map(str, problems))
    assert "videos[4]" in text and "sentences[8]" in text and "2 videos missing" in text and "video2, video3" in text
    assert any("video9" in str(warning) for warning in warnings)
    with pytest.raises(ValueError, match=r"videos\[4\]"):
        msrvtt.read(tmp_path)
    tables(tmp_path, {"MSRVTT_data.json": '{"videos": [\n}'})
    with pytest.raises(ValueError, match="line 2: not JSON"):
        msrvtt.read(tmp_path)


def test_msvd(tmp_path: Path) -> None:
    lines = "# a comment\n\nabc_1_5 a squirrel eats\nabc_1_5 an animal\nx-y_2_3 a man cooks\nz_0_9 rain\n"
    lists = {"train_list.txt": "abc_1_5\n", "val_list.txt": "x-y_2_3\n", "test_list.txt": "z_0_9\n"}
    tables(tmp_path, {"AllVideoDescriptions.txt": lines, **lists})
    empty(tmp_path / "YouTubeClips", "abc_1_5.avi", "x-y_2_3.avi", "z_0_9.avi")
    clips = msvd.read(tmp_path)
    assert by_split(clips)["train"] == [("abc_1_5", ("a squirrel eats", "an animal"))]
    assert [clip.split for clip in clips] == ["train", "val", "test"] and clips[0].line == 3
    (tmp_path / "val_list.txt").write_text("abc_1_5\nnobody\n")
    problems: list[Problem] = []
    clips = msvd.read(tmp_path, problems)
    assert [clip.split for clip in clips] == ["train", "test"], "a video of no list is left out"
    assert ["train_list.txt" in str(problems[0]), problems[1].line] == [True, 2]
    (tmp_path / "val_list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no val_list\.txt"):
        msvd.read(tmp_path)
    for name in ("train_list.txt", "test_list.txt"):
        (tmp_path / name).unlink()
    assert [clip.split for clip in msvd.read(tmp_path)] == ["", "", ""], "without lists all are taken"


@pytest.mark.parametrize("place", [".", "annotations"])
def test_msvd_is_read_from_the_folder_above_its_table(tmp_path: Path, place: str) -> None:
    """Tables may stand in a folder of their own; the pickle counts only where there is no table anywhere."""
    root = tmp_path / "msvd"
    tables(root / place, {"AllVideoDescriptions.txt": "abc_1_5 a squirrel\n"})
    empty(root / "YouTubeClips", "abc_1_5.avi")
    empty(root, "raw-captions.pkl")
    assert msvd.is_one(root) and msvd.find(root) == root / place / "AllVideoDescriptions.txt"
    assert [(clip.name, clip.media) for clip in msvd.read(root)] == [("abc_1_5", root / "YouTubeClips/abc_1_5.avi")]
    for nothing in (tmp_path / "nowhere", root / "YouTubeClips" / "abc_1_5.avi"):
        assert msvd.find(nothing) is None and not msvd.is_one(nothing)
        with pytest.raises(FileNotFoundError, match=r"no AllVideoDescriptions\.txt"):
            msvd.read(nothing)


def test_msvd_refuses_the_pickle(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"AllVideoDescriptions\.txt"):
        msvd.read(tmp_path)
    assert not check.check(tmp_path).ok and not (tmp_path / "ran").exists()


def test_didemo_moments_and_paragraphs(tmp_path: Path) -> None:
    rows = [
        {"video": "a.mov", "description": "a dog barks.", "times": [[1, 1], [0, 1], [1, 1]], "annotation_id": 7},
        {"video": "a.mov", "description": "it runs", "times": [[2, 3], [0, 0]], "annotation_id": 8},
    ]
    tables(tmp_path, {"train_data.json": rows, "test_data.json": [{**rows[0], "video": "b.mov"}]})
    empty(tmp_path / "videos", "a.mp4", "b.mov.mp4")
    clips = didemo.read(tmp_path)
    assert [(c.start_s, c.end_s) for c in clips] == [(5, 10), (0, 5), (5, 10)]  # most people; the earlier of a tie
    assert [c.first.name for c in clips] == ["a.mp4", "a.mp4", "b.mov.mp4"]
    whole = captioned.joined(clips)
    assert [(c.name, c.sentences, c.end_s) for c in whole] == [
        ("a", ("a dog barks. it runs.",), None), ("b", ("a dog barks.",), None),
    ]  # fmt: skip
    tables(tmp_path, {"val_data.json": [{"video": "a.mov", "description": "x", "times": [[3, 1]]}]})
    with pytest.raises(ValueError, match=r"entry 0: \"times\""):
        didemo.read(tmp_path)


def own(root: Path, *rows: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "captions.csv").write_text("\n".join(rows) + "\n")
    return root


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    film(tmp_path / "videos" / "dog.mp4")
    film(tmp_path / "more" / "cat.mp4")
    (tmp_path / "frames").mkdir()
    for name in ("1.png", "0.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "frames" / name)
    own(
        tmp_path, "video,caption,start_s,end_s", "dog.mp4,a dog,,", "dog.mp4,it jumps,0.5,", "dog.mp4,a hound,,",
        "frames,nothing,,",
    )  # fmt: skip
    warnings: list[Problem] = []
    clips = captioned.read(tmp_path, warnings=warnings)
    assert [(c.name, c.sentences) for c in clips] == [
        ("dog.mp4", ("a dog", "a hound")), ("dog.mp4 0.5-", ("it jumps",)), ("frames", ("nothing",)),
    ]  # fmt: skip
    assert isinstance(clips[2].media, tuple) and [p.name for p in clips[2].media] == ["0.png", "1.png"]
    assert len(warnings) == 1 and warnings[0].file.name == "cat.mp4"
    assert clips[0].group == clips[1].group
    report = check.check(tmp_path)
    assert report.ok and report.counts == {"videos": 2, "moments": 1, "sentences": 4}
    assert min(report.sheet().size) > 50


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("dog.mp4,,,", "line 3: the caption is empty"),
        ("cat.mp4,a cat,,", "line 3: no video cat.mp4"),
        ("dog.mp4,a dog,2,1", "line 3: a part goes from"),
        ("dog.mp4,a dog,-1,", "line 3: a part goes from"),
        ("dog.mp4,a dog,x,", "line 3: start_s and end_s are seconds"),
        ("dog.mp4,a dog", "line 3: 2 columns"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, says: str) -> None:
    empty(tmp_path, "dog.mp4")
    own(tmp_path, "video,caption,start_s,end_s", "dog.mp4,a dog,,", row)
    with pytest.raises(ValueError) as caught:
        captioned.read(tmp_path)
    assert says in str(caught.value.args[0])


def test_check_opens_every_file(tmp_path: Path) -> None:
    film(tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"\0" * 500)
    own(tmp_path, "video,caption,start_s,end_s", "good.mp4,fine,,", "bad.mp4,broken,,", "good.mp4,too late,7,9")
    report = check.check(tmp_path)
    assert not report.ok and report.problems[0].file.name == "bad.mp4" and len(report.problems) == 1
    assert "its part begins at 7 s" in report.text() and report.warnings[0].line == 4


def test_splits_are_official_or_by_checksum(tmp_path: Path) -> None:
    def clip(name: str, split: str = "") -> Clip:
        return Clip(name, Path(name), ("s",), f"g/{name}", "x", split)

    free = [clip(str(i)) for i in range(200)]
    parts = {split: captioned.of_split(free, split) for split in ("train", "val", "test")}
    assert parts["val"] == parts["test"] and 5 < len(parts["val"]) < 40
    assert sorted(c.name for c in parts["train"] + parts["val"]) == sorted(c.name for c in free)
    told = [clip("a", "train"), clip("b", "val"), clip("c", "test")]
    assert [captioned.of_split(told, s)[0].name for s in ("train", "val", "test")] == ["a", "b", "c"]
    half = [*free, clip("t", "test")]
    assert captioned.of_split(half, "test") == half[-1:] and captioned.of_split(half, "val") == parts["val"]
    with pytest.raises(ValueError, match="no split 'dev'"):
        captioned.of_split(free, "dev")


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    own(tmp_path, "image,caption", "a.jpg,x")
    assert sets(tmp_path) == ["flickr8k"]
    own(tmp_path, "video,caption", "a.mp4,x")
    assert sets(tmp_path) == ["captioned"]
    (tmp_path / "captions.csv").unlink()
    with pytest.raises(ValueError, match="no layout of data that is known") as caught:
        sets(tmp_path)
    assert all(one.FILES in str(caught.value) for one in layouts.readers(Clip))
    with pytest.raises(FileNotFoundError):
        sets(tmp_path / "nowhere")


def sets(root: Path) -> list[str]:
    """Names of the files that read what lies in a folder."""
    return [found.set.__name__.rpartition(".")[2] for found in layouts.find(root, Clip)]  # type: ignore[attr-defined]


def test_every_set_is_found_alone_and_beside_others(tmp_path: Path) -> None:
    """A table one folder down belongs to the folder above only where it has no videos beside it."""
    content = {
        "msrvtt": {"MSRVTT_data.json": {"videos": VIDEOS, "sentences": SENTENCES}},
        "msvd": {"AllVideoDescriptions.txt": "abc_1_5 a squirrel\n"},
        "didemo": {"train_data.json": []},
        "captioned": {"captions.csv": "video,caption\nabc_1_5.mp4,a squirrel\n"},
    }
    for name, files in content.items():
        tables(tmp_path / name, files)
        empty(tmp_path / name / "videos", "abc_1_5.mp4", *(f"video{i}.mp4" for i in range(4)))
        assert sets(tmp_path / name) == [name]
    assert sorted(sets(tmp_path)) == sorted(content)
    for name in ("msrvtt", "msvd", "didemo"):
        below = tables(tmp_path / "apart" / name / "annotation", content[name])
        empty(below.parent / "videos", "abc_1_5.mp4")
        assert sets(below.parent) == [name]
        assert [found.root for found in layouts.find(below.parent, Clip)] == [below.parent], "not the folder below"


def test_videos_without_sentences_are_not_forgotten_silently(tmp_path: Path) -> None:
    (tmp_path / "davis" / "JPEGImages" / "bear").mkdir(parents=True)
    (tmp_path / "davis" / "Annotations").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "davis" / "JPEGImages" / "bear" / "00000.png")
    warnings: list[Problem] = []
    assert read_clips(tmp_path, [], warnings) == [] and warnings[0].file.name == "expressions.csv"
    report = check.check(tmp_path)
    assert not report.ok and "expressions.csv" in report.text()
    (tmp_path / "davis" / "expressions.csv").write_text("video,expression\nbear,a bear walks\n")
    assert [clip.sentences for clip in read_clips(tmp_path)] == [("a bear walks",)] and check.check(tmp_path).ok


def test_the_collection_of_pictures(shared_data: Path) -> None:
    clips = read_clips(shared_data)
    count = {name: sum(c.source == name for c in clips) for name in ("flickr8k", "coco-small", "oasis", "davis")}
    assert sum(count.values()) == len(clips)
    assert list(dict.fromkeys(c.source for c in clips)) == list(count)
    assert count["flickr8k"] == 800 and count["oasis"] == 460 and count["coco-small"] > 150 and count["davis"] == 7
    assert {len(c.sentences) for c in clips if c.source == "flickr8k"} == {5}
    assert all(c.split == "test" and len(c.media) > 20 for c in clips if c.source == "davis")  # type: ignore[arg-type]
