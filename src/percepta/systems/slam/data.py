"""Sequences to be scored on, of a folder or of the synthetic world; a sample is one sequence with some sensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from percepta.contract import Batch, Key
from percepta.datasets import layouts
from percepta.datasets.capture import Capture, Shot
from percepta.datasets.footage import of_recording
from percepta.datasets.posed import Recording
from percepta.errors import InputError
from percepta.systems.slam import Config
from percepta.systems.slam.world import Mode, RoundTrip
from percepta.worlds.rooms.flat import FlatWalk

SPLITS = ("train", "val", "test", "all")
FIRST = {"train": 100, "val": 0, "test": 50, "all": 0}  # seeds: no world is in two splits
MODES: tuple[Mode, ...] = ("depth", "mono", "stereo", "inertial")


@dataclass(frozen=True)
class Sample:
    """One sequence; it is opened where it is used.

    Attributes:
        name: of the sequence.
        mode: the sensors that are used.
        source: its folder, or what renders it.
    """

    name: str
    mode: Mode
    source: Path | RoundTrip | FlatWalk

    def capture(self) -> Capture:
        """The frames, with the sensors of the mode only."""
        found = open_capture(self.source) if isinstance(self.source, Path) else self.source.capture()
        return only(found, self.mode)


def only(capture: Capture, mode: Mode) -> Capture:
    """A capture as one camera, a camera with depth, or a stereo pair would have made it."""
    frames = _Only(capture, mode)
    right = capture.right if mode == "stereo" else None
    sensor = capture.imu if mode == "inertial" else None
    return replace(capture, frames=frames, samples=None, right=right, imu=sensor)


@dataclass(frozen=True)
class _Only:
    whole: Capture
    mode: Mode

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Any:
        for shot in self.whole:
            depth = shot.depth_m if self.mode == "depth" else None
            right = shot.right if self.mode == "stereo" else None
            yield Shot(shot.time_s, shot.frame, depth, right, shot.imu if self.mode == "inertial" else None)


def open_capture(path: Path | str) -> Capture:
    """What lies at a path: a set that is known, a recording, a video or pictures.

    Raises:
        MissingFileError: there is nothing.
        InputError: a layout that is not known, or several sequences: names them.
    """
    found = layouts.find(path, Capture, Recording)
    if len(found) > 1:
        names = ", ".join(one.root.name for one in found[:8])
        raise InputError(f"{path}: {len(found)} sequences; name one of them: {names}")
    content = found[0].read(found[0].root)
    return of_recording(content, found[0].root.name) if isinstance(content, Recording) else content


@dataclass(frozen=True)
class Sequences:
    """The sequences of a split; of the synthetic world every epoch has new ones."""

    config: Config
    samples: tuple[Sample, ...]
    split: str

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key
        sample = self.samples[index]
        if isinstance(sample.source, Path) or self.split != "train":
            return sample
        source = replace(sample.source, seed=sample.source.seed + 1000 * epoch)
        return Sample(f"{sample.name}, epoch {epoch}", sample.mode, source)

    def collate(self, samples: list[Any]) -> Batch:
        return {"sequence": list(samples)}


def data(config: Config, split: str, root: Path | None = None) -> Sequences:
    """The sequences of a folder, each with every set of sensors that it has; without a folder, synthetic ones.

    Args:
        config: the synthetic world.
        split: "train", "val", "test" or "all"; nothing is trained, so that of a folder each is everything.
        root: a folder of sequences with true poses.

    Raises:
        MissingFileError: there is no such folder.
        InputError: no such split, a layout that is not known, or no true poses.
    """
    if split not in SPLITS:
        raise InputError(f'the splits are "train", "val", "test" and "all", not {split!r}')
    if root is None:
        return Sequences(config, synthetic(config, split), split)
    out = []
    for one in layouts.find(root, Capture, Recording):
        capture = open_capture(one.root)
        if capture.truth is None:
            continue
        first = next(iter(capture), None)
        there = {"depth": first is not None and first.depth_m is not None, "mono": True}
        there |= {"stereo": capture.right is not None, "inertial": capture.samples is not None}
        modes: list[Mode] = [mode for mode in MODES if there[mode]]
        out += [Sample(capture.name, mode, one.root) for mode in modes]
    if not out:
        raise InputError(f"{root}: no sequence with true poses to score against; `percepta predict slam` needs none")
    return Sequences(config, tuple(out), split)


def synthetic(config: Config, split: str) -> tuple[Sample, ...]:
    """Sequences of the synthetic world: two flats, or three rooms, with all sensors; a flat takes minutes.

    Args:
        config: which world.
        split: of it.
    """
    out = []
    for number in range(2 if config.world == "flat" else 3):
        seed = FIRST[split] + number
        for mode in MODES if config.world == "flat" else MODES[:3]:
            count, width = config.world_frames, config.world_width
            source = (
                RoundTrip(seed, mode, count, width, count / 280)
                if config.world == "room"
                else FlatWalk(seed, mode, count, width)
            )
            out.append(Sample(f"{config.world} {seed}, {mode}", mode, source))
    return tuple(out)
