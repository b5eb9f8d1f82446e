"""The command line, one file a command: it parses, calls a room, prints, and ends with an exit code.

A command's module is imported when the command runs, so that `ftops --version` and `plan` start quickly.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import click

from ftops import __version__
from ftops.errors import Diagnostic, ExternalError, FtopsError, UsageError


class _Entry(NamedTuple):
    """`function` is what the command is called in its module, where it can't be called as it is typed."""

    module: str
    help: str
    function: str | None = None


_COMMANDS: Final = {
    "validate": _Entry("validate", "Check every spec; say all that is wrong, with its place."),
    "plan": _Entry("plan", "Show what apply would do, why, and change nothing."),
    "apply": _Entry("apply", "Make it so: prepare, train, register, commit the results."),
    "status": _Entry("status", "Show every resource and how far it is."),
    "logs": _Entry("logs", "Print what a training writes."),
    "stop": _Entry("stop", "Stop a training: a checkpoint first; it goes on when told."),
    "schema": _Entry("schema", "Print the JSON Schema of a kind."),
    "dataset": _Entry("dataset", "Check data, track it with DVC, compare versions, free their space."),
    "run": _Entry("run", "Look into a training run."),
    "experiment": _Entry("experiment", "Assign, simulate, analyse and watch A/B experiments."),
    "commit": _Entry("commit", "Commit results that `apply --no-commit --results DIR` left."),
    "index": _Entry("index", "Rebuild the SQL copy of the records."),
    "import": _Entry("import_", "Turn a config for Axolotl into specs.", "import_config"),
    "gc": _Entry("gc", "Free the store of what no record and no spec needs."),
    "engine": _Entry("engine", "Install the training engine."),
    "doctor": _Entry("doctor", "Say what is missing on this machine, and how to get it."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(f"ftops.cli.{entry.module}"), entry.function or cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example:  ftops plan && ftops apply",
)
@click.option(
    "-C",
    "--project",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    show_default=False,
    help="Where to look for ftops.yaml: this folder, then those above it.  [default: here]",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def ftops(ctx: click.Context, project: Path) -> None:
    """GitOps for fine-tuning: specs in git say which data sets, trainings and models should exist."""
    ctx.obj = project


text_or_json: Final = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How it is printed.",
)


class DurationOption(click.ParamType[int]):
    """An option's duration such as `7d`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pydantic import TypeAdapter, ValidationError

        from ftops.resources.fields import Duration

        try:
            return int(TypeAdapter(Duration).validate_python(value))
        except ValidationError as error:
            self.fail(error.errors()[0]["msg"], param, ctx)


def wants_color(stream: object = None) -> bool:
    """Whether to colour what goes to `stream` (stdout when absent): a terminal, and no NO_COLOR."""
    stream = sys.stdout if stream is None else stream
    return bool(getattr(stream, "isatty", lambda: False)()) and not os.environ.get("NO_COLOR")


def _fail(error: FtopsError) -> NoReturn:
    from ftops.plan.text import diagnostics_text

    click.echo(diagnostics_text(error.diagnostics, color=wants_color(sys.stderr)), err=True)
    sys.exit(error.exit_code)


def tune() -> None:
    """Settings of a process that runs ftops, and of those that it starts; to be made before anything heavy is imported."""
    # Specs and records become large trees without cycles; looking for some as often as usual takes a sixth of a plan.
    gc.set_threshold(100_000)
    # Whatever plugins for pydantic are installed beside ftops have no business in it, and looking for them takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Arrow's own memory gives large blocks back at once, and the kernel clears each again: with millions of log rows in
    # batches that is a fifth of the time.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def main() -> None:
    """Run the command line; never returns without an exit code that says what happened."""
    tune()
    try:
        code = ftops.main(prog_name="ftops", standalone_mode=False)
    except FtopsError as error:
        _fail(error)
    except click.UsageError as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        # Python notes an interrupt that left code run from a string (what dataclasses make), though it is caught here,
        # and then ends by the signal whatever the exit code: running another such string takes that note back.
        exec("")  # noqa: S102
        click.echo(
            "interrupted: nothing half-written stays, and a training that was started goes on (`ftops status`)",
            err=True,
        )
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe went away; closing stderr keeps Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(
            ExternalError(
                Diagnostic(
                    f"{error.filename or 'the system'}: {error.strerror or error}",
                    hint="free space or fix the permissions, then run the same command again: nothing is lost",
                )
            )
        )
    sys.exit(code if isinstance(code, int) else 0)
