"""Cuts files into pieces for child processes to parse, and hashes what they read."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Self

from ftops.datasets.read.parse_options import Form
from ftops.datasets.read.source import CHUNK, DataFile, Opened, opened
from ftops.digests import Json
from ftops.errors import ChecksFailed, Diagnostic, ExternalError, FtopsError, Where
from ftops.files import open_new
from ftops.store.sandbox import MIB, Child, Limits

Progress = Callable[[int, int], None]
CUT: Final = 8 * MIB
"""JSONL of this size is cut, into pieces of at least half of it."""
CHILDREN: Final = 4
OPEN: Final = 64
"""Files that are open at one time."""
SLOT: Final = struct.Struct("<qq")
"""How a child tells how far it is: the index of the piece, and the bytes of it that were read."""
SECONDS: Final = 60
"""What every child may take, and as much again for each of so many MiB."""


class Piece(NamedTuple):
    """The bytes from `start` to `stop` of a file, whose rows go to the file `name`."""

    source: Opened
    start: int
    stop: int
    name: str

    @property
    def size(self) -> int:
        return self.stop - self.start


class Parsed(NamedTuple):
    """A piece, and what `child._Rows.learned` tells of it."""

    piece: Piece
    learned: dict[str, Any]


class Whole(NamedTuple):
    """A file that was read: in pieces, which together have this sha256."""

    source: Opened
    sha256: str
    pieces: list[Parsed]


def read_files(files: Sequence[DataFile], form: Form, folder: Path, progress: Progress) -> Generator[Whole, None, None]:
    """Each of `files`, in order, when all of it was parsed."""
    count = done = 0
    for first in range(0, len(files), OPEN):
        with ExitStack() as stack:
            pieces: list[Piece] = []
            for file in files[first : first + OPEN]:
                source = opened(file, form, folder)
                stack.callback(os.close, source.descriptor)
                bounds = _bounds(source)
                for start, stop in itertools.pairwise(bounds):
                    pieces.append(Piece(source, start, stop, f"rows-{count:05}.arrow"))
                    count += 1
            total = done + sum(piece.size for piece in pieces)
            yield from _whole(_parsed(pieces, form, folder, partial(_tell, progress, done, total)))
            done = total


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def names_of(file: DataFile, form: Form) -> tuple[str, ...]:
    """The columns of `file`, by its header or its first rows."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        source = opened(file, form, Path(folder))
        stack.callback(os.close, source.descriptor)
        job = stack.enter_context(_Job("peek", [Piece(source, 0, source.size, "")], form, Path(folder)))
        (learned,) = job.child.result()
        _refuse(Parsed(job.pieces[0], learned), 0)
        return tuple(learned["names"])


def _bounds(source: Opened) -> list[int]:
    """Where the pieces of a file begin, and its end: at ends of lines."""
    parts = 1
    if source.format == "jsonl" and source.compression is None and source.size >= CUT:
        parts = min(CHILDREN, len(os.sched_getaffinity(0)), 2 * source.size // CUT)
    bounds = {0, source.size}
    for part in range(1, parts):
        at = source.size * part // parts
        while data := os.pread(source.descriptor, CHUNK, at):
            if (end := data.find(b"\n")) >= 0:
                bounds.add(at + end + 1)
                break
            at += len(data)
    return sorted(bounds) if source.size else [0, 0]


def _whole(parsed: Iterator[tuple[Parsed, str]]) -> Iterator[Whole]:
    """The pieces of each file together, and the digest that comes with its last one."""
    pieces: list[Parsed] = []
    lines = 0
    for each, sha256 in parsed:
        pieces.append(each)
        _refuse(each, lines)
        lines += each.learned["lines"]
        if each.piece.stop == each.piece.source.size:
            yield Whole(each.piece.source, sha256, pieces)
            pieces, lines = [], 0


def _refuse(parsed: Parsed, lines: int) -> None:
    """Raises ChecksFailed when the child refused the piece, which begins after so many lines."""
    learned = parsed.learned
    if "refused" in learned:
        line, byte = learned["line"], learned["byte"]
        place = "" if byte is None else f"at byte {byte:,}"
        where = Where(parsed.piece.source.file.path, None if line is None else line + lines)
        raise ChecksFailed(Diagnostic(learned["refused"], place, learned["hint"], where=where))


# ------------------------------------------------------------------------------------------------ children


def _parsed(
    pieces: Sequence[Piece], form: Form, folder: Path, progress: Callable[[int], None]
) -> Iterator[tuple[Parsed, str]]:
    """What is learned of each piece, in order, with the sha256 of its file up to its end.

    Some children work at one time; while they do, the same bytes are hashed here.
    """
    waiting = deque(_jobs(pieces))
    running: deque[tuple[_Job, list[tuple[str, str]]]] = deque()
    digests = _Digests()
    done = 0
    with ExitStack() as stack:
        while waiting or running:
            started: list[tuple[_Job, list[tuple[str, str]]]] = []
            while waiting and len(running) < min(CHILDREN, len(os.sched_getaffinity(0))):
                job = stack.enter_context(_Job("parse_pieces", waiting.popleft(), form, folder))
                started.append((job, []))
                running.append(started[-1])
            for job, hashed in started:
                hashed += [digests.add(piece) for piece in job.pieces]
            job, hashed = running[0]
            while not job.child.ended(within=0.05):
                progress(done + sum(each.done for each, _ in running))
            for piece, learned, (own, whole) in zip(job.pieces, job.child.result(), hashed, strict=True):
                if learned.get("sha256", own) != own:
                    path = piece.source.file.path
                    raise ExternalError(Diagnostic(f"{path}: changed while it was read", hint="try again"))
                yield Parsed(piece, learned), whole
            running.popleft()
            done += job.size
            progress(done + sum(each.done for each, _ in running))


def _jobs(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """What each child is to do: one piece, or some small ones."""
    job: list[Piece] = []
    for piece in pieces:
        job.append(piece)
        if sum(each.size for each in job) >= CUT // 2:
            yield job
            job = []
    if job:
        yield job


class _Job:
    """A child at work on some pieces; leaving the context ends it."""

    def __init__(self, target: str, pieces: list[Piece], form: Form, folder: Path) -> None:
        self.pieces = pieces
        self.size = sum(piece.size for piece in pieces)
        self._slot: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        self._slot.write(SLOT.pack(0, 0))
        self._slot.flush()
        with ExitStack() as stack:
            outs: list[int] = []
            for piece in pieces if target == "parse_pieces" else []:
                outs.append(open_new(folder / piece.name, 0o600))
                stack.callback(os.close, outs[-1])
            self.child = Child(
                f"ftops.datasets.read.parser_process:{target}",
                _payload(pieces, outs, form, self._slot.fileno()),
                _limits(pieces, form),
                self._stopped,
                [*{piece.source.descriptor for piece in pieces}, *outs, self._slot.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.__exit__()
        self._slot.close()

    @property
    def done(self) -> int:
        """How many bytes were read."""
        index, done = self._at
        return sum(piece.size for piece in self.pieces[:index]) + done

    @property
    def _at(self) -> tuple[int, int]:
        index, done = SLOT.unpack(os.pread(self._slot.fileno(), SLOT.size, 0))
        return index, done

    def _stopped(self, why: str) -> FtopsError:
        hint = "memory is limited by source.memoryLimit (--memory-limit of `ftops dataset check`), time by the size"
        where = Where(self.pieces[self._at[0]].source.file.path)
        return ChecksFailed(Diagnostic(f"reading was stopped: {why}", hint=hint, where=where))


def _payload(pieces: Sequence[Piece], outs: Sequence[int], form: Form, slot: int) -> Json:
    from ftops.datasets.checks.rows import (
        BATCH,  # here and below: the process that parses imports this package, and no models
    )

    return {
        "form": form.to_json(),
        "schema": _schema(form).serialize().to_pybytes().hex(),
        "batch": BATCH,
        "slot": slot,
        "pieces": [
            {
                "in": piece.source.descriptor,
                "out": out,
                "start": piece.start,
                "stop": piece.stop,
                "format": piece.source.format,
                "compression": piece.source.compression,
            }
            for piece, out in zip(pieces, outs or [-1] * len(pieces), strict=True)
        ],
    }


def _schema(form: Form) -> Any:
    """What the files of rows hold: where each row stands, its fields, and what the split is stratified by."""
    import pyarrow as pa

    from ftops.datasets.checks.rows import STRATUM, field_type

    places = [(name, pa.int64()) for name in ("row", "line", "byte")]
    stratum = [(STRATUM, pa.large_string())] if form.stratum is not None else []
    return pa.schema([*places, *((name, field_type(name)) for name in form.fields), *stratum])


def _limits(pieces: Sequence[Piece], form: Form) -> Limits:
    """Rows are some numbers longer than what they are made of."""
    plain = all(piece.source.compression is None and piece.source.format != "parquet" for piece in pieces)
    most = sum(piece.size for piece in pieces) if plain else form.decoded_limit * len(pieces)
    return Limits(form.memory_limit, SECONDS + most / MIB, 64 * MIB + 4 * most)


# ------------------------------------------------------------------------------------------------- digests


class _Digests:
    """Of the pieces of files that come one after the other: each one's own, and that of its file so far."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._other = hashlib.md5(usedforsecurity=False)

    def add(self, piece: Piece) -> tuple[str, str]:
        """The sha256 of `piece`, and of its file to its end; raises ExternalError when that is not what is expected."""
        source = piece.source
        if piece.start == 0:
            self._whole, self._other = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        own = hashlib.sha256()
        takers = [own]
        if piece.size != source.size:
            takers.append(self._whole)
        if (source.file.expected or "").startswith("md5:"):
            takers.append(self._other)
        at = piece.start
        while data := os.pread(source.descriptor, min(CHUNK, piece.stop - at), at):
            at += len(data)
            for taker in takers:
                taker.update(data)
        whole = own.hexdigest() if piece.size == source.size else self._whole.hexdigest()
        if piece.stop == source.size:
            _expect(source.file, whole, self._other.hexdigest())
        return own.hexdigest(), whole


def _expect(file: DataFile, sha256: str, md5: str) -> None:
    algorithm, _, wanted = (file.expected or "").partition(":")
    found = {"sha256": sha256, "md5": md5}.get(algorithm)
    planned = algorithm == "sha256"
    if found not in (None, wanted):  # pointers of DVC before 3.0 have an md5 that is not one of the bytes
        raise ExternalError(
            Diagnostic(
                f"{file.path}: changed since {'it was planned' if planned else 'its .dvc pointer was written'}",
                f"expected {algorithm} {wanted}, found {found}",
                "plan again" if planned else "`dvc checkout` the file, or `dvc add` it and commit the pointer",
            )
        )
