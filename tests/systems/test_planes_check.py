"""What `percepta data planes check` says of a walk, a recording and kept pairs; and the demo without weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.errors import InputError
from percepta.geometry.camera import Intrinsics
from percepta.report import Page, Table, Text
from percepta.systems.planes import PRESETS, data, demo, kept
from percepta.systems.planes.check import check
from percepta.systems.planes.predict import Planes
from percepta.systems.planes.world import Box, Boxes

CAMERA = Intrinsics(90.0, 90.0, 49.5, 39.5, 100, 80)


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """Eight pictures inside a box, 8 cm apart, with poses, intrinsics and depth."""
    box, root = Box(3), tmp_path / "walk"
    start = box.cameras(np.random.default_rng(0), (0.25, 0.3))[0]
    for name in ("color", "pose", "depth"):
        (root / name).mkdir(parents=True)
    for number in range(8):
        pose = start.copy()
        pose[:3, 3] += 0.08 * number * start[:3, 0]
        shot = box.render(CAMERA, pose)
        Image.fromarray(shot.colour).save(root / "color" / f"{number}.png")
        Image.fromarray((1000 * shot.depth_m).astype(np.uint16)).save(root / "depth" / f"{number}.png")
        np.savetxt(root / "pose" / f"{number}.txt", pose)
    np.savetxt(root / "intrinsics.txt", CAMERA.matrix)
    return root


def without_depth(root: Path) -> Path:
    for file in (root / "depth").iterdir():
        file.unlink()
    (root / "depth").rmdir()
    return root


def test_a_recording_is_counted_in_pairs(walk: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = check(walk, examples=3, progress=lambda done, total: seen.append((done, total)))
    assert found.ok and found.layout == "recording with depth" and found.text().endswith("Ready.")
    assert found.counts["pairs in all"] > 0 and len(found.examples) == 3 == seen[-1][0]
    assert found.sheet().width == 1400


def test_pictures_without_depth_are_enough_to_reconstruct(walk: Path) -> None:
    found = check(without_depth(walk))
    assert found.ok and found.layout == "posed pictures without depth" and found.counts == {"pictures": 8}
    assert found.examples[0][1] == "0.png" and not found.warnings


def test_poses_in_another_unit_are_a_warning(walk: Path) -> None:
    for file in (walk / "pose").iterdir():
        pose = np.loadtxt(file)
        pose[:3, 3] *= 1000
        np.savetxt(file, pose)
    (warning,) = check(without_depth(walk)).warnings
    assert "80 m between pictures" in warning.message and "metres?" in warning.message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "color" / "0.png").write_bytes(b"no picture"), "0.png"),
        (lambda root: np.savetxt(root / "pose" / "4.txt", np.diag([2.0, 2.0, 2.0, 1.0])), "4.txt"),
        (lambda root: (root / "pose" / "4.txt").write_text("1 2 3\n"), "4.txt"),
    ],
)
@pytest.mark.parametrize("depth", [True, False])
def test_what_is_damaged_is_named(walk: Path, spoil, words: str, depth: bool) -> None:
    spoil(walk)
    found = check(walk if depth else without_depth(walk))
    assert not found.ok and words in found.text() and "Mend this first" in found.text()


def test_kept_pairs_are_known(tmp_path: Path) -> None:
    kept.write(Boxes(replace(PRESETS["tiny"], rooms=20), "train"), tmp_path / "a")
    found = check(tmp_path)
    assert found.layout == "kept pairs" and found.counts["pairs in train"] == 18 and found.counts["pairs in val"] == 2


def test_recordings_in_a_parent_folder_are_read_one_after_the_other(walk: Path) -> None:
    shutil.copytree(walk, walk.parent / "another")
    one, both = check(walk), check(walk.parent)
    assert both.ok and both.layout == one.layout
    assert both.counts["pairs in all"] == 2 * one.counts["pairs in all"]
    source = data.source(PRESETS["small"], "all", walk.parent)
    half = len(source) // 2
    assert {source[i].group for i in range(half)}.isdisjoint(source[i].group for i in range(half, len(source)))
    assert len(data.posed_pictures(walk.parent)) == 16


def test_no_folder_and_no_layout(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check(tmp_path / "none")
    with pytest.raises(
        InputError, match=r"no layout of data(.|\n)*ScanNet with plane(.|\n)*TUM RGB-D(.|\n)*COLMAP(.|\n)*kept pairs"
    ):
        check(tmp_path)


def test_the_demo_without_weights_shows_the_truth(tmp_path: Path) -> None:
    def load(name: str) -> Planes:
        raise FileNotFoundError(f"{name}: not here")

    items = demo.demo(load)
    assert isinstance(items[0], Text) and "not here" in items[0].text
    assert Page("demo").add(*items).write(tmp_path / "p.html").is_file()
    rows = next(item for item in items if isinstance(item, Table)).rows
    assert rows and all(area > 0 for _, area, _ in rows)
