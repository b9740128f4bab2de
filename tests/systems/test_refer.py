"""Referring segmentation: network, sessions, samples, made sentences, the synthetic world, numbers, results, graphs."""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import Step
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.errors import InputError
from percepta.export import to_onnx
from percepta.media.source import answers
from percepta.metrics.masks import coco_rle_decode
from percepta.nn.text import tokenise
from percepta.report import Gallery
from percepta.systems.refer import PRESETS, Config, Cris, claims, data, exports, sentences, task
from percepta.systems.refer import world as shapes
from percepta.systems.refer.cris import tokenize
from percepta.systems.refer.evaluate import collect, summary
from percepta.systems.refer.model import MOST_IDS, Answer, LateText, Words, fit, project
from percepta.systems.refer.predict import Refer, Result, apart
from percepta.systems.refer.world import Shapes, world
from percepta.train import Evaluator

TINY = PRESETS["tiny"]
ASKED = ["the red disc", "what stands left of the blue square", "disc", "the small green triangle at the top"]


@pytest.fixture(scope="module")
def model() -> LateText:
    torch.manual_seed(0)
    made = task.build(TINY)
    assert isinstance(made, LateText)
    return made.eval()


def refer(model: Any) -> Refer:
    """A network as `percepta.load` gives it."""
    return Refer(model.config, model, "", Evaluator("refer", model.config, model), answers)


STEP = Step(0, 0, torch.Generator())


def close(a: Any, b: Any, atol: float = 2e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=atol, rtol=1e-3)


# The network


@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize(("n", "c", "h", "w"), [(1, 4, 3, 5), (3, 6, 1, 4), (2, 8, 7, 7)])
def test_projector_is_the_papers_grouped_convolution(learning: bool, n: int, c: int, h: int, w: int) -> None:
    torch.manual_seed(0)
    pixels, kernel = torch.randn(n, c, h, w), torch.randn(n, 9 * c + 1)
    weight = kernel[:, :-1].reshape(n, c, 3, 3) / math.sqrt(c)
    grouped = functional.conv2d(pixels.reshape(1, n * c, h, w), weight, kernel[:, -1], padding=1, groups=n)[0]
    with torch.set_grad_enabled(learning):
        close(project(pixels, kernel), grouped)


@torch.no_grad()
def test_batch_is_the_loop_over_pictures_and_sentences(model: LateText) -> None:
    image, owner = torch.rand(2, 3, 96, 96), [0, 1, 1, 0]
    together = model(image, ASKED, torch.tensor(owner))
    assert together.logits.shape == (4, 24, 24) and together.coarse.shape == (4, 6, 6)
    for i, picture in enumerate(owner):
        alone = model(image[picture : picture + 1], ASKED[i : i + 1], torch.tensor([0]))
        for many, one in zip(together, alone, strict=True):
            close(many[i], one[0])
    swapped = model(image, ASKED, torch.tensor([1, 1, 1, 0]))
    assert (swapped.logits[0] - together.logits[0]).abs().max() > 1e-3
    assert (together.logits[1] - together.logits[2]).abs().max() > 1e-3  # one picture, two sentences


def test_a_further_sentence_in_a_session_is_as_asked_alone(model: LateText) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (70, 110, 3), np.uint8)
    session = refer(model).session(picture)
    session.predict("the first one")
    together = session.predict(ASKED)
    assert isinstance(together, list) and [r.sentence for r in together] == ASKED
    for one, sentence in zip(together, ASKED, strict=True):
        for alone in (session.predict(sentence), refer(model).predict(picture, sentence)):
            assert isinstance(alone, Result)
            close(alone.probability, one.probability)
            assert alone.score == pytest.approx(one.score, abs=1e-5)
    for wrong in ([], [""], "  ", ["fine", " "]):
        with pytest.raises(InputError, match="expected a sentence"):
            session.predict(wrong)
    fits = session.activation_map(ASKED[0])
    assert fits is not None and fits.shape == (70, 110) and np.abs(fits).max() <= 1 + 1e-5


class Fixed(nn.Module):
    """A network that has learnt its answer by heart."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: Any) -> Answer:
        return self.answer


def test_loss_is_the_loop() -> None:
    rng = np.random.default_rng(0)
    coarse, presence, centres = (
        rng.normal(0, 2, (4, 2, 2)),
        np.array([1.0, -2.0, 0.5, 0.2]),
        rng.normal(0, 2, (4, 2, 2)),
    )
    mask, present = rng.random((4, 8, 8)), np.array([1.0, 0.0, 1.0, 1.0])
    mask[1] = 0
    masked, logits = np.array([True, False, True, False]), rng.normal(0, 2, (2, 8, 8))  # of those with a mask alone
    bumps, counted = rng.random((4, 2, 2)), np.array([1.0, 1.0, 1.0, 0.0])
    bumps[0, 0, 1] = bumps[2, 1, 1] = bumps[2, 0, 0] = bumps[3, 0, 0] = 1

    def entropy(x: np.ndarray, y: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-x))
        return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    def dice(x: np.ndarray, y: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-x))
        return 1 - (2 * float((p * y).sum()) + 1) / (float(p.sum()) + float(y.sum()) + 1)

    rough = 0.0
    for i in range(4):
        small = mask[i].reshape(2, 4, 2, 4).mean((1, 3))
        rough += entropy(coarse[i], small)
        if present[i]:  # what is absent has no outline to overlap with
            rough += dice(coarse[i], small)
    fine = [entropy(x, mask[i]) + dice(x, mask[i]) for x, i in zip(logits, (0, 2), strict=True)]
    there, middle = entropy(presence, present), 0.0
    for i in range(3):
        for place in np.ndindex(2, 2):
            p, y = 1 / (1 + math.exp(-centres[i][place])), bumps[i][place]
            middle -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
    model = Fixed(Answer(*(torch.tensor(x).float() for x in (logits, coarse, presence, centres))))
    batch = {"mask": mask, "present": present, "centres": bumps, "counted": counted}
    tensors = {name: torch.tensor(value).float() for name, value in batch.items()}
    others = {"masked": torch.tensor(masked), "image": None, "sentences": [], "owner": None}
    found = task.loss(model, {**tensors, **others}, STEP)
    total = 0.75 * np.mean(fine) + 0.5 * rough / 4 + there + 0.1 * middle / 3
    assert float(found["loss"]) == pytest.approx(total, rel=1e-4)
    assert float(found["present_right"]) == 1 and float(found["absent_right"]) == 1
    both = [
        ((x > 0) & (mask[i] > 0.5)).sum() / ((x > 0) | (mask[i] > 0.5)).sum()
        for x, i in zip(logits, (0, 2), strict=True)
    ]
    assert float(found["iou"]) == pytest.approx(np.mean(both), rel=1e-4)


@torch.no_grad()
def test_masks_of_some_are_those_of_all(model: LateText) -> None:
    image, owner = torch.rand(2, 3, 96, 96), torch.tensor([0, 1, 1, 0])
    every = model(image, ASKED, owner)
    for chosen in ([True, False, True, False], [False] * 4):
        some = model(image, ASKED, owner, torch.tensor(chosen))
        close(some.logits, every.logits[torch.tensor(chosen)])
        for name in ("coarse", "presence", "centres"):
            close(getattr(some, name), getattr(every, name))


def test_bumps_are_one_at_the_middle_and_fall_off() -> None:
    found = sentences.bumps([(0.3, 0.8), (0.99, 0.0)], 10).numpy()
    assert (found == 1).sum() == 2 and found[8, 3] == found[0, 9] == 1
    for row, column in np.ndindex(10, 10):
        near = min((row - r) ** 2 + (column - c) ** 2 for r, c in ((8, 3), (0, 9)))
        assert found[row, column] == pytest.approx(math.exp(-near / (2 * sentences.SPREAD**2)), rel=1e-5)
    assert not sentences.bumps([], 4).any()


def test_the_presence_head_adds_nothing_at_first_and_then_reads_where_things_stand(model: LateText) -> None:
    torch.manual_seed(0)
    head = LateText(TINY.late).presence_at
    seen, asked, coarse, fits = torch.randn(2, 36, 64), torch.randn(2, 64), torch.randn(2, 6, 6), torch.randn(2, 6, 6)
    words_ = Words(torch.randn(2, 5, 64), torch.arange(5) < torch.tensor([[5], [3]]), torch.randn(2, 64), fits)
    assert head(seen, asked, words_, coarse, fits).tolist() == [0, 0]
    nn.init.normal_(head.out[2].weight)
    padded = words_.tokens.clone()
    padded[1, 3:] = 9  # padding says nothing
    close(head(seen, asked, words_, coarse, fits), head(seen, asked, words_._replace(tokens=padded), coarse, fits))
    same = torch.zeros(2, 36, 64), asked[:1].expand(2, -1), Words(*(v[:1].expand(2, *v.shape[1:]) for v in words_))
    left = torch.zeros(1, 6, 6)
    left[:, :, 0] = 9
    beside = head(*same, torch.cat((left, left.flip(2))), torch.zeros(2, 6, 6))
    assert abs((beside[0] - beside[1]).item()) > 1e-3  # all that differs is the side


def test_every_part_learns(model: LateText) -> None:
    fresh, world_ = task.build(TINY), Shapes(TINY, "train")
    batch = world_.collate([world_[0, i] for i in range(2)])
    task.loss(fresh, batch, STEP)["loss"].backward()
    assert [name for name, value in fresh.named_parameters() if value.grad is None] == []


# There and back


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from((64, 96)), st.sampled_from((1, 4)))
def test_maps_come_back_to_their_place(h: int, w: int, size: int, stride: int) -> None:
    y, x = np.mgrid[:h, :w]
    ramps = np.stack(((x + 0.5) / w, (y + 0.5) / h, np.zeros((h, w)))).astype(np.float32)
    square, place = fit(torch.from_numpy(ramps), size)
    assert square.shape == (3, size, size) and (place.height, place.width) == (h, w)
    assert max(place.inner_h, place.inner_w) == size
    outside = torch.ones((size, size), dtype=torch.bool)
    outside[place.top : place.top + place.inner_h, place.left : place.left + place.inner_w] = False
    assert (square[:, outside] == data.GREY / 255).all()
    for start, length in ((place.top, place.inner_h), (place.left, place.inner_w)):  # in the middle
        assert 0 <= size - length - 2 * start <= 1
    back = place.back(functional.avg_pool2d(square, stride)).numpy()
    assert back.shape == (3, h, w)
    # A ramp stays a ramp, but for what the border mixes in: a few pixels of the coarsest grid.
    margin_y = math.ceil(2 * stride * max(1, h / place.inner_h))
    margin_x = math.ceil(2 * stride * max(1, w / place.inner_w))
    inner = (slice(margin_y, h - margin_y), slice(margin_x, w - margin_x))
    # (to a seventh of a pixel of the square: shrinking by an odd ratio bends a ramp by as much)
    np.testing.assert_allclose(back[0][inner], ramps[0][inner], atol=0.15 / place.inner_w)
    np.testing.assert_allclose(back[1][inner], ramps[1][inner], atol=0.15 / place.inner_h)


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 160), st.integers(8, 160), st.sampled_from((64, 96)), st.data())
def test_rectangles_come_back_to_their_corners(h: int, w: int, size: int, draw: st.DataObject) -> None:
    y0, x0 = draw.draw(st.integers(0, h - 6)), draw.draw(st.integers(0, w - 6))
    y1, x1 = draw.draw(st.integers(y0 + 5, h)), draw.draw(st.integers(x0 + 5, w))
    mask = np.zeros((h, w), bool)
    mask[y0:y1, x0:x1] = True
    square, place = fit(torch.from_numpy(mask).float().expand(3, h, w), size)
    found = place.back(square[:1])[0].numpy() > 0.5
    blur = math.ceil(max(1.0, h / place.inner_h, w / place.inner_w))
    rows, columns = (np.minimum(abs(np.arange(n)[:, None] + 0.5 - np.array(ends)).min(1), n) for n, ends in
                     ((h, (y0, y1)), (w, (x0, x1))))  # fmt: skip
    clear = (rows[:, None] > blur) & (columns[None] > blur)
    np.testing.assert_array_equal(found[clear], mask[clear])


# Views of pictures

DOG, KITE, GROUND = (220, 30, 30), (30, 60, 220), (60, 60, 60)


def scene(root: Path, name: str, *, every: bool = False, times: int = 1) -> Scene:
    """Two red dogs and a blue kite right of them, each in the colour of its name; masks `times` as large."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    h, w = 60 + int(rng.integers(40)), 90 + int(rng.integers(40))
    values = np.zeros((h, w), np.uint8)
    values[8:26, 6:30], values[36:56, 10:28] = 1, 1 if every else 2
    y, x = np.mgrid[:h, :w]
    values[(y - 14) ** 2 + (x - w + 14) ** 2 < 10**2] = 3
    pixels = np.full((h, w, 3), GROUND, np.uint8)
    pixels[(values == 1) | (values == 2)], pixels[values == 3] = DOG, KITE
    image, mask = root / f"{name}.png", root / f"{name}-mask.png"
    Image.fromarray(pixels).save(image)
    Image.fromarray(np.kron(values, np.ones((times, times), np.uint8))).save(mask)
    dogs = [Region(PngMask(mask, (v,)), "dog", every=every) for v in ((1,) if every else (1, 2))]
    kite = Region(PngMask(mask, (3,)), "kite", ("the thing on the right,",), every=every)
    return Scene(image, (*dogs, kite), "toy", f"toy/{name}", frozenset({"dog", "kite", "zebra"}))


def is_colour(pixels: np.ndarray, value: tuple[int, int, int]) -> np.ndarray:
    return np.abs(pixels.astype(int) - value).max(-1) <= 1


def follows(seen: data.View) -> Counter[str]:
    """Checks that what is purely of a thing's colour is in its masks and the ground is not; what was checked."""
    done: Counter[str] = Counter()
    ground = is_colour(seen.pixels, GROUND) | is_colour(seen.pixels, (data.GREY,) * 3)
    for name, value in (("dog", DOG), ("kite", KITE)):
        pure = is_colour(seen.pixels, value)
        masks = [t.mask for t in seen.things if t.name == name]
        union = np.logical_or.reduce([*masks, np.zeros_like(pure)])
        assert not (union & ground).any()
        assert sum(int(m.sum()) for m in masks) == union.sum()  # no two share a pixel
        if name not in seen.tainted:  # all of it, then, or none is in sight
            missed = int((pure & ~union).sum())
            assert missed <= 0.1 * pure.sum() and (masks or not missed)
            done[name if masks else f"no {name}"] += 1
        elif pure.any():
            done[f"tainted {name}"] += 1
    return done


@pytest.mark.parametrize("times", [1, 2])
def test_masks_follow_the_pixels(tmp_path: Path, times: int) -> None:
    done: Counter[str] = Counter()
    one, other = scene(tmp_path, "one", times=times), scene(tmp_path, "other", every=True, times=times)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        seen = data.view(one, rng, 64, 48)
        assert seen.pixels.shape == (48, 64, 3)
        done += follows(seen)
        done["mirrored"] += any(s == "the thing on the left," for t in seen.things for s in t.sentences)
        upright = seed % 2 == 0
        w, h = (32, 64) if upright else (64, 32)
        both = data.beside(data.view(one, rng, w, h), data.view(other, rng, w, h), upright)
        assert both.pixels.shape == (64, 64, 3)
        follows(both)
    assert min(done[k] for k in ("dog", "kite", "no kite", "tainted dog", "mirrored")) > 0, done


def test_sentences_are_mirrored_with_their_picture(tmp_path: Path) -> None:
    """The kite is right of the dogs, and its sentence says so; whatever the view, it says what is to be seen."""
    said: Counter[str] = Counter()
    for seed in range(30):
        seen = data.view(scene(tmp_path, "one"), np.random.default_rng(seed), 64, 64)
        dogs, kites = ([t for t in seen.things if t.name == n] for n in ("dog", "kite"))
        for dog, kite in zip(dogs, kites, strict=False):
            side = "right" if claims.centre(kite.mask)[0] > claims.centre(dog.mask)[0] else "left"
            assert kite.sentences == (f"the thing on the {side},",)
            said[side] += 1
    assert min(said["left"], said["right"]) > 3


TOKENS = ("left", "right", "leftmost", "rightmost", "Left", "the", "dog,", "left,", "right.", "leftover", "bright")


@settings(max_examples=50)
@given(st.lists(st.sampled_from(TOKENS)))
def test_mirroring_twice_changes_nothing(words: list[str]) -> None:
    sentence = " ".join(words)
    assert data.mirror(data.mirror(sentence)) == sentence


def test_mirror() -> None:
    assert data.mirror("the leftmost dog, right of it") == "the rightmost dog, left of it"
    assert data.mirror("a man on the left, a bright light right.") == "a man on the right, a bright light left."
    assert data.mirror("Left-hand side, leftovers") == "Right-hand side, leftovers"


def test_a_name_alone_in_each_half_has_a_side(tmp_path: Path) -> None:
    left, right = (
        data.view(scene(tmp_path, n, every=True), np.random.default_rng(3), 64, 64) for n in ("one", "other")
    )
    both = data.beside(left, right, upright=True)
    found = {t.place: t.mask for t in both.things if t.name == "dog"}
    assert set(found) == {"left", "right"}
    assert found["left"][:, :64].any() and not found["left"][:, 64:].any()
    np.testing.assert_array_equal(found["right"][:, 64:], next(t.mask for t in right.things if t.name == "dog"))
    # A half in which nobody looked for kites may hold one, unmarked: neither asked for nor said to be absent.
    blind = replace(left, things=[t for t in left.things if t.name == "dog"], vocabulary=frozenset())
    mixed = data.beside(blind, right, upright=False)
    assert {t.name for t in mixed.things} == {"dog"} and "kite" in mixed.tainted
    assert mixed.vocabulary == frozenset()


def test_what_may_be_there_is_never_called_absent() -> None:
    thing = sentences.Thing(np.ones((8, 8), bool), "dog", every=True)
    image, tainted = np.zeros((8, 8, 3), np.uint8), frozenset(sentences.UNLIKELY[1:])
    for seed in range(30):
        asks = sentences.compose([thing], image, frozenset(), np.random.default_rng(seed), 4, tainted=tainted)
        assert all(sentences.UNLIKELY[0] in a.sentence for a in asks if a.kind == "absent")


# Training samples


def test_samples_depend_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    found = [scene(tmp_path, n, every=n == "b") for n in "abc"]
    config = replace(TINY, size=64)

    def sample(seed: int, epoch: int, index: int) -> tuple[bytes, list[str], bytes]:
        row = data.Pictures(config, found, seed)[epoch, index]
        return row["image"].numpy().tobytes(), [a.sentence for a in row["asks"]], b"".join(
            a.mask.tobytes() for a in row["asks"]
        )  # fmt: skip

    keys = [(s, e, i) for s in (0, 1) for e in (0, 1) for i in (0, 1)]
    first = [sample(*key) for key in keys]
    assert [sample(*key) for key in reversed(keys)] == first[::-1]
    assert len({row[0] for row in first}) == len(keys)


def test_training_masks_are_where_the_colour_is(tmp_path: Path) -> None:
    """Crops, mirrors, mosaics and jitter: the answer to "the dog" is what is red, "the kite" what is blue."""
    config = replace(TINY, size=64)
    samples = data.Pictures(config, [scene(tmp_path, n, every=n == "b") for n in "abc"])
    kinds: Counter[str] = Counter()
    for index in range(40):
        row = samples[index, index % 3]
        assert row["image"].shape == (3, 64, 64) and row["image"].min() >= 0 and row["image"].max() <= 1
        r, g, b = row["image"].numpy()
        assert len(row["asks"]) == config.sentences
        for ask in row["asks"]:
            kinds[ask.kind] += 1
            assert ask.present == bool(ask.mask.any())
            if ask.kind == "class":
                word = next(n for n in ("dog", "kite") if n in ask.sentence)
                saturated = (r - np.maximum(g, b) > 0.1) if word == "dog" else (b - np.maximum(r, g) > 0.1)
                core, wide = ndimage.binary_erosion(ask.mask, border_value=1), ndimage.binary_dilation(ask.mask)
                assert saturated[core].all()
                assert (saturated & ~wide).sum() <= 0.15 * saturated.sum()
            elif ask.kind == "absent":
                red, blue = r - np.maximum(g, b) > 0.3, b - np.maximum(r, g) > 0.3
                assert not ("dog" in ask.sentence and red.any()) and not ("kite" in ask.sentence and blue.any())
    assert {"class", "place", "absent", "human"} <= set(kinds), kinds


def test_batches(tmp_path: Path) -> None:
    samples = data.Pictures(replace(TINY, size=64, sentences=4), [scene(tmp_path, "a")])
    rows = [samples[0, 0], samples[1, 0]]
    batch = samples.collate(rows)
    asks = [a for row in rows for a in row["asks"]]
    assert batch["owner"].tolist() == [0] * 4 + [1] * 4 and batch["sentences"] == [a.sentence for a in asks]
    for i, ask in enumerate(asks):
        np.testing.assert_allclose(batch["mask"][i], ask.mask.reshape(16, 4, 16, 4).mean((1, 3)), atol=1e-6)
        assert batch["present"][i] == ask.present


def test_without_augmentation_a_picture_is_whole_and_as_it_is(tmp_path: Path) -> None:
    found = scene(tmp_path, "a")
    with Image.open(found.image) as file:
        square = fit(torch.from_numpy(np.array(file)).permute(2, 0, 1).float() / 255, 64)[0]
    samples = data.Pictures(replace(TINY, size=64, augment=False), [found])
    for epoch in range(3):
        row = samples[epoch, 0]
        assert (row["image"] - square).abs().mean() < 0.02  # but for how the edges are smoothed
        assert all(a.sentence == "the thing on the right," for a in row["asks"] if a.kind == "human")


def test_a_folder_without_anything_to_ask_is_an_error(tmp_path: Path) -> None:
    empty = replace(scene(tmp_path, "a"), regions=())
    with pytest.raises(ValueError, match="nothing in them that can be asked"):
        data.Pictures(TINY, [empty])[0, 0]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), max_size=60, unique=True))
def test_splits_share_no_group_and_lose_none(rows: list[tuple[int, int]]) -> None:
    found = [Scene(Path(f"{g}-{i}.png"), (), "toy", f"toy/{g}") for g, i in rows]
    train, val = (data.held_out(found, split) for split in ("train", "val"))
    assert not {s.group for s in train} & {s.group for s in val}
    assert sorted(train + val, key=found.index) == found == data.held_out(found, "all")


def test_a_tenth_is_held_out() -> None:
    many = [Scene(Path("a"), (), "toy", f"toy/{i}") for i in range(400)]
    assert 20 < len(data.held_out(many, "val")) < 70


def test_questions_are_answered_by_the_masks(tmp_path: Path) -> None:
    items = data.questions([scene(tmp_path, "a"), scene(tmp_path, "b", every=True)])
    plain = [(s, [replace(r, sentences=()) for r in s.regions]) for s, _ in items]
    items += data.questions([replace(s, regions=tuple(r)) for s, r in plain])
    samples = data.Questions(TINY, items)
    batch = samples.collate([samples[0, i] for i in range(4)])
    # Where people wrote something, that is asked and no more.
    plainly = [[s for s, k in zip(*both, strict=True) if not k.startswith(data.FOUND)]
               for both in zip(batch["sentences"], batch["kinds"], strict=True)]  # fmt: skip
    assert plainly[0] == ["the thing on the right,", "the zebra"]
    assert batch["kinds"][2][:2] == ["toy class", "toy absent"]
    assert batch["sentences"][3] == ["the dog", "the kite", "the zebra"]
    for i in range(4):
        pixels = (batch["pictures"][i].permute(1, 2, 0).numpy() * 255).round()
        for sentence, mask, kind in zip(batch["sentences"][i], batch["masks"][i], batch["kinds"][i], strict=True):
            if kind.startswith(data.FOUND):
                continue
            value = DOG if "dog" in sentence else (1, 2, 3) if "zebra" in sentence else KITE
            np.testing.assert_array_equal(mask, is_colour(pixels, value))


def test_left_and_right_of_two(tmp_path: Path) -> None:
    values = np.zeros((40, 60), np.uint8)
    values[5:20, 35:50], values[10:30, 5:20] = 1, 2
    Image.fromarray(values).save(tmp_path / "m.png")
    cups = tuple(Region(PngMask(tmp_path / "m.png", (v,)), "cup") for v in (1, 2))
    ((_, asked),) = data.questions([Scene(tmp_path / "m.png", cups, "toy", "toy/m")])
    sides = [(q.sentence, q.regions, q.bare) for q in asked]
    assert sides == [("the left cup", (1,), "the cup"), ("the right cup", (0,), "the cup")]


def test_left_and_right_of_a_mask_of_everything(tmp_path: Path) -> None:
    values = np.zeros((80, 120), np.uint8)
    values[10:50, 70:110], values[20:60, 10:40] = 1, 1
    Image.fromarray(values).save(tmp_path / "m.png")
    dogs = Region(PngMask(tmp_path / "m.png", (1,)), "dog", every=True)
    ((scene, asked),) = data.questions([Scene(tmp_path / "m.png", (dogs,), "toy", "toy/m")])
    row = data.Questions(TINY, [(scene, asked)])[0, 0]
    found = {q.sentence: mask for q, mask in zip(row["questions"], row["masks"], strict=True)}
    np.testing.assert_array_equal(found["the left dog"], (values == 1) & (np.arange(120) < 60))
    np.testing.assert_array_equal(found["the right dog"], (values == 1) & (np.arange(120) >= 60))
    np.testing.assert_array_equal(found["the dog"], values == 1)


def test_what_is_promised_is_asked(tmp_path: Path) -> None:
    """Presence: every form for what is not there; sides, size and colour of what is, true and false."""
    one = replace(scene(tmp_path, "a"), vocabulary=frozenset({"dog", "kite", "zebra", "cup", "sofa", "bus"}))
    asked = data.promises(one)
    absent = [q for q in asked if q.kind.startswith(f"{data.FOUND}absent: ")]
    assert len(absent) == data.MISSING * len(data.ABSENT) and all(not q.regions for q in absent)
    assert not any("dog" in q.sentence or "kite" in q.sentence for q in absent)
    rest: dict[str, list[data.Question]] = {}
    for q in asked:
        if q not in absent:
            rest.setdefault(q.kind.removeprefix(f"{data.FOUND}present: "), []).append(q)
    assert [(q.sentence, q.count, len(q.regions)) for q in rest["bare"]] == [("the dog", 2, 2), ("the kite", 1, 1)]
    assert {q.sentence for q in rest["true side"]} == {"the right kite", "the kite on the right"}
    assert {q.sentence for q in rest["wrong side"]} == {"the left kite", "the kite on the left"}
    assert [q.sentence for q in rest["true colour"]] == ["the blue kite"]
    ((wrong, regions),) = ((q.sentence, q.regions) for q in rest["wrong colour"])
    assert not regions and wrong.split()[1] not in ("blue", *claims.NEAR["blue"])
    assert data.promises(scene(tmp_path, "b", every=True)) == data.promises(replace(one, vocabulary=frozenset())) == []


# Sentences from what is known

PALETTE = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 80, 220), "yellow": (240, 215, 50),
           "white": (244, 243, 240), "black": (14, 12, 15), "grey": (130, 128, 127)}  # fmt: skip
NAMES = ("dog", "kite", "person", "cup")
KNOWN = frozenset({*NAMES, "zebra", "sofa"})


def furnished(seed: int) -> tuple[list[sentences.Thing], list[str], np.ndarray, frozenset[str]]:
    """Things in cells of a grid, their colours, the picture, and what is tainted."""
    rng = np.random.default_rng(seed)
    image = np.zeros((64, 64, 3), np.uint8) + 90
    things, colours = [], []
    whole = {n for n in NAMES if rng.random() < 0.15}
    for cell in rng.permutation(16)[: rng.integers(1, 7)]:
        name = str(rng.choice(NAMES))
        if name in whole and any(t.name == name for t in things):
            continue
        top, left = 16 * (cell // 4) + int(rng.integers(6)), 16 * (cell % 4) + int(rng.integers(6))
        mask = np.zeros((64, 64), bool)
        mask[top : top + int(rng.integers(3, 10)), left : left + int(rng.integers(3, 10))] = True
        word = str(rng.choice(list(PALETTE)))
        image[mask] = PALETTE[word]
        said = (f"sentence {cell}",) if rng.random() < 0.3 else ()
        things.append(sentences.Thing(mask, name, said, name in whole))
        colours.append(word)
    if rng.random() < 0.3:
        things.append(sentences.Thing(np.ones((64, 64), bool), "", ("all of it",), True))
        colours.append("")
    return things, colours, image, frozenset(n for n in sorted(KNOWN) if rng.random() < 0.15)


def words(sentence: str, known: frozenset[str] = KNOWN) -> set[str]:
    """The classes that a sentence names, by any of their words."""
    forms = {n: [n, sentences.plural(n), *sentences.SYNONYMS.get(n, ())] for n in known}
    return {n for n, some in forms.items() if any(form in sentence.replace("hot dog", "") for form in some)}


def place(mask: np.ndarray) -> tuple[float, float]:
    y, x = np.argwhere(mask).mean(0) / mask.shape
    return float(x), float(y)


def side_of(sentence: str) -> tuple[int, int] | None:
    """(axis, sign of what comes first) of the side that a sentence names; None for none or the middle."""
    words = set(sentence.replace("-", " ").split())
    table = {(0, 1): {"left", "leftmost"}, (0, -1): {"right", "rightmost"}, (1, 1): {"upper", "top", "topmost"},
             (1, -1): {"lower", "bottom", "lowest"}}  # fmt: skip
    return next((key for key, some in table.items() if words & some), None)


def holds(ask: sentences.Ask, mask: np.ndarray, rivals: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether a claim is true of a thing, by a plain reading of its words, without the margins of `claims`."""
    words, (x, y), area = set(ask.sentence.split()), place(mask), int(mask.sum())
    if words & {"first", "second", "third", "fourth", "fifth"}:
        order = sorted([place(m)[0] for m in (mask, *rivals)], reverse="right" in words)
        number = next(i for i, word in enumerate(claims.NUMBERS) if word in words)
        return number < len(order) and order[number] == x
    if words & {"middle", "center"}:
        between = len(rivals) == 2 and sorted([x, *(place(m)[0] for m in rivals)])[1] == x
        return between or abs(x - 0.5) < 0.13
    if (side := side_of(ask.sentence)) is not None:
        axis, sign = side
        if rivals:
            return all(sign * (place(m)[axis] - (x, y)[axis]) > 0 for m in rivals)
        return sign * (0.5 - (x, y)[axis]) > 0
    if words & {"big", "biggest", "large", "larger", "largest"}:
        return all(area > m.sum() for m in rivals) if rivals else area > 0.1 * mask.size
    if words & {"small", "smallest", "smaller", "little", "tiny"}:
        return all(area < m.sum() for m in rivals) if rivals else area < 0.02 * mask.size
    bottom = np.nonzero(mask.any(1))[0].max()
    bottoms = [np.nonzero(m.any(1))[0].max() for m in rivals or others]
    if words & {"background", "back", "far"}:
        return bool(bottoms) and bottom < (min(bottoms) if rivals else max(bottoms))
    assert words & {"foreground", "front"}, ask.sentence
    return bottom > max(bottoms) if rivals else bottom > 0.8 * len(mask)


def check_claim(ask: sentences.Ask, things: list[sentences.Thing], colours: list[str]) -> str:
    """Checks a sentence about one class against the picture; what it speaks of."""
    named = words(ask.sentence)
    of = {id(t.mask): c for t, c in zip(things, colours, strict=True)}
    if len(named) == 2:
        name = first_named(ask.sentence, named)
        (other,) = named - {name}
        (anchor,) = (t.mask for t in things if t.name == other)
        side = side_of(ask.sentence)
        axis, sign = side or (1, 1 if {"above", "over"} & set(ask.sentence.split()) else -1)
        fits = [t.mask for t in things if t.name == name and sign * (place(anchor)[axis] - place(t.mask)[axis]) > 0.1]
        assert [id(m) for m in fits] == ([id(ask.mask)] if ask.present else []), ask.sentence
        return "relation"
    (name,) = named
    own = [t for t in things if t.name == name]
    word = next((w for w in claims.NEAR if ask.sentence == f"the {w} {name}"), "")
    if word:
        fits = [t for t in own if of[id(t.mask)] == word]
        assert [id(t.mask) for t in fits] == ([id(ask.mask)] if ask.present else []), ask.sentence
        return "colour"
    others = [t.mask for t in things if t.name not in ("", name)]
    true = [t for t in own if holds(ask, t.mask, [o.mask for o in own if o is not t], others)]
    if ask.present:
        assert any(t.mask is ask.mask for t in true), ask.sentence
    else:
        assert not true, ask.sentence
    return "claim"


def test_every_sentence_is_true_of_its_picture_or_of_nothing_in_it() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(150):
        things, colours, image, tainted = furnished(seed)
        denied = ["what nobody sees"] if seed % 2 else []
        rng = np.random.default_rng(seed)
        asks = sentences.compose(things, image, KNOWN, rng, 10, tainted=tainted, denied=denied)
        if not asks:  # nothing is certain
            assert {t.name for t in things} <= {*tainted, ""}
            continue
        assert len(asks) == 10 and [a.present for a in asks] == [True, False] * 5
        for ask in asks:
            kinds[ask.kind] += 1
            named = words(ask.sentence)
            assert ask.present == (ask.kind not in ("absent", "false")) == bool(ask.mask.any())
            assert not named & tainted, ask.sentence
            if ask.kind in ("human", "salient") or ask.sentence in denied:
                kinds["denied"] += ask.sentence in denied
                continue
            there = {t.name for t in things}
            if ask.kind == "absent":
                asked = first_named(ask.sentence, {*KNOWN, *sentences.UNLIKELY})
                assert asked not in there
                assert asked in KNOWN or not KNOWN - tainted - there
                continue
            own = {n: [t for t in things if t.name == n] for n in named}
            if ask.kind == "class":
                ((_, some),) = own.items()
                np.testing.assert_array_equal(ask.mask, np.logical_or.reduce([t.mask for t in some]))
                if ask.middles is not None:
                    np.testing.assert_allclose(
                        sorted(ask.middles), sorted(place(t.mask) for t in some), atol=1 / 64, err_msg=ask.sentence
                    )
                continue
            if not any(t.every for t in own[first_named(ask.sentence, named)]):
                kinds[check_claim(ask, things, colours)] += 1
    every = ("class", "place", "size", "depth", "colour", "relation", "human", "salient", "absent", "false", "denied")
    assert min(kinds[k] for k in every) > 1, kinds


def first_named(sentence: str, names: set[str]) -> str:
    """The class that a sentence is about: the first of some that it names, by any of its words."""
    at = {}
    for name in names:
        forms = (name, sentences.plural(name), *sentences.SYNONYMS.get(name, ()))
        places = [sentence.find(form) for form in forms if form in sentence]
        if places:
            at[name] = min(places), -len(name)
    return min(at, key=lambda name: at[name])


def test_no_form_says_whether_the_thing_is_there() -> None:
    """Of sentences with a side, a colour, ..., about half are true: the form alone tells nothing."""
    counts: dict[str, list[bool]] = {}
    for seed in range(400):
        things, _, image, tainted = furnished(seed)
        for ask in sentences.compose(things, image, KNOWN, np.random.default_rng(seed), 6, tainted=tainted):
            if ask.form:
                counts.setdefault("bare" if "{s}" not in ask.form and ask.kind == "class" else ask.form, []).append(
                    ask.present
                )
    for words_ in ("the {} on the left", "the right {}", "the small {}", "the black {}", "the {} in the middle"):
        share = float(np.mean(counts[words_]))
        assert len(counts[words_]) > 8 and share < 0.75, (words_, share)


def test_nothing_in_sight_is_nothing_to_ask() -> None:
    assert sentences.compose([], np.zeros((4, 4, 3)), KNOWN, np.random.default_rng(0), 3) == []


@pytest.mark.parametrize(
    ("rgb", "word"),
    [*((v, k) for k, v in PALETTE.items()), ((230, 120, 20), "orange"), ((140, 60, 200), "purple"),
     ((250, 110, 180), "pink"), ((105, 62, 25), "brown"), ((0, 0, 0), "black"), ((255, 255, 255), "white"),
     ((35, 10, 10), "black"), ((0, 50, 90), "blue"), ((200, 20, 40), "red")],
)  # fmt: skip
def test_colours_of_patches(rgb: tuple[int, int, int], word: str) -> None:
    patch = np.tile(np.array(rgb, np.uint8), (2500, 1))
    assert claims.colour(patch) == word


def test_a_colour_needs_its_share() -> None:
    patch = np.zeros((3000, 3), np.uint8)
    patch[:1600], patch[1600:] = (0, 200, 0), (20, 40, 250)
    assert claims.colour(patch) == "green" and claims.colour(patch, share=0.6) == ""
    assert claims.colour(patch[800:], share=0.6) == "blue"
    assert claims.colour(patch[:0]) == ""


@given(st.integers(0, 255))
def test_greys_have_no_hue(level: int) -> None:
    found = claims.colour(np.full((9, 3), level, np.uint8))
    assert found == ("black" if level < 64 else "grey" if level < 192 else "white")


@settings(max_examples=50)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_turning_the_channels_turns_the_hue(rgb: tuple[int, int, int]) -> None:
    """What is red, green or blue as RGB keeps being saturated or plain when the channels go round."""
    plain = {"black", "grey", "white"}
    found = [claims.colour(np.array([np.roll(rgb, k)], np.uint8)) for k in range(3)]
    assert len({w in plain for w in found}) == 1
    if found[0] in plain:
        assert len(set(found)) == 1


# The synthetic world


def attributes(pixels: np.ndarray, mask: np.ndarray) -> tuple[str, int]:
    """Colour and area of a shape, read off the picture."""
    middle = np.median(pixels[mask].reshape(-1, 3), 0)
    return min(shapes.COLOURS, key=lambda c: np.abs(middle - shapes.COLOURS[c]).sum()), int(mask.sum())


def form(mask: np.ndarray) -> str:
    """A square fills its box, a disc π/4 of it, a triangle half."""
    y, x = np.nonzero(mask)
    share = mask.sum() / ((np.ptp(y) + 1) * (np.ptp(x) + 1))
    return "square" if share > 0.9 else "disc" if share > 0.65 else "triangle"


@pytest.mark.parametrize("kind", shapes.KINDS)
def test_two_shapes_differ_in_what_the_sentence_tells(kind: str) -> None:
    axes = set()
    for seed in range(10):
        pixels, (a, b, other, *false) = world(160, np.random.default_rng(seed), kind)
        assert (a.kind, b.kind, other.kind) == (kind, kind, "plain")
        assert all(ask.kind in shapes.WRONG and not ask.present and not ask.mask.any() for ask in false)
        assert {"wrong colour", "wrong size", "absent", "absent size", "absent side"} <= {ask.kind for ask in false}
        absent = next(ask for ask in false if ask.kind == "absent")
        # Masks are what was drawn: outside of them there is ground, inside the colour.
        ground = np.median(pixels[~(a.mask | b.mask | other.mask)], 0)
        assert np.abs(pixels[~(a.mask | b.mask | other.mask)] - ground).max() < 45
        for ask in (a, b, other):
            colour = attributes(pixels, ask.mask)[0]
            assert np.abs(pixels[ask.mask].astype(int) - shapes.COLOURS[colour]).max() < 45
            assert colour in ask.sentence and f"the {absent.sentence.split()[1]}" not in ask.sentence
        assert not (a.mask & b.mask).any() and not (a.mask & other.mask).any() and not (b.mask & other.mask).any()
        hidden = kind == "relation"  # the third shape may hide a part of the other two
        looks = [(*attributes(pixels, m), None if hidden else form(m)) for m in (a.mask, b.mask)]
        same = {
            "colour": looks[0][0] == looks[1][0],
            "size": abs(looks[0][1] / looks[1][1] - 1) < (0.3 if hidden else 0.05),
            "shape": looks[0][2] == looks[1][2],
        }
        if kind == "shape":  # forms of one size have different areas
            same["size"] = 0.4 < looks[0][1] / looks[1][1] < 2.5
        assert same == {k: k != kind for k in same}
        if kind in ("colour", "shape"):
            assert all(f"the {c} {f}" == ask.sentence for ask, (c, _, f) in zip((a, b), looks, strict=True))
        if kind == "size":
            assert a.sentence.startswith("the small") and b.sentence.startswith("the big")
            assert looks[0][1] < 0.5 * looks[1][1]
        if kind == "relation":
            axis = 0 if "left" in a.sentence else 1
            axes.add(axis)
            at = [place(m)[axis] for m in (a.mask, other.mask, b.mask)]
            assert at == sorted(at)
            for ask, word in zip((a, b), shapes.SIDES[axis], strict=True):
                assert f" {word} {other.sentence}" in ask.sentence
    assert kind != "relation" or axes == {0, 1}


def test_worlds_are_disjoint_and_only_training_follows_the_seed() -> None:
    config = replace(TINY, size=32)

    def pictures(split: str, seed: int, epoch: int) -> list[bytes]:
        samples = Shapes(config, split, seed)
        return [samples[epoch, i]["image"].numpy().tobytes() for i in range(24)]

    drawn = [pictures("train", s, e) for s, e in ((0, 0), (0, 1), (1, 0))]
    val, test = pictures("val", 0, 0), pictures("test", 0, 0)
    assert len({*drawn[0], *drawn[1], *drawn[2], *val, *test}) == 5 * 24
    assert pictures("train", 0, 0) == drawn[0] and pictures("val", 5, 3) == val
    with pytest.raises(ValueError, match="train, val, test, not 'all'"):
        Shapes(config, "all")


def test_a_batch_of_the_world() -> None:
    samples = Shapes(replace(TINY, size=32, sentences=3), "train")
    rows = [samples[0, i] for i in range(4)]
    batch = samples.collate(rows)
    assert batch["image"].shape == (4, 3, 32, 32) and batch["mask"].shape == (12, 8, 8)
    assert batch["owner"].tolist() == [i for i in range(4) for _ in range(3)]
    judged = Shapes(replace(TINY, size=32), "val")
    asked = judged.collate([judged[0, 0]])
    assert asked["kinds"][0][:3] == ["colour", "colour", "plain"] and set(asked["kinds"][0][3:]) <= set(shapes.WRONG)
    assert len(asked["masks"][0]) == len(asked["sentences"][0]) == len(asked["kinds"][0])


def test_what_is_untrue_of_shapes_is_true_of_none() -> None:
    seen: Counter[str] = Counter()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        colours, sizes = list(shapes.COLOURS), list(shapes.SIZES)
        made = [
            shapes.Shape(
                str(rng.choice(colours[:4])), str(rng.choice(shapes.FORMS)), str(rng.choice(sizes)), *rng.random(2)
            )
            for _ in range(3)
        ]
        made[1] = replace(made[0], x=made[1].x, y=made[1].y) if seed % 2 else made[1]
        if any((m.colour, m.form) == (made[2].colour, made[2].form) for m in made[:2]):
            continue  # the third differs from the pair
        for kind, sentence in shapes.untrue(made, colours[4], rng):
            seen[kind] += 1
            said = [side for pair in shapes.SIDES for side in pair if f" {side} " in sentence]
            what, *anchor = sentence.split(f" {said[0]} ") if said else [sentence]
            fits = [m for m in made if set(what.split()) - {"the"} <= {m.colour, m.form, m.size}]
            if anchor:
                third = made[2]
                assert anchor == [f"the {third.colour} {third.form}"]
                axis = next(i for i, pair in enumerate(shapes.SIDES) if said[0] in pair)
                sign = 1 if said[0] == shapes.SIDES[axis][0] else -1
                fits = [m for m in fits if sign * ((third.x, third.y)[axis] - (m.x, m.y)[axis]) > -0.15]
            assert not fits, sentence
    assert set(seen) == set(shapes.WRONG)


# Numbers


class Oracle:
    """A session that answers at random, always the same."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def predict(self, asked: Any, *, every: bool = False) -> list[Any]:
        return [0] * (len(asked) % 4) if every else [self.one(s) for s in asked]

    def one(self, sentence: str) -> Any:
        rng = np.random.default_rng((zlib.crc32(sentence.encode()), int(self.picture[0, 0])))
        score = float(rng.random())
        probability = ndimage.gaussian_filter(rng.random(self.picture.shape), 2)
        probability = (probability - probability.min()) / np.ptp(probability)
        found = score > 0.3
        mask = (probability > 0.4) & found
        return SimpleNamespace(sentence=sentence, probability=probability, score=score, found=found, mask=mask)

    def activation_map(self, sentence: str) -> np.ndarray | None:
        return self.one(sentence).probability - 0.3


def judged(count: int = 12) -> list[dict[str, Any]]:
    rng, out = np.random.default_rng(0), []
    for i in range(count):
        picture = np.full((20 + i, 24), i)
        masks = []
        for j in range(3):
            mask = np.zeros(picture.shape, bool)
            if j < 2:
                y, x = rng.integers(0, 10, 2)
                mask[y : y + 9, x : x + 11] = True
            masks.append(mask)
        if i % 3 == 0:
            masks[1] = masks[0].copy()  # nothing to choose from
        asked, kinds = [f"a {i}", f"b {i}", f"c {i}"], ["toy class", "toy sentence", "toy absent"]
        row = {"pictures": picture, "sentences": asked, "kinds": kinds, "masks": masks, "groups": f"video {i // 2}"}
        if i % 2:
            out[-1] = {k: [*v, row[k]] for k, v in out[-1].items()}
        else:
            out.append({k: [v] for k, v in row.items()})
    return out


def overlap(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    both = either = 0
    for p, q in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
        both, either = both + (p and q), either + (p or q)
    return both, either


def iou(a: np.ndarray, b: np.ndarray) -> float:
    both, either = overlap(a, b)
    return both / either if either else 1.0


def test_numbers_are_the_loops() -> None:
    batches = judged()
    table = summary(collect(Oracle, batches)[0])
    rows, other = [], "the wheel of a bicycle"
    for batch in batches:
        for picture, asked, kinds, masks in zip(
            *(batch[k] for k in ("pictures", "sentences", "kinds", "masks")), strict=True
        ):
            session = Oracle(picture)
            for sentence, kind, truth in zip(asked, kinds, masks, strict=True):
                answer = session.one(sentence)
                row = {"kind": kind, "score": answer.score, "found": answer.found, "present": bool(truth.any())}
                row["counts"] = overlap(answer.mask, truth)
                row["iou"] = iou(answer.mask, truth)
                row["swapped"] = iou(session.one(other).mask, truth)
                fits = session.activation_map(sentence)
                row["activation map"] = iou(fits > (fits.max() + fits.min()) / 2, truth)
                h, w = truth.shape
                row["ellipse"] = iou(
                    np.array([[((y + 0.5 - h / 2) / (h / 4)) ** 2 + ((x + 0.5 - w / 2) / (w / 4)) ** 2 <= 1
                               for x in range(w)] for y in range(h)]), truth)  # fmt: skip
                row["choice"] = not (masks[0] == masks[1]).all()
                rows.append(row)
            other = asked[0]

    def mean(some: list[dict[str, Any]], key: str) -> float:
        return sum(float(r[key]) for r in some) / len(some)

    present = [r for r in rows if r["present"]]
    for name, some in (
        ("", present),
        (" toy class", [r for r in present if r["kind"] == "toy class"]),
        (" toy sentence", [r for r in present if r["kind"] == "toy sentence"]),
    ):
        found = table[f"mIoU{name}"]
        assert found.value == pytest.approx(mean(some, "iou")) and found.n == len(some)
        assert found.baselines == pytest.approx({k: mean(some, k) for k in ("ellipse", "activation map", "swapped")})
        both, either = (sum(r["counts"][i] for r in some) for i in (0, 1))
        assert table[f"oIoU{name}"].value == pytest.approx(both / either)
    assert table["oIoU"].value != pytest.approx(table["mIoU"].value, rel=1e-3)
    for at in (50, 60, 70, 80, 90):
        assert table[f"Pr@{at}"].value == pytest.approx(sum(r["iou"] > at / 100 for r in present) / len(present))
    choice = [r for r in present if r["choice"]]
    assert 0 < len(choice) < len(present)
    lost = table["mIoU lost when swapped"]
    assert lost.value == pytest.approx(mean(choice, "iou") - mean(choice, "swapped")) and lost.n == len(choice)
    absent = [r for r in rows if not r["present"]]
    refused = table["not found"]
    assert refused.value == pytest.approx(1 - mean(absent, "found"))
    assert refused.baselines == pytest.approx({"present kept": mean(present, "found")})
    at_90 = table["not found at 90 % kept"].value
    ranked = sorted(r["score"] for r in present)
    cut = [
        sum(r["score"] < ranked[k] for r in absent) / len(absent) for k in (len(ranked) // 10, len(ranked) // 10 + 1)
    ]
    assert min(cut) <= at_90 <= max(cut)
    for name, metric in table.items():
        if metric.low is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high, name
            assert metric.low < metric.high, name


def test_what_is_found_is_counted_by_form_and_scores_are_held_against_shares() -> None:
    batches = judged(30)
    names = ("found, present: bare", "found, absent: the X", "found, absent: the X")
    for batch in batches:
        batch["kinds"] = [list(names) for _ in batch["kinds"]]
        batch["masks"] = [[m, np.zeros_like(m), np.zeros_like(m)] for m, *_ in batch["masks"]]
        batch["counts"] = [[2 + i % 2, 0, 0] for i, _ in enumerate(batch["kinds"])]
    rows = collect(Oracle, batches)[0]
    table = summary(rows)
    assert not any(name.startswith("mIoU") for name in table)  # they ask for presence alone
    for name in set(names):
        some = [r for r in rows if r.kind == name]
        assert table[name].value == pytest.approx(sum(r.found for r in some) / len(some)) and table[name].n == len(some)
    there, rest = [r for r in rows if r.present], [r for r in rows if not r.present]
    chance = (sum(r.found for r in there) / len(there) + sum(r.found for r in rest) / len(rest)) / 2
    assert table[names[1]].baselines["by chance"] == pytest.approx(chance)
    error = 0.0
    for low in range(10):
        here = [(r.score, r.present, 0.5 / len(there if r.present else rest)) for r in rows if int(10 * r.score) == low]
        if here:
            error += abs(sum(w * s for s, _, w in here) - sum(w * p for _, p, w in here))
    assert table["calibration error"].value == pytest.approx(error)
    off = [abs(r.counted - r.things) for r in there]
    assert table["count error"].value == pytest.approx(np.mean(off))
    assert table["count error"].baselines == pytest.approx(
        {"always one": np.mean([r.things - 1 for r in there]), "always two": np.mean([r.things - 2 for r in there])}
    )


def test_an_interval_draws_whole_groups() -> None:
    single, twins = judged(), judged()
    for batch in single:
        batch["groups"] = ["one video"] * len(batch["groups"])
    one = summary(collect(Oracle, single)[0])["mIoU"]
    assert one.low is None and one.high is None, "one video says nothing about others"
    for batch in twins:  # every picture twice, in its group: nothing new is known
        for name in batch:
            batch[name] = [*batch[name], *batch[name]] if isinstance(batch[name], list) else batch[name]
    once, twice = (summary(collect(Oracle, batches)[0])["mIoU"] for batches in (judged(), twins))
    assert (once.low, once.high) == pytest.approx((twice.low, twice.high))


def test_nothing_present_or_nothing_absent_is_no_error() -> None:
    batches = judged(2)
    for batch in batches:
        batch["masks"] = [[np.zeros_like(m) for m in masks] for masks in batch["masks"]]
    assert summary(collect(Oracle, batches)[0]) == {}
    assert summary(collect(Oracle, [])[0]) == {}


# Answers


def result(found: bool = True) -> Result:
    rng = np.random.default_rng(0)
    probability = ndimage.gaussian_filter(rng.random((30, 44)), 3).astype(np.float32)
    mask = (probability > np.median(probability)) & found
    return Result("the réd dress", mask, probability, 0.75, found, rng.integers(0, 255, (30, 44, 3), np.uint8))


@pytest.mark.parametrize("found", [True, False])
def test_what_is_saved_is_what_was_found(tmp_path: Path, found: bool) -> None:
    answer = result(found)
    answer.save(tmp_path / "new" / "answer.png")
    with Image.open(tmp_path / "new" / "answer.png") as file:
        stored = np.asarray(file)
    np.testing.assert_array_equal(stored, np.where(answer.mask, 255, 0))
    row = json.loads((tmp_path / "new" / "answer.json").read_text())
    assert (row["sentence"], row["score"], row["found"]) == ("the réd dress", 0.75, found)
    np.testing.assert_array_equal(coco_rle_decode(row["segmentation"]), answer.mask)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["answer.json", "answer.png"]  # no leftovers


def test_what_is_drawn_shows_the_mask() -> None:
    answer = result()
    drawn, bare = (np.asarray(r.draw().convert("RGB")) for r in (answer, replace(answer, mask=answer.mask & False)))
    assert drawn.shape == bare.shape and drawn.shape[0] > 30 and drawn.shape[1] >= 44
    assert result(False).draw().size == (drawn.shape[1], drawn.shape[0])
    differs = np.abs(drawn.astype(int) - bare).max(-1) > 0
    assert differs.any()
    if drawn.shape[1] == 44:
        inside = ndimage.binary_erosion(answer.mask, iterations=3)
        assert differs[:30][inside].mean() > 0.9


def pixels(h: int = 40, w: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (h, w, 3), np.uint8)


def same_answer(model: nn.Module, source: Any, like: Any) -> None:
    a, b = (refer(model).predict(s, "the red disc") for s in (source, like))
    assert isinstance(a, Result) and isinstance(b, Result)
    assert a.mask.shape == a.probability.shape == a.picture.shape[:2] and a.mask.dtype == bool
    np.testing.assert_array_equal(a.picture, b.picture)
    close(a.probability, b.probability, 1e-6)


def test_any_form_of_one_picture_has_one_answer(model: LateText, tmp_path: Path) -> None:
    array = pixels()
    Image.fromarray(array).save(tmp_path / "a.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array), tensor, tensor.float() / 255):
        same_answer(model, source, array)
    opaque = np.dstack((array, np.full(array.shape[:2], 255, np.uint8)))
    Image.fromarray(opaque).save(tmp_path / "rgba.png")
    same_answer(model, tmp_path / "rgba.png", array)
    level = array[..., 0]
    Image.fromarray(level).save(tmp_path / "grey.png")
    Image.fromarray(level.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("grey.png", "deep.png"):
        same_answer(model, tmp_path / name, np.dstack([level] * 3))


def test_a_turned_photograph_is_answered_upright(model: LateText, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright, stored lying
    Image.fromarray(pixels(40, 60)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "turned.jpg") as file:
        stored = np.asarray(file)
    assert stored.shape == (40, 60, 3)
    same_answer(model, tmp_path / "turned.jpg", np.rot90(stored, -1).copy())


@pytest.mark.parametrize("size", [(30, 100), (100, 30), (1, 1), (200, 210)])
def test_any_size_is_answered_at_its_own(model: LateText, size: tuple[int, int]) -> None:
    for answer in refer(model).predict(pixels(*size), ["a", "b"]):  # type: ignore[union-attr]
        assert answer.mask.shape == answer.probability.shape == answer.picture.shape[:2] == size
        assert answer.probability.min() >= 0 and answer.probability.max() <= 1 and 0 <= answer.score <= 1


@pytest.mark.parametrize("asked", ["", "  ", ["the dog", ""]])
def test_an_empty_sentence_is_refused(model: LateText, asked: Any) -> None:
    with pytest.raises(ValueError, match="expected a sentence that names something"):
        refer(model).predict(pixels(), asked)


def test_what_is_no_picture_is_refused(model: LateText, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        refer(model).predict(tmp_path / "none.jpg", "the dog")
    (tmp_path / "text.jpg").write_text("not a picture at all, only words")
    with pytest.raises(ValueError, match=r"text\.jpg: not a picture"):
        refer(model).predict(tmp_path / "text.jpg", "the dog")
    (tmp_path / "film.jpg").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(64))
    with pytest.raises(ValueError, match=r"film\.jpg: this is a video"):
        refer(model).predict(tmp_path / "film.jpg", "the dog")
    foreign = nn.Linear(1, 1)
    foreign.config = TINY  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"refer\.model\.build made, got Linear"):
        refer(foreign).session(pixels())


# Things apart


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_things_apart_share_no_pixel_and_lose_few(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.binary_dilation(rng.random((24, 31)) < 0.02, iterations=2)
    mask[0, 0] = True
    middles = [(float(x), float(y)) for x, y in rng.uniform(-2, 33, (int(rng.integers(4)), 2))]
    things = apart(mask, middles)
    assert things and all(thing.any() for thing in things)
    assert sum(things).max() == 1 and not (np.logical_or.reduce(things) & ~mask).any()  # type: ignore[union-attr]
    labels, count = ndimage.label(mask)  # type: ignore[misc]
    for label in range(1, count + 1):
        piece, largest = labels == label, max(int(t.sum()) for t in things)
        assert (piece & np.logical_or.reduce(things)).any() or piece.sum() <= 0.1 * largest * 1.001 or middles
    assert len(things) <= count + len(middles)


def test_two_middles_cut_a_piece_between_them() -> None:
    mask = np.zeros((20, 40), bool)
    mask[5:15, 4:36] = True
    left, right = apart(mask, [(10.0, 10.0), (30.0, 10.0)])
    np.testing.assert_array_equal(left, mask & (np.arange(40) <= 20))
    np.testing.assert_array_equal(right, mask & (np.arange(40) > 20))
    (whole,) = apart(mask, [])
    np.testing.assert_array_equal(whole, mask)


def test_every_thing_is_an_answer_of_its_own() -> None:
    system = refer(biased(9.0, 9.0))
    session = system.session(pixels())
    for given_ in ("the disc", ["the disc", "the square"]):
        found = session.predict(given_, every=True)
        assert found == [] or isinstance(found[0], (list, Result))
    (one,) = session.predict("the disc", every=True)
    whole = session.predict("the disc")
    np.testing.assert_array_equal(one.mask, whole.mask)
    assert one.score == pytest.approx(whole.score * whole.probability[whole.mask].mean(), rel=1e-5)
    assert refer(biased(-9.0, 9.0)).predict(pixels(), "the disc", every=True) == []
    paper = task.build(SMALL)
    with pytest.raises(ValueError, match="every=True needs the light network"):
        refer(paper.eval()).predict(pixels(), "the disc", every=True, mask_threshold=0.0)


def test_middles_are_at_their_place_in_the_picture(model: LateText, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose middles are where its square is brightest gives them back in pixels of the picture."""
    session = refer(model).session(np.zeros((60, 120, 3), np.uint8))

    def answer(pixels: Any, words: Any, owner: Any, masked: Any) -> Answer:
        centres = torch.full((1, 6, 6), -9.0)
        centres[0, 2, 4] = 9.0  # of the square of 96: x = 72, y = 40; the picture lies from row 24 on
        return Answer(torch.zeros(0, 24, 24), centres, torch.zeros(1), centres)

    monkeypatch.setattr(model, "answer", answer)
    assert session.middles("a") == [pytest.approx((72 * 120 / 96, (40 - 24) * 60 / 48))]


def biased(presence: float, mask: float) -> nn.Module:
    """A network whose answers are set: the logit of presence, and of every pixel."""
    torch.manual_seed(0)
    made = task.build(TINY).eval()
    assert isinstance(made, LateText)
    with torch.no_grad():
        for layer, bias in ((made.presence[2], presence), (made.kernel, 0.0), (made.centres, -9.0)):
            assert isinstance(layer, nn.Linear)
            layer.weight.zero_()
            layer.bias.fill_(bias)
        made.kernel.bias.zero_()
        made.kernel.bias[-1] = mask
    return made


@pytest.mark.parametrize(
    ("presence", "mask", "found"),
    [(3.0, 2.0, True), (-3.0, 2.0, False), (3.0, -2.0, False), (-0.5, 2.0, False), (-0.3, 2.0, True)],
)
def test_what_is_not_found_has_an_empty_mask(presence: float, mask: float, found: bool) -> None:
    answer = refer(biased(presence, mask)).predict(pixels(), "the red disc")
    assert isinstance(answer, Result)
    assert answer.found is found and answer.mask.all() == answer.mask.any() == found
    assert answer.score == pytest.approx(1 / (1 + math.exp(-presence)), abs=1e-5)
    np.testing.assert_allclose(answer.probability, 1 / (1 + math.exp(-mask)), atol=1e-5)


# Graphs


def kept_ids(model: LateText, asked: list[str]) -> Tensor:
    """The word ids that the network's own text encoder is given."""
    seen: list[Tensor] = []
    hook = model.text.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.encode_text(asked)
    hook.remove()
    return seen[0]


@torch.no_grad()
def test_the_parts_that_are_exported_say_what_the_whole_says(model: LateText) -> None:
    square, place = fit(torch.from_numpy(pixels(50, 80)).permute(2, 0, 1).float() / 255, TINY.size)
    parts = {name: make(model) for name, make in task.EXPORTS.items()}
    ids = kept_ids(model, ASKED)
    kept = parts["picture"][0](square[None])
    logits, presence, _ = parts["reply"][0](*kept, *parts["sentence"][0](ids), ids)
    probability = place.back(logits).sigmoid()
    for i, answer in enumerate(refer(model).predict(pixels(50, 80), ASKED)):  # type: ignore[arg-type]
        close(probability[i], answer.probability)
        assert float(presence[i].sigmoid()) == pytest.approx(answer.score, abs=1e-5)
    for module, inputs, names, axes in parts.values():
        out = module(*inputs.values())
        assert len(out) == len(names) and set(axes) <= set(inputs)


def test_the_tokenizer_beside_the_graphs_gives_the_networks_ids() -> None:
    model = LateText(replace(TINY.late, text="minilm"))
    ((name, text),) = task.export_files(model).items()
    assert name == "refer-tokenizer.json" and task.export_files(task.build(TINY)) == {}
    tokenizer = Tokenizer.from_str(text)
    asked = ["dog", "the réd dress, on the left", "a " * 50 + "dog", "x"]
    ids, mask = tokenise(asked, MOST_IDS)
    encoded = tokenizer.encode_batch(asked)
    assert [e.ids for e in encoded] == ids.tolist() and [e.attention_mask for e in encoded] == mask.int().tolist()
    assert ids.shape[1] == MOST_IDS


@torch.no_grad()
@pytest.mark.parametrize("length", [2, 3, 13, MOST_IDS])
def test_the_sentence_graph_takes_any_number_of_ids(model: LateText, length: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module, inputs, outputs, axes = exports.sentence(model)
    assert axes == {"ids": {0: "n", 1: "l"}}
    path = tmp_path / "sentence.onnx"
    to_onnx(module, inputs, outputs, axes, path)
    ids = torch.randint(1, 500, (3, length))
    ids[1, length // 2 + 1 :] = 0
    found = runtime.InferenceSession(path).run(None, {"ids": ids.numpy()})
    for ours, theirs in zip(module(ids), found, strict=True):
        close(theirs, ours, 1e-4)


# The paper's network, small

SMALL = Config(
    design="cris", size=64, sentences=1,
    cris=Cris((1, 1, 1, 1), 8, word_dim=32, text_width=16, text_layers=1, text_heads=2, fpn_in=(64, 128, 32),
              fpn_out=(8, 16, 24), num_layers=1, vis_dim=16, num_head=2, dim_ffn=24, dropout=0.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def cris() -> nn.Module:
    torch.manual_seed(0)
    return task.build(SMALL).eval()


def test_the_papers_network_answers_and_learns(cris: nn.Module) -> None:
    session = refer(cris).session(pixels(50, 80))
    together = session.predict(ASKED)
    assert isinstance(together, list)
    for answer, sentence in zip(together, ASKED, strict=True):
        alone = refer(cris).predict(pixels(50, 80), sentence)
        assert isinstance(alone, Result)
        close(alone.probability, answer.probability)
        assert answer.mask.shape == (50, 80)
        np.testing.assert_array_equal(answer.mask, answer.probability > 0.35)
        assert answer.found == bool(answer.mask.any())
        expected = answer.probability[answer.mask].mean() if answer.mask.any() else 0.0
        assert answer.score == pytest.approx(expected, abs=1e-4)
    assert session.activation_map("the dog") is None
    samples = Shapes(SMALL, "train")
    batch = samples.collate([samples[0, i] for i in range(3)])
    learner = task.build(SMALL)
    loss = task.loss(learner, batch, STEP)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    grads = {name: p.grad for name, p in learner.named_parameters()}
    assert {n for n, g in grads.items() if g is None} == {"backbone.logit_scale"}
    assert all(torch.isfinite(g).all() for g in grads.values() if g is not None)


@torch.no_grad()
def test_the_papers_parts_say_what_the_whole_says(cris: Any) -> None:
    picture, words_ = exports.picture(cris), tokenize(ASKED, SMALL.cris.word_len)
    image = torch.randn(1, 3, 64, 64)
    kept, (tokens, state) = picture[0](image), exports.Sentence(cris)(words_)
    logits = exports.reply(cris)[0](*kept, tokens, state, words_)
    close(logits, cris(image.expand(4, -1, -1, -1), words_)[:, 0])
    module, inputs, names, _ = exports.reply(cris)
    assert module(*inputs.values()).shape == (len(inputs["ids"]), 16, 16) and names == ["logits"]


# Thresholds, examples, and which pictures of a folder


def test_thresholds_are_those_that_are_asked_for(model: LateText) -> None:
    system = refer(model)
    plain = system.predict(pixels(), ASKED)
    low, high = (float(f(a.probability.mean() for a in plain)) for f in (min, max))
    for mask_threshold in (0.9 * low, high):
        session = system.session(pixels(), score_threshold=0.0, mask_threshold=mask_threshold)
        for answer, like in zip(session.predict(ASKED), plain, strict=True):
            np.testing.assert_array_equal(answer.mask, like.probability > mask_threshold)
            assert answer.score == like.score
    score = sorted(a.score for a in plain)[2]
    found = [a.found for a in system.predict(pixels(), ASKED, score_threshold=score, mask_threshold=0.0)]
    assert found == [a.score >= score for a in plain]


def test_answers_name_their_weights(model: LateText, tmp_path: Path) -> None:
    assert refer(model).predict(pixels(), "a disc").weights == ""
    answer = replace(result(), weights="0123")
    answer.save(tmp_path / "a.png")
    assert json.loads((tmp_path / "a.json").read_text())["weights"] == "0123"


@torch.no_grad()
def test_one_pass_gives_numbers_and_as_many_examples_as_asked_for(model: LateText) -> None:
    judged_on = Shapes(TINY, "val")
    batches = [judged_on.collate([judged_on[0, i], judged_on[0, i + 1]]) for i in range(0, 12, 2)]
    plain, shown = (task.evaluate(model, batches, examples=count) for count in (0, 4))
    assert plain.metrics == shown.metrics and plain.blocks == []
    galleries = [block for block in shown.blocks if isinstance(block, Gallery)]
    assert [len(gallery.pictures) for gallery in galleries] == [4]
    assert all(block.html() for block in shown.blocks)
    few = task.evaluate(model, batches[:2], examples=9)
    assert [len(block.pictures) for block in few.blocks if isinstance(block, Gallery)] == [2]


def own_folder(root: Path, names: str) -> None:
    for name in names:
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 24), 255, np.uint8)).save(root / part / f"{name}.png")
    rows = "".join(f"{name}.png,the thing {name}\n" for name in names)
    (root / "sentences.csv").write_text(f"image,sentence\n{rows}")


def test_folders_in_a_folder_are_read_one_after_the_other(tmp_path: Path) -> None:
    own_folder(tmp_path / "cats", "abcdefghijklmnop")
    own_folder(tmp_path / "dogs", "qrstuvwxyz")
    (tmp_path / "notes").mkdir()
    both = data.scenes(tmp_path, "all")
    assert both == data.scenes(tmp_path / "cats", "all") + data.scenes(tmp_path / "dogs", "all") and len(both) == 26
    assert data.scenes(tmp_path, "test") == both
    train, tune, val = (data.scenes(tmp_path, split) for split in ("train", data.TUNE, "val"))
    assert val and sorted([*train, *tune, *val], key=both.index) == both  # what is reported is not what is chosen on


def test_official_splits_of_videos_are_kept(tmp_path: Path) -> None:
    for video in ("bear", "surf"):
        for i in range(6):
            for part in ("JPEGImages", "Annotations"):
                (tmp_path / part / video).mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((20, 24), 255, np.uint8)).save(tmp_path / part / video / f"{i:05d}.png")
    assert {len(data.scenes(tmp_path, split)) for split in ("test", "all")} == {12}
    (tmp_path / "ImageSets").mkdir()
    for split, video in (("train", "bear"), ("val", "surf")):
        (tmp_path / "ImageSets" / f"{split}.txt").write_text(f"{video}\n")
        assert [s.group for s in data.scenes(tmp_path, split)] == [f"davis/{video}"] * 6
    with pytest.raises(ValueError, match="davis has the splits train, val, not 'test'"):
        data.scenes(tmp_path, "test")
    tmp_path.joinpath("ImageSets").rename(tmp_path / "lists")
    # In a collection the test videos are evaluated on, every fifth frame; the others are trained on.
    collection = tmp_path.parent / f"{tmp_path.name}-collection"
    own_folder(collection / "mine", "abc")
    (collection / "davis16").symlink_to(tmp_path)
    assert [s.image.stem for s in data.scenes(collection, "test")] == ["00000", "00005"] * 2
    assert {s.source for s in data.scenes(collection, "train")} == {"folder"}
