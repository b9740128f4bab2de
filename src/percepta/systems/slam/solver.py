"""Adjustments are solved in a process of their own, so that tracking goes on meanwhile.

What is asked for is a value (`Job`), and so is its answer: whoever solves it, the bits are the same. When an answer is
taken over is decided by frame numbers; who has it not by then waits for it. Until the process has started, and where
there is none, the one that asks solves it itself.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import subprocess
import sys
import weakref
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from percepta.geometry.camera import Intrinsics
from percepta.systems.slam.adjust import Adjusted, Problem, adjust
from percepta.systems.slam.wholemap import adjust_whole

# Nothing here computes with torch, whose import takes seconds: an empty module stands in its place over there.
_START = """
import sys, types
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].Tensor = type("Tensor", (), {})
from percepta.systems.slam.solver import main
main()
"""


@dataclass(frozen=True)
class Job:
    """An adjustment; all but the last two are the arguments of `adjust`.

    Attributes:
        whole: it is of a whole map, and solved with sparse matrices.
        slow: it may take seconds, and must not be in the way of others.
    """

    problem: Problem
    camera: Intrinsics
    sigma: float
    robust_px: float
    iterations: int
    whole: bool = False
    slow: bool = False


def solve(job: Job) -> Adjusted:
    """The answer to a job."""
    how = adjust_whole if job.whole else adjust
    return how(
        job.problem, job.camera, sigma=job.sigma, robust_px=job.robust_px, iterations=job.iterations
    )  # fmt: skip


class Answer:
    """An answer that may not be there yet."""

    def __init__(self, job: Job, coming: Future[Adjusted] | None) -> None:
        self._job, self._coming, self._found = job, coming, None

    @property
    def is_apart(self) -> bool:
        """Whether another process solves it."""
        return self._coming is not None

    def wait(self) -> Adjusted:
        """The answer; solves the job here where nobody else does, or whoever did has gone."""
        if self._found is None and self._coming is not None:
            with contextlib.suppress(OSError, EOFError, ValueError, CancelledError, pickle.UnpicklingError):
                self._found = self._coming.result()
        if self._found is None:
            self._found = solve(self._job)
        return self._found


class _Process:
    """A process that solves one job after the other. Both ends of its pipes are this file."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-c", _START]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._thread = ThreadPoolExecutor(1)
        self._greeting = self._thread.submit(_receive, self._process)
        weakref.finalize(self, _end, self._process, self._thread)

    @property
    def ready(self) -> bool:
        """Whether it has started, and did not end."""
        return self._greeting.done() and self._greeting.exception() is None and self._process.poll() is None

    def wait(self) -> None:
        """Waits until it has started."""
        self._greeting.exception()

    def give(self, job: Job) -> Future[Adjusted]:
        """Sends a job."""
        return self._thread.submit(_ask, self._process, job)


def _ask(process: subprocess.Popen[bytes], job: Job) -> Adjusted:
    assert process.stdin is not None
    _send(process.stdin, job)
    return _receive(process)  # type: ignore[return-value]


def _receive(process: subprocess.Popen[bytes]) -> object:
    assert process.stdout is not None
    return _read(process.stdout)


def _end(process: subprocess.Popen[bytes], thread: ThreadPoolExecutor) -> None:
    process.kill()
    thread.shutdown(wait=True, cancel_futures=True)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


class Solver:
    """Solves jobs: those of a window, and those that are slow, each in a process of their own.

    Attributes:
        apart: whether there are such processes; False: whoever waits for an answer solves it.
    """

    def __init__(self, apart: bool) -> None:
        self.apart = apart
        self._processes: dict[bool, _Process] = {}
        if apart:
            self._start(False)

    def wait(self) -> None:
        """Waits until the process for windows has started, where there is one."""
        if False in self._processes:
            self._processes[False].wait()

    def _start(self, slow: bool) -> None:
        with contextlib.suppress(OSError):  # no further process may be had
            self._processes[slow] = _Process()

    def give(self, job: Job) -> Answer:
        """Asks for an answer."""
        if self.apart and job.slow not in self._processes:
            self._start(job.slow)
        process = self._processes.get(job.slow)
        return Answer(job, process.give(job) if process is not None and process.ready else None)


def _send(pipe: IO[bytes], value: object) -> None:
    content = pickle.dumps(value, protocol=5)
    pipe.write(struct.pack("<Q", len(content)))
    pipe.write(content)
    pipe.flush()


def _read(pipe: IO[bytes]) -> object:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError("the other process has ended")
    (size,) = struct.unpack("<Q", head)
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError("the other process has ended")
    return pickle.loads(content)


def main() -> None:
    """Solves what comes, until nobody is there any more."""
    taken, given = sys.stdin.buffer, sys.stdout.buffer
    _send(given, "ready")
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            _send(given, solve(_read(taken)))  # type: ignore[arg-type]
