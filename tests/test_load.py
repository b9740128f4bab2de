from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

import fake_system
import percepta
from percepta import checkpoint, pretrained, weights
from percepta.contract import weights_hash
from percepta.errors import InputError
from percepta.train import train


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fake_system.install(tmp_path / "assets", monkeypatch.setitem, monkeypatch.setattr)


@pytest.fixture
def run(tmp_path: Path, task: ModuleType) -> Path:
    return train("fake", fake_system.PRESETS["small"], out=tmp_path / "run", device="cpu").parent


def answer(system: Any) -> float:
    return system.predict([1.0, 2.0, 3.0, 4.0, 5.0]).value


def test_importing_is_light() -> None:
    """In seconds of CPU, beyond those of a bare interpreter, because the machine may be busy."""
    heavy = "any(name in sys.modules for name in ('torch', 'numpy'))"
    code = f"import time, sys; a = time.process_time(); import percepta; percepta.systems(); \
print(time.process_time() - a, {heavy})"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
    assert all(run.stdout.split()[1] == "False" for run in runs)
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.1


def test_systems_is_a_list_and_a_package() -> None:
    import percepta.systems.refer as refer

    assert "refer" in percepta.systems() and percepta.systems.refer is refer


def test_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert percepta.__version__ == version("percepta")


def test_a_run_folder_and_its_file_load_alike(run: Path) -> None:
    one, two = percepta.load(run, device="cpu"), percepta.load(str(run / "model.safetensors"), device="cpu")
    assert one.name == "fake" and one.config == fake_system.PRESETS["small"] and not one.model.training
    assert answer(one) == answer(two)
    assert one.predict([1.0] * 5, scale=2.0).value == pytest.approx(2 * one.predict([1.0] * 5).value)


def test_what_ships_is_loaded_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no weights ship for fake, preset small.*percepta train fake"):
        percepta.load("fake")
    asset = weights.ASSETS / "fake-small.safetensors"
    asset.write_bytes((run / "model.safetensors").read_bytes())
    weights.record(asset)
    monkeypatch.setitem(weights.TABLE, "fake-small", weights.Weight("-", "-", "-", assets=(asset.name,)))
    assert answer(percepta.load("fake", device="cpu")) == answer(percepta.load(run, device="cpu"))
    asset.write_bytes(asset.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged"):
        percepta.load("fake")


def test_a_checkpoint_of_ours_as_weights(run: Path) -> None:
    path = run / "model.safetensors"
    assert answer(percepta.load("fake", weights=path, device="cpu")) == answer(percepta.load(run, device="cpu"))
    with pytest.raises(ValueError, match="holds fake, preset small, not fake, preset tiny"):
        percepta.load("fake", preset="tiny", weights=path)


def test_a_published_checkpoint_goes_through_the_systems_keys(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = percepta.load(run, device="cpu")
    path = tmp_path / "published.pth"
    published = {f"module.their_{name}": value for name, value in ours.model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": published}, path)
    with pytest.raises(ValueError, match="reads no published ones"):
        percepta.load("fake", weights=path)
    keys = ModuleType("percepta.systems.fake.keys")
    keys.__spec__ = checkpoint.find_spec("percepta.config")  # any: only that there is one counts
    keys.convert = lambda state, config: {name.removeprefix("their_"): value for name, value in state.items()}
    monkeypatch.setitem(sys.modules, keys.__name__, keys)
    assert answer(percepta.load("fake", weights=path, device="cpu")) == answer(ours)
    del published["module.their_head.bias"]
    torch.save({"state_dict": published}, path)
    with pytest.raises(ValueError, match=r"missing head\.bias"):
        percepta.load("fake", weights=path)


def test_parts_from_files_of_the_users(run: Path) -> None:
    asset = weights.find("fake-image")
    with pytest.warns(UserWarning, match="untrained"):
        system = percepta.load("fake", preset="tiny", weights={"fake-image": asset}, device="cpu")
    assert torch.equal(system.model.image.weight, pretrained.tensors(asset)["weight"])
    again = percepta.load(run, weights={"fake-image": asset}, device="cpu")
    assert answer(again) == answer(percepta.load(run, device="cpu"))


def test_device_dtype_and_evaluation(run: Path) -> None:
    system = percepta.load(run, device="cpu", dtype=torch.float64)
    assert system.model.head.weight.dtype == torch.float64
    found = percepta.load(run, device="cpu").evaluate(batch_size=3)
    assert found.metrics["mae"].n == 4 and found.blocks == []
    assert len(percepta.load(run, device="cpu").evaluate(batch_size=3, examples=2).blocks) == 1
    assert "as the files that were given" in system.licence


def test_a_run_may_say_which_system_it_has_to_be(run: Path) -> None:
    assert percepta.load(run, system="fake", device="cpu").name == "fake"
    with pytest.raises(percepta.InputError, match="holds fake, not refer"):
        percepta.load(run, system="refer", device="cpu")


def test_a_loaded_system_can_be_pickled_and_knows_its_weights(run: Path) -> None:
    system = percepta.load(run, device="cpu")
    twin = pickle.loads(pickle.dumps(system))
    assert answer(twin) == answer(system) and twin.evaluate(batch_size=2).metrics["mae"].n == 4
    assert weights_hash(twin.model) == checkpoint.weights_hash(run / "model.safetensors") != ""


def test_errors_name_what_there_is(tmp_path: Path, task: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"neither a system .*fake.* nor"):
        percepta.load("fakee")
    with pytest.raises(ValueError, match="tiny, small"):
        percepta.load("fake", preset="huge")
    with pytest.raises(ValueError, match="clip-rn50"):
        percepta.load("fake", weights={"clipp": tmp_path})
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        percepta.load(tmp_path)


def test_sample_pictures_come_with_the_package() -> None:
    for name in percepta.SAMPLES:
        with Image.open(percepta.sample(name)) as picture:
            assert picture.format == "JPEG" and min(picture.size) >= 300
    assert sum(percepta.sample(name).stat().st_size for name in percepta.SAMPLES) < 400_000
    with pytest.raises(InputError, match="astronaut, cat, coffee, rocket"):
        percepta.sample("dog")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_process_that_is_forked_after_a_prediction_answers() -> None:
    """It would wait for ever for threads that only its parent has."""
    script = """
import multiprocessing, torch, percepta
torch.set_num_threads(2)
system = percepta.load("distill")
def answer(_=0):
    return system.predict(percepta.sample("cat")).label
print(answer(), flush=True)
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(answer, range(2)).get(60))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["cat", "['cat', 'cat']"]
