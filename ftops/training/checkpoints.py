"""Which checkpoints and weights are whole. Reads headers and ends of files, needs neither torch nor safetensors.

A trainer writes its checkpoints in place, so a kill or a full disk leaves torn ones, and the highest number proves
nothing. Formats: safetensors (8 bytes length, JSON header, data), PyTorch files (zip archives).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.errors import ExternalError
from ftops.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedReader

    from ftops.digests import Json

HEADER_LIMIT: Final = 100_000_000
"""Bytes of a safetensors header, the limit of its reference implementation; also of any JSON that is read here."""
BLOCK: Final = 1 << 22
"""Bytes of a file that are read at once."""

CHECKPOINT: Final = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
WITH_WEIGHTS: Final = re.compile(
    r"(adapter_)?config\.json|generation_config\.json|tokenizer.*|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.(json|txt)|merges\.txt|spiece\.model|sentencepiece.*\.model|chat_template\.(jinja|json)"
)
"""Files beside weights that belong to a model: what it is, and its tokenizer."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint that a training can go on from; `world_size` processes wrote it."""

    path: Path
    step: int
    adapter: bool
    world_size: int


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A checkpoint or final weights that must not be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file's size in bytes and the sha256 (64 hex digits) of its content."""

    size: int
    sha256: str


class InvalidCheckpoint(Exception):
    """Why a file or folder is not whole, or not what it should be."""


def verify(folder: Path) -> Checkpoint | Incomplete:
    """Whether folder `checkpoint-N` is whole: its weights, its state, and all that is needed to go on from it."""
    try:
        step = check_state(folder)
        check_weights(folder)
        random = sorted(path.name for path in folder.glob("rng_state*.pth"))
        check_optimizer(folder, len(random))
        for name in ("scheduler.pt", *(random or ["rng_state.pth"])):
            check_archive(folder / name)
    except InvalidCheckpoint as fault:
        return Incomplete(folder, str(fault))
    return Checkpoint(folder, step, is_adapter(folder), len(random))


def by_step(output: Path) -> dict[int, Path]:
    """The checkpoints in a trainer's output folder, whole or not, by their step, which rises."""
    found = {int(match[1]): path for path in output.glob("checkpoint-*") if (match := CHECKPOINT.fullmatch(path.name))}
    return dict(sorted(found.items()))


def last_whole(output: Path) -> Checkpoint | None:
    """The whole checkpoint of the highest step in a trainer's output folder, None when there is none."""
    for path in reversed(by_step(output).values()):
        if isinstance(checkpoint := verify(path), Checkpoint):
            return checkpoint
    return None


def size(folder: Path) -> int:
    """The bytes of all files in `folder`, following no link; what is removed meanwhile counts nothing."""
    found = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += Path(parent, name).lstat().st_size
    return found


def logged(folder: Path) -> dict[str, float]:
    """What the trainer had logged at the step of checkpoint `folder`, by its own state; nothing where that is torn."""
    try:
        state = read_object(folder / "trainer_state.json")
    except InvalidCheckpoint:
        return {}
    found: dict[str, float] = {}
    for entry in reversed(state.get("log_history") or ()):
        if entry.get("step") != state.get("global_step"):
            break
        found |= {name: float(each) for name, each in entry.items() if isinstance(each, int | float) and name != "step"}
    return found


def read_whole(folder: Path) -> Mapping[str, FileDigest] | Incomplete:
    """The digest of every file of checkpoint `folder`, by its path in it: each byte was read, and each checksum is right.

    The archives of PyTorch hold checksums (CRC-32). Safetensors have none: of these the digests say if two copies are the same.
    """
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    try:
        # Both let other threads run while they compute.
        with ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), 4)) as pool:
            digests = pool.map(file_digest, paths)
            for _ in pool.map(check_sums, [path for path in paths if path.suffix in (".pt", ".pth")]):
                pass
            return {str(path.relative_to(folder)): each for path, each in zip(paths, digests, strict=True)}
    except InvalidCheckpoint as fault:
        return Incomplete(folder, str(fault))


def final_weights(output: Path) -> Mapping[str, FileDigest] | Incomplete:
    """The files of the model at the root of a trainer's output folder, by name, when its weights are whole.

    Configuration and tokenizer alone prove nothing (they are written before the first step); weights are written when
    the training ends, or is interrupted: whether all its steps were done, its events say.
    """
    try:
        weights = check_weights(output)
        others = {path.name for path in output.iterdir() if WITH_WEIGHTS.fullmatch(path.name) and path.is_file()}
        return {name: file_digest(output / name) for name in sorted(weights | others)}
    except InvalidCheckpoint as fault:
        return Incomplete(output, str(fault))


# ----------------------------------------------------------------------------------------------- the parts


def check_state(folder: Path) -> int:
    """The step of a checkpoint folder; raises InvalidCheckpoint when its state, which is written last, is not of that step."""
    if (found := CHECKPOINT.fullmatch(folder.name)) is None or folder.is_symlink() or not folder.is_dir():
        raise InvalidCheckpoint("it is no checkpoint folder")
    reached = read_object(folder / "trainer_state.json").get("global_step")
    if reached != (step := int(found[1])):
        raise InvalidCheckpoint(f"trainer_state.json is of step {reached}")
    return step


def is_adapter(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("adapter_config.json", "adapter_model.safetensors"))


def check_weights(folder: Path) -> set[str]:
    """The names of the weight files in `folder`, with their index; raises InvalidCheckpoint when one is missing or torn."""
    prefix, config = ("adapter_", "adapter_config.json") if is_adapter(folder) else ("", "config.json")
    read_object(folder / config)
    single, index = f"{prefix}model.safetensors", f"{prefix}model.safetensors.index.json"
    if not (folder / index).exists():
        tensors(folder / single)
        return {single}
    shards: dict[str, set[str]] = {}
    placed = read_object(folder / index).get("weight_map")
    for tensor, shard in placed.items() if isinstance(placed, dict) else ():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise InvalidCheckpoint(f"{index} names {shard!r}")
        shards.setdefault(shard, set()).add(tensor)
    if not shards:
        raise InvalidCheckpoint(f"{index} names no weights")
    for shard, names in shards.items():
        if missing := names - tensors(folder / shard):
            raise InvalidCheckpoint(f"{shard} lacks {min(missing)}")
    return {index, *shards}


def tensors(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file; raises InvalidCheckpoint when its data is not all there."""
    return set(layout(path)[1])


def layout(path: Path) -> tuple[int, dict[str, Json]]:
    """Where the data of a safetensors file begins, and its header: what it says of each tensor, by name.

    Raises InvalidCheckpoint when its data is not all there. Format: https://github.com/huggingface/safetensors#format
    """
    with reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER_LIMIT, size - 8):
            raise InvalidCheckpoint(f"{path.name} is torn: its header is not whole")
        header = parse(path, file.read(length))
    header.pop("__metadata__", None)
    try:
        ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        raise InvalidCheckpoint(f"{path.name} has a header that places no data") from None
    if not ends:
        raise InvalidCheckpoint(f"{path.name} holds no tensors")
    if 8 + length + max(ends) != size:
        raise InvalidCheckpoint(f"{path.name} is torn: {size} bytes of {8 + length + max(ends)}")
    return 8 + length, header


def check_optimizer(folder: Path, processes: int) -> None:
    """Raises InvalidCheckpoint unless the state of the optimizer is there and whole.

    It is one file, or with DeepSpeed a part of each process in the folder that `latest` names, or with FSDP several files
    that `.metadata`, which is written last, places.
    """
    if (latest := folder / "latest").exists():
        with reading(latest) as file:
            tag = file.read(200).decode("ascii", "replace").strip()
        if Path(tag).name != tag or not (folder / tag).is_dir():
            raise InvalidCheckpoint(f"latest names {tag!r}, which is no folder")
        parts = sorted((folder / tag).glob("*_optim_states.pt"))
        if len(parts) < processes:
            raise InvalidCheckpoint(f"{tag} has the optimizer's state of {len(parts)} of {processes} processes")
        models = sorted((folder / tag).glob("*_model_states.pt"))
        if not models:
            raise InvalidCheckpoint(f"{tag} has no model states")
        for path in (*parts, *models):
            check_archive(path)
    elif (divided := folder / "optimizer_0").is_dir():
        parts = [path for path in divided.glob("*.distcp") if path.stat().st_size]
        if not parts or not (divided / ".metadata").exists():
            raise InvalidCheckpoint("optimizer_0 is torn: it has no .metadata" if parts else "optimizer_0 is empty")
    else:
        whole = folder / "optimizer.bin"
        check_archive(whole if whole.exists() else folder / "optimizer.pt")


def check_archive(path: Path) -> None:
    """Raises InvalidCheckpoint unless `path` is a PyTorch file with its end: the directory of a zip archive is written last."""
    with reading(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                whole = bool(archive.infolist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            whole = False
    if not whole:
        raise InvalidCheckpoint(f"{path.name} is torn: it has no directory at its end")


def check_sums(path: Path) -> None:
    """Raises InvalidCheckpoint where the content of a PyTorch file is not what its checksums say."""
    with reading(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error) as error:
            damaged = str(error)
    if damaged is not None:
        raise InvalidCheckpoint(f"{path.name} is damaged: {damaged}")


def file_digest(path: Path) -> FileDigest:
    found, size, block = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    with reading(path) as file:
        while count := file.readinto(block):
            size += count
            with contextlib.suppress(
                OSError
            ):  # the disk reads on while this is hashed, where the file system takes advice
                os.posix_fadvise(file.fileno(), size, BLOCK, os.POSIX_FADV_WILLNEED)
            found.update(block[:count])
    return FileDigest(size, found.hexdigest())


def read_object(path: Path) -> dict[str, Json]:
    """The JSON object in `path`; raises InvalidCheckpoint when it isn't one."""
    with reading(path) as file:
        return parse(path, file.read(HEADER_LIMIT))


def parse(path: Path, text: bytes) -> dict[str, Json]:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{path.name} holds no JSON object")
    return value


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """The regular file `path`; raises InvalidCheckpoint when there is none or it can't be read."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            yield file
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path.name} is missing") from None
    except (OSError, ExternalError) as error:
        raise InvalidCheckpoint(str(error)) from error
