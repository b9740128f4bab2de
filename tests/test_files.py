"""Files: written whole or not at all, locked, listed without what systems leave there, found under names of others."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from percepta import files
from percepta.errors import BusyError, InputError, MissingFileError


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = files.write_atomically(tmp_path / "deep" / "a.txt", "é\ud800")
    assert path.read_bytes() == "é?".encode() and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyError), files.writing(tmp_path / "a.txt") as file:
        file.write(b"new")
        raise KeyError
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bytes may be refused as late as when they are brought to the disk."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(OSError, match=r"a\.png") as caught:
        files.write_atomically(tmp_path / "a.png", b"new")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    names = ["ratings.csv", ".ratings.csv.12.tmp", ".ratings.csv.12-345.tmp", ".ratings.csv.x.tmp", ".other.csv.1.tmp"]
    for name in names:
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "ratings.csv")
    assert {p.name for p in tmp_path.iterdir()} == {names[0], names[3], names[4]}
    files.remove_leftovers(tmp_path / "nowhere" / "ratings.csv")


def test_a_lock_says_who_holds_it_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys, time; from percepta.files import Lock; held = Lock(sys.argv[1], 'it'); "
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=rf"the album: another percepta \(process {other.pid} "):
            files.Lock(path, "the album")
        other.kill()
    mine = files.Lock(path, "the album")
    with pytest.raises(BusyError, match=f"process {os.getpid()} "):
        files.Lock(path, "the album")
    mine.close()
    files.Lock(path, "the album").close()


def test_a_lock_that_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("somebody's notes, longer than the head of a file of SQLite " * 10)
    with pytest.raises(OSError, match="lock: cannot be locked"):
        files.Lock(tmp_path / "lock", "it")


def test_numbers_are_sorted_as_numbers_whatever_counts_as_a_digit() -> None:
    names = ["frame10", "frame2", "frame²", "frame١"]
    assert sorted(names, key=files.by_number)[:2] == ["frame2", "frame10"]


SYSTEM = ("._a.png", ".ipynb_checkpoints/b.png", "@eaDir/c.png", "__MACOSX/d.png", "Thumbs.db", ".hidden.png")


def test_what_systems_leave_is_passed_over(tmp_path: Path) -> None:
    for name in (*SYSTEM, "x10.png", "x9.PNG", "sub/y.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    assert [p.name for p in files.listed(tmp_path, endings={".png"})] == ["x9.PNG", "x10.png"]
    inside = [p.relative_to(tmp_path).as_posix() for p in files.listed(tmp_path, recursive=True)]
    assert inside == ["notes.txt", "x9.PNG", "x10.png", "sub/y.png"]
    assert [p.name for p in files.subfolders(tmp_path)] == ["sub"]


@given(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="/\\\0"), min_size=1, max_size=12))
def test_a_name_is_found_however_its_accents_are_written(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    name = f"a{text}"
    folder = tmp_path_factory.mktemp("names")
    (folder / "sub").mkdir()
    stored = folder / "sub" / f"{unicodedata.normalize('NFD', name)}.JPG"
    stored.touch()
    written = f"sub\\{unicodedata.normalize('NFC', name)}.jpg"
    found = files.file_named(folder, written)
    assert found is not None and found.samefile(stored)


def test_the_very_name_goes_first_and_odd_names_are_none(tmp_path: Path) -> None:
    for name in ("a.JPG", "a.jpg", "b\\c.png"):
        (tmp_path / name).touch()
    assert files.find_named(tmp_path, "a.jpg") == tmp_path / "a.jpg"
    assert files.find_named(tmp_path, "b\\c.png") == tmp_path / "b\\c.png"
    for odd in ("", ".", "x" * 5000, "a\0.jpg", "nowhere/a.jpg", "a.jpg/b.jpg"):
        assert files.file_named(tmp_path, odd) is None, odd[:20]
    assert files.file_named(tmp_path, ".") is None and files.find_named(tmp_path / "sub", "../a.JPG") is None


def test_a_file_that_comes_later_is_found(tmp_path: Path) -> None:
    assert files.find_named(tmp_path, "caf\u00e9.jpg") is None
    os.utime(tmp_path, ns=(0, 0))
    (tmp_path / "cafe\u0301.jpg").touch()
    assert files.find_named(tmp_path, "caf\u00e9.jpg") is not None


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe or a device"):
        files.read_text(tmp_path / "pipe")
    with pytest.raises(MissingFileError):
        files.read_text(tmp_path / "none")
    with pytest.raises(InputError, match="folder"):
        files.read_text(tmp_path)


def test_lines_end_where_editors_end_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\x0b\x0c\u2028\x85\r\ntwo\rthree\n".encode())
    assert files.read_lines(path) == ["one\x0b\x0c\u2028\x85", "two", "three"]
    path.write_bytes(b"one\ntw\xffo")
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        files.read_lines(path)
