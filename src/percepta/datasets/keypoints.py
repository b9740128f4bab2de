"""2-D keypoints of people as JSON: OpenPose's (BODY_25 or 17 points) and COCO's.

    cam01/000012_keypoints.json   OpenPose, a file a frame: {"people": [{"pose_keypoints_2d": [x, y, c, ...]}, ...]};
                                  the last number in the name is the frame, counted from 0
    cam01.json                    COCO: [{"image_id": 12, "keypoints": [x, y, c, ...]}, ...], or an object with
                                  "annotations" (and "images", whose file names then say the frame)

Points are pixels, with the confidence 0..1 (COCO's annotations: 0 not labelled, 1 hidden, 2 seen). Seventeen points are
COCO's, 25 are BODY_25's; both come out as POINTS, with confidence 0 where the other form has a point more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from percepta.errors import InputError, MissingFileError
from percepta.formats import field, read_json
from percepta.geometry.camera import Intrinsics
from percepta.geometry.triangulate import Points, triangulate

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
BODY_25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe",
    "right_heel",
)  # fmt: skip
POINTS = BODY_25
"""Names of the points that come out, in order."""
_FORMS = {17: COCO, 25: BODY_25}
_MOST = 512  # combinations of people that are tried in a frame

People = Sequence[Float64[np.ndarray, "25 3"]]
"""Of one frame and camera: x and y in pixels and confidence of each of POINTS, for each person."""


def is_one(root: Path) -> bool:
    """Whether a folder holds keypoints: JSON files, or folders of them."""
    return root.is_dir() and (any(root.glob("*.json")) or any(root.glob("*/*_keypoints.json")))


def read(path: Path | str) -> dict[int, list[Float64[np.ndarray, "25 3"]]]:
    """{number of the frame: people} of one camera.

    Args:
        path: a JSON file of COCO's form, or a folder of OpenPose's files.

    Raises:
        MissingFileError: there is no such file.
        InputError: it has another form, or points of another number than 17 and 25: names file and place.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise MissingFileError(f"{path}: no .json of keypoints in this folder")
        return {_number(file.stem, str(file)): _open_pose(file) for file in files}
    table = read_json(path)
    names: dict[Any, str] = {}
    halves = False
    if isinstance(table, dict):
        if "people" in table:
            return {_number(path.stem, str(path)): _open_pose(path)}
        for place, image in enumerate(field(table, "images", list, str(path), [])):
            names[field(image, "id", object, f"{path}: images[{place}]")] = field(
                image, "file_name", str, f"{path}: images[{place}]"
            )
        table, halves = field(table, "annotations", list, str(path)), True
    if not isinstance(table, list):
        raise InputError(f"{path}: keypoints are a list of entries with image_id and keypoints, or OpenPose's people")
    out: dict[int, list[np.ndarray]] = {}
    for place, entry in enumerate(table):
        where = f"{path}: entry {place}"
        image = field(entry, "image_id", object, where)
        frame = _number(Path(names.get(image, str(image))).stem, where)
        person = _person(field(entry, "keypoints", list, where), where)
        if halves:
            person[:, 2] /= 2
        out.setdefault(frame, []).append(person)
    return out


def _open_pose(path: Path) -> list[np.ndarray]:
    people = field(read_json(path), "people", list, str(path))
    where = f"{path}: people"
    return [_person(field(p, "pose_keypoints_2d", list, where), f"{where}[{i}]") for i, p in enumerate(people)]


def _number(name: str, where: str) -> int:
    """The last number in a name: of "cam1_0012_keypoints" 12."""
    found = re.findall(r"\d+", name.removesuffix("_keypoints"))
    if not found:
        raise InputError(f"{where}: no number of a frame in {name!r}")
    return int(found[-1])


def _person(numbers: list, where: str) -> np.ndarray:
    try:
        given = np.array(numbers, np.float64)
    except (TypeError, ValueError):
        given = np.zeros(0)
    if given.ndim != 1 or given.size % 3 or given.size // 3 not in _FORMS or not np.isfinite(given).all():
        raise InputError(
            f"{where}: keypoints are 17 (COCO) or 25 (BODY_25) times x, y and confidence; found {len(numbers)} numbers"
        )
    names = _FORMS[given.size // 3]
    out = np.zeros((len(POINTS), 3))
    out[[POINTS.index(name) for name in names]] = given.reshape(-1, 3)
    return out


def read_cameras(root: Path | str, cameras: Sequence[str]) -> dict[str, dict[int, list[Float64[np.ndarray, "25 3"]]]]:
    """Keypoints of each camera: from `NAME.json`, or from a folder whose name begins with the camera's.

    Raises:
        MissingFileError: a camera has none.
        InputError: as `read`.
    """
    root = Path(root)
    out = {}
    for name in cameras:
        folders = [root / name, root / f"{name}_json"]
        path = next((x for x in (root / f"{name}.json", *folders) if x.exists()), None)
        if path is None:
            raise MissingFileError(f"{root}: no keypoints of {name}: expected {name}.json or a folder {name}/")
        out[name] = read(path)
    return out


def same_person(people: Mapping[int, People], views: Sequence[tuple[Intrinsics, Float64[np.ndarray, "4 4"]]]) -> Points:
    """The points of the person on whom the views agree most, of one frame.

    Every choice of one person a view is triangulated (at most 512 of them); the one with most agreeing pixels wins.

    Args:
        people: of each view, by its place; without distortion.
        views: (intrinsics, world_from_camera).
    """
    found: list[tuple[float, Points]] = []
    nobody = np.zeros((len(POINTS), 3))
    for number, chosen in enumerate(product(*(people.get(view) or (nobody,) for view in range(len(views))))):
        if number >= _MOST:
            break
        given = np.stack(chosen)
        points = triangulate(given[..., :2], given[..., 2], views)
        error = np.nan_to_num(points.error_px).sum() / max((points.sure > 0).sum(), 1)
        found.append((float(points.used.sum()) - 1e-3 * float(error), points))
    return max(found, key=lambda pair: pair[0])[1]
