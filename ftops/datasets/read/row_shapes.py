"""From a row in a file to the fields of its shape, or to each reason why not. Runs in the child that parses.

Which columns and forms are understood is told in `docs/explanation/data.md`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from ftops.datasets.read.chats import Message, message_of, messages_of, tools_of
from ftops.datasets.read.parse_options import Form
from ftops.datasets.read.row_errors import Fault, text_of
from ftops.digests import Json

if TYPE_CHECKING:
    from ftops.datasets.spec import Shape

Row = Mapping[str, Json]
TURNS: Final = ("messages", "conversations", "conversation")
"""Columns that chats are found in, where the spec names none."""
PROMPTS: Final = (*TURNS, "prompt", "question", "instruction")
"""Columns that what was preferred is an answer to."""
TOLD: Final = 5
"""Faults of one row that are told."""


class Shaper:
    """Makes fields of rows. `used` are the columns that were looked at, `unread` parts of messages that were not."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._make = {"chat": self._chat, "preference": self._preference}.get(form.shape, self._texts)
        self._plain = [(name, next(iter(sources(form, name)), None), name in form.required) for name in form.fields]
        self._sources: list[Any] = [source for _, source, _ in self._plain]
        self._must = [index for index, (_, _, must) in enumerate(self._plain) if must]
        self.used: dict[str, None] = {}
        self.unread: dict[str, None] = {}
        if self._make == self._texts:
            self.used.update((source, None) for _, source, _ in self._plain if source is not None)

    def fields(self, row: Row, faults: list[Fault]) -> tuple[Any, ...]:
        """The values of `form.fields`, worth something only when nothing was added to `faults`."""
        values = self._make(row, faults)
        del faults[TOLD:]
        return values

    def _texts(self, row: Row, faults: list[Fault]) -> tuple[str, ...]:
        get = row.get
        values: list[Any] = [get(source, "") for source in self._sources]
        # Nearly every row is sound, which is quickly seen of all its texts together; what is wrong is then looked for.
        try:
            sound = "\0" not in "".join(values)
        except TypeError:
            sound = False
        for at in self._must if sound else ():
            if not values[at] or values[at].isspace():
                sound = False
        if not sound:
            values = [
                text_of(None if source is None else row.get(source), name, faults, required=must)
                for name, source, must in self._plain
            ]
        return tuple(values)

    def _chat(self, row: Row, faults: list[Fault]) -> tuple[list[Message], str]:
        messages = messages_of(self._first(row, "messages")[1], "messages", faults, self.unread)
        messages = self._with_system(row, messages, faults)
        if not faults and not any(message.role == "assistant" for message in messages):
            faults.append(Fault("messages", "no answer", "has no message of the assistant: nothing could be learned"))
        return messages, tools_of(self._first(row, "tools")[1], "tools", faults)

    def _preference(self, row: Row, faults: list[Fault]) -> tuple[list[Message], str, str]:
        """An answer is a text, a message, or the last message of a whole chat, which then begins as that of the other."""
        chats = {name: self._answer(row, name, faults) for name in ("chosen", "rejected")}
        starts = [chat[:-1] for chat in chats.values() if chat]
        if any(starts):
            if len(starts) == 2 and starts[0] != starts[1]:
                faults.append(Fault("rejected", "prompt", "answers something else than chosen does"))
            messages = starts[0]
        else:
            messages = self._prompt(row, faults)
        messages = self._with_system(row, messages, faults)
        if not faults and (not messages or messages[-1].role == "assistant"):
            faults.append(Fault("messages", "no question", "must end with what is to be answered"))
        chosen, rejected = ((chat[-1].content or "") if chat else "" for chat in chats.values())
        return messages, chosen, rejected

    def _answer(self, row: Row, name: str, faults: list[Fault]) -> list[Message]:
        _, value = self._first(row, name)
        if not isinstance(value, (list, dict)):
            return [Message("assistant", text_of(value, name, faults))]
        before = len(faults)
        if isinstance(value, list):
            chat = messages_of(value, name, faults, self.unread)
        else:
            chat = [message for message in [message_of(value, name, faults, self.unread)] if message is not None]
        if len(faults) == before and (not chat or chat[-1].role != "assistant" or not chat[-1].content):
            faults.append(Fault(name, "no answer", "must end with a text of the assistant"))
        return chat

    def _prompt(self, row: Row, faults: list[Fault]) -> list[Message]:
        source, value = self._first(row, "messages")
        if value is not None and not isinstance(value, str):
            return messages_of(value, "messages", faults, self.unread)
        text = text_of(value, "messages", faults)
        if source == "instruction" and (more := row.get("input")):
            self.used["input"] = None
            text = f"{text}\n{text_of(more, 'messages', faults)}"
        return [Message("user", text)]

    def _with_system(self, row: Row, messages: list[Message], faults: list[Fault]) -> list[Message]:
        """What a column `system` says goes before all."""
        if (value := row.get("system")) is None:
            return messages
        self.used["system"] = None
        text = text_of(value, "system", faults, required=False)
        if not text or text.isspace():
            return messages
        if messages and messages[0].role == "system":
            faults.append(Fault("system", "two systems", "stands beside a system message in the chat"))
        return [Message("system", text), *messages]

    def _first(self, row: Row, target: str) -> tuple[str, Json]:
        """The first column with a value among those that `target` is read from, and that value."""
        for source in sources(self._form, target):
            if (value := row.get(source)) is not None:
                self.used[source] = None
                return source, value
        return target, None


def sources(form: Form, target: str) -> tuple[str, ...]:
    """The columns that field `target` is read from: the first that has a value.

    A column that is mapped to one field is not read for another by its name, which that one can do without.
    """
    if target in form.columns:
        return (form.columns[target],)
    if target not in form.required and target in form.columns.values():
        return ()
    if target == "messages":
        return PROMPTS if form.shape == "preference" else TURNS
    return (target,)


def columns(form: Form) -> frozenset[str]:
    """Every column that may be looked at."""
    chats = {"system", "input"} if form.shape in ("chat", "preference") else set()
    found = {source for target in form.fields for source in sources(form, target)}
    return frozenset(found | chats | ({form.stratum} if form.stratum else set()))


def detect_shape(columns: Collection[str], mapped: Mapping[str, str]) -> Shape | None:
    """What rows with these columns, some of them `mapped` to a field, can be meant as; None when that can't be told."""
    known = {*columns, *mapped}
    if {"chosen", "rejected"} <= known:
        return "preference"
    if known & set(TURNS):
        return "chat"
    if {"instruction", "output"} <= known:
        return "instruction"
    return "completion" if "text" in known else None
