"""The numbers of an evaluation: J, F, recall and decay as DAVIS counts them, beside the first mask kept as it is.

A number is the mean over the frames of an object, then over objects; its interval comes from drawing whole videos.
Sets that say which categories are known from training (YouTube-VOS) get the score G as well: the mean of J and F over
the objects of seen and of unseen categories, computed here: an object counts from the frame after the one in which it
is given, in the frames that meta.json names, whether or not its mask is empty there; files that are missing count as
empty. The servers that the challenge has had give other values for the same files, and their code is not public: only
numbers from one and the same program can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import nn

from percepta.contract import Batch, Evaluation, Loader, Progress
from percepta.datasets.videos import read_mask, result_file, results_folder, write_mask
from percepta.errors import InputError, MissingFileError
from percepta.media import draw, image
from percepta.metrics import Metric, interval
from percepta.metrics.video_masks import scores, statistics
from percepta.report import Block, Dots, Gallery, Heading, Text
from percepta.systems.vos import sequences
from percepta.systems.vos.data import check_any, videos
from percepta.systems.vos.predict import Session

KEPT = "first mask kept"  # the trivial answer
VIDEOS = "videos"  # the kind whose numbers have no name behind them
NAMED = 40  # sets of more videos than this get no number for each of them
SHOWN = 6  # frames of a video in a picture
GONE = 0.05  # an object is called gone while fewer than this share of its first pixels are said to be its own


@runtime_checkable
class Following(Protocol):
    """What is evaluated: it takes frames in turn, with masks where they are given, and says whose each pixel is."""

    def step(self, picture: image.Source, masks: Any = None) -> Any: ...


@dataclass(frozen=True)
class Row:
    """One object of a video.

    Attributes:
        kind: see `sequences.Sequence`.
        video: its name.
        group: what is drawn together for an interval.
        number: the object's id.
        values: J and F of each frame that counts.
        kept: the same where the first mask is kept.
        gone: of each frame in which it is hidden, whether that was said.
        back: how many of the last frames come after it was hidden; 0: it never was.
        seen: whether its category is known from training; None where nobody knows.
    """

    kind: str
    video: str
    group: str
    number: int
    values: Float[np.ndarray, "t 2"]
    kept: Float[np.ndarray, "t 2"]
    gone: tuple[bool, ...] = ()
    back: int = 0
    seen: bool | None = None


@dataclass(frozen=True)
class Shown:
    """Some frames of a video with what was said; it is drawn when the page is written.

    Attributes:
        frames: RGB with labels.
        ids: of all objects.
    """

    frames: Sequence[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]]
    ids: tuple[int, ...]

    def draw(self) -> Image.Image:
        """The frames in rows of three, the objects in their colours."""
        return draw.sheet([_tinted(pixels, labels, self.ids) for pixels, labels in self.frames], 3, 900)


def evaluate(model: nn.Module, loader: Loader, *, examples: int = 0) -> Evaluation:
    """Follows the objects of every video once, frame by frame.

    Args:
        model: a network of `model.build`.
        loader: batches {videos: list of `sequences.Sequence`}.
        examples: how many videos the blocks may show; 0: no blocks.

    Returns:
        The metrics of `summary`; where examples are asked for, a plot of J&F by video, and frames of some videos.

    Raises:
        InputError: no frame has a mask to compare with, as in sets whose truth only a server has.
    """
    config: Any = model.config
    rows, shown = collect(lambda: Session(model, config), loader, examples)
    if not any(len(row.values) for row in rows):
        raise InputError(
            "no frame that counts has a mask to compare with; masks for a server are written by "
            "percepta evaluate vos --data DIR --write OUT"
        )
    return Evaluation(summary(rows), blocks(rows, shown) if examples else ())


def collect(
    open_session: Callable[[], Following], loader: Loader | Iterable[Batch], examples: int = 0
) -> tuple[list[Row], list[tuple[Shown, str]]]:
    """Follows the objects of every video.

    Args:
        open_session: gives what follows the objects of one video.
        loader: batches {videos: list of `sequences.Sequence`}.
        examples: how many videos are kept to be shown.

    Returns:
        A row an object; frames of at most so many videos, with a line of text.
    """
    rows: list[Row] = []
    shown: list[tuple[Shown, str]] = []
    for batch in loader:
        for video in batch["videos"]:
            found, frames = compare(video, followed(open_session(), video), keep=len(shown) < examples)
            rows += found
            if frames is not None and found:
                value = np.mean([row.values.mean() for row in found if len(row.values)] or [np.nan])
                shown.append((frames, f"{video.name} ({video.kind}): J&F {value:.2f}"))
    return rows, shown


def followed(
    session: Following, video: sequences.Sequence
) -> Iterator[tuple[int, image.Source, UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"] | None]]:
    """Goes through a video from the first frame with a mask: (frame, picture, what is said, what is true there)."""
    begin = min(video.first.values())
    for frame in range(begin, len(video)):
        picture, truth = video.frame(frame)
        given = given_masks(video, frame, truth)
        yield frame, picture, np.asarray(session.step(picture, given or None).labels), truth


def given_masks(video: sequences.Sequence, frame: int, truth: UInt8[np.ndarray, "h w"] | None) -> dict[int, np.ndarray]:
    """{id: mask} of the objects that are given in a frame.

    Args:
        video: what is followed.
        frame: its number.
        truth: what its mask says.

    Raises:
        InputError: an object is given in a frame that does not show it.
    """
    numbers = [number for number, first in video.first.items() if first == frame]
    out = {} if truth is None else {number: truth == number for number in numbers}
    if empty := [number for number in numbers if number not in out or not out[number].any()]:
        raise InputError(f"{video.name}: object {empty[0]} is given in frame {frame}, whose mask does not show it")
    return out


def compare(
    video: sequences.Sequence,
    answers: Iterable[tuple[int, image.Source, UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"] | None]],
    *,
    keep: bool = False,
) -> tuple[list[Row], Shown | None]:
    """Rows of one video.

    Args:
        video: what is followed.
        answers: (frame, picture, what is said, what is true), in turn; frames may be left out that do not count.
        keep: whether some frames are kept to be shown.
    """
    values: dict[int, list[Any]] = {number: [] for number in video.first}
    kept: dict[int, list[Any]] = {number: [] for number in video.first}
    gone: dict[int, list[bool]] = {number: [] for number in video.first}
    back = dict.fromkeys(video.first, 0)
    first_area: dict[int, int] = {}
    frames: list[Any] = []
    stay: np.ndarray | None = None
    chosen = set(np.linspace(min(video.first.values()), len(video) - 1, SHOWN).astype(int).tolist()) if keep else ()
    for frame, picture, said, truth in answers:
        for number, mask in given_masks(video, frame, truth).items():
            stay = np.zeros_like(said) if stay is None else stay
            stay[mask] = number
            first_area[number] = int(mask.sum())
        counted = [number for number, numbers in video.compared.items() if frame in numbers]
        if counted and truth is not None and stay is not None:
            for number, ours, trivial in zip(
                counted, scores(said, truth, counted), scores(stay, truth, counted), strict=True
            ):
                values[number].append(ours)
                kept[number].append(trivial)
                back[number] += bool(gone[number]) and frame > video.hidden[-1]
        for number in first_area if frame in video.hidden else ():
            if truth is None or not (truth == number).any():
                gone[number].append(int((said == number).sum()) < GONE * first_area[number])
        if frame in chosen:
            frames.append(_small(picture, said))
    rows = [
        Row(
            video.kind, video.name, video.group, number, _table(values[number]), _table(kept[number]),
            tuple(gone[number]), back[number], video.seen.get(number),
        )
        for number in video.first
    ]  # fmt: skip
    return rows, Shown(frames, tuple(video.first)) if frames else None


def summary(rows: Sequence[Row]) -> dict[str, Metric]:
    """The metrics of some rows.

    Returns:
        "J&F", "J" and "F" (mean over frames, then objects), "J recall", "J decay", "F recall" and "F decay" of the
        videos as they are; "J&F <kind>" of the other kinds; "J&F <kind>, found again" of the frames after an object was
        hidden, where a video has others beside it; "hidden, said so": the share of hidden frames in which next
        to nothing was called the object; for sets with seen and unseen categories "J seen", "F seen", "J unseen", "F
        unseen" and their mean "G"; "J&F <video>" of each video where there are not too many. Beside them: the first
        mask kept.
    """
    out: dict[str, Metric] = {}
    counted = [row for row in rows if len(row.values)]
    for kind in dict.fromkeys(row.kind for row in counted):
        here = [row for row in counted if row.kind == kind]
        name = "" if kind == VIDEOS else f" {kind}"
        out[f"J&F{name}"] = _mean(here, lambda values: float(values.mean()))
        if kind == VIDEOS:
            for place, letter in enumerate("JF"):
                out[letter] = _mean(here, lambda values, i=place: float(values[:, i].mean()))
                out[f"{letter} recall"] = _mean(here, lambda values, i=place: statistics(values[:, i]).recall)
                out[f"{letter} decay"] = _mean(here, lambda values, i=place: statistics(values[:, i]).decay)
        again = [replace(row, values=row.values[-row.back :], kept=row.kept[-row.back :]) for row in here if row.back]
        if again and len(again) < len(here):
            out[f"J&F{name}, found again"] = _mean(again, lambda values: float(values.mean()))
    hidden = [(float(said), row.group) for row in rows for said in row.gone]
    if hidden:
        low, high = interval([said for said, _ in hidden], [group for _, group in hidden])
        share = float(np.mean([said for said, _ in hidden]))
        out["hidden, said so"] = Metric(share, low, high, len(hidden), baselines={KEPT: 0.0})
    out |= _by_category([row for row in counted if row.seen is not None])
    videos = [row for row in counted if row.kind == VIDEOS]
    names = list(dict.fromkeys(row.video for row in videos))
    for video in names if 1 < len(names) <= NAMED else ():
        here = [row for row in videos if row.video == video]
        value, trivial = (float(np.mean([getattr(r, what).mean() for r in here])) for what in ("values", "kept"))
        out[f"J&F {video}"] = Metric(value, n=sum(len(r.values) for r in here), baselines={KEPT: trivial})
    return out


def _by_category(rows: list[Row]) -> dict[str, Metric]:
    """The score of YouTube-VOS: nothing where no object's category is known to be seen or unseen."""
    out: dict[str, Metric] = {}
    for name, seen in (("seen", True), ("unseen", False)):
        if here := [row for row in rows if row.seen is seen]:
            for place, letter in enumerate("JF"):
                out[f"{letter} {name}"] = _mean(here, lambda values, i=place: float(values[:, i].mean()))
    if len(out) == 4:
        trivial = float(np.mean([metric.baselines[KEPT] for metric in out.values()]))
        value = float(np.mean([metric.value for metric in out.values()]))
        out["G"] = Metric(value, n=len(rows), baselines={KEPT: trivial})
    return out


def blocks(rows: Sequence[Row], shown: Sequence[tuple[Shown, str]]) -> list[Block]:
    """What a page shows: J&F by video and kind, and frames of some videos.

    Args:
        rows: of all objects.
        shown: frames of some videos.
    """
    by_video: dict[str, Metric] = {}
    for name in dict.fromkeys(row.video for row in rows if len(row.values)):
        here = [row for row in rows if row.video == name and len(row.values)]
        value, trivial = (float(np.mean([getattr(r, what).mean() for r in here])) for what in ("values", "kept"))
        by_video[name] = Metric(value, n=sum(len(r.values) for r in here), baselines={KEPT: trivial})
    out: list[Block] = [Dots("J&F by video, beside the first mask kept", by_video)] if by_video else []
    if shown:
        out += [Heading("Some frames"), Gallery(list(shown))]
    return out


# ----------------------------------------------------------------------------------------------- folders of results


@dataclass(frozen=True)
class Missing:
    """What a folder of results lacks; it counts as an empty mask.

    Attributes:
        videos: names without a folder.
        files: masks that are not there, or cannot be read, with the reason.
    """

    videos: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())

    @property
    def text(self) -> str:
        """In words, for people; "" where nothing is missing."""
        parts = []
        if self.videos:
            parts.append(f"{len(self.videos)} videos have no folder and are left out: {_listed(self.videos)}")
        if self.files:
            parts.append(f"{len(self.files)} masks are missing or damaged and count as empty: {_listed(self.files)}")
        return ". ".join(parts)


def score_results(
    root: Path, results: Path, split: str, *, examples: int = 0, progress: Progress | None = None
) -> tuple[Evaluation, Missing]:
    """Compares somebody's masks with the truth: a folder a video (as `result_file` says), a PNG a frame.

    Args:
        root: the data set.
        results: the folder of masks.
        split: which part of the set.
        examples: how many videos the blocks may show.
        progress: called with (videos done, videos in all).

    Returns:
        The metrics of `summary`, and what the folder lacks. Videos without a folder are left out.

    Raises:
        MissingFileError: there is no such folder, or no video in it.
        InputError: a mask has another size than its frame; no video in that split.
    """
    if not results.is_dir():
        raise MissingFileError(f"{results}: no such folder of results")
    rows: list[Row] = []
    shown: list[tuple[Shown, str]] = []
    absent: list[str] = []
    files: list[str] = []
    every = videos(root, split)
    check_any(every, root, split)
    for done, video in enumerate(every, 1):
        folder = results_folder(results, video)
        if folder is None:
            absent.append(video.name)
        else:
            sequence = sequences.Filmed.of(video)
            found, frames = compare(sequence, _saved(sequence, folder, files), keep=len(shown) < examples)
            rows += found
            if frames is not None:
                shown.append((frames, video.name))
        if progress is not None:
            progress(done, len(every))
    if every and len(absent) == len(every):
        raise MissingFileError(
            f"{results}: no folder of a video of {root} ({split}); looked for {results / every[0].name}"
        )
    if not any(len(row.values) for row in rows):
        raise InputError(f"{root}: no frame of the split {split!r} has a mask that results can be compared with")
    missing = Missing(tuple(absent), tuple(files))
    page = blocks(rows, shown) if examples else []
    if missing.text and examples:
        page.append(Text(missing.text))
    return Evaluation(summary(rows), page), missing


def _saved(video: sequences.Filmed, folder: Path, missing: list[str]) -> Iterator[tuple[int, Any, Any, Any]]:
    """The frames that count or in which something is given, with the masks of a folder."""
    needed = {frame for frames in video.compared.values() for frame in frames} | set(video.first.values())
    for frame in sorted(needed):
        picture, truth = video.frame(frame)
        path = folder / f"{video.video.frames[frame].stem}.png"
        size = image.size(video.video.frames[frame])
        if any(frame in frames for frames in video.compared.values()):
            try:
                said = sequences.fitted(read_mask(path, video.video.binary), size, path)
            except MissingFileError:
                missing.append(f"{path}: not there")
                said = np.zeros(size, np.uint8)
            except InputError as error:
                if path.is_file() and "the mask has" in str(error):
                    raise
                missing.append(str(error))
                said = np.zeros(size, np.uint8)
        else:
            said = np.zeros(size, np.uint8)
        yield frame, picture, said, truth


def write_results(
    open_session: Callable[[], Following], root: Path, split: str, out: Path, progress: Progress | None = None
) -> list[Path]:
    """Follows the objects of all videos of a split and writes the masks as the official servers want them.

    Videos whose masks are all there are passed over, so that a stopped run goes on at the video where it was.

    Args:
        open_session: gives what follows the objects of one video.
        root: the data set.
        split: which part of it.
        out: the folder of the masks.
        progress: called with (videos done, videos in all).

    Returns:
        The files, those that were there included.

    Raises:
        InputError: no video in that split.
    """
    files: list[Path] = []
    every = videos(root, split)
    check_any(every, root, split)
    for done, video in enumerate(every, 1):
        sequence = sequences.Filmed.of(video)
        begin = min(sequence.first.values())
        wanted = [frame for frame in video.wanted or range(len(video.frames)) if frame >= begin]
        paths = {frame: result_file(out, video, frame) for frame in wanted}
        if not all(path.is_file() for path in paths.values()):
            for frame, _, said, _ in followed(open_session(), sequence):
                if frame in paths:
                    # Servers of sets with one object a video take black and white, the others indices.
                    write_mask(paths[frame], np.where(said > 0, 255, 0).astype(np.uint8) if video.binary else said)
        files += paths.values()
        if progress is not None:
            progress(done, len(every))
    return files


# ------------------------------------------------------------------------------------------------------------- parts


def _mean(rows: Sequence[Row], number: Callable[[np.ndarray], float]) -> Metric:
    values = [number(row.values) for row in rows]
    low, high = interval(values, [row.group for row in rows])
    trivial = float(np.mean([number(row.kept) for row in rows]))
    return Metric(float(np.mean(values)), low, high, len(rows), baselines={KEPT: trivial})


def _table(values: list[Any]) -> Float[np.ndarray, "t 2"]:
    return np.array(values, np.float64).reshape(-1, 2)


def _small(picture: image.Source, labels: UInt8[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray]:
    """A frame and its labels, at most 320 pixels long."""
    pixels = image.read(picture, long_side=320)
    size = (pixels.shape[2], pixels.shape[1])
    small = np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    return image.to_bytes(pixels.permute(1, 2, 0)).numpy(), small


def _tinted(pixels: np.ndarray, labels: np.ndarray, ids: Sequence[int]) -> Image.Image:
    out = Image.fromarray(pixels)
    for number, colour in zip(ids, draw.colours(len(ids)), strict=True):
        if (labels == number).any():
            out = draw.overlay(out, labels == number, colour=colour)
    return out


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
