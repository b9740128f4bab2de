"""What a benchmark found, written to benchmarks/results, from where `percepta card SYSTEM` fills cards and README.

Does nothing by itself: the benchmarks import it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from percepta import card
from percepta.contract import weights_hash
from percepta.metrics import Metric
from percepta.report import Table
from percepta.systems import TABLE

cell = card.cell


def record(
    system: str,
    name: str,
    values: Mapping[str, Metric | float],
    *,
    model: Any = None,
    weights: str = "",
    tables: Sequence[Table] = (),
) -> None:
    """Writes results/<system>-<name>.json.

    Args:
        values: numbers by the names that a table shows.
        model: the loaded network that was measured; None and no `weights`: none that ships.
        weights: its hash instead, where it has none of its own.
        tables: how a card lays them out, in cells of `cell`; left out: one row a value.
    """
    metrics = {key: value if isinstance(value, Metric) else Metric(float(value)) for key, value in values.items()}
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    found = card.measured(
        system,
        name,
        metrics,
        command=card.shown_command(words),
        weights=weights or ("" if model is None else weights_hash(model)),
        tables=tables,
    )
    print(f"{card.write(found)}" + (f"; `percepta card {system}` fills the card from it" if system in TABLE else ""))
