"""The wheel: what is in it, what it asks for, and that it works where only it is."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import venv
import zipfile

import pytest

import ftops
from tests.support.projects import ROOT, dataset, model, run, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this tree, built with the build tools that are here."""
    folder = tmp_path_factory.mktemp("dist")
    # The very hook that pip calls; pip itself would fetch the build tool again into an environment of its own.
    script = "import sys, hatchling.build as build; print(build.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_everything_that_runs_is_inside_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "ftops", "templates"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    expected = {name if name.startswith("ftops/") else f"ftops/{name}" for name in tracked if (ROOT / name).exists()}
    assert {name for name in names if ".dist-info/" not in name} == expected
    for needed in (
        "ftops/templates/axolotl/full.yaml.j2", "ftops/templates/axolotl/lora.yaml.j2",
        "ftops/templates/axolotl/sft.yaml.j2", "ftops/training/axolotl/axolotl-0.19.0.json", "ftops/training/axolotl/axolotl-0.19.0.lock",
        "ftops/training/axolotl/plugin/ftops_axolotl.py", "ftops/training/axolotl/init_model.py", "ftops/executors/wrapper.py",
    ):  # fmt: skip
        assert needed in names


def test_what_it_asks_for(wheel):
    archive = zipfile.ZipFile(wheel)
    (place,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(place))
    required = {re.match(r"[\w.-]+", each)[0].lower() for each in metadata.get_all("Requires-Dist")}
    assert {"pydantic", "pyyaml", "click", "jinja2", "mlflow", "dvc", "pyarrow"} <= required
    assert not {"torch", "axolotl", "transformers", "accelerate", "datasets"} & required
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Version"] == ftops.__version__
    (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "ftops = ftops.__main__:main" in archive.read(entry).decode()


def test_it_works_where_only_it_is(wheel, tmp_path):
    """Installed into an environment without this tree: templates and the key snapshot are found, the trainer's too."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    others = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "others.pth").write_text(f"{others}\n")  # what it requires comes from the environment of the tests
    root = write(tmp_path / "project", dataset(), run(), model())
    script = "import ftops, sys; from ftops.cli import main; print(ftops.__file__, file=sys.stderr); main()"
    done = subprocess.run(
        [python, "-P", "-c", script, "run", "render", "base"], cwd=root, env={"PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stderr
    assert "base_model:" in done.stdout
