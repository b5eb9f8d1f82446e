"""YAML text → documents: plain trees whose places are found again when an error needs them.

The rules are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema), so `on`, `no` and
`2024-01-01` are text and `1e-4` is a number; stricter in that a key must not stand twice. Tags of others, merge keys, NaN and
the infinities are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from yaml import MappingNode, MarkedYAMLError, Node, ScalarNode, SequenceNode
from yaml._yaml import CParser  # libyaml without PyYAML's resolver, which reads YAML 1.1
from yaml.error import Mark

from ftops.digests import Json
from ftops.errors import Diagnostic, Severity, Where

MAX_BYTES: Final = 10 * 2**20
"""A longer file is refused."""
MAX_DEPTH: Final = 50
"""A document that nests deeper is refused; libyaml's own recursion would overflow the stack."""
MAX_NODES: Final = 100_000
"""Keys and values of one document, and what the aliases of one file may add."""

Path = tuple[str | int, ...]
"""Keys and positions that lead from the top of a document to a value."""

ABSENT: Final = object()

_PLAIN: Final = "plain"
_CORE: Final = "tag:yaml.org,2002:"
_WORDS: Final[dict[str, Json]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
NUMBER: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
"""A number as YAML writes it."""
_OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAGGED: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}

# YAML 1.1 and 1.2 disagree whether the last three end a line: nobody could say which line an error is in.
_REFUSED: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\u2028\u2029]|\r(?!\n)")
_MARKER: Final = re.compile(r"^(---|\.\.\.)(?=\s|\Z)[^\n]*\n?", re.MULTILINE)
_PREAMBLE: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n|%[^\n]*\n)*")


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its tree, and where it stands (`line` lines of the file come before `text`)."""

    file: str
    line: int
    text: str
    tree: Json

    def where(self, path: Path = (), *, key: bool = False) -> Where:
        """The place of the value at `path` (of its key where `key`, or where the value is a mapping, a list or nothing);
        of what encloses it where it is absent."""
        node = _compose(self.text)[0]
        if node is None:
            return Where(self.file, self.line + 1, 1)
        mark = node.start_mark
        for part in path:
            found = _child(node, part)
            if found is None:
                return self._place(mark)
            mark, node = found
        return self._place(node.start_mark if isinstance(node, ScalarNode) and node.value and not key else mark)

    def _place(self, mark: Mark) -> Where:
        return _place(self.file, self.line, self.text, mark)


def read_documents(file: str, data: bytes) -> tuple[list[Document], list[Diagnostic]]:
    """The documents of a file that are sound, and what is wrong with the others. A fault ends its own document only."""
    text = _decode(file, data)
    if isinstance(text, Diagnostic):
        return [], [text]
    documents: list[Document] = []
    diagnostics: list[Diagnostic] = []
    empty: list[Diagnostic] = []
    budget = MAX_NODES
    for line, chunk in _chunks(text):
        builder = _Builder(file, line, chunk, budget)
        tree = builder.tree()
        budget = max(budget - builder.expanded, 0)
        diagnostics += builder.faults
        if builder.empty:
            if chunk.startswith("---"):
                empty.append(
                    Diagnostic(
                        "an empty document",
                        hint="leave out its ---",
                        where=Where(file, line + 1, 1),
                        severity=Severity.WARNING,
                    )
                )
        elif not builder.broken:
            documents.append(Document(file, line, chunk, tree))
    if not documents and not diagnostics:
        return [], [
            Diagnostic("the file holds no document", hint="write a resource into it, or remove it", where=Where(file))
        ]
    return documents, diagnostics + empty


def plain(text: str) -> Json:
    """The value of an unquoted scalar: null, a boolean, a number, else the text itself. Raises ValueError for NaN, the
    infinities and numbers too long to be one."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a number that can be used here")
    if len(text) > 400 and NUMBER.fullmatch(text):
        raise ValueError("a number of more than 400 digits")
    if _INTEGER.fullmatch(text):
        return int(text)
    if NUMBER.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"{text} is too large for a number")
        return number
    return int(text, 0) if len(text) <= 400 and _OTHER_BASE.fullmatch(text) else text


def child(tree: Json, part: str | int) -> Json:
    """The value under a key or position of a tree, or ABSENT."""
    if isinstance(tree, dict):
        return tree.get(part, ABSENT)
    return tree[part] if isinstance(tree, list) and isinstance(part, int) and part < len(tree) else ABSENT


def _decode(file: str, data: bytes) -> str | Diagnostic:
    """The text of a file; or why it is none."""
    if len(data) > MAX_BYTES:
        return too_large(file, len(data))
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        before = data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")
        return Diagnostic(
            f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8",
            hint="specs are text: save the file as UTF-8, or move it out of the specs",
            where=Where(file, line, len(before) + 1),
        )
    if (found := _REFUSED.search(text)) is not None:
        start = found.start()
        return Diagnostic(
            f"character U+{ord(text[start]):04X} cannot stand in a spec",
            hint='write it as an escape in double quotes ("\\u…"), or move the file out of the specs if it is no text',
            where=Where(file, text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)),
        )
    return text


def too_large(file: str, size: int) -> Diagnostic:
    """That a file is over `MAX_BYTES`."""
    return Diagnostic(
        f"the file has {size:,} bytes, more than the {MAX_BYTES:,} that a spec may have",
        hint="split it, or move it out of the specs if it is none",
        where=Where(file),
    )


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """The text of each document, with the number of lines before it. `---` at the start of a line always begins one."""
    start = line = 0

    def chunk(end: int) -> tuple[int, str]:
        nonlocal start, line
        piece, begin = text[start:end], line
        start, line = end, line + piece.count("\n")
        return begin, piece

    for marker in _MARKER.finditer(text):
        if marker[1] == "...":
            yield chunk(marker.end())
        elif not _PREAMBLE.fullmatch(text, start, marker.start()):
            yield chunk(marker.start())
    yield chunk(len(text))


class _TooMuch(Exception):  # it never leaves this file
    """Parsing was given up at `mark`."""

    def __init__(self, summary: str, mark: Mark | None) -> None:
        super().__init__(summary)
        self.mark = mark


class _Parser(CParser):
    """libyaml, which composes nodes: bounded in depth and number, and leaving the meaning of plain scalars to us."""

    __slots__ = ("depth", "nodes")  # counted at every node: in a dict it takes a quarter of the time

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0

    def resolve(self, kind: type[Node], _value: object, implicit: Sequence[bool]) -> str:
        return _PLAIN if kind is ScalarNode and implicit[0] else ""

    def descend_resolver(self, parent: Node | None, _index: object) -> None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            limit = f"levels than {MAX_DEPTH}" if self.depth > MAX_DEPTH else f"than {MAX_NODES:,} values"
            raise _TooMuch(f"more {limit} in one document", None if parent is None else parent.start_mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


@lru_cache(maxsize=4)
def _compose(text: str) -> tuple[Node | None, int]:
    """The node tree of a document and how many nodes it has. Kept for a few documents only: trees are heavy."""
    parser = _Parser(text)
    return parser.get_single_node(), parser.nodes


def _child(node: Node, part: str | int) -> tuple[Mark, Node] | None:
    """Where the part of a collection begins (its key in a mapping), and its node."""
    if isinstance(node, MappingNode):
        return next(((key.start_mark, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark, node.value[part]
    return None


def _place(file: str, line: int, text: str, mark: Mark | None) -> Where:
    """The place of a mark; the last character stands for the end of the file, which is no place to look at."""
    if mark is None:
        return Where(file, line + 1, 1)
    lines = text.removesuffix("\n").split("\n") if mark.index >= len(text) else []
    if lines and mark.line >= len(lines):
        return Where(file, line + len(lines), max(len(lines[-1].rstrip("\r")), 1))
    return Where(file, line + mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Builder:
    """Makes the tree of one document, and collects what is wrong with it."""

    file: str
    line: int
    text: str
    budget: int
    faults: list[Diagnostic] = field(default_factory=list)
    broken: bool = False
    empty: bool = False
    expanded: int = 0
    _visited: int = 0
    _limit: int = 0
    _open: set[int] = field(default_factory=set)

    def tree(self) -> Json:
        """The tree; meaningless where `broken` or `empty`."""
        count = 0
        try:
            node, count = _compose(self.text)
            self.empty = node is None or (isinstance(node, ScalarNode) and node.tag == _PLAIN and not node.value)
            self._limit = count + self.budget
            return None if node is None else self._build(node, 0)
        except MarkedYAMLError as error:
            self._syntax(error)
        except _TooMuch as error:
            self._refuse(str(error), error.mark)
        finally:
            self.expanded = max(self._visited - count, 0)
        return None

    def _build(self, node: Node, depth: int) -> Json:
        self._visited += 1
        if self._visited > self._limit:
            raise _TooMuch(f"the aliases of this file stand for more than {MAX_NODES:,} values", node.start_mark)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if id(node) in self._open or depth >= MAX_DEPTH:
            raise _TooMuch("an alias inside of what it stands for, or nested too deep", node.start_mark)
        self._open.add(id(node))
        if node.tag not in ("", f"{_CORE}{'map' if isinstance(node, MappingNode) else 'seq'}"):
            self._refuse(f"tag {_tag(node)} is not supported here", node.start_mark)
        tree = (
            self._mapping(node, depth)
            if isinstance(node, MappingNode)
            else [self._build(each, depth + 1) for each in node.value]
        )
        self._open.discard(id(node))
        return tree

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Json]:
        tree: dict[str, Json] = {}
        for key, value in node.value:
            self._visited += 1
            if not isinstance(key, ScalarNode):
                self._refuse("a key must be a text", key.start_mark)
                continue
            name = key.value
            if name == "<<" and key.tag == _PLAIN:
                self._refuse(
                    "merge keys (<<) are not supported",
                    key.start_mark,
                    "write the keys out, or use `defaults` of ftops.yaml",
                )
            elif name in tree:
                first = next(each for each, _ in node.value if each.value == name)
                self.faults.append(
                    Diagnostic(
                        f"key {name!r} stands twice",
                        f"first in line {self.line + first.start_mark.line + 1}",
                        "remove one of them",
                        where=_place(self.file, self.line, self.text, key.start_mark),
                    )
                )
            else:
                tree[name] = self._build(value, depth + 1)
        return tree

    def _scalar(self, node: ScalarNode) -> Json:
        tag, text = node.tag, node.value
        if tag == "":
            return text
        try:
            if tag == _PLAIN:
                return plain(text)
            if tag == f"{_CORE}str":
                return text
            value = plain(text)
        except ValueError as error:
            self._refuse(str(error), node.start_mark, "put it in quotes if it is a text")
            return None
        if type(value) not in _TAGGED.get(tag.removeprefix(_CORE), ()):
            self._refuse(f"tag {_tag(node)} is not supported here", node.start_mark)
        return value

    def _refuse(self, summary: str, mark: Mark | None, hint: str = "") -> None:
        self.broken = True
        self.faults.append(Diagnostic(summary, hint=hint, where=_place(self.file, self.line, self.text, mark)))

    def _syntax(self, error: MarkedYAMLError) -> None:
        problem, mark = error.problem or "", error.problem_mark
        character = self._character(mark)
        if "\t" in character or "tab character" in problem:
            self._refuse("a tab cannot indent YAML", mark, "use spaces")
        elif problem.startswith("found character that cannot start"):
            self._refuse(f"a text cannot begin with {character}", mark, "put it in quotes")
        elif problem.startswith("mapping values are not allowed"):
            self._refuse(
                "a ':' cannot stand here", mark, "begin a new line for a key, or put a text with ': ' in quotes"
            )
        elif "duplicate anchor" in (error.context or ""):
            self._refuse("an anchor of this name stands earlier in the document", mark, "give it another name")
        else:
            at_end = mark is None or mark.index >= len(self.text)
            summary = f"this is not valid YAML: {', '.join(part for part in (error.context, problem) if part)}"
            self._refuse(summary, (error.context_mark if at_end else None) or mark)

    def _character(self, mark: Mark | None) -> str:
        return "" if mark is None else self.text[mark.index : mark.index + 1]


def _tag(node: Node) -> str:
    return f"!!{node.tag.removeprefix(_CORE)}" if node.tag.startswith(_CORE) else str(node.tag)
