"""Finds out which public data set a folder is, for training, `check` and prediction alike.

Each file of this package that reads a set has

    NAME            what it is called
    FILES           what is looked for, in words
    is_one(root)    whether a folder (or a file) is such a set; opens as little as it can
    READS           {what it can be read as: a function of the folder}; splits and strides are applied afterwards

A folder may also be the parent of several sets, which are then read one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from percepta.datasets import (
    acdc,
    action_clips,
    album,
    camvid,
    captioned,
    ccp,
    cifar,
    cityscapes,
    class_folder,
    coco,
    coco_small,
    colmap,
    dark_zurich,
    davis,
    didemo,
    euroc,
    flickr8k,
    flickr_aes,
    folder,
    footage,
    foregrounds,
    idd_lite,
    kitti_odometry,
    lvos,
    mose,
    msrvtt,
    msvd,
    nasbench,
    oasis,
    para,
    plane_annotations,
    posed,
    posed_folder,
    refcoco,
    scannet,
    scannet_frames,
    scenenn,
    seven_scenes,
    soccer,
    stray_scanner,
    street_folder,
    traffic,
    tum_rgbd,
    untrimmed,
    video_folder,
    voc,
    youtube_vos,
)
from percepta.errors import InputError, MissingFileError
from percepta.files import is_system_file

T = TypeVar("T")


@runtime_checkable
class DataSet(Protocol):
    """The names that a file which reads a public data set has."""

    NAME: str
    FILES: str
    READS: Mapping[Any, Callable[..., Any]]

    def is_one(self, root: Path, /) -> bool: ...


# In the order in which they are tried: a set with a layout of its own comes before those that any folder might be.
SETS: tuple[Any, ...] = (
    action_clips, soccer, refcoco, msrvtt, msvd, didemo, para, flickr_aes, oasis, plane_annotations, scannet,
    scannet_frames, scenenn, seven_scenes, tum_rgbd, euroc, kitti_odometry, stray_scanner, colmap, cifar, youtube_vos,
    lvos, mose, davis,
    video_folder, coco_small, coco, voc, ccp, foregrounds, flickr8k, captioned, folder, posed, posed_folder,
    class_folder, album, nasbench, *traffic.SETS, untrimmed, footage, dark_zurich, acdc, cityscapes, idd_lite, camvid,
    street_folder,
)  # fmt: skip


@dataclass(frozen=True)
class Found(Generic[T]):
    """A folder whose layout is known.

    Attributes:
        root: the folder.
        kind: what it is read as, one of those that were asked for.
        set: the module that reads it.
        read: its function for what was asked for; gets the folder, and what else that function takes.
    """

    root: Path
    kind: type[Any]
    set: DataSet
    read: Callable[..., T]


def readers(*kinds: type[Any]) -> list[DataSet]:
    """The sets that can be read as one of some kinds."""
    return [one for one in SETS if any(kind in getattr(one, "READS", {}) for kind in kinds)]


def find(root: Path | str, *kinds: type[Any]) -> list[Found[Any]]:
    """What a folder is, among the sets that can be read as one of `kinds`.

    Args:
        root: a folder in one of the layouts, a file where a set is one, or a folder with several such folders in it.
        kinds: what it may be read as, such as `Scene`: keys of READS. Where a set has several of them the first counts.

    Returns:
        One set; or those of its sub-folders, by name, where the folder itself is none.

    Raises:
        MissingFileError: there is no such path.
        InputError: nothing that is known; lists what every set would need.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise MissingFileError(f"{root}: no such file or folder")
    sets = readers(*kinds)
    if own := _which(root, kinds, sets):
        return [own]
    if root.is_dir():
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not is_system_file(path))
        inside = [found for found in (_which(path, kinds, sets) for path in folders) if found]
        if inside:
            return inside
    raise InputError(unknown(root, sets))


def find_one(root: Path | str, kind: type[Any]) -> Found[Any]:
    """The one set that a folder is or holds, for who cannot join several; arguments and errors as in `find`.

    Raises:
        InputError: also where the folder holds several.
    """
    first, *others = find(root, kind)
    if others:
        raise InputError(f"{root} holds several sets ({first.root.name}, {others[0].root.name}); name one of them")
    return first


def unknown(root: Path, sets: list[DataSet]) -> str:
    """The message for a folder that no set recognises: what each of them looks for."""
    looked = "".join(f"\n  {one.NAME}: {one.FILES}" for one in sets)
    return f"{root}: no layout of data that is known, here or one folder down. Looked for{looked}"


def _which(root: Path, kinds: Sequence[type[Any]], sets: list[DataSet]) -> Found[Any] | None:
    for one in sets:
        if one.is_one(root):
            kind = next(kind for kind in kinds if kind in one.READS)
            return Found(root, kind, cast(DataSet, one), one.READS[kind])
    return None
