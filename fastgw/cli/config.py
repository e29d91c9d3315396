"""`fastgw config`: the settings in force."""

from __future__ import annotations

import sys

import click
import orjson
from rich.console import Console
from rich.table import Table

from fastgw.settings.explain import in_force
from fastgw.settings.load import SettingsError, load


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object: name -> {value, unit, origin}.")
def config(*, as_json: bool) -> None:
    """Show the settings in force: value, unit, and whether it comes from the environment, .env or the default.

    Secrets are masked. Exit status 2 and a message if the settings can't be used.
    """
    try:
        loaded = load()
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    lines = in_force(loaded)
    if as_json:
        content = {line.name: {"value": line.value, "unit": line.unit, "origin": line.origin} for line in lines}
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return
    console = Console(soft_wrap=not sys.stdout.isatty())
    table = Table("setting", "value", "unit", "from", box=None, pad_edge=False)
    for line in lines:
        table.add_row(line.name, line.value, line.unit, line.origin, style=None if line.origin == "default" else "bold")
    console.print(table)
