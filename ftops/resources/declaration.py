"""What every YAML document of ftops has: apiVersion, kind and metadata."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ftops.plan.address import Address
from ftops.resources.fields import Name, Strict


class Metadata(Strict):
    name: Name = Field(description="Name of the resource, unique within its kind.")
    labels: dict[str, str] = Field(default_factory=dict, description="Free labels; they never cause work.")
    description: str = Field(default="", description="What this is for, in a sentence.")


class Declaration(Strict):
    """A YAML document: the project, or a resource. It adds `spec`."""

    kind_name: ClassVar[str]

    api_version: Literal["ftops/v1"] = Field(description="Version of this format.")
    metadata: Metadata

    @property
    def address(self) -> Address:
        return Address(self.kind_name, self.metadata.name)
