"""`ftops engine`."""

from __future__ import annotations

import click


@click.group(epilog="Example:  ftops engine install")
def engine() -> None:
    """The training engine, in an environment of its own."""


@engine.command(epilog="Example:  ftops engine install")
def install() -> None:
    """Install Axolotl, pinned, into an environment that all projects of this machine share.

    It takes a few minutes and about 5 GB, once.
    """
    from ftops import engine as room

    installed = room.install(room.AXOLOTL, click.echo)
    click.echo(f"{room.AXOLOTL} is at {installed.path}")
