"""Training clips made from pictures: maps against a loop, splines against their definition, samples from their key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from percepta.datasets.scene import PngMask
from percepta.datasets.videos import VOID, Video
from percepta.systems.vos import Config
from percepta.systems.vos import layers as c
from percepta.systems.vos.clips import Clips, Kept, Marked
from percepta.systems.vos.data import data, pictures, videos

STILL = np.zeros((1, c.CONTROLS**2, 2))
WHOLE = c.Box(0, 0, 40, 24)


def motion(x: float, y: float, matrix: np.ndarray | None = None, frames: int = 1) -> c.Motion:
    at = np.tile([[x, y]], (frames, 1))
    return c.Motion(at, np.tile(np.eye(2) if matrix is None else matrix, (frames, 1, 1)), STILL.repeat(frames, 0))


def test_a_layer_in_its_place_is_the_picture_itself() -> None:
    source = torch.rand(3, 24, 40)
    grid = c.places(motion(19.5, 11.5), (24, 40), WHOLE)
    torch.testing.assert_close(c.sample(source, grid)[0], source, atol=1e-5, rtol=0)


@given(st.integers(-9, 9), st.integers(-7, 7))
@settings(deadline=None, max_examples=20)
def test_a_layer_that_is_moved_by_whole_pixels_is_shifted(dx: int, dy: int) -> None:
    source = torch.rand(1, 24, 40)
    seen = c.sample(source, c.places(motion(19.5 + dx, 11.5 + dy), (24, 40), WHOLE))[0, 0]
    expected = torch.zeros(24, 40)
    for y in range(24):
        for x in range(40):
            if 0 <= y - dy < 24 and 0 <= x - dx < 40:
                expected[y, x] = source[0, y - dy, x - dx]
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)


def test_a_part_of_the_frame_is_cut_out_of_the_whole_of_it() -> None:
    rng = np.random.default_rng(0)
    moving = c.wander(rng, 3, np.array([20.0, 12.0]), 2.0, 0.1, 0.0)
    source, box = torch.rand(2, 20, 30), c.Box(5, 3, 33, 19)
    whole = c.sample(source, c.places(moving, (20, 30), WHOLE))
    part = c.sample(source, c.places(moving, (20, 30), box))
    torch.testing.assert_close(part, whole[:, :, 3:19, 5:33], atol=1e-4, rtol=0)


def test_the_spline_moves_its_control_points_as_it_is_told_and_affine_maps_stay_affine() -> None:
    rng = np.random.default_rng(1)
    side = np.linspace(-1, 1, c.CONTROLS)
    controls = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    bend = rng.normal(size=(2, len(controls), 2))
    np.testing.assert_allclose(c.spline(bend, np.stack([controls] * 2)), bend, atol=1e-9)
    # Bookstein: an affine displacement has no bending energy, so the spline is that map everywhere.
    a, b = rng.normal(size=(2, 2)), rng.normal(size=2)
    where = rng.uniform(-1, 1, (1, 50, 2))
    np.testing.assert_allclose(c.spline((controls @ a + b)[None], where), where @ a + b, atol=1e-9)


def test_the_part_that_is_reached_holds_all_of_a_layer() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        moving = c.wander(rng, 4, rng.uniform(0, 40, 2), 8.0, 0.2, 0.04)
        alpha = torch.ones(14, 18)
        layer = c.Layer(alpha.expand(3, -1, -1), alpha, moving, 1, exposure=0.4 * (seed % 2))
        for frame in range(4):
            seen, _ = c.look(alpha[None], moving, frame, WHOLE, layer.exposure)
            box = c.reached(layer, frame, 24, 40)
            if box is not None:
                seen[0, box.top : box.bottom, box.left : box.right] = 0
            assert float(seen.max()) < 0.05, (seed, frame)


def test_layers_hide_what_is_below_them() -> None:
    below = torch.zeros(1, 3, 24, 40)
    labels = torch.full((1, 24, 40), 5)
    alpha = torch.ones(10, 10)
    first = c.Layer(0.5 * alpha.expand(3, -1, -1), alpha, motion(14.5, 11.5), 1)
    second = c.Layer(alpha.expand(3, -1, -1), alpha, motion(19.5, 11.5), 0)
    film, seen = c.compose(below, labels, [first, second])
    assert seen[0, 11, 12] == 1 and seen[0, 11, 17] == 0 and seen[0, 11, 30] == 5
    assert film[0, 0, 11, 12] == pytest.approx(0.5) and film[0, 0, 11, 17] == pytest.approx(1.0)
    assert int((seen == 0).sum()) == 100 and int((seen == 1).sum()) == 50
    assert float(below.abs().max()) == 0 and int((labels == 5).sum()) == 960  # what came in is as it was


def test_a_hole_is_filled_with_its_surroundings() -> None:
    picture = torch.full((3, 40, 60), 0.25)
    hole = torch.zeros(40, 60, dtype=torch.bool)
    hole[10:30, 20:40] = True
    picture[:, hole] = 1.0
    torch.testing.assert_close(c.filled(picture, hole), torch.full((3, 40, 60), 0.25), atol=1e-3, rtol=0)
    untouched = torch.rand(3, 40, 60)
    same = c.filled(untouched, hole)
    torch.testing.assert_close(same[:, :, :8], untouched[:, :, :8])


def test_paths_go_where_they_are_sent() -> None:
    rng = np.random.default_rng(3)
    own = c.wander(rng, 5, np.array([10.0, 10.0]), 0.0, 0.1, 0.0)
    crossing = c.through(own, np.array([0.0, 0.0]), np.array([20.0, 8.0]), 2)
    np.testing.assert_allclose(crossing.centre[[0, 2, 4]], [[0, 0], [20, 8], [40, 16]])
    gone = c.away(own, np.array([-50.0, 10.0]), 2)
    np.testing.assert_allclose(gone.centre[[0, 2, 4]], [[10, 10], [-50, 10], [10, 10]])


def folder(root: Path) -> tuple[list[Marked], list[Video]]:
    """Two pictures with marked discs, and a video of a square."""
    rng = np.random.default_rng(0)
    marked = []
    y, x = np.mgrid[:48, :64]
    for number in range(2):
        pixels = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        mask = ((x - 20 - 9 * number) ** 2 + (y - 24) ** 2 < 120).astype(np.uint8) + 2 * (x > 58)
        Image.fromarray(pixels).save(root / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(root / f"m{number}.png")
        path = root / f"m{number}.png"
        marked.append(Marked(root / f"{number}.png", (PngMask(path, (1,)), PngMask(path, (2,)))))
    frames, masks = [], []
    for number in range(6):
        pixels = rng.integers(0, 99, (48, 64, 3)).astype(np.uint8)
        mask = ((abs(x - 20 - 3 * number) < 9) & (abs(y - 24) < 9)).astype(np.uint8)
        pixels[mask > 0] = 200
        Image.fromarray(pixels).save(root / f"v{number}.png")
        Image.fromarray(255 * mask).save(root / f"w{number}.png")
        frames.append(root / f"v{number}.png")
        masks.append(root / f"w{number}.png")
    return marked, [Video("v", tuple(frames), tuple(masks), "davis", binary=True)]


@pytest.mark.parametrize("real_share", [0.0, 0.5, 1.0])
def test_a_sample_follows_from_its_key_and_keeps_its_promises(tmp_path: Path, real_share: float) -> None:
    marked, film = folder(tmp_path)
    config = Config(height=32, width=64, clip_frames=4, max_objects=3, real_share=real_share)
    one, two = Clips(config, marked, film, 7), Clips(config, marked, film, 7, cache_bytes=1)
    differ = 0
    for key in [(0, 0), (0, 1), (1, 0), (5, 1)]:
        a = one[key]
        _ = two[(9, 1)]  # what was asked for before changes nothing
        b = two[key]
        assert all(torch.equal(a[name], b[name]) for name in a)
        differ += not torch.equal(a["pictures"], one[(key[0] + 1, key[1])]["pictures"])
        assert a["pictures"].shape == (4, 3, 32, 64) and a["labels"].shape == (4, 32, 64)
        assert float(a["pictures"].min()) >= 0 and float(a["pictures"].max()) <= 1
        there = {int(v) for v in torch.unique(a["labels"][0])} - {0, VOID}
        assert there == {i + 1 for i, known in enumerate(a["known"].tolist()) if known} and there
        assert {int(v) for v in torch.unique(a["labels"])} <= there | {0, VOID}
    assert differ == 4
    batch = one.collate([one[(0, 0)], one[(0, 1)]])
    assert batch["pictures"].shape == (2, 4, 3, 32, 64) and batch["known"].dtype == torch.bool


def test_labels_follow_the_pixels(tmp_path: Path) -> None:
    """In the video the object is far brighter than the rest, so its label can be read from the picture."""
    _, film = folder(tmp_path)
    dataset = Clips(Config(height=32, width=64, clip_frames=3, real_share=1.0), [], film, 1)
    shares = []
    for index in range(20):
        sample = dataset[(0, index)]
        grey = sample["pictures"].mean(1)
        inside, outside = grey[sample["labels"] > 0], grey[sample["labels"] == 0]
        shares.append(float(inside.mean()) > float(outside.mean()) + 0.1)
    assert sum(shares) >= 16  # a thing of another frame may be pasted over it, unfollowed


def test_what_was_read_is_kept_up_to_a_limit() -> None:
    kept, reads = Kept(100), []

    def read(name: str) -> tuple[torch.Tensor, ...]:
        reads.append(name)
        return (torch.zeros(40, dtype=torch.uint8),)

    for name in "aabbaccb":
        kept.get(name, lambda name=name: read(name))
    assert "".join(reads) == "abcb"  # b was used longest ago when c came


def test_a_collection_has_pictures_and_held_out_videos(tmp_path: Path, shared_data: Path) -> None:
    for name in ("davis16", "davis16-train", "foregrounds", "coco-small", "vos-multi"):
        (tmp_path / name).symlink_to(shared_data / name)
    train, val, test = (videos(tmp_path, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (26, 4, 9)
    assert not {v.name for v in train} & {v.name for v in [*val, *test]}
    assert {v.frames[0].parents[2].name for v in [*train, *val]} == {"davis16-train"}
    assert {m.picture.parent.parent.name for m in pictures(tmp_path)} == {"coco-small", "horses", "people"}
    dataset = data(Config(height=64, width=96, clip_frames=3), "train", tmp_path)
    assert dataset[(0, 3)]["pictures"].shape == (3, 3, 64, 96)
