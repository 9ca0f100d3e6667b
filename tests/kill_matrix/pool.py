"""Runs of the matrix, several at a time, each worker with a launcher and clients of its own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager

from tests.walk.borrowers import Borrowers, borrowers_ready

from .launcher import Launcher, launcher_ready
from .run import Kill, Outcome, run

_ready: list[tuple[ExitStack, Launcher, Borrowers]] = []


def _get_ready() -> None:
    """In a worker, once. What it started ends with it, since nobody is at the other end then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stack = ExitStack()
    launcher = stack.enter_context(launcher_ready())
    _ready.append((stack, launcher, stack.enter_context(borrowers_ready())))


def _run(kill: Kill) -> Outcome:
    [(_, launcher, borrowers)] = _ready
    return run(kill, launcher, borrowers)


class Pool:
    def __init__(self, executor: ProcessPoolExecutor, jobs: int) -> None:
        self._executor = executor
        self.jobs = jobs

    def submit(self, kill: Kill) -> Future[Outcome]:
        return self._executor.submit(_run, kill)


@contextmanager
def pool_of(jobs: int) -> Iterator[Pool]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_get_ready) as executor:
        try:
            yield Pool(executor, jobs)
        finally:
            executor.shutdown(cancel_futures=True)
