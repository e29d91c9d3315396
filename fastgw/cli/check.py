"""`fastgw check`: is everything in place for traffic to move to the gateway?"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import Any, Final

import click
import orjson

from fastgw.cli.cache import address
from fastgw.cli.certificates import CAUTION, certificate_options, chosen
from fastgw.cli.compare import checked_fields, checked_url
from fastgw.cutover.check import Asked, Check
from fastgw.cutover.troubles import Line, State
from fastgw.settings.load import SettingsError, load

_STYLES: Final = {State.OK: "green", State.FAIL: "bold red", State.WARN: "yellow", State.SKIP: "dim"}


def _checked_addresses(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_address(text)) for text in texts)
    except ValueError:
        raise click.BadParameter("it is an IP address") from None


@click.command()
@click.option("--gateway", callback=checked_url, help="The gateway.  [default: this machine, GATEWAY_PORT]")
@click.option("--path", default="/api/v1/queue/stats", show_default=True, help="Safe GET that both sides are asked.")
@click.option("--token", envvar="FASTGW_TOKEN", show_envvar=True, help="A worker's token that works with the server.")
@click.option("--header", "fields", multiple=True, callback=checked_fields, help="'Name: value', if it asks who it is.")
@click.option(
    "--proxy", "proxies", multiple=True, callback=_checked_addresses, help="Address of a proxy in front of it."
)
@certificate_options
@click.option("--json", "as_json", is_flag=True, help="As JSON: {passed, lines: [{name, state, text, hint}]}.")
def check(*, gateway: str | None, as_json: bool, **given: Any) -> None:
    """Check what the gateway needs: backends, Redis, the gateway itself, a token, the GPU workers, its limits.

    Run it where the gateway runs, with its settings. Each line that fails says what to do. Nothing is changed, and no
    secret is shown. Exit status 0 if nothing failed, 1 if something did, 2 if the settings can't be used.
    """
    if not given["path"].startswith("/"):
        raise click.UsageError("--path begins with /, as on a request line.")
    try:
        settings = load().settings
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    asked = Asked(
        gateway or address(settings),
        path=given["path"],
        token=given["token"] or "",
        fields=given["fields"],
        proxies=given["proxies"],
        tls=chosen(given["ca"], insecure=given["insecure"]),
    )
    lines = _run(Check(settings, asked))
    if given["insecure"]:
        lines.insert(0, Line("certificates", State.WARN, "none was verified", CAUTION))
    is_passed = not any(line.state is State.FAIL for line in lines)
    if as_json:
        shown = [{"name": x.name, "state": x.state, "text": x.text, "hint": x.hint} for x in lines]
        click.echo(orjson.dumps({"passed": is_passed, "lines": shown}, option=orjson.OPT_INDENT_2))
    else:
        _show(lines)
    sys.exit(0 if is_passed else 1)


def _run(asking: Check) -> list[Line]:
    """Ask, with a word of what is asked now on a terminal."""
    from rich.console import Console  # noqa: PLC0415 - only what runs needs it

    console = Console(stderr=True)
    if not console.is_terminal:
        return list(asking.run(lambda _: None))
    with console.status("...") as status:
        return list(asking.run(status.update))


def _show(lines: list[Line]) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --json
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not sys.stdout.isatty():  # one line each, never cut or folded
        for line in lines:
            hint = f"; hint: {line.hint}" if line.hint else ""
            click.echo(f"{line.state:<4}  {line.name}: {line.text}{hint}")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("", "check", "found"):
        table.add_column(title, no_wrap=not title, overflow="fold")
    for line in lines:
        found = Text(line.text)
        if line.hint:
            found.append(f"\n{line.hint}", "italic")
        table.add_row(Text(line.state.upper(), _STYLES[line.state]), Text(line.name), found)
    Console().print(table)
