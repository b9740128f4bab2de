"""Supernets: spaces against the benchmark's counts, shared weights against standalone networks, strategies."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import percepta
from percepta import checkpoint
from percepta.contract import Step
from percepta.datasets import nasbench
from percepta.media import image
from percepta.systems.supernet import PRESETS, STRIPES, Config, ledger, strategies, task
from percepta.systems.supernet.data import Pool, pool, smaller
from percepta.systems.supernet.losses import loss, phases
from percepta.systems.supernet.model import SupernetNetwork, network
from percepta.systems.supernet.predict import Supernet, describe
from percepta.systems.supernet.scores import calibrate, scores
from percepta.systems.supernet.space import CodeError, Macro, ResNet48
from percepta.train import train

TINY = PRESETS["tiny"]
SMALL_RESNET = ResNet48(channels=(8, 16, 16, 24), slots=(2, 2, 3, 2), side=32, classes=5, least=1)
PUBLISHED = "1252233313000000223212122253130000000000006515000000"


def macro_table() -> Path:
    root = os.environ.get("PERCEPTA_DATA")
    if not root or not (Path(root) / "nas").is_dir():
        pytest.skip("PERCEPTA_DATA has no nas/nas-bench-macro_cifar10.json")
    return Path(root) / "nas" / "nas-bench-macro_cifar10.json"


def codes_of(space: Any) -> Any:
    return st.integers(0, 2**32 - 1).map(lambda seed: space.sample(np.random.default_rng(seed)))


# ------------------------------------------------------------------------------------------------- spaces


def test_every_count_of_the_benchmark() -> None:
    table, space = nasbench.read_macro(macro_table()), Macro()
    parameters, flops = space.costs(table.codes)
    assert sorted(table.codes) == space.codes() and len(table.codes) == 6561
    assert np.array_equal(parameters, table.parameters) and np.array_equal(flops, table.flops)


def test_networks_that_are_one_have_one_accuracy() -> None:
    table, space = nasbench.read_macro(macro_table()), Macro()
    canonical = [space.canonical(code) for code in table.codes]
    assert len(set(canonical)) == len(space.distinct()) == 3969
    assert np.array_equal(table.accuracy, table.accuracy[table.rows(canonical)])


@pytest.mark.parametrize("space", [Macro(stem=8, head=40), Macro((1, 2), 4, 16, 9, 3), ResNet48(), SMALL_RESNET])
def test_counts_are_those_of_the_built_network(space: Any) -> None:
    """The oracle: parameters of the module, multiply-adds by hooks."""
    rng, net = np.random.default_rng(0), None
    for code in [space.smallest(), space.largest() if space is SMALL_RESNET else space.sample(rng), space.sample(rng)]:
        net = net or network(space)
        alone = net.extract(code).eval()
        macs = 0

        def count(module: Any, _: Any, out: Any) -> None:
            nonlocal macs
            macs += module.weight.numel() * (out.shape[2] * out.shape[3] if out.ndim == 4 else 1)

        for module in alone.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(count)
        with torch.no_grad():
            assert alone(torch.rand(1, 3, space.side, space.side)).shape == (1, space.classes)
        assert space.cost(code).parameters == sum(value.numel() for value in alone.parameters())
        assert space.cost(code).flops == macs


@given(codes_of(Macro()))
@settings(deadline=None)
def test_canonical_codes_are_one_network(code: str) -> None:
    space = Macro()
    canonical = space.canonical(code)
    assert space.canonical(canonical) == canonical and space.cost(canonical) == space.cost(code)
    assert space.blocks(canonical) == space.blocks(code)
    assert np.array_equal(space.features([code]), space.features([canonical]))


@given(codes_of(ResNet48()))
@settings(max_examples=15, deadline=None)
def test_drawn_codes_and_their_neighbours_are_valid(code: str) -> None:
    space = ResNet48()
    assert space.validate(code) == code
    for other in space.neighbours(code):
        assert space.validate(other) != code
    assert space.cost(space.smallest()).flops <= space.cost(code).flops <= space.cost(space.largest()).flops
    assert space.distance(code, code) == 0


def test_published_code_is_valid() -> None:
    assert ResNet48().validate(PUBLISHED) == PUBLISHED
    assert ResNet48().depths(PUBLISHED) == [2, 5, 2, 2]


@pytest.mark.parametrize(
    ("place", "character", "words"),
    [
        (0, "2", "picture size"),
        (1, "1", "depth of stage 1 is one of 2, 3, 4, 5"),
        (2, "6", "depth of stage 2"),
        (3, "9", "depth of stage 3 is one of 2, 3, 4, 5, 6, 7, 8"),
        (5, "4", "the stem's width"),
        (6, "5", "a width of block 1 of stage 1 is one of 1, 2, 3"),
        (9, "1", "the second widths of stage 1 are one: 3"),
        (10, "1", "beyond the stage's depth 2 and has to be 0"),
        (16, "0", "a width of block 1 of stage 2"),
        (42, "8", "a width of block 1 of stage 4 is one of 1, 2, 3, 4, 5, 6, 7"),
    ],
)
def test_impossible_codes_name_the_character(place: int, character: str, words: str) -> None:
    code = PUBLISHED[:place] + character + PUBLISHED[place + 1 :]
    with pytest.raises(CodeError, match=f"character {place + 1} is '{character}'.*{words}"):
        ResNet48().validate(code)


def test_impossible_macro_codes() -> None:
    with pytest.raises(CodeError, match="8 characters, this one 7"):
        Macro().validate("0121212")
    with pytest.raises(CodeError, match="character 3 is '3'"):
        Macro().validate("01310000")


# ------------------------------------------------------------------------------------------------- shared weights


def shaken(config: Config) -> SupernetNetwork:
    """A supernet whose norms have seen something, so that eval mode is no identity."""
    torch.manual_seed(0)
    model = task.build(config)
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.normal_()
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    for name, value in model.named_parameters():
        if "norm" in name and value.ndim == 1:
            value.data.uniform_(0.5, 1.5)
    return model


def resnet(**more: Any) -> Config:
    return Config(space="resnet48", side=32, classes=STRIPES, **more)


@pytest.mark.parametrize("config", [TINY, resnet()], ids=["macro", "resnet48"])
@pytest.mark.parametrize("training", [False, True])
def test_an_extracted_network_gives_the_same_outputs(config: Config, training: bool) -> None:
    model, rng = shaken(config).double(), np.random.default_rng(1)
    x = torch.rand(4, 3, config.side, config.side, dtype=torch.float64)
    codes = [model.space.sample(rng) for _ in range(2)]
    for code in [model.space.smallest(), *codes]:
        alone = model.extract(code).train(training)
        model.train(training)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        with torch.no_grad():
            assert torch.allclose(alone(x), model(x, code), atol=1e-9, rtol=1e-6)
        model.load_state_dict(state)
        assert not {id(v) for v in alone.parameters()} & {id(v) for v in model.parameters()}


@pytest.mark.parametrize("config", [TINY, resnet()], ids=["macro", "resnet48"])
def test_shared_prefixes_score_as_one_by_one(config: Config) -> None:
    model, rng = shaken(config), np.random.default_rng(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    codes = model.space.codes()[::7] if isinstance(model.space, Macro) else [model.space.sample(rng) for _ in range(3)]
    pixels = torch.randint(0, 256, (24, 3, config.side, config.side), dtype=torch.uint8)
    labels = torch.randint(0, 6, (24,))
    found = scores(model, codes, pixels, labels, batch_size=12)
    for i, code in enumerate(codes):
        alone = model.extract(code).train()  # batch statistics, as a network evaluated by itself
        with torch.no_grad():
            logits = torch.cat([alone(model.prepare(pixels[k : k + 12])) for k in (0, 12)])
        assert found.accuracy[i] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
        assert found.likelihood[i] == pytest.approx(-float(functional.cross_entropy(logits, labels)), abs=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "it changed the network"


def test_calibration_sets_the_statistics_of_the_path() -> None:
    """One batch: eval mode with calibrated statistics is train mode, but for the unbiased variance."""
    model = shaken(TINY)
    x = torch.rand(64, 3, 16, 16)
    alone = model.extract("2121")
    with torch.no_grad():
        expected = alone.train()(x)
        wrong = (model.extract("2121").eval()(x) - expected).abs().max()
        got = (calibrate(alone, [x])(x) - expected).abs().max()
    assert got < 0.05 * wrong


# ------------------------------------------------------------------------------------------------- strategies


def test_strict_fairness_uses_every_choice_once() -> None:
    codes = Macro().fair(np.random.default_rng(0))
    assert all(sorted(column) == ["0", "1", "2"] for column in zip(*codes, strict=True))


def test_shrinking_opens_small_choices_late() -> None:
    config = replace(TINY, plan="single", shrink=0.5, canonical=False)
    rng = np.random.default_rng(0)
    drawn = {
        progress: "".join(strategies.choose_paths(config, Macro(), rng, progress, {})[0] for _ in range(40))
        for progress in (0.0, 0.3, 0.7)
    }
    assert set(drawn[0.0]) == {"2"} and set(drawn[0.3]) == {"1", "2"} and set(drawn[0.7]) == {"0", "1", "2"}
    space = ResNet48()
    assert space.sample(rng, 0.0) == space.largest()


def test_the_archive_keeps_what_is_novel() -> None:
    space = Macro()
    crowd = ["0" * 8, "10000000", "01000000", "00100000", "00010000", "00001000", "00000100", "00000010", "00000001"]
    crowd += ["11000000", "10100000", "10010000"]
    assert strategies.novel(space, [*crowd, "22222222"], 1) == ["22222222"]
    memory: dict[str, Any] = {}
    config = replace(TINY, constraints=2, refresh=5)
    rng = np.random.default_rng(0)
    for number in range(12):
        kept = strategies.archive(config, space, [space.sample(rng)], rng, memory, number)
    assert len(kept) == 2 and set(kept) <= set(memory["constraints"]) and len(memory["recent"]) == 12
    json.dumps(memory)


def test_projection_leaves_no_conflict_between_two() -> None:
    rows = torch.tensor([[1.0, 0.0], [-0.5, 1.0]])
    out = strategies.without_conflict(rows, np.random.default_rng(0))
    assert float(out[0] @ rows[1]) >= -1e-6 and float(out[1] @ rows[0]) >= -1e-6
    agreeing = torch.tensor([[1.0, 0.0], [0.5, 1.0]])
    assert torch.equal(strategies.without_conflict(agreeing, np.random.default_rng(0)), agreeing)


def step_at(number: int = 0, memory: dict[str, Any] | None = None) -> Step:
    return Step(number, 0, torch.Generator().manual_seed(number), {} if memory is None else memory)


def gradients(config: Config, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model, data = task.build(config).train(), task.data(config, "train")
    task.loss(model, data.collate([(0, i) for i in range(8)]), step_at())["loss"].backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def test_balance_gives_choices_one_pace_and_paths_one_say() -> None:
    plain, balanced = gradients(TINY), gradients(replace(TINY, balance="norm"))
    assert plain.keys() == balanced.keys()

    def pace(grads: dict[str, torch.Tensor], layer: int) -> float:
        norms = []
        for choice in range(3):
            rows = [g for name, g in grads.items() if name.startswith(f"parts.0.layers.{layer}.{choice}.")]
            if rows:
                norms.append((sum(float(g.square().sum()) for g in rows) / sum(g.numel() for g in rows)) ** 0.5)
        return max(norms) / min(norms)

    assert all(pace(balanced, layer) < pace(plain, layer) for layer in range(4))
    for name, grad in plain.items():  # each choice is used by one path: its direction stays
        if "layers" in name:
            cosine = functional.cosine_similarity(grad.reshape(-1), balanced[name].reshape(-1), 0)
            assert cosine > 0.999 or float(grad.norm()) < 1e-6, name


def test_the_surrogate_without_balance_is_the_mean_loss() -> None:
    """PA&DA's explicit gradients, averaged, are those of the mean loss."""
    torch.manual_seed(0)
    model = task.build(TINY).train()
    x, y = torch.rand(8, 3, 16, 16), torch.randint(0, 6, (8,))
    codes = ["0121", "2101"]
    rng = np.random.default_rng(0)
    losses = [functional.cross_entropy(model(x, code), y) for code in codes]
    expected = torch.autograd.grad(sum(losses) / 2, list(model.parameters()), allow_unused=True)
    losses = [functional.cross_entropy(model(x, code), y) for code in codes]
    config = replace(TINY, plan="single", importance=True)
    memory: dict[str, Any] = {}
    strategies.combine(model, codes, losses, config, memory, rng).backward()
    for value, grad in zip(model.parameters(), expected, strict=True):
        assert (value.grad is None) == (grad is None)
        assert grad is None or torch.allclose(value.grad, grad, atol=1e-6)
    assert {"0.0", "0.2"} <= set(memory["norms"])


@settings(deadline=None)
@given(st.floats(0, 1), st.lists(st.floats(0.01, 10), min_size=12, max_size=12))
def test_path_chances_are_chances(progress: float, norms: list[float]) -> None:
    space = Macro((2, 2))
    table = {f"{i}.{c}": norms[3 * i + c] for i in range(4) for c in range(3) if (i, c) != (1, 0)}
    chances = strategies.path_chances(table, space, progress)
    assert np.allclose(chances.sum(1), 1) and chances.min() >= (1 - strategies.SHARPEST) / 3 - 1e-9
    assert np.allclose(strategies.path_chances(table, space, 0.0), 1 / 3)
    order = np.argsort(norms[:3])
    assert (np.diff(chances[0][order]) >= -1e-12).all(), "a larger gradient, a larger chance"


def test_weights_of_chosen_pictures_leave_the_mean() -> None:
    """PA&DA's weights make the weighted mean over what is drawn right on average."""
    config, memory = replace(TINY, plan="single", importance=True), {"wrong": torch.linspace(0.1, 1.4, 16)}
    value, index = torch.arange(16.0), torch.arange(16)
    generator = torch.Generator().manual_seed(0)
    means = []
    for _ in range(3000):
        chosen, weight = strategies.choose_pictures(config, index, 16, memory, generator, 1.0)
        means.append(float((value[chosen] * weight).mean()))
    assert np.mean(means) == pytest.approx(7.5, abs=0.15)


def test_the_ledger_finds_what_losses_depend_on() -> None:
    """Losses that fall with the number of larger blocks, under noise that a batch's paths share."""
    model, rng = task.build(TINY), np.random.default_rng(0)
    space = model.space
    for _ in range(400):
        codes = space.fair(rng)
        shared = rng.normal(0, 2)
        ledger.update(model, codes, [shared - 0.1 * code.count("2") + rng.normal(0, 0.05) for code in codes])
    every = space.distinct()
    guess, deviation = ledger.expected(model, every)
    truth = [code.count("2") for code in every]
    assert np.corrcoef(guess, truth)[0, 1] > 0.97 and (deviation[1:] > 0).all()


VARIANTS: dict[str, dict[str, Any]] = {
    "sandwich": {"plan": "sandwich", "distill": "inplace"},
    "nsas": {"plan": "single", "constraints": 2, "refresh": 3},
    "both": {"constraints": 1, "balance": "project", "refresh": 3},
    "teacher": {"plan": "single", "distill": "teacher"},
    "split": {"plan": "single", "split": 1},
    "pada": {"plan": "single", "importance": True},
    "shrink": {"plan": "single", "shrink": 0.6},
    "alone": {"alone": "0212"},
    "several": {"plan": "single", "paths": 2, "canonical": False},
}


def quick(steps: int = 8, **more: Any) -> Config:
    settings_ = replace(
        TINY.train, steps=steps, batch_size=8, checkpoint_every=3, log_every=1, warmup=0, ema=more.pop("ema", 0.0)
    )
    return replace(TINY, train=settings_, **more)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_strategy_trains_and_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Stopped after step 7 of 8, which is inside the last phase of those that have two; the last state is of step 6."""

    class EnoughError(Exception):
        pass

    def stop(done: int, total: int, values: dict[str, float]) -> None:
        if done == 7:
            raise EnoughError

    config = quick(**VARIANTS[name])
    straight = train("supernet", config, out=tmp_path / "a", device="cpu")
    with pytest.raises(EnoughError):
        train("supernet", config, out=tmp_path / "b", device="cpu", progress=stop)
    resumed = train("supernet", config, out=tmp_path / "b", device="cpu")
    (_, one), (_, two) = checkpoint.read(straight), checkpoint.read(resumed)
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    if name == "split":
        assert bool(one["divided"])
        assert not torch.equal(one["parts.0.head.linear.weight"], one["parts.1.head.linear.weight"])


def step_of(config: Config, number: int) -> tuple[SupernetNetwork, dict[str, Any], dict[str, torch.Tensor]]:
    """(the network, a batch, what `loss` says of it at a step)."""
    torch.manual_seed(0)
    model = task.build(config).train()
    batch = {"image": torch.rand(8, 3, 16, 16), "label": torch.arange(8) % 6, "index": torch.arange(8), "count": 40}
    return model, batch, loss(model, batch, Step(number, 0, torch.Generator().manual_seed(number)))


def test_a_teacher_learns_until_its_phase_is_over_and_is_only_listened_to_after_that() -> None:
    config = quick(**VARIANTS["teacher"])
    count = phases(config)[0][1].steps
    assert 1 < count < 7
    for number in (0, count - 1):
        model, batch, said = step_of(config, number)
        assert model.teacher is not None
        alone = functional.cross_entropy(
            model.teacher(model.prepare(batch["image"])), batch["label"], label_smoothing=config.smoothing
        )
        assert said.keys() == {"loss"}
        torch.testing.assert_close(said["loss"], alone)
    for number in (count, count + 1, 7):
        model, _, said = step_of(config, number)
        said["loss"].backward()
        assert model.teacher is not None and all(value.grad is None for value in model.teacher.parameters())
        assert any(value.grad is not None for value in model.parts.parameters())


@pytest.mark.parametrize("layer", [0, 1])
def test_a_supernet_is_split_at_the_first_step_of_the_second_phase(layer: int) -> None:
    config = quick(plan="single", split=layer)
    count = phases(config)[0][1].steps
    divided = {number: bool(step_of(config, number)[0].divided) for number in range(8)}
    assert 0 < count < 7 and divided == {number: number >= count for number in range(8)}


def test_a_split_goes_on_from_the_shared_weights() -> None:
    config = replace(TINY, plan="single", split=0)
    model = task.build(config)
    x = torch.rand(4, 3, 16, 16)
    before = model.eval()(x, "2101")
    model.divide()
    assert torch.equal(model(x, "2101"), before)
    assert model.part("2101") is model.parts[2] and model.part("0101") is model.parts[0]


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": 4}, "split is a layer from 0 to 3"),
        ({"shrink": 1.5}, "shrink is a share"),
        ({"distill": "inplace"}, "needs plan"),
        ({"space": "resnet48"}, "fair, split and importance"),
        ({"stages": ()}, "at least one layer"),
        ({"alone": "0123"}, "character 4 is '3'"),
        ({"plan": "single", "split": 0, "train": replace(TINY.train, ema=0.9)}, "train.ema"),
    ],
)
def test_settings_that_do_not_go_together(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


def test_predict_names_a_wrong_character(tmp_path: Path) -> None:
    model = task.build(TINY)
    with pytest.raises(CodeError, match="character 2 is 'x'"):
        describe(model, "0x12")


def test_wrong_classes_and_splits_are_said() -> None:
    with pytest.raises(ValueError, match="6 classes"):
        pool(replace(TINY, classes=("a", "b")), "train", None)
    with pytest.raises(ValueError, match="the splits are"):
        pool(TINY, "night", None)


# ------------------------------------------------------------------------------------------------- data


def test_views_follow_from_their_numbers() -> None:
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    middle = np.array([[0.5, 0.5, 0.9], [0.5, 0.5, 0.1]])
    out = image.crops(pixels, middle)
    assert torch.equal(out[0], pixels[0]) and torch.equal(out[1], pixels[1].flip(-1))


def test_smaller_pictures_keep_their_mean() -> None:
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    out = smaller(pixels, 16)
    assert out.shape == (3, 3, 16, 16) and abs(float(out.float().mean() - pixels.float().mean())) < 1
    assert torch.equal(smaller(pixels, 32), pixels)


def test_real_pictures_split_without_overlap() -> None:
    table = macro_table()
    if not (table.parent.parent / "cifar10").is_dir():
        pytest.skip("PERCEPTA_DATA has no cifar10")
    pytest.importorskip("pyarrow")
    config = Config(side=32, samples=300)
    parts = [pool(config, split, table.parent.parent) for split in ("train", "val")]
    assert all(isinstance(part, Pool) and part.truth == table.parent.parent / "nas" / table.name for part in parts)
    assert len(parts[0]) == 300 and len(parts[1]) == 2500
    rows = {bytes(row.numpy().tobytes()) for row in parts[0].pixels}
    assert not rows & {bytes(row.numpy().tobytes()) for row in parts[1].pixels}


def test_a_picture_is_seen_by_a_path(tmp_path: Path) -> None:
    path = train("supernet", quick(), out=tmp_path / "run", device="cpu")
    system = percepta.load(path, system="supernet", device="cpu")
    test = task.data(system.config, "test")
    result = system.predict("2101", test.pool.pixels[0].permute(1, 2, 0).numpy(), calibration=test.pool.pixels[:64])
    assert result.label in STRIPES and result.probability.sum() == pytest.approx(1, abs=1e-5)
    result.save(tmp_path / "a.png")
    assert json.loads((tmp_path / "a.json").read_text())["code"] == "2101"


def test_what_ships_is_typed_can_be_sent_around_and_names_its_weights(tmp_path: Path) -> None:
    system = percepta.load("supernet", device="cpu")
    assert type(system) is Supernet and system.model.weights_hash
    result = pickle.loads(pickle.dumps(system)).predict("02012100")
    assert result.weights == system.model.weights_hash
    result.save(tmp_path / "a.png")
    assert json.loads((tmp_path / "a.json").read_text())["weights"] == result.weights
