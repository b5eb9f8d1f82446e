"""Setting up to develop: the lock, and what `make` installs from it and says meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "dev.lock").read_text()
PIN = re.compile(r"([a-z0-9-]+)==([^ ]+)(?: ; [^\n]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


# ---------------------------------------------------------------------------------------------------- the lock


def pins() -> dict[str, str]:
    return {name: version for name, version, _ in PIN.findall(LOCK)}


def asked() -> list[str]:
    """All that pyproject.toml asks for: to build, to run, for each extra, and to develop."""
    tree = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = tree["project"]
    lists = (
        *(tree["build-system"]["requires"], project["dependencies"]),
        *project["optional-dependencies"].values(),
        *tree["dependency-groups"].values(),
    )
    return [each for some in lists for each in some]


def unmet(requirements: list[str]) -> list[str]:
    pinned = pins()
    return [
        each
        for each in requirements
        if (name := canonicalize_name(Requirement(each).name)) not in pinned
        or not Requirement(each).specifier.contains(pinned[name], prereleases=True)
    ]


def test_the_lock_pins_all_that_is_asked_for_as_it_is_asked_for():
    assert len(asked()) > 40
    assert unmet(asked()) == [], "make lock"


def test_what_the_lock_does_not_pin_would_be_found():
    assert unmet(["pyyaml>=6", "pyyaml>=99", "PyYAML<6", "not-there"]) == ["pyyaml>=99", "PyYAML<6", "not-there"]


def test_every_line_of_the_lock_is_a_pin_with_hashes():
    """So no address of an index, no path and no option stands in it, either."""
    assert [line for line in PIN.sub("", LOCK).splitlines() if not re.fullmatch(r"# [\w :]+", line)] == []
    assert len(pins()) == len(PIN.findall(LOCK)) > 200


def test_ftops_is_developed_without_torch():
    assert "torch" not in pins()


# --------------------------------------------------------------------------------------------------- make says

PYTHON = """#!/usr/bin/env bash
# Stands for Python and its pip: it makes an environment, warns as pip does, and notes what it was asked for.
echo "$@" >> {folder}/asked
if [[ "$2" == venv ]]; then
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    exit
fi
for number in {{1..300}}; do echo "WARNING: Location $number is ignored" >&2; done
for each in "$@"; do [[ $each == /dev/fd/* ]] && cat "$each" > {folder}/first; done
if [[ "$*" == *"$(cat {folder}/broken)"* ]]; then
    echo "ERROR: no such package" >&2
    exit 1
fi
install -m 755 /dev/null "$(dirname "$0")/ftops"
"""


@pytest.fixture
def clone(tmp_path):
    for name in ("Makefile", "dev.lock", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON.format(folder=tmp_path))
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "broken").write_text("nothing is")
    return tmp_path


def make(clone, target=".venv/bin/ftops"):
    command = ["make", "--no-print-directory", target, f"PYTHON={clone / 'python'}"]
    # The tests may run under `make` themselves, whose flags and depth are not meant for this one.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False)


def changed(clone, name):
    """As if the file had changed long after what `make` made."""
    (clone / name).touch()
    for made in (".venv/locked", ".venv/bin/ftops"):
        os.utime(clone / made, (0, 0))
    if name != "dev.lock":
        os.utime(clone / "dev.lock", (0, 0))


def test_setting_up_takes_one_line_and_the_rest_is_in_the_log(clone):
    done = make(clone)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Setting up .venv, a minute or two\n", "")
    assert (clone / ".venv/install.log").read_text().count("WARNING: Location 300") == 3
    assert make(clone).stdout == "make: '.venv/bin/ftops' is up to date.\n"


def test_all_is_installed_from_the_lock_and_pip_itself_first(clone):
    make(clone)
    _, pip, others, ftops = (clone / "asked").read_text().splitlines()
    assert PIN.findall((clone / "first").read_text()) == [each for each in PIN.findall(LOCK) if each[0] == "pip"]
    assert "--require-hashes --requirement /dev/fd/" in pip
    assert others == "-m pip install --no-input --require-hashes --requirement dev.lock"
    assert ftops == "-m pip install --no-input --no-deps --no-build-isolation --editable ."


@pytest.mark.parametrize("broken", ["/dev/fd/", "dev.lock", "--editable"])
def test_a_failure_names_the_log_and_shows_its_end(clone, broken):
    (clone / "broken").write_text(broken)
    done = make(clone)
    assert done.returncode != 0
    *_, last, named, _ = done.stderr.splitlines()
    assert last == "ERROR: no such package"
    assert named == ".venv could not be set up; all that was said is in .venv/install.log"
    assert "WARNING" not in done.stderr
    (clone / "broken").write_text("nothing is")
    assert make(clone).returncode == 0


def test_another_lock_is_another_environment(clone):
    make(clone)
    (clone / ".venv/left-over").touch()
    changed(clone, "dev.lock")
    assert make(clone).stdout == "Setting up .venv, a minute or two\n"
    assert not (clone / ".venv/left-over").exists()


def test_other_metadata_is_installed_into_the_same_environment(clone):
    make(clone)
    (clone / ".venv/kept").touch()
    changed(clone, "pyproject.toml")
    assert make(clone).stdout == ""
    assert (clone / ".venv/kept").exists()
    assert len((clone / "asked").read_text().splitlines()) == 5


def test_the_newest_versions_are_tried_in_an_environment_of_their_own(clone):
    done = make(clone, "test-newest")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Setting up .venv-newest with the newest versions, a minute or two\n")
    assert not (clone / ".venv").exists()
    _, pip, all_of_it, tests = (clone / "asked").read_text().splitlines()
    assert pip == "-m pip install --no-input --upgrade pip"
    assert all_of_it == "-m pip install --no-input --editable . --group dev"
    assert tests.startswith("-m pytest ")
