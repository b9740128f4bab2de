from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from percepta import weights
from percepta.weights import ANY_OF, TABLE, Weight


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of assets with one weight of two files, "pair"."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name, state in {"a": {"weight": torch.ones(3, 2)}, "b": {"bias": torch.full((3,), 2.0)}}.items():
        save_file(state, folder / f"{name}.safetensors")
        weights.record(folder / f"{name}.safetensors")
    monkeypatch.setattr(weights, "ASSETS", folder)
    monkeypatch.setitem(TABLE, "pair", Weight("two halves", "-", "-", assets=("a.safetensors", "b.safetensors")))
    return folder


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.rest = nn.Linear(2, 3), nn.Linear(2, 3)


def test_every_weight_says_where_it_comes_from_and_under_which_terms() -> None:
    for name, weight in TABLE.items():
        assert weight.source and weight.code and weight.data, name
        assert weight.assets or (weight.sha256 and len(weight.sha256) == 64), name
    assert all(choice in TABLE for choices in ANY_OF.values() for choice in choices)


def test_the_wheel_has_the_published_file() -> None:
    path = weights.find("efficientnet-lite0")
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("57934424")
    assert len(weights.tensors(path)) > 200


def test_shipped_assets_are_what_was_recorded() -> None:
    recorded = json.loads((weights.ASSETS / "SHA256.json").read_text())
    for name, entry in recorded.items():
        content = (weights.ASSETS / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"]), name


def test_a_part_is_filled_from_all_its_files(assets: Path) -> None:
    model = Two()
    rest = model.rest.weight.clone()
    filled = weights.fill(model, {"part": "pair", "absent": "clip"})
    assert torch.equal(model.part.weight, torch.ones(3, 2)) and torch.equal(model.part.bias, torch.full((3,), 2.0))
    assert torch.equal(model.rest.weight, rest)
    digests = [hashlib.sha256((assets / f"{n}.safetensors").read_bytes()).hexdigest() for n in "ab"]
    assert filled == {"part": {"weights": "pair", "sha256": digests}}


def test_a_part_may_read_its_files_itself(assets: Path) -> None:
    class Reader(nn.Linear):
        def read(self, *paths: Path) -> None:
            self.paths = [path.name for path in paths]

    model = Two()
    model.part = Reader(2, 3)
    weights.fill(model, {"part": "pair"})
    assert model.part.paths == ["a.safetensors", "b.safetensors"]


def test_a_damaged_asset_is_refused(assets: Path) -> None:
    file = assets / "b.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.safetensors is damaged.*expected sha256"):
        weights.files("pair")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="two halves"):
        weights.files("pair")
    save_file({}, assets / "c.safetensors")
    with pytest.raises(ValueError, match="cannot be verified"):
        weights._verified(assets / "c.safetensors", None, None, TABLE["pair"])


def test_what_only_the_user_has_is_asked_for() -> None:
    with pytest.raises(FileNotFoundError) as error:
        weights.find("clip")
    for word in ("RN50.pt", "RN101.pt", TABLE["clip-rn50"].sha256, "--weights clip=PATH"):
        assert str(word) in str(error.value)
    with pytest.raises(ValueError, match="efficientnet-lite0"):
        weights.find("nonsense")


def test_a_file_of_the_users_is_taken_with_a_word_about_its_sha256(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "RN50.pt"
    torch.save({"state_dict": {"module.a": torch.ones(2)}}, path)
    with pytest.warns(UserWarning, match="re-saved"):
        assert weights.find("clip", path) == path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(TABLE, "clip-rn101", Weight("-", "-", "-", sha256=digest))
    assert weights.find("clip", path) == path  # no warning, which would be an error
    assert list(weights.tensors(path)) == ["a"]


@pytest.mark.parametrize("change", ["missing", "odd", "shape"])
def test_what_does_not_fit_is_named_and_nothing_is_copied(change: str) -> None:
    module = nn.Linear(2, 3)
    before = module.weight.clone()
    state = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
    match change:
        case "missing":
            del state["bias"]
        case "odd":
            state["extra"] = torch.zeros(1)
        case "shape":
            state["bias"] = torch.zeros(4)
    with pytest.raises(ValueError, match="extra" if change == "odd" else "bias"):
        weights.load_strictly(module, state, "it")
    assert torch.equal(module.weight, before)


class Danger:
    def __reduce__(self):  # what a pickle would run
        return os.mkdir, ("ran",)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Danger()}, "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt"):
        weights.tensors(Path("bad.pt"))
    assert not Path("ran").exists()


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"a", b"bc"):
        path.write_bytes(content)
        assert weights.sha256(path) == hashlib.sha256(content).hexdigest()
