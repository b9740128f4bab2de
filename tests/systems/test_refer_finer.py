"""Finer names of what is marked: the file, and the sentences that are made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from percepta.datasets.scene import PngMask, Region, Scene
from percepta.errors import InputError
from percepta.systems.refer import PRESETS, data, finer, sentences

NAMES = ("brown bear", "kite (bird of prey)", "Vespa", "hockey rink", *(f"thing {i}" for i in range(96)))


def scene(root: Path, name: str, colour: tuple[int, int, int], around: int = 90) -> Scene:
    """A square of one colour on grey ground."""
    pixels = np.full((120, 160, 3), around, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[20:100, 40:120] = 1
    pixels[mask > 0] = colour
    root.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / f"{name}.png")
    Image.fromarray(mask * 255).save(root / f"{name}-mask.png")
    return Scene(root / f"{name}.png", (Region(PngMask(root / f"{name}-mask.png")),), "own", name)


def by_colour(views: Tensor) -> Tensor:
    """Red middles are bears, green ones scooters, blue ones kites; white surroundings are a hockey rink above all."""
    middle = views[:, :, 112, 112]
    logits = torch.zeros(len(views), len(NAMES))
    logits[:, 0], logits[:, 2], logits[:, 1] = 12 * middle[:, 0], 12 * middle[:, 1], 12 * middle[:, 2]
    logits[:, 3] = 30 * (views[:, :, 2, 2].min(1).values > 0.9)
    return logits


def test_what_the_classifier_is_sure_of_gets_a_name(tmp_path: Path) -> None:
    found = [
        scene(tmp_path / "a", "bear", (255, 0, 0)), scene(tmp_path / "a", "scooter", (0, 255, 0)),
        scene(tmp_path / "a", "kite", (0, 0, 255)), scene(tmp_path / "a", "dark", (20, 20, 20)),
        scene(tmp_path / "a", "rink", (255, 0, 0), 255),
    ]  # fmt: skip
    path = finer.write(tmp_path / "finer.json", found, by_colour, NAMES)
    bear, scooter, kite, dark, rink = finer.named(found, path)
    assert bear.regions[0].finer == ("brown bear",) and scooter.regions[0].finer == ("vespa",)
    assert kite.regions[0].finer == (), "a name with brackets has two meanings"
    assert dark.regions[0].finer == (), "nothing is sure"
    assert rink.regions[0].finer == (), "only its surroundings say so"
    other = scene(tmp_path / "b", "new", (255, 0, 0))
    assert finer.named([other], path) == [other], "what the file does not know stays as it is"


def test_elsewhere_holds_used_names_that_no_look_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finer, "RANK", 1)
    found = [scene(tmp_path / "a", "bear", (255, 0, 0)), scene(tmp_path / "a", "scooter", (0, 255, 0))]
    bear, scooter = finer.named(found, finer.write(tmp_path / "finer.json", found, by_colour, NAMES))
    assert bear.elsewhere == ("vespa",) and scooter.elsewhere == ("brown bear",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: [], "expected"),
        (lambda table: {k: {**v, "things": []} for k, v in table.items()}, "has 0 things, the data 1"),
        (lambda table: {k: {"things": v["things"]} for k, v in table.items()}, "elsewhere"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, change: Callable[[dict], object], words: str) -> None:
    found = [scene(tmp_path / "a", "bear", (255, 0, 0))]
    path = finer.write(tmp_path / "finer.json", found, by_colour, NAMES)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=words):
        finer.named(found, path)


@given(st.integers(0, 10_000))
def test_a_true_finer_sentence_has_a_false_one_of_its_form(seed: int) -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    thing = sentences.Thing(mask, "", finer=("brown bear",))
    rng = np.random.default_rng(seed)
    asks = sentences.compose([thing], np.zeros((40, 40, 3)), frozenset(), rng, 6, elsewhere=("vespa",))
    true = [ask for ask in asks if ask.kind == "finer"]
    assert true and all(ask.present and "brown bear" in ask.sentence and ask.mask is mask for ask in true)
    for ask, twin in zip(asks[::2], asks[1::2], strict=True):
        if ask.kind == "finer":
            assert not twin.present and not twin.mask.any()
            assert twin.sentence == ask.sentence.replace("brown bear", "vespa")


def test_side_by_side_only_what_the_other_half_lacks_keeps_its_name(tmp_path: Path) -> None:
    one = scene(tmp_path, "bear", (255, 0, 0))
    bear = replace(one, regions=(replace(one.regions[0], finer=("brown bear",)),), elsewhere=("vespa", "pole"))
    bare = replace(one, elsewhere=("brown bear", "pole"))
    size, rng = PRESETS["tiny"].size, np.random.default_rng(0)
    views = [data.view(some, rng, size, size, whole=True) for some in (bear, bear, bare)]
    twice, once = data.beside(views[0], views[1], True), data.beside(views[0], views[2], True)
    assert [t.finer for t in twice.things] == [(), ()], "which of the two is meant?"
    assert [t.finer for t in once.things] == [("brown bear",), ()]
    assert once.elsewhere == ("pole",)
