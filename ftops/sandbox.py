"""Runs a pure function of ours on material of others, in a child process with limits.

A template can loop, or ask for memory, without end. So it is rendered in a child with little memory, time and output, no
environment and nothing on its path but this interpreter and this package. JSON goes in, JSON comes out.
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
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftops.errors import SpecError

MIB = 1 << 20
_OUT_OF_MEMORY = 101
_OUT_OF_OUTPUT = 102


def call(target: str, payload: Any, *, memory: int = 512 * MIB, seconds: float = 20.0, output: int = 64 * MIB) -> Any:
    """What the function `package.module:name` returns for `payload`, both JSON trees.

    `memory` is the address space in bytes, `seconds` counts both of processor and of wall clock, `output` is the size of
    the answer in bytes. Raises SpecError, saying which limit was passed, or how the function failed.
    """
    limits = [str(memory), str(math.ceil(seconds)), str(output)]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as complaint:
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(Path(__file__).resolve()), target, *limits],
                input=json.dumps(payload, allow_nan=False).encode(),
                stdout=answer,
                stderr=complaint,
                env={},
                cwd="/",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _failure(f"it took more than {seconds:g} s") from None
        if done.returncode:
            raise _failure(_why(done.returncode, complaint, memory, seconds, output))
        answer.seek(0)
        try:
            return json.loads(answer.read())
        except RecursionError:
            raise _failure("its answer is nested too deeply") from None


def _why(code: int, complaint: IO[bytes], memory: int, seconds: float, output: int) -> str:
    if code == _OUT_OF_MEMORY:
        return f"it needs more than {memory // MIB} MiB of memory"
    if code == _OUT_OF_OUTPUT:
        return f"its output is more than {output / MIB:g} MiB"
    if code == -signal.SIGXCPU:
        return f"it took more than {seconds:g} s of processor time"
    if code == -signal.SIGSEGV:
        return "it is nested too deeply"
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}; memory of the machine may have run out"
    complaint.seek(0)
    lines = complaint.read().decode(errors="replace").strip().splitlines()
    return f"it failed: {lines[-1] if lines else f'exit code {code}'}"


def _failure(why: str) -> SpecError:
    from ftops.errors import Diagnostic, SpecError  # the child loads this file before it can find ftops

    hint = "look for a loop without end, or a value that grows, in what was rendered"
    return SpecError(Diagnostic(f"rendering was stopped: {why}", hint=hint))


def _child(target: str, memory: int, seconds: int, output: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Isolated mode leaves out the folder that this package may only be reachable by (a checkout without an installation).
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    module, _, name = target.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(json.loads(sys.stdin.buffer.read()))
        with os.fdopen(1, "wb") as out:
            out.write(json.dumps(answer, allow_nan=False).encode())
    except MemoryError:
        return _OUT_OF_MEMORY
    except OSError as wrong:
        if wrong.errno != errno.EFBIG:
            raise
        return _OUT_OF_OUTPUT
    return 0


if __name__ == "__main__":
    # os._exit: there is nothing to clean up, and the interpreter's own end could trip over the limits again.
    os._exit(_child(sys.argv[1], *map(int, sys.argv[2:])))
