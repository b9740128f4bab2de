"""Readers of videos with marked objects, in layouts made as the official ones are, and masks that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import davis, layouts, lvos, mose, video_folder, videos, youtube_vos
from percepta.datasets.problem import Problem
from percepta.datasets.videos import Video

SIZE = (12, 20)


def frames(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.jpg")


def labels(*ids: int) -> np.ndarray:
    """A label map in which each id has two columns."""
    out = np.zeros(SIZE, np.uint8)
    for place, number in enumerate(ids):
        out[2:8, 2 * place : 2 * place + 2] = number
    return out


def masks(folder: Path, content: dict[str, np.ndarray]) -> None:
    for name, pixels in content.items():
        videos.write_mask(folder / f"{name}.png", pixels)


def numbered(count: int, step: int = 1, digits: int = 5) -> list[str]:
    return [f"{step * i:0{digits}d}" for i in range(count)]


def sets(root: Path) -> list[str]:
    return [found.set.__name__.rpartition(".")[2] for found in layouts.find(root, Video)]  # type: ignore[attr-defined]


def test_an_indexed_mask_comes_back_with_the_colours_of_davis(tmp_path: Path) -> None:
    pixels = labels(1, 2, 3, 200, 255)
    path = videos.write_mask(tmp_path / "a" / "0.png", pixels)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        colours = np.array(picture.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(colours[:5], [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]])
    assert colours[22].tolist() == [0, 192, 128] and colours[255].tolist() == [224, 224, 192]
    np.testing.assert_array_equal(videos.read_mask(path), pixels)


def test_davis_2016_and_2017(tmp_path: Path) -> None:
    for name in ("bear", "dog"):
        frames(tmp_path / "JPEGImages" / "480p" / name, numbered(6))
        masks(tmp_path / "Annotations" / "480p" / name, {n: labels(1, 2) for n in numbered(6)})
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text("bear\n")
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("dog\n")
    assert sets(tmp_path) == ["davis"]
    found = davis.videos(tmp_path)
    assert [(v.name, v.split, v.binary) for v in found] == [("bear", "train", False), ("dog", "val", False)]
    assert found[0].first_frames() == {1: 0, 2: 0}
    assert found[0].compared() == {1: (1, 2, 3, 4), 2: (1, 2, 3, 4)}  # neither the first nor the last
    for path in (tmp_path / "Annotations").rglob("*.png"):
        Image.fromarray(255 * (labels(1) > 0).astype(np.uint8)).save(path)
    found = davis.videos(tmp_path)
    assert all(v.binary for v in found) and found[1].first_frames() == {1: 0}
    np.testing.assert_array_equal(found[1].mask(3), labels(1))
    assert [v.split for v in found] == ["", ""]  # the lists of 2017 are not those of 2016


def youtube(root: Path, part: str, objects: dict[str, Any], count: int = 6) -> None:
    frames(root / part / "JPEGImages" / "v", numbered(count, 5))
    (root / part / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))


def test_youtube_vos(tmp_path: Path) -> None:
    stems = numbered(6, 5)
    youtube(tmp_path, "train", {"1": {"category": "cat", "frames": stems}})
    masks(tmp_path / "train" / "Annotations" / "v", {n: labels(1) for n in stems})
    late = {"2": {"category": "cat", "frames": stems}, "5": {"category": "yak", "frames": stems[2:5]}}
    youtube(tmp_path, "valid", late)
    masks(tmp_path / "valid" / "Annotations" / "v", {n: labels(2, 5) for n in stems})
    assert sets(tmp_path) == ["youtube_vos"] and sets(tmp_path / "valid") == ["youtube_vos"]
    train, val = youtube_vos.videos(tmp_path)
    assert (train.split, val.split, val.categories) == ("train", "val", {2: "cat", 5: "yak"})
    assert val.first_frames() == {2: 0, 5: 2} and val.seen == {2: True, 5: False}
    assert val.compared() == {2: (1, 2, 3, 4, 5), 5: (3, 4)} and val.wanted == (0, 1, 2, 3, 4, 5)
    assert videos.result_file(tmp_path, val, 1) == tmp_path / "Annotations" / "v" / "00005.png"
    alone = youtube_vos.videos(tmp_path / "valid")[0]  # train lies beside it
    assert alone.seen == val.seen


def test_youtube_vos_with_all_frames(tmp_path: Path) -> None:
    stems = numbered(3, 5)
    youtube(tmp_path, "valid", {"1": {"frames": stems[1:]}}, 3)
    masks(tmp_path / "valid" / "Annotations" / "v", {stems[1]: labels(1)})
    frames(tmp_path / "valid_all_frames" / "JPEGImages" / "v", numbered(11))
    video = youtube_vos.videos(tmp_path)[0]
    assert len(video.frames) == 11 and video.wanted == (5, 10) and video.first_frames() == {1: 5}
    assert video.marked == (5,) and video.compared() == {1: ()} and video.seen == {}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('{"videos": [', "line 1: not JSON"),
        ('{"videos": {"v": {"objects": {"x": {"frames": ["00000"]}}}}}', "ids that are not numbers"),
        ('{"videos": {"v": {"objects": {"1": {"frames": ["00007"]}}}}}', "frame 00007 of the video v is not in"),
        ('{"videos": {"w": {"objects": {"1": {"frames": ["00000"]}}}}}', "no folder .* for the video w"),
        ('{"videos": {"v": {"things": {"frames": 1}}}}', 'video v has no "objects"'),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, table: str, says: str) -> None:
    youtube(tmp_path, "valid", {"1": {"frames": ["00000"]}}, 2)
    (tmp_path / "valid" / "meta.json").write_text(table)
    with pytest.raises(ValueError, match=says):
        youtube_vos.videos(tmp_path / "valid")
    if "{" in table[1:]:
        (tmp_path / "valid" / "Annotations").mkdir()
        assert sets(tmp_path / "valid") == ["youtube_vos" if '"frames"' in table else "davis"]


def test_mose(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        frames(tmp_path / part / "JPEGImages" / "v", numbered(4))
    masks(tmp_path / "train" / "Annotations" / "v", {n: labels(*([1] if n < "00002" else [1, 2])) for n in numbered(4)})
    masks(tmp_path / "valid" / "Annotations" / "v", {"00000": labels(1, 2)})
    assert sets(tmp_path) == ["mose"]
    train, val = mose.videos(tmp_path)
    assert train.first_frames() == {1: 0, 2: 2} and train.compared() == {1: (1, 2), 2: ()}
    assert (val.split, val.first_frames(), val.compared()) == ("val", {1: 0, 2: 0}, {1: (), 2: ()})


def test_lvos_compares_every_fifth_frame_as_its_evaluator_does(tmp_path: Path) -> None:
    names = [f"{i:08d}" for i in range(1, 24)]
    frames(tmp_path / "val" / "JPEGImages" / "v", names)
    masks(tmp_path / "val" / "Annotations" / "v", {n: labels(1, 2) for n in names[::5]})
    ranges = {"1": {"frame_range": {"start": "00000001", "end": "00000021", "frame_nums": "4"}},
              "2": {"frame_range": {"start": "00000011", "end": "00000022", "frame_nums": "3"}}}  # fmt: skip
    (tmp_path / "val" / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": ranges}}}))
    assert sets(tmp_path) == ["lvos"] and sets(tmp_path / "val") == ["lvos"]
    (video,) = lvos.videos(tmp_path)
    assert video.first_frames() == {1: 0, 2: 10}
    assert video.compared() == {1: (0, 5, 10, 15), 2: (10, 15, 20)}  # names 1, 6, 11, 16 and 11, 16, 21


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    frames(tmp_path / "images" / "street", numbered(5))
    frames(tmp_path / "images" / "empty", numbered(2))
    masks(tmp_path / "masks" / "street", {"00001": labels(3), "00004": labels(3, 4)})
    assert sets(tmp_path) == ["video_folder"]
    warnings: list[Problem] = []
    (video,) = video_folder.videos(tmp_path, None, warnings)
    assert video.first_frames() == {3: 1, 4: 4} and video.compared() == {3: (4,), 4: ()}
    assert "empty" in str(warnings[0])


def test_masks_that_are_wrong_say_so(tmp_path: Path) -> None:
    frames(tmp_path / "images" / "v", numbered(3))
    masks(tmp_path / "masks" / "v", {"00000": labels(), "00002": labels(1)})
    with pytest.raises(ValueError, match=r"00000.png: the first mask is empty"):
        video_folder.videos(tmp_path)[0].first_frames()
    masks(tmp_path / "masks" / "v", {"00009": labels(1)})
    with pytest.raises(ValueError, match=r"00009.png: a mask for a frame that is not there"):
        video_folder.videos(tmp_path)
    problems: list[Problem] = []
    assert len(video_folder.videos(tmp_path, problems)) == 1 and problems[0].file.name == "00009.png"
    path = tmp_path / "m.png"
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"m.png: ids go from 1 to 254 .* the largest here is 300"):
        videos.read_mask(path)
    Image.new("RGB", SIZE[::-1]).save(path)
    with pytest.raises(ValueError, match="one value a pixel"):
        videos.read_mask(path)
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="the mask cannot be read"):
        videos.read_mask(path)
    with pytest.raises(FileNotFoundError, match="no such mask"):
        videos.read_mask(tmp_path / "none.png")


def test_the_shared_videos(shared_data: Path) -> None:
    nine = davis.videos(shared_data / "davis16")
    assert len(nine) == 9 and all(v.binary and v.first_frames() == {1: 0} for v in nine)
    assert {v.name: len(v.compared()[1]) for v in nine}["blackswan"] == 48
    thirty = davis.videos(shared_data / "davis16-train")
    assert len(thirty) == 30 and all(len(v.marked) == len(v.frames) for v in thirty)
    assert sets(shared_data / "vos-multi") == ["video_folder"]
    bike, judo = video_folder.videos(shared_data / "vos-multi")
    assert bike.first_frames() == {1: 0, 2: 0} and set(judo.first_frames()) == {1, 2, 3, 4}
