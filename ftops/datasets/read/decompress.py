"""Decodes a file, and counts, limits and hashes the bytes on the way. Runs in the child that parses."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK: Final = 1 << 20
UTF8_BOM: Final = codecs.BOM_UTF8
UTF16_BOMS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PAIR: Final = re.compile(rb"[\x81-\xfe][\x41-\xfe]")
_COMMON_PAIR: Final = re.compile(rb"[\xa1-\xfe][\xa1-\xfe]")


class RefusedError(Exception):
    """Ends the parsing of a file: what is wrong with it as a whole, and where."""

    def __init__(self, summary: str, line: int | None = None, byte: int | None = None, hint: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.line = line
        self.byte = byte
        self.hint = hint


class Piece:
    """The bytes from `start` to `stop` of a file, hashed as they are read; `told` is called with how many were read so far."""

    def __init__(self, descriptor: int, start: int, stop: int, told: Callable[[int], None]) -> None:
        self.start = self._at = start
        self._descriptor = descriptor
        self._stop = stop
        self._told = told
        self._sha256 = hashlib.sha256()

    def read(self, count: int) -> bytes:
        """The next bytes, at most `count`; none at the end."""
        data = os.pread(self._descriptor, min(count, self._stop - self._at), self._at)
        self._sha256.update(data)
        self._at += len(data)
        self._told(self._at - self.start)
        return data

    def rewind(self) -> None:
        """Go back to the beginning, with nothing hashed."""
        self._at, self._sha256 = self.start, hashlib.sha256()

    def finish(self) -> str:
        """The sha256 of the whole piece, what nobody has read yet included."""
        while self.read(CHUNK):
            pass
        return self._sha256.hexdigest()


class _Readable(io.RawIOBase):
    """A piece as Arrow wants a file."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    def readable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        return self._piece.read(CHUNK if count < 0 else count)


class Decoded(io.RawIOBase):
    """What `piece` decodes to from its beginning, at most `limit` bytes; raises RefusedError for more, for what is broken, and for NUL in a text."""

    def __init__(self, piece: Piece, compression: str | None, limit: int, *, text: bool) -> None:
        piece.rewind()
        self._source: Any = piece
        self._limit = limit
        self._compression = compression
        self._text = text
        self._bytes = 0
        if compression:
            import pyarrow as pa

            self._source = pa.CompressedInputStream(pa.PythonFile(_Readable(piece), "r"), compression)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._source.read(min(len(view), CHUNK))
        except OSError as error:
            if error.errno is not None:
                raise
            raise RefusedError(
                f"not readable as {self._compression}: {error}", byte=self._bytes, hint="is the file whole?"
            ) from error
        if self._text and (at := data.find(b"\0")) >= 0:
            raise RefusedError("a NUL byte: this is no text", byte=self._bytes + at, hint="save the file as UTF-8")
        self._bytes += len(data)
        if self._bytes > self._limit:
            raise too_much(self._limit)
        view[: len(data)] = data
        return len(data)


def too_much(limit: int) -> RefusedError:
    """The refusal of a file that decodes to more than `limit` bytes."""
    return RefusedError(
        f"decodes to more than the limit of {limit:,} bytes",
        hint="raise source.decodedLimit (--decoded-limit of `ftops dataset check`) if this is meant",
    )


def encoding_of(stream: io.BufferedReader) -> str:
    """The encoding of a text that is all in `stream`: UTF-8, or CP949 when it is that beyond doubt.

    Even strictly read, much text of Western Europe is CP949 too, as syllables that hardly anybody writes; so most pairs of
    bytes must be those of KS X 1001.
    """
    decoders = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp949")}
    pairs = common = done = byte = 0
    while decoders and (data := stream.read(CHUNK)):
        for name, decoder in list(decoders.items()):
            try:
                decoder.decode(data)
            except UnicodeDecodeError as error:
                del decoders[name]
                if name == "utf-8":
                    # What the decoder had kept of the chunk before stands in front of its object.
                    byte = done + len(data) - len(error.object) + error.start
        pairs, common = pairs + len(_PAIR.findall(data)), common + len(_COMMON_PAIR.findall(data))
        done += len(data)
    if "utf-8" in decoders:
        return "utf-8"
    if "cp949" in decoders and 2 * common > pairs:
        return "cp949"
    raise RefusedError(
        "not UTF-8 text", byte=byte, hint="save the file as UTF-8, or say its encoding in source.encoding"
    )
