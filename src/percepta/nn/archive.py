"""Weight files of others: the tensors in them, read without running anything, and whether they fit a model."""

from __future__ import annotations

import hashlib
import math
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from percepta.errors import InputError, MissingFileError
from percepta.files import check_regular
from percepta.formats import PlainUnpickler, short

# Sizes that OpenAI's archives carry beside the weights.
SIZES = ("input_resolution", "context_length", "vocab_size")
_SPARE_BYTES = 64 << 20  # by which the content of an archive may be larger than its file: code and tables are packed
_MODULES = 10_000  # of a TorchScript archive


def read_archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, a torch.save file or one of OpenAI's TorchScript archives, on the CPU.

    Nothing in the file is run: pickles are read with `weights_only`, and of a TorchScript archive, which is a program,
    only the tensors, by an unpickler that knows nothing but containers and tensors. Dictionaries around the state
    ("state_dict_ema", "state_dict", "model", "network", "weights") are opened.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is none of the three, holds something else than tensors, or NaN.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"no file {path}: give the path of a checkpoint (.pt, .pth or .safetensors)")
    check_regular(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        if _is_torchscript(path):
            return _plain(_read_torchscript(path), path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # torch raises whatever its readers met: pickle, zip, runtime errors
        raise InputError(
            f"{path} can not be read as a checkpoint without running code from it; expected tensors saved by "
            f"torch.save or OpenAI's TorchScript archive ({short(str(error) or type(error).__name__, 300)})"
        ) from error
    return _plain(state_of(content, str(path)), path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no safetensors file, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _plain(load_file(check_regular(path)), path)
    except InputError:
        raise
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file, or a damaged one ({error})") from error
    except (KeyError, ValueError, RuntimeError) as error:  # a type of numbers that torch does not have
        raise InputError(f"{path}: a tensor in it cannot be read ({error})") from error


def _plain(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The same; InputError where a tensor is no array of its own numbers, or holds NaN."""
    for name, value in state.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InputError(f"{path}: {short(name)} is no plain tensor of {tuple(value.shape)}")
        # A sum is quicker than a look at every number, and NaN where one is; it may be infinite without one.
        if value.is_floating_point() and not math.isfinite(float(value.sum())) and bool(value.float().isnan().any()):
            raise InputError(f"{path}: {short(name)} holds NaN: its training has gone wrong, or the file is damaged")
    return state


def state_of(content: object, source: str = "the checkpoint") -> dict[str, Tensor]:
    """The state inside what a training script saved, without "state_dict", "model" and the like around it."""
    for wrapper in ("state_dict_ema", "state_dict", "model", "network", "weights"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise InputError(f"{source} holds a {type(content).__name__}; expected a dictionary of tensors")
    odd = [key for key, value in content.items() if not isinstance(value, Tensor) and key not in SIZES]
    if odd:
        raise InputError(f"{source} holds entries that are no tensors: {', '.join(map(short, odd[:8]))}")
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def check_keys(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str, *, optional: Iterable[str] = ()
) -> None:
    """Compares names and shapes, and names everything that differs in one InputError.

    Args:
        expected: tensors of the model, by name.
        given: tensors of a file, by name.
        source: what the message calls the file.
        optional: names that the file need not have.
    """
    optional = set(optional)
    problems = [f"missing {key}" for key in expected if key not in given and key not in optional]
    problems += [f"unexpected {key}" for key in given if key not in expected]
    problems += [
        f"{key} has shape {tuple(given[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    if problems:
        listed = "\n  ".join(problems)
        raise InputError(f"{source} does not fit this model ({len(problems)} differences):\n  {listed}")


def _is_torchscript(path: Path) -> bool:
    """TorchScript archives are zips with a folder "code"; torch.save writes zips without one."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
        if unpacked > size + _SPARE_BYTES:
            raise InputError(f"{path}: a file of {size} bytes that unpacks to {unpacked}; weights are not packed")
        for entry in entries:
            # The one thing that torch's reader of weights makes as large as the file says.
            if entry.filename.endswith("data.pkl") and b"bytearray" in archive.read(entry):
                raise InputError(f"{path}: it holds a bytearray, which is no tensor")
        return any("code" in Path(entry.filename).parts[:-1] for entry in entries)


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """{dotted name: tensor} of the modules in a TorchScript archive; its code is not looked at."""
    with zipfile.ZipFile(path) as archive:
        data = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if not data:
            raise pickle.UnpicklingError("it has no data.pkl")
        root = _Tensors(archive, data[0].removesuffix(".pkl")).load()
    state: dict[str, Tensor] = {}
    todo: list[tuple[str, object]] = [("", root)]
    opened = 0
    while todo:
        prefix, module = todo.pop(0)
        if not isinstance(module, _Module):
            continue
        opened += 1
        if opened > _MODULES:  # one that names itself has no end
            raise pickle.UnpicklingError(f"it has more than {_MODULES} modules")
        values = vars(module)
        state |= {f"{prefix}{name}": value for name, value in values.items() if isinstance(value, Tensor)}
        todo += [(f"{prefix}{name}.", value) for name, value in values.items() if isinstance(value, _Module)]
    return state


class _Module:
    """What stands for an object of a TorchScript archive: its attributes, and nothing that could be called."""


class _Tensors(PlainUnpickler):
    """Reads data.pkl of a TorchScript archive: containers, numbers, texts, tensors, and modules as `_Module`."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.read(f"{folder}.pkl"), {})
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str, /) -> object:
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _tensor
        if module == "collections" and name == "OrderedDict":
            return dict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module.startswith("__torch__"):
            return _Module
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return list
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: tuple[str, torch.dtype, str, str, int]) -> Tensor:
        _, dtype, key, _, count = pid
        data = self.archive.read(f"{self.folder}/{key}")
        if not isinstance(dtype, torch.dtype) or len(data) != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} has {len(data)} bytes, which are not {count} numbers")
        return torch.frombuffer(bytearray(data), dtype=dtype) if count else torch.empty(0, dtype=dtype)


_STORAGES = {
    "FloatStorage": torch.float32, "HalfStorage": torch.float16, "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """A tensor from its storage; torch refuses sizes that reach beyond it."""
    if math.prod(size) > storage.numel():  # a stride of 0 would repeat one number as often as the file says
        raise pickle.UnpicklingError(f"a tensor of {size} from {storage.numel()} numbers")
    return torch.as_strided(storage, size, stride, offset).clone()


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A hash of tensors: of their names, types, shapes and values, whatever file they lie in.

    Returns:
        The first 16 hexadecimal digits of the sha256.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]
