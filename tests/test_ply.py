"""PLY files of other programs: polygons, colours of all types, headers as they come, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.geometry import ply

XYZ = "property float x\nproperty float y\nproperty float z\n"


def text(path: Path, *rows: str, head: str = XYZ, count: int | None = None, after: str = "") -> Path:
    number = len(rows) if count is None else count
    header = f"ply\nformat ascii 1.0\nelement vertex {number}\n{head}{after}end_header\n"
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


@given(st.lists(st.integers(3, 6), max_size=12), st.sampled_from(["ascii", "little", "big"]), st.booleans())
@settings(deadline=None)
def test_polygons_of_all_sizes_become_fans(
    tmp_path_factory: pytest.TempPathFactory, sides: list[int], order: str, before: bool
) -> None:
    """Against a loop over the polygons; with another element of lists in front of them."""
    rng = np.random.default_rng(len(sides))
    polygons = [rng.integers(0, 9, side).tolist() for side in sides]
    lists = [rng.integers(0, 9, length).tolist() for length in (0, 2, 2, 0, 1)] if before else []
    form = "ascii" if order == "ascii" else f"binary_{order}_endian"
    head = f"ply\nformat {form} 1.0\nelement vertex 9\nproperty float x\n"
    head += f"element strip {len(lists)}\nproperty list short int places\n" if before else ""
    head += f"element face {len(sides)}\nproperty list uchar int vertex_indices\nproperty uchar flag\nend_header\n"
    if order == "ascii":
        rows = [*map(str, range(9)), *(" ".join(map(str, (len(own), *own))) for own in lists)]
        body = "\n".join([*rows, *(" ".join(map(str, (len(p), *p, 1))) for p in polygons)]).encode()
    else:
        mark = "<" if order == "little" else ">"
        body = np.arange(9).astype(f"{mark}f4").tobytes()
        for own in lists:
            body += np.array(len(own), f"{mark}i2").tobytes() + np.array(own, f"{mark}i4").tobytes()
        for p in polygons:
            body += bytes([len(p)]) + np.array(p, f"{mark}i4").tobytes() + b"\1"
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    path.write_bytes(head.encode() + body)
    found = ply.read(path)
    wanted = [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]
    assert found.triangles.tolist() == wanted and found.vertices["x"].tolist() == list(range(9))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_headers_as_they_come(tmp_path: Path, end: str) -> None:
    head = ["ply", "format ascii 1.0", "comment see end_header in the docs", "obj_info a b c", "element vertex 2"]
    rows = [*head, "property double x", "end_header", "1.#QNAN", "", "-nan(ind)"]
    (tmp_path / "a.ply").write_bytes(end.join(rows).encode())
    assert np.isnan(ply.read(tmp_path / "a.ply").vertices["x"]).all()


@pytest.mark.parametrize(
    ("kind", "prefix", "rows", "wanted"),
    [
        ("uchar", "", ("255 0 1", "0 1 1"), [[255, 0, 1], [0, 1, 1]]),
        ("uchar", "diffuse_", ("255 0 1",), [[255, 0, 1]]),
        ("ushort", "", ("65535 0 257",), [[255, 0, 1]]),
        ("ushort", "", ("255 0 1",), [[255, 0, 1]]),
        ("float", "", ("1.0 0 0.5",), [[255, 0, 128]]),
        ("float", "", ("254.6 0 1",), [[255, 0, 1]]),
        ("int", "", ("255 0 1",), [[255, 0, 1]]),
    ],
)
def test_colours_of_all_types(tmp_path: Path, kind: str, prefix: str, rows: tuple[str, ...], wanted: list) -> None:
    head = XYZ + "".join(f"property {kind} {prefix}{name}\n" for name in ("red", "green", "blue"))
    found = ply.read(text(tmp_path / "a.ply", *(f"0 0 0 {row}" for row in rows), head=head))
    assert found.colours().dtype == np.uint8 and found.colours().tolist() == wanted


@pytest.mark.parametrize("row", ["256 0 0", "-1 0 0", "nan 0 0", "inf 0 0"])
def test_colours_out_of_range(tmp_path: Path, row: str) -> None:
    head = XYZ + "".join(f"property float {name}\n" for name in ("red", "green", "blue"))
    with pytest.raises(InputError, match=r"a\.ply: colours"):
        ply.read(text(tmp_path / "a.ply", f"0 0 0 {row}", head=head)).colours()
    with pytest.raises(InputError, match=r"a\.ply: no vertex property red, green, blue"):
        ply.read(text(tmp_path / "a.ply", "0 0 0")).colours()


@pytest.mark.parametrize("row", ["256", "-1", "0.5", "nan", "1e30"])
def test_a_value_that_its_type_cannot_hold(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError, match=r"a\.ply: red of vertex 1 is .*no uchar"):
        ply.read(text(tmp_path / "a.ply", "7", row, head="property uchar red\n"))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (("0 0",), "vertex 0 has 2 values, not 3"),
        (("0 0 0", "0 0 x"), "vertex 1 holds something that is no number: 'x'"),
        (("0 0 0 0",), "vertex 0 has 4 values, not 3"),
    ],
)
def test_rows_that_are_none(tmp_path: Path, rows: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ply.read(text(tmp_path / "a.ply", *rows))


@pytest.mark.parametrize(
    "row", ["0", "-1 0", "2 0 0", "4 0 0 0", "3 0 0 0.5", "3 0 0 nan", "3 0 0 1e300", "x", "3 0 0 -1"]
)
def test_faces_that_are_none(tmp_path: Path, row: str) -> None:
    after = "element face 1\nproperty list int int vertex_indices\n"
    with pytest.raises(InputError, match=r"a\.ply: .*face"):
        ply.read(text(tmp_path / "a.ply", "0 0 0", row, count=1, after=after))


@pytest.mark.parametrize(
    "line",
    [
        "element vertex -1", "element vertex 1e3", "property strange x", "property list float int x",
        "property list uchar", "nonsense", "format binary_middle_endian 1.0", "property float x",
        "element face 1\nelement face 1",
    ],
)  # fmt: skip
def test_lines_that_no_header_has(tmp_path: Path, line: str) -> None:
    head = f"ply\nformat ascii 1.0\nelement other 0\nproperty float x\n{line}\nend_header\n"
    (tmp_path / "a.ply").write_text(head)
    with pytest.raises(InputError, match="not a line of a PLY header"):
        ply.read(tmp_path / "a.ply")


def binary(path: Path, elements: str, body: bytes) -> Path:
    path.write_bytes(f"ply\nformat binary_little_endian 1.0\n{elements}end_header\n".encode() + body)
    return path


@pytest.mark.parametrize(
    ("elements", "body", "says"),
    [
        ("element vertex 99999999999999\nproperty float x\n", bytes(40), "the file ends within"),
        ("element face 3\nproperty list uchar int v\n", bytes(3), "face 0 has 0 corners"),
        ("element face 1\nproperty list char int v\n", b"\xff" + bytes(40), "a list of -1 values"),
        ("element face 1\nproperty list uint int v\n", b"\xff" * 40, "the file ends within"),
        ("element face 99999999999\nproperty list uchar uchar v\n", b"\3\0\0\0" * 9, "the file ends within"),
        ("element face 1\nproperty list uchar uint v\n", b"\3" + b"\xff" * 12, "names vertex 4294967295"),
    ],
)
def test_binary_files_that_announce_more_than_there_is(tmp_path: Path, elements: str, body: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ply.read(binary(tmp_path / "a.ply", elements, body))


def test_what_comes_behind_the_faces_is_not_looked_at(tmp_path: Path) -> None:
    elements = "element vertex 1\nproperty uchar x\nelement edge 99999999999\nproperty list uchar int v\n"
    assert ply.read(binary(tmp_path / "a.ply", elements, b"\7")).vertices["x"].tolist() == [7]
    empty = "element nothing 99999999999\nelement vertex 1\nproperty uchar x\n"
    assert ply.read(binary(tmp_path / "a.ply", empty, b"\7")).vertices["x"].tolist() == [7]
