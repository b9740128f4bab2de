"""Readers of recordings of agents, of videos with masks and of captures with sensors, with a small good input each.

The other half of `breaker_readers.trees`; `breaker.py` and a test go through both.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from breaker_readers import H, Reader, W, film, grey, picture, spoil, spoil_bytes, table, text

from percepta.datasets import (
    argoverse1,
    argoverse2,
    davis,
    eth_ucy,
    euroc,
    foregrounds,
    interaction,
    lvos,
    mose,
    scenarionet,
    stray_scanner,
    tracks_csv,
    video_folder,
    voc,
    youtube_vos,
)  # fmt: skip
from percepta.datasets.capture import Capture
from percepta.datasets.videos import read_mask

STEPS = 12


def sets() -> list[Reader]:
    """All readers of this file."""
    return [*_traffic(), *_videos(), *_captures(), *_scenes()]


def spoil_packed(data: bytes, rng: random.Random) -> bytes:
    """The JSON in a gzip file is spoiled, or the file itself."""
    if rng.random() < 0.3:
        return spoil_bytes(data, rng)
    return gzip.compress(spoil(gzip.decompress(data), "json", rng))


def _traffic() -> list[Reader]:
    def recordings(read: Callable[..., Any]) -> Callable[[Path], object]:
        """Reads the set, with and without a list of problems, and every recording of it."""

        def run(root: Path) -> object:
            read(root, [])
            found = read(root)
            return [found[i] for i in range(len(found))]

        return run

    def make_csv(root: Path) -> None:
        rows = [(0.1 * t, who, t + (who == "b"), 0.5, "vehicle") for t in range(STEPS) for who in "ab"]
        table(root / "walk.csv", ("time", "id", "x", "y", "type"), *rows)
        shapes = [{"type": "LineString", "coordinates": [[0, 0], [20, 0]]},
                  {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 0]]]}]  # fmt: skip
        content = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": one} for one in shapes]}
        (root / "walk.geojson").write_text(json.dumps(content))
        text(root / "h.txt", "1 0 0", "0 1 0", "0 0 1")

    def read_csv(root: Path) -> object:
        return tracks_csv.read_homography(root / "h.txt"), recordings(tracks_csv.read)(root)

    def make_eth(root: Path) -> None:
        lines = [f"{10 * t} {who} {t} {who}" for t in range(STEPS) for who in (1, 2)]
        for scene in ("eth", "hotel", "univ", "zara1", "zara2"):
            for part, name in (("train", "biwi_hotel"), ("val", "crowds_zara02"), ("test", "biwi_eth")):
                text(root / scene / part / f"{name}{'_train' * (part == 'train')}.txt", *lines)

    def make_first(root: Path) -> None:
        rows = [(315_970_000 + 0.1 * t, who, who, t, 2.0 * t, "PIT") for t in range(50) for who in ("AV", "AGENT")]
        table(root / "1.csv", ("TIMESTAMP", "TRACK_ID", "OBJECT_TYPE", "X", "Y", "CITY_NAME"), *rows)

    def make_scenarios(root: Path) -> None:
        track = {"type": "VEHICLE", "position": [[float(t), 0.0] for t in range(STEPS)], "heading": [0.1] * STEPS,
                 "velocity": [[1.0, 0.0]] * STEPS, "valid": [1] * STEPS, "size": [4.5, 1.8]}  # fmt: skip
        lanes = {"a": {"type": "LANE_SURFACE_STREET", "polyline": [[0, 0], [50, 0]]},
                 "b": {"type": "CROSSWALK", "polyline": [[9, -3], [9, 3], [12, 3]]}}  # fmt: skip
        content = {"source": "s1", "dataset": "waymo", "length": STEPS, "ego": "car", "targets": ["car"],
                   "timestamps_s": [0.1 * t for t in range(STEPS)], "tracks": {"car": track}, "map": lanes}  # fmt: skip
        (root / "one.json").write_text(json.dumps(content))
        (root / "two.json.gz").write_bytes(gzip.compress(json.dumps({**content, "source": "s2"}).encode()))

    def make_interaction(root: Path) -> None:
        columns = ("track_id", "frame_id", "timestamp_ms", "agent_type", "x", "y", "vx", "vy", "psi_rad", "length",
                   "width")  # fmt: skip
        rows = [(1, t + 1, 100 * t, "car", 0.5 * t, 0.1, 5, 0, 0.0, 4.5, 1.8) for t in range(STEPS)]
        table(root / "X_vehicle_tracks_000.csv", columns, *rows)
        walkers = [("P1", t + 1, 100 * t, "pedestrian/bicycle", 0.1 * t, 3.0, 1, 0) for t in range(STEPS)]
        table(root / "X_pedestrian_tracks_000.csv", columns[:8], *walkers)
        corners = [(0, 2), (100, 2), (0, -2), (100, -2)]
        nodes = "\n".join(f"<node id='{i}' lat='{y / 110574}' lon='{x / 111320}'/>" for i, (x, y) in enumerate(corners))
        sides = "\n".join(
            f"<way id='{10 + i}'><nd ref='{2 * i}'/><nd ref='{2 * i + 1}'/><tag k='type' v='curbstone'/></way>"
            for i in range(2)
        )
        lane = (
            "<relation id='20'><member type='way' ref='10' role='left'/><member type='way' ref='11' role='right'/>"
            "<tag k='type' v='lanelet'/><tag k='subtype' v='road'/></relation>"
        )
        text(root / "X.osm", "<?xml version='1.0'?><osm>", nodes, sides, lane, "</osm>")

    def make_map(root: Path) -> None:
        points = [{"x": float(i), "y": 0.0, "z": 0.0} for i in range(5)]
        right = [{**one, "y": -3.0} for one in points]
        lane = {"id": 1, "is_intersection": False, "lane_type": "VEHICLE", "left_lane_boundary": points,
                "right_lane_boundary": right, "left_lane_mark_type": "NONE", "right_lane_mark_type": "NONE",
                "successors": [], "predecessors": [], "left_neighbor_id": None, "right_neighbor_id": None}  # fmt: skip
        content = {"lane_segments": {"1": lane}, "drivable_areas": {"2": {"id": 2, "area_boundary": points + right}},
                   "pedestrian_crossings": {"3": {"id": 3, "edge1": points[:2], "edge2": right[:2]}}}  # fmt: skip
        (root / "log_map_archive_1.json").write_text(json.dumps(content))

    return [
        Reader("tracks as csv", make_csv, read_csv, {"walk.csv": "text", "walk.geojson": "json", "h.txt": "text"}),
        Reader("eth/ucy", make_eth, recordings(eth_ucy.read), {"eth/test/biwi_eth.txt": "text"}),
        Reader("argoverse 1", make_first, recordings(argoverse1.read), {"1.csv": "text"}),
        Reader(
            "scenarionet", make_scenarios, recordings(scenarionet.read),
            {"one.json": "json", "two.json.gz": spoil_packed},
        ),
        Reader(
            "interaction", make_interaction, recordings(interaction.read),
            {"X_vehicle_tracks_000.csv": "text", "X_pedestrian_tracks_000.csv": "text", "X.osm": "text"},
        ),
        Reader(
            "argoverse 2, map", make_map, lambda root: argoverse2.read_map(root / "log_map_archive_1.json"),
            {"log_map_archive_1.json": "json"},
        ),
    ]  # fmt: skip


def _videos() -> list[Reader]:
    def parts(folder: Path, pictures: str, masks: str) -> None:
        for i in range(3):
            picture(folder / pictures / "dog" / f"{5 * i:05d}.jpg")
            values = np.zeros((H, W), np.uint8)
            values[5:15, 5 + i : 20 + i] = 1
            grey(folder / masks / "dog" / f"{5 * i:05d}.png", values)

    def make_youtube(root: Path) -> None:
        parts(root / "train", "JPEGImages", "Annotations")
        thing = {"category": "dog", "frames": [f"{5 * i:05d}" for i in range(3)]}
        (root / "train" / "meta.json").write_text(json.dumps({"videos": {"dog": {"objects": {"1": thing}}}}))

    def make_lvos(root: Path) -> None:
        parts(root / "val", "JPEGImages", "Annotations")
        thing = {"frame_range": {"start": "0", "end": "11", "frame_nums": "3"}}
        (root / "val" / "meta.json").write_text(json.dumps({"videos": {"dog": {"objects": {"1": thing}}}}))

    def make_mose(root: Path) -> None:
        parts(root / "train", "JPEGImages", "Annotations")

    def make_own(root: Path) -> None:
        parts(root, "images", "masks")

    def make_davis(root: Path) -> None:
        parts(root, "JPEGImages/480p", "Annotations/480p")
        text(root / "ImageSets" / "2017" / "val.txt", "dog")

    def videos(read: Callable[..., Any]) -> Callable[[Path], object]:
        def run(root: Path) -> object:
            for video in read(root, [], []):
                for path in video.masks:
                    if path is not None:
                        read_mask(path, video.binary)
            return read(root)

        return run

    mask = "train/Annotations/dog/00005.png"
    return [
        Reader("youtube-vos", make_youtube, videos(youtube_vos.videos), {"train/meta.json": "json", mask: "bytes"}),
        Reader("lvos", make_lvos, videos(lvos.videos), {"val/meta.json": "json"}),
        Reader("mose", make_mose, videos(mose.videos), {mask: "bytes"}),
        Reader("videos of one's own", make_own, videos(video_folder.videos), {"masks/dog/00000.png": "bytes"}),
        Reader("davis, videos", make_davis, videos(davis.videos), {"ImageSets/2017/val.txt": "text"}),
    ]


def _captures() -> list[Reader]:
    def make_stray(root: Path) -> None:
        film(root / "rgb.mp4")
        text(root / "camera_matrix.csv", "50.0, 0.0, 31.5", "0.0, 50.0, 23.5", "0.0, 0.0, 1.0")
        text(root / "odometry.csv", "timestamp, frame, x, y, z, qx, qy, qz, qw",
             *(f"{0.1 * i}, {i:06d}, {0.1 * i}, 0, 0, 0, 0, 0, 1" for i in range(12)))  # fmt: skip
        for i in range(12):
            grey(root / "depth" / f"{i:06d}.png", np.full((H, W), 1500, np.uint16))

    def make_euroc(root: Path) -> None:
        home = root / "mav0"
        for name in ("cam0", "cam1"):
            text(home / name / "data.csv", "#timestamp,filename", *(f"{10**9 + i},{10**9 + i}.png" for i in range(3)))
            for i in range(3):
                grey(home / name / "data" / f"{10**9 + i}.png", np.full((H, W), 90, np.uint8))
            shift = -0.1 * (name == "cam1")
            text(home / name / "sensor.yaml", "sensor_type: camera", "T_BS:", "  cols: 4", "  rows: 4",
                 f"  data: [1.0, 0.0, 0.0, {shift}, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]",
                 f"resolution: [{W}, {H}]", "camera_model: pinhole", "intrinsics: [30.5, 31.0, 15.5, 11.5]",
                 "distortion_model: radial-tangential", "distortion_coefficients: [-0.28, 0.07, 0.0002, 1.7e-05]",
                 )  # fmt: skip
        text(home / "imu0" / "sensor.yaml", "gyroscope_noise_density: 1.7e-04", "gyroscope_random_walk: 2.0e-05",
             "accelerometer_noise_density: 2.0e-3", "accelerometer_random_walk: 3.0e-3")  # fmt: skip
        text(
            home / "imu0" / "data.csv", "#t,w,w,w,a,a,a", *(f"{10**9 + 5 * 10**6 * i},0,0,0,0,0,9.81" for i in range(9))
        )
        text(
            home / "state_groundtruth_estimate0" / "data.csv", "#t", *(f"{10**9 + i},{i},0,0,1,0,0,0" for i in range(3))
        )

    def capture(read: Callable[[Path], Capture]) -> Callable[[Path], object]:
        return lambda root: list(read(root).frames)

    return [
        Reader(
            "stray scanner", make_stray, capture(stray_scanner.read),
            {"odometry.csv": "text", "camera_matrix.csv": "text", "depth/000003.png": "bytes"},
        ),
        Reader(
            "euroc", make_euroc, capture(euroc.read),
            {
                "mav0/cam0/data.csv": "text", "mav0/cam0/sensor.yaml": "text", "mav0/imu0/data.csv": "text",
                "mav0/imu0/sensor.yaml": "text", "mav0/state_groundtruth_estimate0/data.csv": "text",
            },
        ),
    ]  # fmt: skip


def _scenes() -> list[Reader]:
    def masked(folder: Path, name: str) -> None:
        picture(folder / "images" / f"{name}.jpg")
        values = np.zeros((H, W), np.uint8)
        values[5:15, 5:20] = 255
        grey(folder / "masks" / f"{name}.png", values)

    def make_pairs(root: Path) -> None:
        masked(root, "dog_1")

    def make_foregrounds(root: Path) -> None:
        for name in ("horses", "people"):
            masked(root / name, "1")

    def scenes(read: Callable[..., Any]) -> Callable[[Path], object]:
        def run(root: Path) -> object:
            for scene in read(root, [], []):
                for region in scene.regions:
                    region.mask.read()
            return read(root)

        return run

    return [
        Reader("co-segmentation", make_pairs, scenes(voc.read), {"masks/dog_1.png": "bytes"}),
        Reader("foregrounds", make_foregrounds, scenes(foregrounds.read), {"horses/masks/1.png": "bytes"}),
    ]
