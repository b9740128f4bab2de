from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from percepta.config import TrainConfig, differences, from_json, to_json


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b", 3] = "a"
    pair: tuple[int, str] = (1, "x")
    sizes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    optional: int | None = None
    folder: Path = Path("a/b")
    table: dict[str, tuple[int, ...]] = field(default_factory=dict)
    flag: bool = False
    train: TrainConfig = field(default_factory=TrainConfig)


numbers = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(
    Inner, st.sampled_from(["a", "b", 3]), st.tuples(st.integers(), st.text()), st.lists(numbers).map(tuple)
)
outers = st.builds(
    Outer,
    st.text(),
    inners,
    st.none() | st.integers(),
    st.sampled_from([Path("x"), Path("/y/z")]),
    st.dictionaries(st.text(), st.lists(st.integers()).map(tuple)),
    st.booleans(),
    st.builds(TrainConfig, lr=st.floats(0, 1), lr_scale=st.just((("head", 0.1), ("neck", 2.0)))),
)


@given(outers)
def test_through_json_and_back_is_the_same(config: Outer) -> None:
    assert from_json(Outer, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "n", "train": {"lrr": 1}}, ["train.lrr", 'mean "train.lr"', "batch_size"]),
        ({"name": "n", "inner": {"kind": "c"}}, ["inner.kind", "'a', 'b', 3"]),
        ({"name": "n", "inner": {"pair": [1]}}, ["inner.pair", "2 values"]),
        ({"name": "n", "inner": {"sizes": [1, "x"]}}, ["inner.sizes[1]", "float", "'x'"]),
        ({"name": "n", "flag": 1}, ["flag", "bool"]),
        ({"name": "n", "optional": True}, ["optional", "int"]),
        ({"name": "n", "train": 5}, ["train", "table of settings"]),
        ({"name": "n", "train": {"steps": 0}}, ["train.steps", "at least 1"]),
        ({}, ["name", "missing"]),
    ],
)
def test_errors_name_the_setting_and_what_is_valid(data: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        from_json(Outer, data)
    for word in words:
        assert word in str(error.value)


def test_integers_are_floats_where_floats_are_expected() -> None:
    lr = from_json(TrainConfig, {"lr": 1}).lr
    assert lr == 1.0 and isinstance(lr, float)


def test_differences_name_the_settings_by_their_path() -> None:
    old, new = to_json(Outer("a")), to_json(Outer("a", flag=True, train=TrainConfig(lr=0.5)))
    assert differences(old, new) == {"flag": (False, True), "train.lr": (1e-3, 0.5)}


def test_needs_no_torch() -> None:
    code = "import percepta.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
