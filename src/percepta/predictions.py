"""What a prediction leaves on disk: drawings, results, videos with their sound, one table of all answers, one page.

    with Predictions(Path("out"), system="refer") as written:
        for answer in refer.stream("photos", "the red skirt"):
            written.add(answer)

`predictions.json` has one form for all systems:

    {"version": 1, "system": "refer", "percepta": "0.1.0", "weights": "sha256 of the tensors", "words": [...],
     "predictions": [{"source": "a.jpg", "drawing": "a.overlay.jpg", "file": "a.png", ...}, ...],
     "failed": [{"source": "b.jpg", "error": "..."}], "left_out": {"file ending in .txt": 2}}

where the dots are what the `to_dict` of the system's Result says. File names are relative to the folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from percepta.contract import Answer
from percepta.errors import InputError
from percepta.files import check_apart, naming_writes, write_atomically
from percepta.media import sound, video
from percepta.report import Gallery, Page, Picture, Table, Text

VERSION = 1  # of the form of predictions.json
MAX_ON_PAGE = 200  # drawings on the page of a folder
THUMBNAIL_PX = 480  # of a drawing on the page, its longer side


@dataclass
class _Film:
    """A video that is being written, and its lines of JSON.

    Attributes:
        source: the video that was read.
        writers: one for each sentence.
        size: of the drawings: width, height; those of the first frame.
        name: of the files, without an ending.
        lines: open file of one JSON object a frame.
        count: frames so far.
        found: {place of a sentence: frames in which it was found}.
    """

    source: Path
    writers: list[video.Writer]
    size: tuple[int, int]
    name: str
    lines: TextIO
    count: int = 0
    found: dict[int, int] = field(default_factory=dict)


@dataclass
class Predictions:
    """Writes the answers of a stream into a folder, one by one. Use as a context: `predictions.json` comes at its end.

    Of a picture it writes the drawing (`a.overlay.jpg`) and what the result saves (`a.png`, `a.json`); of a video a
    video of the drawings with the sound of the first one (`clip.mp4`) and one line of JSON a frame (`clip.jsonl`).
    Several results of one picture get numbers: `a.1.png`, `a.2.png`.

    Attributes:
        out: the folder; it is made with the first file.
        system: name of the system.
        words: what each picture is asked.
        version: of percepta.
        weights: hash of the weights.
        rows: the entries of predictions.json so far.
        failed: {source: why} of those without an answer.
        left_out: {reason: how many files} that were no picture and no video; set it before the end.
    """

    out: Path
    system: str = ""
    words: Sequence[str] = ()
    version: str = ""
    weights: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _shown: list[tuple[Picture, str]] = field(default_factory=list)
    _film: _Film | None = None

    def __enter__(self) -> Predictions:
        if self.out.exists() and not self.out.is_dir():
            raise InputError(f"{self.out} is a file; results need a folder")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Whatever happened, the answers that are there are listed.
        self._end_film()
        if kind is None or self.rows:
            self._write()

    def add(self, answer: Answer[Any]) -> list[dict[str, Any]]:
        """Writes the files of an answer; returns its entries (of a frame: none, they come with the whole video).

        Raises:
            InputError: the folder is the one that the picture or the video lies in.
        """
        if self._film is not None and (answer.time_s is None or answer.path != self._film.source):
            self._end_film()
        if answer.error:
            self.failed[str(answer.path or answer.source)] = answer.error
            return []
        if answer.time_s is not None and answer.path is not None:
            self._add_frame(answer, answer.path, answer.time_s)
            return []
        if answer.path is not None:
            check_apart(self.out, [answer.path])
        source = str(answer.path or answer.source)
        name = self._free(answer.path or Path(answer.source.replace("/", "-")))
        rows = []
        for place, result in enumerate(answer.results):
            stem = name if len(answer.results) == 1 else f"{name}.{place + 1}"
            drawing = result.draw()
            content = io.BytesIO()
            drawing.convert("RGB").save(content, "JPEG", quality=90)
            write_atomically(self.out / f"{stem}.overlay.jpg", content.getvalue())
            saved = result.save(self.out / f"{stem}.png")
            drawn, file = self.out / f"{stem}.overlay.jpg", Path(saved or f"{stem}.png")
            rows.append(entry(source, result, drawn, file))
            if len(self._shown) < MAX_ON_PAGE:
                drawing.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                self._shown.append((drawing, f"{Path(source).name}: {result.text}"))
        self.rows += rows
        return rows

    def _free(self, path: Path) -> str:
        """A name for the files of a picture that no other one has."""
        name = next((one for one in (path.stem, path.name) if one not in self._names), path.name)
        number = 2
        while name in self._names:
            name, number = f"{path.name}-{number}", number + 1
        self._names.add(name)
        return name

    # ------------------------------------------------------------------------------------------------------ videos

    def _add_frame(self, answer: Answer[Any], path: Path, time_s: float) -> None:
        drawings = [np.asarray(result.draw().convert("RGB")) for result in answer.results]
        film = self._film
        if film is None:
            check_apart(self.out, [path])
            name = self._free(path)
            stems = [name] if len(drawings) == 1 else [f"{name}.{place + 1}" for place in range(len(drawings))]
            fps = video.info(path).fps or 25.0
            writers = [video.Writer(self.out / f".{stem}.silent.mp4", fps) for stem in stems]
            height, width = drawings[0].shape[:2]
            self.out.mkdir(parents=True, exist_ok=True)
            lines = (self.out / f"{name}.jsonl").open("w", encoding="utf-8")
            film = self._film = _Film(path, writers, (width, height), name, lines)
        for writer, drawing in zip(film.writers, drawings, strict=True):
            writer.add(_fitted(drawing, film.size), time_s)
        row = {"time_s": round(time_s, 4), "results": [result.to_dict() for result in answer.results]}
        with naming_writes(self.out / f"{film.name}.jsonl"):
            film.lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        film.count += 1
        for place, result in enumerate(answer.results):
            if (found := getattr(result, "found", None)) is not None:
                film.found[place] = film.found.get(place, 0) + bool(found)

    def _end_film(self) -> None:
        film, self._film = self._film, None
        if film is None:
            return
        with naming_writes(self.out / f"{film.name}.jsonl"):
            film.lines.flush()
            os.fsync(film.lines.fileno())  # a full disk may show only here
        film.lines.close()
        for place, writer in enumerate(film.writers):
            writer.close()
            stem = writer.path.name.removeprefix(".").removesuffix(".silent.mp4")
            finished = sound.copy_sound(writer.path, film.source, self.out / f"{stem}.mp4")
            writer.path.unlink(missing_ok=True)
            row = {"source": str(film.source), "drawing": finished.name, "file": f"{film.name}.jsonl"}
            text = f"{film.count} frames"
            if place in film.found:
                what = self.words[place] if place < len(self.words) else "something"
                text += f", {what}: found in {film.found[place] or 'none'} of them"
            self.rows.append({**row, "frames": film.count, "text": text})

    # ----------------------------------------------------------------------------------------------------- the end

    def _write(self) -> None:
        write_table(
            self.out,
            self.rows,
            system=self.system,
            version=self.version,
            weights=self.weights,
            words=self.words,
            failed=self.failed,
            left_out=self.left_out,
        )

    def write_page(self, title: str) -> Path:
        """One page with all drawings (200 at most), what failed and what was left out."""
        page = Page(title, [Text(f"{len(self.rows)} answers, {len(self.failed)} failed.")])
        if len(self._shown) < len(self.rows):
            page.add(Text(f"The first {len(self._shown)} drawings; all of them lie beside this page."))
        page.add(Gallery(self._shown))
        if self.failed:
            page.add(Table(["failed", "why"], list(self.failed.items())))
        if self.left_out:
            page.add(Table(["left out", "files"], [(reason, str(n)) for reason, n in self.left_out.items()]))
        return page.write(self.out / "report.html")

    def write_csv(self) -> Path:
        """The entries as a table, predictions.csv: a column for each number, text and flag, four for a box."""
        rows = [_flat(row) for row in self.rows]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        content = io.StringIO(newline="")
        writer = csv.DictWriter(content, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return write_atomically(self.out / "predictions.csv", content.getvalue())

    def write_coco(self) -> Path:
        """Results in COCO's form, coco.json: masks as run lengths, boxes, scores; what was not found is left out.

        `image_id` counts the sources from 1 in their order, `category_id` the words from 1; names stand beside them.

        Raises:
            InputError: the system's answers have neither masks nor boxes.
        """
        if self.rows and not any("segmentation" in row or "box" in row for row in self.rows):
            raise InputError(f"{self.system} gives neither masks nor boxes; COCO's form has no place for its answers")
        sources = {source: number for number, source in enumerate(dict.fromkeys(row["source"] for row in self.rows), 1)}
        names = dict.fromkeys([*self.words, *(str(_name(row)) for row in self.rows)])
        numbers = {name: number for number, name in enumerate(names, 1)}
        entries = []
        for row in self.rows:
            if row.get("box") is None or row.get("found") is False:
                continue
            name = str(_name(row))
            entry = {"image_id": sources[row["source"]], "file_name": row["source"]}
            entry |= {"category_id": numbers[name], "category_name": name, "score": row.get("score", 1.0)}
            entry |= {"bbox": list(row["box"])}
            entries.append(entry | {key: row[key] for key in ("segmentation",) if key in row})
        return write_atomically(self.out / "coco.json", json.dumps(entries) + "\n")


def write_table(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    system: str,
    version: str,
    weights: str,
    words: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> Path:
    """predictions.json, in the form that all systems share (see above).

    Args:
        out: the folder.
        rows: an entry for each answer; `entry` makes one.
        system: its name.
        version: of percepta.
        weights: hash of the weights.
        words: what each source was asked.
        failed: {source: why} of those without an answer.
        left_out: {reason: how many files} that could not be sources.
    """
    content = {
        "version": VERSION,
        "system": system,
        "percepta": version,
        "weights": weights,
        "words": list(words),
        "predictions": list(rows),
        "failed": [{"source": source, "error": error} for source, error in (failed or {}).items()],
        "left_out": dict(left_out or {}),
    }
    return write_atomically(out / "predictions.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def entry(source: str, result: Any, drawing: Path | None = None, file: Path | None = None) -> dict[str, Any]:
    """An entry of predictions.json: where an answer came from, its files, its words and its `to_dict`.

    Args:
        source: path, address or name of what was asked.
        result: an answer of a system.
        drawing: its picture, where one was written.
        file: its numbers, where they were written.
    """
    names = {key: path.name for key, path in (("drawing", drawing), ("file", file)) if path is not None}
    return {"source": source, **names, "text": result.text, **result.to_dict()}


def _name(row: Mapping[str, Any]) -> Any:
    return row.get("sentence", row.get("label", ""))


def _fitted(drawing: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A drawing on a canvas of the size of the first one: bars of text may have another height."""
    if (drawing.shape[1], drawing.shape[0]) == size:
        return drawing
    canvas = Image.new("RGB", size)
    canvas.paste(Image.fromarray(drawing))
    return np.asarray(canvas)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers, texts and flags of an entry; a box as its four numbers."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if name == "box":
            parts = value or ("",) * 4
            out |= dict(zip(("left_px", "top_px", "width_px", "height_px"), parts, strict=True))
        elif isinstance(value, str | int | float | bool) or value is None:
            out[name] = "" if value is None else value
    return out
