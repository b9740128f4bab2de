"""Every system, whole: with its preset tiny from data over training to predictions and graphs, and what ships of it.

A new system adds itself to TABLE and one line to INPUTS: what its `predict` is given.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import percepta
import test_onnx_programs
from percepta import checkpoint, contract, report, weights
from percepta import train as training
from percepta.config import TrainConfig, from_json, to_json
from percepta.errors import InputError
from percepta.formats import read_json
from percepta.metrics import Metric
from percepta.systems import TABLE

STEPS = 6


def disc() -> Image.Image:
    """A red disc on grey, taller than wide: no system may care about the shape of what it is given."""
    y, x = np.mgrid[:90, :70]
    pixels = np.full((90, 70, 3), 128, np.uint8)
    pixels[(y - 40) ** 2 + (x - 30) ** 2 < 300] = (220, 30, 30)
    return Image.fromarray(pixels)


def posed_pair() -> tuple[Any, ...]:
    """Two views of a textured box, a hand's breadth apart."""
    from percepta.geometry.camera import Intrinsics
    from percepta.systems.planes.predict import View
    from percepta.systems.planes.world import Box

    camera, box = Intrinsics(90.0, 90.0, 49.5, 39.5, 100, 80), Box(3)
    both = box.cameras(np.random.default_rng(0), (0.1, 0.2))
    return tuple(View(box.render(camera, pose).colour, camera, pose) for pose in both)


def scanned() -> Any:
    """What a camera scans of a synthetic room."""
    from percepta.systems.online3d import data

    return data.synthetic(3, 0.05, 6, 64)


def filmed() -> tuple[Any, ...]:
    """A camera that begins to go round in a room."""
    from percepta.systems.slam.world import RoundTrip

    trip = RoundTrip(0, "depth", 14, 240)
    return list(trip), trip.camera


def driven() -> Any:
    """Cars and a walker on a synthetic street."""
    from percepta.worlds.street.traffic import traffic

    return traffic(3, seconds=5.0, cars=4, people=1)


def crossing() -> tuple[Any, ...]:
    """Five frames of a square that goes to the right, and its mask in the first."""
    frames = np.full((5, 60, 90, 3), 100, np.uint8)
    for number, frame in enumerate(frames):
        frame[20:40, 10 + 8 * number : 30 + 8 * number] = (220, 60, 30)
    return list(frames), (frames[0, :, :, 0] == 220).astype(np.uint8)


def textured() -> np.ndarray:
    """Two seconds of a camera that shows something: what is of one colour counts as dead."""
    return np.random.default_rng(0).integers(0, 256, (4, 60, 90, 3), np.uint8)


def noise(system: Any) -> np.ndarray:
    """Features of a minute."""
    return np.random.default_rng(0).random((120, system.config.feature_width), np.float32)


INPUTS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "actions": lambda system: (crossing()[0],),
    "aesthetics": lambda system: (disc(),),
    "driver": lambda system: ({view: textured() for view in system.config.views[:2]},),
    "forecast": lambda system: (driven(),),
    "online3d": lambda system: (scanned(),),
    "planes": lambda system: posed_pair(),
    "refer": lambda system: (disc(), "the red disc"),
    "slam": lambda system: filmed(),
    "avatar": lambda system: (),
    "distill": lambda system: (disc(),),
    "hashing": lambda system: (disc(),),
    "vos": lambda system: crossing(),
    "weather": lambda system: (disc(),),
    "spotting": lambda system: (noise(system),),
    "replay": lambda system: (noise(system),),
    "supernet": lambda system: (system.model.space.largest(), disc()),
}

EXTRAS = {"slam": "cv2"}  # what a system cannot answer without


def not_trained(name: str) -> bool:
    """Whether a system has nothing to train."""
    return isinstance(checkpoint.find_task(name), contract.NotTrained)


every_system = pytest.mark.parametrize("name", TABLE)
every_trained_system = pytest.mark.parametrize("name", [name for name in TABLE if not not_trained(name)])


def needs_its_extra(name: str) -> None:
    """Skips where a package is missing that the system needs to answer."""
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])


def tiny(name: str) -> Any:
    """The preset tiny with a few steps of training."""
    config = import_module(f"percepta.systems.{name}").PRESETS["tiny"]
    if not_trained(name):
        return config
    short = replace(config.train, steps=STEPS, batch_size=4, checkpoint_every=3, log_every=1, warmup=0, workers=0)
    return replace(config, train=short)


def same(a: Any, b: Any) -> bool:
    """Whether two nested things are equal, tensors and arrays bit by bit."""
    if isinstance(a, Tensor | np.ndarray):
        if type(a) is not type(b) or a.shape != b.shape:
            return False
        x, y = torch.as_tensor(a), torch.as_tensor(b)
        return bool(((x == y) | ((x != x) & (y != y))).all())  # NaN stands for "not known"
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """The run folder of a few steps and what `load` makes of it; each system is trained once.

    Of a system that is not trained: a folder with the preset as it is built.
    """
    made: dict[str, tuple[Path, Any]] = {}

    def get(name: str) -> tuple[Path, Any]:
        if name not in made:
            needs_its_extra(name)
            out = tmp_path_factory.mktemp(name) / "run"
            if not_trained(name):
                config, model = checkpoint.of_preset(name, "tiny")
                path = checkpoint.save(out / "model.safetensors", model, system=name, preset="tiny", config=config)
            else:
                path = training.train(name, tiny(name), out=out, device="cpu")
            made[name] = out, percepta.load(path, device="cpu")
        return made[name]

    return get


@every_system
def test_names(name: str) -> None:
    system = import_module(f"percepta.systems.{name}")
    task = import_module(f"percepta.systems.{name}.task")
    assert {"tiny", "small"} <= set(system.PRESETS)
    for config in system.PRESETS.values():
        assert type(config) is system.Config
        assert isinstance(getattr(config, "train", None), type(None) if not_trained(name) else TrainConfig)
        assert is_dataclass(config) and config.__dataclass_params__.frozen
        assert from_json(system.Config, json.loads(json.dumps(to_json(config)))) == config
    for function in ("build", "data", "loss", "evaluate", "System"):
        assert callable(getattr(task, function)), function
    assert task.System.name == name and task.System.__module__ == f"percepta.systems.{name}.predict"
    assert set(task.PRETRAINED.values()) <= {*weights.TABLE, *weights.ANY_OF}
    assert all(callable(how) or (isinstance(how, str) and how) for how in task.EXPORTS.values())
    assert task.EXPORTS
    assert len((system.__doc__ or "").strip().splitlines()) >= 3, "the paper in ten lines"
    assert name in INPUTS, "say in INPUTS what predict is given"


@every_system
def test_the_parameters_that_the_list_shows(name: str) -> None:
    """The file is written by `python docs/parameters.py`; `percepta list` reads it, so that it needs no torch."""
    build = import_module(f"percepta.systems.{name}.task").build
    listed = read_json(Path(percepta.__file__).parent / "systems" / "parameters.json")
    with torch.device("meta"):
        made = {
            preset: sum(value.numel() for value in build(config).parameters())
            for preset, config in import_module(f"percepta.systems.{name}").PRESETS.items()
        }
    assert listed[name] == made, "run python docs/parameters.py"


@every_system
def test_data_follow_from_their_key(name: str) -> None:
    task, config = import_module(f"percepta.systems.{name}.task"), tiny(name)
    first, again = task.data(config, "train"), task.data(config, "train")
    assert len(first) > 4
    one = first.collate([first[(0, 0)], first[(3, 1)]])
    torch.manual_seed(5)
    np.random.seed(5)
    again[(1, 2)]
    assert same(one, again.collate([again[(0, 0)], again[(3, 1)]]))
    assert not same(one, first.collate([first[(0, 2)], first[(3, 3)]]))
    assert len(task.data(config, "val")) > 0


@every_system
def test_building_follows_from_the_seed(name: str) -> None:
    task, config = import_module(f"percepta.systems.{name}.task"), tiny(name)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(task.build(config).state_dict())
    assert same(dict(states[0]), dict(states[1]))
    assert not same(dict(states[0]), dict(states[2]))


@every_trained_system
def test_the_loss_reaches_what_is_trained(name: str) -> None:
    task, config = import_module(f"percepta.systems.{name}.task"), tiny(name)
    torch.manual_seed(0)
    model, data = task.build(config).train(), task.data(config, "train")
    step = contract.Step(0, 0, torch.Generator().manual_seed(0))
    losses = task.loss(model, data.collate([data[(0, i)] for i in range(4)]), step)
    assert losses["loss"].ndim == 0 and math.isfinite(losses["loss"].item())
    losses["loss"].backward()
    learned = {key: value for key, value in model.named_parameters() if value.requires_grad}
    still = [key for key, value in learned.items() if value.grad is None or not value.grad.isfinite().all()]
    assert learned and still == []


@pytest.mark.parametrize("name", [name for name in TABLE if not_trained(name)])
def test_a_system_without_learning_says_so(name: str, tmp_path: Path) -> None:
    task, config = checkpoint.find_task(name), tiny(name)
    assert isinstance(task, contract.NotTrained)
    step = contract.Step(0, 0, torch.Generator())
    for attempt in (
        lambda: training.train(name, config, out=tmp_path / "run", device="cpu"),
        lambda: task.loss(task.build(config), {}, step),
    ):
        with pytest.raises(InputError, match=re.escape(task.NOT_TRAINED)):
            attempt()
    assert not (tmp_path / "run").exists()


@every_trained_system
def test_training_writes_a_run_that_can_be_read(name: str, trained: Any) -> None:
    out, system = trained(name)
    assert {"config.json", "command", "log.jsonl", "last.pt", "model.safetensors"} <= {p.name for p in out.iterdir()}
    rows = report.read_log(out / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert system.name == name and system.config == tiny(name)
    assert "<svg" in report.training_page(out).read_text()


@every_trained_system
def test_resuming_changes_no_bit(name: str, trained: Any, tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    def stop(done: int, total: int, values: dict[str, float]) -> None:
        if done == 4:  # the last state was written after step 3
            raise EnoughError

    with pytest.raises(EnoughError):
        training.train(name, tiny(name), out=tmp_path / "run", device="cpu", progress=stop)
    path = training.train(name, tiny(name), out=tmp_path / "run", device="cpu")
    _, stopped = checkpoint.read(path)
    _, straight = checkpoint.read(trained(name)[0] / "model.safetensors")
    assert same(stopped, straight)


@every_system
def test_metrics_come_with_how_many_samples(name: str, trained: Any) -> None:
    """An evaluation goes through its data once, in whatever hands; blocks change no number."""
    task, system = import_module(f"percepta.systems.{name}.task"), trained(name)[1]

    class Once:
        """A loader that may be gone through once."""

        def __init__(self, batches: list[Any]) -> None:
            self.batches, self.times = batches, 0

        def __iter__(self) -> Any:
            self.times += 1
            assert self.times == 1
            return iter(self.batches)

        def __len__(self) -> int:
            return len(self.batches)

    some = [*islice(contract.batches(task.data(system.config, "val"), 4), 6)]
    with torch.no_grad():
        found, shown = (task.evaluate(system.model, Once(some), examples=count) for count in (0, 2))
    assert found.metrics and not found.blocks, "blocks are made only where examples are asked for"
    assert found.metrics == shown.metrics
    html = report.Page(name, list(shown.blocks)).html()
    assert all(f"<{tag}" not in html for tag in ("script", "iframe"))
    for key, metric in found.metrics.items():
        assert isinstance(metric, Metric), key
        assert math.isfinite(metric.value) and metric.n > 0, key
        if metric.low is not None and metric.high is not None:
            assert metric.low <= metric.value <= metric.high, key
    assert any(metric.baselines for metric in found.metrics.values()), "what does a trivial answer reach?"
    assert any(metric.low is not None for metric in found.metrics.values()), "how sure are the numbers?"


def walk(system: Any, folder: Path) -> Any:
    """predict, draw, save; returns the result."""
    result = system.predict(*INPUTS[system.name](system))
    assert isinstance(result, contract.Result) and isinstance(system, contract.System)
    drawn = result.draw()
    assert isinstance(drawn, Image.Image) and min(drawn.size) > 8
    assert Path(result.save(folder / "result.png")).is_file()
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["weights"] == result.weights and len(told) > 1
    for line in (result.text, repr(result), repr(system)):
        assert line and "\n" not in line and len(line) < 300
    assert Image.open(io.BytesIO(result._repr_png_())).size == drawn.size
    assert any(path.stat().st_size > 0 for path in folder.iterdir())
    for value in vars(result).values():
        assert not isinstance(value, Tensor), "results are numpy and plain numbers"
    assert result.weights == contract.weights_hash(system.model) != ""
    return result


LOOKS = ("aesthetics", "distill", "hashing", "refer", "weather")  # those that are asked about one picture at a time


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_gives_what_predict_gives(name: str, batch_size: int, trained: Any, tmp_path: Path) -> None:
    """For a folder: every picture in order; one that cannot be read is said and stops nothing."""
    system = trained(name)[1]
    assert isinstance(system, contract.HasStream)
    rng = np.random.default_rng(0)
    names = ["1.png", "2.jpg", "3.png", "10.png"]
    for file in names:
        pixels = rng.integers(0, 256, (24, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((80, 48)).save(tmp_path / file)
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("left out")
    asked = INPUTS[name](system)[1:]
    stream = system.stream(tmp_path, *asked, batch_size=batch_size)
    answers = list(stream)
    assert [answer.source for answer in answers] == names and [answer.index for answer in answers] == [0, 1, 2, 3]
    assert [bool(answer.error) for answer in answers] == [False, True, False, False]
    assert dict(stream.left_out) == {"file ending in .txt": 1}
    for answer in answers:
        if not answer.error:
            alone = numbers_of(system.predict(tmp_path / answer.source, *asked))
            for key, value in numbers_of(answer.result).items():
                assert np.allclose(value, alone[key], atol=1e-5, equal_nan=True), key


@every_system
def test_a_result_can_be_drawn_and_saved(name: str, trained: Any, tmp_path: Path) -> None:
    walk(trained(name)[1], tmp_path)


def numbers_of(result: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(result).items() if isinstance(value, np.ndarray | float)}


@every_system
def test_a_checkpoint_gives_the_same_answers(name: str, trained: Any, tmp_path: Path) -> None:
    _, system = trained(name)
    path = tmp_path / "copy.safetensors"
    checkpoint.save(path, system.model, system=name, preset="tiny", config=system.config)
    twin = percepta.load(path, device="cpu")
    before, after = (numbers_of(one.predict(*INPUTS[name](one))) for one in (system, twin))
    assert before and all(same(before[key], after[key]) for key in before)


@every_system
def test_what_ships_predicts_and_is_saved(name: str, tmp_path: Path) -> None:
    needs_its_extra(name)
    system = percepta.load(name, device="cpu")
    assert isinstance(system.model, torch.nn.Module) and "Apache-2.0" in system.licence
    first = numbers_of(walk(system, tmp_path))
    path = tmp_path / "copy.safetensors"
    header, _ = checkpoint.read(weights.find(f"{name}-small"))
    checkpoint.save(
        path, system.model, system=name, preset="small", config=system.config, frozen=header.frozen, half=True
    )
    again = numbers_of(percepta.load(path, device="cpu").predict(*INPUTS[name](system)))
    assert first and all(same(first[key], again[key]) for key in first)
    twin = pickle.loads(pickle.dumps(system))
    assert same(first, numbers_of(twin.predict(*INPUTS[name](system))))


TOLERANCE = {torch.float64: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.05}  # of scores and probabilities


@pytest.mark.parametrize("dtype", TOLERANCE)
@every_system
def test_other_arithmetic_agrees_or_is_refused(name: str, dtype: torch.dtype) -> None:
    kind = import_module(f"percepta.systems.{name}.task").System
    config = import_module(f"percepta.systems.{name}").PRESETS["small"]
    known = kind.dtypes(config) if isinstance(kind, contract.HasDtypes) else ("float32",)
    if str(dtype).removeprefix("torch.") not in known:
        with pytest.raises(InputError, match=f"{name} computes .*float32.* leave dtype out"):
            percepta.load(name, device="cpu", dtype=dtype)
        return
    plain, other = (percepta.load(name, device="cpu", dtype=kind) for kind in (None, dtype))
    one, two = (numbers_of(system.predict(*INPUTS[name](system))) for system in (plain, other))
    close = {key for key in one if key in ("score", "probability", "vector", "deviation", "quantile")}
    assert close and all(np.allclose(one[key], two[key], atol=TOLERANCE[dtype]) for key in close)


@every_system
def test_what_ships_has_graphs(name: str, tmp_path: Path) -> None:
    """Graphs of the shipped weights agree with torch, and the program of examples/onnx that runs them with percepta."""
    needs_its_extra(name)
    system = percepta.load(name, device="cpu")
    check_graphs(system, tmp_path)
    test_onnx_programs.CHECKS[name](system, tmp_path)


def check_graphs(system: Any, folder: Path) -> None:
    """Every part has a graph that agrees with torch, or a reason why there is none."""
    exports = import_module(f"percepta.systems.{system.name}.task").EXPORTS
    graphs = [part for part, how in exports.items() if not isinstance(how, str)]
    if not graphs:
        pytest.skip(f"{system.name} has no part with a graph: {exports}")
    if any(find_spec(package) is None for package in ("onnx", "onnxscript", "onnxruntime")):
        pytest.skip("the extra percepta[export] is not installed")
    from percepta.export import export

    for part in export(system, folder):
        if part.part in graphs:
            assert part.path is not None and part.path.is_file()
            assert part.relative < 1e-4, part
        else:
            assert part.reason
