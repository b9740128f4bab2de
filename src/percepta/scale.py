"""Work over many items: in Ray's processes where Ray is installed and asked for, in this process otherwise.

The call, the order and the results are the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

from percepta.errors import MissingExtraError

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
    for result in stream(function, items, processes=processes):
        results.append(result)
        if progress:
            progress(len(results))
    return results


def stream(function: Callable[[In], Out], items: Iterable[In], *, processes: int = 0) -> Iterator[Out]:
    """As `map`, but each result comes as soon as it and those before it are there: what is done can be kept.

    Args:
        function: a pure function; with `processes` it and the items have to be picklable.
        items: read as they are needed.
        processes: how many items are worked on at a time in Ray's processes; 0, or no Ray: one by one, here. An item
            whose process is killed is worked on again, three times at most.
    """
    if processes <= 0 or not available():
        for item in items:
            yield function(item)
        return
    import ray  # type: ignore[import-not-found]

    own = _start(ray, processes)
    try:
        remote = ray.remote(_call)
        waiting: deque[Any] = deque()
        for item in items:
            if len(waiting) == 2 * processes:  # enough for nobody to wait; more would only fill memory
                yield ray.get(waiting.popleft())
            waiting.append(remote.remote(function, item))
        while waiting:
            yield ray.get(waiting.popleft())
    finally:
        if own:
            ray.shutdown()


def _start(ray: Any, processes: int) -> bool:
    """Starts Ray on this machine, where none runs yet, with its usage statistics off; whether it did."""
    if ray.is_initialized():
        return False
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read by the processes that Ray starts
    ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False)
    return True


def _call(function: Callable[[In], Out], item: In) -> Out:
    """Ray takes functions of a module, and no partials or nested ones."""
    return function(item)


class Workers:
    """Objects that live as long as this one, each in a process of its own where Ray is asked for, else all here.

    The calls, the order and the results are the same. Use as a context, or `close` it.

    Args:
        make: makes an object; called where the object lives, so that what it reads is never sent.
        arguments: of `make`, for each object; picklable with `remote`.
        remote: objects are Ray actors, spread over Ray's cluster where one was started before.

    Raises:
        MissingExtraError: `remote`, and no Ray: who asks for it has more than fits here.
    """

    def __init__(self, make: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], *, remote: bool = False) -> None:
        self._remote, self._own = remote, False
        if not remote:
            self._objects = [make(*given) for given in arguments]
            return
        if not available():
            raise MissingExtraError("actors need Ray: pip install 'percepta[scale]'")
        import ray  # type: ignore[import-not-found]

        self._own = _start(ray, max(1, len(arguments)))
        try:
            self._objects = [ray.remote(_Holder).remote(make, given) for given in arguments]
            ray.get([held.ready.remote() for held in self._objects])  # what `make` raises is raised here
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """object.method(*arguments) of every object, at the same time where they have processes; in their order.

        Raises:
            ChildProcessError: a process has ended, with the object that lived in it.
        """
        if not self._remote:
            return [getattr(item, method)(*arguments) for item in self._objects]
        import ray  # type: ignore[import-not-found]

        sent = [ray.put(argument) for argument in arguments]  # once, not once for every object
        try:
            return ray.get([held.call.remote(method, *sent) for held in self._objects])
        except ray.exceptions.RayActorError as error:  # type: ignore[attr-defined]
            raise ChildProcessError(
                "a process has ended (killed, or out of memory) and what its worker held is lost; make the workers anew"
            ) from error

    def close(self) -> None:
        """Ends the objects' processes, and Ray where it was started here."""
        if self._remote:
            import ray  # type: ignore[import-not-found]

            for held in getattr(self, "_objects", ()):
                ray.kill(held)
            if self._own:
                ray.shutdown()
        self._objects, self._remote, self._own = [], False, False

    def __len__(self) -> int:
        return len(self._objects)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Holder:
    """An object in an actor."""

    def __init__(self, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._make, self._arguments = make, arguments

    def ready(self) -> bool:
        # Not in __init__: an actor that cannot be made dies, and what was wrong is lost in the report of its death.
        self._item = self._make(*self._arguments)
        return True

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._item, method)(*arguments)
