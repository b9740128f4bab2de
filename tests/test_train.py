from __future__ import annotations

import json
import math
import os
import platform
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import nn

import fake_system
from percepta import checkpoint
from percepta.config import TrainConfig, to_json
from percepta.errors import InputError
from percepta.optim import learning_rate, make_optimizer
from percepta.runs import averaged
from percepta.train import (
    Batches,
    Evaluator,
    Stopped,
    derive,
    evaluate,
    order,
    train,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fake_system.install(tmp_path / "assets", monkeypatch.setitem, monkeypatch.setattr)


def settings(model: dict[str, Any] | None = None, **fields: Any) -> fake_system.Config:
    base = replace(fake_system.Config(), **(model or {}))
    return replace(base, train=replace(base.train, **{"lr": 0.05, **fields}))


def run(out: Path, config: fake_system.Config, **options: Any) -> dict[str, torch.Tensor]:
    return checkpoint.read(train("fake", config, out=out, device="cpu", **options))[1]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_at(step: int) -> Any:
    def progress(done: int, total: int, scalars: dict[str, float]) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# What a run is made of


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_epoch_gives_each_sample_once_however_many_processes(world: int) -> None:
    config = TrainConfig(steps=5, batch_size=4, seed=3)  # 20 keys: two epochs of 10
    shards = [list(Batches(10, config, rank=rank, world=world)) for rank in range(world)]
    keys = [key for step in zip(*shards, strict=True) for shard in step for key in shard]
    assert sorted(keys) == [(epoch, index) for epoch in range(2) for index in range(10)]
    assert keys == [key for step in Batches(10, config) for key in step]  # and in the same order
    assert [index for epoch, index in keys if epoch == 1] == order(10, 3, 1).tolist()


def test_order_follows_from_seed_and_epoch() -> None:
    assert order(50, 0, 0).tolist() == order(50, 0, 0).tolist()
    assert len({tuple(order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}) == 9
    assert len({derive(seed, "step", step, rank) for seed in range(9) for step in range(9) for rank in range(9)}) == 729


def test_learning_rate() -> None:
    cosine = TrainConfig(steps=110, warmup=10)
    assert [learning_rate(cosine, step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert learning_rate(cosine, 10) == 1.0 and learning_rate(cosine, 60) == pytest.approx(0.5)
    assert 0 < learning_rate(cosine, 109) < 1e-3
    steps = TrainConfig(steps=100, schedule="step", milestones=(0.5, 0.7))
    assert [learning_rate(steps, step) for step in (49, 50, 69, 70)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert {learning_rate(TrainConfig(schedule="constant"), step) for step in range(1000)} == {1.0}


def test_groups_of_parameters() -> None:
    model = nn.ModuleDict({"back": nn.Linear(2, 2), "backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    model["head"].bias.requires_grad_(False)
    config = TrainConfig(lr=1.0, weight_decay=0.5, lr_scale=(("back", 0.5), ("backbone", 0.1)))
    optimizer = make_optimizer(model, config)
    found = {id(p): (g["scale"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    expected = {
        "back.weight": (0.5, 0.5),
        "back.bias": (0.5, 0.0),
        "backbone.weight": (0.1, 0.5),
        "backbone.bias": (0.1, 0.0),
        "head.weight": (1.0, 0.5),
    }
    assert {name: found.get(id(p)) for name, p in model.named_parameters()} == expected | {"head.bias": None}
    with pytest.raises(ValueError, match="'neck'"):
        make_optimizer(model, replace(config, lr_scale=(("neck", 1.0),)))
    with pytest.raises(ValueError, match="no parameter"):
        make_optimizer(nn.Linear(1, 1).requires_grad_(False), TrainConfig())


# Repeatability


@pytest.mark.parametrize("options", [{"ema": 0.5}, {"optimizer": "sgd", "precision": "bfloat16"}])
def test_stop_and_resume_is_bit_identical(tmp_path: Path, task: ModuleType, options: dict[str, Any]) -> None:
    config = settings({"dropout": 0.3, "two_phases": True}, steps=7, warmup=2, **options)
    whole = run(tmp_path / "whole", config)
    for step in (3, 7, 9):  # within a phase, at its very end, in the second one
        out = tmp_path / str(step)
        with pytest.raises(Stopped, match=f"step {step} of 14.*last.pt"):
            run(out, config, progress=stop_at(step))
        assert checkpoint.read(out / "model.safetensors")[0].step == step
        assert same(run(out, config), whole)
        assert [row["step"] for row in rows(out)] == [row["step"] for row in rows(tmp_path / "whole")]
    assert not same(whole, run(tmp_path / "other", replace(config, train=replace(config.train, seed=1))))


def test_a_killed_run_goes_on_from_its_last_state(tmp_path: Path, task: ModuleType) -> None:
    """Nothing is written at the end then: steps after the last state are done, and logged, again."""
    config = settings({"dropout": 0.3}, steps=8, checkpoint_every=3, log_every=1)

    def die(done: int, total: int, scalars: dict[str, float]) -> None:
        if done == 5:
            raise RuntimeError("out of power")

    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path / "a", config, progress=die)
    assert [row["step"] for row in rows(tmp_path / "a")] == [1, 2, 3, 4, 5]
    assert same(run(tmp_path / "a", config), run(tmp_path / "b", config))
    assert [row["step"] for row in rows(tmp_path / "a")] == list(range(1, 9))


def test_workers_change_nothing(tmp_path: Path, task: ModuleType) -> None:
    config = settings({"dropout": 0.3})
    workers = replace(config, train=replace(config.train, workers=2))
    assert same(run(tmp_path / "a", config), run(tmp_path / "b", workers))


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path, task: ModuleType) -> None:
    before = torch.random.get_rng_state()
    run(tmp_path, settings())
    assert torch.equal(torch.random.get_rng_state(), before)


PROGRAM = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
import fake_system
import torch.distributed as dist
from percepta.train import Stopped, train
dist.init_process_group("gloo")  # once: three trainings follow
rank = os.environ["RANK"]
task = fake_system.install(Path({out!r}) / ("assets" + rank))
config = fake_system.Config()
config = replace(config, batch_norm=True, train=replace(config.train, **{fields!r}))
train("fake", config, out=Path({out!r}) / "two", device="cpu")
plain = task.loss
def loss(model, batch, step):
    if step.number == 2 and rank == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return plain(model, batch, step)
task.loss = loss
try:
    train("fake", config, out=Path({out!r}) / "stopped", device="cpu")
except Stopped:
    task.loss = plain
    train("fake", config, out=Path({out!r}) / "stopped", device="cpu")
    (Path({out!r}) / ("resumed" + rank)).touch()
dist.destroy_process_group()
"""


def test_two_processes_agree_with_one(tmp_path: Path, task: ModuleType) -> None:
    fields = {"steps": 5, "lr": 0.05, "ema": 0.5, "clip_norm": 1.0, "evaluate_every": 2, "log_every": 1}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(tests=str(Path(__file__).parent), out=str(tmp_path), fields=fields))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(program),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    one = run(tmp_path / "one", settings({"batch_norm": True}, **fields))
    two = checkpoint.read(tmp_path / "two" / "model.safetensors")[1]
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-8)
    # and a request to stop that one of them got stops both at the same step
    assert (tmp_path / "resumed0").exists() and (tmp_path / "resumed1").exists()
    assert same(checkpoint.read(tmp_path / "stopped" / "model.safetensors")[1], two)
    for a, b in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=1e-5)
        assert a.get("val", {}) == pytest.approx(b.get("val", {}), rel=1e-5)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
import fake_system
from percepta.train import train
rank, out = os.environ["RANK"], Path({out!r})
task = fake_system.install(out / f"assets{{rank}}-{{os.getpid()}}")
config = fake_system.Config()
config = replace(config, train=replace(config.train, **{fields!r}))
plain = task.loss
def loss(model, batch, step):
    if step.number == 4 and rank == "1" and not (out / "killed").exists():
        (out / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(model, batch, step)
task.loss = loss
name = "elsewhere" if rank == "1" and "elsewhere" in sys.argv else "two"
train("fake", config, out=out / name, device="cpu")
"""


def test_a_killed_process_of_two_ends_in_the_same_weights(tmp_path: Path, task: ModuleType) -> None:
    """torchrun ends the other one and says so; the same command goes on from what was stored last."""
    fields = {"steps": 6, "lr": 0.05, "checkpoint_every": 2, "log_every": 1}
    program = tmp_path / "program.py"
    program.write_text(KILLED.format(tests=str(Path(__file__).parent), out=str(tmp_path), fields=fields))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    first, second = (subprocess.run(words, capture_output=True, text=True, env=env, timeout=100) for _ in range(2))
    assert first.returncode != 0 and (tmp_path / "killed").exists()
    assert second.returncode == 0, second.stderr[-3000:]
    # Machines that do not share the folder would wait for each other for ever.
    third = subprocess.run([*words, "elsewhere"], capture_output=True, text=True, env=env, timeout=100)
    assert third.returncode != 0 and "the processes begin at different steps (6, 0)" in third.stderr
    one, two = run(tmp_path / "one", settings(**fields)), checkpoint.read(tmp_path / "two" / "model.safetensors")[1]
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-8)


# What the loop does


def test_the_run_folder(tmp_path: Path, task: ModuleType) -> None:
    seen = []
    config = settings(steps=6, log_every=2, evaluate_every=4)
    path = train("fake", config, out=tmp_path, device="cpu", progress=lambda *values: seen.append(values))
    names = {file.name for file in tmp_path.iterdir()} - {"commit", "assets"}
    assert names == {"config.json", "command", "data.json", "log.jsonl", "last.pt", "model.safetensors"}
    assert path == tmp_path / "model.safetensors"
    assert json.loads((tmp_path / "config.json").read_text()) == to_json(config)
    lines = [row for row in rows(tmp_path) if "val" not in row]
    assert [(row["step"], row["epoch"], row["phase"]) for row in lines] == [
        (2, 0, "train"),
        (4, 1, "train"),
        (6, 2, "train"),
    ]
    assert {"loss", "error", "lr", "samples_per_s", "seconds"} <= lines[0].keys()
    assert [done for done, total, _ in seen] == list(range(1, 7)) and {total for _, total, _ in seen} == {6}
    assert lines[1]["loss"] == pytest.approx((seen[2][2]["loss"] + seen[3][2]["loss"]) / 2)
    assert [row["step"] for row in rows(tmp_path) if "val" in row] == [4, 6]


def test_it_learns_and_frozen_parts_stay(tmp_path: Path, task: ModuleType) -> None:
    models = []
    task.build = lambda config: models.append(fake_system.Model(config)) or models[-1]
    config = settings(steps=300, batch_size=10, lr=0.1, schedule="constant", overfit=True, log_every=1)
    state = run(tmp_path, config)
    losses = [row["loss"] for row in rows(tmp_path)]
    assert losses[-1] < 0.05 * losses[0]
    assert {row["epoch"] for row in rows(tmp_path)} == {0}
    assert not any(name.startswith("image.") for name in state)
    assert all(models[0].image_in_eval) and models[0].norm.training
    assert models[0].unused.weight.grad is None


def test_overfit_gives_the_same_batch_every_step() -> None:
    config = TrainConfig(steps=3, batch_size=2, overfit=True)
    assert len({tuple(keys) for keys in Batches(5, config)}) == 1


def test_phases_train_what_they_say(tmp_path: Path, task: ModuleType) -> None:
    config = settings({"two_phases": True}, steps=3)
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        run(out, config, progress=stop_at(3))
    torch.manual_seed(derive(0, "build"))
    start = fake_system.Model(config).state_dict()
    head = checkpoint.read(out / "model.safetensors")[1]
    assert torch.equal(head["norm.bias"], start["norm.bias"])
    assert not torch.equal(head["head.bias"], start["head.bias"])
    whole = run(out, config)
    assert not torch.equal(whole["norm.bias"], start["norm.bias"])


def test_a_part_that_a_phase_opens_is_stored(tmp_path: Path, task: ModuleType) -> None:
    task.phases = lambda config: [("open", config.train, {"image.": True})]
    assert "image.weight" in run(tmp_path, settings(steps=2))


def test_average_of_weights_is_the_formula(tmp_path: Path, task: ModuleType) -> None:
    decay, number = 0.2, []
    values: list[torch.Tensor] = []
    models = []
    task.build = lambda config: models.append(fake_system.Model(config)) or models[-1]
    config = settings(steps=4, ema=decay)
    state = run(
        tmp_path,
        config,
        progress=lambda *_: (values.append(models[0].head.weight.detach().clone()), number.append(1)),
    )
    expected = values[0]
    for step, value in enumerate(values[1:], 1):
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * value
    torch.testing.assert_close(state["head.weight"], expected)
    with averaged(models[0], {"head.weight": torch.zeros(1, 8)}):
        assert not models[0].head.weight.any()
    assert torch.equal(models[0].head.weight, values[-1])


def test_gradients_are_no_longer_than_clip_norm(tmp_path: Path, task: ModuleType) -> None:
    fields = {"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "steps": 1}
    moved = {}
    for clip in (0.0, 1e-3):
        config = settings(clip_norm=clip, **fields)
        torch.manual_seed(derive(0, "build"))
        start = fake_system.Model(config).state_dict()
        state = run(tmp_path / str(clip), config)
        moved[clip] = math.sqrt(sum(float((state[n] - start[n]).square().sum()) for n in state if n != "seen"))
    assert moved[1e-3] == pytest.approx(0.05 * 1e-3, rel=1e-2) and moved[0.0] > 1e-3


def test_evaluate_goes_through_everything_once_in_order(task: ModuleType) -> None:
    data, seen = fake_system.Data(7), []
    model = fake_system.Model(fake_system.Config())
    metrics = evaluate(task, model, data, batch_size=3, progress=lambda *values: seen.append(values)).metrics
    assert data.keys == [(0, index) for index in range(7)]
    assert seen == [(3, 7), (6, 7), (7, 7)] and metrics["mae"].n == 7 and not model.training


# Errors


def test_a_loss_that_is_no_number_names_the_step(tmp_path: Path, task: ModuleType) -> None:
    plain = task.loss
    task.loss = lambda model, batch, step: {
        "loss": plain(model, batch, step)["loss"] * (math.nan if step.number == 3 else 1)
    }
    with pytest.raises(FloatingPointError, match="step 3"):
        run(tmp_path, settings())


def test_other_settings_are_refused_in_the_same_folder(tmp_path: Path, task: ModuleType) -> None:
    run(tmp_path, settings())
    with pytest.raises(ValueError, match=r"train\.lr 0\.05 → 0\.1"):
        run(tmp_path, replace(settings(), train=replace(settings().train, lr=0.1)))
    run(tmp_path, replace(settings(), train=replace(settings().train, log_every=1, workers=1)))
    other = replace(settings(), train=replace(settings().train, steps=2))
    run(tmp_path, other, resume=False)
    assert checkpoint.read(tmp_path / "model.safetensors")[0].step == 2
    assert [row["step"] for row in rows(tmp_path)] == [2]


def test_a_missing_weight_and_an_unknown_one(tmp_path: Path, task: ModuleType) -> None:
    with pytest.raises(ValueError, match="fake-imagee"):
        run(tmp_path, settings(), weights={"fake-imagee": tmp_path / "x"})
    with pytest.raises(FileNotFoundError, match="a layer for tests"):
        run(tmp_path, settings(), weights={"fake-image": tmp_path / "x"})
    with pytest.raises(ValueError, match="no system"):
        train("nonsense", settings(), out=tmp_path)


def test_start_goes_on_from_a_checkpoint(tmp_path: Path, task: ModuleType) -> None:
    first = run(tmp_path / "first", settings())
    after = run(tmp_path / "second", settings(steps=1, lr=0.0), start=tmp_path / "first" / "model.safetensors")
    fresh = run(tmp_path / "third", settings(steps=1, lr=0.0))
    assert torch.equal(first["head.weight"], after["head.weight"])
    assert not torch.equal(first["head.weight"], fresh["head.weight"])


def test_start_from_another_network_names_what_does_not_fit(tmp_path: Path, task: ModuleType) -> None:
    run(tmp_path / "first", settings())
    with pytest.raises(ValueError, match=r"norm\.running_mean"):
        run(tmp_path / "second", settings({"batch_norm": True}), start=tmp_path / "first" / "model.safetensors")


def test_start_from_another_system_and_its_run_are_named(tmp_path: Path, task: ModuleType) -> None:
    """Neither fifty keys that do not fit, nor settings that differ: one sentence says what is wrong."""
    run(tmp_path, settings())
    path = tmp_path / "model.safetensors"
    header, tensors = checkpoint.read(path)
    fields = {**asdict(header), "system": "distill"}
    other = tmp_path / "other.safetensors"
    other.write_bytes(to_bytes(tensors, {"percepta": json.dumps(fields)}))
    with pytest.raises(InputError, match="a checkpoint of distill; fake starts from one of its own"):
        run(tmp_path / "second", settings(), start=other)
    assert not (tmp_path / "second" / "last.pt").exists()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({**state, "system": "distill"}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="holds a run of distill, not of fake"):
        run(tmp_path, settings())


def test_no_samples_to_validate_on_are_said_before_training(tmp_path: Path, task: ModuleType) -> None:
    plain = task.data
    task.data = lambda config, split, root=None: fake_system.Data(0) if split == "val" else plain(config, split, root)
    with pytest.raises(InputError, match=r"no samples of the split val in the synthetic world.*evaluate-every 0"):
        run(tmp_path, replace(settings(), train=replace(settings().train, evaluate_every=2)))
    assert not (tmp_path / "last.pt").exists()
    run(tmp_path, replace(settings(), train=replace(settings().train, evaluate_every=0)))


def test_an_evaluation_without_labels_says_so(task: ModuleType, tmp_path: Path) -> None:
    task.data = lambda config, split, root=None: None
    judge = Evaluator("fake", settings(), fake_system.Model(settings()))
    with pytest.raises(InputError, match=rf"{tmp_path}: no labels of the split 'val'.*with labels"):
        judge(tmp_path)


def test_a_training_that_cannot_be_evaluated_says_so_first_and_goes_on(tmp_path: Path, task: ModuleType) -> None:
    plain, said = task.data, []

    def data(config: Any, split: str, root: Path | None = None) -> fake_system.Data:
        if split == "val":
            raise InputError("no video in the split 'val'")
        return plain(config, split, root)

    def progress(done: int, total: int, scalars: dict[str, float]) -> None:
        said.append(len(noted))

    task.data = data
    with pytest.warns(UserWarning, match="no video in the split 'val'.*not evaluated at the end") as noted:
        run(tmp_path / "a", settings(), evaluated=lambda done, found: None, progress=progress)
    assert said[0] == 1 and (tmp_path / "a" / "model.safetensors").is_file()
    with pytest.raises(InputError, match=r"no video in the split 'val'.*evaluate-every 0"):
        run(tmp_path / "b", settings(evaluate_every=2))


FAULTS = """
import resource, sys, torch
from percepta.train import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
for i in range(40):
    if i == 20:  # what is there by now may be used again
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**24).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_kept_memory_is_used_again() -> None:
    """Twenty arrays of 64 MiB are 327,680 pages of 4 KiB: few of them have to come from the system again."""

    def faults(mode: str) -> int:
        words = [sys.executable, "-c", FAULTS, mode]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    kept = faults("keep")
    assert kept < 700 or 4 * kept < faults("give back")  # a machine with huge pages has 640 faults anyhow
