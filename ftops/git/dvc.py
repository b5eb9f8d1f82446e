"""DVC, the only adapter to it: reads `.dvc` pointers (without importing dvc), and has dvc write, pull and push them."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import orjson

from ftops.digests import Json, digest
from ftops.documents.yaml_positions import MAX_BYTES, read_documents
from ftops.errors import Diagnostic, ExternalError, SpecError, Where
from ftops.files import open_regular, read_bytes
from ftops.plan.observed import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_MD5: Final = re.compile(r"[0-9a-f]{32}(\.dir)?")
_MANIFEST_BYTES: Final = 1 << 28
_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Pointer:
    """One output of a `.dvc` file: `path` (below the project) has this content.

    `digest` is "md5:…", with ".dir" at its end for a folder (then it is that of the folder's manifest); `size` in bytes.
    """

    path: str
    file: str
    digest: str
    size: int | None
    files: int | None

    @property
    def is_folder(self) -> bool:
        return self.digest.endswith(".dir")


class Pointers:
    """The `.dvc` files of a project, each read when a path is asked for that it may cover.

    A pointer is looked for in the folders on the way to a path: there `dvc add` puts it. Steps of a `dvc.yaml` are not
    looked at.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[PurePosixPath, tuple[Pointer, ...]] = {}
        self._manifests: dict[str, Mapping[str, str] | None] = {}

    def identify(self, path: str) -> Source | None:
        """What the pointer says that `path` is, None when no pointer covers it.

        The digest of a file in a folder comes from the folder's manifest; None where that isn't at hand. `present` says
        that the work tree has it, not that it is unchanged: see `changed`.
        Raises SpecError for a pointer that can't be understood, and for a path out of the project.
        """
        place = _inside(path)
        pointer = self._covering(place)
        if pointer is None:
            return None
        if place == PurePosixPath(pointer.path):
            return Source(path, pointer.digest, pointer.digest, present=self._is_present(pointer))
        manifest = self._manifest(pointer)
        name = place.relative_to(pointer.path).as_posix()
        present = (self._root / place).is_file()
        if manifest is None:
            return Source(path, None, pointer.digest, present)
        below = {each: md5 for each, md5 in manifest.items() if each.startswith(f"{name}/")}
        if name in manifest:
            return Source(path, f"md5:{manifest[name]}", pointer.digest, present)
        if below:
            present = all((self._root / pointer.path / each).is_file() for each in below)
            return Source(path, f"md5:{digest(below)}", pointer.digest, present)
        return None  # it lies in the folder, and the pointer doesn't know it

    def changed(self, path: str, md5: Callable[[Path], str]) -> Diagnostic | None:
        """What is to be said when the content of `path` in the work tree is not what its pointer says, else None.

        `md5` gives the 32 hex digits of a file (the caller may remember them by size, time and inode). A missing file is
        no change. Without the folder's manifest, and for pointers of DVC before 3.0 (their md5 is not one of the bytes),
        only the size of the whole is compared.
        """
        place = _inside(path)
        pointer = self._covering(place)
        if pointer is None:
            return None
        expected = self._expected(pointer)
        if expected is None:
            found = _files(self._root / pointer.path)
            same = not found or pointer.size in (None, sum(file.stat().st_size for file in found))
        else:
            same = all(file in expected and expected[file] == md5(file) for file in _files(self._root / place))
        if same:
            return None
        hint = f"keep the change: dvc add {pointer.path}; or undo it: dvc checkout {pointer.file}"
        return Diagnostic(f"{path} changed since its pointer", hint=hint, where=Where(pointer.file))

    def _expected(self, pointer: Pointer) -> dict[Path, str] | None:
        """The files of a pointer with the md5 of their bytes; None where that can't be known."""
        algorithm, _, hexadecimal = pointer.digest.partition(":")
        place = self._root / pointer.path
        if algorithm != "md5":
            return None
        if not pointer.is_folder:
            return {place: hexadecimal}
        manifest = self._manifest(pointer)
        return None if manifest is None else {place / name: each for name, each in manifest.items()}

    def covering(self, path: str) -> Pointer | None:
        """The pointer of `path`, or of a folder that it lies in, whether it is known there or not; None without one.

        Raises SpecError for a pointer that can't be understood, and for a path out of the project.
        """
        return self._covering(_inside(path))

    def _covering(self, place: PurePosixPath) -> Pointer | None:
        """The pointer nearest to `place`: of it, or of a folder above."""
        candidates = [each for folder in place.parents for each in self._in_folder(folder)]
        covering = [each for each in candidates if place.is_relative_to(each.path)]
        return max(covering, key=lambda each: len(each.path), default=None)

    def _in_folder(self, folder: PurePosixPath) -> tuple[Pointer, ...]:
        if folder not in self._folders:
            files = sorted(each.name for each in (self._root / folder).glob("*.dvc") if not each.is_dir())
            self._folders[folder] = tuple(each for name in files for each in _read(self._root, folder / name))
        return self._folders[folder]

    def _is_present(self, pointer: Pointer) -> bool:
        place = self._root / pointer.path
        if not pointer.is_folder:
            return place.is_file()
        manifest = self._manifest(pointer)
        if manifest is not None:
            return all((place / name).is_file() for name in manifest)
        return place.is_dir() and pointer.files in (None, len(_files(place)))

    def _manifest(self, pointer: Pointer) -> Mapping[str, str] | None:
        """File → md5 of a folder, from DVC's cache or a remote that is a folder here; None when neither has it."""
        if pointer.digest not in self._manifests:
            hexadecimal = pointer.digest.partition(":")[2]
            stores = _stores(self._root)
            texts = (_object(store, hexadecimal) for store in stores)
            found = next((text for text in texts if text is not None), None)
            self._manifests[pointer.digest] = None if found is None else _manifest(found)
        return self._manifests[pointer.digest]


def pointers(root: Path) -> Pointers:
    """The pointers of the project at `root`."""
    return Pointers(root)


def pull(root: Path, paths: Sequence[str], say: Callable[[str], None]) -> None:
    """Brings the content of `paths` into the work tree by `dvc pull`. Raises ExternalError with what dvc said."""
    _dvc(root, "pull", paths, say, "check the remote: dvc remote list")


def push(root: Path, files: Sequence[str], say: Callable[[str], None]) -> None:
    """Brings what the pointers `files` point to to the remote by `dvc push`. Raises ExternalError with what dvc said."""
    _dvc(root, "push", files, say, "check the remote: dvc remote list (dvc remote add -d NAME URL makes one)")


def add(root: Path, path: str, say: Callable[[str], None]) -> str:
    """Has DVC track `path` as it is now; returns the pointer, which is to be committed.

    What lies in a folder that is tracked as a whole is tracked by tracking that folder anew. Raises ExternalError with
    what dvc said, or where nothing has made the project one of DVC.
    """
    if _home(root) is None:
        raise ExternalError(Diagnostic(f"{root} is no project of DVC", hint="dvc init, then commit what it made"))
    place = _inside(path).as_posix()
    covering = Pointers(root).covering(place)
    target = place if covering is None else covering.path
    _dvc(root, "add", [target], say, "what git tracks can't be tracked by DVC too: git rm --cached takes it out of git")
    return f"{target}.dvc" if covering is None else covering.file


def _dvc(root: Path, verb: str, paths: Sequence[str], say: Callable[[str], None], hint: str) -> None:
    """Runs dvc; raises ExternalError with the last lines that it said, `hint`, and how to try by hand."""
    targets = [_inside(path).as_posix() for path in paths]
    by_hand = f"dvc {verb} {' '.join(targets)}"
    say(by_hand)
    # A process of its own: importing dvc costs seconds, and it changes logging and signals of the process it is in.
    # -P: a folder dvc/ of the project is not taken for it.
    command = [sys.executable, "-P", "-m", "dvc", verb, "--", *targets]
    # CI has dvc leave out its look for a newer version, which goes on in the background.
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "CI": "true"}
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExternalError(Diagnostic(f"dvc {verb} gave no answer in {_SECONDS / 3600:.0f} h")) from error
    if done.returncode:
        said = re.sub(r"://[^/@\s]+@", "://***@", done.stdout.decode(errors="replace")).strip().splitlines()[-15:]
        hint = f"{hint}; then try it by hand: {by_hand}"
        raise ExternalError(Diagnostic(f"dvc could not {verb} {', '.join(targets)}", "\n".join(said), hint))


# ------------------------------------------------------------------------------------------------ reading pointers


def _inside(path: str) -> PurePosixPath:
    """`path`, when it stays below the project. Raises SpecError."""
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or "\0" in path or not place.parts:
        raise SpecError(Diagnostic(f"{path!r} leaves the project", hint="a relative path without .. is expected"))
    return place


def _files(place: Path) -> list[Path]:
    """The file `place`, or the files in that folder; empty where there is nothing."""
    return [each for each in (place, *place.rglob("*")) if each.is_file()]


def _read(root: Path, file: PurePosixPath) -> list[Pointer]:
    """The outputs that the `.dvc` file names. Raises SpecError with all that is wrong in it."""
    with os.fdopen(open_regular(root / file, root), "rb") as opened:
        documents, faults = read_documents(str(file), opened.read(MAX_BYTES + 1))
    if faults:
        raise SpecError(*faults)
    tree = documents[0].tree
    outs = tree.get("outs") if isinstance(tree, dict) else None
    if not isinstance(outs, list) or not all(isinstance(each, dict) for each in outs):
        raise SpecError(Diagnostic("not a DVC pointer", "expected a list under outs", where=Where(str(file))))
    wdir = tree.get("wdir", ".")
    found = [_pointer(file, str(wdir), out) for out in outs]
    if wrong := [each for each in found if isinstance(each, Diagnostic)]:
        raise SpecError(*wrong)
    return [each for each in found if isinstance(each, Pointer)]


def _pointer(file: PurePosixPath, wdir: str, out: Mapping[str, Json]) -> Pointer | Diagnostic:
    path, md5, algorithm = out.get("path"), out.get("md5"), out.get("hash", "md5-dos2unix")  # no hash: DVC before 3.0
    size, files = out.get("size"), out.get("nfiles")
    place = PurePosixPath(os.path.normpath(file.parent / wdir / str(path)))
    expected = ""
    if not isinstance(path, str) or place.is_absolute() or place.parts[:1] in ((), ("..",)):
        expected = "path: a path below the project"
    elif not isinstance(md5, str) or not _MD5.fullmatch(md5) or algorithm not in ("md5", "md5-dos2unix"):
        expected = "md5: 32 hex digits in quotes or .dir after them, and hash: md5 (other stores are not supported)"
    elif not all(each is None or (isinstance(each, int) and each >= 0) for each in (size, files)):
        expected = "size and nfiles: whole numbers"
    if expected:
        hint = "make it anew: dvc add"
        return Diagnostic(
            f"a DVC pointer that can't be understood: {path}", f"expected {expected}", hint, where=Where(str(file))
        )
    return Pointer(str(place), str(file), f"{algorithm}:{md5}", size, files)


# ----------------------------------------------------------------------------------------------- reading manifests


def _home(root: Path) -> Path | None:
    """The folder .dvc of the project, or of the repository around it; None where DVC was never made at home."""
    return next((each / ".dvc" for each in (root, *root.parents) if (each / ".dvc").is_dir()), None)


def _stores(root: Path) -> list[Path]:
    """The folders of this machine where DVC keeps objects: its cache, then the remotes that are folders."""
    if (home := _home(root)) is None:
        return []
    stores, config = [home / "cache"], configparser.RawConfigParser()
    try:
        for file in (home / "config", home / "config.local"):
            with suppress(FileNotFoundError):
                config.read_string(read_bytes(file, MAX_BYTES).decode(), str(file))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SpecError(Diagnostic("not a DVC configuration", str(error), where=Where(".dvc/config"))) from error
    for section in config.sections():
        url = config.get(section, "dir" if section == "cache" else "url", fallback=None)
        if url is not None and "://" not in url:
            stores.append(home / url)
    return stores


def _object(store: Path, hexadecimal: str) -> bytes | None:
    """The object of that md5, from the layout of DVC 3 or the one before; None where it isn't, or isn't whole."""
    for folder in (store / "files" / "md5", store):
        try:
            with os.fdopen(open_regular(folder / hexadecimal[:2] / hexadecimal[2:]), "rb") as file:
                content = file.read(_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError, ExternalError):
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == hexadecimal.removesuffix(".dir"):
            return content
    return None


def _manifest(text: bytes) -> dict[str, str]:
    """File → md5 of what DVC wrote: `[{"md5", "relpath"}, …]`. Raises SpecError."""
    try:
        entries = {str(_inside(each["relpath"])): each["md5"] for each in orjson.loads(text)}
    except (ValueError, TypeError, KeyError) as error:
        raise SpecError(Diagnostic("the manifest of a DVC folder can't be understood", str(error))) from error
    return entries
