"""Readers of RGB-D recordings and labelled scans: layouts made here, the real sets where PERCEPTA_DATA names them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from percepta.datasets import layouts, nyu40, posed, scannet, scannet_frames, scenenn, seven_scenes
from percepta.datasets.problem import Problem
from percepta.datasets.recordings import open_recording
from percepta.errors import InputError
from percepta.geometry import camera as cameras
from percepta.geometry import ply
from percepta.geometry import pose as poses

W, H, N = 40, 30, 5
K = np.array([[35.0, 0, 19.5], [0, 35.0, 14.5], [0, 0, 1]])


def pose_of(i: int) -> np.ndarray:
    return poses.look_at((0.02 * i, 0.0, 1.5), (2.0, 0.1 * i, 1.0))


def matrix(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values)


def colour(path: Path, value: int, size: tuple[int, int] = (W, H)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 90, 30)).save(path)


def depth(path: Path, millimetres: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(millimetres.astype(np.uint16)).save(path)


def plain(root: Path) -> Path:
    """A posed folder: frame i is 1 + i/10 m away and its first row has no reading."""
    for i in range(N):
        values = np.full((H, W), 1000 + 100 * i)
        values[0] = 0 if i % 2 else 65535
        colour(root / "color" / f"{i}.png", 40 * i)
        depth(root / "depth" / f"{i:04d}.png", values)
        matrix(root / "pose" / f"{i}.txt", pose_of(i))
    matrix(root / "intrinsics.txt", K)
    return root


def test_a_plain_folder_gives_its_frames_in_order(tmp_path: Path) -> None:
    recording = posed.folder(plain(tmp_path))
    assert len(recording) == N and posed.check(recording, stride=1) == ([], [])
    for i, frame in enumerate(recording):
        assert frame.name == str(i) and frame.colour.shape == (H, W, 3) and frame.colour[0, 0, 0] == 40 * i
        assert (frame.depth_m[0] == 0).all() and np.allclose(frame.depth_m[1:], 1 + i / 10)
        assert np.allclose(frame.world_from_camera, pose_of(i)) and np.allclose(frame.intrinsics.matrix, K)
    assert [f.name for f in recording.frames(stride=2)] == ["0", "2", "4"]
    small = recording.read(1, (W // 2, H // 2))
    assert small.depth_m.shape == (H // 2, W // 2) and small.intrinsics.fx == 17.5 and small.intrinsics.cx == 9.5


def test_files_are_ordered_by_number_not_by_letter(tmp_path: Path) -> None:
    for i in (2, 10, 1):
        colour(tmp_path / "rgb" / f"frame{i}.png", i)
        depth(tmp_path / "depth" / f"d_{i}.png", np.full((H, W), 1000))
        matrix(tmp_path / "pose" / f"{i}.txt", pose_of(i))
    matrix(tmp_path / "intrinsics.txt", K)
    assert [frame.colour[0, 0, 0] for frame in posed.folder(tmp_path)] == [1, 2, 10]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="color or colour"):
        posed.folder(tmp_path)
    root = plain(tmp_path)
    (root / "intrinsics.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"intrinsics\.txt"):
        posed.folder(root)
    with pytest.raises(FileNotFoundError, match="7-Scenes"):
        seven_scenes.read(root)


@pytest.mark.parametrize(
    ("spoil", "problem", "warning"),
    [
        (lambda r: matrix(r / "pose" / "1.txt", pose_of(1) @ np.diag([2.0, 2, 2, 1])), "scaled by 2", ""),
        (lambda r: matrix(r / "pose" / "1.txt", pose_of(1) @ np.diag([1.0, 1, -1, 1])), "mirrors", ""),
        (lambda r: (r / "pose" / "1.txt").write_text("1 2 three"), "rows of numbers", ""),
        (lambda r: matrix(r / "pose" / "1.txt", np.eye(3)), "expected 4×4 numbers, found 3×3", ""),
        (lambda r: matrix(r / "pose" / "1.txt", np.full((4, 4), -np.inf)), "", "not tracked"),
        (lambda r: matrix(r / "pose" / "4.txt", poses.compose(np.eye(3), np.array([9.0, 0, 0]))), "", "jumps by"),
        (lambda r: [depth(p, np.full((H, W), 5)) for p in (r / "depth").iterdir()], "median depth is 0.005", ""),
        (lambda r: depth(r / "depth" / "0001.png", np.zeros((H, W))), "", "fewer than 5 %"),
        (lambda r: (r / "depth" / "0001.png").write_bytes(b"no"), "not a picture", ""),
        (lambda r: Image.new("L", (W, H)).save(r / "depth" / "0001.png"), "16-bit", ""),
        (lambda r: (r / "color" / "2.png").unlink(), "", "frames 2 to 2 are missing"),
        (lambda r: (r / "color" / "4.png").unlink(), "", "this and 1 other files belong to no frame"),
        (lambda r: [(r / "depth" / f"000{i}.png").unlink() for i in (1, 3)], "", "this and 3 other files belong"),
        (lambda r: (r / "color" / "1.png").write_bytes(b"no"), "1.png: not a picture", ""),
        (lambda r: colour(r / "color" / "1.png", 1, (2 * W, H)), "2 sizes", ""),
        (lambda r: matrix(r / "intrinsics.txt", K * 2), "", "intrinsics of another size"),
    ],
)
def test_check_finds(tmp_path: Path, spoil, problem: str, warning: str) -> None:
    root = plain(tmp_path)
    spoil(root)
    problems, warnings = posed.check(posed.folder(root), stride=1)
    assert bool(problems) == bool(problem) and problem in " ".join(map(str, problems))
    assert warning in " ".join(map(str, warnings))


def test_untracked_frames_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    root = plain(tmp_path)
    matrix(root / "pose" / "1.txt", np.full((4, 4), -np.inf))
    recording = posed.folder(root)
    assert [frame.name for frame in recording] == ["0", "2", "3", "4"]
    with pytest.raises(ValueError, match=r"1\.txt.*not tracked"):
        list(recording.frames(skip_untracked=False))


def test_seven_scenes_registers_depth_and_moves_the_pose(tmp_path: Path) -> None:
    """The oracle: a wall at constant depth stands where it stood, seen from either camera."""
    for folder in ("seq-01", "seq-02"):
        for i in range(2):
            stem = tmp_path / folder / f"frame-{i:06d}"
            colour(stem.with_name(f"{stem.name}.color.png"), i, (640, 480))
            depth(stem.with_name(f"{stem.name}.depth.png"), np.full((480, 640), 2000))
            matrix(stem.with_name(f"{stem.name}.pose.txt"), np.eye(4))
    recording = seven_scenes.read(tmp_path)
    assert len(recording) == 4
    frame = recording.read(0)
    assert np.allclose(frame.world_from_camera @ np.array(seven_scenes.COLOUR_FROM_DEPTH), np.eye(4), atol=1e-6)
    cloud, seen = cameras.points(frame.depth_m.astype(np.float64), frame.intrinsics, frame.world_from_camera)
    assert seen.mean() > 0.75 and np.abs(cloud[:, 2] - 2).max() < 0.02
    assert frame.intrinsics.fx == 525
    (tmp_path / "seq-02" / "frame-000001.depth.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"frame-000001\.depth\.png.*needs it"):
        seven_scenes.read(tmp_path)


def frames_of_a_room(root: Path, kind: str = "png") -> Path:
    for i in range(3):
        colour(root / f"frame-{i:06d}.color.{kind}", i, (640, 480))
        depth(root / f"frame-{i:06d}.depth.png", np.full((480, 640), 2000))
        matrix(root / f"frame-{i:06d}.pose.txt", np.eye(4))
    return root


def test_frames_with_intrinsics_of_their_own(tmp_path: Path) -> None:
    """tsdf-fusion's layout: depth is registered, and the file is about both cameras."""
    own = np.array([[615.0, 0, 324], [0, 615, 236], [0, 0, 1]])
    matrix(frames_of_a_room(tmp_path, "jpg") / "camera-intrinsics.txt", own)
    frame = seven_scenes.read(tmp_path).read(1)
    assert np.allclose(frame.intrinsics.matrix, own) and np.allclose(frame.world_from_camera, np.eye(4))
    assert (frame.depth_m == 2).all()
    matrix(tmp_path / "camera-intrinsics.txt", np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]]))
    assert seven_scenes.read(tmp_path).pose_of == "depth"


def info(path: Path, colour_focal: float, depth_focal: float, apart: float = 0.0, shift: str = "5000") -> None:
    def row(focal: float) -> str:
        return f"{focal} 0 320 0 0 {focal} 240 0 0 0 1 0 0 0 0 1"

    path.write_text(
        "m_versionNumber = 4\nm_sensorName = StructureSensor\nm_colorWidth = 640\n"
        f"m_depthShift = {shift}\nm_calibrationColorIntrinsic = {row(colour_focal)}\n"
        f"m_calibrationColorExtrinsic = 1 0 0 {apart} 0 1 0 0 0 0 1 0 0 0 0 1\n"
        f"m_calibrationDepthIntrinsic = {row(depth_focal)}\nm_frames.size = 3\n"
    )


def test_bundle_fusion_says_its_cameras_itself(tmp_path: Path) -> None:
    info(frames_of_a_room(tmp_path) / "info.txt", 580, 580)
    frame = seven_scenes.read(tmp_path).read(0)
    assert frame.intrinsics.fx == 580 and np.allclose(frame.depth_m, 0.4)
    info(tmp_path / "info.txt", 580, 540)
    recording = seven_scenes.read(tmp_path)
    assert recording.colour_from_depth is not None and recording.read(0).intrinsics.fx == 580
    for arguments, says in (((580, 580, 0.1), "stand apart"), ((580, 580, 0.0, "0"), "m_depthShift"),
                            ((580, 580, 0.0, "x"), "line 4: expected numbers after m_depthShift")):  # fmt: skip
        info(tmp_path / "info.txt", *arguments)
        with pytest.raises(InputError, match=says):
            seven_scenes.read(tmp_path)
    (tmp_path / "info.txt").write_text("hello\n")
    with pytest.raises(InputError, match="no line m_calibrationColorIntrinsic"):
        seven_scenes.read(tmp_path)


def test_two_files_of_one_frame_are_no_pair(tmp_path: Path) -> None:
    root = plain(tmp_path / "plain")
    colour(root / "color" / "0002.jpg", 7)
    with pytest.raises(InputError, match=r"has the number 2, as "):
        posed.folder(root)
    kitchen = frames_of_a_room(tmp_path / "kitchen")
    colour(kitchen / "frame-000001.color.jpg", 7, (640, 480))
    with pytest.raises(InputError, match=r"a second color of frame-000001"):
        seven_scenes.read(kitchen)


def test_damaged_frames_are_left_out_and_said(tmp_path: Path) -> None:
    root = plain(tmp_path)
    (root / "pose" / "1.txt").write_text("1 2 three")
    (root / "depth" / "0003.png").write_bytes(b"no")
    (root / "color" / "._4.png").write_bytes(b"\0")
    recording = posed.folder(root)
    with pytest.warns(UserWarning, match=r"left out of 5 frames: .*1\.txt, line 1: expected rows.*, and 1 more"):
        assert [frame.name for frame in recording] == ["0", "2", "4"]
    with pytest.raises(InputError, match="line 1"):
        list(recording.frames(skip_untracked=False))
    assert np.isnan(recording.tracked(1)).all() and np.isfinite(recording.tracked(0)).all()
    for path in (root / "depth").iterdir():
        path.write_bytes(b"no")
    with pytest.raises(InputError, match="not a picture"):
        list(recording)


def test_seven_scenes_leaves_out_frames_without_their_partners(tmp_path: Path) -> None:
    root = frames_of_a_room(tmp_path)
    (root / "frame-000001.depth.png").unlink()
    problems: list[Problem] = []
    assert len(seven_scenes.read(root, problems=problems)) == 2
    assert [problem.file.name for problem in problems] == ["frame-000001.depth.png"]


def scan(root: Path, name: str = "scene0001_00") -> tuple[np.ndarray, np.ndarray]:
    """A scan of 12 vertices: segments 0..3 of three vertices, two objects."""
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(12, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (12, 3), dtype=np.uint8)
    columns = {n: xyz[:, i] for i, n in enumerate("xyz")} | {
        n: rgb[:, i] for i, n in enumerate(("red", "green", "blue"))
    }
    root.mkdir(parents=True, exist_ok=True)
    ply.write(root / f"{name}_vh_clean_2.ply", columns, np.array([[0, 1, 2]]))
    (root / f"{name}_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps({"segIndices": [i // 3 * 7 for i in range(12)]})
    )
    groups = [{"id": 0, "label": "office chair", "segments": [0, 7]}, {"id": 1, "label": "wall", "segments": [21]}]
    (root / f"{name}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    table = "id\traw_category\tnyu40id\n1\twall\t1\n2\toffice chair\t5\n"
    (root / "scannetv2-labels.combined.tsv").write_text(table)
    (root / f"{name}.txt").write_text("axisAlignment = 0 -1 0 0 1 0 0 0 0 0 1 0.5 0 0 0 1 \nnumColorFrames = 3\n")
    return xyz, rgb


def test_scannet_scan_from_its_published_files(tmp_path: Path) -> None:
    xyz, rgb = scan(tmp_path)
    got = scannet.read(tmp_path)
    assert got.name == "scene0001_00" and np.array_equal(got.xyz, xyz) and np.array_equal(got.rgb, rgb)
    assert got.instance.tolist() == [1] * 6 + [0] * 3 + [2] * 3
    assert got.label.tolist() == [5] * 6 + [0] * 3 + [1] * 3
    turned = scannet.read(tmp_path, aligned=True).xyz
    assert np.allclose(turned, np.stack([-xyz[:, 1], xyz[:, 0], xyz[:, 2] + 0.5], -1), atol=1e-6)
    # labels of the vertices, where they are there, win over the objects' names
    label = np.arange(12).astype(np.uint16)
    ply.write(tmp_path / "scene0001_00_vh_clean_2.labels.ply", {"x": xyz[:, 0], "label": label}, binary=False)
    assert scannet.read(tmp_path).label.tolist() == label.tolist()


def test_objects_of_the_fine_mesh_are_not_those_of_the_coarse_one(tmp_path: Path) -> None:
    """Their numbers are those of other segments: without a file of its own, a scan has no instances."""
    xyz, _ = scan(tmp_path)
    (tmp_path / "scene0001_00.aggregation.json").rename(tmp_path / "scene0001_00_vh_clean.aggregation.json")
    with pytest.raises(FileNotFoundError, match=r"no scene0001_00\.aggregation\.json"):
        scannet.read(tmp_path)
    label = np.arange(12).astype(np.uint16)
    ply.write(tmp_path / "scene0001_00_vh_clean_2.labels.ply", {"x": xyz[:, 0], "label": label})
    assert scannet.read(tmp_path).label.tolist() == label.tolist() and not scannet.read(tmp_path).instance.any()


def test_scannet_says_what_does_not_belong_together(tmp_path: Path) -> None:
    scan(tmp_path)
    segments = tmp_path / "scene0001_00_vh_clean_2.0.010000.segs.json"
    segments.write_text(json.dumps({"segIndices": [1, 2]}))
    with pytest.raises(ValueError, match=r"2 segments, but .* 12 vertices"):
        scannet.read(tmp_path)
    segments.write_text("{")
    with pytest.raises(ValueError, match="line 1: not JSON"):
        scannet.read(tmp_path)
    for text, says in {
        "{}": "has no 'segIndices'",
        "[]": "expected an object with 'segIndices', found a list",
        '{"segIndices": 3}': "'segIndices' has to be a list, not 3",
        '{"segIndices": [0, null]}': "'segIndices' has to be a whole number, not None",
    }.items():
        segments.write_text(text)
        with pytest.raises(InputError, match=rf"segs\.json:? {says}"):
            scannet.read(tmp_path)
    scan(tmp_path)
    (tmp_path / "scene0001_00.aggregation.json").write_text('{"segGroups": [{"id": 0, "segments": [0]}]}')
    with pytest.raises(ValueError, match="object 1 has no 'label'"):
        scannet.read(tmp_path)
    scan(tmp_path)
    (tmp_path / "scene0001_00.txt").write_text("sceneType = Office\naxisAlignment = 1 0 0\n")
    with pytest.raises(ValueError, match=r"scene0001_00\.txt, line 2: axisAlignment is 16 numbers"):
        scannet.read(tmp_path, aligned=True)
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("raw_category\tnyu40id\nwall\tx\n")
    with pytest.raises(ValueError, match="line 2: nyu40id"):
        scannet.label_map(tmp_path / "scannetv2-labels.combined.tsv")
    np.savez(tmp_path / "a.npz", xyz=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no array rgb, nyu40, instance"):
        scannet.read(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="expected one"):
        scannet.read(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("nyu40", [-1, 3], "nyu40: labels are numbers from 0"),
        ("nyu40", [0, 257], "nyu40: labels are numbers from 0"),
        ("nyu40", [0.5, 1], "nyu40: labels are numbers from 0"),
        ("nyu40", [[1], [2]], r"nyu40 has the shape \(2, 1\), not 2"),
        ("instance", [-1, 0], "instance goes from -1"),
        ("rgb", [[0, 0, 256]] * 2, "rgb: colours go from 0 to 256"),
        ("rgb", [[0.0, np.nan, 1.0]] * 2, "rgb: colours that are not finite"),
        ("xyz", [[0, 0]] * 2, r"xyz has the shape \(2, 2\), not 2 3"),
    ],
)
def test_a_scan_with_values_out_of_range(tmp_path: Path, name: str, values: list, says: str) -> None:
    arrays = {"xyz": np.zeros((2, 3)), "rgb": np.zeros((2, 3)), "nyu40": np.ones(2, int), "instance": np.ones(2, int)}
    np.savez(tmp_path / "a.npz", **{**arrays, name: np.array(values)})
    with pytest.raises(InputError, match=says):
        scannet.read(tmp_path / "a.npz")


def test_colours_of_a_scan_in_floats(tmp_path: Path) -> None:
    rgb = np.array([[1.0, 0.5, 0.0], [0.0, 0.2, 1.0]])
    label = np.array([1.0, 2.0])  # whole numbers in floats
    np.savez(tmp_path / "a.npz", xyz=np.zeros((2, 3)), rgb=rgb, nyu40=label, instance=label)
    found = scannet.read(tmp_path / "a.npz")
    assert found.rgb.tolist() == [[255, 128, 0], [0, 51, 255]] and found.label.tolist() == [1, 2]


def test_scans_that_systems_left_are_passed_over(tmp_path: Path) -> None:
    scan(tmp_path / "scans")
    (tmp_path / "__MACOSX").mkdir()
    for name in ("scans/._scene0001_00_vh_clean_2.ply", "__MACOSX/b.npz"):
        (tmp_path / name).write_bytes(b"x")
    assert list(scannet.files(tmp_path)) == ["scene0001_00"]


def test_scannet_frames_bring_colour_to_the_size_of_depth(tmp_path: Path) -> None:
    for i in range(3):
        colour(tmp_path / "color" / f"{i}.jpg", 0, (2 * W, 2 * H))
        depth(tmp_path / "depth" / f"{i}.png", np.full((H, W), 1500))
        matrix(tmp_path / "pose" / f"{i}.txt", pose_of(i))
    large = np.eye(4)
    large[:3, :3] = [[70, 0, 39.5], [0, 70, 29.5], [0, 0, 1]]
    matrix(tmp_path / "intrinsic" / "intrinsic_color.txt", large)
    matrix(tmp_path / "intrinsic" / "intrinsic_depth.txt", np.eye(4))
    recording = scannet_frames.read(tmp_path)
    frame = recording.read(2)
    assert frame.colour.shape == (H, W, 3) and frame.intrinsics.fx == 35 and frame.intrinsics.cx == 19.5
    assert np.allclose(frame.depth_m, 1.5) and posed.check(recording, stride=1) == ([], [])


def test_scenenn_frames_take_their_poses_from_one_log(tmp_path: Path) -> None:
    log = ""
    for i in range(3):
        colour(tmp_path / "image" / f"image{i + 1:05d}.png", 10 * i)
        depth(tmp_path / "depth" / f"depth{i + 1:05d}.png", np.full((H, W), 900))
        log += f"{i} {i} {i + 1}\n" + "\n".join(" ".join(map(str, row)) for row in pose_of(i)) + "\n"
    (tmp_path / "trajectory.log").write_text(log)
    (tmp_path / "image" / "image00002.png").unlink()
    got = list(scenenn.read(tmp_path, matrix=K))
    assert [frame.colour[0, 0, 0] for frame in got] == [0, 20]
    assert np.allclose(got[1].world_from_camera, pose_of(2))
    (tmp_path / "trajectory.log").write_text(log.replace("1 1 2\n", "1 1 2\nx ", 1))
    with pytest.raises(ValueError, match="line 7"):
        scenenn.read(tmp_path, matrix=K)
    (tmp_path / "trajectory.log").write_text("0 0 1\n")
    with pytest.raises(ValueError, match="blocks of five"):
        scenenn.read(tmp_path, matrix=K)


def test_layouts_tell_the_recordings_apart(tmp_path: Path) -> None:
    """Each set is found in its own folder, alone and beside the others, and nothing is taken for a recording."""
    plain(tmp_path / "plain")
    for i in range(2):
        stem = tmp_path / "kitchen" / "seq-01" / f"frame-{i:06d}"
        colour(stem.with_name(f"{stem.name}.color.png"), i, (640, 480))
        depth(stem.with_name(f"{stem.name}.depth.png"), np.full((480, 640), 2000))
        matrix(stem.with_name(f"{stem.name}.pose.txt"), np.eye(4))
    for name, place, camera in (("scan", "color", "intrinsic/intrinsic_color.txt"), ("nn", "image", "")):
        colour(tmp_path / name / place / "1.png", 0)
        depth(tmp_path / name / "depth" / "1.png", np.full((H, W), 1500))
        if camera:
            matrix(tmp_path / name / "pose" / "1.txt", pose_of(0))
            matrix(tmp_path / name / camera, np.eye(4))
            matrix(tmp_path / name / "intrinsic" / "intrinsic_depth.txt", np.eye(4))
    (tmp_path / "nn" / "trajectory.log").write_text("0 0 1\n" + "\n".join("1 0 0 0" for _ in range(4)) + "\n")
    expected = {"plain": posed, "kitchen": seven_scenes, "scan": scannet_frames, "nn": scenenn}
    for name, module in expected.items():
        (found,) = layouts.find(tmp_path / name, posed.Recording)
        assert found.set is module and found.root == tmp_path / name
        recording = open_recording(tmp_path / name)
        assert len(recording) == len(found.read(found.root))
        assert recording.up == ("camera" if module is seven_scenes else "z")
    inside = layouts.find(tmp_path, posed.Recording)
    assert {found.root.name: found.set for found in inside} == expected
    with pytest.raises(InputError, match="4 recordings; name one of them: kitchen, nn, plain, scan"):
        open_recording(tmp_path)
    with pytest.raises(InputError, match="7-Scenes: frame-000000") as error:
        open_recording(tmp_path / "plain" / "color")
    assert all(module.FILES in str(error.value) for module in expected.values())
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_recording(tmp_path / "nothing")


def test_labelled_scans_are_found_wherever_they_lie(tmp_path: Path) -> None:
    scan(tmp_path / "a" / "scene0001_00")
    arrays = {"xyz": np.zeros((2, 3)), "rgb": np.zeros((2, 3)), "nyu40": np.zeros(2), "instance": np.zeros(2)}
    np.savez(tmp_path / "b.npz", allow_pickle=False, **arrays)
    (found,) = layouts.find(tmp_path, scannet.LabelledScan)
    files = found.read(found.root)
    assert list(files) == ["scene0001_00", "b"] and [scannet.read(p).name for p in files.values()] == list(files)
    (alone,) = layouts.find(tmp_path / "b.npz", scannet.LabelledScan)
    assert list(alone.read(alone.root)) == ["b"]
    with pytest.raises(FileNotFoundError, match="no labelled scan"):
        scannet.files(plain(tmp_path / "plain"))


# --- the real sets ----------------------------------------------------------------------------------------------------


def test_the_red_kitchen_is_consistent_once_depth_is_registered(shared_data: Path) -> None:
    """Colours of a later frame, fetched through depth and poses, correlate: more so when depth is registered."""
    root = shared_data / "7scenes-redkitchen"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    recording = seven_scenes.read(root)
    assert len(recording) == 300 and posed.check(recording, stride=60)[0] == []
    raw = posed.Recording(
        recording.colours, recording.depths, recording.poses, recording.depth_matrix, recording.depth_matrix
    )

    def detail(colour: np.ndarray) -> np.ndarray:
        grey = colour.astype(float).mean(-1)
        return grey - ndimage.uniform_filter(grey, 9)  # large areas agree anyway

    def correlation(source: posed.Recording) -> float:
        found = []
        for i in (0, 70, 140, 210):
            here, there = source.read(i, (320, 240)), source.read(i + 12, (320, 240))
            cloud, seen = cameras.points(here.depth_m, here.intrinsics, here.world_from_camera)
            local = poses.transform(poses.inverse(there.world_from_camera), cloud)
            uv, _ = cameras.project(local, there.intrinsics)
            ok = np.isfinite(uv).all(1) & (uv > 1).all(1) & (uv < (318, 238)).all(1)
            x, y = np.round(uv[ok]).astype(int).T
            a, b = detail(here.colour)[seen][ok], detail(there.colour)[y, x]
            found.append(np.corrcoef(a, b)[0, 1])
        return float(np.mean(found))

    registered = correlation(recording)
    assert registered > 0.5 and registered > correlation(raw) + 0.1


def test_the_shared_scans_are_read(shared_data: Path) -> None:
    root = shared_data / "scannet"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    got = scannet.read(root / "scene0000_00.npz")
    assert got.label.max() < len(nyu40.NAMES) and len(got.xyz) == len(got.label) > 50_000
    for i in np.unique(got.instance)[1:]:
        assert len(np.unique(got.label[got.instance == i])) <= 2


# --- classes of nyu40


def test_scannet_s_twenty_classes_are_those_of_its_benchmark() -> None:
    """By their names, in the order of the benchmark's page; walls and floors have no instances."""
    wanted = ["wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
              "counter", "desk", "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub",
              "otherfurniture"]  # fmt: skip
    assert list(nyu40.SCANNET20_NAMES) == wanted and len(nyu40.NAMES) == 41
    labels = np.array([[nyu40.NAMES.index(name) for name in wanted]])
    assert nyu40.scannet20(labels).tolist() == [list(range(20))]
    others = np.array([nyu40.NAMES.index(name) for name in ("unlabelled", "blinds", "otherstructure", "otherprop")])
    assert nyu40.scannet20(others).tolist() == [-1] * 4 and nyu40.scannet20(others, 255).tolist() == [255] * 4
    assert [wanted[place] for place in nyu40.THINGS] == wanted[2:]


def test_classes_of_planemvs_by_name() -> None:
    same = ("wall", "floor", "cabinet", "chair", "table", "door", "window", "picture", "pillow")
    others = {"desk": "table", "dresser": "cabinet", "television": "monitor", "night stand": "cabinet"}
    wanted = {name: name for name in same} | others
    for number, name in enumerate(nyu40.NAMES):
        assert nyu40.PLANEMVS_NAMES[nyu40.planemvs_of(number)] == wanted.get(name, "other"), name
    for name, one in (
        ("trash can", "garbage bin"),
        ("trash bin", "garbage bin"),
        ("garbage bin",) * 2,
        ("monitor",) * 2,
    ):
        assert nyu40.PLANEMVS_NAMES[nyu40.planemvs_of(40, name)] == one
    assert nyu40.planemvs_of(1, "something else") == 1


# --- how recordings are judged


def test_bounds_of_what_is_odd_in_a_recording(tmp_path: Path) -> None:
    """A way of 0.3 m is no jump, and 5 % of readings are enough."""

    def said(x: float, readings: int, max_step_m: float = 0.3) -> str:
        root = plain(tmp_path)
        for i in range(N):
            pose = np.eye(4)
            pose[0, 3] = 0.01 * i + (x if i == 4 else 0)
            matrix(root / "pose" / f"{i}.txt", pose)
        values = np.zeros(H * W)
        values[:readings] = 1000
        depth(root / "depth" / "0001.png", values.reshape(H, W))
        problems, warnings = posed.check(posed.folder(root), 1, max_step_m)
        return " ".join(str(one) for one in (*problems, *warnings) if "agree" not in str(one))

    assert said(0.28, 61) == "" and "5 %" not in said(0.28, 60)
    assert "jumps by 0.31 m" in said(0.30, 61) and "5 %" in said(0.28, 59)
    assert said(0.30, 61, max_step_m=0.4) == ""


def test_depth_is_brought_to_another_size_without_mixing() -> None:
    """A pixel's centre (i + ½) · h / height tells whose it is: of 4 rows shrunk to 3 those of 0.67, 2 and 3.33."""
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert posed.nearest(values, 3, 3)[:, 0].tolist() == [0, 6, 9]
    assert posed.nearest(values, 2, 4)[0].tolist() == [0, 2]  # 0.75 and 2.25
    assert posed.nearest(values, 6, 8).tolist() == values.repeat(2, 0).repeat(2, 1).tolist()


def test_frames_are_known_by_their_numbers() -> None:
    assert posed.order("frame-000012.color") == (12, "frame-000012.color") and posed.order("a") == (-1, "a")
    assert sorted(["10", "9", "b", "a2"], key=posed.order) == ["b", "a2", "9", "10"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("1 0 0\n0 1\n", "line 2: 2 numbers, where the first row has 3"), ("a\n", "line 1"), ("", "found 0"),
     ("1 0\n0 1\n", "3×3 or 4×4 numbers, found 2×2"), ("0 0 1\n0 1 1\n0 0 1\n", "above 0"),
     ("1 0 1\n0 0 1\n0 0 1\n", "above 0"), ("1 0 nan\n0 1 1\n0 0 1\n", "intrinsics are"),
     ("100 0.001 1\n0 100 1\n0 0 1\n", "intrinsics are")],
)  # fmt: skip
def test_intrinsics_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "intrinsics.txt").write_text(text)
    with pytest.raises(InputError, match=says):
        posed.read_intrinsics(tmp_path)


def test_intrinsics_in_all_forms(tmp_path: Path) -> None:
    for rows in ("100, 1e-5, 31.5\n\n0, 101, 23.5\n0, 0, 1\n", "100 0 31.5 0\n0 101 23.5 0\n0 0 1 0\n",
                 "100 0 31.5 0\n0 101 23.5 0\n0 0 1 0\n0 0 0 1\n"):  # fmt: skip
        (tmp_path / "intrinsics.txt").write_text(rows)
        np.testing.assert_allclose(
            posed.read_intrinsics(tmp_path), [[100, 0, 31.5], [0, 101, 23.5], [0, 0, 1]], atol=1e-4
        )
