"""Which videos and pictures a training and an evaluation take.

A training batch is {pictures: b t 3 h w (RGB 0..1), labels: b t h w (0 background, 1 .. n an object, 255 not known),
known: b n (which objects there are; each of them is in sight in frame 0)}; one of an evaluation {videos: list of
`sequences.Sequence`}.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from percepta.contract import Batch, Dataset, Key
from percepta.datasets import layouts
from percepta.datasets.scene import PngMask, Scene
from percepta.datasets.videos import Video
from percepta.errors import InputError
from percepta.systems.vos import Config, sequences, world
from percepta.systems.vos.clips import Clips, Marked

SPLITS = ("train", "val", "test", "all")
# Folders of a collection, and how often an epoch goes through each (others: once). Of flickr8k and oasis only what
# stands out in the picture is taken; a person of ccp is all that it wears.
REPEATS: dict[str, float] = {"coco-small": 2}
TEST_VIDEOS = "davis16"  # a folder of a collection that is only evaluated on
UNUSED = "vos-multi"  # one with too few masks for either
HELD_OUT = ("bmx-bumps", "drift-turn", "mallard-water", "rollerblade")  # of DAVIS-2016's train: to choose settings by


def data(config: Config, split: str, root: Path | None = None) -> Dataset:
    """Training clips, or the videos of a split; without a folder, of shapes that cross and hide (`world.py`).

    Args:
        config: the settings.
        split: "train", "val", "test" or "all".
        root: a folder of videos with masks, of pictures with masks, or with several such folders in it.

    Raises:
        MissingFileError, InputError: no set that is known, which says what was looked for; no such split, or nothing
            in it.
    """
    if split not in SPLITS:
        raise InputError(f"the splits are {', '.join(SPLITS)}, not {split!r}")
    if root is None:
        return world.Clips(config, config.train.seed) if split == "train" else world.Videos(config, split)
    if split == "train":
        return Clips(config, pictures(root), videos(root, split), config.train.seed)
    found = videos(root, split)
    check_any(found, root, split)
    return Followed(tuple(sequences.sequences(found)))


def check_any(found: list[Video], root: Path, split: str) -> None:
    """Raises InputError where a split of a folder has no video.

    Args:
        found: its videos.
        root: the folder.
        split: the split.
    """
    if not found:
        every = len(videos(root, "all"))
        have = f"; it holds {every} in all, which the split 'all' takes" if every else ""
        raise InputError(f"{root}: no video with masks in the split {split!r}{have}")


@dataclass(frozen=True)
class Followed:
    """Videos of an evaluation; a batch is {videos: list of `sequences.Sequence`}."""

    found: tuple[sequences.Sequence, ...]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, key: Key) -> sequences.Sequence:
        return self.found[key[1]]

    def collate(self, samples: list[sequences.Sequence]) -> Batch:
        return {"videos": samples}


def videos(root: Path, split: str) -> list[Video]:
    """The videos of a split of a folder.

    Official splits count where the set has them; else HELD_OUT are for validation, and what is no such folder is cut by
    the checksum of each video's name; its "test" is everything. In a collection (a folder with several sets) that has
    the folder TEST_VIDEOS, those videos are for testing only and all others never; those of UNUSED are for nothing.

    Args:
        root: the folder.
        split: "train", "val", "test" or "all".
    """
    found = [one for one in layouts.find(root, Video, Scene) if one.kind is Video]
    alone = [one.root for one in found] == [Path(root).expanduser()]
    reserved = not alone and any(one.root.name == TEST_VIDEOS for one in found)
    out: list[Video] = []
    for one in found:
        name, here = (
            one.root.name,
            split == "all" or not reserved or (one.root.name == TEST_VIDEOS) == (split == "test"),
        )
        if here and (alone or split == "all" or name != UNUSED):
            out += part(one.read(one.root), split, everything=reserved and split == "test")
    return out


def part(found: list[Video], split: str, everything: bool = False) -> list[Video]:
    """The videos of a split of one set: the official one, else that of HELD_OUT or of the checksum of the name.

    Args:
        found: all videos of the set.
        split: "train", "val", "test" or "all".
        everything: all of them belong to the split.
    """
    if split == "all" or everything:
        return found
    official = {video.split for video in found if video.split}
    if official:
        if split == "test" and "test" not in official:
            split = "val"
        return [video for video in found if video.split == split]
    if split == "test":
        return found
    named = {video.name for video in found} & {*HELD_OUT}
    held = [v for v in found if (v.name in named if named else zlib.crc32(v.name.encode()) % 8 == 0)]
    return held if split == "val" else [video for video in found if video not in held]


def pictures(root: Path) -> list[Marked]:
    """The single pictures with marked objects of a folder, repeated as REPEATS says."""
    out: list[Marked] = []
    for one in layouts.find(root, Video, Scene):
        if one.kind is not Scene:
            continue
        some = [marked for scene in one.read(one.root) if (marked := marked_in(scene)) is not None]
        times = REPEATS.get(one.root.name, 1)
        for copy in range(ceil(times)):
            out += some[: round(len(some) * min(1.0, times - copy))]
    return out


def marked_in(scene: Scene) -> Marked | None:
    """The objects of a labelled picture; None where it marks classes rather than objects."""
    masks = [region.mask for region in scene.regions]
    if scene.source == "ccp":  # what somebody wears, together
        masks = [PngMask(mask.path) for mask in masks[:1] if isinstance(mask, PngMask)]
    elif scene.source in ("flickr8k", "oasis"):  # what stands out has no name; classes may hold several objects
        masks = [region.mask for region in scene.regions if not region.name]
    return Marked(scene.image, tuple(masks)) if masks else None
