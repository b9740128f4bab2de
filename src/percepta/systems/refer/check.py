"""Looks through a folder of data before training: what is there, what is wrong, what looks odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from percepta.datasets import layouts
from percepta.datasets.problem import Findings, Problem, noting
from percepta.datasets.scene import PngMask, Region, Scene
from percepta.errors import InputError
from percepta.media import draw, image

MAX_WORDS = 22  # the longest sentences that the paper's network reads


class SceneFindings(Findings[tuple[Scene, Region]]):
    """What `check` found.

    Attributes:
        layout: what the set is called, or those in the folder, by their NAME.
        counts: "pictures", "masks", "sentences" and what else can be counted, by name.
        examples: good (scene, region) pairs, spread over the data, for `sheet`.
    """

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


def check(root: Path | str, *, examples: int = 12, progress: Callable[[int, int], None] | None = None) -> SceneFindings:
    """Reads every picture and every mask once.

    Args:
        root: a folder or a file that `layouts.find` knows as scenes.
        examples: how many the contact sheet will show.
        progress: called with (scenes done, scenes in all).

    Raises:
        MissingFileError, InputError: no such folder; no set that is known. What is wrong inside is in the findings.
    """
    root = Path(root)
    found = layouts.find(root, Scene)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    scenes: list[Scene] = []
    parts: Counter[str] = Counter()
    for one in found:
        own: list[Scene] = []
        with noting(problems, one.root):
            own = one.read(one.root, problems, warnings)
        scenes += own
        if len(found) > 1:
            parts[f"{one.root.name}: pictures"] = len({scene.image for scene in own})
        parts.update(f"{scene.part} {scene.split}".strip() for scene in own if scene.part)

    reader = _Reader(problems, warnings)
    good = []
    for i, scene in enumerate(scenes):
        good += [(scene, region) for region in reader.good_regions(scene)]
        if progress is not None:
            progress(i + 1, len(scenes))
    totals = {
        "pictures": len({scene.image for scene in scenes}),
        "masks": sum(len(scene.regions) for scene in scenes),
        "sentences": sum(len(region.sentences) for scene in scenes for region in scene.regions),
    }
    if len(groups := {scene.group for scene in scenes}) < totals["pictures"]:
        totals["videos"] = len(groups)
    if classes := {name for scene in scenes for name in scene.vocabulary}:
        totals["classes"] = len(classes)
    shown = [good[i] for i in np.linspace(0, len(good) - 1, min(examples, len(good))).astype(int)]
    by_line = sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0))
    names = " and ".join(dict.fromkeys(one.set.NAME for one in found))
    return SceneFindings(root, names, totals | parts, tuple(by_line), tuple(warnings), tuple(shown))


@dataclass
class _Reader:
    """Opens what scenes name and notes what it finds; every picture once, however many scenes it is in."""

    problems: list[Problem]
    warnings: list[Problem]
    sizes: dict[Path, tuple[int, int] | None] = field(default_factory=dict)

    def good_regions(self, scene: Scene) -> list[Region]:
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
            if (words := len(sentence.split())) > MAX_WORDS:
                text = f"{words} words; those after {MAX_WORDS} may be cut off: {sentence[:40]!r}..."
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
        if isinstance(region.mask, PngMask) and region.mask.values and not mask.any():
            self._note(self.problems, scene, (region,), file, _no_such_value(region))
            return False
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
        region = next((region for region in regions if region.lines), None)
        if scene.table is not None and region is not None:
            place = region.sentences.index(sentence) if sentence else 0
            where.append(Problem(scene.table, region.lines[place], f"{file}: {text}"))
        else:
            where.append(Problem(file, None, text))


def _no_such_value(region: Region) -> str:
    """That the value of an annotation does not occur in its mask, and which ones do."""
    assert isinstance(region.mask, PngMask)
    there = [str(value) for value in np.unique(region.mask.load()) if value]
    shown = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")
    wanted = " or ".join(map(str, region.mask.values))
    said = region.sentences[0] if region.sentences else region.name
    return f"no pixel of the mask has the value {wanted} of {said!r}; it has {shown or 'only 0'}"


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(n) for n in shape[::-1])
