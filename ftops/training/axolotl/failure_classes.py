"""Why a training failed, by how its process ended and what it wrote; and what to do about each class."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ftops.executors.job_state import JobState, Observation


class Fault(StrEnum):
    """The classes of faults; each has its hint, and a spec may name those that are tried again."""

    GPU_MEMORY = "gpu-memory"
    HOST_MEMORY = "host-memory"
    DISK = "disk"
    DATA = "data"
    CONFIG = "config"
    LOSS = "loss"
    HUB = "hub"
    ENGINE = "engine"
    TIME_OUT = "time-out"
    KILLED = "killed"
    LOST_RUNNER = "lost-runner"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """A fault, with the reason in a sentence that holds nothing of the data: it is recorded in git. `whole` where that says all,
    and the end of the log, a traceback, nothing more."""

    fault: Fault
    reason: str
    whole: bool = False


_HINTS: Final[Mapping[Fault, str]] = {
    Fault.GPU_MEMORY: "take a smaller micro_batch_size (`auto` finds the largest that is expected to fit) or sequence_len, "
    "gradient_checkpointing, or method qlora",
    Fault.HOST_MEMORY: "give it more memory (`docker.memory` and `docker.shm` of a container's runner), fewer "
    "dataloader_num_workers, or a smaller micro_batch_size",
    Fault.DISK: "free space in the store (`ftops run checkpoints {run} --prune`), or keep fewer checkpoints",
    Fault.DATA: "mend the data set or how it is formed; `ftops dataset check` tells its faults row by row",
    Fault.CONFIG: "mend the hyperparameters or the template; `ftops run render {run}` shows the config",
    Fault.LOSS: "lower learning_rate, warm up for longer, or train with bf16 in place of fp16; look at the rows with "
    "`ftops dataset check`",
    Fault.HUB: "see that the hub can be reached and the model's licence was accepted, or set baseModel.path to a copy of it",
    Fault.ENGINE: "`ftops doctor` says what is missing of the engine, the driver and the image",
    Fault.TIME_OUT: "raise `timeout` of the TrainingRun (and budget.gpuHours, where it has one), or train fewer steps",
    Fault.KILLED: "something on its machine ended it; `dmesg` tells whether the kernel did, for want of memory",
    Fault.LOST_RUNNER: "see what became of its machine",
    Fault.UNKNOWN: "the last lines of its log are above",
}


def hint_for(fault: Fault, run: str) -> str:
    """What to do about a fault of the run of that name."""
    return _HINTS[fault].format(run=run)


_SAID: Final[Mapping[Fault, tuple[str, ...]]] = {
    Fault.GPU_MEMORY: (
        "(CUDA|HIP|XPU) out of memory",
        "OutOfMemoryError",
        "CU(BLAS|DNN|SOLVER|SPARSE)_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory",
    ),
    Fault.DISK: ("No space left on device", "Disk quota exceeded"),
    Fault.HOST_MEMORY: (
        "^MemoryError",
        "can't allocate memory",
        "Cannot allocate memory",
        "insufficient shared memory",
    ),
    Fault.KILLED: (r"Signals\.SIGKILL", r"\(SIGKILL\)"),
    Fault.ENGINE: (
        "ModuleNotFoundError",
        "ImportError",
        "undefined symbol",
        "No CUDA GPUs are available",
        "Torch not compiled with CUDA",
        "CUDA driver version is insufficient",
        "NVIDIA driver on your system is too old",
        "no kernel image is available",
    ),
    Fault.HUB: (
        "LocalEntryNotFoundError",
        "OfflineModeIsEnabled",
        "GatedRepoError",
        "(Repository|Revision)NotFoundError",
        "couldn't connect to",
        "is not a valid model identifier",
    ),
    Fault.CONFIG: ("ValidationError", "unrecognized arguments", "ScannerError"),
    Fault.DATA: (
        "DatasetGenerationError",
        "DataFilesNotFoundError",
        "JSONDecodeError",
        "ArrowInvalid",
        "No valid samples",
        "zero samples",
        r"jinja2\.exceptions",
    ),
}
"""What Python, PyTorch, transformers and Axolotl write where they fail; the first class that is found counts."""
_PATTERNS: Final = {fault: re.compile("|".join(said), re.MULTILINE | re.IGNORECASE) for fault, said in _SAID.items()}

_KNOWN: Final = (
    (
        "no samples left after dropping samples with no trainable tokens",
        Failure(Fault.DATA, "no supervised tokens in any row: does the chat template mark the assistant's turns?"),
    ),
    (
        "split is too small for sample_packing",
        Failure(
            Fault.DATA, "the validation split is too small to be packed: say `eval_sample_packing: false`, or add rows"
        ),
    ),
    (
        "tokenizer's chat_template is null",
        Failure(
            Fault.CONFIG, "the tokenizer has no chat template: say `chat_template: chatml`, or another that Axolotl has"
        ),
    ),
)
"""What Axolotl refuses before the first step, in our words."""

_OWN: Final = re.compile(
    r"^(?:\[rank\d{1,5}\]: ?)?(?P<error>ValueError|FloatingPointError): ftops: (?P<said>.{1,400})", re.MULTILINE
)
"""What `plugin/ftops_axolotl.py` refuses, in its own words."""
_OWN_FAULT: Final = {"ValueError": Fault.DATA, "FloatingPointError": Fault.LOSS}

_STATES: Final = {
    JobState.TIMED_OUT: Fault.TIME_OUT,
    JobState.OUT_OF_MEMORY: Fault.HOST_MEMORY,
    JobState.PREEMPTED: Fault.LOST_RUNNER,
    JobState.NODE_LOST: Fault.LOST_RUNNER,
}
_ENDING: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals by which somebody ends a process; by the others it ends itself."""
NOT_FOUND: Final = 127


def failure(job: Observation, log: str) -> Failure:
    """Why a job ended that did not succeed; `log` is the end of what it wrote, line by line."""
    if (fault := _STATES.get(job.state)) is not None:
        return Failure(fault, job.reason or job.state.value)
    if job.exit_code == NOT_FOUND:
        return Failure(Fault.ENGINE, f"{job.reason}: its program can't be run")
    if job.killed and job.signal in (None, *_ENDING):
        return Failure(Fault.KILLED, job.reason)
    if (own := _last(_OWN, log)) is not None:
        return Failure(_OWN_FAULT[own["error"]], own["said"].strip(), whole=True)
    for said, known in _KNOWN:
        if said in log:
            return replace(known, whole=True)
    if job.signal == signal.SIGBUS:
        return Failure(Fault.HOST_MEMORY, f"{job.reason}, as where shared memory is too small")
    found = next((fault for fault, pattern in _PATTERNS.items() if pattern.search(log)), Fault.UNKNOWN)
    return Failure(found, job.reason or job.state.value)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=re.Match.start, default=None)


_CAPACITY: Final = re.compile(r"total capacity of (\d{1,6}(?:\.\d{1,6})?) GiB")


def capacity(log: str) -> int | None:
    """The bytes of a GPU, as PyTorch says them where they were not enough."""
    match = _last(_CAPACITY, log)
    return None if match is None else round(float(match[1]) * (1 << 30))
