"""`percepta planes keep`: pairs in a folder that training reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.__main__ import main
from percepta.geometry import pose as poses
from percepta.systems.planes import PRESETS, data
from percepta.systems.planes.pairs import Pair
from percepta.systems.planes.pseudo import aligned_pose
from percepta.systems.planes.world import Box, Boxes, Rooms, RoomsPart, camera_of

TINY = PRESETS["tiny"]


def test_rooms_are_kept_in_parts(tmp_path: Path) -> None:
    for i in "12":
        assert main(["planes", "keep", str(tmp_path / i), "--preset", "tiny", "--rooms", "10", "--part", i, "2"]) == 0
    whole = data.source(TINY, "all", tmp_path)
    assert len(whole) == 10
    assert sorted(whole[i].group for i in range(10)) == list(range(10))
    train = data.Samples(TINY, data.source(TINY, "train", tmp_path), True)
    assert train.collate([train[(0, 0)]])["image"].shape == (1, 3, 64, 96)


def test_parts_of_a_world_are_whole_rooms() -> None:
    pair = Boxes(TINY, "train")[0]

    class Numbers(Rooms):
        def __getitem__(self, index: int) -> Pair:
            return replace(pair, group=index)

    rooms = Numbers(replace(PRESETS["small"], rooms=5, pairs_per_room=3), "train")
    parts = [RoomsPart(rooms, i, 2) for i in (0, 1)]
    kept = [[part[k].group for k in range(len(part))] for part in parts]
    assert kept == [[0, 1, 2, 6, 7, 8, 12, 13, 14], [3, 4, 5, 9, 10, 11]]


def test_a_recording_gives_a_pair_a_frame_and_distance(tmp_path: Path) -> None:
    box, rng = Box(3), np.random.default_rng(0)
    first, _ = box.cameras(rng, (0.25, 0.5))
    camera = camera_of(TINY, "boxes")
    for name in ("color", "depth", "pose"):
        (tmp_path / "walk" / name).mkdir(parents=True)
    np.savetxt(tmp_path / "walk" / "intrinsics.txt", camera.matrix)
    for i in range(12):
        pose = first.copy()
        pose[0, 3] += 0.1 * i
        shot = box.render(camera, pose)
        Image.fromarray(shot.colour).save(tmp_path / "walk" / "color" / f"{i:03d}.png")
        Image.fromarray((shot.depth_m * 1000).astype(np.uint16)).save(tmp_path / "walk" / "depth" / f"{i:03d}.png")
        np.savetxt(tmp_path / "walk" / "pose" / f"{i:03d}.txt", pose)
    words = ["keep", "planes", str(tmp_path / "kept"), "--preset", "tiny", "--data", str(tmp_path / "walk")]
    assert main([*words, "--split", "all"]) == 0
    plain = data.source(TINY, "all", tmp_path / "kept")
    assert main([*words, "--split", "all", "--min-baselines-m", "0.25", "0.35", "--align-poses"]) == 0
    more = data.source(TINY, "all", tmp_path / "kept")
    gaps = [float(np.linalg.norm(p.source_from_reference[0, :3, 3])) for p in (more[i] for i in range(len(more)))]
    assert len(more) == 2 * len(plain) == 24
    assert set(np.round(gaps, 3)) == {0.3, 0.4}
    turns = [float(np.degrees(poses.angle(more[i].source_from_reference[0, :3, :3]))) for i in range(len(more))]
    assert 0 < np.median(turns) < 0.15 and max(turns) < 1.51  # these poses were right, and the pictures are small


@pytest.mark.parametrize("seed", range(4))
def test_a_pose_that_is_off_is_turned_back(seed: int) -> None:
    pair = Boxes(replace(TINY, width=160, height=128), "train")[seed]
    rng, true = np.random.default_rng(seed), pair.source_from_reference[0]
    off = true.copy()
    off[:3, :3] = poses.from_vector(np.radians(rng.uniform(-0.7, 0.7, 3))) @ off[:3, :3]
    found = aligned_pose(pair.image, pair.sources[0], pair.depth_m, pair.camera, off)
    before, after = (np.degrees(poses.angle(m[:3, :3] @ true[:3, :3].T)) for m in (off, found))
    assert after < 0.15 < before and np.array_equal(found[:3, 3], true[:3, 3])


def test_wrong_words_say_what_is_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["--preset", "huge"], "no preset 'huge'"),
        (["--preset", "tiny", "--part", "3", "2"], "I from 1 to N"),
        (["--preset", "tiny", "--min-baselines-m", "0.1"], "for recordings"),
        (["--preset", "tiny", "--align-poses"], "for recordings"),
    ):
        assert main(["keep", "planes", str(tmp_path / "x"), *words]) != 0
        assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()
