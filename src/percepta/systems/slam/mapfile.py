"""Files of maps: a record holds what is new since the last one, so that a map can be kept on disk while it grows.

A saved map is one record with everything; a journal is a folder of records that are read one after the other. Each is
written whole or not at all, so that whatever ends the process costs at most the keyframe that was being written.
Pictures and surfaces are left out: what was kept is enough to see places again and to go on.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from percepta import files
from percepta.errors import InputError, MissingFileError
from percepta.geometry.camera import Intrinsics
from percepta.systems.slam import Config
from percepta.systems.slam.adjust import Link
from percepta.systems.slam.map import Keyframe, Map
from percepta.systems.slam.places import Look
from percepta.systems.slam.ways import Way

_FORMAT = 2
_SEEN = ("ids", "uv", "pixel", "inverse_depth", "look_ids")


def _record(
    map: Map, way: Way, keyframes: Sequence[Keyframe], links: Sequence[Link], looked: set[int], first: int, metric: bool
) -> bytes:
    """The bytes of a record.

    Args:
        map: all of it.
        way: where frames are; those from `first` on are written.
        keyframes: whose observations and poses are written.
        links: that are written, too: they never change.
        looked: numbers of those whose descriptions are written.
        first: place in `way`.
        metric: whether lengths are metres.
    """
    looks = [k for k in keyframes if k.number in looked and k.look is not None]
    ids = np.unique(np.concatenate([a for k in keyframes for a in (k.ids, k.look_ids)] or [np.zeros(0, np.int64)]))
    ids = ids[ids >= 0]
    rows: dict[str, Any] = {
        "format": np.array([_FORMAT, map.made, len(map.xyz), first, int(metric)]),
        "there": np.array([k.number for k in map.keyframes], np.int64),
        "head": np.array([[k.number, k.frame, k.part] for k in keyframes], np.int64).reshape(-1, 3),
        "time_s": np.array([k.time_s for k in keyframes], np.float64),
        "camera_from_world": np.array([k.camera_from_world for k in keyframes]).reshape(-1, 4, 4),
        "counts": np.array([[len(k.ids), len(k.look_ids)] for k in keyframes], np.int64).reshape(-1, 2),
        "point": ids,
        "xyz": map.xyz[ids],
        "colour": map.colour[ids],
        "look_of": np.array([k.number for k in looks], np.int64),
        "whole": np.array([k.look.whole for k in looks if k.look is not None], np.float32),
        "look_counts": np.array([len(k.look.corner) for k in looks if k.look is not None], np.int64),
        "link": np.array([[a.first, a.second] for a in links], np.int64).reshape(-1, 2),
        "link_pose": np.array([a.second_from_first for a in links]).reshape(-1, 4, 4),
        "link_information": np.array([a.information for a in links]).reshape(-1, 6, 6),
        "way": np.stack([way.frame[first : way.count], way.keyframe[first : way.count]], 1),
        "way_time_s": way.time_s[first : way.count],
        "way_pose": way.camera_from_keyframe[first : way.count],
    }
    for name in _SEEN:
        rows[name] = np.concatenate([getattr(k, name) for k in keyframes]) if keyframes else np.zeros(0)
    for name, empty in (("descriptors", np.zeros((0, 32), np.uint8)), ("corner", np.zeros(0, np.int64))):
        rows[name] = np.concatenate([empty, *(getattr(k.look, name) for k in looks if k.look is not None)])
    content = io.BytesIO()
    np.savez(content, **rows)
    return content.getvalue()


def save(path: Path | str, map: Map, way: Way, *, metric: bool) -> Path:
    """Writes a whole map as one .npz.

    Args:
        path: of the file.
        map: keyframes, points and links.
        way: where frames are.
        metric: whether lengths are metres.
    """
    everything = {k.number for k in map.keyframes}
    return files.write_atomically(path, _record(map, way, map.keyframes, map.links, everything, 0, metric))


@dataclass
class Journal:
    """Keeps a growing map in a folder: a record for each keyframe, with what has changed since the one before.

    Attributes:
        folder: of the records; what maps it holds are replaced.
        most: after so many records all is written anew as one.
    """

    folder: Path
    most: int = 200
    _written: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    _linked: set[tuple[int, int]] = field(default_factory=set)
    _number: int = 0
    _first: int = 0  # of the records that count
    _frames: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, map: Map, way: Way, *, metric: bool) -> None:
        """Writes what has changed: keyframes whose arrays are other ones than before.

        Args:
            map: keyframes, points and links.
            way: where frames are.
            metric: whether lengths are metres.
        """
        whole = self._number - self._first >= self.most or way.count < self._frames or self._number == 0
        if whole:
            self._written, self._linked, self._frames = {}, set(), 0
        changed, looked = [], set()
        for k in map.keyframes:
            arrays = (k.ids, k.look_ids, k.camera_from_world, k.part, k.look)
            before = self._written.get(k.number)
            if before is None or any(a is not b for a, b in zip(arrays, before, strict=True)):
                changed.append(k)
            if before is None or before[-1] is not k.look:  # it is described some frames after it was made
                looked.add(k.number)
            self._written[k.number] = arrays
        links = [a for a in map.links if (a.first, a.second) not in self._linked]
        self._linked |= {(a.first, a.second) for a in links}
        content = _record(map, way, changed, links, looked, self._frames, metric)
        files.write_atomically(self.folder / f"{self._number:06d}.npz", content)
        self._number, self._frames = self._number + 1, way.count
        if whole:  # only now are older records of no use
            self._first = self._number - 1
            for path in self.folder.glob("[0-9]*.npz"):
                if path.stem.isdigit() and path.stem != f"{self._first:06d}":
                    path.unlink()


def load(path: Path | str, camera: Intrinsics, config: Config) -> tuple[Map, Way, bool]:
    """Reads a saved map, or a journal's folder.

    Args:
        path: the file or the folder.
        camera: intrinsics of the pictures to come.
        config: settings.

    Returns:
        (map, where frames are, whether lengths are metres).

    Raises:
        MissingFileError: there is no such file, or the folder has no record.
        InputError: it is no map.
    """
    path = Path(path)
    records = sorted(p for p in path.glob("[0-9]*.npz") if p.stem.isdigit()) if path.is_dir() else [path]
    if not records or not records[0].is_file():
        raise MissingFileError(
            f"{path}: no map there; one that a session saved, or the folder of its journal, was expected"
        )
    out, way, metric = Map(camera, config), Way(config.max_frames), False
    for record in records:
        try:
            with np.load(io.BytesIO(record.read_bytes()), allow_pickle=False) as rows:
                table = {name: rows[name] for name in rows.files}
            metric = _replay(out, way, table)
        except (OSError, KeyError, ValueError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{record}: this is no map of slam ({error})") from None
    return out, way, metric


def _replay(map: Map, way: Way, table: dict[str, np.ndarray]) -> bool:
    """Brings a map to where a record says it is; returns whether lengths are metres."""
    form, made, points, first, metric = table["format"].tolist()
    if form != _FORMAT:
        raise ValueError(f"it has the format {form}, not {_FORMAT}")
    map.made = made
    grow = max(0, points - len(map.xyz))
    map.xyz = np.concatenate([map.xyz, np.full((grow, 3), np.nan)])[:points]
    map.colour = np.concatenate([map.colour, np.zeros((grow, 3), np.uint8)])[:points]
    map.xyz[table["point"]], map.colour[table["point"]] = table["xyz"], table["colour"]
    keyframes = {k.number: k for k in map.keyframes}
    looks = _looks(table)
    ends, look_ends = np.cumsum(table["counts"], 0).T if len(table["counts"]) else ([], [])
    for i, (number, frame, part) in enumerate(table["head"].tolist()):
        count, look_count = table["counts"][i].tolist()
        seen, own = slice(ends[i] - count, ends[i]), slice(look_ends[i] - look_count, look_ends[i])
        before = keyframes.get(number)
        look = looks.get(number) or (before.look if before is not None else None)
        keyframes[number] = Keyframe(
            number,
            frame,
            float(table["time_s"][i]),
            table["camera_from_world"][i],
            table["ids"][seen],
            table["uv"][seen],
            table["pixel"][seen],
            table["inverse_depth"][seen],
            part=part,
            look=look,
            look_ids=table["look_ids"][own],
        )
    map.keyframes = [keyframes[number] for number in table["there"].tolist()]
    there = set(table["there"].tolist())
    map.links = [a for a in map.links if a.first in there and a.second in there] + [
        Link(a, b, pose, information)
        for (a, b), pose, information in zip(
            table["link"].tolist(), table["link_pose"], table["link_information"], strict=True
        )
    ]
    way.count = min(way.count, first)
    for (frame, keyframe), time_s, pose in zip(
        table["way"].tolist(), table["way_time_s"].tolist(), table["way_pose"], strict=True
    ):
        way.add(frame, time_s, keyframe, pose)
    return bool(metric)


def _looks(table: dict[str, np.ndarray]) -> dict[int, Look]:
    out, start = {}, 0
    for number, whole, count in zip(
        table["look_of"].tolist(), table["whole"], table["look_counts"].tolist(), strict=True
    ):
        own = slice(start, start + count)
        out[number] = Look(whole, table["descriptors"][own], table["corner"][own])
        start += count
    return out
