"""Videos in and out: exact frames, variable frame rates, turned phones, shots, and files that are none."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from percepta.media import video
from percepta.media.video import VideoError


def numbered(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that tells its number: eight blocks of black and white."""
    frame = np.full((height, width, 3), 128, np.uint8)
    for bit in range(8):
        frame[:, bit * width // 8 : (bit + 1) * width // 8] = 235 if index >> bit & 1 else 20
    return frame


def number(frame: np.ndarray) -> int:
    width = frame.shape[1]
    return sum(int(frame[:, (2 * bit + 1) * width // 16].mean() > 128) << bit for bit in range(8))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name in ("steady.mp4", "steady.mkv", "steady.ts", "steady.webm"):
        with video.Writer(folder / name, 25, keyframe_s=0.8) as writer:
            for index in range(100):
                writer.add(numbered(index))
    with video.Writer(folder / "uneven.mp4", 25) as writer:
        for index, time in enumerate(UNEVEN):
            writer.add(numbered(index), time)
    return folder


UNEVEN = [0, 0.04, 0.08, 0.5, 0.51, 0.52, 0.53, 1.9, 2.0, 2.7, 2.71, 2.8]


@pytest.mark.parametrize("name", ["steady.mp4", "steady.mkv", "steady.ts", "steady.webm"])
def test_frames_at_any_times_are_exact(clips: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    times = [0.0, 3.98, *rng.uniform(0, 3.99, 20).tolist()]
    got = [number(frame) for frame in video.frames(clips / name, times)]
    assert got == [int(time * 25 + 1e-6) for time in times]


@given(times=st.lists(st.floats(0, 2.83), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_of_uneven_frames_the_one_on_show_comes(clips: Path, times: list[float]) -> None:
    got = [number(frame) for frame in video.frames(clips / "uneven.mp4", times)]
    assert got == [max(i for i, start in enumerate(UNEVEN) if start <= time + 5e-6) for time in times]


@pytest.mark.parametrize("name", ["steady.mp4", "steady.ts", "uneven.mp4"])
@pytest.mark.parametrize("every", [0.1, 0.25, 1.0])
def test_a_walk_gives_what_seeking_gives(clips: Path, name: str, every: float) -> None:
    seen: list[float] = []
    walked = list(video.walk(clips / name, every, watch=lambda time, _: seen.append(time), fast=False))
    assert [sample.time_s for sample in walked] == [every * index for index in range(len(walked))]
    sought = video.frames(clips / name, [sample.time_s for sample in walked])
    assert [number(sample.frame) for sample in walked] == [number(frame) for frame in sought]
    np.testing.assert_allclose(seen, UNEVEN if name == "uneven.mp4" else np.arange(100) / 25, atol=1e-4)
    end = 4.0 if "steady" in name else UNEVEN[-1]
    assert end - every <= walked[-1].time_s < end + every


def test_one_frame_that_lasts_comes_as_the_same_array(clips: Path) -> None:
    samples = list(video.walk(clips / "uneven.mp4", 0.1))
    same = [a.frame is b.frame for a, b in pairwise(samples)]
    assert same[6:18] == [True] * 12  # 0.6 to 1.8 s show the frame of 0.53 s
    assert not same[0]


def test_frames_can_come_small_and_without_deblocking(clips: Path) -> None:
    for fast in (True, False):
        small = next(iter(video.walk(clips / "steady.mp4", 1, size=(24, 32), fast=fast))).frame
        assert small.shape == (24, 32, 3) and abs(int(small[12, 30].mean()) - 20) < 12


def test_what_a_file_says(clips: Path) -> None:
    told = video.info(clips / "steady.mp4")
    assert (told.width_px, told.height_px, told.frames, told.rotation_deg) == (64, 48, 100, 0)
    assert told.fps == 25 and abs(told.duration_s - 4) < 0.05 and not told.has_audio
    assert abs(video.info(clips / "steady.mkv").duration_s - 4) < 0.1


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes a display matrix into an MP4's track header, as phones do."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


# The matrix, by how much a player turns the frames clockwise, and what numpy calls that.
@pytest.mark.parametrize(
    ("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)]
)
def test_a_turned_phone_video_comes_upright(tmp_path: Path, matrix: tuple[int, int, int, int], turns: int) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:12, :16] = (255, 255, 255)
    path = video.write(tmp_path / "phone.mp4", [frame] * 10, 10)
    turn(path, matrix)
    upright = np.rot90(frame, turns)
    told = video.info(path)
    assert (told.height_px, told.width_px) == upright.shape[:2] and told.rotation_deg == 90 * turns
    for got in (video.frames(path, [0.3])[0], next(iter(video.walk(path, 1))).frame):
        assert got.shape == upright.shape and np.abs(got.astype(int) - upright).mean() < 12
    small = next(iter(video.walk(path, 1, size=(20, 30)))).frame
    assert small.shape == (20, 30, 3)
    bright = np.argwhere(small.mean(2) > 200).mean(0) / (20, 30)
    wanted = np.argwhere(upright.mean(2) > 200).mean(0) / upright.shape[:2]
    assert np.abs(bright - wanted).max() < 0.08


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if path.suffix != ".wav" else "pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600 * 2), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def without_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def test_files_that_are_no_videos_say_so(tmp_path: Path, clips: Path) -> None:
    whole = (clips / "steady.mp4").read_bytes()
    # Without faststart the table of contents comes last, and a recording that is cut off has none.
    late = whole.index(b"mdat") - 4
    picture = tmp_path / "picture.mp4"
    Image.new("RGB", (32, 32)).save(picture, "JPEG")
    cases = {
        "empty.mp4": (b"", "0 bytes"),
        "text.mp4": (b"no video " * 99, "not a video"),
        "headless.mp4": (whole[:32] + whole[late:], "cut off before its table of contents"),
        "short.mp4": (whole[:40], "cut off before its table of contents"),
        "picture.mp4": (picture.read_bytes(), "a picture"),
        "sound.mp4": (sound(tmp_path / "s.mp4").read_bytes(), "only sound"),
        "sound.mkv": (sound(tmp_path / "s.mkv").read_bytes(), "only sound"),
        "frameless.mkv": (without_frames(tmp_path / "f.mkv").read_bytes(), "without frames"),
        "frameless.mp4": (without_frames(tmp_path / "f.mp4").read_bytes(), "without frames"),
        "contentless.mp4": (whole[: late + 8], "truncated or damaged|without frames"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        for look in (video.info, lambda p: video.frames(p, [0.0]), lambda p: list(video.walk(p, 1))):
            with pytest.raises(VideoError, match=words) as caught:
                look(path)
            assert str(caught.value).startswith(f"{path}: ") and caught.value.decoded_s == 0
    with pytest.raises(FileNotFoundError):
        video.info(tmp_path / "none.mp4")
    with pytest.raises(IsADirectoryError):
        video.info(tmp_path)


@pytest.mark.parametrize("name", ["steady.mp4", "steady.mkv"])
def test_of_a_truncated_video_what_there_is_comes_first(tmp_path: Path, clips: Path, name: str) -> None:
    whole = (clips / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) * 8 // 10])
    samples: list[video.Sample] = []
    with pytest.raises(VideoError, match=r"truncated or damaged: \d\.\d of 4\.0 s") as caught:
        samples.extend(video.walk(path, 0.1))
        samples += video.walk(path, 0.1)
    walked = []
    with pytest.raises(VideoError):
        for sample in video.walk(path, 0.1):
            walked.append(sample)
    assert 0.5 < caught.value.decoded_s < 3.9 and abs(len(walked) * 0.1 - caught.value.decoded_s) < 0.2
    assert [number(sample.frame) for sample in walked[:5]] == [int(25 * 0.1 * i + 1e-6) for i in range(5)]
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.decoded_s == caught.value.decoded_s


def test_damage_in_the_middle_is_stepped_over(tmp_path: Path, clips: Path) -> None:
    content = bytearray((clips / "steady.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 2
    content[middle : middle + 60] = bytes(60)
    path = tmp_path / "scratched.mp4"
    path.write_bytes(content)
    samples = []
    with pytest.warns(UserWarning, match=r"scratched\.mp4: \d+ damaged pieces of the video are left out"):
        for sample in video.walk(path, 0.1):
            samples.append(sample)
    assert len(samples) > 20 and number(samples[2].frame) == 5


ONE = 1 << 16


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_every_display_matrix_is_followed(tmp_path: Path, quarters: int, mirrored: bool) -> None:
    """Phones write rotations, front cameras mirror: the oracle turns the array."""
    plain = np.zeros((32, 48, 3), np.uint8)
    plain[:16, :24, 1], plain[16:, 24:, 2] = 255, 255
    video.write(tmp_path / "p.mp4", [plain] * 3, 5)
    turn = np.radians(-90 * quarters)  # clockwise, y points down
    matrix = np.round([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).astype(int)
    matrix = matrix @ np.diag([-1, 1]) if mirrored else matrix
    (a, c), (b, d) = (ONE * matrix).tolist()
    content = bytearray((tmp_path / "p.mp4").read_bytes())
    place = content.find(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "q.mp4").write_bytes(content)
    wanted = np.rot90(plain[:, ::-1] if mirrored else plain, quarters)
    got = video.frames(tmp_path / "q.mp4", [0])[0]
    assert got.shape == wanted.shape and np.abs(got.astype(int) - wanted)[4:-4, 4:-4].mean() < 20
    about = video.info(tmp_path / "q.mp4")
    assert (about.height_px, about.width_px) == wanted.shape[:2] and about.rotation_deg == 90 * quarters
    small = next(video.walk(tmp_path / "q.mp4", 1, size=(wanted.shape[0] // 2, wanted.shape[1] // 2))).frame
    assert np.abs(small.astype(int) - wanted[::2, ::2]).mean() < 40


@pytest.mark.parametrize(("aspect", "size"), [((2, 1), (48, 128)), ((16, 15), (48, 68)), ((1, 2), (96, 64))])
def test_pixels_become_square(tmp_path: Path, aspect: tuple[int, int], size: tuple[int, int]) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        for index in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(index), "rgb24")))
        out.mux(stream.encode())
    about = video.info(path)
    assert (about.height_px, about.width_px) == size
    frame = video.frames(path, [0.3])[0]
    assert frame.shape == (*size, 3) and number(frame) == 3
    assert next(video.walk(path, 1, size=(24, 24))).frame.shape == (24, 24, 3)


def test_time_goes_on_where_time_stamps_start_again(tmp_path: Path, clips: Path) -> None:
    """Two transport streams put together, as recorders and downloaders do it."""
    path = tmp_path / "joined.ts"
    path.write_bytes((clips / "steady.ts").read_bytes() * 2)
    walked = list(video.walk(path, 0.5))
    assert [round(sample.time_s, 6) for sample in walked] == [0.5 * i for i in range(len(walked))]
    seen = [number(sample.frame) for sample in walked]
    assert len(seen) == 16 and all(abs(first - second) <= 1 for first, second in zip(seen[:8], seen[8:], strict=True))
    assert [number(frame) for frame in video.frames(path, [0.5, 4.5, 7.0])] == [seen[1], seen[9], seen[14]]


def test_a_jump_of_days_is_no_time(tmp_path: Path) -> None:
    with video.Writer(tmp_path / "a.mkv", 10) as writer:
        for index, time in enumerate((0, 0.1, 0.2, 5e5, 5e5 + 0.1)):
            writer.add(numbered(index), time)
    samples = []
    with contextlib.suppress(VideoError):  # the file says that it is longer
        samples += video.walk(tmp_path / "a.mkv", 0.1)
    assert 4 <= len(samples) <= 8


def test_a_video_that_cannot_be_written_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*a\.mp4"):
        video.write(tmp_path / "a.mp4", [numbered(0)] * 3, 5)
    assert not list(tmp_path.iterdir())


def test_wrong_times_and_frames_are_refused(tmp_path: Path, clips: Path) -> None:
    with pytest.raises(ValueError, match=r"the video ends at 4\.00 s"):
        video.frames(clips / "steady.mp4", [1, 9])
    with pytest.raises(ValueError, match="0 or more"):
        video.frames(clips / "steady.mp4", [-1.0])
    with pytest.raises(ValueError, match="positive"):
        next(video.walk(clips / "steady.mp4", 0))
    with pytest.raises(ValueError, match="at least one frame"):
        video.write(tmp_path / "a.mp4", [], 25)
    with pytest.raises(ValueError, match="one size"):
        video.write(tmp_path / "a.mp4", [numbered(0), numbered(0, 50)], 25)
    with pytest.raises(ValueError, match="no later"), video.Writer(tmp_path / "a.mp4", 25) as writer:
        writer.add(numbered(0), 1.0)
        writer.add(numbered(0), 1.0)
    assert list(tmp_path.iterdir()) == []  # nothing half-written
    path = video.write(tmp_path / "odd.mp4", [numbered(3, 47, 63)] * 3, 30)
    assert video.frames(path, [0.05])[0].shape == (48, 64, 3)


# --------------------------------------------------------------------------------------------------- shots


def scene(seed: int, length: int) -> list[np.ndarray]:
    """A shot of its own colours in which things move, the camera pans, and there is noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 12, 3)).astype(np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((320, 96), Image.Resampling.BICUBIC), np.int16)
    colour, speed = rng.integers(0, 256, 3), rng.integers(1, 4)
    frames = []
    for index in range(length):
        frame = wide[:, speed * index % 190 :][:, :128].copy()
        x = (7 * index) % 100
        frame[30:60, x : x + 28] = colour
        frames.append((frame + rng.normal(0, 4, frame.shape)).clip(0, 255).astype(np.uint8))
    return frames


def rendered(folder: Path, seed: int) -> tuple[Path, list[float]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(12, 40, 10).tolist()
    frames = [frame for place, length in enumerate(lengths) for frame in scene(1000 * seed + place, length)]
    flash = int(np.cumsum(lengths)[3]) + 5  # a photographer's flash inside a shot
    frames[flash] = np.full_like(frames[flash], 250)
    return video.write(folder / f"{seed}.mp4", frames, 25), (np.cumsum(lengths)[:-1] / 25).tolist()


def found_cuts(path: Path) -> list[float]:
    times: list[float] = []
    rows: list[np.ndarray] = []

    def watch(time: float, row: np.ndarray) -> None:
        times.append(time)
        rows.append(row)

    for _ in video.walk(path, 1.0, size=(16, 16), watch=watch):
        pass
    return video.cuts(times, rows)


def test_cuts_are_found_and_flashes_pans_and_noise_are_not(tmp_path: Path) -> None:
    right = wanted = told = 0
    for seed in range(4):
        path, truth = rendered(tmp_path, seed)
        cuts = found_cuts(path)
        right += sum(min(abs(cut - one) for one in truth) < 0.021 for cut in cuts)
        wanted, told = wanted + len(truth), told + len(cuts)
    assert right / wanted >= 0.95, (right, wanted)  # recall
    assert right / told >= 0.95, (right, told)  # precision


def test_cuts_between_real_videos(shared_data: Path, tmp_path: Path) -> None:
    folders = sorted((shared_data / "davis16" / "JPEGImages" / "480p").iterdir())
    frames, truth = [], []
    for folder in folders:
        part = sorted(folder.iterdir())[:30]
        frames += [np.asarray(Image.open(path).convert("RGB").resize((320, 180))) for path in part]
        truth.append(len(frames) / 24)
    cuts = found_cuts(video.write(tmp_path / "all.mp4", frames, 24))
    right = sum(min(abs(cut - one) for one in truth[:-1]) < 0.021 for cut in cuts)
    assert right == len(truth) - 1 and len(cuts) - right <= 1


def test_of_nothing_there_are_no_cuts() -> None:
    row = np.zeros(96, np.uint8)
    assert video.cuts([], []) == [] and video.cuts([0], [row]) == []
    assert video.cuts([0, 1, 2], [row, row, row]) == []
