"""Work over many items: in Ray's processes where Ray is installed and asked for, in this process otherwise.

The call, the order and the results are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def available() -> bool:
    """Whether Ray is installed (`pip install percepta[scale]`)."""
    return find_spec("ray") is not None


def map(
    function: Callable[[In], Out],
    items: Iterable[In],
    *,
    processes: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Out]:
    """[function(item) for item in items].

    Args:
        function: a pure function; with `processes` it and the items have to be picklable.
        items: read as they are needed, so they may be many and large.
        processes: how many items are worked on at a time in Ray's processes. 0, or no Ray: one by one, here.
        progress: called with the number of items done.

    Returns:
        The results in the order of the items. What the function raises for an item is raised here.
    """
    results: list[Out] = []

    def add(result: Out) -> None:
        results.append(result)
        if progress:
            progress(len(results))

    if processes <= 0 or not available():
        for item in items:
            add(function(item))
        return results
    import ray  # type: ignore[import-not-found]

    own = not ray.is_initialized()
    if own:
        ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(function)
        waiting: deque[Any] = deque()
        for item in items:
            if len(waiting) == 2 * processes:  # enough for nobody to wait; more would only fill memory
                add(ray.get(waiting.popleft()))
            waiting.append(remote.remote(item))
        while waiting:
            add(ray.get(waiting.popleft()))
    finally:
        if own:
            ray.shutdown()
    return results
