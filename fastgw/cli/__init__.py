"""The command `fastgw`: one file per command, loaded when it is called, as each needs other libraries."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from fastgw import __version__

COMMANDS: Final = ("serve", "demo", "check", "compare", "config", "cache", "token", "workers")


class Commands(click.Group):
    """Finds a command `x` as the function `x` in fastgw.cli.x."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """See click.Group."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """See click.Group."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"fastgw.cli.{cmd_name}"), cmd_name)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastgw")
def main() -> None:
    """A gateway in front of a distributed GPU-inference platform."""
