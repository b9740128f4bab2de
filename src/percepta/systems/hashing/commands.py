"""`percepta index`: an index of your own photos and videos, and searches in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError, MissingExtraError, MissingFileError

if TYPE_CHECKING:
    from percepta.systems.hashing.encode import ModelEncoder
    from percepta.systems.hashing.index import Header, Match
    from percepta.systems.hashing.model import Hasher
    from percepta.systems.hashing.moments import Additions, Encoded, EncodeFiles, Item, Settings

SYSTEM = "hashing"
MAX_PROBLEMS = 20  # that are printed
CHUNK = 16  # files that one of Ray's processes gets at a time
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]
Paths = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE|FOLDER ...")]

# Below this score nothing fits a sentence: 95 of 100 captions of kept-back photographs find theirs with more. Measured
# with the weights that ship, so it holds for these only: benchmarks/hashing_nothing.py, 512 bits.
NOTHING_FITS, CALIBRATED = 0.677, "65ec1b7711cddb9e"


@dataclass(frozen=True)
class Place(shell.Which):
    """Options that choose the index and the model."""

    index: Folder = None
    """Folder of the index. Left out: $XDG_DATA_HOME/percepta/index, or ~/.local/share/percepta/index."""


@dataclass(frozen=True)
class Work(Place):
    """Options of what encodes files."""

    threads: int = 0
    """Files or frames that are encoded at a time; 0: as many as there are cores."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS")] = None
    """Encode files in Ray's processes: auto (the cluster that runs here, or a new one on this machine) or an address
    such as ray://host:10001. Every machine has to see the files under the same paths."""


@dataclass(frozen=True)
class Add(Work):
    """Puts photos and videos into the index. What is in is skipped; stop it when you like, it goes on from there."""

    paths: Paths = ()
    """Folders, with all below them, and single files."""
    encoder: Literal["float32", "onnx", "int8"] | None = None
    """For a new index: how pictures are encoded. onnx is twice as fast as float32, int8 a little faster still and a
    little less exact; both need the extra `export`. Left out: float32."""
    moment_s: float = 0.5
    """For a new index: length of a moment in seconds."""
    every_s: float = 0.25
    """For a new index: seconds between two frames that are encoded."""
    frames_as_video: Annotated[float, tyro.conf.arg(metavar="FPS")] = 0.0
    """For a new index: folders of numbered pictures are videos with this frame rate; 0: they are photos."""


@dataclass(frozen=True)
class Update(Work):
    """Reads all that was added again: takes in what is new or changed, takes out what is gone."""


@dataclass(frozen=True)
class Rebuild(Work):
    """Builds the index anew from its folders with this model; the old one is replaced when the new one is complete."""

    paths: Paths = ()
    """Folders and files; left out: those that were added, as far as the old index still says."""


@dataclass(frozen=True)
class Search(Place):
    """Finds moments by a sentence, a picture or a clip."""

    sentence: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar='"SENTENCE"')] = None
    """What the picture shows, in English."""
    like: Path | None = None
    """A photo or a clip to find similar ones to, instead of a sentence."""
    top: int = 10
    """How many results."""
    folder: Path | None = None
    """Only files in this folder."""
    after: str | None = None
    """Only what was recorded on this day or later, as 2024-05-31."""
    before: str | None = None
    """Only what was recorded before this day."""
    html: Path | None = None
    """Also write a page with thumbnails and players to this file."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class Remove:
    """Takes files or whole folders out of the index. The files themselves stay."""

    paths: Paths = ()
    """What to take out; it need not exist any more."""
    index: Folder = None
    """Folder of the index, see `percepta index add --help`."""


@dataclass(frozen=True)
class Info:
    """What is in the index."""

    index: Folder = None
    """Folder of the index, see `percepta index add --help`."""


@dataclass(frozen=True)
class Verify:
    """Reads the whole index and compares its checksums; exit code 2 where it is damaged."""

    index: Folder = None
    """Folder of the index, see `percepta index add --help`."""


# -------------------------------------------------------------------------------------------------- commands


def add(options: Add, screen: Console) -> int:
    """`percepta index add`; exit code 1 where files had to be skipped."""
    if not options.paths:
        raise shell.UsageError("which folder? usage: percepta index add FOLDER ...")
    from percepta.systems.hashing.moments import Settings

    for path in options.paths:
        if not path.expanduser().exists():
            raise MissingFileError(f"{path}: no such file or folder")
    settings = Settings(options.moment_s, options.every_s, options.frames_as_video)
    where = folder_of(options.index)
    if settings.moment_s <= 0 or settings.every_s <= 0 or settings.frames_fps < 0:
        raise shell.UsageError("--moment-s and --every-s are above 0, --frames-as-video is 0 or more")
    return _filled(options, where, options.paths, screen, settings, options.encoder, drop=False)


def update(options: Update, screen: Console) -> int:
    """`percepta index update`; exit code 1 where files had to be skipped."""
    from percepta.systems.hashing import index as indexing

    where = folder_of(options.index)
    roots = [Path(root) for root in indexing.roots(where)]
    there = [root for root in roots if root.exists()]
    for root in roots:
        if root not in there:
            text = f"{root} is not there (a drive that is not plugged in?); what is known of it stays"
            screen.print(f"[yellow]note[/] {escape(text)}; `percepta index remove` takes it out", soft_wrap=True)
    return _filled(options, where, there, screen, None, None, drop=True) if there else 0


def rebuild(options: Rebuild, screen: Console) -> int:
    """`percepta index rebuild`: a new index beside the old one, then in its place."""
    from percepta.systems.hashing.encode import KINDS
    from percepta.systems.hashing.moments import Settings

    where = folder_of(options.index)
    old = _salvaged(where)
    roots = list(options.paths) or [Path(root) for root in old.get("roots", ()) if Path(root).exists()]
    if not roots:
        text = "does not say any more what was in it; name it: percepta index rebuild FOLDER ..."
        raise shell.UsageError(f"{where} {text}")
    known = {item.name for item in fields(Settings)}
    settings = Settings(**{k: v for k, v in dict(old.get("settings") or {}).items() if k in known})
    new, aside = where.with_name(f"{where.name}.new"), where.with_name(f"{where.name}.old")
    kind = old.get("encoder")
    code = _filled(options, new, roots, screen, settings, kind if kind in KINDS else None, drop=True)
    shutil.rmtree(aside, ignore_errors=True)
    if where.exists():
        where.replace(aside)
    new.replace(where)
    shutil.rmtree(aside, ignore_errors=True)
    screen.print(escape(f"{where} is new"), soft_wrap=True)
    return code


def search(options: Search, screen: Console) -> int:
    """`percepta index search`; exit code 1 where nothing is found or nothing fits."""
    if (options.sentence is None) == (options.like is None):
        raise shell.UsageError('give a sentence or --like FILE: percepta index search "a dog jumping over a hurdle"')
    if options.top < 1:
        raise shell.UsageError(f"--top is 1 or more, not {options.top}")
    if options.sentence is not None and not options.sentence.strip():
        raise shell.UsageError("the sentence is empty; say what to search for, such as 'a dog jumping over a hurdle'")
    after, before = day(options.after, "--after"), day(options.before, "--before")
    if after is not None and before is not None and after >= before:
        raise shell.UsageError(f"--after {options.after} does not lie before --before {options.before}")
    from percepta.systems.hashing import index as indexing

    where = folder_of(options.index)
    header = indexing.read_header(where)  # before the model is loaded, which takes longer
    encoder = encoder_of(options, where, header.encoder)
    opened = indexing.Index.open(where, model=encoder.fingerprint())
    query = _query(options, encoder, header)
    began = time.perf_counter()
    rows = opened.select(folder=options.folder, after=after, before=before)
    if rows is not None and not len(rows):
        limits = {"--folder": options.folder, "--after": options.after, "--before": options.before}
        asked = " ".join(f"{name} {value}" for name, value in limits.items() if value is not None)
        text = f"nothing in the index fits {asked}; `percepta index info` says which folders are in"
        screen.print("[]" if options.json else escape(text), soft_wrap=True)
        return 1
    found = opened.find(query, options.top, rows=rows)
    took = f"{len(opened) if rows is None else len(rows):,} moments, {1000 * (time.perf_counter() - began):.1f} ms"
    title = options.sentence if options.sentence is not None else f"like {options.like}"
    level = None if options.sentence is None or encoder.weights != CALIBRATED else NOTHING_FITS
    if options.json:
        screen.print_json(json.dumps([_row(one, level) for one in found]))
    else:
        _print(title, took, found, screen)
    fits = level is None or (bool(found) and found[0].score >= level)
    if not fits and not options.json:
        screen.print(
            f"nothing fits: the best score is {found[0].score:.3f}. Where a photograph fits, 95 of 100 sentences reach "
            f"{level:.3f} or more. The table shows the nearest ones.",
            soft_wrap=True,
        )
    if options.html is not None:
        from percepta.systems.hashing import results

        shown = results.page(title, f"{took} in {where}", found).write(options.html)
        if not options.json:
            screen.print(escape(str(shown)), soft_wrap=True)
    return 0 if found and fits else 1


def remove(options: Remove, screen: Console) -> int:
    """`percepta index remove`."""
    if not options.paths:
        raise shell.UsageError("which file or folder? usage: percepta index remove PATH ...")
    from percepta.systems.hashing import index as indexing

    count = 0
    with indexing.Writer(folder_of(options.index)) as writer:
        for given in options.paths:
            path = indexing.absolute(given)
            inside = path.rstrip(os.sep) + os.sep
            gone = [name for name in writer.paths if name == path or name.startswith(inside)]
            if not gone and path not in writer.roots:
                raise MissingFileError(f"{path} is not in the index")
            for name in gone:
                writer.drop(name)
            for root in [root for root in writer.roots if root == path or root.startswith(inside)]:
                writer.drop_root(root)
            count += len(gone)
        kept = [
            root for root in writer.roots if any(_inside(indexing.absolute(given), root) for given in options.paths)
        ]
    screen.print(f"{shell.counted(count, 'file')} taken out")
    if kept:
        text = f"{', '.join(kept)} stays in the index: `percepta index update` takes in again what still lies there"
        screen.print(f"[yellow]note[/] {escape(text)}", soft_wrap=True)
    return 0


def info(options: Info, screen: Console) -> int:
    """`percepta index info`."""
    from rich.table import Table

    from percepta.systems.hashing import index as indexing

    where = folder_of(options.index)
    opened = indexing.Index.open(where)
    header, files = opened.header, opened.files
    photos = int((files.kind == 0).sum())
    seconds = float((opened.times[:, 1] - opened.times[:, 0]).sum())
    stored = sum(path.stat().st_size for path in where.rglob("*") if path.is_file())
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "index": str(where),
        "photos": f"{photos:,}",
        "videos": f"{len(files) - photos:,}, {seconds / 3600:.2f} h",
        "moments": f"{len(opened):,} of {header.bits} bits",
        "on disk": f"{stored / 1e6:.1f} MB",
        "model": f"{header.model[:16]}, {header.encoder}",
        "weights": header.weights or "unknown (an older index)",
        "settings": ", ".join(f"{key} {value:g}" for key, value in header.settings.items()),
        "written by": f"percepta {header.percepta}, format {header.format}",
    }
    rows["folders"] = "\n".join(indexing.roots(where))
    for name, value in rows.items():
        table.add_row(name, escape(value))
    screen.print(table)
    return 0


def verify(options: Verify, screen: Console) -> int:
    """`percepta index verify`."""
    from percepta.systems.hashing import index as indexing

    where = folder_of(options.index)
    header = indexing.verify(where)
    screen.print(escape(f"{where}: intact ({header.files:,} files, {header.moments:,} moments)"), soft_wrap=True)
    return 0


# -------------------------------------------------------------------------------------------------- helpers


def _inside(path: str, folder: str) -> bool:
    """Whether a path lies below a folder."""
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def folder_of(given: Path | None) -> Path:
    """Where the index is."""
    if given is not None:
        return given.expanduser()
    home = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "share") / "percepta" / "index"


def day(text: str | None, option: str) -> float | None:
    """A day of the local calendar as seconds since 1970.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise shell.UsageError(f"{option} takes a day such as 2024-05-31, not {text!r}") from None


def model_of(options: shell.Which) -> Hasher:
    """The model that the options name."""
    return cast("Hasher", shell.load(SYSTEM, options).model)


def encoder_of(options: shell.Which, where: Path, encoder: str) -> ModelEncoder:
    """The model, as the index in a folder uses it.

    Args:
        options: that choose the model.
        where: folder of the index.
        encoder: how pictures are encoded: float32, onnx or int8.
    """
    from percepta.systems.hashing.encode import GRAPH, ModelEncoder

    return ModelEncoder(model_of(options), None if encoder == "float32" else where / GRAPH)


@lru_cache(maxsize=1)
def _remote_encoder(options: shell.Which, where: Path, encoder: str) -> ModelEncoder:
    """One of Ray's processes loads its model once."""
    import torch

    torch.set_num_threads(1)
    return encoder_of(options, where, encoder)


def _encode_remotely(
    chunk: list[tuple[Item, str]], options: shell.Which, where: Path, encoder: str, settings: Settings
) -> list[Encoded]:
    from percepta.systems.hashing import moments

    return list(moments.encode_files(chunk, _remote_encoder(options, where, encoder), settings))


def _filled(
    options: Work,
    where: Path,
    roots: Sequence[Path],
    screen: Console,
    settings: Settings | None,
    encoder: str | None,
    *,
    drop: bool,
) -> int:
    """Adds folders to an index, which is made where it is not there."""
    from percepta.systems.hashing import encode, moments
    from percepta.systems.hashing import index as indexing

    began = time.perf_counter()
    header = indexing.read_header(where) if (where / indexing.HEADER).is_file() else None
    if header is not None:
        settings, encoder = _as_before(header, where, settings, encoder), header.encoder
    assert settings is not None
    encoder = encoder or "float32"
    if encoder != "float32" and header is None:
        _make_graph(options, where, roots, settings, encoder == "int8", screen)
    loaded = encoder_of(options, where, encoder)
    fingerprint, bits, weights = loaded.fingerprint(), loaded.bits, loaded.weights
    chosen = {item.name: getattr(settings, item.name) for item in fields(settings)}
    with (
        indexing.Writer(where, fingerprint, bits, encoder=encoder, settings=chosen, weights=weights) as writer,
        shell.progress_bar(screen, "encoding") as bar,
        encode.single_threaded(),
        _encoding(options, loaded, where, encoder, settings) as encode_files,
    ):
        report = moments.add(writer, roots, encode_files, settings, drop_missing=drop, progress=bar)
        files = len(writer.paths)
    if header is None and report.problems and not files:
        shutil.rmtree(where)
        screen.print(escape(f"no index was made in {where}: nothing of what was given could be read"), soft_wrap=True)
    _tell(report, files, time.perf_counter() - began, screen)
    return 1 if report.problems else 0


def _as_before(header: Header, where: Path, settings: Settings | None, encoder: str | None) -> Settings:
    """The settings of an index; raises UsageError where others were asked for."""
    from percepta.systems.hashing.moments import Settings

    known = {item.name for item in fields(Settings)}
    before = Settings(**{key: value for key, value in header.settings.items() if key in known})
    if (settings is not None and settings not in (before, Settings())) or encoder not in (None, header.encoder):
        raise shell.UsageError(
            f"{where} was made with {before} and {header.encoder}; leave these options out, or make another index "
            "with --index"
        )
    return before


@contextlib.contextmanager
def _encoding(
    options: Work, loaded: ModelEncoder, where: Path, encoder: str, settings: Settings
) -> Iterator[EncodeFiles]:
    """What encodes files: here, or in Ray's processes."""
    from percepta import scale
    from percepta.systems.hashing import moments

    if options.ray is None:
        threads = options.threads or os.cpu_count() or 1
        yield partial(moments.encode_files, encoder=loaded, settings=settings, threads=threads)
        return
    if not scale.available():
        raise MissingExtraError("--ray needs Ray: pip install 'percepta[scale]'")
    import ray  # type: ignore[import-not-found]

    rest: dict[str, Any] = {"include_dashboard": False} if options.ray == "auto" else {"address": options.ray}
    ray.init(log_to_driver=False, **rest)
    work = partial(_encode_remotely, options=options, where=where, encoder=encoder, settings=settings)
    processes = options.threads or int(ray.cluster_resources().get("CPU", 1))

    def encode_files(items: Iterable[tuple[Item, str]]) -> Iterator[Encoded]:
        for results in scale.stream(work, _chunks(items), processes=processes):
            yield from results

    try:
        yield encode_files
    finally:
        ray.shutdown()


def _chunks(items: Iterable[tuple[Item, str]]) -> Iterator[list[tuple[Item, str]]]:
    """A video is a chunk of its own."""
    waiting: list[tuple[Item, str]] = []
    for item in items:
        if item[0].kind == "video":
            yield [item]
            continue
        waiting.append(item)
        if len(waiting) == CHUNK:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _make_graph(
    options: Work, where: Path, roots: Sequence[Path], settings: Settings, int8: bool, screen: Console
) -> None:
    """Makes the graph of a new index; int8 takes its ranges from some of the pictures that are going to be in it."""
    import numpy as np

    from percepta.systems.hashing import encode

    model = model_of(options)
    pixels = np.stack(_some_pictures(roots, settings, model.side)) if int8 else None
    with screen.status("making the encoder") if screen.is_terminal else contextlib.nullcontext():
        encode.write_graph(model, where / encode.GRAPH, pixels)


def _some_pictures(roots: Sequence[Path], settings: Settings, side: int) -> list[Any]:
    from percepta.media import video
    from percepta.systems.hashing import encode, moments

    items = [item for root in roots for item in moments.listing(root, settings, [])]
    found: list[Any] = []
    for item in items[:: max(1, len(items) // encode.CALIBRATION)]:
        with contextlib.suppress(OSError, ValueError):  # reported when it is encoded
            path = Path(item.path)
            if item.kind == "photo":
                found.append(moments.photo(path, side))
            elif path.is_dir():
                found += [moments.photo(frame, side) for frame in moments.film_frames(path)[::24][:4]]
            else:
                found += [sample.frame for sample in islice(video.walk(path, 2.0, size=(side, side)), 4)]
    if not found:
        raise InputError("int8 takes its ranges from pictures of the folder, and none there can be read")
    return found[: 2 * encode.CALIBRATION]


def _query(options: Search, encoder: ModelEncoder, header: Header) -> Any:
    from percepta.systems.hashing import moments

    if options.sentence is not None:
        return encoder.sentences([options.sentence])[0]
    assert options.like is not None
    known = {item.name for item in fields(moments.Settings)}
    settings = moments.Settings(**{key: value for key, value in header.settings.items() if key in known})
    return moments.example(options.like, encoder, settings)


def _salvaged(where: Path) -> dict[str, Any]:
    """What can still be read of a header that may be damaged, or of another version."""
    from percepta.systems.hashing import index as indexing

    with contextlib.suppress(OSError, ValueError):
        content = json.loads((where / indexing.HEADER).read_bytes())
        if isinstance(content, dict):
            with contextlib.suppress(OSError, ValueError):
                content["roots"] = indexing.roots(where)
            return content
    return {}


def _tell(report: Additions, files: int, seconds: float, screen: Console) -> None:
    counts = {
        "encoded": report.added,
        "moved or copied": report.moved,
        "unchanged": report.same,
        "taken out": report.removed,
        "with problems": len(report.problems),
    }
    text = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing to do"
    new, inside = shell.counted(report.moments, "new moment"), shell.counted(files, "file")
    screen.print(f"{text}; {new}; {inside} in the index; {seconds:.1f} s", soft_wrap=True)
    for problem in report.problems[:MAX_PROBLEMS]:
        screen.print(f"[red]problem[/] {escape(str(problem))}", soft_wrap=True)
    if len(report.problems) > MAX_PROBLEMS:
        screen.print(f"... and {len(report.problems) - MAX_PROBLEMS} more")


def _print(title: str, took: str, found: Sequence[Match], screen: Console) -> None:
    from rich.table import Table

    table = Table(title=escape(f"{title}  ({took})"))
    for name in ("", "file", "start_s", "end_s", "score"):
        side = "left" if name == "file" else "right"
        table.add_column(name, justify=side, overflow="fold", no_wrap=name != "file")
    for rank, one in enumerate(found, 1):
        times = ("", "") if one.kind == "photo" else (f"{one.start_s:.1f}", f"{one.end_s:.1f}")
        table.add_row(str(rank), escape(_printable(one.path)), *times, f"{one.score:.3f}")
    screen.print(table)


def _row(one: Match, level: float | None) -> dict[str, Any]:
    """A match for JSON; `fits` says whether it reaches the level below which nothing fits, where that is known."""
    fits = {} if level is None else {"fits": one.score >= level}
    return {**one.__dict__, "taken": datetime.fromtimestamp(one.taken).isoformat(timespec="seconds"), **fits}


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()


COMMANDS: dict[str, shell.Command] = {
    "add": (Add, add),
    "search": (Search, search),
    "update": (Update, update),
    "remove": (Remove, remove),
    "info": (Info, info),
    "verify": (Verify, verify),
    "rebuild": (Rebuild, rebuild),
}
