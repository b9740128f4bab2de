"""ETH and UCY (Pellegrini et al. 2009, Lerner et al. 2007): people on foot from above, in metres, frame by frame.

The leave-one-out files of Social-GAN: SCENE/{train,val,test}/NAME.txt with the columns frame, id, x, y, in a folder or
in eth_ucy.tar.xz. Every row of frames is 10 apart. That is 0.4 s everywhere but in biwi_eth, whose original frames are
6
apart at 15 a second: there 10 frames are 0.67 s, and people seem to walk faster. The files are read as papers read
them, and `Tracks.dt_s` has the true time. students001 and students003 count their frames from 0 both: they are never
joined.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from percepta.datasets.problem import Problem, noting
from percepta.datasets.tracks import KINDS, Recordings, Tracks, from_rows
from percepta.errors import InputError, MissingFileError
from percepta.files import read_text

NAME = "ETH/UCY"
FILES = "eth/test/biwi_eth.txt and hotel, univ, zara1, zara2 beside eth, in the folder or in eth_ucy.tar.xz"

SCENES = ("eth", "hotel", "univ", "zara1", "zara2")
PARTS = ("train", "val", "test")
ARCHIVE = "eth_ucy.tar.xz"
FRAMES_A_STEP = 10
DT_S = 0.4
ETH_DT_S = 10 / 15


def is_one(root: Path) -> bool:
    """Whether a folder holds the scenes, or their archive."""
    root = Path(root)
    return (root / ARCHIVE).is_file() or (root / "eth" / "test" / "biwi_eth.txt").is_file()


def read(root: Path, problems: list[Problem] | None = None) -> Recordings:
    """Every recording once: the test files of the five scenes.

    Args:
        root: the folder.
        problems: what is wrong with a file is added here; None: raised.
    """
    found = []
    for scene in SCENES:
        with noting(problems, Path(root)):
            found += [(scene, name) for name in names(Path(root), scene, "test")]
    labels = tuple(name for _, name in found)
    return Recordings(labels, ("eth_ucy",) * len(labels), partial(_open, Path(root), tuple(found)))


def read_part(root: Path, scene: str, part: str) -> list[Tracks]:
    """The recordings of a part of one leave-one-out split: "test" is the scene itself, the others all other scenes.

    Args:
        root: the folder.
        scene: which scene is left out of training.
        part: "train", "val" or "test".

    Raises:
        InputError: no such scene or part; a damaged line (names it).
    """
    if scene not in SCENES or part not in PARTS:
        raise InputError(f"scenes are {', '.join(SCENES)} and parts {', '.join(PARTS)}; got {scene!r}, {part!r}")
    return [_tracks(Path(root), f"{scene}/{part}/{name}.txt") for name in names(Path(root), scene, part)]


def names(root: Path, scene: str, part: str) -> list[str]:
    """The recordings of a part of a split, by the stems of their files.

    Args:
        root: the folder.
        scene: which scene is left out of training.
        part: "train", "val" or "test".

    Raises:
        MissingFileError: there are none.
    """
    folder = f"{scene}/{part}/"
    if (root / ARCHIVE).is_file():
        every: Iterable[str] = _texts(root / ARCHIVE)
    else:
        every = (path.relative_to(root).as_posix() for path in (root / folder).glob("*.txt"))
    found = sorted(Path(name).stem for name in every if name.startswith(folder))
    if not found:
        raise MissingFileError(f"{root / folder}: no files; {NAME} needs {FILES}")
    return found


def parse(text: str, source: str, dt_s: float | None = None) -> Tracks:
    """The recording in a text of lines "frame id x y".

    Args:
        text: what the file holds.
        source: its path, for messages; its stem is the recording's name.
        dt_s: time of a step; None: 0.4 s, of biwi_eth 0.67 s.

    Raises:
        InputError: a line is none of four numbers, or two rows have one id and one frame.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        try:
            if words:
                frame, agent, x, y = map(float, words)
                rows.append((frame, agent, x, y))
        except ValueError:
            raise InputError(f"{source}, line {number}: expected frame, id, x and y, found {line[:60]!r}") from None
    if not rows:
        raise InputError(f"{source}: no rows")
    table = np.array(rows, np.float64)
    steps = np.round((table[:, 0] - table[:, 0].min()) / FRAMES_A_STEP).astype(np.int64)
    try:
        ids, position, heading = from_rows([f"{agent:g}" for agent in table[:, 1]], steps, table[:, 2:])
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    name = Path(source).stem
    if dt_s is None:
        dt_s = ETH_DT_S if name.startswith("biwi_eth") else DT_S
    kinds = np.full(len(ids), KINDS.index("pedestrian"))
    return Tracks(name, "eth_ucy", dt_s, ids, kinds, position, heading, np.full((len(ids), 2), np.nan))


def _open(root: Path, found: tuple[tuple[str, str], ...], place: int) -> Tracks:
    scene, name = found[place]
    return _tracks(root, f"{scene}/test/{name}.txt")


def _tracks(root: Path, member: str) -> Tracks:
    if (root / ARCHIVE).is_file():
        return parse(_texts(root / ARCHIVE)[member], str(root / ARCHIVE / member))
    path = root / member
    return parse(read_text(path), str(path))


def _texts(archive: Path) -> dict[str, str]:
    """{path in the archive: text} of its text files; unpacked once, and again when the file changes."""
    return _unpacked(archive, archive.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _unpacked(archive: Path, changed_ns: int) -> dict[str, str]:
    texts: dict[str, str] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() and member.name.endswith(".txt") else None
                if file is not None:
                    texts[member.name.removeprefix("./")] = file.read().decode()
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{archive}: not an archive of text files ({error})") from None
    return texts


READS = {Tracks: read}
