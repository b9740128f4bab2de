"""The programs of examples/onnx, run where neither torch nor percepta nor Pillow can be imported, beside our answers.

`test_contract.py` calls `CHECKS` with the graphs that it has exported.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import percepta
from percepta import checkpoint
from percepta.systems import TABLE

SAMPLES = Path(percepta.__file__).parent / "assets" / "samples"
PROGRAMS = Path(__file__).parents[1] / "examples" / "onnx"
ALONE = (
    "import runpy, sys; sys.modules.update(dict.fromkeys(('torch', 'percepta', 'PIL'))); "
    "sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rsplit('/', 1)[0]); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(name: str, *words: Path | str) -> list[str]:
    """The lines that a program prints."""
    line = [sys.executable, "-c", ALONE, PROGRAMS / f"{name}.py", *words]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def sample(name: str) -> np.ndarray:
    """A picture that comes with the package, RGB."""
    return np.asarray(Image.open(SAMPLES / f"{name}.jpg").convert("RGB"))


def pictures(folder: Path) -> list[Path]:
    """Two of them as .npy files."""
    made = [folder / "cat.npy", folder / "rocket.npy"]
    for path in made:
        np.save(path, sample(path.stem))
    return made


def distill(system: Any, folder: Path) -> None:
    for path in pictures(folder):
        assert run("distill", folder, path) == [system.predict(np.load(path)).text]


def supernet(system: Any, folder: Path) -> None:
    path = pictures(folder)[0]
    result = system.predict(system.model.config.alone or system.model.space.largest(), np.load(path))
    lines = run("supernet", folder, path)
    assert len(lines) == 3 and lines[0].startswith(result.label), (lines, result.text)


def aesthetics(system: Any, folder: Path) -> None:
    paths = pictures(folder)
    lines = run("aesthetics", folder, *paths)
    assert len(lines) == 2 and float(lines[0].split()[0]) >= float(lines[1].split()[0])


def hashing(system: Any, folder: Path) -> None:
    paths = pictures(folder)
    one, other = (system.predict(np.load(path)).code for path in paths)
    apart = int(np.unpackbits(one ^ other).sum())
    first, second = run("hashing", folder, *paths)
    assert first == f"0 bits apart: {paths[0]}"
    assert abs(int(second.split()[0]) - apart) <= 12, "another way of shrinking turns few bits"


def weather(system: Any, folder: Path) -> None:
    path = pictures(folder)[0]
    run("weather", folder, path, folder / "labels.npy")
    labels = np.load(folder / "labels.npy")
    assert labels.shape == np.load(path).shape[:2]
    assert (labels == system.predict(np.load(path)).labels).mean() > 0.6, "the graph sees another size, and no street"


def slam(system: Any, folder: Path) -> None:
    paths = pictures(folder)
    first, second = run("slam", folder, *paths)
    assert first.startswith("1.000") and float(second.split()[0]) < 0.9


def refer(system: Any, folder: Path) -> None:
    path = pictures(folder)[0]
    for words in ("the cat", "the café's zebra"):
        ours = system.predict(np.load(path), words)
        [line] = run("refer", folder, path, words, folder / "mask.npy")
        mask = np.load(folder / "mask.npy")
        assert ("not found" in line) == (not ours.found)
        assert not ours.found or (mask & ours.mask).sum() / (mask | ours.mask).sum() > 0.95


def vos(system: Any, folder: Path) -> None:
    frames = np.full((7, 256, 448, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    frames += rng.integers(0, 40, frames.shape[1:], np.uint8)
    truth = np.zeros(frames.shape[:3], bool)
    for number in range(len(frames)):
        truth[number, 60:160, 40 + 20 * number : 140 + 20 * number] = True
        frames[number][truth[number]] = (220, 60, 30)
    np.save(folder / "frames.npy", frames)
    np.save(folder / "mask.npy", truth[0].astype(np.uint8))
    lines = run("vos", folder, folder / "frames.npy", folder / "mask.npy", folder / "masks.npy")
    masks = np.load(folder / "masks.npy")
    assert len(lines) == len(frames) and masks.shape == truth.shape
    assert (masks & truth).sum() / (masks | truth).sum() > 0.8


def forecast(system: Any, folder: Path) -> None:
    track = np.stack([np.arange(20) * 0.8, np.arange(20) * 0.6], 1)  # ten metres a second
    np.save(folder / "track.npy", track + 50)
    lines = run("forecast", folder, folder / "track.npy")
    x, y = (float(word) for word in lines[0].partition("(")[2].partition(")")[0].split(","))
    horizon = system.config.future_steps * 0.1 * 10.0
    reached = np.array([x, y]) - track[-1] - 50
    assert len(lines) == system.config.modes
    assert 0.5 * horizon < float(reached @ (0.8, 0.6)) < 1.4 * horizon, "straight on, at about its speed"


def film(count: int) -> np.ndarray:
    """Noise that changes now and then."""
    rng = np.random.default_rng(0)
    some = [rng.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(3)]
    return np.stack([np.roll(some[number // 8 % 3], number % 5, 1) for number in range(count)])


def actions(system: Any, folder: Path) -> None:
    from percepta.systems.actions.features import assemble, look_at

    frames = film(40)
    np.save(folder / "features.npy", assemble(look_at(system.model, frames)).numpy().T)
    best = system.predict(frames).segments
    first = run("actions", folder, folder / "features.npy", "0.0")[0]
    (start, end), label = best.span[0], system.config.labels[best.label[0]]
    assert first.startswith(f"{start:.1f} to {end:.1f} s: {label} "), (first, start, end, label)


def driver(system: Any, folder: Path) -> None:
    from percepta.systems.driver.bank import read_view, write_view
    from percepta.systems.driver.features import look_at
    from percepta.systems.driver.predict import probabilities
    from percepta.systems.driver.recording import assembled

    view = system.config.views[0]
    write_view(folder, "noise", view, look_at(system.model, film(40)))
    lines = run("driver", folder, f"{view}={folder / f'noise-{view}.npz'}")
    seen = {view: (read_view(folder, "noise", view), 20.0)}
    label = probabilities(system.model, assembled(seen, system.config)).argmax(1)
    changes = np.flatnonzero(np.diff(label)) + 1
    assert len(lines) == len(changes) + 1
    assert [line.partition("s: ")[2] for line in lines] == [system.config.labels[label[i]] for i in (0, *changes)]


def avatar(system: Any, folder: Path) -> None:
    from percepta.systems.avatar.latent import conditions
    from percepta.worlds.people.motions import made

    known = conditions(system.config, made("sway", 0.5))
    np.save(folder / "conditions.npy", known)
    lines = run("avatar", folder, folder / "conditions.npy", folder / "out.npz")
    with torch.inference_mode():
        ours = system.model.latent(torch.from_numpy(known), None)
    with np.load(folder / "out.npz") as out:
        assert np.allclose(out["translation"], ours.translation, atol=1e-5)
        assert np.allclose(out["detail"], ours.detail, atol=1e-3)
    far = 1000 * ours.translation.norm(dim=-1)
    assert len(lines) == len(known)
    for line, moved in zip(lines, far, strict=True):
        found = re.fullmatch(r"frame \d+: ([\d.]+) mm on average, node \d+ by ([\d.]+) mm", line)
        assert found and abs(float(found[1]) - float(moved.mean())) < 0.1
        assert abs(float(found[2]) - float(moved.max())) < 0.1


def game(system: Any, seconds: float = 40.0) -> np.ndarray:
    """Features of the start of a rendered game."""
    from percepta.nn.spotting import of_pictures
    from percepta.worlds.pitch import recording

    half = recording.halves(recording.FIRST["test"] + 900, seconds)[0]
    return recording.encoded(half, of_pictures(system.model.image.frames))


def spotting(system: Any, folder: Path) -> None:
    features = game(system)
    np.save(folder / "1_lite0.npy", features)
    lines = run("spotting", folder, folder / "1_lite0.npy")
    ours = system.predict(features).spots
    assert lines and abs(len(lines) - len(ours)) <= 1, "one may lie on the least score"
    for line in lines[:20]:
        found = re.fullmatch(r"([\d.]+) s (.+) (\d+)%", line)
        assert found, line
        same = [spot for spot in ours if spot.label == found[2] and abs(spot.time_s - float(found[1])) < 0.06]
        assert any(abs(spot.score - float(found[3]) / 100) < 0.006 for spot in same), line


def replay(system: Any, folder: Path) -> None:
    features = game(system)
    np.save(folder / "1_lite0.npy", features)
    lines = run("replay", folder, folder / "1_lite0.npy", "30", "35.5")
    (ours,) = system.predict(features, replays=[(30.0, 35.5)]).replays
    assert len(lines) == 5 and ours.times_s
    for line, time_s, score in zip(lines, ours.times_s, ours.scores, strict=False):
        found = re.fullmatch(r"(-?[\d.]+) s (\d+)%", line)
        assert found and abs(float(found[1]) - time_s) < 0.06 and abs(float(found[2]) / 100 - score) < 0.006, line


CHECKS: dict[str, Callable[[Any, Path], None]] = {
    "actions": actions, "aesthetics": aesthetics, "avatar": avatar, "distill": distill, "driver": driver,
    "forecast": forecast, "hashing": hashing, "refer": refer, "replay": replay, "slam": slam, "spotting": spotting,
    "supernet": supernet, "vos": vos, "weather": weather,
}  # fmt: skip


def test_every_system_with_a_graph_has_a_program() -> None:
    with_graphs = {
        name for name in TABLE if any(not isinstance(how, str) for how in checkpoint.find_task(name).EXPORTS.values())
    }
    assert with_graphs <= set(CHECKS)
    assert all((PROGRAMS / f"{name}.py").is_file() for name in CHECKS)
