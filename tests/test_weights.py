from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch._utils import _rebuild_tensor_v2 as rebuild

from percepta import pretrained, weights
from percepta.errors import InputError
from percepta.nn.archive import fingerprint
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
    assert len(pretrained.tensors(path)) > 200


def test_shipped_assets_are_what_was_recorded() -> None:
    recorded = json.loads((weights.ASSETS / "SHA256.json").read_text())
    for name, entry in recorded.items():
        content = (weights.ASSETS / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"]), name


def test_a_part_is_filled_from_all_its_files(assets: Path) -> None:
    model = Two()
    rest = model.rest.weight.clone()
    filled = pretrained.fill(model, {"part": "pair", "absent": "clip"})
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
    pretrained.fill(model, {"part": "pair"})
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
    assert list(pretrained.tensors(path)) == ["a"]


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
        pretrained.load_strictly(module, state, "it")
    assert torch.equal(module.weight, before)


class Danger:
    def __reduce__(self):  # what a pickle would run
        return os.mkdir, ("ran",)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Danger()}, "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt"):
        pretrained.tensors(Path("bad.pt"))
    assert not Path("ran").exists()


def torchscript(path: Path, content: bytes, **storages: bytes) -> Path:
    """An archive as TorchScript writes it, with any content."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/code/m.py", "")
        archive.writestr("a/data.pkl", content)
        for key, data in storages.items():
            archive.writestr(f"a/data/{key.removeprefix('s')}", data)
    return path


class Stored:
    """What torch pickles a tensor as: a call of `_rebuild_tensor_v2` with a storage that lies beside."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], count: int) -> None:
        self.size, self.stride, self.count = size, stride, count

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (Storage(self.count), 0, self.size, self.stride, False, {})


class Storage:
    def __init__(self, count: int) -> None:
        self.count = count


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: object, /) -> object:
        return ("storage", torch.FloatStorage, "0", "cpu", obj.count) if isinstance(obj, Storage) else None


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickled(Stored((10**6, 10**6), (0, 0), 2)), "a tensor of"),
        (pickled(Stored((3,), (1,), 3)), "storage 0 has 8 bytes"),
        (b"\x80\x02]r\xff\xff\xff\xff.", "holds a list|no tensors"),  # puts it at place 4294967295 of a memo
        (b"", "EOFError"),
        (b"c__torch__\nM\n)\x81}(U\x01aU\x01bub.", ""),
    ],
)
def test_a_torchscript_archive_takes_no_more_memory_than_it_has(tmp_path: Path, content: bytes, says: str) -> None:
    path = torchscript(tmp_path / "a.pt", content, s0=bytes(8))
    if not says or "list" in says:
        assert pretrained.tensors(path) == {}
        return
    with pytest.raises(InputError, match=rf"a\.pt.*({says})"):
        pretrained.tensors(path)


def test_a_module_that_names_itself_has_an_end(tmp_path: Path) -> None:
    content = b"c__torch__\nM\n)\x81q\x00}U\x04selfh\x00sb."
    with pytest.raises(InputError, match="more than 10000 modules"):
        pretrained.tensors(torchscript(tmp_path / "a.pt", content))


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("a/data/0", bytes(100 << 20))
    with pytest.raises(InputError, match="unpacks to"):
        pretrained.tensors(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"cbuiltins\nbytearray\n(L99999999999L\ntR.")
        archive.writestr("a/version", "3")
    with pytest.raises(InputError, match="bytearray"):
        pretrained.tensors(path)


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: 'a' is no plain tensor of \(1000000, 1000000\)"):
        pretrained.tensors(tmp_path / "a.pt")
    torch.save({"a": torch.tensor([1.0, float("nan")])}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: 'a' holds NaN"):
        pretrained.tensors(tmp_path / "a.pt")
    torch.save({"a": torch.full((9,), 60000.0).half(), "b": torch.tensor([float("inf")])}, tmp_path / "a.pt")
    assert set(pretrained.tensors(tmp_path / "a.pt")) == {"a", "b"}


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"a", b"bc"):
        path.write_bytes(content)
        assert weights.sha256(path) == hashlib.sha256(content).hexdigest()


def test_the_fingerprint_is_of_names_types_shapes_and_every_value() -> None:
    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([3], dtype=torch.int16), "none": torch.zeros(0, 2)}
    words = b"a torch.int16 (1,)\n\3\0b torch.float32 (2, 3)\n" + state["b"].numpy().tobytes()
    words += b"none torch.float32 (0, 2)\n"
    assert fingerprint(state) == hashlib.sha256(words).hexdigest()[:16]
    assert fingerprint(dict(reversed(state.items()))) == fingerprint(state)
    assert fingerprint(state | {"b": state["b"].T.contiguous().T}) == fingerprint(state), "however it lies in memory"
    for row in range(2):
        for column in range(3):
            other = state["b"].clone()
            other[row, column] += 1
            assert fingerprint(state | {"b": other}) != fingerprint(state)
    for changed in (state["b"].reshape(3, 2), state["b"].view(torch.int32)):
        assert fingerprint(state | {"b": changed}) != fingerprint(state)
