"""PLY files: named columns of points, and triangles. ASCII and binary (both byte orders) are read, NumPy only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Num, UInt8

from percepta.errors import InputError
from percepta.files import check_regular, writing
from percepta.formats import plain_numbers

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float",
          "f8": "double"}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_READ = ("vertex", "face")  # elements that are used; what comes behind them is not looked at


@dataclass(frozen=True)
class Ply:
    """What a PLY file holds.

    Attributes:
        vertices: columns by name, all of one length n, in the file's types ("x", "y", "z", "red", "label", ...).
        triangles: corners as numbers of vertices; larger polygons come as fans of triangles.
        path: the file; None for what was made otherwise.
    """

    vertices: dict[str, np.ndarray]
    triangles: Int32[np.ndarray, "m 3"]
    path: Path | None = None

    def columns(self, *names: str) -> np.ndarray:
        """`n len(names)`: columns side by side; InputError names what is missing."""
        missing = [name for name in names if name not in self.vertices]
        if missing:
            has = ", ".join(self.vertices) or "none"
            where = "" if self.path is None else f"{self.path}: "
            raise InputError(f"{where}no vertex property {', '.join(missing)}; the file has {has}")
        return np.stack([self.vertices[name] for name in names], -1)

    def colours(self) -> UInt8[np.ndarray, "n 3"]:
        """RGB 0..255 of red, green, blue (or diffuse_red, ...), whatever type the file has them in.

        Raises:
            InputError: there are none; they are out of range.
        """
        prefix = "" if "red" in self.vertices or "diffuse_red" not in self.vertices else "diffuse_"
        return colour_bytes(
            self.columns(*(prefix + name for name in ("red", "green", "blue"))), str(self.path or "the cloud")
        )


def colour_bytes(values: Num[np.ndarray, "n 3"], what: str) -> UInt8[np.ndarray, "n 3"]:
    """Colours of any type as bytes: bytes as they are, 16 bits by their upper part, others in 0..1 or in 0..255.

    Args:
        values: RGB. Floats that are nowhere above 1 count as 0..1.
        what: what they are called in messages.

    Raises:
        InputError: they are out of range, or not finite.
    """
    if values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all():
        raise InputError(f"{what}: colours that are not finite")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    top = 65535 if values.dtype == np.uint16 and high > 255 else 1 if values.dtype.kind == "f" and high <= 1 else 255
    if low < 0 or high > top:
        raise InputError(f"{what}: colours go from {low:g} to {high:g}; they lie in 0..255, or as floats in 0..1")
    return np.round(values.astype(np.float64) * (255 / top)).astype(np.uint8)


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str, str]]  # name, type, type of the list's length or ""

    @property
    def listed(self) -> bool:
        return any(kind for _, _, kind in self.properties)

    def dtype(self, order: str, lengths: Mapping[str, int]) -> np.dtype:
        """A row whose lists have these lengths; the field before each list is its length."""
        fields: list[tuple] = []
        for name, kind, length in self.properties:
            if length:
                fields += [(f"{name} n", order + length), (name, order + kind, (lengths[name],))]
            else:
                fields.append((name, order + kind))
        return np.dtype(fields)


def read(path: Path) -> Ply:
    """Vertices with all their properties, and the faces.

    Raises:
        MissingFileError: no such file.
        InputError: no PLY file, a damaged header, lists among the vertices, too few values, a value that its type
            cannot hold, a face of fewer than three corners or of vertices that are not there. Names what it is about.
    """
    path = Path(path)
    data = check_regular(path).read_bytes()
    order, elements, start = _header(data, path)
    vertices: dict[str, np.ndarray] = {}
    triangles = np.zeros((0, 3), np.int64)
    lines: list[str] = []
    if order == "":
        text = plain_numbers(data[start:].decode("ascii", "replace"))
        lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]
    last = max((i for i, element in enumerate(elements) if element.name in _READ), default=-1)
    for element in elements[: last + 1]:
        if element.name == "vertex" and element.listed:
            raise InputError(f"{path}: lists among the vertices are not supported; save the cloud without them")
        if order == "":
            rows, lines = lines[: element.count], lines[element.count :]
            if len(rows) < element.count:
                raise InputError(f"{path}: {element.count} {element.name} are announced, {len(rows)} are there")
            if element.name == "vertex":
                vertices = _ascii_columns(rows, element, path)
            elif element.name == "face" and element.listed:
                triangles = _ascii_triangles(rows, element, path)
        elif not element.listed:
            dtype = element.dtype(order, {})
            _enough(data, start, element.count * dtype.itemsize, element, path)
            if element.name == "vertex" and element.properties:
                table = np.frombuffer(data, dtype, element.count, start)
                vertices = {n: table[n].astype(dtype[n].newbyteorder("=")) for n in dtype.names or ()}
            start += element.count * dtype.itemsize
        else:
            faces, start = _binary_lists(data, start, element, order, path)
            triangles = faces if element.name == "face" else triangles
    count = len(next(iter(vertices.values()), ()))
    if len(triangles) and not (triangles.min() >= 0 and triangles.max() < count):
        wrong = triangles.min() if triangles.min() < 0 else triangles.max()
        raise InputError(f"{path}: a face names vertex {wrong}, but there are {count} vertices")
    return Ply(vertices, triangles.astype(np.int32), path)


def _header(data: bytes, path: Path) -> tuple[str, list[_Element], int]:
    """Order of bytes ("" for text), the elements, and where they begin."""
    no_ply = f"{path}: this is no PLY file (it starts with a line 'ply' and has a line 'end_header')"
    begun = re.match(rb"ply[ \t]*(\r\n|\n|\r)", data)
    if begun is None:
        raise InputError(no_ply)
    ended = re.search(rb"[\r\n]end_header[ \t]*(?:" + begun[1] + rb"|$)", data)
    if ended is None:
        raise InputError(no_ply)
    order: str | None = None
    elements: list[_Element] = []
    for number, line in enumerate(data[: ended.start()].decode("ascii", "replace").split(begun[1].decode()), 1):
        try:
            match line.split():
                case [] | ["ply"] | ["comment" | "obj_info", *_]:
                    pass
                case ["format", name, _]:
                    order = _ORDERS[name]
                case ["element", name, count] if name not in [element.name for element in elements]:
                    elements.append(_Element(name, int(count), []))
                    if elements[-1].count < 0:
                        raise ValueError
                case ["property", "list", length, kind, name]:
                    if _TYPES[length][0] == "f":
                        raise ValueError
                    elements[-1].properties.append((name, _TYPES[kind], _TYPES[length]))
                case ["property", kind, name]:
                    elements[-1].properties.append((name, _TYPES[kind], ""))
                case _:
                    raise ValueError
            names = [name for name, _, _ in elements[-1].properties] if elements else []
            if len(set(names)) < len(names):
                raise ValueError
        except (KeyError, ValueError, IndexError):
            raise InputError(f"{path}, line {number}: not a line of a PLY header: {line.strip()[:60]!r}") from None
    if order is None:
        raise InputError(f"{path}: the header has no line 'format'")
    return order, elements, ended.end()


def _enough(data: bytes, start: int, needed: int, element: _Element, path: Path) -> None:
    if start + needed > len(data):
        raise InputError(
            f"{path}: the file ends within its {element.count} {element.name} rows "
            f"({max(0, len(data) - start)} of {needed} bytes); it was cut off, copy it again"
        )


def _ascii_columns(rows: list[str], element: _Element, path: Path) -> dict[str, np.ndarray]:
    table = _numbers(rows, len(element.properties), "vertex", path)
    out = {}
    for i, (name, kind, _) in enumerate(element.properties):
        values = table[:, i]
        if kind[0] != "f":
            limits = np.iinfo(kind)
            bad = ~((values >= limits.min) & (values <= limits.max) & (values == np.floor(values)))
            if bad.any():
                row = int(bad.argmax())
                raise InputError(f"{path}: {name} of vertex {row} is {values[row]:g}, which is no {_NAMES[kind]}")
        with np.errstate(over="ignore"):
            out[name] = values.astype(kind)
    return out


def _numbers(rows: list[str], width: int, what: str, path: Path) -> np.ndarray:
    """A table of rows that all have so many numbers."""
    if not rows or not width:
        return np.zeros((len(rows), width))
    try:
        table = np.loadtxt(rows, np.float64, comments=None, ndmin=2)
    except ValueError:
        table = np.zeros((0, 0))
    if table.shape == (len(rows), width):
        return table
    for i, row in enumerate(rows):  # what is wrong, for the message
        words = row.split()
        if len(words) != width:
            raise InputError(f"{path}: {what} {i} has {len(words)} values, not {width}")
        for word in words:
            try:
                float(word)
            except ValueError:
                raise InputError(f"{path}: {what} {i} holds something that is no number: {word[:40]!r}") from None
    raise InputError(f"{path}: the {what} rows are no table of numbers")


def _ascii_triangles(rows: list[str], element: _Element, path: Path) -> np.ndarray:
    if not element.properties[0][2]:
        raise InputError(f"{path}: the first property of a face must be its list of corners")
    by_width: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        by_width.setdefault(len(row.split()), []).append(i)
    found = []
    for width, places in by_width.items():
        table = _numbers([rows[i] for i in places], width, "face", path)
        for count in np.unique(table[:, 0]):
            own = table[:, 0] == count
            if not (3 <= count < width and count == int(count)):
                raise InputError(f"{path}: face {places[int(own.argmax())]} has {count:g} corners, and {width} values")
            corners = table[own, 1 : 1 + int(count)]
            if not (np.abs(corners) < 2**53).all() or (corners != np.floor(corners)).any():
                raise InputError(f"{path}: a face names a vertex by something that is no whole number")
            fans = _fans(corners.astype(np.int64))
            found.append((np.repeat(np.array(places)[own], int(count) - 2), fans))
    if not found:
        return np.zeros((0, 3), np.int64)
    order = np.argsort(np.concatenate([places for places, _ in found]), kind="stable")
    return np.concatenate([fans for _, fans in found])[order]


def _fans(polygons: Num[np.ndarray, "n k"]) -> np.ndarray:
    """Triangles `n·(k − 2) 3` of polygons of k corners: the first corner with each side that it is no end of."""
    first = np.broadcast_to(polygons[:, :1], polygons[:, 2:].shape)
    return np.stack((first, polygons[:, 1:-1], polygons[:, 2:]), -1).reshape(-1, 3).astype(np.int64)


def _binary_lists(data: bytes, start: int, element: _Element, order: str, path: Path) -> tuple[np.ndarray, int]:
    """Triangles of the first list of each row, and where the next element starts.

    Rows whose lists have the same lengths are read together, as many as there are: nearly always all of them.
    """
    first = next(name for name, _, length in element.properties if length)
    found, row, together = [], 0, element.count
    while row < element.count:
        lengths = _lengths(data, start, element, order, path)
        if element.name == "face" and lengths[first] < 3:
            raise InputError(f"{path}: face {row} has {lengths[first]} corners")
        dtype = element.dtype(order, lengths)
        count = max(1, min(together, element.count - row, (len(data) - start) // dtype.itemsize))
        _enough(data, start, count * dtype.itemsize, element, path)
        table = np.frombuffer(data, dtype, count, start)
        same = np.logical_and.reduce([table[f"{name} n"] == length for name, length in lengths.items()])
        kept = count if same.all() else int(same.argmin())
        if element.name == "face":
            found.append(_fans(table[first][:kept].astype(np.int64)))
        start, row = start + kept * dtype.itemsize, row + kept
        together = 2 * kept if kept == count else max(1, 2 * kept)  # so that short runs cost little
    return np.concatenate(found) if found else np.zeros((0, 3), np.int64), start


def _lengths(data: bytes, start: int, element: _Element, order: str, path: Path) -> dict[str, int]:
    """Lengths of the lists of the row that begins at a place."""
    lengths = {}
    for name, kind, length in element.properties:
        number = 1
        if length:
            _enough(data, start, int(length[1]), element, path)
            number = int(np.frombuffer(data, order + length, 1, start)[0])
            if number < 0:
                raise InputError(f"{path}: a list of {number} values in {element.name}")
            lengths[name] = number
            start += int(length[1])
        _enough(data, start, number * int(kind[1]), element, path)
        start += number * int(kind[1])
    return lengths


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
    with writing(path) as file:
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
