"""JSON, numbers in text, arrays, and pickles of plain data: read with errors that name file and line, key or array."""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import reprlib
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from percepta.errors import InputError
from percepta.files import check_regular, read_text

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
D = TypeVar("D")
MAX_ARRAY_BYTES = 1_500_000_000
"""Of the arrays that are read from one .npz or .npy file."""

# Numbers that are none, as C programs on Windows and glibc print them: 1.#QNAN, -1.#IND00, -nan(ind), 1.#INF.
_ODD_NUMBER = re.compile(
    r"(?<![\w.#])([+-]?)(?:1\.#(?:(INF)|QNAN|SNAN|QNB|IND|[JR])[0-9]*|nan\([^)\s]*\))(?![\w.#])", re.IGNORECASE
)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the file's name before errors that do not name it."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None


def read_json(path: Path | str) -> Any:
    """What a JSON file holds; `field` takes values out of it.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no JSON, or too deeply nested; names the line.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, source: str) -> Any:
    """What a JSON text says.

    Raises:
        InputError: it is no JSON, or too deeply nested; names the source and the line.
    """
    try:
        content = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # half a character can be neither printed nor the name of a file
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except json.JSONDecodeError as error:
        raise InputError(f"{source}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{source}: JSON that is nested too deeply to be data") from None
    except UnicodeEncodeError:
        raise InputError(f"{source}: a text in it has half of a character that is written in two parts") from None
    except ValueError as error:  # a number of more digits than Python converts
        raise InputError(f"{source}: not JSON that can be read ({error})") from None


_KIND_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list",
               dict: "an object"}  # fmt: skip
_NEEDED: Any = object()


def field(entry: Any, key: str, kind: type[T], where: str, default: D = _NEEDED) -> T | D:
    """A value of an object that JSON gave, checked for its type.

    Args:
        entry: the object.
        key: of the value.
        kind: str, int (480.0 is one), float (finite; whole numbers too), bool, list or dict.
        where: file and place of the object, for messages: "a.json: images[3]".
        default: what a value that is not there, or null, counts as; without it that is an error.

    Raises:
        InputError: `entry` is no object; the value is missing or of another kind. Names place and key.
    """
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object with {key!r}, found {kind_of(entry)}")
    value = entry.get(key)
    if value is None:
        if default is _NEEDED:
            raise InputError(f"{where} has no {key!r}")
        return default
    return checked(value, kind, f"{where}: {key!r}")


def checked(value: Any, kind: type[T], what: str) -> T:
    """A value that JSON gave, as one of the kinds of `field`.

    Args:
        value: of any kind.
        kind: the one that it has to be.
        what: what it is called in messages.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good: Any = _NEEDED
    if kind is float and number and abs(value) <= sys.float_info.max:
        good = float(value)
    elif kind is int and number and abs(value) < 1 << 63 and int(value) == value:
        good = int(value)
    elif kind not in (int, float) and isinstance(value, kind):
        good = value
    if good is _NEEDED:
        raise InputError(f"{what} has to be {_KIND_NAMES[kind]}, not {short(value)}")
    return good


def kind_of(value: Any) -> str:
    """The kind of a value in words: "a list"."""
    if value is None:
        return "null"
    return next((name for kind, name in _KIND_NAMES.items() if type(value) is kind), type(value).__name__)


def short(value: Any, most: int = 60) -> str:
    """A value as Python writes it, cut after so many characters."""
    writer = reprlib.Repr()
    writer.maxlevel, writer.maxstring, writer.maxother = 3, most, most
    try:
        text = writer.repr(value)
    except ValueError:  # a number of too many digits
        return kind_of(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def to_float(word: str) -> float:
    """A number from text; "1.#QNAN" and "-nan(ind)", as Windows writes them, are nan.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(word)
    except ValueError:
        return float(plain_numbers(word))


def plain_numbers(text: str) -> str:
    """Text in which numbers that are none stand as nan or inf, however the system that wrote it calls them."""
    if "#" not in text and "(" not in text:
        return text
    return _ODD_NUMBER.sub(lambda found: f"{found[1]}{'inf' if found[2] else 'nan'}", text)


def read_pickle(path: Path | str, known: Mapping[tuple[str, str], Any], *, encoding: str = "latin1") -> Any:
    """What a pickle of plain data holds, loaded without running anything.

    Args:
        path: the file, written by Python 2 or 3.
        known: {(module, name): what stands for it}: what may be in it besides containers, texts and numbers.
        encoding: of the texts of Python 2; "bytes" leaves them as they are.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is damaged, or holds anything else, which is named.
    """
    path = check_regular(Path(path))
    try:
        return PlainUnpickler(path.read_bytes(), known, encoding).load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: this pickle is not read: {error}") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path}: not a pickle, or damaged ({type(error).__name__}: {error})") from None


class PlainUnpickler(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue, reportUntypedBaseClass]
    """Lists, tuples, dicts, texts and numbers, and what is `known`: nothing that could run code when it is loaded.

    It is Python's own in Python: the one in C takes gigabytes for four bytes that say so, and is not twice as fast.
    """

    def __init__(self, data: bytes, known: Mapping[tuple[str, str], Any], encoding: str = "latin1") -> None:
        super().__init__(io.BytesIO(data), encoding=encoding)
        self.known = known

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in self.known:
            raise pickle.UnpicklingError(f"it holds {module_name}.{global_name}, not only plain data")
        return self.known[module_name, global_name]


def read_arrays(path: Path | str, wanted: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, or the one of an .npy file under the name ""; objects are never unpickled.

    Args:
        path: the file.
        wanted: {name: the kinds that its numbers may be, of "b" (Boolean), "i", "u" (whole), "f"}; others are not read.
            None: all, of any of these kinds.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no such file, or damaged; an array is missing, of another kind, or too large. Names file and
            array.
    """
    path = check_regular(Path(path))
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return {"": _array(file, path.stat().st_size, (wanted or {}).get("", "biuf"), str(path))}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            missing = [name for name in wanted or () if name not in members]
            if missing:
                raise InputError(f"{path}: no array {', '.join(missing)}; it has {', '.join(members) or 'none'}")
            total = sum(members[name].file_size for name in wanted or members)
            if total > MAX_ARRAY_BYTES:
                most = f"at most {MAX_ARRAY_BYTES / 1e9:g} GB are read"
                raise InputError(f"{path}: arrays of {total / 1e9:.1f} GB; {most}")
            out = {}
            for name in wanted or members:
                with archive.open(members[name]) as file:
                    kinds = "biuf" if wanted is None else wanted[name]
                    out[name] = _array(file, members[name].file_size, kinds, f"{path}: {name}")
            return out
    except InputError:
        raise
    except Exception as error:  # zipfile raises many kinds for damaged archives
        raise InputError(f"{path}: not a .npz file, or damaged ({error or type(error).__name__})") from None


def map_array(path: Path | str, kinds: str) -> np.ndarray:
    """The array of an .npy file, which is read where it is looked at; errors as `read_arrays`."""
    import numpy as np

    path = check_regular(Path(path))
    with path.open("rb") as file:
        shape, turned, dtype, _ = _array_head(file, path.stat().st_size, kinds, str(path))
        if math.prod(shape) == 0:
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if turned else "C")


def _array(file: Any, size: int, kinds: str, what: str) -> np.ndarray:
    """An array of numbers from an open .npy file of so many bytes."""
    import numpy as np

    shape, turned, dtype, need = _array_head(file, size, kinds, what)
    if need > MAX_ARRAY_BYTES:
        raise InputError(f"{what}: an array of {need / 1e9:.1f} GB; at most {MAX_ARRAY_BYTES / 1e9:g} GB are read")
    data = np.empty(need, np.uint8)
    done = 0
    while done < need:  # in pieces: a compressed file is read through another buffer of the same size
        count = file.readinto(data[done : done + (1 << 20)].data)
        if not count:
            raise InputError(f"{what}: the file ends within the array; it was cut off, copy it again")
        done += count
    return data.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape, order="F" if turned else "C")


def _array_head(file: Any, size: int, kinds: str, what: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether columns come first, type, and bytes of an array that begins in a file of so many bytes."""
    import numpy as np

    try:
        version = np.lib.format.read_magic(file)
        head = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, turned, dtype = head(file)
    except Exception as error:  # a header is Python text: its reader raises many kinds
        raise InputError(f"{what}: not an array as NumPy writes it ({short(str(error), 100)})") from None
    if dtype.kind not in kinds:
        wanted = "numbers" if "f" in kinds else "whole numbers"
        raise InputError(f"{what}: expected an array of {wanted}, found {dtype.name}")
    need, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or need > there:
        raise InputError(f"{what}: an array of {shape} needs {need} bytes, the file has {there}; it was cut off")
    return shape, turned, dtype, need
