"""How a resource is called everywhere."""

from __future__ import annotations

from typing import Final, NamedTuple

API_VERSION: Final = "ftops/v1"
FORMAT_VERSION: Final = "1.0"


class Address(NamedTuple):
    """`Kind/name`: how a resource is called everywhere."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """The address that `text` spells, or None."""
        kind, slash, name = text.partition("/")
        return cls(kind, name) if slash and kind and name and "/" not in name else None
