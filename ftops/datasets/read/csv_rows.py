"""Rows of CSV: every column is text, nothing is guessed but the encoding and the delimiter, and those are told."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any, Final

from ftops.datasets.read.decompress import CHUNK, UTF8_BOM, UTF16_BOMS, RefusedError, encoding_of
from ftops.datasets.read.record_parser import Parse, Record

DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
QUOTES: Final = "a quote inside of quotes is doubled, and nothing but a delimiter follows the last one"


class _Lines:
    """The lines of a CSV file as text, and the byte that the next one starts at, which csv.reader doesn't count.

    It counts none of UTF-16, where a line of text is none of bytes.
    """

    def __init__(self, stream: io.BufferedReader, encoding: str, byte: int | None) -> None:
        wide = encoding == "utf-16"
        self._lines: Iterator[Any] = io.TextIOWrapper(stream, encoding, newline="\n") if wide else stream
        self.encoding = encoding
        self.byte = byte

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self.byte is None:
            return str(line)
        text = line.decode(self.encoding)
        self.byte += len(line)
        return str(text)


def csv_rows(parse: Parse) -> Iterator[Record]:
    """Every column as text, in the form of RFC 4180: a quote inside of an unquoted field stands for itself."""
    lines, first = _csv_lines(parse)
    delimiter = parse.delimiter or max(DELIMITERS, key=re.sub(r'"[^"]*"', "", first).count)
    if delimiter != ",":
        parse.notes.append(f"separated by {DELIMITERS[delimiter]}")
    # The limit is the interpreter's; what a file may decode to is limited already.
    csv.field_size_limit(parse.decoded_limit)
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    header: list[str] | None = None
    while True:
        line, byte = reader.line_num + 1, lines.byte
        try:
            row = next(reader)
        except StopIteration:
            break
        except UnicodeError as error:
            at = None if lines.byte is None else lines.byte + getattr(error, "start", 0)
            raise RefusedError(f"not {lines.encoding.upper()} text", line, at, "save the file as UTF-8") from error
        except csv.Error as error:
            raise RefusedError(f"not readable as CSV: {error}", line, byte, QUOTES) from error
        if not row:
            continue
        if header is None:
            header = parse.header(row)
        elif len(row) != len(header):
            yield line, byte, f"expected {len(header)} fields as in the header, found {len(row)}"
        else:
            yield line, byte, dict(zip(header, row, strict=True))
    if header is None:
        raise RefusedError("the file is empty", hint="expected a header with the names of the columns")


def _csv_lines(parse: Parse) -> tuple[_Lines, str]:
    """The lines of a file in the encoding that it has, and the first one to tell the delimiter by."""
    start = parse.stream(text=False).peek(CHUNK)
    encoding = parse.encoding
    if encoding is None and start.startswith(UTF16_BOMS):
        encoding = "utf-16"
    if encoding is None:
        encoding = "utf-8" if start.startswith(UTF8_BOM) else encoding_of(parse.stream())
    if encoding != "utf-8":
        parse.notes.append(f"read as {encoding.upper()}")
    stream = parse.stream(text=encoding != "utf-16")
    skipped = len(stream.read(len(UTF8_BOM))) if encoding == "utf-8" and start.startswith(UTF8_BOM) else 0
    first = start[skipped:].decode(encoding, "replace").lstrip().partition("\n")[0]
    return _Lines(stream, encoding, None if encoding == "utf-16" else skipped), first
