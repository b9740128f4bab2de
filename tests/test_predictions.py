"""What a prediction leaves on disk, the sound of videos, and the live page."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from percepta.__main__ import main
from percepta.contract import Answer
from percepta.errors import InputError
from percepta.media import image, sound, video
from percepta.media.source import answers
from percepta.predictions import Predictions
from percepta.shell import check_out

SOUND_HZ = 8000


@dataclass(frozen=True)
class Mean:
    """The mean colour of a picture: a system small enough to be checked by eye."""

    picture: np.ndarray

    @property
    def found(self) -> bool:
        return bool(self.picture.mean() > 100)

    @property
    def text(self) -> str:
        return f"mean {self.picture.mean():.0f}"

    def draw(self) -> Image.Image:
        return Image.fromarray(self.picture)

    def to_dict(self) -> dict[str, Any]:
        height, width = self.picture.shape[:2]
        box = (0, 0, width, height) if self.found else None
        return {"label": "bright", "score": 0.5, "found": self.found, "box": box}

    def save(self, path: Path) -> Path:
        self.draw().save(path)
        return path


def means(pictures: list[Any]) -> list[list[Mean]]:
    return [[Mean((image.read(one).permute(1, 2, 0) * 255).round().byte().numpy())] for one in pictures]


def clip(path: Path, frames: int = 12, fps: int = 12, with_sound: bool = True) -> Path:
    """Grey frames that get brighter, with a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream("aac", rate=SOUND_HZ, layout="mono") if with_sound else None
        for number in range(frames):
            pixels = np.full((48, 64, 3), 15 * number + 40, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
        if tone is not None:
            times = np.arange(frames * SOUND_HZ // fps) / SOUND_HZ
            wave = (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
            frame.sample_rate = SOUND_HZ
            container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return path


def heard(path: Path) -> np.ndarray:
    """The sound of a video, mono."""
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
    return np.concatenate(parts)


def run(source: Any, out: Path, **options: Any) -> Predictions:
    written = Predictions(out, "mean", version="0", weights="abc", **options)
    with written:
        stream = answers(source, means)
        for answer in stream:
            written.add(answer)
        written.left_out = stream.left_out
    return written


def test_a_video_gives_a_video_with_its_sound_and_a_line_a_frame(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4")
    run([source], tmp_path / "out")
    back = list(video.every_frame(tmp_path / "out" / "a.mp4"))
    before = list(video.every_frame(source))
    assert [round(s.time_s, 3) for s in back] == [round(s.time_s, 3) for s in before]
    assert np.allclose([s.frame.mean() for s in back], [s.frame.mean() for s in before], atol=3)
    assert np.array_equal(heard(tmp_path / "out" / "a.mp4"), heard(source)), "nothing is encoded again"
    lines = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 12 and lines[3]["time_s"] == pytest.approx(0.25, abs=1e-3)
    assert lines[11]["results"][0]["found"] and not lines[0]["results"][0]["found"]
    row = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert [(one["drawing"], one["file"], one["frames"]) for one in row] == [("a.mp4", "a.jsonl", 12)]
    bright = sum(line["results"][0]["found"] for line in lines)
    assert row[0]["text"] == f"12 frames, something: found in {bright} of them"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jsonl", "a.mp4", "predictions.json"]


def test_a_video_without_sound_and_one_that_is_cut_off(tmp_path: Path) -> None:
    silent = clip(tmp_path / "silent.mp4", with_sound=False)
    run([silent], tmp_path / "one")
    assert not video.info(tmp_path / "one" / "silent.mp4").has_audio
    whole = video.write(tmp_path / "whole.mkv", [np.full((48, 64, 3), 9 * i, np.uint8) for i in range(20)], 10)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    written = run([cut, silent], tmp_path / "two")
    assert list(written.failed) == [str(cut)], "what could be decoded is kept, and the others go on"
    assert (tmp_path / "two" / "silent.mp4").is_file() and (tmp_path / "two" / "cut.mp4").is_file()


def test_sound_that_a_container_cannot_hold_is_left_out(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4")
    silent = video.write(tmp_path / "s.webm", [np.zeros((48, 64, 3), np.uint8)] * 5, 10)
    out = sound.copy_sound(silent, source, tmp_path / "out.webm")  # webm takes no AAC
    assert not video.info(out).has_audio
    assert not list(tmp_path.glob(".*")), "no temporary file stays"


def test_the_table_the_results_for_coco_and_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, value in (("a.png", 200), ("b.png", 20), ("c.png", 150)):
        Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(folder / name)
    (folder / "bad.png").write_bytes(b"nothing")
    written = run(folder, tmp_path / "out")
    rows = list(csv.DictReader(written.write_csv().read_text().splitlines()))
    assert [(Path(row["source"]).name, row["width_px"]) for row in rows] == [
        ("a.png", "30"),
        ("b.png", ""),
        ("c.png", "30"),
    ]
    coco = json.loads(written.write_coco().read_text())
    assert [(one["image_id"], one["bbox"]) for one in coco] == [(1, [0, 0, 30, 20]), (3, [0, 0, 30, 20])]
    assert {one["category_name"] for one in coco} == {"bright"}
    page = written.write_page("a <title>").read_text()
    assert page.count("<img") == 3 and "bad.png" in page and "a &lt;title&gt;" in page


def test_one_name_twice_and_a_folder_that_is_a_file(tmp_path: Path) -> None:
    written = Predictions(tmp_path / "out")
    pixels = np.zeros((8, 8, 3), np.uint8)
    with written:
        files = [
            written.add(Answer(name, i, (Mean(pixels),), path=tmp_path / f"{i}" / name))[0]["file"]
            for i, name in enumerate(["a.jpg", "a.jpg", "a.png", "a.jpg"])
        ]
    assert len(set(files)) == 4 and all((tmp_path / "out" / file).is_file() for file in files)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"), Predictions(tmp_path / "file"):
        pass


def test_what_was_answered_before_a_crash_is_listed(tmp_path: Path) -> None:
    written = Predictions(tmp_path / "out")
    with pytest.raises(ZeroDivisionError), written:
        written.add(Answer("a.jpg", 0, (Mean(np.zeros((8, 8, 3), np.uint8)),)))
        raise ZeroDivisionError
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]) == 1


def test_the_live_page_shows_the_newest_answer(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the page needs fastapi: pip install 'percepta[web]'")
    from fastapi.testclient import TestClient

    from percepta.web import live

    newest = live.Newest()
    source = clip(tmp_path / "a.mp4")  # in the camera's place
    newest.follow(answers(source, means))
    assert newest.number == 12 and newest.error == "the stream has ended"
    client = TestClient(live.app(newest, "the <cup>"), base_url="http://127.0.0.1:8000")
    assert "the &lt;cup&gt;" in client.get("/").text
    (text,) = client.get("/answer").json()["texts"]
    assert abs(int(text.removeprefix("mean ")) - (15 * 11 + 40)) <= 3
    frames = client.get("/frames")
    assert frames.headers["content-type"].startswith("multipart/x-mixed-replace")
    jpeg = frames.content.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n")[0]
    (tmp_path / "frame.jpg").write_bytes(jpeg)
    assert image.read(tmp_path / "frame.jpg").shape == (3, 48, 64)
    assert client.get("/answer", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.skipif(os.name == "nt", reason="limits of the size of files are those of Unix")
@pytest.mark.parametrize("source", ["picture", "video"])
def test_a_full_disk_is_an_error_that_names_the_file(source: str, tmp_path: Path) -> None:
    """Imitated by a limit on the size of a file, a byte less than the drawing needs, in a process of its own."""
    script = """
import resource, signal, sys
from pathlib import Path
from percepta.__main__ import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
words, largest = sys.argv[1:-1], int(sys.argv[-1])
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
sys.exit(main(words))
"""
    given = tmp_path / ("a.png" if source == "picture" else "a.mp4")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(6)]
    if source == "picture":
        Image.fromarray(frames[0]).save(given)
    else:
        video.write(given, frames, 5)

    def run(out: str, largest: int) -> subprocess.CompletedProcess[str]:
        words = ["predict", "distill", str(given), "--out", str(tmp_path / out), str(largest)]
        return subprocess.run([sys.executable, "-c", script, *words], text=True, capture_output=True, check=False)

    assert run("whole", 0).returncode == 0
    drawing = max((tmp_path / "whole").iterdir(), key=lambda file: file.stat().st_size)
    done = run("cut", drawing.stat().st_size - 1)
    assert done.returncode != 0 and "cannot be written" in done.stderr and "Traceback" not in done.stderr, done.stderr
    for file in (tmp_path / "cut").glob("*.jpg"):  # what is there is whole
        Image.open(file).load()
    assert not [file for file in (tmp_path / "cut").glob("*.mp4") if not file.name.startswith(".")]


def test_results_never_come_among_the_inputs(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    Image.new("RGB", (8, 8), "red").save(own / "a.png")
    clip(own / "b.mp4")
    for name in ("a.png", "b.mp4"):
        before = (own / name).read_bytes()
        with pytest.raises(InputError, match="is the folder of the input"), Predictions(own) as written:
            for answer in answers(own / name, means):
                written.add(answer)
        assert (own / name).read_bytes() == before and sorted(path.name for path in own.iterdir()) == ["a.png", "b.mp4"]


@pytest.mark.parametrize("source", ["own", "own/a.png", "own/*.png"])
def test_the_command_says_so_before_anything_is_loaded(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Image.new("RGB", (8, 8), "red").save("own/a.png")
    before = Path("own/a.png").read_bytes()
    for words in (["refer", source, "the cat"], ["distill", source], ["weather", source]):
        assert main(["predict", *words, "--out", "own", "--weights", "not-there"]) == 2
        assert "results could replace what you have there; give another --out" in capsys.readouterr().err
    assert Path("own/a.png").read_bytes() == before and len(list(Path("own").iterdir())) == 1


def test_a_folder_of_results_inside_of_the_inputs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_out(tmp_path / "out", Console(), [tmp_path])
    assert "is inside of" in capsys.readouterr().out
    check_out(tmp_path / "out", Console(), [tmp_path / "a.png"])
    assert capsys.readouterr().out == ""
