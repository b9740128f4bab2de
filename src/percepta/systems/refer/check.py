"""Looks through a folder of data before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from percepta.datasets import coco, davis, folder, refcoco
from percepta.datasets.problem import Findings, Problem
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.errors import InputError, MissingFileError
from percepta.media import draw, image

# name -> (what it is, what is looked for), in the order in which they are tried
LAYOUTS: dict[str, tuple[str, str]] = {
    "prepared": (
        "RefCOCO prepared for CRIS",
        "anns/<dataset>/<split>.json with masks/<dataset>/<ref_id>.png",
    ),
    "published": (
        "RefCOCO as published",
        "refs(unc|umd|google).p beside instances.json, here or one folder down",
    ),
    "folder": ("a folder of one's own", "sentences.csv (image,sentence) with images/ and masks/"),
    "davis": ("DAVIS-2016", "JPEGImages/ with Annotations/"),
    "coco": ("COCO instances", "instances*.json, here or in annotations/, with a folder of pictures"),
}
MOST_WORDS = 22
T = TypeVar("T")


class Report(Findings[tuple[Scene, Region]]):
    """What `check` found.

    Attributes:
        layout: a key of `LAYOUTS`.
        counts: "pictures", "masks", "sentences" and what else can be counted, by name.
        examples: good (scene, region) pairs, spread over the data, for `sheet`.
    """

    @property
    def title(self) -> str:
        return f"{self.root}: {LAYOUTS[self.layout][0]}"

    def sheet(self, columns: int = 4, width: int = 1400) -> Image.Image:
        """Contact sheet of the examples with their masks drawn and their sentences below.

        Raises:
            InputError: there is no good example to show.
        """
        if not self.examples:
            raise InputError(f"{self.root}: no picture with a good mask to show")
        pictures, captions = [], []
        for scene, region in self.examples:
            pixels = image.read(scene.image, long_side=640)
            mask = Image.fromarray(region.mask.read()).resize((pixels.shape[2], pixels.shape[1]))
            pictures.append(draw.overlay(pixels, np.asarray(mask)))
            captions.append(region.sentences[0] if region.sentences else region.name or scene.image.name)
        return draw.sheet(pictures, columns, width, captions)


def layout(root: Path) -> str:
    """Which of `LAYOUTS` a folder (or a COCO JSON) is.

    Raises:
        MissingFileError: no such path.
        InputError: none of them; says what was looked for.
    """
    if not root.exists():
        raise MissingFileError(f"{root}: no such folder")
    found = {part.splitter for part in refcoco.parts(root)}
    if found:
        return "prepared" if "" in found else "published"
    if root.is_file():
        if root.suffix.lower() == ".json":
            return "coco"
        raise InputError(f"{root}: give the folder that holds the data, an instances JSON or a refs(...).p")
    if (root / folder.TABLE).is_file():
        return "folder"
    if (root / "JPEGImages").is_dir() and (root / "Annotations").is_dir():
        return "davis"
    if [*root.glob("instances*.json"), *root.glob("annotations/instances*.json")]:
        return "coco"
    looked = "".join(f"\n  {name}: {files}" for name, files in LAYOUTS.values())
    raise InputError(f"{root}: no layout of data that is known. Looked for{looked}")


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads every picture and every mask once.

    Args:
        root: folder in one of `LAYOUTS`, or a COCO JSON.
        examples: how many the contact sheet will show.
        progress: called with (scenes done, scenes in all).

    Raises:
        MissingFileError, InputError: no such folder; no known layout. What is wrong inside is in the report.
    """
    root = Path(root)
    kind = layout(root)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    scenes: list[Scene] = []
    counts: dict[str, int] = {}
    lines: dict[tuple[Path, Path, tuple[int, ...], str], int] = {}  # of sentences.csv
    if kind == "folder":
        rows, problems = _tried(root, problems, lambda: folder.parse(root)) or ([], problems)
        scenes = folder.scenes(root, rows)
        for row in rows:
            for sentence in (row.sentence, ""):  # "": the first row of its mask
                key = (row.image, row.mask, () if row.value is None else (row.value,), sentence)
                lines.setdefault(key, row.line)
        warnings += _repeated(root / folder.TABLE, rows)
    else:
        for name, read in _readers(root, kind):
            part = _tried(root, problems, read) or []
            scenes += part
            if name:
                counts[name] = len(part)

    looker = _Looker(root / folder.TABLE if kind == "folder" else None, lines, problems, warnings)
    good = []
    for i, scene in enumerate(scenes):
        good += [(scene, region) for region in looker.look(scene)]
        if progress is not None:
            progress(i + 1, len(scenes))
    warnings += _orphans(root, kind, scenes)
    totals = {
        "pictures": len({scene.image for scene in scenes}),
        "masks": sum(len(scene.regions) for scene in scenes),
        "sentences": sum(len(region.sentences) for scene in scenes for region in scene.regions),
    }
    if kind == "davis":
        totals["videos"] = len({scene.group for scene in scenes})
    if kind == "coco":
        totals["classes"] = len({name for scene in scenes for name in scene.vocabulary})
    shown = [good[i] for i in np.linspace(0, len(good) - 1, min(examples, len(good))).astype(int)]
    by_line = sorted(problems, key=lambda p: (p.line is None, p.line or 0))
    return Report(root, kind, totals | counts, tuple(by_line), tuple(warnings), tuple(shown))


def _readers(root: Path, kind: str) -> Iterator[tuple[str, Callable[[], list[Scene]]]]:
    """(name for the counts, reader) of every part that a layout has."""
    if kind == "davis":
        yield "", lambda: davis.read(root)
    elif kind == "coco":
        files = sorted([*root.glob("instances*.json"), *root.glob("annotations/instances*.json")]) or [root]
        for path in files:
            yield (path.name if len(files) > 1 else ""), lambda path=path: coco.read(path)
    elif kind == "prepared":
        for part in refcoco.parts(root):
            yield f"{part.dataset} {part.path.stem}", lambda part=part: refcoco.read_prepared(part.path)
    else:
        for part in refcoco.parts(root):
            try:
                splits = {ref["split"] for ref in refcoco.load_refs(part.path)}
            except ValueError:
                splits = {"train"}  # the reader meets the same error, where it is noted
            for split in (s for s in refcoco.SPLITS if s in splits):
                name = f"{part.dataset} ({part.splitter}) {split}"
                yield name, lambda part=part, split=split: refcoco.read_published(part.path, split)


def _tried(root: Path, problems: list[Problem], read: Callable[[], T]) -> T | None:
    """What a reader returns; its error becomes a problem, with the file and line its text starts with."""
    try:
        return read()
    except (OSError, ValueError) as error:
        start = re.match(r"(.+?)(?:, line (\d+))?: (.*)", str(error), re.DOTALL)
        if start is None:
            problems.append(Problem(root, None, str(error)))
        else:
            problems.append(Problem(Path(start[1]), int(start[2]) if start[2] else None, start[3]))
        return None


@dataclass
class _Looker:
    """Opens what scenes name and notes what it finds; every picture once, however many scenes it is in."""

    table: Path | None
    lines: dict[tuple[Path, Path, tuple[int, ...], str], int]
    problems: list[Problem]
    warnings: list[Problem]

    def __post_init__(self) -> None:
        self.sizes: dict[Path, tuple[int, int] | None] = {}

    def look(self, scene: Scene) -> list[Region]:
        """The regions whose picture and mask are good."""
        if scene.image not in self.sizes:
            try:
                image.read(scene.image, long_side=64)  # decodes all of it, so that a cut file is found
                self.sizes[scene.image] = image.size(scene.image)
            except (OSError, ValueError) as error:
                self.sizes[scene.image] = None
                reason = str(error).removeprefix(f"{scene.image}: ")
                self._note(self.problems, scene, scene.regions[:1], scene.image, reason)
        size = self.sizes[scene.image]
        return [region for region in scene.regions if self._good(scene, region, size)] if size else []

    def _good(self, scene: Scene, region: Region, size: tuple[int, int]) -> bool:
        file = region.mask.path if isinstance(region.mask, PngMask) else scene.image
        for sentence in region.sentences:
            if (words := len(sentence.split())) > MOST_WORDS:
                text = f"{words} words; those after {MOST_WORDS} may be cut off: {sentence[:40]!r}..."
                self._note(self.warnings, scene, (region,), file, text, sentence)
        try:
            mask = region.mask.read()
        except (OSError, ValueError, SyntaxError) as error:
            self._note(self.problems, scene, (region,), file, f"the mask cannot be read ({error})")
            return False
        if mask.ndim != 2 or abs(mask.shape[0] * size[1] - mask.shape[1] * size[0]) > max(*size, *mask.shape):
            text = f"the mask is {_size(mask.shape)}, the picture {_size(size)} (width × height)"
            if mask.shape == size[::-1]:
                text += "; the picture is turned by its EXIF tag, turn the mask as well"
            self._note(self.problems, scene, (region,), file, text)
            return False
        if mask.shape != size:
            text = f"the mask is {_size(mask.shape)}, the picture {_size(size)}: it will be scaled"
            self._note(self.warnings, scene, (region,), file, text)
        if not mask.any():
            self._note(self.warnings, scene, (region,), file, "the mask is empty: the sentence names nothing here")
            return False
        if mask.all():
            self._note(self.warnings, scene, (region,), file, "the mask covers the whole picture; is it inverted?")
        return True

    def _note(
        self,
        where: list[Problem],
        scene: Scene,
        regions: tuple[Region, ...],
        file: Path,
        text: str,
        sentence: str = "",
    ) -> None:
        line = None
        for region in regions:
            if isinstance(region.mask, PngMask):
                line = self.lines.get((scene.image, region.mask.path, region.mask.values, sentence))
        if self.table is not None and line is not None:
            where.append(Problem(self.table, line, f"{file}: {text}"))
        else:
            where.append(Problem(file, None, text))


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(n) for n in shape[::-1])


def _repeated(table: Path, rows: list[folder.Row]) -> list[Problem]:
    seen: dict[tuple[Path, str], folder.Row] = {}
    out = []
    for row in rows:
        first = seen.setdefault((row.image, row.sentence.lower()), row)
        if first is not row:
            same = (first.mask, first.value) == (row.mask, row.value)
            text = "the same row as" if same else "the same picture and sentence, but another mask than in"
            out.append(Problem(table, row.line, f"{text} line {first.line}"))
    return out


def _orphans(root: Path, kind: str, scenes: list[Scene]) -> list[Problem]:
    """Files that nothing names: one warning a folder, with the first of them."""
    named = {scene.image for scene in scenes}
    named |= {r.mask.path for scene in scenes for r in scene.regions if isinstance(r.mask, PngMask)}
    out = []
    where = {"folder": ("images", "masks"), "davis": ("Annotations",), "prepared": ("masks",)}.get(kind, ())
    for name in where:
        files = (p for p in sorted((root / name).rglob("*")) if p.suffix.lower() in image.SUFFIXES)
        if spare := [p for p in files if p not in named]:
            more = f", nor {len(spare) - 1} more in {name}/" if len(spare) > 1 else ""
            out.append(Problem(spare[0], None, f"nothing names this file{more}"))
    return out
