"""Trainings and merges of one apply at the same time, as many as their runners allow. All else waits its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from ftops.plan.address import Address
from ftops.plan.apply_events import ChangeEnded
from ftops.plan.changes import Change, Plan
from ftops.plan.steps import MergeWeights, Train
from ftops.resources.work import Work, blocking
from ftops.training.spec.training_run import TrainingRun
from ftops.training.sweep.chosen import stands_for

One = Callable[[Work, Change], ChangeEnded]


class _Interrupted(BaseException):
    """The apply was interrupted: who follows a training leaves it. No Exception, so that the journal takes it for a kill."""


class _Baton:
    """One of several threads works at a time; while it only waits for a job it is another one's turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def pause(self, seconds: float) -> None:
        """Waits so long, while others work. Raises _Interrupted after `end`."""
        self._lock.release()
        try:
            over = self._over.wait(seconds)
        finally:
            self._lock.acquire()
        if over:
            raise _Interrupted

    def end(self) -> None:
        self._over.set()


def has_parallel_jobs(work: Work, plan: Plan) -> bool:
    """Whether the plan has jobs of which several may go on at once."""
    with_jobs = [change for change in plan.changes if _jobs(change)]
    return len(with_jobs) > 1 and any(_runner(work, change)[1] for change in with_jobs)


def together(work: Work, plan: Plan, one: One) -> Iterator[ChangeEnded]:
    """How each change ended, in the order in which they did. `one` does a change: those with jobs in threads, all others here.

    A change begins when what it needs is done; where that failed, it is skipped.
    """
    turn = _Baton()
    waiting = [change for change in plan.changes if not change.is_noop]
    going: dict[Future[ChangeEnded], Change] = {}
    bad: set[Address] = set()

    def thread(change: Change) -> ChangeEnded:
        with turn:
            return one(replace(work, pause=turn.pause, pending={}), change)

    def told(ended: ChangeEnded) -> ChangeEnded:
        if not ended.ok:
            bad.add(ended.address)
        with turn:
            work.emit(ended)
        return ended

    with ThreadPoolExecutor(max(len(waiting), 1)) as pool:
        try:
            while waiting or going:
                for change in tuple(waiting):
                    open_ones = {each.address for each in (*waiting, *going.values())}
                    if because := blocking(change, bad):
                        waiting.remove(change)
                        yield told(ChangeEnded(change.address, because=because))
                    elif open_ones.isdisjoint(change.needs) and not _jobs(change):
                        waiting.remove(change)
                        with turn:
                            ended = one(work, change)
                        yield told(ended)
                    elif open_ones.isdisjoint(change.needs) and _has_room(work, change, going.values()):
                        waiting.remove(change)
                        going[pool.submit(thread, change)] = change
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    del going[future]
                    yield told(future.result())
        finally:
            turn.end()


def _jobs(change: Change) -> list[Train | MergeWeights]:
    return [step for step in change.steps if isinstance(step, Train | MergeWeights)]


def _has_room(work: Work, change: Change, going: Collection[Change]) -> bool:
    """Whether its runner takes it beside what goes on. An adapter is merged by one at a time, also for several who need it."""
    name, most = _runner(work, change)
    beside = [_runner(work, each) for each in going]
    if most is None or any(limit is None for _, limit in beside):
        return not beside
    merging = {adapter for each in going for adapter in _merges(work, each)}
    return sum(other == name for other, _ in beside) < most and merging.isdisjoint(_merges(work, change))


def _merges(work: Work, change: Change) -> set[str]:
    """The runs whose adapters it merges."""
    return {stands_for(work, each.run, each.run_id)[1] for each in _jobs(change) if isinstance(each, MergeWeights)}


def _runner(work: Work, change: Change) -> tuple[str, int | None]:
    """The name of the runner that its last job, the longest, is for, and how many that takes at once; None where one that goes on alone."""
    project = work.specs.project.spec
    run = work.specs.find(TrainingRun, _jobs(change)[-1].run)
    name = (None if run is None else run.spec.runner) or project.default_runner
    return name, project.runners[name].concurrency
