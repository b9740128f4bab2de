"""A film followed into a folder: what is written, cut-outs with transparency, and a run that was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from percepta.__main__ import main
from percepta.errors import InputError
from percepta.media import cutouts, video
from percepta.media.frames import Frames
from percepta.metrics.masks import coco_rle_decode
from percepta.systems.vos import PRESETS, grow, writers
from percepta.systems.vos.marks import HINT
from percepta.systems.vos.model import build, size_inside
from percepta.systems.vos.predict import Session, Vos
from percepta.systems.vos.world import clip

FRAMES = 26


@pytest.fixture(scope="module")
def system() -> Vos:
    torch.manual_seed(0)
    config = PRESETS["tiny"]
    return Vos(config, build(config).eval(), "", lambda *_, **__: None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A film of the world, and its labels."""
    pixels, labels, _ = clip(3, 96, 160, FRAMES, 2)
    path = video.write(tmp_path_factory.mktemp("film") / "film.mp4", pixels, 12)
    return path, labels


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Killed(BaseException):
    """What no code expects."""


@pytest.mark.parametrize("at", [0, 13])
@pytest.mark.parametrize("stop", [3, 14, 22, 37])
def test_a_killed_run_goes_on_and_gives_the_same(
    system: Vos, film: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, stop: int
) -> None:
    path, labels = film
    frames, masks = Frames.open(path), {at: labels[at]}
    whole = writers.follow(system, frames, masks, tmp_path / "whole")
    step, taken = Session.step, [0]

    def counted(self: Session, *given: Any) -> Any:
        taken[0] += 1
        if taken[0] == stop:
            raise Killed
        return step(self, *given)

    monkeypatch.setattr(Session, "step", counted)
    try:
        writers.follow(system, frames, masks, tmp_path / "parts")
    except Killed:
        before = taken[0]
        writers.follow(system, frames, masks, tmp_path / "parts")
        steps = FRAMES - at if at == 0 else FRAMES + 1
        assert taken[0] - before < steps - (stop - 1) + writers.STATE_EVERY + 2, "it began anew"
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert whole.count == FRAMES and set(whole.ids) == {int(i) for i in np.unique(labels[at])} - {0}


def test_what_a_run_leaves_is_not_taken_for_another(
    system: Vos, film: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, labels = film
    frames = Frames.open(path)
    monkeypatch.setattr(writers._Job, "end", lambda job: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        writers.follow(system, frames, {0: labels[0]}, tmp_path)
    monkeypatch.undo()
    with pytest.raises(InputError, match="unfinished run of another film"):
        writers.follow(system, frames, {0: labels[1]}, tmp_path)
    other = writers.follow(system, frames, {0: labels[1]}, tmp_path, resume=False)
    assert other.count == FRAMES and not (tmp_path / writers.STATE).exists()


def test_rows_hold_the_masks(system: Vos, film: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, labels = film
    found = writers.follow(system, Frames.open(path), {5: labels[5]}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / writers.ROWS).read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert [row["time_s"] for row in rows] == pytest.approx([i / 12 for i in range(FRAMES)], abs=1e-3)
    for row in rows:
        said = found.labels(row["frame"])
        for one in row["objects"]:
            assert said is not None
            assert np.array_equal(coco_rle_decode(one["segmentation"]), said == one["id"])
    given = found.labels(5)
    assert given is not None and np.array_equal(given, labels[5])


def test_a_mask_for_a_frame_that_is_not_there(system: Vos, film: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, labels = film
    with pytest.raises(InputError, match=f"a mask for frame 99, but the film has {FRAMES} frames"):
        writers.follow(system, Frames.open(path), {0: labels[0], 99: labels[1]}, tmp_path)


def test_frames_go_backwards(film: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("percepta.media.frames.PART_BYTES", 5 * 3 * 96 * 160)
    frames = Frames.open(film[0])
    forwards = [pixels for _, pixels in frames]
    back = [np.asarray(one) for one in frames.backwards(frames.times(FRAMES))]
    assert len(back) == FRAMES and all(
        np.array_equal(a, np.asarray(b)) for a, b in zip(back, forwards[::-1], strict=True)
    )


def decoded(path: Path) -> list[np.ndarray]:
    """RGBA frames of a transparent video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if path.suffix == ".mov":
            return [frame.to_ndarray(format="rgba") for frame in container.decode(stream)]
        decoder: Any = av.CodecContext.create("libvpx-vp9", "r")  # the other one for VP9 leaves alpha out
        parts = [decoder.decode(packet if packet.dts is not None else None) for packet in container.demux(stream)]
        return [frame.to_ndarray(format="rgba") for part in parts for frame in part]


@pytest.mark.parametrize("name", ["a.webm", "a.mov", "a"])
def test_cut_outs_are_transparent(name: str, tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :96]
    masks = [(x - 20 - 4 * i) ** 2 + (y - 30) ** 2 < 200 for i in range(8)]
    pixels = np.full((64, 96, 3), (200, 40, 60), np.uint8)
    with cutouts.Writer(tmp_path / name, 12) as writer:
        for mask in masks:
            writer.add(cutouts.cut_out(pixels, mask))
    path = tmp_path / name
    back = decoded(path) if path.suffix else [np.array(Image.open(one)) for one in sorted(path.iterdir())]
    assert len(back) == 8
    for frame, mask in zip(back, masks, strict=True):
        alpha = frame[..., 3] / 255.0
        assert np.abs(alpha - mask).mean() < 0.02 and ((alpha > 0.5) == mask).mean() > 0.99
        assert np.abs(frame[alpha > 0.9][:, :3].astype(float).mean(0) - (200, 40, 60)).max() < 8


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_a_cut_out_keeps_what_is_inside_and_drops_what_is_far(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((5, 6)) < share, np.ones((8, 8), bool))
    pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
    out = cutouts.cut_out(pixels, mask)
    deep = np.asarray(ndimage.binary_erosion(mask, iterations=5, border_value=1), bool)
    far = np.asarray(ndimage.binary_dilation(mask, iterations=9), bool)
    assert (out[deep] == np.dstack([pixels, np.full((40, 48), 255, np.uint8)])[deep]).all()
    assert not out[~far].any()


def test_wrong_cut_outs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"end in \.webm or \.mov"):
        cutouts.Writer(tmp_path / "a.mp4", 12)
    with pytest.raises(InputError, match="the mask is"):
        cutouts.cut_out(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), bool))


def test_a_box_and_a_click_are_grown_inside(system: Vos, film: tuple[Path, np.ndarray]) -> None:
    picture = np.full((90, 120, 3), 90, np.uint8)
    mask = grow.from_box(system, picture, (10, 20, 40, 30))
    outside = mask.copy()
    outside[20:50, 10:50] = False
    assert mask.any() and not outside.any()
    assert grow.from_click(system, picture, (60, 40)).any()
    for wrong in (
        lambda: grow.from_box(system, picture, (200, 0, 5, 5)),
        lambda: grow.from_click(system, picture, (-1, 0)),
    ):
        with pytest.raises(InputError, match="picture"):
            wrong()


def test_a_network_that_knows_marks_is_given_them(system: Vos) -> None:
    """Its answer, not that of the colours; inside the box; and something where it finds nothing."""
    knows = replace(system, config=replace(system.config, marked_share=0.2))
    picture = np.full((90, 120, 3), 90, np.uint8)
    given: list[torch.Tensor] = []
    said = torch.full((1, 2, *size_inside(knows.config, 90, 120)), -3.0)

    def answer(pictures: torch.Tensor, masks: torch.Tensor) -> list[tuple[torch.Tensor, None]]:
        assert torch.equal(pictures[0, 0], pictures[0, 1])
        given.append(masks)
        return [(said, None)]

    knows = replace(knows, model=Answers(answer))
    said[:, 1] = 3.0
    assert grow.from_click(knows, picture, (60, 40)).all()
    inside = grow.from_box(knows, picture, (10, 20, 40, 30))
    assert inside.sum() == 40 * 30 and inside[20:50, 10:50].all()
    said[:, 1] = -9.0
    assert 0 < grow.from_click(knows, picture, (60, 40)).mean() < 0.05
    assert all(masks.max() == HINT for masks in given) and len(given) == 3


class Answers(torch.nn.Module):
    """Stands for a network."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        super().__init__()
        self.answer = answer
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *given: Any) -> Any:
        return self.answer(*given)


def test_the_command(
    film: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    answers_of: Callable[[Path, str], Any],
) -> None:  # fmt: skip
    path, labels = film
    Image.fromarray(labels[0]).save(tmp_path / "first.png")
    words = ["predict", "vos", str(path), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main([*words, "--mask", str(tmp_path / "first.png"), "--cutout", "webm", "png"]) == 0
    assert f"{FRAMES} frames: object 1 in sight in" in capsys.readouterr().out
    made = {one.name for one in (tmp_path / "out").iterdir()}
    assert made == {"masks", "objects.jsonl", "overlay.mp4", "cutout.webm", "cutout", "predictions.json"}
    assert len(list((tmp_path / "out" / "cutout").iterdir())) == FRAMES
    (row,) = answers_of(tmp_path / "out", "vos")
    assert row["frames"] == FRAMES and row["drawing"] == "overlay.mp4"
    for more, text in (
        ([], "what is to be followed"),
        (["--mask", "nowhere.png"], "nowhere.png"),
        (["--click", "3", "3", "--box", "1", "1", "5", "5"], "what is to be followed"),
        (["--click", "500", "3"], "not in the picture"),
        (["--box", "3", "3", "20", "20", "--at", "99"], "no such frame"),
        (["--click", "3", "3", "--cutout", "gif"], "takes webm, mov, png"),
        (["--mask", str(tmp_path / "first.png"), "--mask", f"99={tmp_path / 'first.png'}"], "a mask for frame 99"),
        (["--mask", str(tmp_path / "first.png"), "--mask", f"0={tmp_path / 'first.png'}"], "has two masks"),
    ):
        assert main([*words[:-1], str(tmp_path / "none"), *more]) == 2
        assert text in capsys.readouterr().err.replace("\n", " ")


def test_what_somebody_has_in_the_folder_stays(system: Vos, film: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, labels = film
    frames = Frames.open(path)
    own = tmp_path / "out" / writers.MASKS / "first.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"no run of this command has written .first.png.: give another --out"):
        writers.follow(system, frames, {0: labels[0]}, tmp_path / "out")
    assert own.read_bytes() == b"mine" and len(files(tmp_path / "out")) == 1
    own.unlink()
    writers.follow(system, frames, {0: labels[0]}, tmp_path / "out")
    before = files(tmp_path / "out")
    writers.follow(system, frames, {0: labels[0]}, tmp_path / "out")  # its own files are replaced
    assert files(tmp_path / "out") == before


def test_masks_in_the_folder_of_results_are_refused_before_anything_is_loaded(
    film: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, labels = film
    mask = tmp_path / "out" / writers.MASKS / "00000.png"
    mask.parent.mkdir(parents=True)
    Image.fromarray(labels[0]).save(mask)
    before = mask.read_bytes()
    assert main(["predict", "vos", str(path), "--mask", str(mask), "--out", str(tmp_path / "out")]) == 2
    assert "is the folder of the input 00000.png" in capsys.readouterr().err and mask.read_bytes() == before
    with pytest.raises(InputError, match="is an input itself"):
        writers.cut_outs(Frames.open(path), writers.Followed(tmp_path, 1, (1,), {1: 1}, (), ()), [path])
