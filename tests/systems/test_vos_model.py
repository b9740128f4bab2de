"""The small network of vos and its loss: laws, and that a clip is what its parts say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from percepta.contract import Step
from percepta.errors import InputError
from percepta.systems.vos import PRESETS
from percepta.systems.vos.follow import aggregate
from percepta.systems.vos.losses import bootstrapped, dice, hinted, loss, narrowed
from percepta.systems.vos.marks import HINT, box, disc
from percepta.systems.vos.model import Network, build

H, W = 64, 96
SMALL = replace(PRESETS["tiny"], height=H, width=W, frozen_blocks=3)


@pytest.fixture(scope="module")
def model() -> Network:
    torch.manual_seed(0)
    made = build(SMALL)
    assert isinstance(made, Network)
    for name, value in made.named_parameters():  # residual branches begin at zero: give them something to do
        if name.endswith("conv2.weight"):
            torch.nn.init.normal_(value, std=0.05)
    return made.eval()


def clip(seed: int = 0, frames: int = 3) -> tuple[Tensor, Tensor]:
    """A square that moves to the right over noise, and one that moves down; (t 3 h w, labels t h w)."""
    g = torch.Generator().manual_seed(seed)
    pictures = 0.3 * torch.rand(1, 3, H, W, generator=g).repeat(frames, 1, 1, 1)
    labels = torch.zeros(frames, H, W, dtype=torch.long)
    for i in range(frames):
        for one, (top, left) in enumerate(((8, 4 + 6 * i), (10 + 6 * i, 60)), 1):
            labels[i, top : top + 24, left : left + 24] = one
            pictures[i, one, top : top + 24, left : left + 24] += 0.6
    return pictures, labels


def step(number: int = 0) -> Step:
    return Step(number, 0, torch.Generator().manual_seed(number))


def one_hot(labels: Tensor, n: int) -> Tensor:
    return torch.stack([labels == i + 1 for i in range(n)]).float()


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_soft_aggregation(seed: int, n: int) -> None:
    """Probabilities add up, sure objects win, nobody means background, and order does not matter."""
    p = torch.rand(n, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    shared = aggregate(p).softmax(0)
    torch.testing.assert_close(shared.sum(0), torch.ones(2, 3, dtype=torch.float64))
    # softmax of log-odds: each has its odds as weight
    odds = torch.cat([(1 - p).prod(0, keepdim=True), p])
    odds = odds / (1 - odds)
    torch.testing.assert_close(shared, odds / odds.sum(0))
    torch.testing.assert_close(aggregate(p.flip(0)).softmax(0)[1:], shared[1:].flip(0))
    assert bool((aggregate(p * 0).argmax(0) == 0).all())
    p[0] = 1.0
    assert bool((aggregate(p).argmax(0) == 1).all())


@torch.no_grad()
def test_a_clip_is_its_frames_one_by_one(model: Network) -> None:
    pictures, labels = clip()
    given = masks = one_hot(labels[0], 2)[None]
    out = model(pictures[None], masks)
    assert len(out) == 2
    at = [model.encode(picture[None]) for picture in pictures]
    state, keys, shrinkage, values = model.new_state(at[0], 2), [], [], []
    for i in (1, 2):
        values.append(model.value(at[i - 1], masks).flatten(3))
        keys.append(at[i - 1].key.flatten(2))
        shrinkage.append(at[i - 1].shrinkage.flatten(1))
        read = model.read(torch.cat(keys, 2), torch.cat(shrinkage, 1), torch.cat(values, 3), at[i])
        carried, recalled = model.carry(at[i].fine, at[i - 1].fine, masks), model.recall(at[i].fine, at[0].fine, given)
        said = model.decoder(at[i], read, model.matched(carried, recalled, torch.ones(1, dtype=torch.bool)), state)
        full = torch.nn.functional.interpolate(said.logits[None], (H, W), mode="bilinear")
        logits = aggregate(full.sigmoid())
        torch.testing.assert_close(logits, out[i - 1][0], atol=1e-4, rtol=1e-4)
        masks, state = logits.softmax(1)[:, 1:], said.sensory[None]


@torch.no_grad()
def test_clips_of_a_batch_and_objects_do_not_mix(model: Network) -> None:
    a, b = clip(1), clip(2)
    pictures = torch.stack([a[0], b[0]])
    masks = torch.stack([one_hot(a[1][0], 2), one_hot(b[1][0], 2)])
    both, alone = model(pictures, masks), model(pictures[:1], masks[:1])
    torch.testing.assert_close(both[-1][0][:1], alone[-1][0], atol=1e-4, rtol=1e-4)
    swapped = model(pictures[:1], masks[:1].flip(1))
    torch.testing.assert_close(swapped[-1][0][:, 1:].flip(1), alone[-1][0][:, 1:], atol=1e-4, rtol=1e-4)
    # an object that there is not changes nothing
    known = torch.tensor([[True, False]])
    padded = model(pictures[:1], torch.stack([masks[0, 0], masks[0, 0] * 0])[None], known)
    single = model(pictures[:1], masks[:1, :1])
    torch.testing.assert_close(padded[-1][0][:, :2], single[-1][0], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_sharp_keys_bring_masks_where_the_picture_went(model: Network) -> None:
    """With keys that tell every place apart masks move exactly; carried ones go by distance too, recalled do not."""
    h, w = 4, 6
    keys = torch.eye(h * w).view(1, h * w, h, w)
    masks = torch.rand(1, 2, 8 * h, 8 * w, generator=torch.Generator().manual_seed(0))
    small = torch.nn.functional.avg_pool2d(masks, 4)
    quarters = torch.nn.functional.pixel_unshuffle(small.flatten(0, 1)[:, None], 2).unflatten(0, (1, 2))
    names = ("sharpness", "recall_sharpness", "nearness")
    before = {name: getattr(model, name).clone() for name in names}
    try:
        model.sharpness.fill_(5.0)
        model.recall_sharpness.fill_(5.0)
        model.nearness.fill_(-8.0)
        moved = quarters.roll((2, 3), (3, 4))
        torch.testing.assert_close(model.carry(keys.roll((2, 3), (2, 3)), keys, masks), moved, atol=1e-3, rtol=1e-3)
        model.nearness.fill_(8.0)  # only the same place counts
        torch.testing.assert_close(model.carry(keys.roll((2, 3), (2, 3)), keys, masks), quarters)
        torch.testing.assert_close(model.recall(keys.roll((2, 3), (2, 3)), keys, masks), moved, atol=1e-3, rtol=1e-3)
    finally:
        for name, value in before.items():
            getattr(model, name).copy_(value)


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 9])
def test_masks_are_carried_as_the_definition_says(model: Network, n: int) -> None:
    """Softmax of sharpness · cosine − nearness · distance², place by place; recalled ones without the distance."""
    g = torch.Generator().manual_seed(1)
    h, w = 3, 5
    now, last = (torch.nn.functional.normalize(torch.randn(2, 24, h, w, generator=g), dim=1) for _ in range(2))
    masks = torch.rand(2, n, 8 * h, 8 * w, generator=g)
    small = torch.nn.functional.avg_pool2d(masks, 4)
    carried, recalled = model.carry(now, last, masks), model.recall(now, last, masks)
    for b, (row, column) in ((b, divmod(i, w)) for b in range(2) for i in range(h * w)):
        near, far = torch.zeros(h, w), torch.zeros(h, w)
        for r, c in (divmod(i, w) for i in range(h * w)):
            cosine = float(now[b, :, row, column] @ last[b, :, r, c])
            apart = (row - r) ** 2 + (column - c) ** 2
            near[r, c] = cosine * float(model.sharpness.exp()) - apart * float(model.nearness.exp())
            far[r, c] = cosine * float(model.recall_sharpness.exp())
        for found, scores in ((carried, near), (recalled, far)):
            weights = scores.flatten().softmax(0).view(h, w)
            for k, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
                expected = (weights * small[b, :, dy::2, dx::2]).sum((1, 2))
                torch.testing.assert_close(found[b, :, k, row, column], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_after_a_cut_nothing_is_carried_but_masks_are_recalled(model: Network) -> None:
    carried, recalled = torch.rand(2, 3, 4, 2, 2), torch.rand(2, 3, 4, 2, 2)
    told = model.matched(carried, recalled, torch.tensor([True, False]))
    assert torch.equal(told[0], torch.cat([carried[0], recalled[0], torch.ones(3, 1, 2, 2)], 1))
    assert torch.equal(told[1], torch.cat([carried[1] * 0, recalled[1], torch.zeros(3, 1, 2, 2)], 1))


@pytest.mark.parametrize("changes", [{}, {"sensory_channels": 16}, {"fine_channels": 0}, {"trunk_blocks": 13}])
def test_everything_that_is_trained_has_a_gradient(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build(replace(SMALL, **changes)).train()
    pictures, labels = clip()
    batch = {"pictures": pictures[None], "labels": labels[None], "known": torch.tensor([[True, True]])}
    out = loss(model, batch, step())
    out["loss"].backward()
    missing = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    # the state of the last frame is used by no frame of the clip, but that of the first predicted one is
    assert missing == (["sharpness", "recall_sharpness", "nearness"] if "fine_channels" in changes else [])
    assert {"loss", "cross_entropy", "dice", "coarse", "presence", "iou"} == out.keys()


def test_the_loss_falls_on_one_clip() -> None:
    torch.manual_seed(0)
    model = build(SMALL).train()
    pictures, labels = clip()
    batch = {"pictures": pictures[None], "labels": labels[None], "known": torch.tensor([[True, True]])}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-3)
    first = last = 0.0
    for _ in range(45):
        out = loss(model, batch, step(0))
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        first, last = first or float(out["loss"].detach()), float(out["loss"].detach())
    assert last < 0.5 * first


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_clips_that_begin_with_a_mark_ask_for_the_masks_of_the_same_picture(seed: int) -> None:
    clips = [clip(seed + i) for i in range(4)]
    pictures, labels = torch.stack([c[0] for c in clips]), torch.stack([c[1] for c in clips])
    masks = torch.stack([one_hot(one[0], 3) for one in labels])  # the third object is not there
    seen, truth, given_ = hinted(pictures, labels, masks, 0.5, torch.Generator().manual_seed(seed))
    for i in range(4):
        assert torch.equal(seen[i, 0], pictures[i, 0]) and torch.equal(seen[i, 2], pictures[i, 2])
        if torch.equal(given_[i], masks[i]):
            assert torch.equal(seen[i], pictures[i]) and torch.equal(truth[i], labels[i])
            continue
        assert torch.equal(seen[i, 1], pictures[i, 0]) and torch.equal(truth[i, 1], labels[i, 0])
        assert not given_[i, 2].any()
        for one in range(2):
            mark = given_[i, one].numpy()
            assert {*mark.ravel().tolist()} == {0.0, HINT}
            mask = masks[i, one].numpy() > 0
            middle = np.argwhere(mark > 0).mean(0).round().astype(int)
            assert mask[tuple(middle)]
            assert (mark > 0).tolist() in (
                box(mask).tolist(),
                disc(mask.shape, (int(middle[1]), int(middle[0]))).tolist(),
            )


def test_how_many_clips_begin_with_a_mark() -> None:
    pictures, labels = clip()
    many, truth = pictures.expand(400, -1, -1, -1, -1), labels.expand(400, -1, -1, -1)
    masks = one_hot(labels[0], 1).expand(400, -1, -1, -1)
    given_ = hinted(many, truth, masks, 0.25, torch.Generator().manual_seed(0))[2]
    chosen = (given_.amax((1, 2, 3)) == HINT).sum()
    assert 70 <= chosen <= 130  # 100 on average
    boxes = (given_.sum((1, 2, 3)) == HINT * masks[0].sum()).sum()  # the object is a square: its box is its mask
    assert 0.3 * chosen < boxes < 0.7 * chosen


def test_unknown_pixels_and_unknown_objects_do_not_count(model: Network) -> None:
    pictures, labels = clip()
    batch = {"pictures": pictures[None], "labels": labels[None], "known": torch.tensor([[True, False]])}
    alone = {
        "pictures": pictures[None],
        "labels": (labels * (labels == 1))[None],
        "known": torch.tensor([[True, False]]),
    }
    a, b = loss(model, batch, step()), loss(model, alone, step())
    assert all(torch.allclose(a[name], b[name]) for name in a)
    hidden = labels.clone()
    hidden[1:] = 255  # nobody knows anything: nothing is wrong
    out = loss(model, batch | {"labels": hidden[None]}, step())
    assert float(out["cross_entropy"]) == float(out["dice"]) == 0


def test_an_object_that_comes_later_is_background(model: Network) -> None:
    pictures, labels = clip()
    late = labels.clone()
    late[0][late[0] == 2] = 0
    both = {"pictures": pictures[None], "labels": late[None], "known": torch.tensor([[True, True]])}
    one = {"pictures": pictures[None], "labels": (late * (late == 1))[None], "known": torch.tensor([[True, False]])}
    a, b = loss(model, both, step()), loss(model, one, step())
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


def test_the_published_networks_are_not_trained() -> None:
    with pytest.raises(InputError, match="read, not trained"):
        loss(torch.nn.Linear(1, 1), {}, step())


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 1))
def test_bootstrapping_takes_the_worst_pixels(seed: int, share: float) -> None:
    g = torch.Generator().manual_seed(seed)
    logits, classes = torch.randn(2, 3, 4, 5, generator=g), torch.randint(0, 3, (2, 4, 5), generator=g)
    seen = torch.rand(2, 4, 5, generator=g) < 0.8
    each = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
    expected = [sorted((each[i] * seen[i]).flatten().tolist())[::-1][: max(1, int(share * 20))] for i in range(2)]
    mean = sum(sum(row) for row in expected) / sum(len(row) for row in expected)
    assert float(bootstrapped(logits, classes, seen, share)) == pytest.approx(mean, rel=1e-5)


def test_the_share_falls_from_all_to_the_worst() -> None:
    shares = [narrowed(i / 100, (0.3, 0.8)) for i in range(101)]
    assert shares[:30] == [1.0] * 30 and shares[80:] == [0.15] * 21
    assert all(a >= b for a, b in pairwise(shares))
    assert shares[55] == pytest.approx(0.575)


def test_dice_of_the_truth_is_zero_and_of_its_opposite_near_one() -> None:
    truth = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    truth[..., :5] = True
    seen = torch.ones(1, 10, 10, dtype=torch.bool)
    assert float(dice(truth.float(), truth, seen)) == 0
    assert float(dice(1 - truth.float(), truth, seen)) == pytest.approx(1 - 1 / 101)
    seen[:, :, :5] = False  # what is not seen does not count
    assert float(dice(truth.float() * 0 + 1, truth, seen)) == pytest.approx(1 - 1 / 51)
