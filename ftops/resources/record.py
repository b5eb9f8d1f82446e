"""What the records of all kinds share: what came out for a resource, as it is committed under registry/.

A record is YAML with sorted keys, so that a diff shows only what changed. It holds no absolute path and no secret.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from ftops.resources.fields import Name, Strict

FOLDER: Final = "registry/"

Digest = str


class RecordMetadata(Strict):
    name: Name


class FileEntry(Strict):
    sha256: Digest
    size: int


class Record(Strict):
    """A record. A kind adds `kind`, `status`, and the folder below registry/ that its records lie in."""

    folder: ClassVar[str]

    api_version: Literal["ftops/v1"] = "ftops/v1"
    metadata: RecordMetadata

    @classmethod
    def path_of(cls, *names: str) -> str:
        """Where the record of that name lies (of a model: that name and version)."""
        return f"{FOLDER}{cls.folder}/{'/'.join(names)}.yaml"

    @property
    def path(self) -> str:
        return self.path_of(self.metadata.name)

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        raise NotImplementedError
