"""The page: valid, self-contained, escaped, written whole; its curves and the log behind them."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from percepta import report
from percepta.metrics import Metric, interval
from percepta.report import (
    Code,
    Curves,
    Dots,
    Files,
    Gallery,
    Heading,
    LocalFile,
    Metrics,
    Numbers,
    Page,
    Table,
    Text,
)

VOID = {"meta", "img", "br", "link", "input", "hr", "path", "line", "circle"}


class Checker(HTMLParser):
    """Notes tags that do not nest, and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def check(html: str) -> Checker:
    parser = Checker()
    parser.feed(html)
    parser.close()
    assert parser.faults == [] and parser.open == []
    return parser


def full_page() -> Page:
    pictures = [(Image.new("RGB", (40, 30), "red"), "the red <skirt>"), (Image.new("RGBA", (4, 4)), "")]
    drawn = SimpleNamespace(draw=lambda: Image.new("L", (6, 6)))
    array = np.zeros((5, 7, 3), np.uint8)
    metrics = {"mIoU": Metric(0.7, 0.6, 0.8, 12, baselines={"ellipse": 0.21}), "time": Metric(3.0, unit="ms")}
    page = Page("Everything & more", [Heading("One"), Text("a text"), Code("percepta demo --out <here>")])
    return page.add(
        Gallery([*pictures, (drawn, "drawn late"), (array, "an array")]),
        Table(["a", "b"], [[1, "x"], [0.5, Metric(0.61234, 0.58, 0.64, 120)]], caption="numbers"),
        Metrics(metrics),
        Numbers({"pictures": 3, "mIoU": Metric(0.7, 0.6, 0.8, 12)}),
        Curves("Loss", {"loss": [(0, 1.0), (1, 0.5)], "other": [(k, float(k % 7)) for k in range(100)]}),
        Curves("Rate", {"rate": [(0, 1.0)]}),
        Dots("Groups", metrics),
    )


def test_page_is_valid_and_fetches_nothing() -> None:
    parser = check(full_page().html())
    assert parser.links and all(link.startswith("data:image/") for link in parser.links)
    assert not re.search(r"https?://|url\(|@import|//[a-z]", full_page().html())


def test_texts_are_escaped() -> None:
    evil = '<script>alert("x")</script>'
    page = Page(evil, [Heading(evil), Text(evil), Code(evil), Gallery([(Image.new("L", (2, 2)), evil)])])
    page.add(Table([evil], [[evil]], caption=evil), Numbers({evil: evil}), Metrics({evil: Metric(1.0, unit=evil)}))
    page.add(Curves(evil, {evil: [(0, 1)], evil * 2: [(0, 2)]}, x_label=evil))
    page.add(Files([LocalFile(Path("/a") / evil.replace("/", "|"), Image.new("L", (2, 2)), evil, [evil])]))
    html = page.html()
    assert "<script" not in html
    assert sum(word.count(evil) for word in check(html).words) >= 11


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_pictures_come_back_as_they_went_in() -> None:
    mask = Image.new("P", (31, 17))
    for image, kind in [(Image.new("RGB", (31, 17), (200, 30, 60)), "jpeg"), (mask, "png")]:
        uri = report.embed(image)
        assert uri.startswith(f"data:image/{kind};base64,")
        assert decoded(uri).size == (31, 17)
    red = decoded(report.embed(Image.new("RGB", (8, 8), (200, 30, 60))))
    assert all(abs(a - b) < 12 for a, b in zip(red.getpixel((4, 4)), (200, 30, 60), strict=True))
    large = decoded(report.embed(Image.new("L", (3000, 1500))))
    assert large.size == (900, 450)


def test_metric_table_has_a_column_for_every_baseline() -> None:
    columns, rows = report.metric_rows(
        {
            "mIoU": Metric(0.7, 0.6, 0.8, 12, baselines={"ellipse": 0.21}),
            "oIoU": Metric(0.65, baselines={"blind": 0.4, "ellipse": 0.2}),
        }
    )
    assert columns == ["metric", "value", "95 % interval", "n", "ellipse", "blind"]
    assert rows[0] == ["mIoU", "0.700", "0.600 to 0.800", "12 (few)", "0.210", ""]
    assert rows[1] == ["oIoU", "0.650", "", "", "0.200", "0.400"]


def test_few_samples_are_marked_and_few_groups_have_no_interval() -> None:
    """Of two groups nobody can say how a third one would be; NaN is no end of an interval."""
    values = np.arange(60.0)
    for groups in (["a"] * 60, ["a", "b"] * 30):
        metric = Metric(1.0, *interval(values, groups), 60)
        assert metric.low is None and metric.high is None and report.interval_text(metric) == ""
    low, high = interval(values, ["a", "b", "c"] * 20)
    assert low <= values.mean() <= high
    assert [report.count_text(Metric(1.0, n=n)) for n in (0, 1, 29, 30)] == ["", "1 (few)", "29 (few)", "30"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.61234, "0.612"),
        (12, "12"),
        (12345.6, "12346"),
        (1e-7, "1e-07"),
        (0.0, "0.000"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_readable(value: float, text: str) -> None:
    assert report.number(value) == text


def test_ticks_are_round_and_inside() -> None:
    for low, high in [(0, 1), (0.013, 0.0172), (-3, 1200), (5e-8, 6e-7)]:
        values = report.ticks(low, high)
        assert 2 <= len(values) <= 11
        assert all(low - 1e-9 * abs(high) <= v <= high * (1 + 1e-9) for v in values)
        step = values[1] - values[0]
        assert f"{step:.1e}"[0] in "125"


def test_curves_leave_out_what_is_not_finite_and_stay_inside() -> None:
    svg = report.curves_svg({"loss": [(0, 1.0), (1, float("nan")), (2, float("inf")), (3, 0.5)]})
    curve = re.search(r'class="curve"[^>]* d="M([^"]+)"', svg)
    assert curve is not None
    points = [tuple(map(float, pair.split(","))) for pair in curve[1].split("L")]
    assert len(points) == 2 and all(0 <= x <= 460 and 0 <= y <= 260 for x, y in points)
    assert points[0][1] < points[1][1]  # a larger value stands higher
    check(report.curves_svg({}))


def test_running_mean_keeps_a_line_and_averages_noise() -> None:
    line = [(k, 2.0 * k - 3.0) for k in range(20)]
    assert report.running_mean(line, 7) == line
    noisy = report.running_mean([(k, float(k % 2)) for k in range(41)], 6)
    assert all(abs(y - 0.5) < 0.08 for _, y in noisy[3:-3])


def test_write_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = full_page().write(tmp_path / "deep" / "page.html")
    before = target.read_text()

    def fails(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=r"disk full.*page\.html"):
        Page("other").write(target)
    monkeypatch.undo()
    assert target.read_text() == before
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]


def test_dots_stand_where_the_numbers_are() -> None:
    """Equal distances on the page for equal distances of numbers; every baseline has a tick and a legend."""
    rows = {f"g{i}": Metric(float(i), i - 0.5, i + 0.25, 9, baselines={"crowd": i + 1.0}) for i in range(4)}
    svg = report.dots_svg(rows, " px")
    dots = [float(x) for x in re.findall(r'<circle [^>]*cx="([\d.]+)"', svg)]
    steps = np.diff(dots)
    assert len(dots) == 4 and steps.min() > 0 and np.ptp(steps) < 0.3
    ticks = [float(x) for x in re.findall(r'stroke-width="2.5" x1="([\d.]+)"', svg)]
    assert np.allclose(np.array(ticks) - dots, steps[0], atol=0.3)
    assert svg.count("crowd") == 1 and "<script" not in report.dots_svg({"<script>": Metric(1.0)})
    assert "nothing" in report.dots_svg({})


def test_pictures_are_drawn_when_the_page_is_written_and_not_before() -> None:
    drawn: list[int] = []

    class Late:
        def draw(self) -> Image.Image:
            drawn.append(1)
            return Image.new("L", (2, 2))

    page = Page("x", [Gallery([(Late(), "late")])])
    assert not drawn and "late" in page.html() and drawn


def test_contents_lead_to_the_headings_that_have_a_short_name() -> None:
    evil = '"><script>'
    html = Page("x", [Heading("One thing", "one"), Heading("Between"), Heading("Other", evil), Text("end")]).html()
    places = re.findall(r'<h2 id="([^"]*)"', html)
    assert len(places) == 2 and re.findall(r'<a href="#([^"]*)"', html) == places
    assert html.index("<nav>") < html.index("<h2") and "<script>" not in html
    assert "<nav>" not in Page("x", [Heading("One thing")]).html()
    check(html)


def test_broad_pictures_take_a_row() -> None:
    html = Gallery([(Image.new("L", (90, 20)), "timeline"), (Image.new("L", (40, 30)), "photograph")]).html()
    assert html.count('<figure class="broad">') == 1 and html.index("broad") < html.index("timeline")


def test_plots_that_follow_each_other_stand_side_by_side() -> None:
    plot = Curves("a", {"a": [(0, 1.0)]})
    html = Page("x", [plot, plot, Text("between"), plot]).html()
    assert html.count('<div class="plots">') == 2 and html.count("<svg") == 3


def test_local_files_are_linked_and_players_begin_at_the_moment(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    files = [
        LocalFile(tmp_path / "a b.jpg", picture, "first"),
        LocalFile(tmp_path / "c.mp4", picture, "second", ["a line"], 1.5, 3.0),
        LocalFile(tmp_path / "d.jpg", None, "third"),
    ]
    html = Page("x", [Files(files)]).html()
    check(html)
    assert (tmp_path / "a b.jpg").as_uri() in html and f"{(tmp_path / 'c.mp4').as_uri()}#t=1.5,3" in html
    assert "the file is gone" in html and "<video controls" in html and "a line" in html


def test_a_row_of_the_wrong_length_is_named() -> None:
    with pytest.raises(ValueError, match="3 cells where the header has 2"):
        Table(["a", "b"], [[1, 2, 3]])


def test_log_survives_a_torn_line_and_a_rerun(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = [{"step": s, "loss": 1.0 / (s + 1)} for s in (1, 2, 3, 4)] + [{"step": 3, "loss": 9.0}]
    log.write_text("\n".join(json.dumps(row) for row in rows) + '\n{"step": 4, "lo')
    assert [(r["step"], r["loss"]) for r in report.read_log(log)] == [(1, 0.5), (2, 1 / 3), (3, 9.0)]
    log.write_text('{"step": 1}\nbroken\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2"):
        report.read_log(log)


def test_training_page_draws_every_logged_number(tmp_path: Path) -> None:
    run = tmp_path / "run7"
    run.mkdir()
    rows = [{"step": s, "epoch": 0, "loss": 1.0 / s, "lr": 1e-3} for s in range(1, 80)]
    rows.append({"step": 80, "evaluate": {"mIoU": 0.5}})
    (run / "log.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (run / "config.json").write_text('{"width": 9}')
    html = report.training_page(run).read_text()
    check(html)
    for words in ("loss", "lr", "evaluate.mIoU", "run7", "width"):
        assert words in html
    with pytest.raises(FileNotFoundError, match=r"log\.jsonl"):
        report.training_page(tmp_path)


def test_markdown_tables_keep_their_columns() -> None:
    table = report.markdown_table(["a", "b|c"], [["1", "x|y"], ["22", "line\nbreak"]])
    lines = table.splitlines()
    assert len(lines) == 4
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
