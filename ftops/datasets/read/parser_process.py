"""Runs in the process that parses: pieces of files in as descriptors, rows out as Arrow files."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from ftops.datasets.read import row_shapes
from ftops.datasets.read.chats import Message
from ftops.datasets.read.csv_rows import csv_rows
from ftops.datasets.read.decompress import Piece, RefusedError
from ftops.datasets.read.json_rows import json_rows, jsonl_rows
from ftops.datasets.read.parquet_rows import parquet_rows
from ftops.datasets.read.parse_options import Form
from ftops.datasets.read.parser_pool import SLOT
from ftops.datasets.read.record_parser import Parse, Record
from ftops.datasets.read.row_errors import FAULTS, TOO_MANY, WHICH_SHAPE, Fault
from ftops.digests import Json
from ftops.store.arrow import leave_pandas_out

PARSERS: Final[dict[str, Callable[[Parse], Iterator[Record]]]] = {
    "csv": csv_rows, "json": json_rows, "jsonl": jsonl_rows, "parquet": parquet_rows,
}  # fmt: skip
PEEKED: Final = 100
"""Rows whose columns are looked at where no header has them all."""


def parse_pieces(payload: Json) -> Json:
    """What was learned of each piece of `payload`, in order; `children._payload` says what goes in, `_Rows.learned` what comes out."""
    pa.set_cpu_count(1)
    leave_pandas_out()
    gc.disable()  # rows are trees, so there is nothing to find, and looking takes a tenth of the time
    form = Form.from_json(payload["form"])
    schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(payload["schema"])))
    found = []
    for index, piece in enumerate(payload["pieces"]):
        parse = _parse(piece, form, partial(_tell, payload["slot"], index))
        try:
            with os.fdopen(piece["out"], "wb", closefd=False) as out, pa.ipc.new_file(out, schema) as writer:
                rows = _Rows(form, schema, payload["batch"], writer)
                rows.add(PARSERS[piece["format"]](parse))
            found.append(rows.learned(parse))
        except RefusedError as refusal:
            found.append(_refused(refusal))
    return found


def peek(payload: Json) -> Json:
    """The names of the columns of a file's first rows."""
    form = Form.from_json(payload["form"])
    (piece,) = payload["pieces"]
    parse = _parse(piece, form, lambda _: None)
    try:
        for _ in islice(PARSERS[piece["format"]](parse), PEEKED):
            pass
    except RefusedError as refusal:
        return [_refused(refusal)]
    return [{"names": list(parse.names)}]


def _parse(piece: Json, form: Form, told: Callable[[int], None]) -> Parse:
    source = Piece(piece["in"], piece["start"], piece["stop"], told)
    return Parse(
        source, piece["compression"], form.decoded_limit, row_shapes.columns(form), form.encoding, form.delimiter
    )


def _tell(slot: int, index: int, done: int) -> None:
    os.pwrite(slot, SLOT.pack(index, done), 0)


def _refused(refusal: RefusedError) -> Json:
    return {"refused": refusal.summary, "line": refusal.line, "byte": refusal.byte, "hint": refusal.hint}


class _Rows:
    """The rows of a piece on their way to its Arrow file, and what is wrong with those that don't get there."""

    def __init__(self, form: Form, schema: pa.Schema, batch: int, writer: pa.RecordBatchWriter) -> None:
        self._shaper = row_shapes.Shaper(form)
        self._stratum = form.stratum
        self._schema = schema
        self._batch = batch
        self._writer = writer
        self._waiting: list[tuple[Any, ...]] = []
        self._kinds: dict[Fault, int] = {}
        self._faults: list[tuple[int, int | None, int | None, int]] = []
        self._read = 0
        self._count = 0

    def add(self, records: Iterator[Record]) -> None:
        """Sort `records` into rows and faults."""
        faults: list[Fault] = []
        fields, stratum, waiting = self._shaper.fields, self._stratum, self._waiting
        for number, (line, byte, values) in enumerate(records, 1):
            self._read = number
            if isinstance(values, str):
                self._fault(number, line, byte, [Fault("", "unreadable", values)])
                continue
            made = fields(values, faults)
            if faults:
                self._fault(number, line, byte, faults)
                faults.clear()
                continue
            beside = () if stratum is None else (_group(values.get(stratum)),)
            waiting.append((number, line, byte, *made, *beside))
            if len(waiting) == self._batch:
                self._flush()
        self._flush()

    def learned(self, parse: Parse) -> Json:
        """Everything about the piece but its rows. A fault is (row, line, byte, index into `kinds`)."""
        used = {*self._shaper.used, *([self._stratum] if self._stratum else ())}
        return {
            "sha256": parse.piece.finish(),
            "read": self._read,
            "count": self._count,
            "lines": parse.lines,
            "names": list(parse.names),
            "used": list(used),
            "unread": list(self._shaper.unread),
            "notes": parse.notes,
            "kinds": list(self._kinds),
            "faults": self._faults,
        }

    def _fault(self, row: int, line: int | None, byte: int | None, faults: list[Fault]) -> None:
        if len(self._faults) + len(faults) > FAULTS:
            raise RefusedError(TOO_MANY, line, byte, WHICH_SHAPE)
        for fault in faults:
            self._faults.append((row, line, byte, self._kinds.setdefault(fault, len(self._kinds))))

    def _flush(self) -> None:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            arrays = [_array(values, kind) for values, kind in zip(columns, self._schema.types, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, self._schema))
            self._count += len(self._waiting)
            self._waiting.clear()


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_large_list(kind):
        return pa.array(values, kind)
    messages: list[Message] = [message for chat in values for message in chat]
    offsets = [0]
    for chat in values:
        offsets.append(offsets[-1] + len(chat))
    parts = zip(*messages, strict=True) if messages else [[] for _ in kind.value_type]
    inner = [pa.array(part, each.type) for part, each in zip(parts, kind.value_type, strict=True)]
    return pa.LargeListArray.from_arrays(offsets, pa.StructArray.from_arrays(inner, fields=list(kind.value_type)), kind)


def _group(value: Json) -> str | None:
    """The text that rows are grouped by; what is no text is grouped by its JSON."""
    import orjson

    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
