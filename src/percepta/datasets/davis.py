"""DAVIS-2016 and DAVIS-2017: videos whose foreground, or whose objects, are marked (Perazzi et al., Pont-Tuset et al.).

Layout: JPEGImages/480p/<video>/00000.jpg and Annotations/480p/<video>/00000.png (2016: 0 or 255; 2017: indexed, the
object's number), optionally ImageSets/480p or 2016 or 2017/train.txt and val.txt, the official splits. The folder 480p
may be missing, pictures may be of any kind, frames may be left out. Sentences: expressions.csv (video, expression, ...)
beside them, one or several rows a video.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from percepta.datasets.captioned import Clip, Missing, frames_of
from percepta.datasets.problem import Problem, noting
from percepta.datasets.scene import PngMask, Region, Scene, unused
from percepta.datasets.tables import note, read_table
from percepta.datasets.videos import Video, folders, frames_and_masks, is_binary
from percepta.errors import MissingFileError
from percepta.files import file_named, find_named, read_lines, subfolders

NAME = "DAVIS"
FILES = "JPEGImages/ with Annotations/ (masks) or expressions.csv (sentences)"

# What is marked, as one sees in the frames: many folders are named after an action, not after a thing.
NAMES = {
    "bear": "bear", "bmx-bumps": "person on a bicycle", "boat": "boat", "breakdance-flare": "person",
    "bus": "bus", "car-turn": "car", "dance-jump": "person", "dog-agility": "dog", "drift-turn": "car",
    "elephant": "elephant", "flamingo": "flamingo", "hike": "person", "hockey": "hockey player",
    "horsejump-low": "person on a horse", "kite-walk": "person with a kite and a board", "lucia": "person",
    "mallard-fly": "duck", "mallard-water": "duck", "motocross-bumps": "person on a motorbike",
    "motorbike": "people on a motorbike", "paragliding": "paraglider", "rhino": "rhino",
    "rollerblade": "person", "scooter-gray": "person on a scooter", "soccerball": "ball",
    "stroller": "person with a stroller", "surf": "windsurfer", "swing": "person on a swing",
    "tennis": "tennis player", "train": "train", "blackswan": "swan", "breakdance": "person",
    "camel": "camel", "car-roundabout": "car", "car-shadow": "car", "cows": "cow", "dance-twirl": "person",
    "dog": "dog", "drift-chicane": "car", "drift-straight": "car", "goat": "goat", "libby": "dog",
    "parkour": "person",
}  # fmt: skip


def is_one(root: Path) -> bool:
    """Whether JPEGImages/ holds folders of frames, and masks or expressions lie beside it."""
    pictures = root / "JPEGImages"
    if not pictures.is_dir() or not ((root / "Annotations").is_dir() or (root / "expressions.csv").is_file()):
        return False
    return bool(subfolders(pictures))


def read(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Scene]:
    """One scene a frame with one region, its group being the video, its split that of the lists in ImageSets/.

    Args:
        root: folder with JPEGImages/ and Annotations/.
        problems, warnings: as `scene.py` says.

    Raises:
        MissingFileError: a folder or a frame's mask is missing.
        InputError: a damaged CSV (naming the line).
    """
    pictures, masks = (_folder(root, name) for name in ("JPEGImages", "Annotations"))
    videos = [folder.name for folder in subfolders(pictures)]
    if not videos:
        raise MissingFileError(f"{pictures}: no folders with videos")
    table = root / "expressions.csv"
    sentences = read_expressions(table, problems) if table.is_file() else {}
    splits = {video: split for split in ("train", "val") for video in _listed(root, split)}
    out = []
    for video in videos:
        for frame in frames_of(pictures / video):
            mask = file_named(masks / video, f"{frame.stem}.png")
            if mask is None:
                gone = masks / video / f"{frame.stem}.png"
                with noting(problems, gone):
                    raise MissingFileError(f"{gone}: no such file; {frame} needs it")
                continue
            region = Region(PngMask(mask), NAMES.get(video, ""), sentences.get(video, ()), every=True)
            out.append(Scene(frame, (region,), "davis", f"davis/{video}", split=splits.get(video, "")))
    if warnings is not None:
        warnings += unused(root, ("Annotations",), out)
    return out


def read_expressions(path: Path, problems: list[Problem] | None = None) -> dict[str, tuple[str, ...]]:
    """Sentences by video from a CSV with columns video and expression, in the order of the file.

    `problems` gets bad rows, which are then left out; without it the first is raised.
    """
    out: dict[str, tuple[str, ...]] = {}
    for line, (video, expression) in read_table(path, ("video", "expression"), problems=problems):
        if not video or not expression:
            note(problems, path, line, "the video or the expression is empty")
        else:
            out[video] = (*out.get(video, ()), expression)
    return out


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    if not folder.is_dir():
        raise MissingFileError(f"{root}: no folder {name}; DAVIS has JPEGImages/ and Annotations/")
    return folder / "480p" if (folder / "480p").is_dir() else folder


def _listed(root: Path, split: str, years: tuple[str, ...] = ("480p", "2016", "")) -> set[str]:
    """The videos of a list in ImageSets/; none where there is no such list."""
    for folder in years:
        path = root / "ImageSets" / folder / f"{split}.txt"
        if path.is_file():
            # Lines are a video's name, or "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png".
            first = [line.split()[0] for line in read_lines(path) if line.strip()]
            return {entry.split("/")[-2] if "/" in entry else entry for entry in first}
    return set()


def clips(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Clip]:
    """The videos that expressions.csv has sentences for; always for testing. Without that file there are none.

    Args:
        root: folder with JPEGImages/.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.
    """
    table = root / "expressions.csv"
    if not table.is_file():
        if warnings is not None:
            warnings.append(Problem(table, None, "no such file, so that no video here has a sentence"))
        return []
    folder = root / "JPEGImages"
    folder = folder / "480p" if (folder / "480p").is_dir() else folder
    missing = Missing(table, problems)
    out = []
    for video, sentences in read_expressions(table, problems).items():
        there = find_named(folder, video)
        frames = frames_of(there) if there is not None and there.is_dir() else ()
        if not frames:
            missing.add(video, None)
            continue
        out.append(Clip(video, frames, sentences, f"davis/{video}", "davis", "test", table=table))
    missing.close()
    return out


def videos(root: Path, problems: list[Problem] | None = None, warnings: list[Problem] | None = None) -> list[Video]:
    """The videos with their masks, objects apart where masks are indexed (2017).

    Args:
        root: folder with JPEGImages/ and Annotations/.
        problems: a list to add to; None: the first problem is raised.
        warnings: a list to add to; None: they are dropped.

    Raises:
        MissingFileError: a folder is missing, a video has no frames or no masks.
    """
    pictures, masks = (_folder(root, name) for name in ("JPEGImages", "Annotations"))
    out: list[Video] = []
    for folder in folders(pictures):
        with noting(problems, folder):
            frames, there = frames_and_masks(folder, masks / folder.name, problems)
            first = next((path for path in there if path is not None), None)
            if first is None:
                raise MissingFileError(f"{masks / folder.name}: no masks for the frames of {folder}")
            out.append(Video(folder.name, frames, there, "davis", binary=is_binary(first), drop_last=True))
    years = ("480p", "2016", "") if all(video.binary for video in out) else ("2017", "480p", "")
    lists = {"train": "train", "val": "val", "test-dev": "test", "test-challenge": "test"}
    splits = {video: split for name, split in lists.items() for video in _listed(root, name, years)}
    return [replace(video, split=splits.get(video.name, "")) for video in out]


READS = {Scene: read, Clip: clips, Video: videos}
