"""Runs a pure function of ours on material of others, in a child process with limits.

A template can loop, or ask for memory, without end, and a data file of a few bytes can decode to gigabytes. So both are
looked at in a child with little memory, time and output, none of the environment and nothing on its path but this
interpreter and this package. JSON goes in, JSON comes out; files go in and out as descriptors that the caller has opened.
"""

from __future__ import annotations

import errno
import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ftops.errors import FtopsError

MIB = 1 << 20
ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
"""All that a child sees of one. Libraries set aside a gigabyte of addresses, or more with each processor, that they never
use; but addresses are what the limit of memory counts."""
_OUT_OF_MEMORY = 101
_OUT_OF_OUTPUT = 102
_OUT_OF_DISK = 103


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` is the address space in bytes, `seconds` counts both of processor and of wall clock, `output` is the size in
    bytes of the answer, and of each file that is written."""

    memory: int = 512 * MIB
    seconds: float = 20.0
    output: int = 64 * MIB


def call(target: str, payload: Any, limits: Limits = Limits()) -> Any:
    """What the function `package.module:name` returns for `payload`, both JSON trees, for templates and what is made of them.

    Raises SpecError, saying which limit was passed, or how the function failed.
    """
    with Child(target, payload, limits, _rendering_failed) as child:
        return child.result()


class Child:
    """A call of `target` that has begun; leaving the context ends it, whatever it does.

    `failure` makes the error of a call that was stopped out of a sentence that says why. `descriptors` stay open in the
    child under their numbers.
    """

    def __init__(
        self,
        target: str,
        payload: Any,
        limits: Limits,
        failure: Callable[[str], FtopsError],
        descriptors: Sequence[int] = (),
    ) -> None:
        self._limits = limits
        self._failure = failure
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        self._complaint = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        numbers = [str(limits.memory), str(math.ceil(limits.seconds)), str(limits.output)]
        with tempfile.TemporaryFile() as material:
            material.write(json.dumps(payload, allow_nan=False).encode())
            material.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).resolve()), target, *numbers],
                stdin=material,
                stdout=self._answer,
                stderr=self._complaint,
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=descriptors,
            )
        self._end = time.monotonic() + limits.seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._answer.close()
        self._complaint.close()

    def ended(self, within: float) -> bool:
        """Whether the call has come to its end, waiting for it for so many seconds; raises what `result` would on time-out."""
        left = self._end - time.monotonic()
        try:
            self._process.wait(max(0.0, min(within, left)))
        except subprocess.TimeoutExpired:
            if left <= within:
                raise self._failure(f"it took more than {self._limits.seconds:g} s") from None
            return False
        return True

    def result(self) -> Any:
        """What the function returned; raises what `failure` makes when a limit was passed, or the function failed.

        A full disk is no fault of what it worked on: that raises OSError, as it would without a child.
        """
        self.ended(within=math.inf)
        if self._process.returncode == _OUT_OF_DISK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._process.returncode:
            raise self._failure(self._why(self._process.returncode))
        self._answer.seek(0)
        try:
            return json.loads(self._answer.read())
        except RecursionError:
            raise self._failure("its answer is nested too deeply") from None

    def _why(self, code: int) -> str:
        limits = self._limits
        if code == _OUT_OF_MEMORY:
            return f"it needs more than {limits.memory // MIB} MiB of memory"
        if code == _OUT_OF_OUTPUT:
            return f"its output is more than {limits.output / MIB:g} MiB"
        if code == -signal.SIGXCPU:
            return f"it took more than {limits.seconds:g} s of processor time"
        if code == -signal.SIGSEGV:
            return "it is nested too deeply"
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}; memory of the machine may have run out"
        self._complaint.seek(0)
        lines = self._complaint.read().decode(errors="replace").strip().splitlines()
        return f"it failed: {lines[-1] if lines else f'exit code {code}'}"


def _rendering_failed(why: str) -> FtopsError:
    from ftops.errors import Diagnostic, SpecError  # the child loads this file before it can find ftops

    hint = "look for a loop without end, or a value that grows, in what was rendered"
    return SpecError(Diagnostic(f"rendering was stopped: {why}", hint=hint))


def _child(target: str, memory: int, seconds: int, output: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Isolated mode leaves out the folder that this package may only be reachable by (a checkout without an installation).
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    module, _, name = target.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(json.loads(sys.stdin.buffer.read()))
        with os.fdopen(1, "wb") as out:
            out.write(json.dumps(answer, allow_nan=False).encode())
    except MemoryError:
        return _OUT_OF_MEMORY
    except OSError as wrong:
        if wrong.errno in (errno.ENOSPC, errno.EDQUOT):
            return _OUT_OF_DISK
        if wrong.errno != errno.EFBIG:
            raise
        return _OUT_OF_OUTPUT
    return 0


if __name__ == "__main__":
    # os._exit: there is nothing to clean up, and the interpreter's own end could trip over the limits again.
    os._exit(_child(sys.argv[1], *map(int, sys.argv[2:])))
