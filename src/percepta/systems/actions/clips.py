"""Untrimmed videos made by joining clips: what `small` learns from.

A bank holds the rows (`features.py`) of every frame of some clips, looked at once. A video is a sequence of parts: an
action (clips of one class one after the other: **cuts that are no borders**), a span in which nobody does any of it (a
film, or a body that stands idle), or a pause, a frame that stands still. Half the time the next part shows the same
people. Between parts there is a cut or a short cross-fade, whose middle is the border. Who is in one split is in no
other. Everything follows from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from percepta.contract import Progress
from percepta.datasets import layouts
from percepta.datasets.action_clips import ActionClips, backgrounds
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.formats import read_json
from percepta.nn import looks
from percepta.nn.looks import Rows
from percepta.systems.actions import bodies
from percepta.systems.actions.features import look_at
from percepta.systems.actions.model import ActionsNetwork

NONE = ""  # the label of a clip without action
WIDTH, HEIGHT = 128, 96  # of joined pictures
INDEX = "clips.json"
DOING = ("breakdance-flare", "dance-jump", "hike", "kite-walk", "lucia", "stroller", "tennis")  # of DAVIS: walk, dance
Frames = Callable[[], UInt8[np.ndarray, "n h w 3"]]
THIN_FPS = 20.0  # of clips with more frames a second every other one is looked at


@dataclass(frozen=True)
class Clip:
    """A clip of a bank.

    Attributes:
        name: of its file.
        label: the action; "" for none.
        group: who and where.
        split: "train", "val" or "test".
        fps: frames a second.
        first: place of its first frame in the bank.
        frames: how many.
    """

    name: str
    label: str
    group: str
    split: str
    fps: float
    first: int
    frames: int


@dataclass(frozen=True)
class Bank:
    """Clips with the rows of their frames.

    Attributes:
        clips: what there is.
        rows: of all frames, clip after clip.
    """

    clips: tuple[Clip, ...]
    rows: Rows

    def labels(self) -> tuple[str, ...]:
        """The actions that there are, sorted."""
        return tuple(sorted({clip.label for clip in self.clips} - {NONE}))


@dataclass(frozen=True)
class Joined:
    """A video that was put together.

    Attributes:
        place: frames of the bank.
        other: frames of the bank that are faded in.
        weight: of `other`, 0..1.
        spans: starts and ends of actions, in seconds.
        labels: their names.
        fps: frames a second.
    """

    place: Int64[np.ndarray, " t"]
    other: Int64[np.ndarray, " t"]
    weight: Float32[np.ndarray, " t"]
    spans: np.ndarray
    labels: tuple[str, ...]
    fps: float


def join(
    bank: Bank, split: str, seed: int, length: int, fps: float = 4.0, labels: Sequence[str] | None = None
) -> Joined:
    """A video of `length` frames out of the clips of a split.

    Args:
        bank: the clips.
        split: "train", "val" or "test".
        seed: everything follows from it.
        length: in frames.
        fps: frames a second.
        labels: which actions; None: all.

    Raises:
        InputError: the split has no clips of them.
    """
    rng = np.random.default_rng(seed)
    clips = [clip for clip in bank.clips if clip.split == split]
    by_label: dict[str, list[Clip]] = {}
    for clip in clips:
        if labels is None or clip.label in labels or clip.label == NONE:
            by_label.setdefault(clip.label, []).append(clip)
    idle = by_label.pop(NONE, [])
    if not by_label:
        raise InputError(f"no clips of {split}: the bank has {len(bank.clips)} clips of {', '.join(bank.labels())}")
    names = sorted(by_label)
    parts: list[tuple[np.ndarray, str]] = []
    last, group, used = NONE, "", 0
    while used < length:
        kind = rng.random()
        if kind < 0.6 or (last == NONE and parts):
            label = names[int(rng.integers(len(names)))]
            if label == last:
                continue
            place, group = _action(by_label[label], rng, fps, group)
        elif kind < 0.85 and idle:
            one = _near(idle, rng, group)
            label, group, place = NONE, one.group, _span(one, rng, fps, int(rng.integers(8, 40)))
        else:
            one = (idle or clips)[int(rng.integers(len(idle or clips)))]
            frame = one.first + int(rng.integers(one.frames))
            label, place = NONE, np.full(int(rng.integers(6, 24)), frame)
        parts.append((place, label))
        last, used = label, used + len(place)
    return _faded(parts, rng, length, fps)


def _near(clips: list[Clip], rng: np.random.Generator, group: str) -> Clip:
    """Any clip; half the time one of the people before, where there is one: not every border is a change of scene."""
    same = [clip for clip in clips if clip.group == group]
    pool = same if same and rng.random() < 0.5 else clips
    return pool[int(rng.integers(len(pool)))]


def _action(clips: list[Clip], rng: np.random.Generator, fps: float, group: str) -> tuple[np.ndarray, str]:
    """(frames, people) of one action: one to four clips, mostly of the same people, in which it goes on.

    Args:
        clips: of the action.
        rng: of the video.
        fps: frames a second.
        group: the people before.
    """
    wanted = int(rng.integers(8, 48))
    clip = _near(clips, rng, group)
    place = _span(clip, rng, fps, wanted)
    for _ in range(3):
        if len(place) >= wanted:
            break
        same = [one for one in clips if one.group == clip.group]
        pool = same if rng.random() < 0.7 else clips
        clip = pool[int(rng.integers(len(pool)))]
        place = np.concatenate([place, _span(clip, rng, fps, wanted - len(place))])
    return place, clip.group


def _span(clip: Clip, rng: np.random.Generator, fps: float, wanted: int) -> np.ndarray:
    """A stretch of a clip at about `fps`, not slower than it was; as long as it has and as is wanted."""
    step = clip.fps / fps * (rng.uniform(0.5, 1.0) if clip.fps > fps else 1.0)
    most = max(1, int((clip.frames - 1) / step) + 1)
    n = min(most, max(wanted, min(most, 4)))
    start = rng.uniform(0, max(0.0, clip.frames - 1 - (n - 1) * step))
    return clip.first + np.minimum(np.round(start + step * np.arange(n)).astype(np.int64), clip.frames - 1)


def _faded(parts: list[tuple[np.ndarray, str]], rng: np.random.Generator, length: int, fps: float) -> Joined:
    place = np.concatenate([p for p, _ in parts])[:length]
    other, weight = place.copy(), np.zeros(len(place), np.float32)
    spans, labels, at = [], [], 0
    for i, (part, label) in enumerate(parts):
        end = min(at + len(part), length)
        if label != NONE and end - at >= 4:
            spans.append((at / fps, end / fps))
            labels.append(label)
        if i and at < length and rng.random() < 0.5:
            half = min(int(rng.integers(1, 3)), at, end - at)
            for k in range(-half, half):
                share = (k + half + 0.5) / (2 * half)
                if k < 0:
                    other[at + k], weight[at + k] = place[at], share
                else:
                    other[at + k], weight[at + k] = place[at - 1], 1 - share
        at = end
    return Joined(place, other, weight, np.array(spans, np.float64).reshape(-1, 2), tuple(labels), fps)


def rows_of(bank: Bank, video: Joined) -> Rows:
    """Rows of a joined video; in a cross-fade rows are mixed, which is exact for `thumb` and near for `look`."""
    a, b, w = bank.rows[video.place], bank.rows[video.other], video.weight
    return Rows(a.look + w[:, None] * (b.look - a.look), a.thumb + w[:, None, None] * (b.thumb - a.thumb))


def fitted(frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n 96 128 3"]:
    """Frames at 128 × 96; square ones get their border repeated at both sides."""
    out = []
    for frame in frames:
        height, width = frame.shape[:2]
        wide = round(width * HEIGHT / height)
        picture = np.asarray(Image.fromarray(frame).resize((wide, HEIGHT), Image.Resampling.BICUBIC))
        left = max(0, (WIDTH - wide) // 2)
        picture = np.pad(picture, ((0, 0), (left, max(0, WIDTH - wide - left)), (0, 0)), mode="edge")
        out.append(picture[:, :WIDTH])
    return np.stack(out)


def sources(roots: Sequence[Path]) -> list[tuple[Clip, Frames]]:
    """The clips of folders, each with a function that gives its frames (n 96 128 3).

    Folders hold strips (UCF-101, Weizmann), recorded motions, which bodies are filmed by (`bodies.py`), or videos of
    DAVIS, which count as spans without action, but for those in which people walk or dance.

    Raises:
        InputError: a folder is none of these.
    """
    out: list[tuple[Clip, Frames]] = []
    first = 0

    def add(name: str, label: str, group: str, split: str, fps: float, frames: np.ndarray) -> None:
        nonlocal first
        out.append((Clip(name, label, group, split, fps, first, len(frames)), lambda: frames))
        first += len(frames)

    for root in roots:
        if bodies.is_one(root):
            for film in bodies.films(root):
                clip = Clip(film.name, film.label, film.group, film.split, bodies.FPS, first, bodies.FRAMES)
                out.append((clip, film.frames))
                first += bodies.FRAMES
            continue
        films = backgrounds(root)
        if films:
            for i, (name, frames) in enumerate((k, v) for k, v in films.items() if k not in DOING):
                split = "test" if i % 5 == 4 else "val" if i % 5 == 3 else "train"
                add(name, NONE, name, split, 6.0, frames)
            continue
        for found in layouts.find(root, ActionClips):
            for clip in found.read(found.root).clips:
                thin = 2 if clip.fps > THIN_FPS else 1
                frames = fitted(clip.frames()[::thin])
                add(clip.name, clip.label, clip.group, clip.split, clip.fps / thin, frames)
    return out


def write_bank(
    model: ActionsNetwork, roots: Sequence[Path], out: Path, progress: Progress | None = None
) -> tuple[int, int]:
    """Looks at every frame of the clips and writes the bank; what is there already is not looked at again.

    Args:
        model: has the encoder.
        roots: folders of strips, of recorded motions and of backgrounds.
        out: the folder of the bank.
        progress: called with (clips done, clips in all).

    Returns:
        (clips, frames).
    """
    out.mkdir(parents=True, exist_ok=True)
    found = sources(roots)
    for i, (clip, frames) in enumerate(found):
        path = out / f"{clip.name}.npz"
        if not path.is_file():
            rows = look_at(model, frames())
            if len(rows) != clip.frames:
                raise InputError(f"{clip.name}: {len(rows)} frames instead of {clip.frames}")
            rows.save(path, duration_s=clip.frames / clip.fps)
        if progress is not None:
            progress(i + 1, len(found))
    write_atomically(out / INDEX, json.dumps([asdict(clip) for clip, _ in found], indent=0) + "\n")
    return len(found), sum(clip.frames for clip, _ in found)


def is_bank(root: Path) -> bool:
    """Whether a folder is a bank."""
    return (root / INDEX).is_file()


def read_bank(root: Path) -> Bank:
    """The bank of a folder.

    Raises:
        InputError: a file is missing, or has another number of frames than the index says.
    """
    clips = tuple(Clip(**entry) for entry in read_json(root / INDEX))
    parts = []
    for clip in clips:
        path = root / f"{clip.name}.npz"
        if not path.is_file():
            raise InputError(f"{path}: missing; make the bank again: percepta actions bank FOLDER... --out {root}")
        parts.append(looks.read(path)[0])
        if len(parts[-1]) != clip.frames:
            raise InputError(f"{path}: {len(parts[-1])} frames where {INDEX} says {clip.frames}; make the bank again")
    return Bank(clips, looks.joined(parts))
