"""Referring segmentation learns its synthetic world, and what it learns is the sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import percepta
from percepta.metrics.masks import iou
from percepta.systems.refer import PRESETS
from percepta.systems.refer.predict import Refer
from percepta.systems.refer.world import KINDS, SIDES, WRONG, Shapes
from percepta.train import train

CONFIG = PRESETS["tiny"]
PICTURES = 80
# Share of what is not there that may be found: over all kinds of sentences, and for each. Over three seeds the mean was
# 0.17 to 0.32 and the worst kind 0.69; a network that only looks for known words finds all of it.
LIMIT, WORST = 0.45, 0.85
NEUTRAL = "the thing"  # a sentence that says nothing


class Blind(Shapes):
    """The same world, in which every sentence says nothing."""

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().collate(samples)
        return {**batch, "sentences": [NEUTRAL] * len(batch["sentences"])}


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Refer:
    return percepta.load(train("refer", CONFIG, out=tmp_path_factory.mktemp("seeing")), system="refer")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Refer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("percepta.systems.refer.data.Shapes", Blind)
        few = replace(CONFIG, train=replace(CONFIG.train, steps=CONFIG.train.steps // 2))  # it has little to learn
        return percepta.load(train("refer", few, out=tmp_path_factory.mktemp("blind")), system="refer")


def without_relation(sentence: str) -> str:
    """ "the red disc left of the blue square" -> "the red disc"."""
    for word in (word for pair in SIDES for word in pair):
        sentence = sentence.split(f" {word} ")[0]
    return sentence


def ious(system: Refer, said: Any = lambda sentence: sentence) -> dict[str, float]:
    """Mean IoU of the mask, found or not, by kind of sentence, on worlds that training has not seen."""
    world = Shapes(CONFIG, "test")
    rows: dict[str, list[float]] = {}
    for index in range(PICTURES):
        sample = world[(0, index)]
        asked = [ask for ask in sample["asks"] if ask.present]
        answers = system.session(sample["image"]).predict([said(ask.sentence) for ask in asked])
        for ask, answer in zip(asked, answers, strict=True):
            rows.setdefault(ask.kind, []).append(iou(answer.probability > 0.5, ask.mask))
    return {kind: float(np.mean(values)) for kind, values in rows.items()}


def found(system: Refer) -> dict[str, float]:
    """How often something is found, by kind of sentence, on worlds that training has not seen."""
    world = Shapes(CONFIG, "test")
    rows: dict[str, list[float]] = {}
    for index in range(PICTURES):
        sample = world[(0, index)]
        answers = system.session(sample["image"]).predict([ask.sentence for ask in sample["asks"]])
        for ask, answer in zip(sample["asks"], answers, strict=True):
            rows.setdefault(ask.kind if not ask.present else "present", []).append(answer.found)
    return {kind: float(np.mean(values)) for kind, values in rows.items()}


@pytest.mark.learn
def test_what_is_not_there_is_not_found_however_it_is_asked(seeing: Refer) -> None:
    """A network that only looks for known words finds what is there and what is not alike."""
    measured = found(seeing)
    print(measured)
    assert set(measured) == {"present", *WRONG}
    assert measured["present"] > 0.8
    assert np.mean([measured[kind] for kind in WRONG]) < LIMIT
    assert {kind: share for kind, share in measured.items() if kind != "present" and share > WORST} == {}


@pytest.mark.learn
def test_every_kind_of_sentence_is_understood(seeing: Refer) -> None:
    """Two things fit all but the asked attribute: choosing by chance, or both, is at most a half.

    The least of five kinds over three seeds was 0.65; another processor's rounding is as good as another seed.
    """
    measured = ious(seeing)
    print(measured)
    assert {kind: value for kind, value in measured.items() if value < 0.55} == {}
    assert set(KINDS) <= set(measured)


@pytest.mark.learn
def test_relations_are_read(seeing: Refer) -> None:
    """The same network without the relation's words does clearly worse on the same pictures."""
    told, untold = ious(seeing)["relation"], ious(seeing, without_relation)["relation"]
    assert told > untold + 0.15, (told, untold)


@pytest.mark.learn
def test_a_network_that_is_told_nothing_is_clearly_below(seeing: Refer, blind: Refer) -> None:
    measured, twin = ious(seeing), ious(blind, lambda _: NEUTRAL)
    print(twin)
    for kind in KINDS:
        assert measured[kind] > twin[kind] + 0.2, (kind, measured, twin)
