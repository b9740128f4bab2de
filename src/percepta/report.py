"""One self-contained HTML page: pictures, numbers, tables and curves, readable from a mail attachment.

Nothing is loaded from elsewhere: pictures are embedded, curves are drawn here as SVG, colours follow the
reader's light or dark setting. A `Page` is built by chained calls and written in one go:

    Page("Run 7").text("Trained on 400 pictures.").curves("Loss", {"loss": points}).write("report.html")

Systems do not import this module; what they want to show they hand over as plain tuples, see `Page.extend`.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from PIL import Image

from percepta.files import write_atomically
from percepta.metrics import Metric

Real = int | float
Point = tuple[Real, Real]

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


def metric_rows(metrics: Mapping[str, Metric]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of metrics: name, value, interval, n, then one for each baseline."""
    baselines: list[str] = []
    for metric in metrics.values():
        baselines += [name for name in metric.baselines if name not in baselines]
    rows = []
    for name, metric in metrics.items():
        value = f"{number(metric.value)} {metric.unit}".strip()
        others = [number(metric.baselines[b]) if b in metric.baselines else "" for b in baselines]
        rows.append([name, value, interval_text(metric), str(metric.n) if metric.n else "", *others])
    return ["metric", "value", "95 % interval", "n", *baselines], rows


def embed(image: Image.Image, *, longest_px: int = 900, quality: int = 86) -> str:
    """A picture as a data URI: JPEG, or PNG where it has transparency or few colours (masks, drawings)."""
    picture = image.copy()
    if max(picture.size) > longest_px:
        picture.thumbnail((longest_px, longest_px))
    buffer = io.BytesIO()
    if picture.mode in ("1", "P", "LA", "RGBA"):
        picture.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        picture.convert("RGB").save(buffer, "JPEG", quality=quality)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; bars and line breaks in cells are kept from splitting it."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(columns), line(["---"] * len(columns)), *map(line, rows)])


def fill_markers(path: Path | str, name: str, text: str) -> None:
    """Puts `text` between the lines `<!-- name -->` and `<!-- /name -->` of a file, replacing what is there.

    Raises:
        ValueError: the file does not hold the two markers, in this order; it is left as it was.
    """
    path = Path(path)
    old = path.read_text()
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = old.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} has no place for {name}: expected the lines {start} and {end}")
    write_atomically(path, f"{before}{start}\n{text.strip()}\n{end}{after}")


class Page:
    """A page under construction; every method appends to it and returns it.

    Texts are escaped: they may hold anything, sentences of users included.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._body: list[str] = []

    def heading(self, text: str) -> Page:
        self._body.append(f"<h2>{escape(text)}</h2>")
        return self

    def text(self, text: str) -> Page:
        self._body.append(f"<p>{escape(text)}</p>")
        return self

    def code(self, text: str) -> Page:
        self._body.append(f"<pre><code>{escape(text)}</code></pre>")
        return self

    def pictures(self, pictures: Iterable[tuple[Image.Image, str]]) -> Page:
        """A grid of pictures, each with its caption (may be "")."""
        cells = []
        for image, caption in pictures:
            label = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
            cells.append(f'<figure><img src="{embed(image)}" alt="{escape(caption)}">{label}</figure>')
        self._body.append(f'<div class="pictures">{"".join(cells)}</div>')
        return self

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Page:
        """A table; cells are numbers, texts or `Metric`s (value with interval).

        Raises:
            ValueError: a row is longer or shorter than the header.
        """
        lines = []
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"a row has {len(row)} cells where the header has {len(columns)}: {list(row)}")
            lines.append("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>")
        head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
        above = f"<caption>{escape(caption)}</caption>" if caption else ""
        self._body.append(
            f'<div class="wide"><table>{above}<thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )
        return self

    def metrics(self, metrics: Mapping[str, Metric], caption: str = "") -> Page:
        """A table of metrics: value, interval, n and the trivial baselines as columns."""
        return self.table(*metric_rows(metrics), caption=caption)

    def numbers(self, numbers: Mapping[str, Any]) -> Page:
        """Large figures side by side: name -> number, text or `Metric`."""
        cells = []
        for name, value in numbers.items():
            big, small = _figure(value)
            below = f"<span>{escape(small)}</span>" if small else ""
            cells.append(f"<div><span>{escape(name)}</span><b>{escape(big)}</b>{below}</div>")
        self._body.append(f'<div class="numbers">{"".join(cells)}</div>')
        return self

    def curves(self, title: str, series: Mapping[str, Sequence[Point]], x_label: str = "step") -> Page:
        """One plot with a curve for every series of (x, y) points; consecutive plots stand side by side."""
        svg = curves_svg(series, x_label)
        plot = f'<figure class="plot">{svg}<figcaption>{escape(title)}</figcaption></figure>'
        if self._body and self._body[-1].startswith('<div class="plots">'):
            self._body[-1] = self._body[-1].removesuffix("</div>") + plot + "</div>"
        else:
            self._body.append(f'<div class="plots">{plot}</div>')
        return self

    def dots(self, title: str, metrics: Mapping[str, Metric], unit: str = "") -> Page:
        """A row for every metric: a dot at its value, a line over its interval, a tick at each of its baselines."""
        svg = dots_svg(metrics, unit)
        self._body.append(f'<figure class="plot wide">{svg}<figcaption>{escape(title)}</figcaption></figure>')
        return self

    def extend(self, items: Iterable[Any]) -> Page:
        """Appends what a system handed over as plain data, so that it need not know this class.

        Each item is a text, or a tuple that starts with the name of a method of this class and goes on with
        its arguments: ("heading", text) · ("text", text) · ("code", text) ·
        ("pictures", [(image, caption), ...]) ·
        ("table", columns, rows) · ("metrics", {name: Metric}) · ("numbers", {name: value}) ·
        ("curves", title, {name: [(x, y), ...]}) · ("dots", title, {name: Metric}).

        Raises:
            ValueError: an item is none of these.
        """
        known = ("heading", "text", "code", "pictures", "table", "metrics", "numbers", "curves", "dots")
        for item in items:
            if isinstance(item, str):
                self.text(item)
            elif isinstance(item, tuple) and item and item[0] in known:
                getattr(self, item[0])(*item[1:])
            else:
                raise ValueError(f"expected a text or a tuple that starts with one of {known}, got {item!r}"[:400])
        return self

    def html(self) -> str:
        """The whole page."""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{escape(self.title)}</h1>\n" + "\n".join(self._body) + "\n</main>\n</body>\n</html>\n"
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
    """Round numbers (1, 2 or 5 times a power of ten apart) that lie inside [low, high]."""
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
        ValueError: a line other than the last is no JSON object, naming file and line.
    """
    lines = Path(path).read_text().splitlines()
    rows: list[dict[str, Any]] = []
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if index == len(lines) - 1:
                break
            raise ValueError(f"{path}:{index + 1}: expected a JSON object a line, got {line!r:.60}") from error
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int):
            continue
        if rows and step < rows[-1]["step"]:
            while rows and rows[-1]["step"] >= step:
                rows.pop()
        rows.append(row)
    return rows


def training_page(run: Path | str, items: Iterable[Any] = ()) -> Path:
    """Writes `report.html` into a run folder: a curve for every logged number, configuration, command.

    Args:
        items: what the system shows besides, see `Page.extend`.

    Raises:
        FileNotFoundError: the folder holds no log.jsonl.
    """
    run = Path(run)
    log = run / "log.jsonl"
    if not log.is_file():
        raise FileNotFoundError(f"{log} is not there: expected the folder that `percepta train --out` wrote")
    rows = read_log(log)
    series: dict[str, list[Point]] = {}
    for row in rows:
        for name, value in _flat(row):
            if name not in ("step", "epoch", "seconds"):
                series.setdefault(name, []).append((float(row["step"]), value))
    page = Page(f"Training: {run.resolve().name}")
    if rows:
        last = dict(_flat(rows[-1]))
        page.numbers({"step": rows[-1]["step"], **{k: v for k, v in last.items() if k in ("loss", "epoch", "lr")}})
    page.heading("Curves")
    # One plot for each: the scales of two quantities rarely agree.
    for name, points in sorted(series.items(), key=lambda item: (item[0] != "loss", item[0])):
        page.curves(name, {name: points})
    page.extend(items)
    for title, file in (("Command", "command"), ("Commit", "commit"), ("Configuration", "config.json")):
        path = next((p for p in (run / file, run / f"{file}.txt") if p.is_file()), None)
        if path is not None:
            page.heading(title).code(path.read_text().strip())
    return page.write(run / "report.html")


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)
