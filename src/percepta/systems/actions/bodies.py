"""Films of moving bodies, from recorded motions: actions and idle spans before pictures, by cameras that move.

A scene is one person before one wall. In a scene every action is filmed, and the person idle, each twice by another
camera: so neither the person nor the wall says what is done. Recordings are split by clip: those of VAL and TEST are in
no training film. "squat" and idle bodies are made up, from other seeds in every split. All of it follows from seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from percepta.datasets import motions
from percepta.datasets.mocap import Mocap
from percepta.errors import InputError
from percepta.geometry.body import Body, Motion, random_shape
from percepta.worlds.people import motions as people
from percepta.worlds.people import paint
from percepta.worlds.people.film import random_stage, shoot
from percepta.worlds.people.person import dressed
from percepta.worlds.people.rig import retarget

WIDTH, HEIGHT = 176, 132  # of what the camera sees,
TOP, LEFT, HIGH, WIDE = 18, 24, 96, 128  # and the part of it that is kept: people fill more of it
FPS, FRAMES = 8.0, 28  # of a film
SCENES = {"train": 9, "val": 3, "test": 4}
FIRST = {"train": 0, "val": 1000, "test": 2000}  # seeds of scenes: no scene is in two splits
CAMERAS = 2
MADE_SHARE = 0.25  # of training films of "walk" and "wave one hand" that are made up instead of recorded
VAL = (
    "dataset-2_walk_normal_002", "humanoid3d_run", "humanoid3d_spinkick", "humanoid3d_dance_a",
    "dataset-2_walk-turn-left_normal_002", "dataset-2_wave-left-hand_normal_002",
)  # fmt: skip
TEST = (
    "dataset-2_walk_normal_001", "humanoid3d_walk", "dataset-2_run_normal_002", "humanoid3d_kick",
    "humanoid3d_dance_b", "dataset-2_walk-turn-right_normal_002", "dataset-2_wave-right-hand_normal_002",
    "dataset-2_wave-both-hands_normal_002",
)  # fmt: skip
LABELS = {
    "walk": "walk", "run": "run", "kick": "kick", "dance": "dance", "turn": "turn around",
    "wave-both-hands": "wave both hands", "wave-left-hand": "wave one hand", "wave-right-hand": "wave one hand",
}  # fmt: skip


@dataclass(frozen=True)
class BodyFilm:
    """One film that can be made.

    Attributes:
        name: of the film.
        label: what is done; "" for an idle body.
        group: the scene.
        split: "train", "val" or "test".
        frames: makes the pictures.
    """

    name: str
    label: str
    group: str
    split: str
    frames: Callable[[], UInt8[np.ndarray, "28 96 128 3"]]


def label_of(clip: Mocap) -> str:
    """The action that a recording shows; "" for one that has too few recordings to be split."""
    return LABELS.get(clip.action, LABELS.get(people.action_of(clip), ""))


def split_of(clip: Mocap) -> str:
    """Where a recording belongs."""
    return "val" if clip.name in VAL else "test" if clip.name in TEST else "train"


def is_one(root: Path) -> bool:
    """Whether a folder has recorded motions, or archives of them."""
    return root.is_dir() and (motions.is_one(root) or any(root.glob("*.tar.*")))


def films(root: Path) -> Iterator[BodyFilm]:
    """All films of all splits; a picture is made only when `frames` is called.

    Raises:
        InputError: the folder has no recording of a split.
    """
    recorded: dict[str, dict[str, list[Mocap]]] = {split: {} for split in SCENES}
    for clip in motions.clips(root):
        if label := label_of(clip):
            recorded[split_of(clip)].setdefault(label, []).append(clip)
    for split, count in SCENES.items():
        if not recorded[split]:
            raise InputError(f"{root}: no recorded motion for {split}; expected those of Bandai-Namco and DeepMimic")
        for scene in range(count):
            seed = FIRST[split] + scene
            for label in (*sorted(recorded[split]), "squat", ""):
                for camera in range(CAMERAS):
                    word = label.replace(" ", "-") or "idle"
                    make = partial(film, recorded[split], label, seed, camera, split == "train")
                    yield BodyFilm(f"body_{split}{scene:02d}_{word}_{camera}", label, f"body {seed}", split, make)


def film(
    recorded: Mapping[str, list[Mocap]], label: str, scene: int, camera: int, made_too: bool
) -> UInt8[np.ndarray, "28 96 128 3"]:
    """Pictures of one action in a scene.

    Args:
        recorded: recordings of each action.
        label: what is done; "" idle.
        scene: seed of person and wall.
        camera: which camera; it says which piece of which recording, too.
        made_too: whether some motions may be made up instead.
    """
    rng = np.random.default_rng(scene)
    person = dressed("tight", random_shape(rng), paint.random_look(rng))
    own = np.random.default_rng((scene, camera, *label.encode()))
    motion = _motion(recorded, label, person.body, own, made_too)
    shot = shoot(
        motion, person, random_stage(scene), seed=int(own.integers(2**31)), width=WIDTH, height=HEIGHT, fps=FPS,
        moving=bool(own.random() < 0.75), samples=1,
    )  # fmt: skip
    whole = np.minimum(np.arange(FRAMES), len(shot.pixels) - 1)
    return shot.pixels[whole, TOP : TOP + HIGH, LEFT : LEFT + WIDE]


def _motion(
    recorded: Mapping[str, list[Mocap]], label: str, body: Body, rng: np.random.Generator, made_too: bool
) -> Motion:
    """A little more than a film needs of an action."""
    seconds = (FRAMES + 1) / FPS
    invented = {"": "idle", "squat": "squat"}.get(label)
    if made_too and label in ("walk", "wave one hand") and rng.random() < MADE_SHARE:
        invented = label.partition(" ")[0]
    seed = int(rng.integers(2**31))
    if invented is not None:
        return people.made(invented, seconds, seed=seed, body=body)
    clips = recorded[label]
    motion = retarget(clips[int(rng.integers(len(clips)))], body)
    if motion.seconds < seconds:
        return people.looped(motion, seconds + 0.5)  # where repeats are blended, some time is lost
    length = int(np.ceil(seconds * motion.fps)) + 1
    starts = rng.integers(max(1, len(motion) - length), size=4)
    best = max(starts, key=lambda start: _moved(motion.part(int(start), int(start) + length)))
    return motion.part(int(best), int(best) + length)


def _moved(motion: Motion) -> float:
    """How much joints turn: recordings begin and end with people who stand still."""
    return float(np.abs(np.diff(motion.rotation, axis=0)).sum())
