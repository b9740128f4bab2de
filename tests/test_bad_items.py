"""One bad item never stops the rest: every system's data leave it out and say so, and an option makes it an error."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from percepta.contract import Dataset
from percepta.datasets.coco import read as read_coco
from percepta.errors import InputError
from percepta.geometry import pose as poses

H, W = 32, 48


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (H, W, 3), np.uint8)).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def class_folders(root: Path) -> Path:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            for i in range(4):
                picture(root / split / name / f"{i}.png", 10 * number + i)
        cut(root / split / "dog" / "1.png")
    return root


def captions(root: Path) -> Path:
    rows = ["image,caption"]
    for i in range(40):
        picture(root / "images" / f"{i}.png", i)
        rows.append(f"{i}.png,number {i}")
    cut(root / "images" / "5.png")
    (root / "captions.csv").write_text("\n".join([*rows, "gone.png,nobody knows", "6.png"]))
    return root


def study(root: Path) -> Path:
    people, pictures = 12, 12
    fields = "rater,age,gender,education,mood_1,TEPS_ant,TEPS_con\n"
    (root / "raters.csv").write_text(fields + "".join(f"{i},30,1,4,50,4,4\n" for i in range(people)))
    rows = "".join(f"{k},{k}.png,Pic {'abcdefghijkl'[k]},A thing.\n" for k in range(pictures))
    (root / "images.csv").write_text("item,file,theme,caption\n" + rows)
    scores = [f"{i},{k},{1 + (i + k) % 7}\n" for i in range(people) for k in range(pictures)]
    (root / "ratings.csv").write_text("rater,item,score\n" + "".join(scores) + "0,0,9\n")
    for k in range(pictures):
        picture(root / "images" / f"{k}.png", k)
    cut(root / "images" / "3.png")
    return root


def scans(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(3):
        xyz, ones = rng.uniform(0, 3, (50, 3)), np.ones(50, int)
        np.savez(root / f"s{i}.npz", xyz=xyz, rgb=np.zeros((50, 3)), nyu40=ones, instance=ones)
    (root / "s1.npz").write_bytes(b"none")
    return root


def recording(root: Path) -> Path:
    for i in range(12):
        picture(root / "color" / f"{i}.png", i)
        (root / "depth").mkdir(exist_ok=True)
        Image.fromarray(np.full((H, W), 1500, np.uint16)).save(root / "depth" / f"{i}.png")
        (root / "pose").mkdir(exist_ok=True)
        np.savetxt(root / "pose" / f"{i}.txt", poses.look_at((0.08 * i, 0.0, 1.5), (0.08 * i, 2.0, 1.5)))
    np.savetxt(root / "intrinsics.txt", np.array([[35.0, 0, 23.5], [0, 35.0, 15.5], [0, 0, 1]]))
    cut(root / "color" / "2.png")
    (root / "pose" / "4.txt").write_text("nothing")
    return root


def coco(root: Path) -> Path:
    corners = [5, 5, 30, 5, 30, 25, 5, 25]
    entries = [{"id": i, "file_name": f"{i}.png", "height": H, "width": W} for i in range(6)]
    marks = [{"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [corners]} for i in range(6)]
    marks[2]["segmentation"] = [[1, 2]]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    (root / "instances.json").write_text(json.dumps({"images": entries, "annotations": marks, "categories": names}))
    for i in range(1, 6):  # the first is missing
        picture(root / f"{i}.png", i)
    return root


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str, int]] = {
    "distill": (class_folders, {"classes": ("cat", "dog"), "size": 32}, "1.png", 7),
    "supernet": (class_folders, {"classes": ("cat", "dog")}, "1.png", 7),
    "hashing": (captions, {}, "captions.csv, line 43", 0),
    "aesthetics": (study, {}, "ratings.csv, line 146.*and 1 more", 12),
    "online3d": (scans, {"rooms": 0, "held_out": ()}, "s1.npz", 2),
    "refer": (coco, {}, "annotation 2.*and 1 more", 0),
}


def config_of(system: str, changes: dict[str, Any], strict: bool = False) -> Any:
    presets = import_module(f"percepta.systems.{system}").PRESETS
    config = replace(presets["small"], **changes)
    return replace(config, train=replace(config.train, strict=strict))


def load(system: str, config: Any, split: str, root: Path) -> Dataset:
    return import_module(f"percepta.systems.{system}.task").data(config, split, root)


@pytest.mark.parametrize("system", CASES)
def test_a_bad_item_is_left_out_named_and_counted(system: str, tmp_path: Path) -> None:
    make, changes, named, count = CASES[system]
    root = make(tmp_path)
    with pytest.warns(UserWarning, match=f"left out of .*{named}"):
        found = load(system, config_of(system, changes), "train", root)
    assert len(found) == count if count else 0 < len(found) < 40
    with pytest.raises(InputError, match=r"1\.png|captions|ratings|s1\.npz|annotation"):
        load(system, config_of(system, changes, strict=True), "train", root)


def test_hashing_counts_what_cannot_be_decoded_too(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"and 2 more"):
        assert len(load("hashing", config_of("hashing", {}), "all", captions(tmp_path))) == 39


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_picture_that_cannot_be_decoded_is_left_out_of_refer(tmp_path: Path, split: str) -> None:
    root = coco(tmp_path)
    scenes = read_coco(root, [])
    cut(scenes[3].image)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = load("refer", config_of("refer", {}), "train" if split == "train" else "all", root)
        if split == "train":
            assert all("image" in found[(0, index)] for index in range(len(found)))
        else:
            assert len(found) == 4
    assert "annotation 2" in str(said[0].message) and scenes[3].image.name in str(said[1].message)


def test_frames_that_cannot_be_read_are_left_out_of_planes(tmp_path: Path) -> None:
    root = recording(tmp_path)
    config = config_of("planes", {"width": W, "height": H, "baseline_m": (0.05, 0.3)})
    with pytest.warns(UserWarning, match=r"left out of \d+ pairs of .*2\.png"):
        found = load("planes", config, "all", root)
    assert 0 < len(found) < 11
    strict = config_of("planes", {"width": W, "height": H, "baseline_m": (0.05, 0.3)}, strict=True)
    with pytest.raises(InputError, match=r"2\.png"):
        load("planes", strict, "all", root)
