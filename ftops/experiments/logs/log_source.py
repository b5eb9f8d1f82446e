"""One file that is being read: its bytes, what they hash to, and what is to be said about it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ftops.errors import ChecksFailed, Diagnostic, Where
from ftops.experiments.logs.files import LogFile, Snapshot
from ftops.experiments.logs.row_schema import Rules

if TYPE_CHECKING:
    from hashlib import _Hash

THREADS: Final = 4
"""What works on blocks at once, as far as there are processors."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class Source:
    """`tell` is told how many bytes were read so far."""

    file: LogFile
    content: Snapshot
    rules: Rules
    pool: ThreadPoolExecutor
    tell: Callable[[int], None]
    notes: list[str] = field(default_factory=list)
    sha256: _Hash = field(default_factory=hashlib.sha256)

    def hashed(self, raw: bytes, more: bytes = b"") -> bytes:
        """`raw` followed by `more`; what is in the file, `raw`, counts for the digest."""
        if self.file.format[1] is None:
            self.sha256.update(raw)
        return raw + more if more else raw

    def hash_all(self) -> None:
        """Takes the digest of the file as it lies there."""
        content = self.content.again()
        while piece := content.read(1 << 20):
            self.sha256.update(piece)

    def stream(self) -> Any:
        """The content from its beginning, decompressed, as an Arrow stream."""
        import pyarrow as pa

        packed = self.file.format[1]
        plain = pa.PythonFile(self.content.again(), mode="r")
        return plain if packed is None else pa.CompressedInputStream(plain, packed)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The content from its beginning in pieces of at most `size` bytes, decompressed."""
        if self.file.format[1] is None:
            while piece := self.content.read(size):
                self.tell(len(piece))
                yield piece
            return
        self.hash_all()
        stream = self.stream()
        try:
            while piece := stream.read(size):
                yield piece
        except (OSError, ValueError) as error:
            raise self.refused("cannot be decompressed", "it may still be being written, or be damaged") from error
        self.tell(self.content.size)

    def refused(self, summary: str, detail: str = "", hint: str = "") -> ChecksFailed:
        return ChecksFailed(Diagnostic(summary, detail, hint, where=Where(self.file.path)))


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int = THREADS
) -> Iterator[Result]:
    """What `work` makes of each item, in their order; no more than `ahead` are begun before they are asked for."""
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for each in begun:
            each.cancel()
