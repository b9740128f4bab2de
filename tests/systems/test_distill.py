"""Picture classification: data and label noise, views, metrics, bad input, training on a folder, the table's runner."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import percepta
from percepta import checkpoint, weights
from percepta import train as training
from percepta.media.image import crop_square
from percepta.nn import selfdistill
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.report import Curves, Gallery, Page
from percepta.systems.distill import CIFAR10, PRESETS, SIGNS, Config, demo, evaluate, task
from percepta.systems.distill.check import check
from percepta.systems.distill.data import Pool, TrainingSet, kept_back, mislabel, pool, unit
from percepta.systems.distill.model import Classifier
from percepta.systems.distill.predict import Distill, classify
from percepta.systems.distill.world import signs
from percepta.train import train

TINY = PRESETS["tiny"]


def short(config: Config, steps: int = 3, batch: int = 4, **more: Any) -> Config:
    return replace(config, train=replace(config.train, steps=steps, batch_size=batch, log_every=1, warmup=0), **more)


def folder(
    root: Path, classes: tuple[str, ...] = ("blue", "red"), count: int = 6, splits: tuple[str, ...] = ()
) -> Path:
    """Pictures of one colour a class, of many shapes."""
    rng = np.random.default_rng(0)
    for split in splits or ("",):
        for number, name in enumerate(classes):
            where = root / split / name
            where.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 90, (20 + i, 30, 3), np.uint8)
                pixels[..., 2 - 2 * number] += 150
                Image.fromarray(pixels).save(where / f"{split}{i}.png")
    return root


# ------------------------------------------------------------------------------------------------- label noise


@given(
    st.integers(2, 20), st.floats(0, 1), st.sampled_from(["symmetric", "pair"]), st.integers(0, 99), st.integers(1, 50)
)
def test_noise_follows_from_seed_and_index(count: int, share: float, kind: str, seed: int, cut: int) -> None:
    labels = np.random.default_rng(1).integers(0, count, 60)
    noisy = mislabel(labels, count, share, kind, seed)
    assert np.array_equal(noisy, mislabel(labels, count, share, kind, seed))
    assert np.array_equal(noisy[:cut], mislabel(labels[:cut], count, share, kind, seed)), "pictures that follow matter"
    other = labels.copy()
    other[cut:] = 0
    assert np.array_equal(noisy[:cut], mislabel(other, count, share, kind, seed)[:cut]), "other labels matter"
    assert noisy.min() >= 0 and noisy.max() < count
    more = mislabel(labels, count, min(1.0, share + 0.2), kind, seed)
    assert ((noisy != labels) <= (more != labels)).all(), "what is wrong stays wrong when more is"


def test_noise_has_its_share_and_its_kind() -> None:
    labels = np.arange(40_000) % 10
    symmetric, pair = (mislabel(labels, 10, 0.4, kind, 3) for kind in ("symmetric", "pair"))
    for noisy in (symmetric, pair):
        assert abs((noisy != labels).mean() - 0.4) < 0.01
    assert set((pair - labels) % 10) == {0, 1}
    moved = np.bincount((symmetric - labels) % 10, minlength=10)[1:] / len(labels)
    assert np.allclose(moved, 0.4 / 9, atol=0.005), "every other class with the same chance"
    assert not np.array_equal(mislabel(labels, 10, 0.4, "symmetric", 4), symmetric)
    assert np.array_equal(mislabel(labels, 10, 0.0, "pair", 3), labels)
    assert (mislabel(labels, 10, 1.0, "symmetric", 3) != labels).all()


def test_only_training_labels_are_wrong() -> None:
    noisy = replace(TINY, noise=0.5)
    for split in ("train", "val", "test"):
        found = pool(noisy, split, None)
        assert ((found.labels != found.truth).mean() > 0.4) == (split == "train")
        assert np.array_equal(found.truth, pool(TINY, split, None).labels)


def test_the_label_of_a_picture_stays_whatever_part_of_the_data_is_taken() -> None:
    whole, part = (pool(replace(TINY, noise=0.4, samples=n), "train", None) for n in (0, 100))
    known = dict(zip(whole.names, whole.labels, strict=True))
    assert len(part) == 100 and [known[name] for name in part.names] == part.labels.tolist()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0, 0.95), st.integers(0, 9))
def test_what_is_kept_back_is_a_share_of_every_class(labels: list[int], share: float, seed: int) -> None:
    array = np.array(labels, np.int64)
    held = kept_back(array, share, seed)
    assert np.array_equal(held, kept_back(array, share, seed))
    for number in set(labels):
        n, kept = int((array == number).sum()), int(held[array == number].sum())
        assert kept < n, "something is left to train on"
        assert kept == 0 or share > 0
        assert kept >= 1 or share == 0 or n == 1
        assert abs(kept - share * n) <= 1


# ------------------------------------------------------------------------------------------------------- views


def world(method: str = "dlb", side: int = 16, n: int = 12) -> TrainingSet:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(1, 256, (n, 3, side, side), np.uint8))
    labels = np.arange(n) % 3
    return TrainingSet(Pool(pixels, labels, labels, [str(i) for i in range(n)]), method, seed=5)


def test_views_are_crops_of_the_picture_with_a_border_half_of_them_mirrored() -> None:
    """Against a search over all places, picture by picture; both kinds and many places come up."""
    data = world(side=16)
    border, seen, mirrored = 2, set(), []
    for epoch in range(12):
        keys = [(epoch, i) for i in range(len(data))]
        batch = data.collate(keys)
        for name in ("first", "second"):
            for index, view in enumerate(batch[name]):
                padded = torch.nn.functional.pad(data.pool.pixels[index], [border] * 4)
                places = [
                    (y, x, flip)
                    for y in range(2 * border + 1)
                    for x in range(2 * border + 1)
                    for flip in (False, True)
                    if torch.equal(_window(padded, y, x, flip), view)
                ]
                assert len(places) == 1
                seen.add(places[0][:2])
                mirrored.append(places[0][2])
    assert len(seen) == (2 * border + 1) ** 2 and 0.4 < np.mean(mirrored) < 0.6


def _window(padded: torch.Tensor, y: int, x: int, flip: bool) -> torch.Tensor:
    cut = padded[:, y : y + 16, x : x + 16]
    return cut.flip(-1) if flip else cut


@pytest.mark.parametrize("method", selfdistill.METHODS)
def test_all_methods_get_the_same_first_views(method: str) -> None:
    keys = [(2, 3), (2, 7), (3, 3)]
    batch, plain = world(method).collate(keys), world("none").collate(keys)
    assert torch.equal(batch["first"], plain["first"]) and torch.equal(batch["label"], plain["label"])
    assert set(selfdistill.needs(method)) <= set(batch)
    if "second" in batch:
        assert torch.equal(batch["second"], world("dlb").collate(keys)["second"])
        assert not torch.equal(batch["second"], batch["first"])
    assert not torch.equal(batch["first"][0], batch["first"][2]), "another epoch, another view"


def test_a_view_does_not_depend_on_the_batch_it_is_in() -> None:
    data = world()
    together, alone = data.collate([(1, 4), (1, 9)]), data.collate([(1, 9)])
    assert torch.equal(together["second"][1], alone["second"][0])


def test_partners_are_other_pictures_of_the_same_given_label() -> None:
    data = world("cskd")
    partners = {(i, data._partner(i, draw)) for i in range(12) for draw in np.linspace(0, 0.999, 40)}
    expected = {(i, j) for i in range(12) for j in range(12) if i != j and i % 3 == j % 3}
    assert partners == expected
    lonely = Pool(data.pool.pixels[:2], np.array([0, 1]), np.array([0, 1]), ["a", "b"])
    assert TrainingSet(lonely, "cskd")._partner(1, 0.5) == 1


def test_a_batch_is_ready_for_fast_convolutions() -> None:
    first = world().collate([(0, 0), (0, 1)])["first"]
    assert first.is_contiguous(memory_format=torch.channels_last) and first.dtype == torch.uint8


# ----------------------------------------------------------------------------------------------------- metrics


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(2, 6))
def test_calibration_error_by_its_definition(seed: int, n: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), n)
    labels = rng.integers(0, classes, n)
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for m in range(15):
        inside = (sure > m / 15) & (sure <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert evaluate.calibration_error(sure, right) == pytest.approx(expected, abs=1e-12)


def test_metrics_by_hand() -> None:
    probabilities = np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1], [0.7, 0.3]])
    found = evaluate.metrics(probabilities, np.array([0, 1, 1, 0]), ("a", "b"))
    assert found["accuracy"].value == 0.75 and found["accuracy"].baselines == {"most frequent class": 0.5}
    assert found["NLL"].value == pytest.approx(-np.log([0.8, 0.6, 0.1, 0.7]).mean())
    assert found["NLL"].baselines["class shares"] == pytest.approx(np.log(2))
    assert found["ECE"].value == pytest.approx((0.2 + 0.4 + 0.9 + 0.3) / 4)
    assert (found["accuracy a"].value, found["accuracy b"].value) == (1.0, 0.5)
    with pytest.raises(ValueError, match="no pictures"):
        evaluate.answers(task.build(TINY), [])


class Known(Classifier):
    """A classifier that gives known answers, picture after picture."""

    def __init__(self, probabilities: np.ndarray) -> None:
        super().__init__(TINY)
        self.rows, self.place = torch.from_numpy(np.log(probabilities.clip(1e-300))), 0

    def forward(self, image: torch.Tensor) -> selfdistill.Answer:
        self.place += len(image)
        rows = self.rows[self.place - len(image) : self.place]
        return selfdistill.Answer(rows, rows)


def batches(pixels: torch.Tensor, labels: np.ndarray, size: int = 7) -> list[dict[str, Any]]:
    places = torch.arange(len(labels)).split(size)
    rows = zip(pixels.split(size), torch.from_numpy(labels).split(size), places, strict=True)
    return [{"image": image, "label": label, "name": [f"{i}.png" for i in place]} for image, label, place in rows]


@pytest.mark.parametrize("classes", [("a", "b"), tuple(f"class {i}" for i in range(40))])
def test_the_page_shows_mistakes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(len(classes)), 50)
    labels = rng.integers(0, len(classes), 50)
    pixels = torch.from_numpy(rng.integers(0, 256, (50, 3, 8, 8), np.uint8))
    found = evaluate.answers(Known(probabilities), batches(pixels, labels), 5)
    assert np.allclose(found.probabilities, probabilities) and np.array_equal(found.labels, labels)
    blocks = evaluate.blocks(found, classes, 5)
    html = Page("t", blocks).html()
    assert html.count("<img") == 2 + 5 and "Most frequent mistakes" in html
    surest = max((p.max(), i) for i, p in enumerate(probabilities) if p.argmax() != labels[i])[1]
    name = classes[int(probabilities[surest].argmax())]
    last = blocks[-1]
    assert isinstance(last, Gallery) and len(last.pictures) == 5
    assert last.pictures[0][1].startswith(f"{surest}.png: {name} ("), "the surest mistake comes first"
    assert torch.equal(found.mistakes[0].pixels, pixels[surest]), "with its own picture"
    perfect = evaluate.answers(Known(np.eye(2)), batches(pixels[:2], np.array([0, 1])), 5)
    assert "Most frequent mistakes" not in Page("t", evaluate.blocks(perfect, ("a", "b"), 5)).html()


def test_the_confusion_matrix_paints_its_cells() -> None:
    drawn = np.asarray(evaluate.confusion(np.array([[9, 0], [9, 0]]), ("a", "b"))).astype(int)
    left = drawn.shape[1] - 2 * 54 - 8
    corner = [[drawn[10 + 54 * row, left + 2 + 54 * column] for column in range(2)] for row in range(2)]
    assert corner[0][0][2] > corner[0][0][0] + 50, "right answers are blue"
    assert corner[1][0][0] > corner[1][0][2] + 50, "wrong ones are red"
    assert corner[0][1].min() > 240 and corner[1][1].min() > 240


# ------------------------------------------------------------------------------------------ the synthetic world


def test_signs_are_balanced_and_disjoint() -> None:
    for split in ("train", "val", "test"):
        pixels, labels = signs(16, split)
        assert len(set(np.bincount(labels))) == 1 and pixels.shape == (len(labels), 3, 16, 16)
        again, _ = signs(16, split)
        assert np.array_equal(pixels, again)
    assert not np.array_equal(signs(16, "val")[0], signs(16, "test")[0][:256])
    with pytest.raises(ValueError, match="train, val, test"):
        signs(16, "all")


def test_signs_look_the_same_in_a_mirror() -> None:
    """Mirrored views may not turn one class into another: in the middle, a sign is its own mirror image."""
    from percepta.systems.distill.world import _figure

    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    for sign in SIGNS[3:]:
        assert np.array_equal(_figure(sign, x, y), _figure(sign, -x, y)), sign


# ---------------------------------------------------------------------------------------------- folders, errors


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, text in (
        ({"noise": 1.2}, "noise is a share"), ({"classes": ("a",)}, "at least two"), ({"temperature": 0.0}, "above 0"),
        ({"alpha": -1.0}, "alpha cannot"), ({"held_out": 1.0}, "nothing to train on"), ({"size": 2}, "4 pixels"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            replace(TINY, **wrong)


def test_a_folder_with_other_classes_says_what_to_do(tmp_path: Path) -> None:
    root = folder(tmp_path)
    with pytest.raises(ValueError, match=r"classes blue, red, the network airplane.*--classes blue red"):
        task.data(PRESETS["small"], "train", root)
    config = task.fit_config(PRESETS["small"], root)
    assert config.classes == ("blue", "red") and len(task.data(config, "train", root)) == 10
    assert task.fit_config(TINY, None) == TINY


def test_too_many_samples_and_no_validation_are_said(tmp_path: Path) -> None:
    config = task.fit_config(replace(TINY, samples=99), folder(tmp_path))
    with pytest.raises(ValueError, match="there are only 10"):
        task.data(config, "train", tmp_path)
    empty = task.data(replace(config, held_out=0.0), "val", tmp_path)
    assert len(empty) == 0
    with pytest.raises(ValueError, match="held_out 0"):
        training.Evaluator("distill", replace(config, held_out=0.0), task.build(config))(tmp_path, examples=4)
    with pytest.raises(ValueError, match="'dev'"):
        task.data(config, "dev", tmp_path)


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        ((), {"train": 10, "val": 2, "test": 12, "all": 12}),
        (("train", "test"), {"train": 10, "val": 2, "test": 12, "all": 12}),
        (("train", "val"), {"train": 12, "val": 12, "test": 12, "all": 12}),
        (("train", "val", "test"), {"train": 12, "val": 12, "test": 12, "all": 12}),
    ],
)
def test_splits_of_a_folder(tmp_path: Path, splits: tuple[str, ...], sizes: dict[str, int]) -> None:
    config = task.fit_config(TINY, folder(tmp_path, splits=splits))
    found = {split: pool(config, split, tmp_path) for split in sizes}
    assert {split: len(part) for split, part in found.items()} == sizes
    assert not set(found["train"].names) & set(found["val"].names)
    if "test" in splits:
        assert not set(found["train"].names) & set(found["test"].names)


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "red" / "3.png").write_bytes(b"no picture")
    config = task.fit_config(TINY, root)
    with pytest.warns(UserWarning, match=r"left out.*red/3\.png"):
        left = task.data(config, "all", root)
    with pytest.raises(ValueError, match=r"red/3\.png"):
        task.data(replace(config, train=replace(config.train, strict=True)), "all", root)
    assert left is not None


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    root = folder(tmp_path, splits=("train", "test"))
    assert check(root).ok and check(root).counts["train: red"] == 6
    assert min(check(root).sheet().size) > 50
    (root / "train" / "red" / "0.png").write_bytes(b"")
    twin = root / "test" / "blue" / "copy.png"
    twin.write_bytes((root / "train" / "blue" / "train1.png").read_bytes())
    told: list[tuple[int, int]] = []
    found = check(root, progress=lambda done, total: told.append((done, total)))
    texts = [str(problem) for problem in found.problems]
    assert any("0.png" in text and "empty" in text for text in texts)
    assert any("copy.png" in text and "must not be in test" in text for text in texts) and len(texts) == 2
    assert not found.ok and "Mend this first" in found.text() and told[-1] == (26, 26)
    for i in range(80):
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(root / "train" / "red" / f"more{i}.png")
    assert any("each class's accuracy" in str(row) for row in check(root).warnings)


def test_the_check_reads_cifar(shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    found = check(shared_data / "cifar10")
    assert found.ok and found.counts == {"classes": 10, "train": 25_000, "test": 10_000}
    assert min(found.sheet().size) > 50


def test_cifar_is_cut_by_the_seed(shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    root, config = shared_data / "cifar10", replace(PRESETS["resnet20"], held_out=0.1, samples=10_000, noise=0.2)
    train_set, val = pool(config, "train", root), pool(config, "val", root)
    assert (len(train_set), len(val)) == (10_000, 2_500)
    assert not set(train_set.names) & set(val.names)
    assert abs((train_set.labels != train_set.truth).mean() - 0.2) < 0.02
    assert np.bincount(val.labels).tolist() == [250] * 10


# ------------------------------------------------------------------------------------------- model, use, training


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_and_takes_bytes(preset: str) -> None:
    config = PRESETS[preset]
    model = task.build(config).eval()
    pixels = torch.zeros(2, 3, config.size, config.size, dtype=torch.uint8)
    with torch.no_grad():
        answer = model(unit(pixels))
    last = model.image.classifier if preset == "imagenet" else model.head
    assert answer.logits.shape == (2, len(config.classes)) and answer.features.shape[1] == last.in_features


def test_small_pictures_are_brought_to_the_networks_size() -> None:
    torch.manual_seed(0)
    model = task.build(replace(TINY, size=32)).eval()
    small = torch.rand(1, 3, 16, 16)
    big = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear")
    with torch.no_grad():
        assert torch.allclose(model(small).logits, model(big).logits, atol=1e-5)


def test_the_middle_square_is_looked_at() -> None:
    picture = torch.zeros(3, 10, 30)
    picture[:, :, 10:20] = 1
    assert crop_square(picture, 10).min() == 1
    assert crop_square(picture.transpose(1, 2), 20).min() == 1


def test_results_are_saved_with_their_probabilities(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = task.build(TINY).eval()
    result = classify(model, [torch.rand(3, 40, 50)])[0]
    assert result.label in SIGNS and result.score == result.probability.max()
    assert result.probability.sum() == pytest.approx(1, abs=1e-5)
    result.save(tmp_path / "x.png")
    row = json.loads((tmp_path / "x.json").read_text())
    assert row["label"] == result.label and set(row["probability"]) == set(SIGNS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.png"]


@pytest.mark.parametrize("method", selfdistill.METHODS)
def test_every_method_trains_and_resumes_to_the_bit(method: str, tmp_path: Path) -> None:
    """Over the end of an epoch, where a mini-batch is remembered across."""
    config: Any = short(replace(TINY, self_distill=method, samples=10), steps=5)  # type: ignore[arg-type]
    config = replace(config, train=replace(config.train, checkpoint_every=3))

    class EnoughError(Exception):
        pass

    def stop(done: int, total: int, values: dict[str, float]) -> None:
        if done == 4:
            raise EnoughError

    straight = train("distill", config, out=tmp_path / "a", device="cpu")
    with pytest.raises(EnoughError):
        train("distill", config, out=tmp_path / "b", device="cpu", progress=stop)
    resumed = train("distill", config, out=tmp_path / "b", device="cpu")
    a, b = checkpoint.read(straight)[1], checkpoint.read(resumed)[1]
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_training_on_a_folder_from_lite0(tmp_path: Path) -> None:
    """From folder over a network that starts at ImageNet to an answer and a page; the mean colour is enough here."""
    root = folder(tmp_path / "data", count=8)
    config = task.fit_config(replace(PRESETS["small"], size=32, frozen_blocks=16), root)
    config = replace(config, train=replace(config.train, steps=12, batch_size=4, warmup=0, lr=5e-3, ema=0.0))
    system = percepta.load(train("distill", config, root=root, out=tmp_path / "run", device="cpu"), device="cpu")
    assert system.predict(root / "red" / "3.png").label == "red"
    assert system.predict(root / "blue" / "3.png").label == "blue"
    found = system.evaluate(root, split="all", batch_size=4, examples=3)
    assert "Where it is wrong" in Page("t", list(found.blocks)).html()
    assert max(len(block.pictures) for block in found.blocks if isinstance(block, Gallery)) <= 3
    fresh = percepta.load(tmp_path / "run", device="cpu")
    assert fresh.config.classes == ("blue", "red")
    assert fresh.evaluate(root, split="all", batch_size=5).metrics["accuracy"].value > 0.9


def test_the_demo_runs_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STEPS", 4)
    monkeypatch.setattr(demo, "EVERY", 2)
    blocks = demo.demo(lambda name: None)
    curves = next(block for block in blocks if isinstance(block, Curves))
    assert {name: [step for step, _ in points] for name, points in curves.series.items()} == {
        "cross-entropy": [2, 4], "DLB": [2, 4],
    }  # fmt: skip
    assert "<svg" in Page("t", blocks).html()


# --------------------------------------------------------------------------------------------- the table's runner


@pytest.fixture(scope="module")
def table() -> Iterator[ModuleType]:
    path = Path(__file__).parents[2] / "benchmarks" / "ablations" / "distill_table.py"
    spec = importlib.util.spec_from_file_location("distill_table", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["distill_table"] = module  # its dataclasses look themselves up there
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # as where a script is run: it imports a file beside it
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_shares_cover_the_table_once_and_evenly(table: ModuleType, parts: int) -> None:
    every = table.jobs(table.METHODS, (0.0, 0.4), (0, 1, 2))
    shares = [table.share(every, part, parts) for part in range(parts)]
    assert sorted(job.name for mine in shares for job in mine) == sorted(job.name for job in every)
    loads = [sum(job.cost for job in mine) for mine in shares]
    assert max(loads) - min(loads) <= 2


def test_all_methods_have_the_same_budget(table: ModuleType) -> None:
    args = table.arguments(["--data", "x"])
    made = {job.method: table.settings(job, args) for job in table.jobs(table.METHODS, (0.2,), (1,))}
    assert made["views"] == replace(made["dlb"], self_distill="views")
    assert made["equal"].train.steps == 2 * made["none"].train.steps == 6250
    assert {c.train.steps for name, c in made.items() if name not in table.ROWS} == {3125}
    for half, whole in (("views half", "views"), ("dlb half", "dlb")):  # as many pictures in twice as many updates
        assert (made[half].train.steps, made[half].train.batch_size) == (6250, 32)
        assert made[half].self_distill == made[whole].self_distill
        assert made[half].train.steps * made[half].train.batch_size == 3125 * 64
    assert all(c.noise_seed == c.train.seed == 1 and c.classes == CIFAR10 for c in made.values())


def test_the_table_is_filled_and_goes_on(table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path), "--preset", "tiny", "--samples", "16", "--epochs", "1", "--batch", "8"]
    words += ["--noise", "0.4", "--methods", "views", "dlb"]
    threads = torch.get_num_threads()
    table.main([*words, "--seeds", "0"])
    first = (tmp_path / "dlb-noise40-seed0" / "result.json").read_text()
    table.main([*words, "--seeds", "0", "1"])
    torch.set_num_threads(threads)
    assert (tmp_path / "dlb-noise40-seed0" / "result.json").read_text() == first
    found = json.loads((tmp_path / "table.json").read_text())
    rows = {(r["job"]["method"], r["job"]["seed"]): r["NLL"] for r in found["runs"]}
    gaps = [rows["dlb", seed] - rows["views", seed] for seed in (0, 1)]
    mean, low, high, seeds = found["differences"]["0.4"]["dlb - views"]["NLL"]
    assert mean == pytest.approx(np.mean(gaps)) and seeds == 2
    # two values: half the interval is 12.706 times half their distance
    assert high - low == pytest.approx(2 * 12.7062 * abs(gaps[0] - gaps[1]) / 2, rel=1e-3)
    assert "| 40% | dlb |" in (tmp_path / "table.md").read_text()
    with pytest.raises(ValueError, match="other settings"):
        table.main([*words, "--seeds", "0", "--alpha", "2"])
    # The table alone is enough to go on from: nothing is trained again.
    again = tmp_path / "again"
    words[1], known = str(again), ["--known", str(tmp_path / "table.json")]
    table.main([*words, *known, "--seeds", "0", "1"])
    torch.set_num_threads(threads)
    assert json.loads((again / "table.json").read_text()) == found
    assert [path.name for path in (again / "dlb-noise40-seed0").iterdir()] == ["result.json"]
    (tmp_path / "odd.json").write_text("[]")
    with pytest.raises(ValueError, match=r"odd\.json: expected a table\.json"):
        table.main([*words, "--known", str(tmp_path / "odd.json")])
    capsys.readouterr()


def test_without_a_folder_the_table_does_nothing(table: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    table.main([])
    assert "--out" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        table.arguments(["--share", "3/2"])
    assert "from 1 to n" in capsys.readouterr().err


def test_what_ships_is_typed_can_be_sent_around_and_names_its_weights(tmp_path: Path) -> None:
    system = percepta.load("distill", device="cpu")
    assert type(system) is Distill and system.model.weights_hash
    result = pickle.loads(pickle.dumps(system)).predict(torch.rand(3, 40, 50))
    assert result.weights == system.model.weights_hash
    result.save(tmp_path / "a.png")
    assert json.loads((tmp_path / "a.json").read_text())["weights"] == result.weights


# ------------------------------------------------------------------------------------------------- ImageNet, unsure


def test_imagenet_answers_as_its_encoder_does() -> None:
    system = percepta.load("distill", preset="imagenet", device="cpu")
    assert len(system.config.classes) == len(set(system.config.classes)) == 1000
    picture = np.random.default_rng(0).integers(0, 255, (300, 260, 3), np.uint8)
    result = system.predict(picture)
    encoder = EfficientNetLite0()
    encoder.read(weights.files("efficientnet-lite0")[0])
    with torch.inference_mode():
        expected = encoder.eval().classify(crop_square(picture, 224)[None]).softmax(1)[0].numpy()
    assert np.allclose(result.probability, expected, atol=1e-5)
    assert result.label == system.config.classes[int(expected.argmax())]
    assert len(result.to_dict()["probability"]) == 100


def test_an_answer_below_the_level_is_unsure() -> None:
    config = short(TINY, classes=("a", "b"), unsure_below=0.9)
    model = Classifier(config).eval()
    torch.nn.init.zeros_(model.head.weight)
    for logit, sure in ((0.0, False), (4.0, True)):
        with torch.no_grad():
            model.head.bias.copy_(torch.tensor([logit, 0.0]))
        result = classify(model, [np.zeros((20, 20, 3), np.uint8)])[0]
        assert result.sure == sure and result.to_dict()["sure"] == sure
        assert result.text.startswith("unsure (a") == (not sure)
        assert result.draw().size == (512, 256)


@given(st.floats(0.01, 1), st.integers(1, 40), st.integers(0, 99))
def test_accuracy_where_sure_is_that_of_the_answers_above_the_level(level: float, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability, label = rng.dirichlet(np.ones(3), count), rng.integers(0, 3, count)
    kept = [int(p.argmax()) == k for p, k in zip(probability, label, strict=True) if p.max() >= level]
    found = evaluate.when_sure(probability, label, level)
    assert found["sure"].value == pytest.approx(len(kept) / count)
    assert ("accuracy where sure" in found) == bool(kept)
    assert not kept or found["accuracy where sure"].value == pytest.approx(np.mean(kept))


def test_training_from_imagenet_takes_the_classes_of_the_data(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    config = short(PRESETS["imagenet"], steps=1, size=32)
    train("distill", config, root=root, out=tmp_path / "run", device="cpu")
    system = percepta.load(tmp_path / "run", system="distill", device="cpu")
    assert system.config.classes == ("blue", "red") and system.config.net == "lite0"
    assert system.config.unsure_below == 0, "the level belongs to the thousand classes"
