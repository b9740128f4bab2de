from __future__ import annotations

import sys
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
        def submit(item: Any) -> Any:
            self.open += 1
            self.most = max(self.most, self.open)
            return lambda: function(item)

        return SimpleNamespace(remote=submit)

    def get(self, reference: Any) -> Any:
        self.open -= 1
        return reference()


@pytest.fixture(params=["here", "fake", "ray"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    if request.param == "ray":
        pytest.importorskip("ray", reason="ray is not installed: pip install 'percepta[scale]'")
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
    ray.on = True  # somebody else's
    scale.map(square, range(3), processes=3)
    assert ray.on and len(ray.calls) == 1
    ray.on = False
    scale.map(square, range(3))  # not asked for
    assert len(ray.calls) == 1
