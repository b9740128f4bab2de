"""Sessions of vos: what comes back, what is refused, and that undo, saving and both directions change nothing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from percepta.errors import InputError
from percepta.systems.vos import MAX_OBJECTS, PRESETS
from percepta.systems.vos.model import Network, build, size_inside
from percepta.systems.vos.predict import UNDO, Result, Session, Vos, packed, read_masks

H, W = 70, 100
CONFIG = replace(PRESETS["tiny"], height=64, width=96, sensory_channels=16)


@pytest.fixture(scope="module")
def vos() -> Vos:
    torch.manual_seed(0)
    model = build(CONFIG)
    assert isinstance(model, Network)
    for name, value in model.named_parameters():
        if name.endswith("conv2.weight"):
            torch.nn.init.normal_(value, std=0.05)
    torch.nn.init.normal_(model.decoder.leave.weight, std=0.5)

    def evaluate(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    return Vos(CONFIG, model.eval(), "none", evaluate)


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """A bright square that moves over noise."""
    rng = np.random.default_rng(seed)
    background, out = rng.integers(0, 120, (H, W, 3)), []
    for i in range(count):
        picture = background.copy()
        picture[20:50, 5 + 3 * i % 60 : 35 + 3 * i % 60, seed % 3] += 130
        out.append(picture.astype(np.uint8))
    return out


def square(top: int = 20, left: int = 5) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[top : top + 30, left : left + 30] = True
    return mask


def same(a: Result, b: Result) -> bool:
    return (
        np.array_equal(a.labels, b.labels)
        and np.array_equal(a.maps, b.maps)
        and (a.ids, a.scores, a.lost, a.cut, a.frame) == (b.ids, b.scores, b.lost, b.cut, b.frame)
    )


def test_a_session_gives_labels_of_the_size_of_the_frame(vos: Vos, tmp_path: Path) -> None:
    session = vos.session()
    before = session.step(frames(1)[0])
    assert before.ids == () and not before.labels.any() and before.scores == {}
    first = session.step(frames(2)[1], {3: square(), 200: square(20, 60)})
    assert first.ids == first.given == (3, 200) and first.frame == 1
    assert np.array_equal(first.mask(3), square()) and np.array_equal(first.mask(200), square(20, 60))
    second = session.step(frames(3)[2])
    assert second.labels.shape == (H, W) and second.labels.dtype == np.uint8
    assert set(np.unique(second.labels)) <= {0, 3, 200} and second.given == ()
    p = second.probabilities
    assert p.shape == (3, H, W)
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-5)
    assert np.mean(np.array([0, 3, 200])[p.argmax(0)] == second.labels) == 1
    assert all(0 <= score <= 1 for score in second.scores.values())
    assert second.lost == tuple(i for i in (3, 200) if second.scores[i] < 0.5 or not second.mask(i).any())
    assert second.draw().size == (W, H) and repr(second) == f"Result({second.text})" and "\n" not in second.text
    assert second.text.startswith("frame 2: object 3 ")
    path = second.save(tmp_path / "frame.png")
    assert np.array_equal(np.array(Image.open(path)), second.labels)
    assert len(second.to_dict()["objects"]) == 2 and path.with_suffix(".json").is_file()


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from(["step", "new", "correct", "remove"]), min_size=2, max_size=8), st.integers(1, 5))
def test_undo_goes_back_bit_by_bit(vos: Vos, events: list[str], steps: int) -> None:
    session, rest = vos.session(), iter(frames(40))
    session.step(next(rest), {1: square()})
    straight = vos.session()
    straight.step(frames(1)[0], {1: square()})
    done = 0
    for number, event in enumerate(events):
        picture = next(rest)
        for one in (session, straight) if number < len(events) - steps else (session,):
            if event == "remove" and len(one.ids) > 1:
                one.remove(one.ids[0])
            elif event in ("new", "correct"):
                name = max(one.ids) + (event == "new")
                one.step(picture, {name: square(30, 40)})
            else:
                one.step(picture)
        done += number >= len(events) - steps
    if done:
        session.undo(done)
    assert session.ids == straight.ids and session.frame == straight.frame
    picture = next(rest)
    assert same(session.step(picture), straight.step(picture))


def test_undo_has_an_end(vos: Vos) -> None:
    session = vos.session()
    with pytest.raises(InputError, match="0 steps can be taken back"):
        session.undo()
    for picture in frames(UNDO + 3):
        session.step(picture, {1: square()} if session.frame < 0 else None)
    session.undo(UNDO)
    assert session.frame == 2
    with pytest.raises(InputError):
        session.undo()


@pytest.mark.parametrize("where", [0, 1, 3, 9])
def test_a_saved_session_goes_on_bit_by_bit(vos: Vos, tmp_path: Path, where: int) -> None:
    session = vos.session()
    clip = frames(14)
    for i, picture in enumerate(clip[:where]):
        session.step(picture, {7: square()} if i == 0 else {9: square(5, 60)} if i == 2 else None)
    other = vos.session(state=session.save(tmp_path / "state.safetensors"))
    assert other.ids == session.ids and other.frame == session.frame
    for i, picture in enumerate(clip[where:]):
        masks = {7: square()} if i == 0 else None
        assert same(session.step(picture, masks), other.step(picture, masks))


def test_what_is_no_session_is_refused(vos: Vos, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no")
    with pytest.raises(InputError, match="not a saved session"):
        vos.session(state=tmp_path / "a")
    with pytest.raises(InputError, match="no such file"):
        vos.session(state=tmp_path / "b")
    session = vos.session()
    session.step(frames(1)[0], square())
    path = session.save(tmp_path / "c")
    torch.manual_seed(1)
    model = build(CONFIG).eval()
    setattr(model, "weights_hash", "others")  # noqa: B010
    with pytest.raises(InputError, match="other weights"):
        Vos(CONFIG, model, "none", vos.evaluate).session(state=path)


def test_forwards_is_step_by_step_and_backwards_is_forwards_reversed(vos: Vos, tmp_path: Path) -> None:
    clip = frames(7)
    session = vos.session()
    steps = [session.step(picture, square() if i == 0 else None) for i, picture in enumerate(clip)]
    track = vos.predict(clip, square())
    assert track.frames == tuple(range(7)) and track.ids == (1,)
    assert all(np.array_equal(track.labels(i), step.labels) for i, step in enumerate(steps))
    assert [row[0] for row in track.scores.tolist()] == [step.scores[1] for step in steps]
    turned = vos.predict(clip[::-1], square(), at=6)
    assert all(np.array_equal(turned.labels(6 - i), step.labels) for i, step in enumerate(steps))
    middle = vos.predict(clip, square(), at=3)
    ahead, back = vos.predict(clip[3:], square()), vos.predict(clip[3::-1], square())
    assert middle.frames == tuple(range(7))
    assert all(np.array_equal(middle.labels(3 + i), ahead.labels(i)) for i in range(4))
    assert all(np.array_equal(middle.labels(3 - i), back.labels(i)) for i in range(4))
    assert vos.predict(clip, square(), at=3, backwards=False).frames == (3, 4, 5, 6)
    streamed = list(vos.follow(iter(clip), square(), at=2))
    assert [result.ids for result in streamed] == [(), ()] + [(1,)] * 5
    assert middle.draw().width > 0 and middle.text.startswith("7 frames: object 1 ")
    assert "\n" not in repr(vos) and "Vos(" in repr(vos)
    middle.save(tmp_path / "track.png")
    assert len(list((tmp_path / "track").iterdir())) == 7
    assert np.array_equal(np.array(Image.open(tmp_path / "track" / "00003.png")), square().astype(np.uint8))


def test_objects_come_later_and_are_corrected(vos: Vos) -> None:
    clip = frames(8)
    track = vos.predict(clip, {1: square()}, more={3: {2: square(5, 60)}, 5: {1: square(30, 30)}})
    assert track.ids == (1, 2)
    assert np.isnan(track.scores[:3, 1]).all() and np.isfinite(track.scores[3:, 1]).all()
    assert np.array_equal(track.labels(3) == 2, square(5, 60))
    assert np.array_equal(track.labels(5) == 1, square(30, 30))
    assert 2 not in track.labels(2)


def test_an_object_is_removed_and_its_id_used_again(vos: Vos) -> None:
    session = vos.session()
    clip = frames(5)
    session.step(clip[0], {1: square(), 2: square(20, 60)})
    session.remove(1)
    result = session.step(clip[1])
    assert result.ids == (2,) and 1 not in result.labels
    session.remove(2)
    assert session.step(clip[2]).ids == ()
    again = session.step(clip[3], {1: square()})
    assert again.ids == (1,) and session.step(clip[4]).ids == (1,)
    with pytest.raises(InputError, match="no object 5 is followed"):
        session.remove(5)


def bad() -> list[tuple[str, Any, str]]:
    many = {i + 1: square() for i in range(MAX_OBJECTS + 1)}
    wide, deep = np.zeros((H, W), np.uint16), np.zeros((H, W, 3), np.uint8)
    wide[3, 3] = 300
    return [
        ("size", np.zeros((H // 2, W // 2), np.uint8), "35×50 pixels, the frame 70×100"),
        ("ids", wide, "ids go from 1 to 254"),
        ("negative", wide.astype(np.int64) - 1, "this one has -1"),
        ("key", {0: square()}, "whole numbers from 1 to 254"),
        ("empty", np.zeros((H, W), np.uint8), "nothing is marked in the first mask"),
        ("empty object", {4: square() & False}, "object 4, which begins here, is empty"),
        ("many", many, "51 objects; at most 50"),
        ("colour", Image.fromarray(deep), "one value a pixel"),
        ("channels", deep, r"height × width"),
        ("soft", np.full((H, W), 0.3), "give mask > 0.5"),
        ("file", "nowhere.png", "no such file"),
    ]


@pytest.mark.parametrize(("masks", "text"), [row[1:] for row in bad()], ids=[row[0] for row in bad()])
def test_bad_masks_are_refused_and_change_nothing(vos: Vos, masks: Any, text: str) -> None:
    clip = frames(3)
    session, other = vos.session(), vos.session()
    with pytest.raises(InputError, match=text):
        session.step(clip[0], masks)
    assert session.frame == -1 and session.ids == ()
    for one in (session, other):
        one.step(clip[0], {1: square()})
    if "first mask" not in text:
        with pytest.raises(InputError):
            session.step(clip[1], masks)
    assert same(session.step(clip[2]), other.step(clip[2]))


def test_bad_videos_are_refused(vos: Vos) -> None:
    clip = frames(3)
    session = vos.session()
    session.step(clip[0], square())
    with pytest.raises(InputError, match=r"frame 1: 50×100 pixels, but the video began with 70×100"):
        session.step(clip[1][:50])
    assert session.frame == 0
    odd = session.step(clip[1][:, :-1])
    assert odd.labels.shape == (H, W) and "70×99" in odd.warnings[0]
    with pytest.raises(InputError, match="a mask for frame 9, but the video has 3 frames"):
        vos.predict(clip, square(), more={9: square()})
    with pytest.raises(InputError, match="a mask for frame 4, but the video has 3 frames"):
        vos.predict(clip, square(), at=4)
    with pytest.raises(InputError, match="no frame -1"):
        vos.predict(clip, square(), at=-1)
    with pytest.raises(InputError, match="masks twice"):
        vos.predict(clip, square(), at=1, more={1: square()})
    with pytest.raises(InputError, match="give the frames as a list"):
        vos.predict(iter(clip), square(), at=1)
    with pytest.raises(InputError, match="the video has no frames"):
        vos.predict([], square())
    with pytest.raises(InputError, match="a mask for frame 5"):
        list(vos.follow(clip, square(), at=5))
    assert vos.predict(iter(clip), square(), at=1, backwards=False).frames == (1, 2)
    single = vos.predict(clip[:1], square())
    assert single.frames == (0,) and "one frame" in single.warnings[0]


def test_a_bad_frame_of_a_video_is_left_out_and_named(vos: Vos, tmp_path: Path) -> None:
    clip: list[Any] = frames(7)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    good = [picture for i, picture in enumerate(clip) if i not in (1, 4)]
    clip[1], clip[4] = tmp_path / "broken.png", clip[4][:40]
    track, whole = vos.predict(clip, square()), vos.predict(good, square())
    assert track.frames == (0, 2, 3, 5, 6) and track.pngs == whole.pngs
    assert "frame 1 is left out" in track.warnings[0] and "broken.png" in track.warnings[0]
    assert track.warnings[1].startswith("frame 4 is left out: 40×100 pixels")
    turned = vos.predict(clip[::-1], square(), at=6)
    assert turned.frames == (0, 1, 3, 4, 6) and turned.pngs == whole.pngs[::-1]
    with pytest.raises(InputError, match=r"broken\.png"):
        vos.predict(clip, square(), more={1: square()})


def test_masks_in_every_form(tmp_path: Path) -> None:
    labels = square().astype(np.uint8) + 2 * square(20, 60).astype(np.uint8)
    (tmp_path / "indexed.png").write_bytes(packed(labels))
    Image.fromarray(labels).save(tmp_path / "grey.png")
    forms: list[Any] = [labels, torch.from_numpy(labels), tmp_path / "indexed.png", str(tmp_path / "grey.png")]
    for form in [*forms, Image.open(tmp_path / "indexed.png"), labels.astype(np.int64)]:
        found, warnings = read_masks(form, (H, W))
        assert list(found) == [1, 2] and not warnings
        assert np.array_equal(found[1], square()) and np.array_equal(found[2], square(20, 60))
    for form in (square(), square().astype(np.uint8) * 255, Image.fromarray(square()), square().astype(np.float32)):
        found, _ = read_masks(form, (H, W))
        assert list(found) == [1] and np.array_equal(found[1], square())
    unknown = labels.copy()
    unknown[60:] = 255
    found, _ = read_masks(unknown, (H, W))
    assert list(found) == [1, 2] and not found[1][60:].any()
    found, warnings = read_masks({1: square(), 2: square(25, 5)}, (H, W))
    assert "overlaps" in warnings[0]


def test_a_mask_of_nearly_the_size_of_the_frame_is_resized() -> None:
    found, warnings = read_masks(square()[:, :-1], (H, W))
    assert found[1].shape == (H, W) and np.mean(found[1] == square()) > 0.98
    assert "70×99" in warnings[0] and "resized" in warnings[0]


def test_what_is_kept_does_not_grow(vos: Vos) -> None:
    session = vos.session()
    sizes = []
    for i, picture in enumerate(frames(120)):
        masks = {1: square()} if i == 0 else {2: square(5, 60)} if i == 31 else None
        session.step(picture, masks)
        sizes.append(sum(value.numel() for value in session._follower.tensors().values()))
    # a few values more, where prototypes from before the second object make room for others
    assert max(sizes[100:]) <= 1.01 * max(sizes[60:80])


def test_another_scene_is_noticed(vos: Vos) -> None:
    dark, bright = frames(6), [255 - picture for picture in frames(6, 1)]
    track = vos.predict([*dark, *bright], square())
    assert track.cuts == (6,)
    assert vos.predict([*dark, *bright], square(), at=11).cuts == (6,)


@given(st.integers(2, 3000), st.integers(2, 3000), st.sampled_from(["tiny", "small", "xmem"]))
def test_the_size_inside(height: int, width: int, preset: str) -> None:
    config = PRESETS[preset]
    h, w = size_inside(config, height, width)
    inside = config.height_at_prediction or config.height
    assert min(h, w) >= 1 and max(h, w) <= 3 * inside + 32 and min(h, w) <= inside
    if preset == "xmem":
        assert h <= height and w <= width
    else:
        assert h % 16 == w % 16 == 0
    assert size_inside(config, width, height) == (w, h)
    other = replace(config, height_at_prediction=2 * inside)
    assert size_inside(other, height, width)[0] >= h and size_inside(other, 2048, 2048)[0] == min(2 * inside, 2048)


def test_half_the_bits_give_nearly_the_same(vos: Vos) -> None:
    half = Vos(vos.config, deepcopy(vos.model).bfloat16(), "none", vos.evaluate)
    clip = frames(6)
    fine, coarse = vos.predict(clip, square()), half.predict(clip, square())
    assert np.mean(np.stack([fine.labels(i) == coarse.labels(i) for i in range(6)])) > 0.97


def test_a_session_is_of_a_network_of_ours() -> None:
    with pytest.raises(InputError, match="got Linear"):
        Session(torch.nn.Linear(1, 1), CONFIG)
