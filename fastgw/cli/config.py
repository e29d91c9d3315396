"""`fastgw config`: the settings in force."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import orjson

from fastgw.settings.explain import in_force
from fastgw.settings.load import SettingsError, load

if TYPE_CHECKING:
    from fastgw.settings.explain import Line

UNSET = "(unset)"


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
    elif sys.stdout.isatty():
        _table(lines)
    else:
        _columns(lines)


def _columns(lines: list[Line]) -> None:
    """Print one line per setting, never cut or folded, so that grep and awk can be trusted."""
    rows = [(line.name, line.origin, line.text or UNSET, line.unit) for line in lines]
    name, origin = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        click.echo(f"{row[0]:<{name}}  {row[1]:<{origin}}  {row[2]} {row[3]}".rstrip())


def _table(lines: list[Line]) -> None:
    # Imported here: only a terminal has use for it. Texts, not markup: a value may hold brackets.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("unit")
    table.add_column("from", no_wrap=True)
    for line in lines:
        style = "" if line.origin == "default" else "bold"
        value = Text(line.text or UNSET, style if line.text else "dim")
        table.add_row(Text(line.name, style), value, Text(line.unit), Text(line.origin))
    Console().print(table)
