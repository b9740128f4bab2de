"""Published numbers: the laws of filling them in, and that those of this repository are what was measured."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from percepta import card
from percepta.card import Filled, Result, fill, slug
from percepta.errors import InputError, MissingFileError
from percepta.metrics import Metric
from percepta.report import Table
from percepta.systems import TABLE

IN_CHECKOUT = pytest.mark.skipif(not card.RESULTS.is_dir(), reason="installed without its repository")
FILES = sorted(card.RESULTS.glob("*.json"))
DOCUMENTS = sorted({path for system in TABLE for path in card.documents(system)})
VALUES = {
    "mIoU, DAVIS": Metric(0.7163, 0.6, 0.8181, 91, baselines={"the thing": 0.209}),
    "R@10": Metric(0.5),
    "slope": Metric(-0.25, n=1000),
}
RESULT = Result("refer", "evaluate", "percepta evaluate refer", "abc1234", "a CPU", "2026-11-28", "00ff", VALUES)


def find(place: str, result: Result = RESULT) -> Result | None:
    return result if place == f"{result.system}/{result.name}" else None


def number(place: str, old: str = "", form: str = ".2f") -> str:
    return f"<!-- n {place} {form} -->{old}<!-- /n -->"


# ------------------------------------------------------------------------------------------------------- the laws

PLACES = st.sampled_from(
    [
        number("refer/evaluate.miou-davis", "0.1"),
        number("refer/evaluate.miou-davis:low"),
        number("refer/evaluate.miou-davis:the-thing", "old | text", "100*.1f"),
        number("refer/evaluate.slope:n", "", ",d"),
        number("refer/evaluate.gone", "0.3"),
        number("refer/nothing.r-10", "0.4"),
        "<!-- n refer/nothing.r-10 .2f by hand 2026-11-27 -->0.5<!-- /n -->",
        "<!-- table refer/evaluate -->\n| a |\n<!-- /table -->",
        "<!-- table refer/evaluate by hand 2026-11-27 --><!-- /table -->",
        "<!-- source refer/evaluate -->by me<!-- /source -->",
        "<!-- another comment -->",
    ]
)
PROSE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "<!--" not in text)
DOCUMENT = st.lists(st.one_of(PLACES, PROSE), max_size=8).map("".join)


def outside(text: str) -> list[str]:
    """What stands outside of the markers."""
    return re.split(r"<!-- (?:n|table|source) .*?<!-- /(?:n|table|source) -->", text, flags=re.DOTALL)


@given(DOCUMENT)
def test_filling_twice_changes_nothing(text: str) -> None:
    once = fill(text, find)
    again = fill(once.text, find)
    assert again == replace(once, changed=False)
    assert once.changed == (once.text != text)


@given(DOCUMENT)
def test_text_outside_of_the_markers_stays(text: str) -> None:
    assert outside(fill(text, find).text) == outside(text)


@given(DOCUMENT)
def test_without_results_nothing_changes(text: str) -> None:
    found = fill(text, lambda place: None)
    assert found.text == text and not found.changed
    markers = re.findall(r"<!-- (?:n|table|source) ([^>]*) -->", text)
    assert list(found.missing) == [marker for marker in markers if " by hand " not in marker]


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_what_stands_between_markers_is_the_value(value: float, digits: int) -> None:
    result = replace(RESULT, values={"x": Metric(value)})
    found = fill(number("refer/evaluate.x", "?", f".{digits}f"), lambda place: find(place, result))
    shown = re.search(r"-->(.*)<!--", found.text)
    assert shown and float(shown[1]) == round(float(shown[1]), digits) == pytest.approx(value, abs=0.51 * 10**-digits)


@given(
    st.dictionaries(
        st.text("abcdefgXYZ09 ,@δ'", min_size=1, max_size=8).filter(slug),
        st.builds(
            Metric,
            st.floats(-9, 9),
            st.none() | st.floats(-9, 9),
            st.none() | st.floats(-9, 9),
            st.integers(0, 99),
            st.sampled_from(["", "ms"]),
            st.dictionaries(st.sampled_from(["one", "the other"]), st.floats(-9, 9)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_result_file_gives_back_what_was_measured(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Metric]
) -> None:
    folder = tmp_path_factory.mktemp("results")
    first = next(iter(values))
    laid = Table(["", "value"], [["first", card.cell(first, bounds=False)]], "Values")
    result = replace(RESULT, values=values, facts={"took": "1 s"}, tables=[laid])
    keys = [slug(name) for name in values]
    if len(set(keys)) < len(keys):
        with pytest.raises(InputError, match="do not give keys"):
            card.write(result, folder)
        return
    assert card.read(card.write(result, folder)) == result
    assert result.text().startswith(f"Values\n\n|  | value |\n| --- | --- |\n| first | {values[first].value:.3f} |")


# ------------------------------------------------------------------------------------------------------- examples


def test_every_kind_of_number() -> None:
    text = " ".join(
        [
            number("refer/evaluate.miou-davis"),
            number("refer/evaluate.miou-davis:low", "", ".1f"),
            number("refer/evaluate.miou-davis:high", "", ".3f"),
            number("refer/evaluate.miou-davis:n", "", "d"),
            number("refer/evaluate.miou-davis:the-thing", "", "100*.1f"),
            number("refer/evaluate.slope", "", "-1*.2f"),
            number("refer/evaluate.slope:n", "", ",d"),
        ]
    )
    assert re.findall(r"-->([^<]*)<!-- /n", fill(text, find).text) == [
        "0.72", "0.6", "0.818", "91", "20.9", "0.25", "1,000",
    ]  # fmt: skip


def test_a_table_says_how_it_was_measured() -> None:
    text = fill("<!-- table refer/evaluate --><!-- /table -->", find).text
    assert "| mIoU, DAVIS | 0.716 | 0.600 to 0.818 | 91 | 0.209 |" in text
    assert all(word in text for word in ("`percepta evaluate refer`", "abc1234, 2026-11-28", "a CPU", "00ff"))
    source = fill("<!-- source refer/evaluate --><!-- /source -->", find).text
    assert "Measured by `percepta evaluate refer` on 2026-11-28, commit abc1234 (a CPU)." in source


def test_what_is_missing_is_named_and_left() -> None:
    text = (
        number("refer/evaluate.gone", "0.3") + number("refer/other.x", "0.4") + number("refer/evaluate.r-10:low", "5")
    )
    missing = ("refer/evaluate.gone .2f", "refer/other.x .2f", "refer/evaluate.r-10:low .2f")
    assert fill(text, find) == Filled(text, missing, places=("refer/evaluate", "refer/other"))


def test_a_number_by_hand_stays_until_its_file_is_there() -> None:
    text = "<!-- n refer/evaluate.r-10 .1f by hand 2026-11-27 -->about 0.4<!-- /n -->"
    assert fill(text, lambda place: None) == Filled(text, by_hand=("refer/evaluate",), places=("refer/evaluate",))
    assert fill(text, find).text == number("refer/evaluate.r-10", "0.5", ".1f")
    gone = text.replace("r-10", "gone")
    filled = fill(gone, find)
    assert filled.missing == ("refer/evaluate.gone .1f",), "its file is there: it has to have the key"
    assert filled.text == gone and not filled.changed


@pytest.mark.parametrize(
    "text",
    [
        "<!-- n refer/evaluate.r-10 -->0.5<!-- /n -->",  # no format
        "<!-- n refer.r-10 .2f -->0.5<!-- /n -->",
        "<!-- table refer -->x<!-- /table -->",
        number("refer/evaluate.r-10", "", "d"),
        number("refer/evaluate.r-10", "", "x*.2f"),
        "<!-- n refer/evaluate.r-10 .2f -->0.5",  # no end
        "0.5<!-- /n -->",
        "<!-- table refer/evaluate --><!-- n refer/evaluate.r-10 .2f -->0.5<!-- /n -->",
        "<!-- table refer/evaluate -->0.5<!-- /n -->",
    ],
)
def test_wrong_markers_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"marker|does not suit"):
        fill(text, find)


def test_files_are_written_only_where_a_number_changes(tmp_path: Path) -> None:
    path = tmp_path / "CARD.md"
    path.write_text(number("refer/evaluate.r-10", "0.4"))
    assert card.fill_file(path, find, write=False).changed and "0.4" in path.read_text()
    assert card.fill_file(path, find).changed and "0.50" in path.read_text()
    before = path.stat().st_mtime_ns
    assert not card.fill_file(path, find).changed and path.stat().st_mtime_ns == before
    path.write_text("<!-- /n -->")
    with pytest.raises(InputError, match=r"CARD\.md: a marker without"):
        card.fill_file(path, find)


def test_names_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for values in ({"a b": Metric(1.0), "A-B": Metric(2.0)}, {"?": Metric(1.0)}):
        with pytest.raises(InputError, match="do not give keys"):
            card.write(replace(RESULT, values=values), tmp_path)
    with pytest.raises(InputError, match="low"):
        card.write(replace(RESULT, values={"x": Metric(1.0, baselines={"low": 2.0})}), tmp_path)
    with pytest.raises(InputError, match="wants gone"):
        card.write(replace(RESULT, tables=[Table(["a"], [["{gone .2f}"]])]), tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"values": {}}', '{"values": {"b": {"name": "a", "value": 1}}, "tables": []}']
)
def test_other_files_are_no_results(tmp_path: Path, text: str) -> None:
    path = tmp_path / "refer-evaluate.json"
    with pytest.raises(MissingFileError):
        card.read(path)
    path.write_text(text)
    with pytest.raises(InputError, match="not a result file"):
        card.read(path)
    other = tmp_path / "refer-other.json"
    card.write(RESULT, tmp_path).rename(other)
    with pytest.raises(InputError, match="holds refer-evaluate"):
        card.read(other)


def test_nan_is_written_as_nothing(tmp_path: Path) -> None:
    values = {"x": Metric(float("nan"), float("nan"), float("nan"), baselines={"a": float("inf"), "b": 1.0})}
    path = card.write(replace(RESULT, values=values), tmp_path)
    found = card.read(path).values["x"]
    assert "NaN" not in path.read_text()
    assert found.value != found.value and found.low is found.high is None and found.baselines == {"b": 1.0}


def test_commands_are_shown_without_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERCEPTA_DATA", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    words = ["percepta", "evaluate", "refer", "--data", f"{tmp_path}/sets/oasis", f"--weights={tmp_path}/runs/a b"]
    words += ["--out", "/somewhere", "--out=x", "--split", "test", "/elsewhere/file.npz"]
    words += ["--runs", f"a name={tmp_path}/sets/b", "other=/elsewhere/run", "x=1"]
    shown = "percepta evaluate refer --data DATA/oasis '--weights=runs/a b' --split test file.npz "
    shown += "--runs 'a name=DATA/b' other=run x=1"
    assert card.shown_command(words) == shown


# ------------------------------------------------------------------------------------------------ this repository


@IN_CHECKOUT
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_results_are_of_what_ships(path: Path) -> None:
    result = card.read(path)
    if result.weights:
        assert result.weights in card.shipped(result.system), (
            f"{path.name} measured other weights than those that ship: run `{result.command}` again"
        )
    else:
        assert result.name != "evaluate", "an evaluation is of weights that ship"
    assert result.command and result.machine and re.fullmatch(r"\d{4}-\d\d-\d\d", result.date)
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", result.commit)


@IN_CHECKOUT
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_published_numbers_are_those_of_their_files(path: Path) -> None:
    filled = card.fill_file(path, card.results(), write=False)
    assert not filled.missing, f"{path}: no result for {', '.join(filled.missing)}"
    assert not filled.changed, f"{path}: a number differs from its file; `percepta card SYSTEM` writes it"


@IN_CHECKOUT
@pytest.mark.parametrize("system", TABLE)
def test_cards_have_their_evaluation_and_say_what_was_measured_by_hand(system: str) -> None:
    path = card.documents(system)[0]
    text = path.read_text()
    assert f"<!-- table {system}/evaluate -->" in text
    seen = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    for day in set(re.findall(r"<!-- [^>]* by hand (\S+) -->", text)):
        assert re.search(rf"easured by hand on (\S+ and )?{day}", " ".join(seen.split())), f"{path}: {day}"
    readme = card.documents(system)[1].read_text()
    row = next(line for line in readme.splitlines() if line.startswith(f"| `{system}` |"))
    assert f"<!-- n {system}/" in row and set(re.findall(r"<!-- n (\w+)/", row)) == {system}


@IN_CHECKOUT
@pytest.mark.parametrize("path", sorted((card.ROOT / "benchmarks/ablations/runs").glob("*.json")), ids=lambda p: p.stem)
def test_tables_of_runs_are_those_of_the_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means and paired differences of a result file, computed anew from the kept runs."""
    monkeypatch.syspath_prepend(path.parents[1])
    import run_table  # pyright: ignore[reportMissingImports]

    monkeypatch.delitem(sys.modules, "run_table")
    result = card.read(card.RESULTS / path.name)
    groups: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
    for row in json.loads(path.read_text())["runs"]:
        job = row["job"]
        noise = f"{job['noise']:.0%}" if "noise" in job else ""
        line = {"equal": "none, 40 epochs"}.get(name := job.get("arm") or job["method"], name)
        groups.setdefault(noise, {}).setdefault(line, {})[job["seed"]] = row
    count = 0
    for noise, lines in groups.items():
        pairs = [(a, b) for a in lines for b in lines if a != b]
        numbers = {name.partition(", ")[0] for name in result.values}
        means, gaps = run_table.compare(lines, numbers, pairs)
        for line, row in {**means, **{gap.replace(" - ", " minus "): r for gap, r in gaps.items()}}.items():
            for kind, (mean, low, high, seeds) in row.items():
                found = result.values.get(", ".join([kind, line, *([noise] if noise else [])]))
                if found is None:  # not a pair of the table
                    assert " minus " in line
                    continue
                count += 1
                assert (found.value, found.n) == (pytest.approx(mean, abs=1e-9), seeds)
                if seeds > 1:
                    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
                else:
                    assert found.low is found.high is None
    assert count == len(result.values)
