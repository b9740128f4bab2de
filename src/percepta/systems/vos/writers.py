"""A film whose objects are followed into a folder of results, which a stopped run goes on with.

The folder holds, while and after the film is followed, `masks/00000.png` (a palette PNG a frame) and `objects.jsonl` (a
line a frame: scores, which objects are lost, masks as COCO run lengths). Every STATE_EVERY frames the state is saved
beside them; a run that was killed goes on from there, and gives the same files as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.errors import InputError, MissingFileError
from percepta.files import check_apart, write_atomically
from percepta.formats import parse_json, read_json
from percepta.media import cutouts, sound, video
from percepta.media.frames import Frames
from percepta.metrics.masks import coco_rle_encode
from percepta.systems.vos.predict import Masks, Result, Session, Vos, drawn, packed, read_masks

STATE_EVERY = 10  # frames
MASKS, ROWS, STATE = "masks", "objects.jsonl", "unfinished"
Tell = Callable[[str, int, int | None], None]
"""Called with (what is being done, frames done, frames in all or None)."""


@dataclass(frozen=True)
class Followed:
    """A film that was followed.

    Attributes:
        folder: of the results.
        count: how many frames the film has.
        ids: of all objects.
        seen: {id: in how many frames it is in sight}.
        cuts: frames with which another scene begins.
        warnings: what is odd, each with its frame.
    """

    folder: Path
    count: int
    ids: tuple[int, ...]
    seen: dict[int, int]
    cuts: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def text(self) -> str:
        """In words: "80 frames: object 1 in sight in 78"."""
        parts = [f"object {one} in sight in {self.seen[one]}" for one in self.ids]
        more = f", and {len(parts) - 8} more objects" if len(parts) > 8 else ""
        return f"{self.count} frames: {', '.join(parts[:8])}{more}"

    @property
    def cuts_text(self) -> str:
        """In words: "another scene begins with frames 40, 90"; empty where there is one scene."""
        if not self.cuts:
            return ""
        more = f" and {len(self.cuts) - 8} more" if len(self.cuts) > 8 else ""
        names = ", ".join(map(str, self.cuts[:8]))
        return f"another scene begins with frame{'s' * (len(self.cuts) > 1)} {names}{more}"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "frames": self.count,
            "objects": [{"id": one, "frames_in_sight": self.seen[one]} for one in self.ids],
            "cuts": list(self.cuts),
            "warnings": list(self.warnings),
        }

    def labels(self, frame: int) -> UInt8[np.ndarray, "h w"] | None:
        """The label map of a frame; None where it was left out."""
        path = self.folder / MASKS / f"{frame:05d}.png"
        return np.array(Image.open(path)) if path.is_file() else None


def follow(
    system: Vos,
    frames: Frames,
    masks: Mapping[int, Masks],
    out: Path,
    *,
    backwards: bool = True,
    resume: bool = True,
    tell: Tell | None = None,
) -> Followed:
    """Follows the objects of a film forwards from its first mask, then backwards from there.

    Args:
        system: with its weights.
        frames: the film.
        masks: {frame: masks}: of new objects, or corrections.
        out: the folder; what another film, other masks or other weights left there is not gone on with.
        backwards: whether frames before the first mask are followed too.
        resume: whether a run that was stopped goes on.
        tell: called while it goes on.

    Raises:
        InputError: a frame with masks is refused (see `Session.step`); a mask for a frame that there is not; the folder
            holds what another run has begun.
    """
    if not masks or min(masks) < 0:
        raise InputError("masks of at least one frame are needed, and frames are counted from 0")
    job = _Job(system, frames, dict(sorted(masks.items())), out, tell or (lambda *_: None))
    job.begin(resume)
    job.forwards()
    if backwards and job.first:
        job.backwards()
    return job.end()


@dataclass
class _Job:
    """What a run keeps between frames."""

    system: Vos
    frames: Frames
    masks: dict[int, Masks]
    out: Path
    tell: Tell
    way: str = "forwards"
    next: int = 0
    count: int = 0
    key: str = ""
    session: Session | None = None

    @property
    def first(self) -> int:
        return next(iter(self.masks))

    def begin(self, resume: bool) -> None:
        """Looks for what is there already."""
        given = {
            number: {one: hashlib.sha256(mask.tobytes()).hexdigest() for one, mask in read[0].items()}
            for number, masks in self.masks.items()
            for read in [read_masks(masks, self.frames.size)]
        }
        files = [str(path) for path in self.frames.files or (self.frames.where,)]
        about = [self.system.config.design, self.session_weights(), files, _stamp(self.frames), given]
        self.key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        self.next = self.first
        state = self.out / STATE / "state.json"
        if resume and state.is_file():
            told = read_json(state)
            if told.get("key") != self.key:
                raise InputError(
                    f"{self.out} holds an unfinished run of another film, other masks or other weights: give another "
                    "--out, or --no-resume"
                )
            self.way, self.next, self.count = told["way"], told["next"], told["count"]
            self.session = self.system.session(state=self.out / STATE / told["session"])
            kept = [row for row in _rows(self.out) if self._done(row["frame"])]
            write_atomically(self.out / ROWS, "".join(json.dumps(row) + "\n" for row in kept))
        else:
            _remove_earlier(self.out)
            shutil.rmtree(self.out / STATE, ignore_errors=True)
            write_atomically(self.out / ROWS, "")

    def session_weights(self) -> str:
        return self.system.session().weights

    def _done(self, frame: int) -> bool:
        return self.first <= frame < self.next if self.way == "forwards" else frame >= self.first or frame > self.next

    def forwards(self) -> None:
        if self.way != "forwards":
            return
        session = self.session = self.session or self.system.session()
        number = -1
        for number, (time_s, picture) in enumerate(self.frames):
            if number >= self.next:
                self._step(session, number, picture, time_s)
                self.next = number + 1
                if self.next % STATE_EVERY == 0:
                    self._save()
            self.tell("followed", number + 1, len(self.frames.files) or None)
        self.count = number + 1
        if beyond := [frame for frame in self.masks if frame >= self.count]:
            raise InputError(f"a mask for frame {beyond[0]}, but the film has {self.count} frames, counted from 0")
        self.way, self.next, self.session = "backwards", self.first - 1, None

    def backwards(self) -> None:
        times = self.frames.times(self.first + 1)
        session = self.session
        if session is None:
            session = self.system.session()
            session.step(next(self.frames.backwards(times)), self.masks[self.first])
        self.session = session
        for picture in self.frames.backwards(times[: self.next + 1]):
            number = self.next
            self._step(session, number, picture, times[number])
            self.next = number - 1
            if number % STATE_EVERY == 0:
                self._save()
            self.tell("followed backwards", self.first - number, self.first)

    def _step(self, session: Session, number: int, picture: Any, time_s: float) -> None:
        """A frame; one that is refused and has no masks is left out, with the reason."""
        masks = self.masks.get(number) if self.way == "forwards" else None
        try:
            result = session.step(picture, masks)
        except InputError as error:
            if masks is not None:
                raise
            reason = str(error).removeprefix(f"frame {session.frame + 1}: ")
            self._add({"frame": number, "time_s": round(time_s, 4), "left_out": reason})
            return
        # The line first: what a killed run leaves is then known as its own.
        self._add(row_of(result, number, time_s))
        write_atomically(self.out / MASKS / f"{number:05d}.png", packed(result.labels))

    def _add(self, row: Mapping[str, Any]) -> None:
        with (self.out / ROWS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self) -> None:
        """The state: first the session under a new name, then the file that names it."""
        assert self.session is not None, "a frame was followed"
        folder = self.out / STATE
        name = f"{self.way}-{self.next}.safetensors"
        self.session.save(folder / name)
        told = {"key": self.key, "way": self.way, "next": self.next, "count": self.count, "session": name}
        write_atomically(folder / "state.json", json.dumps(told) + "\n")
        for path in folder.glob("*.safetensors"):
            if path.name != name:
                path.unlink()

    def end(self) -> Followed:
        rows = sorted(_rows(self.out), key=lambda row: row["frame"])
        write_atomically(self.out / ROWS, "".join(json.dumps(row) + "\n" for row in rows))
        shutil.rmtree(self.out / STATE, ignore_errors=True)
        return _told(self.out, self.count)


def _told(out: Path, count: int) -> Followed:
    """What the lines of a whole run say."""
    rows = list(_rows(out))
    seen: dict[int, int] = {}
    for row in rows:
        for one in row.get("objects", ()):
            seen[one["id"]] = seen.get(one["id"], 0) + (not one["lost"])
    warnings = [f"frame {row['frame']}: {text}" for row in rows for text in row.get("warnings", ())]
    warnings += [f"frame {row['frame']} is left out: {row['left_out']}" for row in rows if "left_out" in row]
    if count == 1:
        warnings.append("the film has one frame: there was nothing to follow")
    cuts = tuple(row["frame"] for row in rows if row.get("cut"))
    return Followed(out, count, tuple(sorted(seen)), seen, cuts, tuple(warnings))


def _remove_earlier(out: Path) -> None:
    """Removes the masks of an earlier run, which its lines name.

    Raises:
        InputError: other files lie among them.
    """
    folder = out / MASKS
    if not folder.is_dir():
        return
    written = {f"{row['frame']:05d}.png" for row in _rows(out)} if (out / ROWS).is_file() else set()
    if others := sorted(path.name for path in folder.iterdir() if path.name not in written):
        raise InputError(
            f"{folder} has files that no run of this command has written ({', '.join(others[:3])}): give another --out"
        )
    for name in written:
        (folder / name).unlink(missing_ok=True)


def end_objects(followed: Followed, frames: Iterable[int]) -> Followed:
    """The same film, but in some frames nothing is in sight: their masks are empty, their objects lost.

    Args:
        followed: what was found.
        frames: their numbers.
    """
    ended = set(frames)
    rows = list(_rows(followed.folder))
    for row in rows:
        path = followed.folder / MASKS / f"{row['frame']:05d}.png"
        if row["frame"] in ended and path.is_file():
            empty = np.zeros_like(np.array(Image.open(path)))
            write_atomically(path, packed(empty))
            gone = {"score": 0.0, "lost": True, "segmentation": coco_rle_encode(empty)}
            row["objects"] = [{**one, **gone} for one in row["objects"]]
    write_atomically(followed.folder / ROWS, "".join(json.dumps(row) + "\n" for row in rows))
    return _told(followed.folder, followed.count)


def row_of(result: Result, number: int, time_s: float) -> dict[str, Any]:
    """A line of `objects.jsonl`.

    Args:
        result: of the frame.
        number: of the frame in the film.
        time_s: when it is on show, seconds from the start.
    """
    told = result.to_dict()
    del told["weights"]
    return {**told, "frame": number, "time_s": round(time_s, 4)}


def overlay(frames: Frames, followed: Followed, path: Path, tell: Tell | None = None) -> Path:
    """The film with its objects on it, and its sound.

    Args:
        frames: the film.
        followed: what was found in it.
        path: of the video.
        tell: called while it goes on.

    Raises:
        InputError: the path is that of the film.
    """
    check_apart(path, [frames.where])
    silent = path.with_name(f".{path.stem}.silent{path.suffix}")
    try:
        with video.Writer(silent, frames.fps) as writer:
            for number, (time_s, pixels) in enumerate(frames.pixels()):
                labels = followed.labels(number)
                picture = pixels if labels is None else np.asarray(drawn(pixels, labels, followed.ids))
                writer.add(picture, time_s)
                if tell is not None:
                    tell("drawn", number + 1, followed.count)
        if frames.film is None:
            return silent.replace(path)
        return sound.copy_sound(silent, frames.film, path)
    finally:
        silent.unlink(missing_ok=True)


def cut_outs(
    frames: Frames,
    followed: Followed,
    paths: Iterable[Path],
    *,
    ids: Sequence[int] | None = None,
    tell: Tell | None = None,
) -> list[Path]:
    """The objects cut out of the film: transparent videos (.webm, .mov) or folders of PNGs.

    Args:
        frames: the film.
        followed: what was found in it.
        paths: of what is written; no ending: a folder.
        ids: the objects; None for all.
        tell: called while it goes on.

    Raises:
        InputError: an id that was not followed; an ending that has no transparency; a path is that of the film.
    """
    chosen = followed.ids if ids is None else tuple(ids)
    if unknown := [one for one in chosen if one not in followed.ids]:
        raise InputError(f"object {unknown[0]} was not followed; there are: {', '.join(map(str, followed.ids))}")
    paths = list(paths)
    for path in paths:
        check_apart(path, [frames.where, *frames.files])
    with ExitStack() as stack:
        writers = [stack.enter_context(cutouts.Writer(path, frames.fps)) for path in paths]
        for number, (time_s, pixels) in enumerate(frames.pixels() if writers else ()):
            labels = followed.labels(number)
            mask = np.zeros(pixels.shape[:2], bool) if labels is None else np.isin(labels, chosen)
            out = cutouts.cut_out(pixels, mask)
            for writer in writers:
                writer.add(out, time_s)
            if tell is not None:
                tell("cut out", number + 1, followed.count)
    return paths


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole; the last one of a run that was killed may not be."""
    path = folder / ROWS
    if not path.is_file():
        raise MissingFileError(f"{path}: not there")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if line.endswith("\n"):
            yield parse_json(line, f"{path}, line {number}")


def _stamp(frames: Frames) -> list[int]:
    """What changes when the film does: sizes and times of change of its files."""
    told = [path.stat() for path in frames.files or (frames.where,)]
    return [number for one in told for number in (one.st_size, one.st_mtime_ns)]
