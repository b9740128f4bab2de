"""What a user may get wrong in Python: each is one `InputError` in one line that says what was expected."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import percepta
from percepta.errors import InputError
from percepta.systems import TABLE


@pytest.fixture(autouse=True)
def plain(request: pytest.FixtureRequest) -> None:
    """Shape checks, where they are on, speak before our own messages do: then the last test runs these without."""
    if shape_checks(request.config) and request.node.name != "test_all_of_this_without_shape_checks":
        pytest.skip("run by test_all_of_this_without_shape_checks")


def shape_checks(config: pytest.Config) -> bool:
    return bool(config.getoption("--jaxtyping-packages", None))


SEEN = ("aesthetics", "distill", "hashing", "refer")
PICTURE = np.full((40, 50, 3), 120, np.uint8)


@cache
def shipped(name: str) -> Any:
    return percepta.load(name, device="cpu")


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "load nothing": (lambda: percepta.load(""), "expected a system"),
    "load None": (lambda: percepta.load(None), "expected a system"),  # type: ignore[call-overload]
    "load 3": (lambda: percepta.load(3), "expected a system"),  # type: ignore[call-overload]
    "load no system": (lambda: percepta.load("reefer"), "neither a system"),
    "no such device": (lambda: percepta.load("refer", device="foo"), "there are: cpu"),
    "no such preset": (lambda: percepta.load("refer", preset="huge"), "it has: "),
    "no such weights": (lambda: percepta.load("refer", weights="refer-big"), "refer-small"),
    "weights of another kind": (lambda: percepta.load("refer", weights=3), "weights is a path"),  # type: ignore[arg-type]
    "weights of another system": (lambda: percepta.load("refer", weights="planes-small"), "holds planes, not refer"),
    "a part that is not there": (lambda: percepta.load("refer", weights={"clip": "x.pt"}), "does not stand on clip"),
    "score_threshold of words": (
        lambda: shipped("refer").predict(PICTURE, "the cup", score_threshold="a"), "score_threshold is a number"
    ),
    "score_threshold of 3": (
        lambda: shipped("refer").predict(PICTURE, "the cup", score_threshold=3), "from 0 to 1; got 3"
    ),
    "no sentence": (lambda: shipped("refer").predict(PICTURE, None), "expected a sentence"),
    "a number for a sentence": (lambda: shipped("refer").predict(PICTURE, 3), "expected a sentence"),
    "a number for a query": (lambda: shipped("hashing").predict(PICTURE, 3), "expected a sentence"),
    "no posed picture": (lambda: shipped("planes").predict("a.jpg", "b.jpg"), "need posed pictures"),
    "no code": (lambda: shipped("supernet").predict(None), "expected a code"),
    "a number for a code": (lambda: shipped("supernet").predict(3), "expected a code"),
    "an album of nothing": (lambda: shipped("aesthetics").session(None), "a folder or a list of pictures"),
    "ratings of 5": (lambda: shipped("aesthetics").session([PICTURE], ratings=5), "ratings is {name: value}"),
    "a list of ratings": (lambda: shipped("aesthetics").session([PICTURE]).rate([1]), "ratings are {name: score}"),
    "no stream": (lambda: list(shipped("distill").stream(3)), "expected a path, folder"),
    "half a picture at a time": (lambda: shipped("distill").stream(PICTURE, batch_size=0.5), "batch_size is a whole"),
    "no frames a second": (lambda: shipped("distill").stream(PICTURE, fps=0), "fps is above 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_said_in_one_line(what: str) -> None:
    call, text = WRONG[what]
    with pytest.raises(InputError) as caught:
        call()
    assert text in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("name", TABLE)
def test_an_evaluation_refuses_what_it_cannot_do(name: str, tmp_path: Path) -> None:
    evaluate = shipped(name).evaluate
    for arguments, text in (
        ({"split": "train"}, "split is val, test or all"),
        ({"split": "foo"}, "split is val, test or all"),
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"examples": -1}, "examples is a whole number"),
        ({"workers": -1}, "workers is a whole number"),
        ({"root": tmp_path / "nowhere"}, "no such folder"),
    ):
        with pytest.raises(InputError, match=text):
            evaluate(**arguments)


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("wrong", [None, 3, object(), {}, np.zeros((2, 2, 2, 2, 2)), np.full((4, 4, 3), "a"), ""])
def test_what_is_no_picture_is_said(name: str, wrong: Any) -> None:
    asked = ("the cup",) if name in ("hashing", "refer") else ()
    with pytest.raises(InputError):
        shipped(name).predict(wrong, *asked)


def test_all_of_this_without_shape_checks(pytestconfig: pytest.Config) -> None:
    if not shape_checks(pytestconfig):
        pytest.skip("they are off already")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
