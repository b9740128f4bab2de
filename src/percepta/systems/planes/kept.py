"""Pairs that are kept as arrays: rendered, or taken from a recording, once; `percepta planes keep` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from percepta.errors import InputError
from percepta.files import write_atomically, writing
from percepta.formats import field, map_array, read_arrays, read_json
from percepta.geometry.camera import Intrinsics
from percepta.systems.planes.pairs import MAX_TRUE_PLANES, Pair, PairSource, largest_planes

FILES = "pairs.json, in the folder or in folders below it; `percepta planes keep` writes it"


def is_one(root: Path) -> bool:
    """Whether a folder holds kept pairs, itself or in folders below it."""
    return any(root.glob("**/pairs.json"))


def write(
    source: PairSource, folder: Path, progress: Callable[[int, int], None] | None = None, part: tuple[int, int] = (0, 1)
) -> Path:
    """Keeps pairs as arrays that are read without being loaded: rendering is then no part of training.

    Args:
        source: pairs of one size with one source picture each.
        folder: gets image.npy, sources.npy, depth.npy (mm), segments.npy, truth.npz and, last of all, pairs.json.
        progress: called with (pairs done, pairs in all).
        part: (i, n): only the i-th of n parts, i from 0, so that several processes can share the work; each needs a
            folder of its own.

    Returns:
        The path of pairs.json.
    """
    numbers = range(len(source))[part[0] :: part[1]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pairs.json").unlink(missing_ok=True)
    first = source[numbers[0]]
    h, w = first.depth_m.shape
    n = len(numbers)
    open_array = np.lib.format.open_memmap
    image = open_array(folder / "image.npy", "w+", np.uint8, (n, h, w, 3))
    sources = open_array(folder / "sources.npy", "w+", np.uint8, (n, h, w, 3))
    depth = open_array(folder / "depth.npy", "w+", np.uint16, (n, h, w))
    segments = open_array(folder / "segments.npy", "w+", np.int16, (n, h, w))
    planes, labels = np.zeros((n, MAX_TRUE_PLANES, 3), np.float32), np.full((n, MAX_TRUE_PLANES), -1, np.int16)
    moves, matrices, groups = np.zeros((n, 4, 4)), np.zeros((n, 3, 3)), np.zeros(n, np.int64)
    for row, number in enumerate(numbers):
        pair = largest_planes(source[number])
        image[row], sources[row] = pair.image, pair.sources[0]
        depth[row] = np.clip(pair.depth_m * 1000 + 0.5, 0, 65535)
        segments[row], groups[row] = pair.segments, pair.group
        count = len(pair.labels)
        planes[row, :count], labels[row, :count] = pair.planes, pair.labels
        moves[row], matrices[row] = pair.source_from_reference[0], pair.camera.matrix
        if progress is not None:
            progress(row + 1, n)
    for array in (image, sources, depth, segments):
        array.flush()
    with writing(folder / "truth.npz") as file:
        np.savez(file, planes=planes, labels=labels, moves=moves, matrices=matrices, groups=groups)
    text = json.dumps({"format": 1, "pairs": n, "width": w, "height": h})
    return write_atomically(folder / "pairs.json", text + "\n")


class KeptPairs:
    """Pairs that `write` kept; in one folder, or in several below it."""

    def __init__(self, root: Path, split: str) -> None:
        folders = sorted(path.parent for path in root.glob("**/pairs.json"))
        self.parts = [_Folder(folder) for folder in folders]
        rows = [(p, i) for p, part in enumerate(self.parts) for i in range(part.count)]
        groups = sorted({int(self.parts[p].groups[i]) for p, i in rows})
        # By room: nine of ten train, every tenth is validation; a folder that is kept back as a whole is "test".
        held = {group for place, group in enumerate(groups) if place % 10 == 9}
        kept = {"train": lambda g: g not in held, "val": lambda g: g in held}.get(split, lambda g: True)
        self.rows = [(p, i) for p, i in rows if kept(int(self.parts[p].groups[i]))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:
        part, row = self.rows[index]
        return self.parts[part][row]


class _Folder:
    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / "pairs.json"
        about = read_json(path)
        if (form := field(about, "format", int, str(path))) != 1:
            raise InputError(f"{path}: format {form}, this percepta reads 1")
        self.count = field(about, "pairs", int, str(path))
        h, w = (field(about, side, int, str(path)) for side in ("height", "width"))
        most = MAX_TRUE_PLANES
        shapes = {"image": (h, w, 3), "sources": (h, w, 3), "depth": (h, w), "segments": (h, w)}
        self.arrays = {name: map_array(folder / f"{name}.npy", "iu") for name in shapes}
        shapes |= {"planes": (most, 3), "labels": (most,), "moves": (4, 4), "matrices": (3, 3), "groups": ()}
        self.truth = read_arrays(folder / "truth.npz", {name: "fiu" for name in shapes if name not in self.arrays})
        for name, array in self.truth.items():
            if not np.isfinite(array).all():
                raise InputError(f"{folder / 'truth.npz'}: {name} has values that are not finite; write it again")
        self.groups = self.truth["groups"]
        for name, array in {**self.arrays, **self.truth}.items():
            if array.ndim == 0 or len(array) != self.count:
                rows = len(array) if array.ndim else "no"
                raise InputError(f"{folder}: {name} has {rows} rows, not {self.count}; write the folder again")
            if array.shape != (wanted := (self.count, *shapes[name])):
                raise InputError(f"{folder}: {name} has the shape {array.shape}, not {wanted}; write the folder again")

    def __getitem__(self, i: int) -> Pair:
        depth = self.arrays["depth"][i]
        h, w = depth.shape
        labels = self.truth["labels"][i].astype(np.int64)
        segments = np.asarray(self.arrays["segments"][i], np.int32)
        count = int(segments.max(initial=-1)) + 1
        if count > MAX_TRUE_PLANES or segments.min(initial=-1) < -1:
            raise InputError(f"{self.folder}: pair {i} names plane {count - 1}; there are {MAX_TRUE_PLANES} at most")
        try:
            camera = Intrinsics.of(self.truth["matrices"][i], w, h)
        except InputError as error:
            raise InputError(f"{self.folder / 'truth.npz'}: pair {i}: {error}") from None
        return Pair(
            np.asarray(self.arrays["image"][i]), np.asarray(self.arrays["sources"][i])[None],
            camera, self.truth["moves"][i][None],
            (depth * np.float32(0.001)).astype(np.float32), segments,
            self.truth["planes"][i, :count].astype(np.float64),
            labels[:count], int(self.groups[i]),
        )  # fmt: skip
