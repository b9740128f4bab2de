"""JSON, numbers in text and arrays: whatever a file holds, an error is an InputError that names file and place."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from percepta.errors import InputError
from percepta.formats import checked, field, parse_json, plain_numbers, read_arrays, read_json, to_float


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,\n', "line 2: not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "not JSON that can be read"),
        (r'["\ud83d"]', "half of a character"),
        ("", "line 1: not JSON"),
    ],
)
def test_what_is_no_json(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"a\.json.*{says}"):
        read_json(path)


def test_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": "\\ud83d\\ude00"}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == {"a": "😀"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from([str, int, float, bool, list, dict]))
def test_a_value_is_of_its_kind_or_refused(value: object, kind: type) -> None:
    try:
        got = checked(value, kind, "it")
    except InputError:
        assert not (type(value) is kind and kind in (str, bool, list, dict))
    else:
        assert type(got) is kind and got == value
        assert kind is not float or math.isfinite(got)


def test_a_field_that_is_missing_or_null() -> None:
    assert field({"a": 3.0}, "a", int, "f.json") == 3
    assert field({"a": None}, "a", int, "f.json", 7) == field({}, "a", int, "f.json", 7) == 7
    with pytest.raises(InputError, match=r"f\.json: images\[2\] has no 'a'"):
        field({}, "a", int, "f.json: images[2]")
    with pytest.raises(InputError, match="expected an object with 'a', found a list"):
        field([], "a", int, "f.json")
    with pytest.raises(InputError, match="'a' has to be a whole number, not True"):
        field({"a": True}, "a", int, "f.json")


@pytest.mark.parametrize("word", ["1.#QNAN", "-1.#IND00", "1.#SNAN", "-nan(ind)", "nan(0x8000)", "nan", "-NaN"])
def test_numbers_that_are_none(word: str) -> None:
    assert math.isnan(to_float(word))


def test_infinity_of_windows_and_what_is_no_number() -> None:
    assert to_float("-1.#INF") == -math.inf and to_float("1.#INF00") == math.inf
    assert plain_numbers("1.5 1.#QNAN -nan(ind)\n# 1.5") == "1.5 nan -nan\n# 1.5"
    for word in ("", "x", "1.#", "nan(", "1,5"):
        with pytest.raises(ValueError, match="could not convert"):
            to_float(word)


def test_arrays_come_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(3, 4)), "b": np.asfortranarray(rng.integers(0, 9, (5, 2))), "c": np.zeros((0, 3)),
              "d": np.array([True]), "e": np.array(2.5, ">f4")}  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_arrays(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    np.save(tmp_path / "a.npy", arrays["b"])
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npy")[""], arrays["b"])


class Runs:
    """What writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, ("/nowhere/was-run", "w")


def test_arrays_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([Runs()], dtype=object), b=np.zeros(3))
    with pytest.raises(InputError, match=r"a\.npz: a: expected an array of .*found object"):
        read_arrays(path)
    with pytest.raises(InputError, match=r"no array x; it has a, b"):
        read_arrays(path, {"x": "f"})
    with pytest.raises(InputError, match="b: expected an array of whole numbers, found float64"):
        read_arrays(path, {"b": "iu"})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a\.npz: not a \.npz file, or damaged"):
        read_arrays(path)


def test_an_array_that_announces_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for shape in ("(1000000000000,)", "(-3,)", "(3, -1)"):
        head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + bytes(80))
        with pytest.raises(InputError, match="it was cut off"):
            read_arrays(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Five gigabytes of zeros in five megabytes."""
    path = tmp_path / "bomb.npz"
    head = "{'descr': '<f8', 'fortran_order': False, 'shape': (671088640,), }".ljust(117) + "\n"
    piece = bytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w", force_zip64=True) as f:
        f.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
        for _ in range(64):
            f.write(piece)
    with pytest.raises(InputError, match="needs 5368709120 bytes, the file has"):
        read_arrays(path)


def test_parse_json_names_its_source() -> None:
    with pytest.raises(InputError, match="the header of x, line 1"):
        parse_json("{", "the header of x")
    assert parse_json(json.dumps({"a": [1]}), "x") == {"a": [1]}
