"""The benchmark tables: what is in them, and bad files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from percepta.datasets import layouts, nasbench
from percepta.datasets.nasbench import SETS, Cells, Macro, parse_cell, read_cells, read_macro

CELL = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|"
HEAD = ",".join([*SETS.values(), "ArchitectureString", "UniqueString"])


def entry(**more: object) -> dict[str, object]:
    return {"test_acc": [90.0, 91.0], "params": 10, "flops": 20, **more}


def test_macro_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"01": entry(), "20": entry(params=11)}))
    table = read_macro(path)
    assert table.codes == ("01", "20") and table.parameters.tolist() == [10, 11] and table.accuracy.shape == (2, 2)
    assert table.rows(["20", "01"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"lacks 1 architecture\(s\), the first is '11'"):
        table.rows(["01", "11"])


@pytest.mark.parametrize("place", [".", "nas", "../nas"])
def test_the_table_lies_in_a_folder_or_beside_it(tmp_path: Path, place: str) -> None:
    root, empty = tmp_path / "data", tmp_path / "other" / "data"
    root.mkdir()
    empty.mkdir(parents=True)
    assert nasbench.find(root) is None and not nasbench.is_one(root)
    path = root / place / nasbench.TABLE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"01": entry()}))
    found = layouts.find_one(root, Macro)
    assert found.read(found.root).codes == read_macro(path).codes == ("01",)
    with pytest.raises(FileNotFoundError, match="expected NAS-Bench-Macro"):
        read_macro(empty)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "an object of architectures"),
        (json.dumps({"03": entry()}), "entry '03'.*digits 0, 1 and 2"),
        (json.dumps({"01": {"params": 1}}), "entry '01'.*test_acc, params and flops"),
        (json.dumps({"01": entry(test_acc=[101])}), "percentages"),
        (json.dumps({"01": entry(), "02": entry(test_acc=[1.0])}), "entry '02'.*1 seeds, the first has 2"),
    ],
)
def test_bad_macro_tables(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        read_macro(path)


def test_cells(tmp_path: Path) -> None:
    assert parse_cell(CELL) == [4, 2, 1, 0, 3, 1]
    path = tmp_path / "cells.csv"
    path.write_text(f"{HEAD}\n90,50,30,{CELL},x\n")
    cells = read_cells(path)
    assert cells.operations.tolist() == [[4, 2, 1, 0, 3, 1]] and cells.accuracy["cifar100"].tolist() == [50]
    assert cells.one_hot().sum() == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [(CELL.replace("none", "conv"), "'conv'"), (CELL.replace("~2|", "~1|"), "six edges"), ("", "six edges")],
)
def test_bad_cells_name_the_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(f"{HEAD}\n90,50,30,{CELL},x\n90,50,30,{text},x\n")
    with pytest.raises(ValueError, match=f"line 3: .*{words}"):
        read_cells(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no column CIFAR10TestAccuracy200Epochs"):
        read_cells(path)


def paths_slow(cell: list[int]) -> list[int]:
    """Edges that lie on some way from node 0 to node 3 over operations that are not none."""
    edges = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]

    def ways(node: int) -> list[list[int]]:
        if node == 3:
            return [[]]
        found = []
        for i, (a, b) in enumerate(edges):
            if a == node and cell[i] != 0:
                found += [[i, *way] for way in ways(b)]
        return found

    return sorted({i for way in ways(0) for i in way})


def test_edges_that_lead_nowhere_do_not_count() -> None:
    operations = np.random.default_rng(0).choice(5, (200, 6), p=[0.4, 0.15, 0.15, 0.15, 0.15])
    cells = Cells(operations, {}, tuple(map(str, range(200))))
    effective = cells.effective()
    for row, kept in zip(operations.tolist(), effective.operations.tolist(), strict=True):
        used = paths_slow(row)
        assert kept == [op if i in used else 0 for i, op in enumerate(row)]
    assert np.array_equal(cells.paths(), effective.paths()), "path counts do not see them either"


def test_published_tables() -> None:
    root = os.environ.get("PERCEPTA_DATA")
    if not root or not (Path(root) / "nas").is_dir():
        pytest.skip("PERCEPTA_DATA has no nas")
    cells = read_cells(Path(root) / "nas" / "nats_bench.csv")
    assert len(cells.operations) == 5**6 == len({tuple(row) for row in cells.operations.tolist()})
    assert len(set(cells.unique)) == 6466
    assert read_macro(Path(root) / "nas" / "nas-bench-macro_cifar10.json").accuracy.shape == (6561, 3)
