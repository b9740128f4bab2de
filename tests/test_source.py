"""Whatever a user points at becomes the same stream of pictures, and what is left out is said."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from percepta.errors import InputError, MissingFileError
from percepta.files import by_number, is_system_file, listed, read_lines, read_text
from percepta.formats import read_json
from percepta.media import image, video
from percepta.media.source import open_source


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "trip [2024]"
    (folder / "day 2").mkdir(parents=True)
    for number in (10, 2, 1):
        Image.fromarray(pixels(number)).save(folder / f"shot{number}.png")
    Image.fromarray(pixels(4)).save(folder / "day 2" / "late.PNG")
    Image.fromarray(pixels(5)).save(folder / "._shot1.png")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("hello")
    (folder / "shot.CR2").write_bytes(b"x")
    return folder


def as_pixels(items: list) -> list[np.ndarray]:
    return [(image.read(item.picture).permute(1, 2, 0) * 255).round().byte().numpy() for item in items]


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    expected = pixels(3)
    path = tmp_path / "a.png"
    Image.fromarray(expected).save(path)
    data = path.read_bytes()
    kinds = [
        path, str(path), data, bytearray(data), io.BytesIO(data), Image.fromarray(expected), expected,
        torch.from_numpy(expected.transpose(2, 0, 1) / np.float32(255)), [path], (one for one in [expected]), tmp_path,
        str(tmp_path / "*.png"), expected[None],
    ]  # fmt: skip
    for kind in kinds:
        items = list(open_source(kind))
        assert len(items) == 1 and items[0].index == 0 and items[0].name
        assert np.array_equal(as_pixels(items)[0], expected), type(kind)


def test_a_folder_is_sorted_by_number_and_says_what_it_leaves_out(album: Path) -> None:
    stream = open_source(album)
    assert [item.name for item in stream] == ["shot1.png", "shot2.png", "shot10.png"]
    text = stream.summary()
    assert "1 file ending in .txt" in text and "1 raw photograph (" in text and "1 sub-folder (" in text
    deep = open_source(album, recursive=True)
    assert [item.name for item in deep] == ["shot1.png", "shot2.png", "shot10.png", "late.PNG"]
    assert "sub-folder" not in deep.summary()
    assert [item.name for item in deep] == ["shot1.png", "shot2.png", "shot10.png", "late.PNG"], "again the same"


def test_a_pattern_in_a_folder_with_brackets(album: Path) -> None:
    assert [item.name for item in open_source(str(album / "shot?.png"))] == ["shot1.png", "shot2.png"]
    assert [item.name for item in open_source(str(album / "**" / "*.PNG"))] == ["late.PNG"]
    with pytest.raises(MissingFileError, match="no file fits"):
        list(open_source(str(album / "*.webp")))


def test_a_folder_whose_name_has_brackets_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("folder [1]")
    folder.mkdir()
    Image.fromarray(pixels(1)).save(folder / "a.jpg")
    for pattern in (f"{folder}/*.jpg", f"./{folder}/*.jpg", f"{tmp_path}/{folder}/*.jpg", f"{folder}/**/a.j?g"):
        assert [item.name for item in open_source(pattern)] == ["a.jpg"], pattern
    assert [item.name for item in open_source("fold*/*.jpg")] == ["a.jpg"], "a pattern in the place of the name"


def test_frames_of_a_video_know_their_time(tmp_path: Path) -> None:
    path = video.write(tmp_path / "12:30.mp4", [np.full((32, 48, 3), 20 * i, np.uint8) for i in range(10)], 10)
    items = list(open_source(path))
    assert [round(item.time_s, 3) for item in items] == [round(0.1 * i, 3) for i in range(10)]
    assert items[3].name == "12:30.mp4 at 0.30 s" and items[3].path == path
    means = [frame.mean() for frame in as_pixels(items)]
    assert np.allclose(means, [20 * i for i in range(10)], atol=4)
    assert len(list(open_source(path, fps=5))) == 5
    mixed = list(open_source([path, pixels(1)]))
    assert len(mixed) == 11 and [item.index for item in mixed] == list(range(11))


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"camera:97: no such camera.*plugged in"):
        open_source("camera:97")  # before anything is asked of it: who shows a page does not open an empty one
    with pytest.raises(MissingFileError, match="no such file"):
        list(open_source(tmp_path / "nothing.jpg"))
    with pytest.raises(InputError, match="got int"):
        list(open_source([3]))
    with pytest.raises(InputError, match="are no picture"):
        list(open_source(b"no picture"))
    with pytest.raises(MissingFileError, match="no pictures and no videos"):
        list(open_source(tmp_path))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="a pipe or a device"):
        list(open_source(tmp_path / "pipe.jpg"))
    with pytest.raises(InputError, match="fps is above 0"):
        open_source(tmp_path, fps=0)


@pytest.mark.parametrize("content", ["#EXTM3U\n#EXTINF:1,\nother.ts\n", "ffconcat version 1.0\nfile other.mp4\n"])
def test_a_playlist_opens_nothing_else(tmp_path: Path, content: str) -> None:
    video.write(tmp_path / "other.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3, 10)
    (tmp_path / "other.ts").write_bytes((tmp_path / "other.mp4").read_bytes())
    for ending in ("mp4", "m3u8", "ts"):
        path = tmp_path / f"list.{ending}"
        path.write_text(content)
        with pytest.raises(video.VideoError):
            list(open_source(path) if ending != "m3u8" else video.every_frame(path))


def test_names_that_look_like_addresses_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError):
        video.info("http:/example.invalid/x.mp4")
    Path("http:").mkdir()
    video.write("http:/x.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3, 10)
    assert video.info("http:/x.mp4").width_px == 32


def test_heic_names_the_line_that_installs_it(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00")
    with pytest.raises(InputError, match=r"percepta\[heic\]|cannot be|not a picture"):
        image.read(path)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_numbered_names_sort_by_their_numbers(numbers: list[int]) -> None:
    names = [f"frame{number}.jpg" for number in numbers]
    assert sorted(names, key=by_number) == [f"frame{number}.jpg" for number in sorted(numbers)]


@given(st.lists(st.text(alphabet="ab01.-é", min_size=1, max_size=6), max_size=12))
def test_the_order_is_total(names: list[str]) -> None:
    back = names[::-1]
    assert sorted(names, key=by_number) == sorted(back, key=by_number)


def test_system_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("._a.jpg", ".hidden", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("__MACOSX", "@eaDir", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"x")
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert [path.name for path in listed(tmp_path, recursive=True)] == ["a.jpg"]
    assert not is_system_file(tmp_path / "a.jpg")


def test_texts_are_utf8_and_faults_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffé\u2028b\r\nc\rd\n".encode())
    assert read_lines(path) == ["é\u2028b", "c", "d"]
    path.write_bytes(b"fine\nfine\n\xff\n")
    with pytest.raises(InputError, match="line 3: not UTF-8"):
        read_text(path)


@pytest.mark.parametrize("text", ['{"a": 1,\n}', "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "", "nul"])
def test_json_that_is_none_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(path)
