from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from percepta import scale


class FakeRay(ModuleType):
    """Ray's calls, in this process; counts how many items are under work at a time."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.on, self.open, self.most, self.calls = False, 0, 0, []

    def is_initialized(self) -> bool:
        return self.on

    def init(self, **options: Any) -> None:
        self.on = True
        self.calls.append(options)

    def shutdown(self) -> None:
        self.on = False

    def remote(self, function: Any) -> Any:
        def submit(*given: Any) -> Any:
            self.open += 1
            self.most = max(self.most, self.open)
            return lambda: function(*given)

        return SimpleNamespace(remote=submit)

    def get(self, reference: Any) -> Any:
        self.open -= 1
        return reference()


def need_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips without Ray; with it, lets its processes import this file."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'percepta[scale]'")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(params=["here", "fake", "ray"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    if request.param == "ray":
        need_ray(monkeypatch)
    monkeypatch.setattr(scale, "available", lambda: request.param != "here")
    if request.param == "fake":
        monkeypatch.setitem(sys.modules, "ray", FakeRay())
    return 2


def square(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * x


def test_the_same_results_in_the_same_order(processes: int) -> None:
    done: list[int] = []
    assert scale.map(square, iter(range(20)), processes=processes, progress=done.append) == [x * x for x in range(20)]
    assert done == list(range(1, 21))
    assert scale.map(square, [], processes=processes) == []


def test_an_error_is_the_functions_own(processes: int) -> None:
    with pytest.raises(ValueError, match="-3 is negative"):
        scale.map(square, [1, 2, -3, 4], processes=processes)


def test_items_are_read_as_they_are_needed_and_ray_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(scale, "available", lambda: True)
    scale.map(square, range(100), processes=3)
    assert ray.most <= 6 and not ray.on and ray.calls[0]["num_cpus"] == 3
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and ray.calls[0]["include_dashboard"] is False
    ray.on = True  # somebody else's
    scale.map(square, range(3), processes=3)
    assert ray.on and len(ray.calls) == 1
    ray.on = False
    scale.map(square, range(3))  # not asked for
    assert len(ray.calls) == 1


def test_a_stream_gives_results_as_they_come() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for x in range(5):
            read.append(x)
            yield x

    coming = scale.stream(square, items())
    assert next(coming) == 0 and read == [0]
    assert list(coming) == [1, 4, 9, 16]


class Counter:
    """Remembers what it was told; made from where its counting starts."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise ValueError(f"{start} is negative")
        self.count = start

    def add(self, number: int) -> int:
        self.count += number
        return self.count


@pytest.mark.parametrize("remote", [False, True])
def test_workers_live_on_and_answer_in_order(remote: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if remote:
        need_ray(monkeypatch)
    with scale.Workers(Counter, [(0,), (10,), (20,)], remote=remote) as workers:
        assert len(workers) == 3
        assert workers.call("add", 1) == [1, 11, 21]
        assert workers.call("add", 2) == [3, 13, 23]
    assert len(workers) == 0
    with pytest.raises(ValueError, match="-1 is negative"):
        scale.Workers(Counter, [(0,), (-1,)], remote=remote)


def test_actors_without_ray_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "available", lambda: False)
    with pytest.raises(ModuleNotFoundError, match=r"percepta\[scale\]"):
        scale.Workers(Counter, [(0,)], remote=True)


def dies_once(given: tuple[int, str]) -> int:
    """The square of a number; the process that is first asked for 3 is killed."""
    number, marker = given
    if number == 3 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def test_what_a_killed_process_was_at_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_ray(monkeypatch)
    items = [(number, str(tmp_path / "killed")) for number in range(6)]
    assert scale.map(dies_once, items, processes=2) == [number * number for number in range(6)]
    assert (tmp_path / "killed").exists()


class Mortal(Counter):
    def end(self) -> int:
        if self.count > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.count


def test_a_worker_that_is_killed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it held is gone, so nothing is answered in its place."""
    need_ray(monkeypatch)
    with scale.Workers(Mortal, [(0,), (10,)], remote=True) as workers:
        with pytest.raises(ChildProcessError, match="has ended"):
            workers.call("end")
        with pytest.raises(ChildProcessError, match="has ended"):
            workers.call("add", 1)
    with scale.Workers(Mortal, [(0,), (1,)], remote=True) as workers:
        assert workers.call("end") == [0, 1]
