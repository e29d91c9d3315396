"""`fastgw serve`: the gateway itself."""

from __future__ import annotations

import sys

import click

from fastgw.settings.load import SettingsError, load


@click.command()
def serve() -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    Settings come from the environment and from .env (see `fastgw config`). SIGHUP reads them anew and replaces the
    workers one after the other, without a failed request.
    """
    from fastgw.server.run import serve as run  # noqa: PLC0415 - granian is loaded by this command only

    try:
        loaded = load()
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    sys.exit(run(loaded))
