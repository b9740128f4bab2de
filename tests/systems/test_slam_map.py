"""Maps on disk and in memory: journals, going on, placing only, joining, and staying small."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from percepta.errors import InputError, MissingFileError
from percepta.geometry import pose as poses
from percepta.systems.slam import PRESETS
from percepta.systems.slam import mapfile as files
from percepta.systems.slam.ways import Way
from percepta.systems.slam.world import RoundTrip

pytest.importorskip("cv2")
from percepta.systems.slam.predict import Session

TINY = PRESETS["tiny"]


def session_on(trip: RoundTrip, first: int = 0, last: int | None = None, **more: object) -> Session:
    """A session that has taken frames first to last of a trip."""
    session = Session(trip.camera, more.pop("config", TINY), **more)  # type: ignore[arg-type]
    for shot in list(trip)[first:last]:
        session.step(shot.frame, shot.time_s, shot.depth_m, shot.right)
    return session


def same_map(one: Session, path: Path, *, adjusted: bool = False) -> None:
    """A map from disk has everything that matters of that in memory, with or without what is still being adjusted."""
    map, way, metric = files.load(path, one.straight, TINY)
    mine = one.tracker.now()[0] if adjusted else one.tracker.map
    assert [k.number for k in map.keyframes] == [k.number for k in mine.keyframes]
    assert metric == one.tracker.with_depth and map.made == mine.made
    for a, b in zip(map.keyframes, mine.keyframes, strict=True):
        assert a.ids.tolist() == b.ids.tolist() and a.look_ids.tolist() == b.look_ids.tolist()
        assert a.uv.tobytes() == b.uv.tobytes() and a.camera_from_world.tobytes() == b.camera_from_world.tobytes()
        assert (a.look is None) == (b.look is None)
        assert b.look is not None or b is mine.keyframes[-1], "only the newest may not be described yet"
        assert a.look is None or b.look is None or (a.look.descriptors == b.look.descriptors).all()
        np.testing.assert_array_equal(map.places_of(a.look_ids), mine.places_of(b.look_ids))
        np.testing.assert_array_equal(map.xyz[a.ids], mine.xyz[b.ids])
    assert len(map.links) == len(mine.links)
    assert way.frame[: way.count].tolist() == one.tracker.way.frame[: way.count].tolist()


def test_a_journal_is_the_map_at_every_keyframe(tmp_path: Path) -> None:
    trip = RoundTrip(0, "depth", 30, 240, 0.2)
    session = Session(trip.camera, TINY, journal=tmp_path / "map")
    checked = 0
    for shot in trip:
        if session.step(shot.frame, shot.time_s, shot.depth_m).keyframe:
            same_map(session, tmp_path / "map")
            checked += 1
    assert checked > 4
    same_map(session, session.save_map(tmp_path / "map.npz"), adjusted=True)


def test_a_journal_begins_anew_when_it_is_long(tmp_path: Path) -> None:
    trip = RoundTrip(0, "depth", 24, 240, 0.2)
    session = Session(trip.camera, TINY)
    journal = files.Journal(tmp_path / "map", most=3)
    for shot in trip:
        if session.step(shot.frame, shot.time_s, shot.depth_m).keyframe:
            journal.write(session.tracker.map, session.tracker.way, metric=True)
    same_map(session, tmp_path / "map")
    assert len(list((tmp_path / "map").iterdir())) <= 4 < session.tracker.map.made


def test_a_process_that_is_killed_loses_the_last_keyframe_at_most(tmp_path: Path) -> None:
    script = f"""
import os
from percepta.systems.slam import PRESETS
from percepta.systems.slam.predict import Session
from percepta.systems.slam.world import RoundTrip
trip = RoundTrip(0, "depth", 40, 240, 0.3)
session = Session(trip.camera, PRESETS["tiny"], journal={str(tmp_path / "map")!r})
made = 0
for shot in trip:
    made += session.step(shot.frame, shot.time_s, shot.depth_m).keyframe
    if made == 5:
        os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ}, capture_output=True)
    assert done.returncode == -9
    map, way, _ = files.load(tmp_path / "map", RoundTrip(0, "depth", 1, 240).camera, TINY)
    assert len(map.keyframes) >= 4 and way.count > 4
    session = session_on(RoundTrip(0, "depth", 40, 240, 0.3), 8, 14, map=tmp_path / "map")
    assert "relocalised" in session.states and session.states[-1] == "tracking"


def test_broken_files_are_named(tmp_path: Path) -> None:
    camera = RoundTrip(0, "depth", 1, 240).camera
    with pytest.raises(MissingFileError):
        files.load(tmp_path, camera, TINY)
    session = session_on(RoundTrip(0, "depth", 6, 240, 0.05))
    path = session.save_map(tmp_path / "map.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="no map"):
        files.load(path, camera, TINY)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="no map"):
        files.load(tmp_path / "other.npz", camera, TINY)
    with pytest.raises(InputError, match="needs a map"):
        Session(camera, TINY, mapping=False)


@pytest.mark.parametrize("mode", ["depth", "mono"])
def test_frames_are_only_placed_in_a_map(tmp_path: Path, mode: str) -> None:
    trip = RoundTrip(0, mode, 40, 320, 0.15)  # type: ignore[arg-type]
    first = session_on(trip)
    path = first.save_map(tmp_path / "map.npz")
    again = session_on(trip, 5, 40, map=path, mapping=False)
    assert len(again.tracker.map.keyframes) == len(first.tracker.map.keyframes)
    assert again.tracker.map.xyz.tobytes() == files.load(path, trip.camera, TINY)[0].xyz.tobytes()
    placed = [s for s in again.states if s in ("tracking", "relocalised")]
    assert len(placed) >= 30
    walk, before = again.walk(), first.walk()
    fresh = walk.frames >= 40  # frame numbers go on after those of the map
    theirs = dict(zip(before.frames.tolist(), before.trajectory.centres, strict=True))
    at = [theirs[frame - 40 + 5] for frame in walk.frames[fresh].tolist()]
    off = np.linalg.norm(walk.trajectory.centres[fresh] - np.array(at), axis=1)
    assert np.median(off) < 0.02 * max(1.0, before.trajectory.length_m)


@pytest.mark.parametrize("mode", ["depth", "mono"])
def test_a_part_is_joined_when_its_place_is_seen_again(mode: str) -> None:
    """Lost for longer than is waited for, then elsewhere in the room, then back over the first place."""
    trip = RoundTrip(0, mode, 60, 320, 0.25)  # type: ignore[arg-type]
    shots = list(trip)
    order = [*range(25), *([None] * 9), *range(59, 20, -1)]
    session = Session(trip.camera, replace(TINY, corners=200))
    black = np.zeros_like(shots[0].frame)
    for number, place in enumerate(order):
        shot = shots[0 if place is None else place]
        depth = shot.depth_m if place is not None else np.zeros_like(shot.depth_m) if mode == "depth" else None
        session.step(black if place is None else shot.frame, number / 30, depth)
    assert max(k.number for k in session.tracker.map.keyframes) > 5
    assert "lost" in session.states and "loop closed" in session.states[34:]
    walk = session.walk()
    assert set(walk.part.tolist()) == {0}, "one part is left"
    true = poses.inverse(trip.path[0]) @ trip.path
    centres = np.stack([true[order[f]][:3, 3] for f in walk.frames.tolist()])  # type: ignore[index]
    from percepta.metrics.trajectory import umeyama

    alignment = umeyama(walk.trajectory.centres, centres, with_scale=mode == "mono")
    off = np.linalg.norm(alignment.points(walk.trajectory.centres) - centres, axis=1)
    assert np.sqrt((off**2).mean()) < (0.02 if mode == "depth" else 0.06)


def test_memory_is_bounded() -> None:
    """Many more frames than keyframes are kept; numbers of points are used again."""
    config = replace(TINY, max_keyframes=14, max_frames=40)
    session = session_on(RoundTrip(0, "depth", 120, 240, 1.0), config=config)
    map = session.tracker.map
    assert len(map.keyframes) <= 15 < map.made  # the newest makes room in the frame after it
    assert session.tracker.way.count <= 41
    walk = session.walk()
    assert walk.frames[-1] == 119 and (np.diff(walk.frames) > 0).all()
    ids = np.concatenate([k.ids for k in map.keyframes])
    assert ids.max() < len(map.xyz) == len(map.colour)


def test_compacting_changes_nothing_that_is_seen() -> None:
    session = session_on(RoundTrip(0, "depth", 25, 240, 0.3))
    map = session.tracker.map
    extra = map.new_points(np.full((5000, 3), np.nan), np.zeros((5000, 3), np.uint8))
    before = [(map.xyz[k.ids].copy(), map.places_of(k.look_ids).copy()) for k in map.keyframes]
    number = map.compact(np.zeros(0, np.int64))
    assert number is not None and (number[extra] == -1).all() and len(map.xyz) < 5000
    for k, (seen, looks) in zip(map.keyframes, before, strict=True):
        np.testing.assert_array_equal(map.xyz[k.ids], seen)
        now = map.places_of(k.look_ids)
        there = np.isfinite(now[:, 0])
        np.testing.assert_array_equal(now[there], looks[there])
    assert map.compact(np.zeros(0, np.int64)) is None


def test_a_way_keeps_its_poses_while_keyframes_go() -> None:
    rng, way = np.random.default_rng(0), Way(1000)
    at = {n: poses.compose(poses.from_vector(rng.normal(0, 1, 3)), rng.normal(0, 1, 3)) for n in range(3)}
    for frame in range(9):
        small = poses.compose(poses.from_vector(rng.normal(0, 0.1, 3)), rng.normal(0, 0.1, 3))
        way.add(frame, frame / 30, frame // 3, small)
    _, before = way.world_from_camera(at)
    way.stand_on(1, 0, at[1] @ poses.inverse(at[0]))
    rows, after = way.world_from_camera({0: at[0], 2: at[2]})
    assert rows.tolist() == list(range(9))
    np.testing.assert_allclose(after, before, atol=1e-12)
    # Twice as large a world: lengths in every keyframe's coordinates grow as well.
    large = {n: poses.compose(m[:3, :3], 2 * m[:3, 3]) for n, m in at.items()}
    way.scale({0: 2.0, 2: 2.0})
    _, grown = way.world_from_camera(large)
    np.testing.assert_allclose(grown[:, :3, 3], 2 * before[:, :3, 3], atol=1e-12)
    few = Way(10)
    for frame in range(50):
        few.add(frame, float(frame), 0, np.eye(4))
    assert few.count <= 11 and few.frame[few.count - 1] == 49


def test_threads_change_no_bit() -> None:
    script = """
import sys, hashlib
import cv2
from percepta.systems.slam import PRESETS
from percepta.systems.slam.predict import Session
from percepta.systems.slam.world import RoundTrip
cv2.setNumThreads(int(sys.argv[1]))
trip = RoundTrip(0, "depth", 24, 240, 0.2)
session = Session(trip.camera, PRESETS["tiny"])
for shot in trip:
    session.step(shot.frame, shot.time_s, shot.depth_m)
walk = session.walk()
print(hashlib.sha256(walk.trajectory.world_from_camera.tobytes() + walk.points.tobytes()).hexdigest())
"""
    found = set()
    for threads in ("1", "2"):
        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", script, threads], env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
