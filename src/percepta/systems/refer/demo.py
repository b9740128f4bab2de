"""The demo of referring segmentation: photographs that come with the package, and the synthetic world."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from percepta.media.samples import MORE, photographs
from percepta.report import Block, Gallery, Table, Text
from percepta.systems.refer import PRESETS
from percepta.systems.refer.predict import Refer, Result
from percepta.systems.refer.world import TURNS, Shapes

# Photograph, and what is asked: one sentence of each names what is not there, beside the others in README's picture.
# The first four ship.
ASKED = {
    "astronaut.jpg": ("the woman", "the orange suit", "the hair", "the zebra", "a woman in front of a flag"),
    "cat.jpg": ("the cat", "a cat looking at the camera", "the bicycle"),
    "coffee.jpg": ("the cup", "the spoon", "the table", "the giraffe"),
    "rocket.jpg": ("the rocket", "what stands out", "the cow"),
    "camera.png": ("the man", "the coat", "a man with a camera", "the train"),
    "motorcycle_left.png": ("the motorcycle", "the bicycle", "the sheep"),
}


def demo(load: Callable[[str], Refer]) -> list[Block]:
    """What `small` answers, with scores and seconds."""
    system = load("refer")
    blocks: list[Block] = []
    answers: list[tuple[Result, str]] = []
    rows: list[list[object]] = []
    found = photographs(ASKED)
    for path in found:
        start = time.perf_counter()
        session = system.session(path)
        encoded = time.perf_counter()
        for sentence in ASKED[path.name]:
            before = time.perf_counter()
            result = session.predict(sentence)
            seconds = time.perf_counter() - before
            answers.append((result, f"{'found' if result.found else 'not found'}, {1000 * seconds:.0f} ms"))
            rows.append([path.name, sentence, result.score, result.found, 1000 * seconds])
        rows.append([path.name, "(reading and encoding the picture, once)", "", "", 1000 * (encoded - start)])
    text = (
        "Photographs. The score says how sure the network is that the thing is there; one sentence of each picture"
        " names something that is not."
    )
    blocks += [Text(text), Gallery(answers), Table(["picture", "sentence", "score", "found", "ms"], rows)]
    if len(found) < len(ASKED):
        blocks.append(Text(MORE))
    world = Shapes(PRESETS["tiny"], "test")
    pairs: list[tuple[Result, str]] = []
    for index in range(len(TURNS)):
        sample = world[(0, index)]
        large = Image.fromarray(np.asarray(sample["image"].permute(1, 2, 0) * 255, np.uint8)).resize((288, 288))
        session = system.session(large)
        pairs += [(session.predict(ask.sentence), ask.kind) for ask in sample["asks"][:2]]
    text = (
        "The synthetic world of the tests, which this network was not trained on: a pair differs in exactly one thing."
    )
    return [*blocks, Text(text), Gallery(pairs)]
