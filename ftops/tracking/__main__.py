"""`python -m ftops.tracking STORE PID`: mirror the store to MLFLOW_TRACKING_URI until the apply with that PID is over.

It goes on in a process of its own, with low priority, one at a time for a store, and writes to tracking/mirror.log.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ftops.files import open_append, open_lock
from ftops.tracking import pending, present, tell
from ftops.tracking.mlflow_names import mask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ftops.tracking.mirror import Mirror

POLL: Final = 0.5
LONGEST_WAIT: Final = 30.0
LINGER: Final = 60.0
"""How long it goes on trying, in seconds, when MLflow is down and the apply is over."""
LOG_SIZE: Final = 1 << 20
NICENESS: Final = 10
"""A training on the same machine comes first."""


class MaskedLog:
    """What is written to the log, without secrets: MLflow and its libraries print URLs as they got them."""

    def __init__(self, file: IO[str], secrets: tuple[str, ...]) -> None:
        self._file = file
        self._secrets = secrets

    def write(self, text: str) -> int:
        self._file.write(clean(text, self._secrets))
        return len(text)

    def flush(self) -> None:
        self._file.flush()


def clean(text: str, secrets: Iterable[str]) -> str:
    """`text` without secrets: those of URLs, and those given."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return mask(text)


def follow(root: Path, pid: int, secrets: tuple[str, ...]) -> None:
    """Send what comes until the apply is over and all was sent, or MLflow stayed down for LINGER after it."""
    wait, last_seen, told = POLL, time.monotonic(), ""
    mirror: Mirror | None = None
    while True:
        over = not present(root, pid)
        if not over:
            last_seen = time.monotonic()
        if mirror is None and pending(root):
            from ftops.tracking.mirror import Mirror

            mirror = Mirror(root, os.environ["MLFLOW_TRACKING_URI"])
        error = clean(mirror.send_all(), secrets) if mirror is not None else ""
        if error != told:
            tell(root, error)
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {error or 'MLflow answers again'}\n")
            told = error
        if over and (not error or time.monotonic() - last_seen > LINGER):
            return
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT) if error else POLL


def alone(folder: Path, root: Path, pid: int) -> IO[str] | None:
    """The lock of the only mirror of a store, as soon as an earlier one ended; None when the apply is over before."""
    lock = os.fdopen(open_lock(folder / "lock"), "w", encoding="ascii")
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not present(root, pid):
                lock.close()
                return None
            time.sleep(POLL)
        else:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            return lock


def main() -> None:
    """Let the caller go on at once, and be the mirror in a process of its own."""
    root, pid = Path(sys.argv[1]), int(sys.argv[2])
    folder = root / "tracking"
    if os.fork():
        os._exit(0)
    os.nice(NICENESS)
    os.chdir(folder)
    secrets = tuple(filter(None, map(os.environ.get, ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"))))
    log = folder / "mirror.log"
    if log.exists() and log.stat().st_size > LOG_SIZE:
        log.unlink()
    with os.fdopen(open_append(log), "a", encoding="utf-8", buffering=1) as file:
        sys.stdout = sys.stderr = MaskedLog(file, secrets)
        try:
            lock = alone(folder, root, pid)
            if lock is not None:
                with lock:
                    follow(root, pid, secrets)
        except Exception:  # noqa: BLE001  (nobody waits for this process: its log and `pending` tell of its end)
            traceback.print_exc()
            tell(root, f"the mirror ended with an error, see {log}")


if __name__ == "__main__":
    main()
