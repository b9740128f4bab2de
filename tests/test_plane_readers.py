"""Readers that `planes` brought: ScanNet with plane annotation, TUM RGB-D, COLMAP, posed pictures without depth."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import colmap, layouts, plane_annotations, posed_folder, tum_rgbd
from percepta.datasets.posed import Recording
from percepta.datasets.problem import Problem
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.camera import Intrinsics

POSE = poses.look_at((1.0, 2.0, 1.5), (3.0, 2.5, 1.0))


def picture(path: Path, size: tuple[int, int] = (64, 48), tone: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (tone, 100, 120)).save(path)


def depth(path: Path, millimetres: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(millimetres.astype(np.uint16)).save(path)


def text(path: Path, rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, np.ndarray):
        rows = "\n".join(" ".join(f"{v:.9g}" for v in row) for row in rows)
    path.write_text(f"{rows}\n")


# --- ScanNet ----------------------------------------------------------------------------------------------------------


def scene(root: Path) -> Path:
    """A wall at z = 2 m in the camera of frame 0, seen by frames 0 and 10; a second plane that depth contradicts."""
    folder = root / "scans" / "scene0000_00"
    k = np.array([[60.0, 0, 31.5, 0], [0, 60.0, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for name in ("intrinsic_color", "intrinsic_depth"):
        text(folder / "frames" / "intrinsic" / f"{name}.txt", k)
    normal = -POSE[:3, 2]
    wall = -normal * (normal @ (POSE[:3, 3] + 2 * POSE[:3, 2])) * -1
    (folder / "annotation").mkdir(parents=True)
    np.save(folder / "annotation" / "planes.npy", np.stack([[0.0, 0, 9], wall]))
    index = np.full((48, 64), -1, np.int32)
    index[:, :40], index[:20, 44:] = 1, 0
    for number, shift in ((0, 0.0), (10, 0.1)):
        pose = POSE.copy()
        pose[:3, 3] += shift * POSE[:3, 0]
        picture(folder / "frames" / "color" / f"{number}.jpg")
        depth(folder / "frames" / "depth" / f"{number}.png", np.full((48, 64), 2000))
        text(folder / "frames" / "pose" / f"{number}.txt", pose)
        place = folder / "annotation" / "segmentation" / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(plane_annotations.encode(index)).save(place)
        labels = np.zeros((48, 64), np.uint16)
        labels[:, :30] = 7
        depth(folder / "label-filt" / f"{number}.png", labels)
    rows = ["id\traw_category\tnyu40id", "7\tdoor\t8"]
    text(folder.parent.parent / "scannetv2-labels.combined.tsv", "\n".join(rows))
    return root


def test_scannet_planes_come_in_the_cameras_coordinates(tmp_path: Path) -> None:
    (found,) = plane_annotations.scenes(scene(tmp_path))
    assert found.names == ["0", "10"] and found.pairs((0.05, 0.15)) == [("0", "10")]
    frame = found.frame("10", (64, 48))
    # The plane that lies nowhere near the measured depth is gone, the wall faces the camera 2 m away.
    assert len(frame.offset) == 1 and frame.offset[0] == pytest.approx(2.0, abs=1e-6)
    assert frame.normal[0] == pytest.approx([0, 0, -1], abs=1e-6)
    assert (frame.segments[:, :40] == 0).all() and (frame.segments[:, 40:] == -1).all()
    assert frame.labels.tolist() == [4]  # a door


def test_plane_numbers_survive_their_colours() -> None:
    index = np.array([[-1, 0, 655, 70000]], np.int32)
    assert (plane_annotations.decode(plane_annotations.encode(index)) == index).all()


def test_scannet_says_which_file_is_wrong(tmp_path: Path) -> None:
    root = scene(tmp_path)
    (found,) = plane_annotations.scenes(root)
    np.save(found.root / "annotation" / "planes.npy", np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"0\.png: names plane 1, but planes\.npy has 1"):
        plane_annotations.scenes(root)[0].frame("0", (64, 48))
    np.save(found.root / "annotation" / "planes.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected an array of numbers, found object"):
        _ = plane_annotations.scenes(root)[0].planes
    (found.root / "annotation" / "planes.npy").unlink()
    assert plane_annotations.scenes(root) == [] and not plane_annotations.is_one(root)


# --- TUM RGB-D --------------------------------------------------------------------------------------------------------


def tum(root: Path) -> Path:
    q = poses.to_quaternion(POSE[:3, :3])
    for i in range(3):
        picture(root / "rgb" / f"{i}.png", tone=50 + i)
        depth(root / "depth" / f"{i}.png", np.full((48, 64), 5000 * (i + 1)))
    text(root / "rgb.txt", "# colour\n" + "\n".join(f"{i + 0.001:.3f} rgb/{i}.png" for i in range(3)))
    text(root / "depth.txt", "\n".join(f"{i + 0.009:.3f} depth/{i}.png" for i in range(2)) + "\n2.9 depth/2.png")
    rows = [[t, *(POSE[:3, 3] + t), *q] for t in (0.0, 1.005)]
    text(root / "groundtruth.txt", "\n".join(" ".join(map(str, row)) for row in rows))
    return root


def test_tum_joins_by_time(tmp_path: Path) -> None:
    recording = tum_rgbd.read(tum(tmp_path / "rgbd_freiburg3_x"))
    assert len(recording) == 2  # the third has no depth within 20 ms
    frame = recording.read(1)
    assert frame.depth_m[0, 0] == pytest.approx(2.0) and frame.colour[0, 0, 0] == 51
    assert frame.world_from_camera[:3, 3] == pytest.approx(POSE[:3, 3] + 1.005)
    assert frame.world_from_camera[:3, :3] == pytest.approx(POSE[:3, :3])
    assert recording.colour_matrix[0, 0] == 535.4


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("groundtruth.txt", "0 1 2 3", "line 1: expected time tx"),
        ("groundtruth.txt", "0 1 2 3 0 0 0 4", "length is 4"),
        ("rgb.txt", "now rgb/0.png", "line 1: expected a time"),
        ("depth.txt", "77 depth/0.png", "no picture has a depth"),
    ],
)
def test_tum_says_which_line_is_wrong(tmp_path: Path, name: str, line: str, message: str) -> None:
    root = tum(tmp_path)
    text(root / name, line)
    with pytest.raises(ValueError, match=message):
        tum_rgbd.read(root)


def test_tum_leaves_out_bad_lines_and_files_that_are_gone(tmp_path: Path) -> None:
    root = tum(tmp_path)
    (root / "rgb" / "0.png").unlink()
    for name in ("rgb.txt", "depth.txt", "groundtruth.txt"):
        (root / name).write_text((root / name).read_text() + "now\nnan a.png\n", encoding="utf-8-sig")
    problems: list[Problem] = []
    recording = tum_rgbd.read(root, problems=problems)
    assert [path.name for path in recording.colours] == ["1.png"] and len(problems) == 7
    with pytest.raises(FileNotFoundError, match=r"rgb.0\.png: no such file; rgb\.txt, line 2"):
        tum_rgbd.read(root)


# --- COLMAP -----------------------------------------------------------------------------------------------------------


def model(root: Path, binary: bool) -> Path:
    """One camera with a little radial distortion and two pictures, the second 0.2 units to the right."""
    folder = root / "sparse" / "0"
    folder.mkdir(parents=True)
    rows = []
    for i, name in ((1, "a b.jpg"), (2, "b.jpg")):
        picture(root / "images" / name)
        pose = POSE.copy()
        pose[:3, 3] += 0.2 * (i - 1) * POSE[:3, 0]
        there = poses.inverse(pose)
        x, y, z, w = poses.to_quaternion(there[:3, :3])
        rows.append((i, (w, x, y, z), tuple(there[:3, 3]), name))
    params = (60.0, 32.0, 24.0, 0.05)
    if binary:
        data = struct.pack("<QiiQQ4d", 1, 3, 2, 64, 48, *params)
        (folder / "cameras.bin").write_bytes(data)
        body = struct.pack("<Q", 2)
        for i, q, t, name in rows:
            body += struct.pack("<i7di", i, *q, *t, 3) + name.encode() + b"\0"
            body += struct.pack("<Q", i) + struct.pack("<ddq", 1.0, 2.0, -1) * i
        (folder / "images.bin").write_bytes(body)
        return root
    text(folder / "cameras.txt", "# cameras\n3 SIMPLE_RADIAL 64 48 " + " ".join(map(str, params)))
    lines = ["# images"]
    for i, q, t, name in rows:
        lines += [f"{i} {' '.join(map(repr, map(float, (*q, *t))))} 3 {name}", "" if i == 1 else "1.0 2.0 -1"]
    text(folder / "images.txt", "\n".join(lines))
    return root


@pytest.mark.parametrize("binary", [True, False])
def test_colmap_gives_posed_pictures(tmp_path: Path, binary: bool) -> None:
    first, second = colmap.views(model(tmp_path, binary), scale=0.5)
    assert first.path.name == "a b.jpg"
    assert first.world_from_camera[:3, 3] == pytest.approx(POSE[:3, 3] / 2)
    assert np.linalg.norm(second.world_from_camera[:3, 3] - first.world_from_camera[:3, 3]) == pytest.approx(0.1)
    assert first.intrinsics == Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48) and first.distortion == (0.05, 0.0, 0.0, 0.0)
    assert first.read().shape == (48, 64, 3)


def test_colmap_says_what_is_wrong(tmp_path: Path) -> None:
    root = model(tmp_path, binary=True)
    path = root / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="cut off"):
        colmap.views(root)
    path.write_bytes(struct.pack("<Qi7di", 1, 1, *[0.0] * 7, 3) + b"a\0" + struct.pack("<Q", 2**62))
    with pytest.raises(InputError, match="cut off"):
        colmap.views(root)
    other = model(tmp_path / "other", binary=False)
    text(other / "sparse" / "0" / "cameras.txt", "3 THIN_PRISM_FISHEYE 64 48 1 2 3")
    with pytest.raises(ValueError, match="THIN_PRISM_FISHEYE is not read; run `colmap image_undistorter`"):
        colmap.views(other)
    assert not colmap.is_one(tmp_path / "nowhere") and colmap.is_one(other)
    with pytest.raises(FileNotFoundError, match="no cameras"):
        colmap.views(tmp_path / "nowhere")


@pytest.mark.parametrize("second", ["", None, "1.0 2.0 -1 3 4 7"])
def test_colmap_with_and_without_second_lines(tmp_path: Path, second: str | None) -> None:
    """COLMAP writes a second line for each picture; those who write its files by hand often do not."""
    root = model(tmp_path, binary=False)
    path = root / "sparse" / "0" / "images.txt"
    rows = [line for line in path.read_text().splitlines() if line.endswith("jpg")]
    lines = [part for row in rows for part in ([row] if second is None else [row, second])]
    text(path, "\n".join(lines))
    assert [view.path.name for view in colmap.views(root)] == ["a b.jpg", "b.jpg"]


def test_colmap_leaves_out_what_is_wrong_with_one_picture(tmp_path: Path) -> None:
    root = model(tmp_path, binary=False)
    path = root / "sparse" / "0" / "images.txt"
    lines = path.read_text().replace(" 3 a b.jpg", " 4 a b.jpg").splitlines()
    lines += ["7 nan 0 0 0 0 0 0 3 b.jpg", "", "8 1 0 0 0 1e999 0 0 3 b.jpg", "", "9 1 0 0 0 0 0 0 3 gone.jpg"]
    text(path, "\n".join(line for line in lines if "nan" not in line and "1e999" not in line))
    problems: list[Problem] = []
    assert [view.path.name for view in colmap.views(root, problems)] == ["b.jpg"]
    assert [("camera 4" in str(p), "gone.jpg" in str(p)) for p in problems] == [(True, False), (False, True)]
    text(path, "\n".join(lines))
    with pytest.raises(InputError, match="line 6: expected IMAGE_ID"):
        colmap.views(root)


def test_colmap_names_of_other_systems(tmp_path: Path) -> None:
    root = model(tmp_path, binary=False)
    (root / "images" / "b.jpg").rename(root / "images" / "cafe\u0301.JPG")
    path = root / "sparse" / "0" / "images.txt"
    text(path, path.read_text().replace(" b.jpg", " caf\u00e9.jpg").replace("a caf\u00e9.jpg", "a b.jpg"))
    assert [view.path.name for view in colmap.views(root)] == ["a b.jpg", "cafe\u0301.JPG"]


def test_a_bent_line_becomes_straight() -> None:
    camera = Intrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
    v, u = np.mgrid[:48, :64].astype(float)
    # The straight line y = 0.2 through a lens with k1: a pixel shows it where its undistorted y is near.
    x, y = (u - 31.5) / 60, (v - 23.5) / 60
    for _ in range(20):  # the undistorted place of each distorted pixel, by fixed point
        r2 = x * x + y * y
        x, y = (u - 31.5) / 60 / (1 + 0.3 * r2), (v - 23.5) / 60 / (1 + 0.3 * r2)
    bent = np.repeat((255 * np.exp(-(((y - 0.2) * 60) ** 2) / 2))[..., None], 3, -1).astype(np.uint8)
    straight = posed_folder.straightened(bent, camera, (0.3, 0.0, 0.0, 0.0))[..., 0].astype(float)
    seen = straight.sum(0) > 300  # towards the sides the lens has lost the line
    assert seen[12:52].all()
    centre = (straight * v).sum(0)[seen] / straight.sum(0)[seen]
    assert np.abs(centre - (0.2 * 60 + 23.5)).max() < 0.15
    bow = (bent[..., 0] * v).sum(0) / np.maximum(bent[..., 0].sum(0), 1)
    assert np.ptp(bow) > 0.5


# --- posed pictures ---------------------------------------------------------------------------------------------------


def test_posed_pictures_need_no_depth(tmp_path: Path) -> None:
    for i in (2, 10, 11):
        picture(tmp_path / "images" / f"{i}.jpg")
        text(tmp_path / "poses" / f"{i}.txt", POSE if i != 11 else np.full((4, 4), np.inf))
    text(tmp_path / "intrinsics.txt", np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]))
    assert posed_folder.is_one(tmp_path)
    found = posed_folder.read(tmp_path)
    assert [view.path.stem for view in found] == ["2", "10"]
    text(tmp_path / "poses" / "2.txt", 2 * POSE)
    with pytest.raises(ValueError, match=r"2\.txt: the last row"):
        posed_folder.read(tmp_path)
    picture(tmp_path / "images" / "10.jpg", (32, 48))
    with pytest.raises(ValueError, match="32×48, its intrinsics are for 64×48"):
        found[1].read()


def test_bad_pictures_among_posed_ones_are_named_and_left_out(tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "images" / f"{i}.jpg")
        text(tmp_path / "poses" / f"{i}.txt", POSE)
    text(tmp_path / "intrinsics.txt", np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]))
    text(tmp_path / "poses" / "0.txt", "1.#QNAN " * 4)
    text(tmp_path / "poses" / "1.txt", "\n".join(["1.#QNAN 0 -nan(ind) 1"] * 4))
    (tmp_path / "images" / "2.jpg").write_bytes(b"")
    problems: list[Problem] = []
    assert [view.path.stem for view in posed_folder.read(tmp_path, problems)] == ["3"]
    assert [problem.file.name for problem in problems] == ["0.txt", "2.jpg"]


# --- finding out which one it is --------------------------------------------------------------------------------------


def test_a_folder_is_found_out(tmp_path: Path) -> None:
    made = {
        "ScanNet with plane annotation": scene(tmp_path / "scannet"),
        "TUM RGB-D": tum(tmp_path / "parent" / "rgbd_freiburg3_x"),
        "COLMAP model": model(tmp_path / "colmap", binary=True),
    }
    kinds = plane_annotations.AnnotatedScene, Recording, posed_folder.PosedPicture
    for (name, root), kind in zip(made.items(), kinds, strict=True):
        (found,) = layouts.find(root, *kinds)
        assert (found.set.NAME, found.kind, found.root) == (name, kind, root)
        content = found.read(found.root)
        assert isinstance(content if kind is Recording else content[0], kind)
    (inside,) = layouts.find(tmp_path / "parent", *kinds)
    assert inside.root == made["TUM RGB-D"]
    with pytest.raises(ValueError, match=r"no layout of data(.|\n)*COLMAP model: cameras\.bin"):
        layouts.find(tmp_path / "colmap" / "images", *kinds)
