"""RefCOCO, RefCOCO+ and RefCOCOg (G-Ref): what people wrote about single objects of COCO train2014 pictures.

Yu et al. 2016 (RefCOCO, RefCOCO+: splits by UNC), Mao et al. 2016 (RefCOCOg: splits by Google and by UMD).
Two layouts:

- published: <root>/refcoco/refs(unc).p and <root>/refcoco/instances.json (RefCOCOg: umd, google)
- prepared for CRIS: <root>/anns/<dataset>/<split>.json and <root>/masks/<dataset>/<ref_id>.png, where the
  dataset is refcoco, refcoco+, refcocog_u or refcocog_g

and the pictures in images/train2014 (or one of `PICTURES`).
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from percepta.datasets import coco
from percepta.datasets.coco import CocoMask
from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import SPLITS, PngMask, Region, Scene, unused
from percepta.errors import InputError, MissingFileError

NAME = "RefCOCO, RefCOCO+ or RefCOCOg"
FILES = (
    "refs(unc|umd|google).p beside instances.json, here or one folder down, or one such .p; or, prepared for CRIS, "
    "anns/<dataset>/<split>.json with masks/<dataset>/<ref_id>.png"
)
PICTURES = (
    "images/train2014",
    "images/mscoco/images/train2014",
    "images/mscoco/train2014",
    "train2014",
    "images",
)


class Part(NamedTuple):
    """One file of references: its dataset ("refcoco"), who split it ("unc"; "" when prepared) and where it
    is."""

    dataset: str
    splitter: str
    path: Path


@dataclass(frozen=True)
class Item:
    """One sample: positions in the list of scenes, in its regions and its sentences (None: draw one at
    random)."""

    scene: int
    region: int
    sentence: int | None


def protocol(scenes: Sequence[Scene], split: str) -> list[Item]:
    """The samples of a split as CRIS counts them, in the order of the file.

    train: one sample a reference, with a sentence drawn anew each time (None). val: the first sentence of
        every
    reference. test, testA, testB: every sentence.
    """
    if split not in SPLITS:
        raise InputError(f"the splits are {', '.join(SPLITS)}, not {split!r}")
    out = []
    for i, scene in enumerate(scenes):
        for j, region in enumerate(scene.regions):
            if split == "train":
                picks: Sequence[int | None] = [None]
            else:
                picks = range(len(region.sentences))[: 1 if split == "val" else None]
            out += [Item(i, j, k) for k in picks]
    return out


def is_one(root: Path) -> bool:
    """Whether there are references, in either layout, here or one folder down."""
    return bool(parts(root))


def parts(root: Path) -> list[Part]:
    """The files of references that a path means: the prepared ones, else the published ones.

    Args:
        root: the folder of either layout, that of one dataset (refcoco/, anns/refcoco/), or a refs(...).p.
    """
    if root.is_file():
        files = [root] if root.match("refs(*).p") else []
    else:
        inside = ("*.json",) if root.resolve().parent.name == "anns" else ("anns/*/*.json",)
        files = [path for path in _glob(root, *inside) if path.stem in SPLITS]
        files = files or _glob(root, "refs(*).p", "*/refs(*).p")
    return [
        Part(
            path.parent.resolve().name,
            path.stem.removeprefix("refs(").removesuffix(")") if path.suffix == ".p" else "",
            path,
        )
        for path in files
    ]


def _glob(root: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def read(
    root: Path,
    problems: list[Problem] | None = None,
    warnings: list[Problem] | None = None,
    *,
    dataset: str = "",
    splitter: str = "",
    images: Path | None = None,
) -> list[Scene]:
    """One scene a reference, in the order of the file, its group being the picture. All splits of one dataset.

    A picture with several references comes several times, so that references keep their published order;
    what belongs to one picture shares `group`.

    Args:
        root: what `parts` takes.
        problems, warnings: as `scene.py` says. With a list of problems all datasets of the folder are read.
        dataset, splitter: needed where the folder holds more than one; "refcocog" with "umd".
        images: folder of the pictures; None looks in the usual places.

    Raises:
        MissingFileError: no references, or no folder with the pictures.
        InputError: more than one dataset to choose from, a damaged file, or a pickle that holds anything but plain
            containers.
    """
    found = [p for p in parts(root) if dataset in ("", p.dataset) and splitter in ("", p.splitter)]
    if not found:
        wanted = f" of {dataset or 'any dataset'}{f' split by {splitter}' if splitter else ''}"
        have = ", ".join(_label(part) for part in parts(root))
        raise MissingFileError(
            f"{root}: no references{wanted}; looked for anns/<dataset>/<split>.json, refs(*).p and "
            f"*/refs(*).p, found {have or 'none'}"
        )
    labels = list(dict.fromkeys(map(_label, found)))
    if len(labels) > 1:
        one = found[0].path if found[0].splitter else found[0].path.parent
        text = (
            f"more than one set of references ({', '.join(labels)}); name dataset and splitter, or give the "
            f"folder or the file of one, such as {one}"
        )
        if problems is None:
            raise InputError(f"{root}: {text}")
        if warnings is not None:
            warnings.append(Problem(root, None, text))
    out: list[Scene] = []
    for part in found:
        with noting(problems, part.path):
            out += read_published(part.path, images) if part.splitter else read_prepared(part.path, images)
    if warnings is not None and not found[0].splitter:
        warnings += unused(root, ("masks",), out)
    return out


def _label(part: Part) -> str:
    return f"{part.dataset} ({part.splitter})" if part.splitter else part.dataset


def read_published(path: Path, images: Path | None = None) -> list[Scene]:
    """All references of refs(...).p with the instances.json beside it; errors as in `read`."""
    refs = [ref for ref in load_refs(path) if ref["split"] in SPLITS]
    table_path = path.parent / "instances.json"
    if not table_path.is_file():
        raise MissingFileError(f"{table_path}: no such file; it comes in the same archive as {path.name}")
    table = coco.load(table_path)
    pictures = {picture["id"]: picture for picture in table["images"]}
    objects = {entry["id"]: entry for entry in table["annotations"]}
    names = {category["id"]: str(category["name"]) for category in table["categories"]}
    # A picture's name is taken from instances.json: the one in the reference carries the object's number as
    # well.
    folder = images
    name = path.parent.resolve().name
    part = _label(Part(name, path.stem.removeprefix("refs(").removesuffix(")"), path))
    out = []
    for ref in refs:
        where = f"{path}: reference {ref['ref_id']}"
        if ref["image_id"] not in pictures or ref["ann_id"] not in objects:
            raise InputError(f"{where}: picture {ref['image_id']} or object {ref['ann_id']} is not in {table_path}")
        picture, entry = pictures[ref["image_id"]], objects[ref["ann_id"]]
        if not entry.get("segmentation"):
            raise InputError(f"{where}: object {ref['ann_id']} has no segmentation")
        if folder is None:
            folder = _pictures([path.parent.parent, path.parent], picture["file_name"])
        mask = CocoMask(entry["segmentation"], int(picture["height"]), int(picture["width"]))
        region = Region(mask, names.get(entry["category_id"], ""), _sentences(ref, where))
        file, group = folder / picture["file_name"], f"coco/{ref['image_id']}"
        out.append(Scene(file, (region,), name, group, split=ref["split"], part=part))
    return out


def read_prepared(path: Path, images: Path | None = None) -> list[Scene]:
    """The references of anns/<dataset>/<split>.json with their masks/<dataset>/<ref_id>.png."""
    root, dataset = path.parent.resolve().parent.parent, path.parent.resolve().name
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of references, found {type(entries).__name__}")
    folder = images
    out = []
    for i, entry in enumerate(entries):
        where = f"{path}: entry {i}"
        needed = ("segment_id", "img_name", "sentences")
        missing = [key for key in needed if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise InputError(f"{where} has no {', '.join(missing)}")
        if folder is None:
            folder = _pictures([root], entry["img_name"])
        mask = PngMask(root / "masks" / dataset / f"{entry['segment_id']}.png")
        region = Region(mask, "", _sentences(entry, where))
        file, group = folder / entry["img_name"], f"coco/{Path(entry['img_name']).stem}"
        out.append(Scene(file, (region,), dataset, group, split=path.stem, part=dataset))
    return out


def _sentences(ref: dict[str, Any], where: str) -> tuple[str, ...]:
    try:
        sentences = tuple(str(sentence["sent"]).strip() for sentence in ref["sentences"])
    except (TypeError, KeyError):
        raise InputError(f'{where}: its sentences are no list of {{"sent": ...}}') from None
    if not sentences or not all(sentences):
        raise InputError(f"{where} has an empty sentence, or none")
    return sentences


def _pictures(roots: list[Path], first: str) -> Path:
    folders = [root / name for root in roots for name in PICTURES]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in folders)
    raise MissingFileError(f"{first} (a picture of COCO train2014) is in none of {looked}; name the folder")


class _PlainUnpickler(pickle.Unpickler):
    """Lists, tuples, dicts, sets, texts and numbers: nothing that could run code when it is loaded."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        plain = {"set": set, "frozenset": frozenset}
        if module_name in ("builtins", "__builtin__") and global_name in plain:
            return plain[global_name]
        raise pickle.UnpicklingError(f"it holds {module_name}.{global_name}, not only plain containers")


def load_refs(path: Path) -> list[dict[str, Any]]:
    """The list in a refs(...).p file, written by Python 2 or 3, loaded without running anything.

    Raises:
        InputError: damaged, holding a class (which is named), or not a list of references.
    """
    try:
        with path.open("rb") as file:
            refs = _PlainUnpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: this pickle is not read: {error}") from None
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path}: not a pickle, or damaged ({type(error).__name__}: {error})") from None
    if not isinstance(refs, list | tuple):
        raise InputError(f"{path}: expected a list of references, found {type(refs).__name__}")
    out = []
    for i, ref in enumerate(refs):
        if isinstance(ref, dict):  # keys are bytes where Python 3 wrote them so
            ref = {k.decode() if isinstance(k, bytes) else k: v for k, v in ref.items()}
        needed = ("ref_id", "ann_id", "image_id", "split", "sentences")
        missing = [key for key in needed if not isinstance(ref, dict) or key not in ref]
        if missing:
            raise InputError(f"{path}: reference {i} has no {', '.join(missing)}")
        out.append(ref)
    return out


READS = {Scene: read}
