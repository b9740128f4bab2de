"""Street segmentation: its parts against slow and obvious references, its laws, its answers and its bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import percepta
from percepta.contract import Step
from percepta.datasets.street_pictures import CAMVID, CITYSCAPES, IDD_LITE, LABEL_SETS, MERGED, VOID, merging
from percepta.errors import InputError
from percepta.media.source import answers
from percepta.systems.weather import PRESETS, Adaptation, Config, adapt, align, augment, data, losses, world
from percepta.systems.weather.model import build, exposed
from percepta.systems.weather.predict import Weather, bonnet_of
from percepta.systems.weather.windows import OVERLAP, WINDOW, probabilities, starts
from percepta.train import Evaluator

TINY = PRESETS["tiny"]
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=15, deadline=None)


@pytest.fixture(scope="module")
def system() -> Weather:
    torch.manual_seed(0)
    network = build(TINY).eval()
    return Weather(TINY, network, "", Evaluator("weather", TINY, network), answers)


# --------------------------------------------------------------------------------------------------- label sets


def test_every_class_of_a_set_belongs_to_at_least_one_of_another() -> None:
    for (own, other), parts in MERGED.items():
        assert set(parts) <= set(LABEL_SETS[other].classes)
        named = {name for names in parts.values() for name in names}
        assert named == set(LABEL_SETS[own].classes), (own, other)
        assert merging(LABEL_SETS[own], LABEL_SETS[other]).sum() == sum(len(names) for names in parts.values())
    with pytest.raises(InputError, match="cannot be compared"):
        merging(IDD_LITE, CAMVID)


# ----------------------------------------------------------------------------------------------------- the losses


@few
@given(seeds)
def test_a_merged_class_has_the_sum_of_its_parts_probabilities(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, len(CAMVID), 2, 3, generator=generator)
    labels = torch.randint(0, len(IDD_LITE), (1, 8, 12), generator=generator)
    labels[0, 0, :3] = VOID
    found = losses.cross_entropy(logits, labels, [tuple(LABEL_SETS).index("idd-lite")], "camvid")[0]
    large = torch.nn.functional.interpolate(logits, (8, 12), mode="bilinear").softmax(1)[0]
    for y in range(8):
        for x in range(12):
            number = int(labels[0, y, x])
            if number == VOID:
                assert found[y, x] == 0
                continue
            parts = MERGED["camvid", "idd-lite"][IDD_LITE.classes[number]]
            sure = sum(float(large[CAMVID.number(name), y, x]) for name in parts)
            assert float(found[y, x]) == pytest.approx(-np.log(sure), abs=1e-4)


def test_the_network_s_own_classes_have_the_usual_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 11, 4, 6, generator=generator)
    labels = torch.randint(0, 11, (2, 16, 24), generator=generator)
    own = tuple(LABEL_SETS).index("camvid")
    mixed = losses.cross_entropy(logits, labels.clamp(max=6), [own, tuple(LABEL_SETS).index("idd-lite")], "camvid")
    plain = losses.cross_entropy(logits, labels.clamp(max=6), [own, own], "camvid")
    assert torch.allclose(mixed[0], plain[0]) and not torch.allclose(mixed[1], plain[1])


# -------------------------------------------------------------------------------------------------- self-training


def test_the_teacher_is_the_average_that_daformer_writes() -> None:
    """w_t ← a w_t + (1 − a) w with a = min(1 − 1 / (n + 1), decay), by hand over five steps."""
    layer, memory, decay = torch.nn.Linear(2, 1, bias=False), {}, 0.7
    by_hand = None
    for step in range(5):
        with torch.no_grad():
            layer.weight.fill_(float(step) ** 2)
        teacher = adapt.moved_teacher(layer, memory, decay)
        share = min(1 - 1 / (step + 1), decay)
        by_hand = step**2 if by_hand is None else share * by_hand + (1 - share) * step**2
        assert float(teacher["weight"][0, 0]) == pytest.approx(by_hand)


@few
@given(seeds, st.floats(0.2, 0.95))
def test_a_picture_weighs_by_its_share_of_sure_pixels(seed: int, threshold: float) -> None:
    probability = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(1)
    label, weight = adapt.pseudo_labels(probability, threshold, False)
    for i in range(2):
        sure = [float(probability[i, :, y, x].max()) > threshold for y in range(5) for x in range(6)]
        assert torch.allclose(weight[i], torch.tensor(sum(sure) / 30))
    assert torch.equal(label, probability.argmax(1))
    _, each = adapt.pseudo_labels(probability, threshold, True)
    assert torch.equal(each.mean((1, 2)), weight[:, 0, 0])


@few
@given(seeds)
def test_half_of_the_classes_are_pasted_whole(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 7, (3, 9, 9), generator=generator)
    labels[:, 0] = VOID
    mask = adapt.half_of_the_classes(labels, generator)
    for one, chosen in zip(labels, mask, strict=True):
        inside, outside = set(one[chosen].tolist()), set(one[~chosen].tolist()) - {VOID}
        assert not inside & outside and VOID not in inside
        there = len(set(one.flatten().tolist()) - {VOID})
        assert len(inside) == (there + 1) // 2
    above, below = torch.rand(3, 3, 9, 9), torch.rand(3, 3, 9, 9)
    mixed = adapt.mixed(mask, above, below)
    assert torch.equal(mixed[mask[:, None].expand_as(mixed)], above[mask[:, None].expand_as(mixed)])
    assert torch.equal(mixed[~mask[:, None].expand_as(mixed)], below[~mask[:, None].expand_as(mixed)])


def test_features_are_compared_where_three_quarters_are_things() -> None:
    now, then = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    things = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    things[0, 0, :3, :4] = True  # 12 of 16 pixels of the first place
    things[0, 0, 4:6, 4:] = True  # half of the last, and the other half another thing
    things[0, 1, 6:, 4:] = True
    assert float(adapt.feature_distance(now, then, things)) == pytest.approx(float((now - then)[0, :, 0, 0].norm()))
    assert float(adapt.feature_distance(now, then, torch.zeros_like(things))) == 0


def batch_of(config: Config, count: int = 2) -> dict[str, Any]:
    views = world.Views(config, "train")
    return views.collate([views[(0, i)] for i in range(count)])


def test_looking_only_leaves_every_module_as_it_was() -> None:
    network = build(TINY).train()
    network.image.eval()
    before = [module.training for module in network.modules()]
    with adapt.looking_only(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == before


@pytest.mark.parametrize(
    "change",
    [
        {"class_mix": False},
        {"pixel_weights": True},
        {"feature_distance": 0.1},
        {"reference_weight": 0.5},
        {"jitter": 0.0},
    ],
)
def test_every_part_of_the_adaptation_can_be_switched(change: dict[str, Any]) -> None:
    torch.manual_seed(1)
    config = replace(TINY, adaptation=replace(TINY.adaptation, begins=0.0, **change))
    network, batch = build(config).train(), batch_of(config)
    memory: dict[str, Any] = {}
    found = losses.loss(network, batch, Step(0, 0, torch.Generator().manual_seed(0), memory))
    found["loss"].backward()
    assert np.isfinite(found["loss"].item()) and "target" in found and "teacher" in memory
    assert ("distance" in found) == ("feature_distance" in change)
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


def test_the_teacher_begins_when_it_is_said() -> None:
    config = replace(TINY, adaptation=replace(TINY.adaptation, begins=0.5))
    network, batch = build(config).train(), batch_of(config)
    for number, taught in ((0, False), (config.train.steps // 2, True)):
        memory: dict[str, Any] = {}
        found = losses.loss(network, batch, Step(number, 0, torch.Generator().manual_seed(0), memory))
        assert ("target" in found) == taught == ("teacher" in memory)


def test_without_labels_targets_teach_each_other() -> None:
    network, batch = build(TINY).train(), batch_of(TINY)
    only = {name: batch[name] for name in ("target", "weight")}
    found = losses.loss(network, only, Step(0, 0, torch.Generator().manual_seed(0), {}))
    assert "labelled" not in found and found["loss"].requires_grad


# ------------------------------------------------------------------------------------------------------ alignment


def test_a_homography_is_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.tensor([[1.04, 0.02, -1.5], [-0.01, 0.98, 0.8], [0.0004, -0.0002, 1.0]])
    a = torch.rand(40, 2, generator=generator) * torch.tensor([60.0, 40.0])
    moved = torch.cat([a, torch.ones(40, 1)], 1) @ true.T
    assert torch.allclose(align.fitted(a, moved[:, :2] / moved[:, 2:]), true, atol=1e-3)


def test_a_shifted_picture_is_brought_back() -> None:
    """Features of a picture and of the same one four places to the right: values come back to where they were."""
    generator = torch.Generator().manual_seed(2)
    wide = torch.randn(16, 24, 40, generator=generator)
    here, there = wide[:, :, 4:36], wide[:, :, :32]
    found = align.homography(here, there)
    assert found is not None
    assert torch.allclose(found, torch.tensor([[1.0, 0, 4], [0, 1, 0], [0, 0, 1]]), atol=1e-2)
    values = torch.rand(3, 48, 80, generator=generator)
    back, inside = align.warped(values[:, :, :64], found, (24, 32))
    assert torch.allclose(back[:, :, :56], values[:, :, 8:64], atol=1e-2) and bool(inside[:, :56].all())
    assert not bool(inside[:, 57:].any())
    assert (
        align.homography(torch.randn(16, 8, 8, generator=generator), torch.randn(16, 8, 8, generator=generator)) is None
    )


# ---------------------------------------------------------------------------------------------------- augmentation


@few
@given(seeds, st.booleans(), st.floats(0.4, 2.0))
def test_picture_and_labels_are_cut_alike(seed: int, mirrored: bool, scale: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 11, (30, 44)).astype(np.uint8)
    pixels = np.repeat(labels[..., None] * 20, 3, -1)
    height, width = round(20 / scale), round(28 / scale)
    top, left = (
        int(rng.integers(*sorted((0, side - part)), endpoint=True)) for side, part in ((30, height), (44, width))
    )
    cut = augment.Cut(top, left, height, width, mirrored)
    same = cut.labels(labels, (height, width))
    picture = cut.picture(pixels, (height, width))
    inside = same != VOID
    assert np.array_equal(np.round(picture[0].numpy() * 255 / 20)[inside], same[inside])
    assert (~inside).sum() == height * width - min(30, height) * min(44, width)


@few
@given(seeds)
def test_jitter_keeps_the_range_and_follows_from_the_generator(seed: int) -> None:
    pictures = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(seed))
    one, two = (augment.jittered(pictures, 0.3, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(one, two) and float(one.min()) >= 0 and float(one.max()) <= 1
    assert torch.equal(augment.jittered(pictures, 0.0, torch.Generator()), pictures)
    turned = augment.hue_turned(pictures[0], 0.2)
    assert torch.allclose(turned.mean(0), pictures[0].mean(0), atol=1e-5)
    assert torch.allclose(augment.hue_turned(turned, -0.2), pictures[0], atol=1e-5)


@few
@given(st.floats(0.05, 0.9), st.floats(0.2, 0.6))
def test_exposure_brings_a_plain_picture_to_the_mean(value: float, mean: float) -> None:
    found = float(exposed(torch.full((1, 3, 4, 4), value), mean).mean())
    power = np.clip(np.log(mean) / np.log(value), 1 / 3, 3)
    assert found == pytest.approx(value**power, abs=1e-4)


# ------------------------------------------------------------------------------------------------- data of folders


def make_folder(root: Path, labelled: int = 3, targets: int = 2) -> Path:
    rng = np.random.default_rng(0)
    for part, drive, count in (("train", "0006R0_f", labelled), ("dusk", "0001TP_", targets)):
        for kind in ("images", "labels"):
            (root / part / kind).mkdir(parents=True)
        for i in range(count):
            name = f"{drive}{6690 + 30 * i:06d}"
            Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(root / part / "images" / f"{name}.png")
            Image.fromarray(rng.integers(0, 12, (48, 64)).astype(np.uint8)).save(root / part / "labels" / f"{name}.png")
    return root


def test_labels_of_target_pictures_are_never_opened(tmp_path: Path) -> None:
    root = make_folder(tmp_path)
    for path in (root / "dusk" / "labels").iterdir():
        path.write_bytes(b"nobody may read this")
    config = replace(TINY, height=32, width=32)
    found = data.data(config, "train", root)
    assert len(found.targets) == 2 and all(one.labels is None for one in found.targets)  # type: ignore[attr-defined]
    batch = found.collate([found[(0, 0)], found[(1, 2)]])
    assert batch["image"].shape == batch["target"].shape == (2, 3, 32, 32) and batch["labels"].shape == (2, 32, 32)
    chosen = data.targets_of(replace(config, target_last="0001TP_006690"), data.pictures(root))
    assert [one.name for one in chosen] == ["0001TP_006690"]
    with pytest.raises(InputError, match="no target picture is called 'night'"):
        data.targets_of(replace(config, target_first="night"), data.pictures(root))


def test_rare_classes_are_drawn_by_the_published_rule(tmp_path: Path) -> None:
    config = replace(TINY, height=32, width=32, adaptation=replace(TINY.adaptation, rare_class_temperature=0.1))
    found = data.data(config, "train", make_folder(tmp_path))
    counts = found.counts.sum(0)  # type: ignore[attr-defined]
    score = np.exp((1 - counts / counts.sum()) / 0.1)
    assert np.allclose(found.chances, score / score.sum())  # type: ignore[attr-defined]


def test_ignored_rows_weigh_nothing() -> None:
    cut = augment.Cut(0, 0, 40, 40, False)
    weight = data.ignoring(cut, (40, 30), (20, 20), (10, 6))
    assert not weight[:5].any() and not weight[17:].any() and not weight[:, 15:].any() and bool(weight[5:17, :15].all())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"height": 50}, "multiples of 32"),
        ({"scales": (1.5, 1.0)}, "scales"),
        ({"light": 2.0}, "light lies in 0..1"),
        ({"encoder": "mit_b0"}, "does not stand on"),
        ({"channels": 2}, "channels are 8"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(TINY, **change)
    with pytest.raises(InputError, match=r"lies in 0\.\.1"):
        Adaptation(pseudo_threshold=1.5)


# -------------------------------------------------------------------------------------------------------- answers


def street(height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_shares_add_up_and_the_bonnet_counts_nowhere(system: Weather, tmp_path: Path) -> None:
    bonnet = np.zeros((64, 96), np.uint8)
    bonnet[50:] = 255
    result = system.predict(street(), bonnet=bonnet, drivable=("road", "pavement"), classes=("road",))
    assert (result.labels[50:] == VOID).all() and VOID not in result.labels[:50]
    assert sum(result.shares.values()) == pytest.approx(1)
    roads = result.mask("road") | result.mask("pavement")
    assert result.drivable_share == pytest.approx(roads.sum() / (50 * 96))
    saved = result.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(saved)), result.labels)
    assert {"a.png", "a.json", "a.confidence.png"} == {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "a.json").read_text())["drivable"] == ["road", "pavement"]
    untinted = np.asarray(result.draw())[~result.mask("road")]
    assert np.array_equal(untinted, result.picture[~result.mask("road")])


def test_names_of_another_set(system: Weather) -> None:
    plain, named = system.predict(street()), system.predict(street(), names="cityscapes")
    for number, name in enumerate(CAMVID.classes):
        other = next(one for one, parts in MERGED["camvid", "cityscapes"].items() if name in parts)
        assert (named.labels[plain.labels == number] == CITYSCAPES.number(other)).all()
    assert set(system.absent("cityscapes")) == {
        "wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle", "bicycle",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"classes": ("lorry",)}, "no class 'lorry'"),
        ({"names": "kitti"}, "names are those of camvid"),
        ({"bonnet": np.zeros((3, 3), np.uint8)}, "bonnet's mask has 3×3"),
    ],
)
def test_what_cannot_be_asked(system: Weather, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        system.predict(street(), **asked)


def test_windows_join_without_a_seam(system: Weather, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that looks at single pixels gives the same in windows as at once."""
    from percepta.systems.weather import windows

    weight = torch.randn(4, 3)
    network = build(TINY).eval()
    monkeypatch.setattr(network, "look", lambda image, power=None: torch.einsum("kc,bchw->bkhw", weight, image))
    picture = torch.rand(3, WINDOW[0] + 200, WINDOW[1] + 70)
    cut = probabilities(network, picture)
    monkeypatch.setattr(windows, "LARGEST", 10**9)
    assert torch.allclose(cut, probabilities(network, picture), atol=1e-5)


@few
@given(st.integers(1, 4000), st.integers(OVERLAP + 1, 900))
def test_windows_cover_a_side(side: int, window: int) -> None:
    found = starts(side, window)
    assert found[0] == 0 and (len(found) == 1 or found[-1] == side - window)
    assert all(0 < b - a <= window - OVERLAP + 1 for a, b in pairwise(found))


def test_a_still_drive_is_steady(system: Weather) -> None:
    session, rng = system.session(smoothing=0.8), np.random.default_rng(1)
    base, results = street(), []
    for _ in range(4):
        noisy = np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8)
        results.append(session.step(noisy))
    loose = system.session(smoothing=0.0)
    rng = np.random.default_rng(1)
    plain = [loose.step(np.clip(base + rng.normal(0, 4, base.shape), 0, 255).astype(np.uint8)) for _ in range(4)]
    assert results[0].flicker is None
    assert sum(one.flicker or 0 for one in results) <= sum(one.flicker or 0 for one in plain)
    assert session.step(street(32, 64)).flicker is None  # another size begins anew
    with pytest.raises(InputError, match="smoothing"):
        system.session(smoothing=1.0)


def test_a_strange_picture_is_far_from_what_training_saw() -> None:
    torch.manual_seed(0)
    network = build(TINY).train()
    generator = torch.Generator().manual_seed(0)

    def smooth(count: int) -> torch.Tensor:
        coarse = torch.rand(count, 3, 8, 12, generator=generator)
        return torch.nn.functional.interpolate(coarse, size=(64, 96), mode="bilinear")

    def distance(picture: torch.Tensor) -> float:
        with network.head.watched() as distances:
            network(picture)
        return float(np.mean(distances))

    with torch.no_grad():
        for _ in range(120):  # until the batch norms know what is usual
            network(smooth(4))
        network.eval()
        usual = [distance(smooth(1)) for _ in range(5)]
        strange = [distance((torch.rand(1, 3, 64, 96, generator=generator) > 0.5).float()) for _ in range(5)]
    assert min(strange) > 3 * max(usual)


def test_the_bonnet_is_what_does_not_move() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (60, 80, 3), np.uint8) for _ in range(12)]
    for one in pictures:
        one[48:, 10:70] = 40
    found = bonnet_of(pictures)
    assert found[54:, 18:60].all() and not found[:44].any()
    with pytest.raises(InputError, match="10 pictures"):
        bonnet_of(pictures[:3])


def test_what_ships_knows_streets_from_other_pictures(shared_data: Path) -> None:
    """Streets that it has not seen are near (64 of 64 when it was measured), photographs of other things far."""
    weather = percepta.load("weather")
    streets = sorted((shared_data / "camvid" / "test").rglob("*.webp"))
    streets = [path for path in streets if path.parent.name == "images"][::16]
    assert len(streets) >= 3 and not any(weather.predict(path).far for path in streets)
    assert all(weather.predict(percepta.sample(name)).far for name in ("cat", "coffee", "rocket"))
