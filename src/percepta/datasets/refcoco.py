"""RefCOCO, RefCOCO+ and RefCOCOg (G-Ref): what people wrote about single objects of COCO train2014 pictures.

Yu et al. 2016 (RefCOCO, RefCOCO+: splits by UNC), Mao et al. 2016 (RefCOCOg: splits by Google and by UMD).
Two layouts:

- published: <root>/refcoco/refs(unc).p and <root>/refcoco/instances.json (RefCOCOg: umd, google)
- prepared for CRIS: <root>/anns/<dataset>/<split>.json and <root>/masks/<dataset>/<ref_id>.png, where the
  dataset is refcoco, refcoco+, refcocog_u or refcocog_g

and the pictures in images/train2014 (or one of `PICTURES`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from percepta.datasets import coco
from percepta.datasets.coco import UnionMask, ident
from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import SPLITS, MaskSource, PngMask, Region, Scene, unused
from percepta.errors import InputError, MissingFileError
from percepta.files import file_named, is_system_file
from percepta.formats import checked, field, kind_of, read_json, read_pickle, short

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
    return sorted(path for pattern in patterns for path in root.glob(pattern) if not is_system_file(path))


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
            reader = read_published if part.splitter else read_prepared
            out += reader(part.path, images, problems)
    if warnings is not None and not found[0].splitter:
        warnings += unused(root, ("masks",), out)
    return out


def _label(part: Part) -> str:
    return f"{part.dataset} ({part.splitter})" if part.splitter else part.dataset


def read_published(path: Path, images: Path | None = None, problems: list[Problem] | None = None) -> list[Scene]:
    """All references of refs(...).p with the instances.json beside it.

    Args:
        path: of the references.
        images: folder of the pictures; None looks in the usual places.
        problems: gets references that are wrong, which are then left out; None: the first is raised.

    Raises:
        MissingFileError, InputError: as in `read`.
    """
    refs = load_refs(path)
    table_path = path.parent / "instances.json"
    if not table_path.is_file():
        raise MissingFileError(f"{table_path}: no such file; it comes in the same archive as {path.name}")
    table = coco.load(table_path, problems)
    masks = {one.id: one for one in table.objects}
    # A picture's name is taken from instances.json: the one in the reference carries the object's number as
    # well.
    name = path.parent.resolve().name
    part = _label(Part(name, path.stem.removeprefix("refs(").removesuffix(")"), path))
    wanted = [table.pictures[key].file for ref in refs if (key := _hashable(ref, "image_id")) in table.pictures]
    folder = images
    out = []
    for i, ref in enumerate(refs):
        where = f"{path}: reference {short(ref.get('ref_id', i), 20)}" if isinstance(ref, dict) else f"{path}: [{i}]"
        with noting(problems, path):
            if missing := [key for key in ("ref_id", "ann_id", "image_id", "split", "sentences") if key not in ref]:
                raise InputError(f"{path}: reference {i} has no {', '.join(missing)}")
            split = field(ref, "split", str, where)
            if split not in SPLITS:
                continue
            key = ident(ref, "image_id", where)
            numbers = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ident(ref, "ann_id", where)]
            numbers = [number for number in numbers if isinstance(number, int | str)]
            if key not in table.pictures or not numbers or any(number not in masks for number in numbers):
                listed = ", ".join(map(str, numbers)) or short(ref["ann_id"])
                raise InputError(f"{where}: picture {key} or object {listed} is not in {table_path}")
            picture, objects = table.pictures[key], [masks[number] for number in numbers]
            parts = tuple(one.mask for one in objects if one.mask is not None)
            if len(parts) < len(objects):
                raise InputError(f"{where}: object {objects[0].id} has no segmentation")
            mask: MaskSource = parts[0] if len(parts) == 1 else UnionMask(parts)
            region = Region(mask, objects[0].name if len(parts) == 1 else "", _sentences(ref, where))
            if folder is None:
                folder = _pictures([path.parent.parent, path.parent], wanted)
            file = _picture(folder, picture.file, where)
            out.append(Scene(file, (region,), name, f"coco/{key}", split=split, part=part))
    return out


def read_prepared(path: Path, images: Path | None = None, problems: list[Problem] | None = None) -> list[Scene]:
    """The references of anns/<dataset>/<split>.json with their masks/<dataset>/<ref_id>.png.

    Args:
        path: of the JSON.
        images: folder of the pictures; None looks in the usual places.
        problems: gets references that are wrong, which are then left out; None: the first is raised.
    """
    root, dataset = path.parent.resolve().parent.parent, path.parent.resolve().name
    entries = checked(read_json(path), list, f"{path}: its content")
    names = [entry["img_name"] for entry in entries if isinstance(entry, dict) and type(entry.get("img_name")) is str]
    folder = images
    out = []
    for i, entry in enumerate(entries):
        where = f"{path}: entry {i}"
        with noting(problems, path):
            if not isinstance(entry, dict):
                raise InputError(f"{where}: expected an object, found {kind_of(entry)}")
            if missing := [key for key in ("segment_id", "img_name", "sentences") if key not in entry]:
                raise InputError(f"{where} has no {', '.join(missing)}")
            name, number = field(entry, "img_name", str, where), ident(entry, "segment_id", where)
            region = Region(PngMask(root / "masks" / dataset / f"{number}.png"), "", _sentences(entry, where))
            if folder is None:
                folder = _pictures([root], names)
            file, group = _picture(folder, name, where), f"coco/{Path(name).stem}"
            out.append(Scene(file, (region,), dataset, group, split=path.stem, part=dataset))
    return out


def _hashable(ref: Any, key: str) -> int | str | None:
    value = ref.get(key) if isinstance(ref, dict) else None
    return value if isinstance(value, int | str) else None


def _picture(folder: Path, name: str, where: str) -> Path:
    path = file_named(folder, name)
    if path is None:
        raise MissingFileError(f"{where}: no picture {folder / name}")
    return path


def _sentences(ref: dict[str, Any], where: str) -> tuple[str, ...]:
    try:
        sentences = tuple(sentence["sent"].strip() for sentence in ref["sentences"])
        good = all(isinstance(sentence, str) and sentence for sentence in sentences)
    except (TypeError, KeyError, AttributeError):
        raise InputError(f'{where}: its sentences are no list of {{"sent": ...}}') from None
    if not sentences or not good:
        raise InputError(f"{where} has an empty sentence, or none")
    return sentences


def _pictures(roots: list[Path], names: Sequence[str]) -> Path:
    """The folder that has most of some pictures."""
    folders = [root / name for root in roots for name in PICTURES]
    tried = names[:: max(1, len(names) // 50)]
    counts = [sum(file_named(folder, name) is not None for name in tried) for folder in folders]
    if names and max(counts):
        return folders[counts.index(max(counts))]
    looked, first = ", ".join(str(folder) for folder in folders), names[0] if names else "the first picture"
    raise MissingFileError(f"{first} (a picture of COCO train2014) is in none of {looked}; name the folder")


def load_refs(path: Path) -> list[dict[str, Any]]:
    """The list in a refs(...).p file, written by Python 2 or 3, loaded without running anything.

    Raises:
        InputError: damaged, holding a class (which is named), or not a list. Entries that are no table come empty.
    """
    refs = read_pickle(path, {(module, kind.__name__): kind for module in _BUILTINS for kind in (set, frozenset)})
    if not isinstance(refs, list | tuple):
        raise InputError(f"{path}: expected a list of references, found {kind_of(refs)}")
    # Keys are bytes where Python 3 wrote them so.
    return [{str(_text(key)): value for key, value in ref.items()} if isinstance(ref, dict) else {} for ref in refs]


def _text(key: object) -> object:
    return key.decode("latin1") if isinstance(key, bytes) else key


_BUILTINS = ("builtins", "__builtin__")  # what Python 3 and Python 2 call it

READS = {Scene: read}
