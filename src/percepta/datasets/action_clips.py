"""Short clips of one action each, stored as one picture: the frames stand one above the other.

    ucf101-6/v_BrushingTeeth_g15_c02.webp      16 frames of 128 × 96 from UCF-101: class, group of people and place,
    clip weizmann/wave1_00000042.webp               continuous frames of 64 × 64: class, number; person = number // 8

Groups and people are kept apart by the splits: whoever is in "train" is in no other. A UCF strip is evenly spaced over
a clip of unknown length and counts as 4 frames a second. Weizmann was filmed at 25 frames a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.errors import InputError
from percepta.files import listed
from percepta.media.image import load

NAME = "strips of action clips"
FILES = "v_CLASS_gNN_cNN.webp of 128 × 96 frames (UCF-101), or CLASS_NNNNNNNN.webp of 64 × 64 frames (Weizmann)"
STRIP_FPS, WEIZMANN_FPS = 4.0, 25.0
NAMES = {
    "ApplyEyeMakeup": "put on eye makeup", "ApplyLipstick": "put on lipstick", "BlowDryHair": "blow-dry hair",
    "BrushingTeeth": "brush teeth", "Haircut": "cut hair", "Typing": "type", "wave1": "wave one hand",
    "wave2": "wave both hands", "jack": "do jumping jacks", "bend": "bend down",
}  # fmt: skip
_UCF = re.compile(r"v_(?P<label>[A-Za-z]+)_g(?P<group>\d+)_c(?P<number>\d+)$")
_WEIZMANN = re.compile(r"(?P<label>wave1|wave2|jack|bend)_(?P<number>\d{8})$")
_SPLITS: Mapping[str, Callable[[int], str]] = {
    "ucf": lambda group: "test" if group >= 19 else "val" if group >= 17 else "train",
    "weizmann": lambda person: "test" if person >= 7 else "val" if person == 6 else "train",
}


@dataclass(frozen=True)
class ActionClip:
    """One clip.

    Attributes:
        name: of its file.
        label: the action, in words.
        group: of people and place, or the person: never in two splits.
        split: "train", "val" or "test".
        fps: frames a second.
        path: the strip.
        size: (height, width) of a frame.
    """

    name: str
    label: str
    group: str
    split: str
    fps: float
    path: Path
    size: tuple[int, int]

    def frames(self) -> UInt8[np.ndarray, "n h w 3"]:
        """All frames.

        Raises:
            InputError: the picture is no strip of such frames.
        """
        pixels = np.asarray(load(self.path).convert("RGB"))
        height, width = self.size
        if pixels.shape[1] != width or pixels.shape[0] % height:
            raise InputError(f"{self.path}: expected a strip of frames of {width} × {height}, got {pixels.shape[:2]}")
        return pixels.reshape(-1, height, width, 3)


@dataclass(frozen=True)
class ActionClips:
    """The clips of a folder.

    Attributes:
        clips: by name.
    """

    clips: tuple[ActionClip, ...]


def is_one(root: Path) -> bool:
    """Whether a folder has such a strip among its first files."""
    return root.is_dir() and any(_parsed(path) for path in sorted(root.glob("*.webp"))[:4])


def read(root: Path) -> ActionClips:
    """Lists the clips; opens none.

    Raises:
        InputError: there is none.
    """
    found = [clip for path in sorted(listed(root, endings={".webp"})) if (clip := _parsed(path)) is not None]
    if not found:
        raise InputError(f"{root}: no strips of action clips; looked for {FILES}")
    return ActionClips(tuple(found))


READS = {ActionClips: read}


def backgrounds(root: Path, width: int = 128, height: int = 96) -> dict[str, UInt8[np.ndarray, "n h w 3"]]:
    """Frames of videos in the layout of DAVIS (JPEGImages/NAME/*): what goes on where nobody does anything of ours.

    Args:
        root: the folder.
        width: of the frames, in pixels.
        height: of the frames.
    """
    out = {}
    for folder in sorted((root / "JPEGImages").iterdir()) if (root / "JPEGImages").is_dir() else []:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".webp", ".jpg", ".png"))
        some = [np.asarray(load(path).convert("RGB").resize((width, height), Image.Resampling.BOX)) for path in files]
        if some:
            out[folder.name] = np.stack(some)
    return out


def _parsed(path: Path) -> ActionClip | None:
    if found := _UCF.match(path.stem):
        if found["label"] not in NAMES:
            return None
        group = int(found["group"])
        split = _SPLITS["ucf"](group)
        label = NAMES[found["label"]]
        return ActionClip(path.stem, label, f"g{group:02d}", split, STRIP_FPS, path, (96, 128))
    if found := _WEIZMANN.match(path.stem):
        person = int(found["number"]) // 8
        split = _SPLITS["weizmann"](person)
        return ActionClip(path.stem, NAMES[found["label"]], f"person {person}", split, WEIZMANN_FPS, path, (64, 64))
    return None
