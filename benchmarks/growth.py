"""How time and memory grow with the work: 1, 2 and 4 times as much, of every system, each in a process of its own.

    python benchmarks/growth.py [--only SYSTEM ...] [--record]

The work is synthetic or a sample picture, so that the sizes are exact. "grows as" is the power p in seconds ~ work^p,
from the first to the last: 1 is in proportion. The first unit of work is done once before the clock runs, so that what
is done only once (reading weights, first use of a kernel) does not count. Seconds are the process's own processor time
(of all its threads), which a busy machine changes little; memory is the largest that the process had, above what it
had before the work. With --record the numbers go to benchmarks/results and into docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import percepta
from percepta import card
from percepta.metrics import Metric
from percepta.report import Table

Work = Callable[[int], Any]
SIZES = (1, 2, 4)
DOCUMENT = Path(__file__).parents[1] / "docs" / "scale.md"


def pictures(system: str, *words: str) -> Iterator[Work]:
    """Pictures one after the other."""
    model = percepta.load(system, device="cpu")
    path = percepta.sample("coffee")
    yield lambda n: [model.predict(path, *words) for _ in range(n)]


def aesthetics() -> Iterator[Work]:
    """Pictures of an album, ranked."""
    from PIL import Image

    model = percepta.load("aesthetics", device="cpu")
    rng = np.random.default_rng(0)

    def work(n: int) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(n):
                pixels = np.repeat(np.repeat(rng.integers(0, 256, (12, 16, 3), np.uint8), 20, 0), 20, 1)
                Image.fromarray(pixels).save(Path(folder) / f"{i}.png")
            return model.session(Path(folder), cache=None).ranking()

    yield work


def actions() -> Iterator[Work]:
    """Seconds of a video that is seen and decoded."""
    model = percepta.load("actions", device="cpu")
    frames = np.random.default_rng(0).integers(0, 256, (4, 96, 128, 3), np.uint8)
    yield lambda seconds: model.predict(np.concatenate([frames] * seconds), fps=4.0)


def driver() -> Iterator[Work]:
    """Seconds of three views."""
    model = percepta.load("driver", device="cpu")
    rng = np.random.default_rng(0)
    fps = round(model.config.fps)

    def work(seconds: int) -> Any:
        shape = (fps * seconds, 96, 128, 3)
        return model.predict({view: rng.integers(0, 256, shape, np.uint8) for view in model.config.views})

    yield work


def forecast() -> Iterator[Work]:
    """Agents of a scene."""
    from percepta.worlds.street.traffic import traffic

    model = percepta.load("forecast", device="cpu")
    scenes: dict[int, Any] = {}

    def work(agents: int) -> Any:
        return model.predict(scenes[agents], last=45)

    def prepared(agents: int) -> None:
        scenes[agents] = traffic(900_002, seconds=9.0, cars=2, people=agents)

    work.prepare = prepared  # type: ignore[attr-defined]
    yield work


def hashing() -> Iterator[Work]:
    """Moments of an index that is searched a hundred times."""
    from percepta.systems.hashing.codes import Exact

    rng = np.random.default_rng(0)

    def work(moments: int) -> Any:
        found = Exact(rng.integers(0, 256, (1000 * moments, 64), np.uint8))
        return found.search(rng.integers(0, 256, (100, 64), np.uint8), 10)

    yield work


def online3d() -> Iterator[Work]:
    """Frames of a walk through a room, whose map grows."""
    from percepta.systems.online3d import demo

    model = percepta.load("online3d", device="cpu").model
    yield lambda frames: demo.scan(model, frames)


def planes() -> Iterator[Work]:
    """Pictures of a walk through a room, joined to one scene."""
    from percepta.systems.planes import PRESETS
    from percepta.systems.planes.predict import View
    from percepta.systems.planes.world import camera_of
    from percepta.worlds import rooms

    model = percepta.load("planes", device="cpu")
    camera = camera_of(PRESETS["small"], "rooms")
    room = rooms.room(900_001)
    shots: dict[int, list[View]] = {}

    def prepared(count: int) -> None:
        path = rooms.walk(room, 0, frames=4 * count, fps=5)[: 4 * count : 4]
        seen = [rooms.render(room, pose, camera) for pose in path]
        shots[count] = [View(one.colour, camera, one.world_from_camera) for one in seen]

    def work(count: int) -> Any:
        session = model.session()
        for view in shots[count]:
            session.step(view)
        return session.scene()

    work.prepare = prepared  # type: ignore[attr-defined]
    yield work


def soccer(system: str) -> Iterator[Work]:
    """Minutes of features of a half."""
    model = percepta.load(system, device="cpu")
    rng = np.random.default_rng(0)
    per_minute = round(60 * model.config.fps)
    yield lambda minutes: model.predict(
        rng.standard_normal((per_minute * minutes, model.config.feature_width)).astype(np.float32)
    )


def slam() -> Iterator[Work]:
    """Frames of a walk round a flat, one camera."""
    from percepta.worlds.rooms.flat import FlatWalk

    model = percepta.load("slam", device="cpu")
    captures: dict[int, list[Any]] = {}

    def prepared(frames: int) -> None:
        capture = FlatWalk(21, "mono", frames, 240, 2).capture()
        captures[frames] = [capture, list(capture)]

    def work(frames: int) -> Any:
        capture, shots = captures[frames]
        session = model.session_of(capture)
        for shot in shots:
            session.step(shot.frame, shot.time_s)
        return session.walk()

    work.prepare = prepared  # type: ignore[attr-defined]
    yield work


def supernet() -> Iterator[Work]:
    """Architectures that are ranked."""
    from percepta.systems.supernet import ledger

    system = percepta.load("supernet", device="cpu")
    space = system.config.target_space()
    rng = np.random.default_rng(0)
    yield lambda count: ledger.expected(system.model, [space.sample(rng) for _ in range(count)])


def vos() -> Iterator[Work]:
    """Frames of a clip with two objects."""
    from percepta.systems.vos.world import clip

    model = percepta.load("vos", device="cpu")
    pixels, labels, _ = clip(5, 256, 448, 20, 2)

    def work(frames: int) -> Any:
        session = model.session()
        for number in range(frames):
            place = number % (2 * len(pixels) - 2)  # to and fro
            session.step(pixels[min(place, 2 * len(pixels) - 2 - place)], labels[0] if number == 0 else None)

    yield work


def avatar() -> Iterator[Work]:
    """Frames of a film."""
    model = percepta.load("avatar", device="cpu")
    yield lambda frames: [model.predict() for _ in range(frames)]


# {system: (what is counted, the smallest number of it, what does it)}
WORKS: dict[str, tuple[str, int, Callable[[], Iterator[Work]]]] = {
    "actions": ("seconds of video", 60, actions),
    "aesthetics": ("pictures of an album", 16, aesthetics),
    "avatar": ("frames of a film", 4, avatar),
    "distill": ("pictures", 16, lambda: pictures("distill")),
    "driver": ("seconds of three views", 30, driver),
    "forecast": ("agents of a scene", 16, forecast),
    "hashing": ("thousand moments of an index, 100 questions", 100, hashing),
    "online3d": ("frames of a scan", 40, online3d),
    "planes": ("pictures of a walk", 8, planes),
    "refer": ("pictures", 8, lambda: pictures("refer", "the cup")),
    "replay": ("minutes of features", 10, lambda: soccer("replay")),
    "slam": ("frames of a walk", 100, slam),
    "spotting": ("minutes of features", 10, lambda: soccer("spotting")),
    "supernet": ("architectures", 20_000, supernet),
    "vos": ("frames", 20, vos),
    "weather": ("pictures", 8, lambda: pictures("weather")),
}


def peak_mb() -> float:
    """The largest memory that this process and those that it has waited for had, MB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


@contextmanager
def quiet() -> Iterator[None]:
    """Without gradients, as all answers are."""
    import torch

    with torch.no_grad():
        yield


def one(system: str, times: int) -> dict[str, float]:
    """Seconds and memory of so many times the smallest work, in this process."""
    _, least, make = WORKS[system]
    with quiet():
        work = next(make())
        prepare = getattr(work, "prepare", lambda n: None)
        prepare(least)
        prepare(times * least)
        work(max(1, least // 8) if not hasattr(work, "prepare") else least)
        before, start = peak_mb(), time.process_time()
        work(times * least)
        seconds = time.process_time() - start
    return {"seconds": seconds, "mb": peak_mb() - before}


def main() -> None:
    """Reads the command line, prints, and with --record writes result and document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(WORKS), choices=WORKS)
    parser.add_argument("--one", nargs=2, metavar=("SYSTEM", "TIMES"), help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], int(options.one[1]))))
        return
    values: dict[str, Metric] = {}
    rows = []
    for system in options.only:
        what, least, _ = WORKS[system]
        found = []
        for times in SIZES:
            words = [sys.executable, __file__, "--one", system, str(times)]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{system}: {done.stderr}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
        power = math.log(found[-1]["seconds"] / found[0]["seconds"]) / math.log(SIZES[-1] / SIZES[0])
        numbers = ", ".join(str(times * least) for times in SIZES)
        seconds = ", ".join(f"{row['seconds']:.2f}" for row in found)
        memory = ", ".join(f"{row['mb']:.0f}" for row in found)
        rows.append([system, f"{numbers} {what}", seconds, f"{power:.2f}", memory])
        print(" | ".join(rows[-1]), flush=True)
        values[f"{system} power"] = Metric(power)
        for times, row in zip(SIZES, found, strict=True):
            values[f"{system} {times} seconds"] = Metric(row["seconds"], unit="s")
            values[f"{system} {times} memory"] = Metric(row["mb"], unit="MB")
    if options.record:
        columns = ["system", "work", "seconds of a processor", "grows as work to the power", "MB more"]
        words = ["python", "benchmarks/growth.py", *sys.argv[1:]]
        result = card.measured(
            "package", "growth", values, command=card.shown_command(words), tables=[Table(columns, rows)]
        )
        print(card.write(result))
        card.fill_file(DOCUMENT, card.results())
        print(DOCUMENT)


if __name__ == "__main__":
    main()
