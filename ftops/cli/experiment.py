"""`ftops experiment`."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ftops.cli import text_or_json, wants_color
from ftops.datasets.finding import Finding
from ftops.digests import Json
from ftops.display.terminal import CLEAR
from ftops.errors import ChecksFailed, Diagnostic, ExternalError, SpecError, UsageError
from ftops.plan.text import diagnostics_text
from ftops.resources.fields import NAME_PATTERN

if TYPE_CHECKING:
    from ftops.experiments.analysis import InterimResult
    from ftops.experiments.record import Phase
    from ftops.experiments.spec.experiment import Experiment

KIND: Final = "Experiment"
STDIN: Final = "-"
MOST_FAULTS: Final = 10
"""Faulty rows that are listed; the others are counted."""

ASSIGN: Final = """\b
Examples:
  ftops experiment assign chat-v2 user-17 user-18
  ftops experiment assign specs/chat-v2.yaml - --format json < users.txt
"""

SIMULATE: Final = """\b
Examples:
  ftops experiment simulate chat-v2 --out logs/chat-v2/simulated.jsonl
  ftops experiment simulate chat-v2 --effect 0 --unhappy 2 --out - | head
"""

ANALYZE: Final = """\b
Examples:
  ftops experiment analyze chat-v2
  ftops experiment analyze specs/chat-v2.yaml --logs logs/monday.jsonl --logs logs/tuesday.jsonl --looks 0.25,0.5
"""

STATUS: Final = """\b
Examples:
  ftops experiment status chat-v2
  ftops experiment status chat-v2 --watch --every 30
"""


@click.group(epilog="Example:  ftops experiment assign chat-v2 user-17")
def experiment() -> None:
    """Assign, simulate, analyse and watch A/B experiments."""


# ---------------------------------------------------------------------------------------------------- assign


@experiment.command(epilog=ASSIGN, short_help="Say which arm a unit gets.")
@click.argument("name")
@click.argument("units", nargs=-1, required=True, metavar="UNIT...")
@text_or_json
@click.pass_obj
def assign(project: Path, name: str, units: tuple[str, ...], form: str) -> None:
    """Print the arm of each UNIT in the experiment NAME, which may also be the path of its spec (FILE, or FILE#NAME).

    A unit is what the spec's `unit` says: an id of a user or of a session. `-` reads them from stdin, one a line.
    Models are not looked up. The bucket is where the hash puts the unit, from 0 to below 1, as in the `ranges` of a spec.
    """
    from ftops.display.figure import Table
    from ftops.display.table import table_lines
    from ftops.experiments import assignment
    from ftops.plan.json import as_json

    allocation = _find(project, name)[0].allocation
    found = []
    for unit in _units(units):
        try:
            bucket = assignment.bucket(allocation.seed, unit) / assignment.WHOLE
            found.append((unit, assignment.assign(allocation, unit), bucket))
        except ValueError as error:
            raise UsageError(Diagnostic(f"{unit!r} is no unit: {error}")) from None
    if form == "json":
        click.echo(as_json([{"unit": unit, "arm": arm, "bucket": bucket} for unit, arm, bucket in found]))
    else:
        rows = tuple((unit, arm or "takes no part", f"{bucket:.4f}") for unit, arm, bucket in found)
        click.echo("\n".join(table_lines(Table(("unit", "arm", "bucket"), rows, frozenset((2,))))))


def _units(arguments: Iterable[str]) -> Iterator[str]:
    for each in arguments:
        if each == STDIN:
            # Half a surrogate pair stands for a byte that is no UTF-8; assigning refuses it.
            lines = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\n")
            yield from (line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines))
        else:
            yield each


def _find(start: Path, name: str) -> tuple[Experiment, Path | None]:
    """The experiment that `name` stands for, by name or by file, and the root of its project, if any."""
    from ftops.experiments.spec.experiment import Experiment
    from ftops.specs import find_one, find_root, read_one

    bare = name.removeprefix(f"{KIND}/")
    root: Path | None
    if re.fullmatch(NAME_PATTERN, bare):
        root = find_root(start)
        found = find_one(root, Experiment, bare)
    else:
        file, _, inside = name.partition("#")
        found = read_one(Path(file), Experiment, inside or None)
        try:
            root = find_root(Path(file).absolute().parent)
        except SpecError:
            root = None
    return found, root


# -------------------------------------------------------------------------------------------------- simulate


@experiment.command(epilog=SIMULATE, short_help="Make log rows from a seed.")
@click.argument("name")
@click.option("--out", required=True, metavar="FILE", help="Where the rows go, as JSONL; `-` for stdout.")
@click.option("--units", type=click.IntRange(min=1), default=2000, show_default=True, help="Units of all arms.")
@click.option("--days", type=click.IntRange(min=1), default=14, show_default=True, help="Days over which they arrive.")
@click.option("--start", help="First moment (RFC 3339); that of the spec's period, else 2026-01-05, when absent.")
@click.option(
    "--effect",
    type=float,
    default=0.2,
    show_default=True,
    help="How much better the primary metric is in every arm but the baseline, in standard deviations of the units.",
)
@click.option("--rated", type=float, default=0.6, show_default=True, help="Share of the rows with a rating.")
@click.option(
    "--unhappy",
    type=float,
    default=1.0,
    show_default=True,
    help="How many times as often bad answers are rated in the arms that are not the baseline.",
)
@click.option("--lost", type=float, default=0.0, show_default=True, help="Share of their units that leaves no rows.")
@click.option("--slower", type=float, default=1.0, show_default=True, help="How many times as long their answers take.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed, the same rows.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.pass_obj
def simulate(project: Path, /, name: str, out: str, *, start: str | None, force: bool, **situation: Any) -> None:
    """Write log rows as experiment NAME (or the one in a spec file) might get them; each says that it is simulated.

    Without other options everything is as it should be: the effect is there, the arms fill as their weights say.
    """
    from ftops.experiments.simulation import Situation
    from ftops.experiments.simulation import simulate as make

    if out != STDIN and Path(out).exists() and not force:
        raise UsageError(Diagnostic(f"{out} is there already", hint="give --force to overwrite it, or another name"))
    found, _ = _find(project, name)
    if begin := start or found.spec.period.start:
        situation["start"] = begin
    try:
        rows = make(found, Situation(**situation))
    except ValueError as error:
        raise UsageError(str(error)) from None
    _write(out, rows, situation["units"])


def _write(out: str, rows: Iterable[dict[str, Any]], units: int) -> None:
    """Writes simulated rows, and says beside them what they are."""
    import orjson  # not needed for anything else here

    from ftops.display.text import clean
    from ftops.files import write_given

    file = sys.stdout.buffer if out == STDIN else BytesIO()
    count = 0
    for row in rows:
        file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    file.flush()
    if isinstance(file, BytesIO):
        write_given(Path(out), file.getvalue())
    where = "" if out == STDIN else f" in {clean(out)}"
    click.echo(f"{count:,} simulated rows of {units:,} units{where}: they say nothing of any model", err=out == STDIN)


# --------------------------------------------------------------------------------------------------- analyze


def _logs() -> Callable[[Any], Any]:
    return click.option(
        "--logs",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Log rows as JSONL, Parquet or CSV; may be given again. What the spec's `logs` says when absent.",
    )


@experiment.command(epilog=ANALYZE, short_help="Say what may be concluded from the logs.")
@click.argument("spec")
@_logs()
@click.option(
    "--looks",
    metavar="FRACTIONS",
    help="At which parts of the target the data was looked at before, such as 0.25,0.5, or `none`. What the record says "
    "when absent.",
)
@text_or_json
@click.pass_obj
def analyze(project: Path, spec: str, logs: tuple[Path, ...], looks: str | None, form: str) -> None:
    """Look at the data of an experiment and print what may be concluded from it. Nothing is written down.

    SPEC is an experiment's name, or the path of its spec (FILE, or FILE#NAME): then no project is needed. Each look counts:
    the rule of the spec asks more of an effect the more often it was looked for.

    Exits with 0 whatever the verdict is, with 5 where no row can be used.
    """
    from ftops.experiments.report.text import look_json, look_text

    fractions = None if looks is None else _fractions(looks)
    found, root = _find(project, spec)
    past = _past(found, root, with_looks=fractions is None)
    look, faults = _look(found, root, logs, past, fractions or ())
    if not look.rows.read:
        where = ", ".join(map(str, logs)) or found.spec.logs.path or "the table"
        hint = "check the path of the logs; `ftops experiment simulate` makes rows to try"
        raise ChecksFailed(Diagnostic(f"there are no log rows in {where}", hint=hint, address=str(found.address)))
    name = found.metadata.name
    click.echo(look_json(name, look) if form == "json" else look_text(name, look, color=wants_color()))
    _tell(faults, look)


def _fractions(text: str) -> tuple[float, ...]:
    """Parts of a target, rising; raises UsageError."""
    try:
        found = () if text == "none" else tuple(float(each) for each in text.split(","))
    except ValueError:
        found = (0.0,)
    if not all(0 < each < math.inf for each in found) or any(one >= other for one, other in pairwise(found)):
        raise UsageError(f"--looks: expected parts of the target that rise, such as 0.25,0.5, or none; found {text!r}")
    return found


@dataclass(frozen=True, slots=True)
class _Past:
    """What the record says of the current phase: its looks, and from when until when rows belong to it."""

    looks: tuple[InterimResult, ...] = ()
    since: float | None = None
    until: float | None = None


def _past(found: Experiment, root: Path | None, *, with_looks: bool = True) -> _Past:
    """What was seen before of an experiment. Raises SpecError where its looks are of other arms than the spec's."""
    from ftops.experiments.record import ExperimentRecord
    from ftops.files import read_bytes
    from ftops.registry.record_files import parse_as

    path = ExperimentRecord.path_of(found.metadata.name)
    if root is None or not (root / path).is_file():
        return _Past()
    record = parse_as(ExperimentRecord, path, read_bytes(root / path, root=root))
    phase = record.status.phases[record.status.current]
    if not _same_arms(found, phase, record.status.inputs):
        if not with_looks:
            return _Past()
        raise SpecError(
            Diagnostic(
                f"the arms are not those of phase {record.status.current}, which {path} is about",
                hint="`ftops apply` begins the next phase; --looks none looks at all rows as those of one phase",
                address=str(found.address),
            )
        )
    looks = tuple(phase.looks[number] for number in sorted(phase.looks, key=int) if with_looks)
    from ftops.experiments.analysis.observations import seconds

    return _Past(looks, seconds(phase.started_at), seconds(phase.ended_at))


def _same_arms(found: Experiment, phase: Phase, inputs: Json) -> bool:
    """Whether the arms have the same units as in a phase, and show the same versions as far as the spec names them."""
    from ftops.experiments.spec.arms import ranges_of

    ranges, seed = ranges_of(found.spec.arms), found.spec.seed or found.metadata.name
    if found.spec.arms.keys() != phase.arms.keys() or inputs.get("seed", seed) != seed:
        return False
    return all(
        tuple(map(tuple, ranges[name])) == phase.arms[name].ranges
        and (arm.model == phase.arms[name].model or not arm.named[1][0].isdigit())  # an alias says no version
        for name, arm in found.spec.arms.items()
    )


def _look(
    found: Experiment, root: Path | None, logs: tuple[Path, ...], past: _Past, fractions: tuple[float, ...] = ()
) -> tuple[InterimResult, tuple[Finding, ...]]:
    """A look at the logs, and the first of the rows that can't be used."""
    from ftops.experiments.analysis import analyze as take
    from ftops.experiments.analysis import wanted
    from ftops.experiments.interim_analysis import read_logs
    from ftops.experiments.logs.files import LogFile
    from ftops.experiments.logs.read_files import read

    rows = wanted(found, past.since, past.until)
    if logs:
        observations = read([LogFile.named(each) for each in logs], rows)
    else:
        observations = read_logs(root or Path(), found, rows)
    return take(found.spec, observations, past.looks, fractions), observations.faults


def _tell(faults: Sequence[Finding], look: InterimResult) -> None:
    """Which rows could not be used, beside the result."""
    from ftops.display.text import clean

    for each in faults[:MOST_FAULTS]:
        where = f"row {each.row}, {each.field}" if each.field else f"row {each.row}"
        click.echo(clean(f"{where}: {each.detail}"), err=True)
    if look.rows.faulty > MOST_FAULTS:
        click.echo(f"and {look.rows.faulty - MOST_FAULTS:,} further rows that can't be used", err=True)


# ---------------------------------------------------------------------------------------------------- status


@experiment.command(epilog=STATUS, short_help="Show how it goes, not who leads.")
@click.argument("name")
@_logs()
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds between, with --watch."
)
@text_or_json
@click.pass_obj
def status(project: Path, name: str, logs: tuple[Path, ...], *, watch: bool, every: float, form: str) -> None:
    """Show how experiment NAME (or the one in a spec file) goes: units, rates and times of its arms, whether the arms fill
    as they should, and when the target is reached. Never which arm leads: that would be a look.
    """
    found, root = _find(project, name)

    def view() -> str:
        from ftops.experiments.report.monitor import monitor_json, monitor_text

        look, _ = _look(found, root, logs, _past(found, root))
        return (monitor_json if form == "json" else monitor_text)(found.metadata.name, found.spec, look)

    if not watch:
        click.echo(view())
        return
    with suppress(KeyboardInterrupt):  # how watching ends
        while True:
            try:
                text = view()
            except (ChecksFailed, ExternalError) as error:  # it may be watched from before its first row on
                text = diagnostics_text(error.diagnostics)
            _redraw(text)
            time.sleep(every)


def _redraw(text: str) -> None:
    """Puts `text` in place of what was shown before, where there is a terminal."""
    click.echo(f"{CLEAR}{text}" if sys.stdout.isatty() else text)
    sys.stdout.flush()
