from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

import fake_system
from percepta import checkpoint, pretrained, weights
from percepta.config import to_json
from percepta.errors import InputError


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fake_system.install(tmp_path / "assets", monkeypatch.setitem, monkeypatch.setattr)


@pytest.fixture
def saved(tmp_path: Path, task: ModuleType) -> tuple[Path, fake_system.Model]:
    config = fake_system.Config(width=8, dropout=0.25)
    model = task.build(config)
    frozen = pretrained.fill(model, task.PRETRAINED)
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, model, system="fake", preset="custom", config=config, frozen=frozen, step=7)
    return path, model


def rewrite(path: Path, **changes: object) -> None:
    """Changes the header of a checkpoint."""
    header, _ = checkpoint.read(path)
    save_file(load_file(path), path, {"percepta": json.dumps({**vars(header), **changes})})


def test_a_checkpoint_rebuilds_its_model(saved: tuple[Path, fake_system.Model]) -> None:
    path, model = saved
    header, config, again = checkpoint.restore(path)
    assert config == fake_system.Config(width=8, dropout=0.25) and not again.training
    assert (header.system, header.preset, header.step) == ("fake", "custom", 7)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [file.name for file in path.parent.iterdir() if file.suffix != ""] == [path.name]  # no temporary left


def test_others_may_read_a_checkpoint_as_the_umask_says(tmp_path: Path, task: ModuleType) -> None:
    config = fake_system.Config(width=8)
    before = os.umask(0o027)
    try:
        checkpoint.save(tmp_path / "m.safetensors", task.build(config), system="fake", preset="custom", config=config)
    finally:
        os.umask(before)
    assert (tmp_path / "m.safetensors").stat().st_mode & 0o777 == 0o640


def test_frozen_parts_are_named_and_not_stored(saved: tuple[Path, fake_system.Model]) -> None:
    header, state = checkpoint.read(saved[0])
    digest = weights.sha256(weights.find("fake-image"))
    assert header.frozen == {"image": {"weights": "fake-image", "sha256": [digest]}}
    assert not any(name.startswith("image.") for name in state)


def test_other_weights_under_a_checkpoint_are_refused(saved: tuple[Path, fake_system.Model]) -> None:
    asset = weights.ASSETS / "fake-image.safetensors"
    save_file({"weight": torch.zeros(8, 5), "bias": torch.zeros(8)}, asset)
    weights.record(asset)
    with pytest.raises(ValueError, match="image: the checkpoint stands on fake-image with sha256"):
        checkpoint.restore(saved[0])


def test_half_the_size_costs_three_digits(saved: tuple[Path, fake_system.Model], tmp_path: Path) -> None:
    path, model = tmp_path / "half.safetensors", saved[1]
    header = checkpoint.read(saved[0])[0]
    config = fake_system.Config(width=8, dropout=0.25)
    checkpoint.save(path, model, system="fake", preset="custom", config=config, frozen=header.frozen, half=True)
    assert checkpoint.read(path)[1]["head.weight"].dtype == torch.float16
    sums = torch.tensor([1e5 / 3], dtype=torch.float64)  # too large for 16 bits
    model.register_buffer("sums", sums)
    checkpoint.save(
        tmp_path / "s", model, system="fake", preset="custom", config=config, frozen=header.frozen, half=True
    )
    assert torch.equal(checkpoint.read(tmp_path / "s")[1]["sums"], sums)
    again = checkpoint.restore(path)[2]
    assert again.head.weight.dtype == torch.float32
    torch.testing.assert_close(again.head.weight, model.head.weight, rtol=1e-3, atol=1e-6)


def test_nothing_is_half_written(saved: tuple[Path, fake_system.Model], monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = saved
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*m\.safetensors"):
        checkpoint.save(path, model, system="fake", preset="tiny", config=fake_system.Config())
    assert path.read_bytes() == before


def test_what_is_no_checkpoint_is_said_to_be_none(saved: tuple[Path, fake_system.Model], tmp_path: Path) -> None:
    path, odd = saved[0], tmp_path / "odd.safetensors"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        checkpoint.read(tmp_path / "nowhere")
    odd.write_bytes(b"not a checkpoint at all")
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.read(odd)
    odd.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.read(odd)
    save_file({"a": torch.zeros(1)}, odd)
    with pytest.raises(ValueError, match="no header"):
        checkpoint.read(odd)


def test_a_newer_format_and_an_unknown_setting(saved: tuple[Path, fake_system.Model]) -> None:
    path, _ = saved
    rewrite(path, config={**checkpoint.read(path)[0].config, "widht": 8})
    with pytest.raises(ValueError, match=r'unknown setting "widht".*"width"'):
        checkpoint.restore(path)
    rewrite(path, format=checkpoint.FORMAT + 1)
    with pytest.raises(ValueError, match=r"format 2.*reads format 1"):
        checkpoint.read(path)


ENTRY = {"weights": "fake-image", "sha256": ["0"]}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("[1]", "its header is no table of settings"),
        ("7", "its header is no table of settings"),
        ("{", "its header, line 1: not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format": 1, "evil": 2}', 'unknown setting "evil"'),
        ('{"format": 1}', 'setting "system" is missing'),
        ('{"format": "1"}', "'format' has to be a whole number"),
        ({"system": "nope"}, "no system is called 'nope'"),
        ({"system": 3}, '"system" has to be str, got 3'),
        ({"config": []}, '"config" has to'),
        ({"config": {"width": -8}}, "its settings describe no network"),
        ({"config": {"width": 10**9}}, "does not fit this model"),
        ({"frozen": []}, '"frozen" has to'),
        ({"frozen": {"image": "fake-image"}}, '"frozen.image" has to be'),
        ({"frozen": {"image": {"weights": "fake-image"}}}, "frozen part 'image' has no 'sha256'"),
        ({"frozen": {"image": {**ENTRY, "sha256": [0]}}}, "'sha256' has to be a list of texts"),
        ({"frozen": {"image": {**ENTRY, "weights": "nope"}}}, "no weight is called 'nope'"),
        ({"frozen": {"head2": ENTRY}}, "a frozen part 'head2', which fake does not have"),
    ],
)
def test_headers_by_hand(saved: tuple[Path, fake_system.Model], header: object, says: str) -> None:
    """One error that names the file, whatever its header says."""
    path, _ = saved
    if isinstance(header, str):
        save_file(load_file(path), path, {"percepta": header})
    else:
        assert isinstance(header, dict)
        rewrite(path, **header)
    with pytest.raises(InputError, match=rf"m\.safetensors.*{re.escape(says)}"):
        checkpoint.restore(path)


def test_weights_that_are_no_numbers(saved: tuple[Path, fake_system.Model]) -> None:
    path, _ = saved
    header, state = checkpoint.read(path)
    state["head.weight"][0, 0] = float("inf")  # which is a number
    save_file(state, path, {"percepta": json.dumps(vars(header))})
    checkpoint.restore(path)
    state["head.weight"][0, 0] = float("nan")
    save_file(state, path, {"percepta": json.dumps(vars(header))})
    with pytest.raises(InputError, match=r"m\.safetensors: 'head\.weight' holds NaN"):
        checkpoint.restore(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    for read in (checkpoint.read, pretrained.tensors):
        with pytest.raises(InputError, match="a pipe or a device"):
            read(tmp_path / "m.safetensors")


def test_tensors_that_do_not_fit_are_named(saved: tuple[Path, fake_system.Model]) -> None:
    path, _ = saved
    rewrite(path, config=to_json(fake_system.Config(width=8)))
    header, state = checkpoint.read(path)
    save_file({"odd": torch.zeros(1), **state}, path, {"percepta": json.dumps(vars(header))})
    with pytest.raises(ValueError, match="unexpected odd"):
        checkpoint.restore(path)


def test_presets_are_recognised_whatever_the_training(task: ModuleType) -> None:
    config = fake_system.Config()
    assert checkpoint.preset_of("fake", replace(config, train=replace(config.train, lr=7.0))) == "tiny"
    assert checkpoint.preset_of("fake", replace(config, dropout=0.1)) == "small"
    assert checkpoint.preset_of("fake", replace(config, width=9)) == "custom"


def test_an_average_lies_between_two_checkpoints(saved: tuple[Path, fake_system.Model], tmp_path: Path) -> None:
    path, model = saved
    before = {name: value.clone() for name, value in model.state_dict().items()}
    other = checkpoint.restore(path)[2]
    with torch.no_grad():
        for value in other.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn_like(value))
    after = {name: value.clone() for name, value in other.state_dict().items()}
    checkpoint.average(other, path, 0.25)
    for name, value in other.state_dict().items():
        expected = 0.75 * before[name] + 0.25 * after[name] if value.is_floating_point() else after[name]
        torch.testing.assert_close(value, expected)
    checkpoint.average(other, path, 0)
    for name, value in other.state_dict().items():
        assert not value.is_floating_point() or torch.equal(value, before[name])
    with pytest.raises(InputError, match="share lies in"):
        checkpoint.average(other, path, 1.5)
    with pytest.raises(InputError, match="another network"):
        checkpoint.average(torch.nn.Linear(3, 2), path)
