"""Blocks (text, tables, numbers, plots, pictures) and one self-contained HTML page of them.

Nothing is loaded from elsewhere: pictures are embedded, plots are drawn here as SVG, colours follow the reader's light
or dark setting. A block is a small dataclass; pictures are drawn and encoded when the page is written, not before:

    Page("Run 7", [Text("Trained on 400 pictures."), Curves("loss", {"train": points})]).write("report.html")
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from percepta.contract import Block
from percepta.errors import InputError, MissingFileError
from percepta.files import read_lines, write_atomically
from percepta.formats import parse_json
from percepta.metrics import FEW, Metric

Real = int | float
Point = tuple[Real, Real]


@runtime_checkable
class Drawn(Protocol):
    """What can draw itself, such as a system's Result."""

    def draw(self) -> Image.Image: ...


Picture: TypeAlias = Image.Image | UInt8[np.ndarray, "h w 3"] | Drawn
"""A picture of a page: of PIL, an array of bytes, or something that is drawn when the page is written."""

BROAD = 3.0  # times as wide as high: a strip that has to be read along a whole row
_STYLE = """
:root { color-scheme: light dark; --ground: #fdfdfc; --card: #ffffff; --ink: #1d2126; --soft: #616b76;
  --line: #e1e4e8;
  --c0: #2468c9; --c1: #d0562a; --c2: #2c8f5b; --c3: #8d4bbb; --c4: #b8860b; --c5: #c2356f; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1c2026; --ink: #e6e8eb;
  --soft: #9aa4af; --line: #30363d;
  --c0: #6aa5f5; --c1: #f08a5d; --c2: #5cc98d; --c3: #c08ae6; --c4: #e0b64c; --c5: #f07aa8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .5rem 0 1rem; white-space: pre-line; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .875em; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem;
  overflow-x: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 1rem;
  margin: 1rem 0; align-items: start; }
figure { margin: 0; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; max-height: 340px; object-fit: contain; }
figure.broad { grid-column: 1 / -1; overflow-x: auto; }
figure.broad img { min-width: 600px; }
nav { display: flex; flex-wrap: wrap; gap: .4rem; margin: 1rem 0; }
nav a { color: var(--c0); background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .3rem .7rem; text-decoration: none; }
figcaption { padding: .55rem .8rem .65rem; font-size: .9rem; line-height: 1.4; white-space: pre-line; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .925rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 1rem;
  margin: 1rem 0; }
.numbers div { background: var(--card);
  border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem; }
.numbers b { display: block; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.numbers span, small { color: var(--soft); font-size: .85rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 1rem; }
figure.plot { padding: .6rem .6rem 0; }
figure.wide { max-width: 760px; }
figure video, .gone { display: block; width: 100%; height: 220px; object-fit: contain; background: #000; }
.gone { color: #aaa; display: grid; place-items: center; }
figcaption b { font-variant-numeric: tabular-nums; } figcaption a { color: inherit; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .raw { fill: none; stroke-width: 1; opacity: .28; }
"""


def number(value: Real | str) -> str:
    """A number at the precision a reader can use: 0.6123 → "0.612", 12345.6 → "12346", 1e-7 → "1e-07"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{value:.3g}"
    return f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:.0f}"


def interval_text(metric: Metric) -> str:
    """The 95 % interval as "0.58 to 0.64" at the metric's own precision; "" where there is none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{number(metric.low)} to {number(metric.high)}"


def count_text(metric: Metric) -> str:
    """How many samples a number stands on, "12 (few)" below FEW of them; "" where that is not known."""
    return "" if not metric.n else f"{metric.n} (few)" if metric.n < FEW else str(metric.n)


def metric_rows(metrics: Mapping[str, Metric]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of metrics: name, value, interval, n, then one for each baseline."""
    baselines: list[str] = []
    for metric in metrics.values():
        baselines += [name for name in metric.baselines if name not in baselines]
    rows = []
    for name, metric in metrics.items():
        value = f"{number(metric.value)} {metric.unit}".strip()
        others = [number(metric.baselines[b]) if b in metric.baselines else "" for b in baselines]
        rows.append([name, value, interval_text(metric), count_text(metric), *others])
    return ["metric", "value", "95 % interval", "n", *baselines], rows


def embed(picture: Picture, *, longest_px: int = 900, quality: int = 86) -> str:
    """A picture as a data URI: JPEG, or PNG where it has transparency or few colours (masks, drawings).

    Args:
        picture: of PIL, an array of bytes, or something that draws itself.
        longest_px: larger pictures are made smaller.
        quality: of JPEG, 1..95.
    """
    image = to_image(picture).copy()
    if max(image.size) > longest_px:
        image.thumbnail((longest_px, longest_px))
    buffer = io.BytesIO()
    if image.mode in ("1", "P", "LA", "RGBA"):
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.convert("RGB").save(buffer, "JPEG", quality=quality)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def to_image(picture: Picture) -> Image.Image:
    """A picture of a page as PIL has it."""
    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture.draw()


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; bars and line breaks in cells are kept from splitting it."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)])


# ------------------------------------------------------------------------------------------------------------ blocks


@dataclass(frozen=True)
class Heading:
    """A heading above the blocks that follow.

    Attributes:
        text: the heading.
        short: its name in the page's list of contents; "": it is not in it.
    """

    text: str
    short: str = ""

    def html(self) -> str:
        place = f' id="{escape(self.short, quote=True)}"' if self.short else ""
        return f"<h2{place}>{escape(self.text)}</h2>"


@dataclass(frozen=True)
class Text:
    """A paragraph. Texts are escaped: they may hold anything, sentences of users included."""

    text: str

    def html(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Code:
    """A text in a typewriter's letters, with its line breaks."""

    text: str

    def html(self) -> str:
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True)
class Gallery:
    """A grid of pictures, each with its caption (may be ""); very broad ones, such as timelines, take a whole row."""

    pictures: Sequence[tuple[Picture, str]]

    def html(self) -> str:
        cells = []
        for picture, caption in self.pictures:
            image = to_image(picture)
            shape = ' class="broad"' if image.width > BROAD * image.height else ""
            label = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
            cells.append(f'<figure{shape}><img src="{embed(image)}" alt="{escape(caption)}">{label}</figure>')
        return f'<div class="pictures">{"".join(cells)}</div>'


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine: a picture that links to it or, with times, a player that begins there.

    Attributes:
        path: the file.
        picture: what is shown of it; None where the file is gone.
        title, lines: the caption: a line in bold, and smaller lines below the file's name.
        start_s, end_s: the part of a video that is played.
    """

    path: Path
    picture: Picture | None
    title: str
    lines: Sequence[str] = ()
    start_s: float | None = None
    end_s: float | None = None

    def html(self) -> str:
        link = escape(self.path.as_uri(), quote=True)
        if self.picture is None:
            shown = '<div class="gone">the file is gone</div>'
        elif self.start_s is not None:
            times = f"#t={self.start_s:g}" + ("" if self.end_s is None else f",{self.end_s:g}")
            poster = embed(self.picture, longest_px=420, quality=80)
            shown = f'<video controls muted preload="none" poster="{poster}" src="{link}{times}"></video>'
        else:
            poster = embed(self.picture, longest_px=420, quality=80)
            shown = f'<a href="{link}"><img src="{poster}" alt="{escape(self.path.name)}"></a>'
        small = "".join(f"<br><small>{escape(line)}</small>" for line in self.lines)
        name = f'<a href="{link}">{escape(self.path.name)}</a>'
        return f"<figure>{shown}<figcaption><b>{escape(self.title)}</b><br>{name}{small}</figcaption></figure>"


@dataclass(frozen=True)
class Files:
    """A grid of files on this machine. The page holds their pictures; players and links point to the files."""

    files: Sequence[LocalFile]

    def html(self) -> str:
        return f'<div class="pictures">{"".join(file.html() for file in self.files)}</div>'


@dataclass(frozen=True)
class Table:
    """A table; cells are numbers, texts or `Metric`s (value with interval).

    Raises:
        InputError: a row is longer or shorter than the header.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"a row has {len(row)} cells where the header has {len(self.columns)}: {list(row)}")

    def html(self) -> str:
        lines = ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in self.rows]
        head = "".join(f"<th>{escape(str(column))}</th>" for column in self.columns)
        above = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return (
            f'<div class="wide"><table>{above}<thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )


@dataclass(frozen=True)
class Metrics:
    """A table of metrics: value, interval, n and the trivial baselines as columns."""

    metrics: Mapping[str, Metric]
    caption: str = ""

    def html(self) -> str:
        return Table(*metric_rows(self.metrics), self.caption).html()


@dataclass(frozen=True)
class Numbers:
    """Large figures side by side: {name: number, text or `Metric`}."""

    numbers: Mapping[str, Any]

    def html(self) -> str:
        cells = []
        for name, value in self.numbers.items():
            big, small = _figure(value)
            below = f"<span>{escape(small)}</span>" if small else ""
            cells.append(f"<div><span>{escape(name)}</span><b>{escape(big)}</b>{below}</div>")
        return f'<div class="numbers">{"".join(cells)}</div>'


@dataclass(frozen=True)
class Curves:
    """One plot with a curve for every series of (x, y) points; plots that follow each other stand side by side."""

    title: str
    series: Mapping[str, Sequence[Point]]
    x_label: str = "step"

    def html(self) -> str:
        svg = curves_svg(self.series, self.x_label)
        return f'<figure class="plot">{svg}<figcaption>{escape(self.title)}</figcaption></figure>'


@dataclass(frozen=True)
class Dots:
    """A row for every metric: a dot at its value, a line over its interval, a tick at each of its baselines."""

    title: str
    metrics: Mapping[str, Metric]
    unit: str = ""

    def html(self) -> str:
        svg = dots_svg(self.metrics, self.unit)
        return f'<figure class="plot wide">{svg}<figcaption>{escape(self.title)}</figcaption></figure>'


@dataclass
class Page:
    """A page of blocks.

    Attributes:
        title: its heading.
        blocks: what it shows, in order.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> Page:
        """Appends blocks and returns the page."""
        self.blocks += blocks
        return self

    def html(self) -> str:
        """The whole page, as one file."""
        body, plots = [], []
        for block in [*self.blocks, None]:
            if isinstance(block, Curves):
                plots.append(block.html())
                continue
            if plots:
                body.append(f'<div class="plots">{"".join(plots)}</div>')
                plots = []
            if block is not None:
                body.append(block.html())
        listed = [block.short for block in self.blocks if isinstance(block, Heading) and block.short]
        links = "".join(f'<a href="#{escape(one, quote=True)}">{escape(one)}</a>' for one in listed)
        contents = f"<nav>{links}</nav>\n" if links else ""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{escape(self.title)}</h1>\n" + contents + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: Path | str) -> Path:
        """Writes the page, whole or not at all, and returns where it is."""
        return write_atomically(path, self.html())


def _figure(value: Any) -> tuple[str, str]:
    if isinstance(value, Metric):
        notes = [interval_text(value), f"n {value.n}" if value.n else ""]
        return f"{number(value.value)} {value.unit}".strip(), " · ".join(note for note in notes if note)
    return number(value), ""


def _cell(value: Any) -> str:
    big, small = _figure(value)
    numeric = isinstance(value, Metric | int | float) and not isinstance(value, bool)
    below = f" <small>{escape(small)}</small>" if small else ""
    opening = '<td class="number">' if numeric else "<td>"
    return f"{opening}{escape(big)}{below}</td>"


# ------------------------------------------------------------------------------------------------- curves


def ticks(low: Real, high: Real, about: int = 5) -> list[Real]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that lie inside [low, high].

    Args:
        low: lower end.
        high: upper end.
        about: how many are wanted.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def curves_svg(series: Mapping[str, Sequence[Point]], x_label: str = "step") -> str:
    """Curves as one inline SVG of 460 by 260 units, with a legend where there is more than one.

    Points that are not finite are left out. A series of more than 60 points is drawn faintly with its running
    mean on top, as the noise of single steps hides where a loss is going.
    """
    width, height, left, right, top, bottom = 460, 260, 52, 12, 24, 34
    clean = {
        name: [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in series.items()
    }
    everything = [point for points in clean.values() for point in points]
    if not everything:
        return f'<svg viewBox="0 0 {width} 40" role="img"><text x="12" y="24">nothing to draw yet</text></svg>'
    x_low, x_high = _span([x for x, _ in everything], pad=0.0)
    y_low, y_high = _span([y for _, y in everything], pad=0.04)

    def place(point: Point) -> Point:
        x = left + (point[0] - x_low) / (x_high - x_low) * (width - left - right)
        y = height - bottom - (point[1] - y_low) / (y_high - y_low) * (height - top - bottom)
        return x, y

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    for tick in ticks(y_low, y_high):
        y = place((x_low, tick))[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(x_low, x_high):
        x = place((tick, y_low))[0]
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 15}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{width - right}" y="{height - 4}" text-anchor="end">{escape(x_label)}</text>')
    legend_x = left
    for index, (name, points) in enumerate(clean.items()):
        colour = f'style="stroke:var(--c{index % 6})"'
        if len(points) > 60:
            parts.append(f'<path class="raw" {colour} d="{_path(map(place, points))}"/>')
            points = running_mean(points, max(5, len(points) // 25))
        if len(points) == 1:
            x, y = place(points[0])
            parts.append(f'<circle {colour} cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="none"/>')
        elif points:
            parts.append(f'<path class="curve" {colour} d="{_path(map(place, points))}"/>')
        if len(clean) > 1:
            parts.append(f'<line {colour} stroke-width="3" x1="{legend_x}" x2="{legend_x + 14}" y1="11" y2="11"/>')
            parts.append(f'<text x="{legend_x + 18}" y="15">{escape(name)}</text>')
            legend_x += 30 + 6.2 * len(name)
    return "".join(parts) + "</svg>"


def dots_svg(metrics: Mapping[str, Metric], unit: str = "") -> str:
    """Values with intervals and baselines side by side, as one inline SVG 620 units wide, 20 a row."""
    names = list(dict.fromkeys(name for metric in metrics.values() for name in metric.baselines))
    ends = [
        x
        for m in metrics.values()
        for x in (m.value, m.low, m.high, *m.baselines.values())
        if x is not None and math.isfinite(x)
    ]
    if not ends:
        return '<svg viewBox="0 0 620 40" role="img"><text x="12" y="24">nothing to draw yet</text></svg>'
    width, left, row, top = 620, 190, 20, 26
    height = top + row * len(metrics) + 24
    low, high = _span(ends, pad=0.05)

    def place(x: float) -> float:
        return left + (x - low) / (high - low) * (width - left - 12)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img">']
    for tick in ticks(low, high):
        x = place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - 20}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:g}{escape(unit)}</text>')
    for index, (name, metric) in enumerate(metrics.items()):
        y = top + row * (index + 0.5)
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        if metric.low is not None and metric.high is not None:
            span = f'x1="{place(metric.low):.1f}" x2="{place(metric.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            parts.append(f'<line style="stroke:var(--c0)" stroke-width="2" {span}/>')
        parts.append(f'<circle style="fill:var(--c0)" cx="{place(metric.value):.1f}" cy="{y:.1f}" r="4"/>')
        for place_in, baseline in enumerate(names):
            if baseline in metric.baselines:
                x = place(metric.baselines[baseline])
                mark = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6:.1f}" y2="{y + 6:.1f}"'
                parts.append(f'<line style="stroke:var(--c{1 + place_in % 5})" stroke-width="2.5" {mark}/>')
    for place_in, baseline in enumerate(names):
        x = left + 150 * place_in
        parts.append(
            f'<line style="stroke:var(--c{1 + place_in % 5})" stroke-width="3" x1="{x}" x2="{x}" y1="5" y2="17"/>'
        )
        parts.append(f'<text x="{x + 6}" y="15">{escape(baseline)}</text>')
    return "".join(parts) + "</svg>"


def running_mean(points: Sequence[Point], width: int) -> list[Point]:
    """The mean of y over `width` points around each, fewer near the ends, so that a line stays a line."""
    sums = [0.0, *accumulate(y for _, y in points)]
    out: list[Point] = []
    for index, (x, _) in enumerate(points):
        reach = min(width // 2, index, len(points) - 1 - index)
        out.append((x, (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)))
    return out


def _span(values: Sequence[Real], pad: float) -> tuple[Real, Real]:
    low, high = min(values), max(values)
    if low == high:
        return low - (abs(low) or 1.0) * 0.5, high + (abs(high) or 1.0) * 0.5
    margin = (high - low) * pad
    return low - margin, high + margin


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


# ----------------------------------------------------------------------------------------------- training


def read_log(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a log.jsonl; a torn last line (the process was killed while it wrote) is left out.

    Rows of steps that were run twice, because training resumed before them, count once: the later.

    Raises:
        InputError: a line other than the last is no JSON object, naming file and line.
    """
    lines = read_lines(path, errors="replace")
    rows: list[dict[str, Any]] = []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"{path}, line {index + 1}: expected a JSON object a line")
        except InputError:
            if index == len(lines) - 1:
                break
            raise
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int):
            continue
        if rows and step < rows[-1]["step"]:
            while rows and rows[-1]["step"] >= step:
                rows.pop()
        rows.append(row)
    return rows


def training_page(run: Path | str, blocks: Iterable[Block] = ()) -> Path:
    """Writes `report.html` into a run folder: a curve for every logged number, configuration, command.

    Args:
        run: the folder that `percepta train --out` wrote.
        blocks: what an evaluation of the run gave to show.

    Raises:
        MissingFileError: the folder holds no log.jsonl.
    """
    run = Path(run)
    log = run / "log.jsonl"
    if not log.is_file():
        raise MissingFileError(f"{log} is not there: expected the folder that `percepta train --out` wrote")
    rows = read_log(log)
    series: dict[str, list[Point]] = {}
    for row in rows:
        for name, value in _flat(row):
            if name not in ("step", "epoch", "seconds"):
                series.setdefault(name, []).append((float(row["step"]), value))
    page = Page(f"Training: {run.resolve().name}")
    if rows:
        last = {name: value for name, value in _flat(rows[-1]) if name in ("loss", "epoch", "lr")}
        page.add(Numbers({"step": rows[-1]["step"], **last}))
    page.add(Heading("Curves"))
    # One plot for each: the scales of two quantities rarely agree.
    ordered = sorted(series.items(), key=lambda item: (item[0] != "loss", item[0]))
    page.add(*(Curves(name, {name: points}) for name, points in ordered), *blocks)
    for title, file in (("Command", "command"), ("Commit", "commit"), ("Configuration", "config.json")):
        path = next((p for p in (run / file, run / f"{file}.txt") if p.is_file()), None)
        if path is not None:
            page.add(Heading(title), Code(path.read_text().strip()))
    return page.write(run / "report.html")


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)
