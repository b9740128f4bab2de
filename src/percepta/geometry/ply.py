"""PLY files: named columns of points, and triangles. ASCII and binary (both byte orders) are read, NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from percepta.errors import InputError

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float",
          "f8": "double"}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Ply:
    """What a PLY file holds.

    Attributes:
        vertices: columns by name, all of one length n, in the file's types ("x", "y", "z", "red", "label", ...).
        triangles: corners as numbers of vertices; larger polygons come as fans of triangles.
    """

    vertices: dict[str, np.ndarray]
    triangles: Int32[np.ndarray, "m 3"]

    def columns(self, *names: str) -> np.ndarray:
        """`n len(names)`: columns side by side; InputError names what is missing."""
        missing = [name for name in names if name not in self.vertices]
        if missing:
            raise InputError(f"no vertex property {', '.join(missing)}; the file has {', '.join(self.vertices)}")
        return np.stack([self.vertices[name] for name in names], -1)


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str, str]]  # name, type, type of the list's length or ""


def read(path: Path) -> Ply:
    """Vertices with all their properties, and the faces.

    Raises:
        MissingFileError: no such file.
        InputError: no PLY file, a damaged header, lists among the vertices, or too few values.
    """
    data = Path(path).read_bytes()
    order, elements, start = _header(data, path)
    vertices: dict[str, np.ndarray] = {}
    triangles = np.zeros((0, 3), np.int32)
    lines = data[start:].decode("ascii", "replace").split("\n") if order == "" else []
    lines = [line for line in lines if line.strip()]
    for element in elements:
        listed = any(kind for _, _, kind in element.properties)
        if element.name == "vertex" and listed:
            raise InputError(f"{path}: lists among the vertices are not supported; save the cloud without them")
        if order == "":
            rows, lines = lines[: element.count], lines[element.count :]
            if len(rows) < element.count:
                raise InputError(f"{path}: {element.count} {element.name} are announced, {len(rows)} are there")
            if element.name == "vertex":
                vertices = _ascii_columns(rows, element, path)
            elif element.name == "face" and listed:
                triangles = _ascii_triangles(rows, element, path)
        elif not listed:
            dtype = np.dtype([(name, order + kind) for name, kind, _ in element.properties])
            _enough(data, start, element.count * dtype.itemsize, element, path)
            table = np.frombuffer(data, dtype, element.count, start)
            start += element.count * dtype.itemsize
            if element.name == "vertex":
                vertices = {n: table[n].astype(dtype[n].newbyteorder("=")) for n in dtype.names or ()}
        else:
            faces, start = _binary_lists(data, start, element, order, path)
            triangles = faces if element.name == "face" else triangles
    count = len(next(iter(vertices.values()), ()))
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < count):
        raise InputError(f"{path}: a face names vertex {triangles.max()}, but there are {count} vertices")
    return Ply(vertices, triangles)


def _header(data: bytes, path: Path) -> tuple[str, list[_Element], int]:
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise InputError(f"{path}: this is no PLY file (it starts with 'ply' and has a line 'end_header')")
    start = data.index(b"\n", end) + 1 if b"\n" in data[end:] else len(data)
    order: str | None = None
    elements: list[_Element] = []
    for number, line in enumerate(data[:end].decode("ascii", "replace").splitlines(), 1):
        words = line.split()
        try:
            match words:
                case ["format", name, _]:
                    order = _ORDERS[name]
                case ["element", name, count]:
                    elements.append(_Element(name, int(count), []))
                case ["property", "list", length, kind, name]:
                    elements[-1].properties.append((name, _TYPES[kind], _TYPES[length]))
                case ["property", kind, name]:
                    elements[-1].properties.append((name, _TYPES[kind], ""))
        except (KeyError, ValueError, IndexError):
            raise InputError(f"{path}, line {number}: not a line of a PLY header: {line.strip()[:60]!r}") from None
    if order is None:
        raise InputError(f"{path}: the header has no line 'format'")
    return order, elements, start


def _enough(data: bytes, start: int, needed: int, element: _Element, path: Path) -> None:
    if start + needed > len(data):
        raise InputError(
            f"{path}: the file ends within its {element.count} {element.name} rows "
            f"({len(data) - start} of {needed} bytes); it was cut off, copy it again"
        )


def _ascii_columns(rows: list[str], element: _Element, path: Path) -> dict[str, np.ndarray]:
    width = len(element.properties)
    words = [row.split() for row in rows]
    wrong = next((i for i, row in enumerate(words) if len(row) != width), None)
    if wrong is not None:
        raise InputError(f"{path}: vertex {wrong} has {len(words[wrong])} values, not {width}")
    try:
        table = np.array(words, dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise InputError(f"{path}: a vertex holds something that is no number ({error})") from None
    return {name: table[:, i].astype(kind) for i, (name, kind, _) in enumerate(element.properties)}


def _ascii_triangles(rows: list[str], element: _Element, path: Path) -> np.ndarray:
    if len(element.properties) > 1 and not element.properties[0][2]:
        raise InputError(f"{path}: the first property of a face must be its list of corners")
    polygons = [[int(float(word)) for word in row.split()] for row in rows]
    if any(not p or len(p) <= p[0] for p in polygons):
        raise InputError(f"{path}: a face has fewer corners than it announces")
    return _fans([p[1 : 1 + p[0]] for p in polygons])


def _fans(polygons: list[list[int]]) -> np.ndarray:
    out = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    return np.array(out, np.int32).reshape(-1, 3)


def _binary_lists(data: bytes, start: int, element: _Element, order: str, path: Path) -> tuple[np.ndarray, int]:
    """Triangles of the first list of each row, and where the next element starts."""
    if element.count == 0:
        return np.zeros((0, 3), np.int32), start
    # Nearly always every face is a triangle; then the rows are one table.
    fields: list[tuple] = []
    for name, kind, length in element.properties:
        fields += [(f"{name} n", order + length), (name, order + kind, (3,))] if length else [(name, order + kind)]
    dtype = np.dtype(fields)
    first = next(name for name, _, length in element.properties if length)
    if start + element.count * dtype.itemsize <= len(data):
        table = np.frombuffer(data, dtype, element.count, start)
        if all((table[f"{name} n"] == 3).all() for name, _, length in element.properties if length):
            return table[first].astype(np.int32), start + element.count * dtype.itemsize
    polygons: list[list[int]] = []
    for _ in range(element.count):
        for name, kind, length in element.properties:
            number = 1
            if length:
                _enough(data, start, int(length[1]), element, path)
                number = int(np.frombuffer(data, order + length, 1, start)[0])
                start += int(length[1])
            _enough(data, start, number * int(kind[1]), element, path)
            if name == first:
                polygons.append(np.frombuffer(data, order + kind, number, start).astype(int).tolist())
            start += number * int(kind[1])
    return _fans(polygons), start


def write(
    path: Path,
    vertices: Mapping[str, np.ndarray],
    triangles: np.ndarray | None = None,
    *,
    binary: bool = True,
) -> None:
    """Writes columns of vertices, and triangles where there are any, under a temporary name that is then changed.

    Args:
        path: of the file.
        vertices: by name, each of length n; types as in a PLY file (no 64-bit integers, no Booleans).
        triangles: `m 3`.
        binary: little endian; otherwise ASCII, which reads back to the same values.

    Raises:
        InputError: columns of different length or of a type that PLY does not have.
    """
    path = Path(path)
    columns = {name: np.asarray(values) for name, values in vertices.items()}
    if len({len(values) for values in columns.values()}) > 1 or any(v.ndim != 1 for v in columns.values()):
        raise InputError(f"columns must be of one length: { ({k: v.shape for k, v in columns.items()}) }")
    odd = [f"{name} ({values.dtype})" for name, values in columns.items() if values.dtype.str[1:] not in _NAMES]
    if odd:
        raise InputError(f"PLY has no type for {', '.join(odd)}; convert it, for example to int32 or float32")
    faces = np.zeros((0, 3), np.int32) if triangles is None else np.asarray(triangles, np.int32).reshape(-1, 3)
    count = len(next(iter(columns.values()), ()))
    head = ["ply", f"format {'binary_little_endian' if binary else 'ascii'} 1.0", f"element vertex {count}"]
    head += [f"property {_NAMES[values.dtype.str[1:]]} {name}" for name, values in columns.items()]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices"] if len(faces) else []
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(("\n".join([*head, "end_header"]) + "\n").encode("ascii"))
        if binary:
            dtype = np.dtype([(name, "<" + values.dtype.str[1:]) for name, values in columns.items()])
            table = np.empty(count, dtype)
            for name, values in columns.items():
                table[name] = values
            file.write(table.tobytes())
            rows = np.empty(len(faces), np.dtype([("n", "u1"), ("corners", "<i4", (3,))]))
            rows["n"], rows["corners"] = 3, faces
            file.write(rows.tobytes())
        else:
            # repr of a float32 is the shortest text that reads back to it
            cells = [[str(value) for value in values] for values in columns.values()]
            lines = [" ".join(row) for row in zip(*cells, strict=True)] + [f"3 {a} {b} {c}" for a, b, c in faces]
            file.write(("\n".join(lines) + "\n").encode("ascii"))
    partial.replace(path)
