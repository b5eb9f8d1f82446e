"""Work that is shared out to processes, because Python uses one processor at a time.

The processes are started when they are first needed, serve one share after the other, and end when they have had nothing to
do for a while, also when the process that started them was killed.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeVar

from ftops.errors import Diagnostic, ExternalError
from ftops.store.arrow import leave_pandas_out

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

In = TypeVar("In")
Out = TypeVar("Out")
MOST: Final = 8
"""Processes at most: each takes a hundred megabytes, and one that hands out work keeps no more of them busy."""
IDLE_SECONDS: Final = 20
AHEAD: Final = 2
"""Shares that each process has been asked for and has not done yet."""
WINDOW: Final = 6
"""Shares for each process that are handed out or done before the first of them is back: so many are in memory."""

ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""Each of several processes uses one processor."""


def start(*modules: str) -> None:
    """Starts the processes, and goes on without waiting for them: for work that is sure to come. They import `modules`."""
    if helpers():
        pool = _pool()
        for _ in range(helpers()):
            pool.submit(_import, modules)


def spread(work: Callable[[In], Out], shares: Iterable[In]) -> Iterator[Out]:
    """What `work` gives for each of `shares`, in their order; all three can be pickled.

    This process works too, on what the others are not asked to do: so nobody waits until they have started.
    Raises what `work` raises, and ExternalError when a process was killed.
    """
    number = helpers()
    if number == 0:
        yield from map(work, shares)
        return
    pool = _pool()
    found: deque[Future[Out]] = deque()
    try:
        for share in shares:
            if sum(not each.done() for each in found) < AHEAD * number:
                found.append(pool.submit(work, share))
            else:
                found.append(_done(work(share)))
            while found and (found[0].done() or len(found) > WINDOW * number):
                yield _result(found.popleft())
        while found:
            yield _result(found.popleft())
    finally:
        for future in found:
            future.cancel()


def _done(result: Out) -> Future[Out]:
    from concurrent.futures import Future

    future: Future[Out] = Future()
    future.set_result(result)
    return future


@cache
def helpers() -> int:
    """How many processes work beside this one: so that together they use all processors that this one may use."""
    import loky

    return min(MOST, int(loky.cpu_count())) - 1


def _pool() -> Executor:
    """The processes, started anew where they have ended. They don't run this process' main module again."""
    import loky

    pool: Executor = loky.get_reusable_executor(helpers(), timeout=IDLE_SECONDS, initializer=_begin, env=ENVIRONMENT)
    return pool


def _begin() -> None:
    # An interrupt goes to all processes of a terminal: the one that waits for the others ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(100_000)  # rows are trees: looking for cycles in them finds none
    leave_pandas_out()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A process whose parent was killed would wait for work for most of a minute."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _import(modules: Iterable[str]) -> None:
    for name in modules:
        import_module(name)


def _result(future: Future[Out]) -> Out:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        raise ExternalError(
            Diagnostic(
                "a process that worked on the rows was killed",
                hint="memory of the machine may have run out: free some, and run the same command again",
            )
        ) from None
