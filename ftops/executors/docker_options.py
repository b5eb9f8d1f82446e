"""How a training is contained: the `docker` of a runner in ftops.yaml. Loaded with every spec, so it stands beside the executor."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from ftops.resources.fields import Size
from ftops.resources.runner import Capabilities, RunnerOptions

_REFERENCE: Final = r"[a-z0-9]([-a-zA-Z0-9._:]*)(/[a-z0-9][-a-z0-9._]*)*(:[A-Za-z0-9_][-A-Za-z0-9._]*)?"
_PINNED: Final = re.compile(rf"({_REFERENCE}@)?sha256:[0-9a-f]{{64}}")
_FORM: Final = "NAME@sha256: and 64 hex digits"


def _gpu_ids(value: object) -> object:
    """`all`, or the ids in a list or a text, each once."""
    if value is None or value == "all":
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}(, ?[0-9]{1,4})*", value):
        value = [int(each) for each in value.split(",")]
    if not isinstance(value, list) or not value or not all(type(each) is int and each >= 0 for each in value):
        raise PydanticCustomError("gpus", "expected all, or ids of GPUs such as [0, 1] or '0,1'")
    if twice := sorted({each for each in value if value.count(each) > 1}):
        raise PydanticCustomError("gpus", "GPU {id} is named twice", {"id": twice[0]})
    return tuple(value)


Gpus = Annotated[
    Literal["all"] | tuple[int, ...] | None,
    BeforeValidator(_gpu_ids),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "all"},
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True},
                {"type": "string", "pattern": "^[0-9]{1,4}(, ?[0-9]{1,4})*$"},
                {"type": "null"},
            ]
        }
    ),
]


class Docker(RunnerOptions):
    """The container that a training runs in. What is not named here it does not get."""

    needed: ClassVar = "executor docker needs to know the image: `docker: {image: NAME@sha256:…}`"

    allow: tuple[str, ...] = Field(default=(), description="Images that may be named by a tag.")
    image: str = Field(description=f"The image, by its digest: {_FORM}.")
    engine: Literal["image", "host"] = Field(
        default="image",
        description="Where Axolotl is: on the image's PATH, or in the engine's environment of this machine, which is "
        "mounted.",
    )
    user: str | None = Field(
        default=None,
        pattern=r"^[0-9]{1,10}:[0-9]{1,10}$",
        description="`UID:GID` of the processes; that of the store's owner when absent, or 1000:1000 when that is root.",
    )
    network: str = Field(
        default="none",
        pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$",
        description="`none`, `bridge`, `host`, or the name of a network of Docker's.",
    )
    memory: Size | None = Field(
        default=None, ge=6 << 20, description="Most memory, swap included; no limit when absent."
    )
    cpus: float | None = Field(default=None, gt=0, description="Most processors; no limit when absent.")
    shared_memory: Size = Field(default=1 << 30, ge=1, description="Size of /dev/shm.")
    gpus: Gpus = Field(default=None, description="`all`, or ids such as `[0, 1]` or `0,1`; none when absent.")
    host: str | None = Field(
        default=None,
        pattern=r"^unix:///[^\s]+$",
        description="The daemon's socket, on this machine; DOCKER_HOST when absent, else Docker's own.",
    )
    cache: str | None = Field(
        default=None,
        pattern=r"^/[^\x00]+$",
        description="Folder of Hugging Face's caches (HF_HOME) on this machine; one in the store when absent.",
    )

    @field_validator("image")
    @classmethod
    def _is_pinned(cls, image: str, info: ValidationInfo) -> str:
        """Allowed images are known by now: fields are validated in their order."""
        if "allow" not in info.data or image in info.data["allow"] or _PINNED.fullmatch(image):
            return image
        name = image.partition("@")[0]
        if not re.fullmatch(_REFERENCE, name):
            raise PydanticCustomError("image", "expected {form}, found {image}", {"form": _FORM, "image": repr(image)})
        raise PydanticCustomError(
            "image",
            "expected an image by its digest, {name}@sha256:…, found {image}: a tag can move (to trust it all the same, "
            "list it under allow)",
            {"name": re.sub(r":[^/:]*$", "", name), "image": repr(image)},
        )

    def check_capabilities(self, capabilities: Capabilities) -> None:
        count = capabilities.gpus
        if self.gpus is None and count:
            raise PydanticCustomError(
                "gpus", "capabilities.gpus is {count}, but the container gets none: set gpus here", {"count": count}
            )
        if self.gpus is not None and not count:
            raise PydanticCustomError("gpus", "gpus goes with capabilities.gpus, which says that there are none")
        if isinstance(self.gpus, tuple) and (highest := max(self.gpus)) >= count:
            raise PydanticCustomError(
                "gpus",
                "GPU {id} is out of range: capabilities.gpus is {count}, so ids are 0 to {last}",
                {"id": highest, "count": count, "last": count - 1},
            )

    def gpus_of(self, capabilities: Capabilities) -> int:
        """All, unless the container is given some."""
        return len(self.gpus) if isinstance(self.gpus, tuple) else capabilities.gpus

    @property
    def is_process_here(self) -> bool:
        return False

    @property
    def uses_engine_here(self) -> bool:
        return self.engine == "host"

    @property
    def is_offline(self) -> bool:
        return self.network == "none"

    def software(self, engine: str) -> str:
        return f"{engine} in {self.image}"
