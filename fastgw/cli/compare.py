"""`fastgw compare`: does the gateway answer as the server does, and how much later?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import httpx
import orjson

from fastgw.cli.certificates import CAUTION, certificate_options, chosen
from fastgw.cutover.compare import Comparison, Options
from fastgw.cutover.differences import VOLATILE
from fastgw.cutover.recordings import BadRecording, Recording, built_in, read
from fastgw.cutover.report import page, summary
from fastgw.cutover.sides import Side, client, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from fastgw.cutover.compare import Outcome

MAX_ROWS: Final = 20
"""Differences that the terminal shows; all are in --json and --html."""


def checked_url(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Check an option that is the address of a server; without a slash at its end."""
    if text is None:
        return None
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise click.BadParameter("it is written as http://host:8000")
    return text.rstrip("/")


def checked_fields(
    _context: click.Context, _parameter: click.Parameter, lines: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Check options that are header fields: pairs of name and value."""
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isascii() or not line.isprintable():
            raise click.BadParameter("it is written as 'Name: value'")  # without the line: it may hold a secret
        fields.append((name.strip(), value.strip()))
    return tuple(fields)


@click.command()
@click.option("--direct", required=True, callback=checked_url, help="The server itself, such as http://fastapi:8000.")
@click.option("--gateway", required=True, callback=checked_url, help="The gateway, such as http://gateway:3000.")
@click.option(
    "--requests",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Paths (one a line), an access log of nginx, or a HAR.  [default: the platform's own safe GETs]",
)
@click.option("--header", "fields", multiple=True, callback=checked_fields, help="'Name: value', sent to both sides.")
@click.option("--samples", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Pairs of requests.")
@click.option("--ignore", multiple=True, help="Member of JSON objects that may differ; may be repeated.")
@click.option("--p50-ms", type=float, default=5.0, show_default=True, help="Budget for the added latency's median.")
@click.option("--p99-ms", type=float, default=10.0, show_default=True, help="Budget for its 99th percentile.")
@click.option("--cached", is_flag=True, help="Let the gateway's cache answer; else no-cache is asked for.")
@click.option("--timeout", type=click.FloatRange(0.1, 600), default=30.0, show_default=True, help="Seconds per answer.")
@certificate_options
@click.option("--unsafe", is_flag=True, help="Send what changes something too, to BOTH sides: it happens twice.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write it as JSON; - is stdout."
)
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page in one file.")
def compare(file: Path | None, json_file: Path | None, html_file: Path | None, **given: Any) -> None:
    """Replay requests to the server and to the gateway, and compare: answers, and how much later they come.

    Sent are GET and HEAD only, and never next-job, unless --unsafe is given. Nothing of --header is shown or written.
    Exit status 0 if the answers are the same and the added latency is within its budget, 1 if not.
    """
    tls = chosen(given["ca"], insecure=given["insecure"])
    recording = _recording(file, unsafe=given["unsafe"])
    if not recording.requests:
        _skipped(recording)
        raise click.UsageError("nothing is left to send")
    fields, urls = given["fields"], (given["direct"], given["gateway"])
    secrets = secrets_of(fields)
    options = Options(given["samples"], VOLATILE | set(given["ignore"]), given["cached"])
    timeout_s = given["timeout"]
    with client(fields, timeout_s, tls) as one, client(fields, timeout_s, tls) as other:
        comparison = Comparison(Side(urls[0], one, secrets), Side(urls[1], other, secrets), options)
        outcome = _run(comparison, recording, options.samples)
    content = summary(outcome, recording, urls, (given["p50_ms"], given["p99_ms"]))
    content["cautions"] = [CAUTION] if given["insecure"] else []
    if html_file is not None:
        _write(html_file, page(content).encode())
    if json_file is not None:
        _write(json_file, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    if str(json_file) != "-":
        _show(content)
    sys.exit(0 if content["passed"] else 1)


def _recording(file: Path | None, *, unsafe: bool) -> Recording:
    if file is None:
        return built_in()
    try:
        with file.open("rb") as source:
            return read(source, unsafe=unsafe)
    except (OSError, BadRecording) as error:
        raise click.BadParameter(str(error), param_hint="--requests") from None


def _write(path: Path, content: bytes) -> None:
    if str(path) == "-":
        click.echo(content, nl=False)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise click.UsageError(f"{path} can't be written: {error.strerror}") from None


def _run(comparison: Comparison, recording: Recording, samples: int) -> Outcome:
    from rich.console import Console  # noqa: PLC0415 - only what runs needs it
    from rich.progress import Progress  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=max(samples, len(recording.requests)))

        def tell(done: int, what: str) -> None:
            path = what.partition("?")[0]  # a query may hold secrets
            progress.update(task, completed=done, description=Text(path[:60]).markup)

        return comparison.run(recording.requests, tell)


def _show(content: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - not for --json -
    from rich.text import Text  # noqa: PLC0415

    console = Console(soft_wrap=not sys.stdout.isatty())
    if content["differences"]:
        console.print(_table(content["differences"]))
    for note in _notes(content):
        console.print(Text(note, "dim"))
    for caution in content["cautions"]:
        console.print(Text.assemble(Text("warn", "yellow"), "  ", caution))
    for one in content["verdicts"]:
        mark = Text("pass", "green") if one["passed"] else Text("FAIL", "bold red")
        console.print(Text.assemble(mark, "  ", one["text"]))
        for hint in one["hint"].split(" | ") if one["hint"] else ():
            console.print(Text(f"      hint: {hint}"))


def _table(differences: list[dict[str, Any]]) -> Table:
    from rich.table import Table  # noqa: PLC0415 - see _show
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in ("request", "differs", "direct", "gateway", "times"):
        table.add_column(title, overflow="fold")
    for one in differences[:MAX_ROWS]:
        what = f"{one['kind']} {one['where']}".strip()
        table.add_row(*(Text(str(x)) for x in (one["request"], what, one["direct"], one["gateway"], one["times"])))
    return table


def _notes(content: dict[str, Any]) -> Iterator[str]:
    """What is no verdict."""
    yield from _moving(content["moving"])
    for one in content["skipped"][:MAX_ROWS]:
        yield f"not sent: {one['request']} ({one['times']}): {one['reason']}"
    if len(content["skipped"]) > MAX_ROWS:
        yield f"not sent: {len(content['skipped']) - MAX_ROWS} more"
    if content["unread_lines"]:
        yield f"{content['unread_lines']} lines of the recording are no requests"
    if content["waited_seconds"]:
        yield f"waited {content['waited_seconds']:.0f} s for the gateway's rate limit"
    latency = content["latency"]
    if latency and latency["from_cache"]:
        yield f"{latency['from_cache']} of {latency['pairs']} timed answers came from the gateway's cache"


def _moving(places: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each request, with the places that the server changes; `*` is any item of a list."""
    found: dict[str, list[str]] = {}
    for one in places:
        shown = re.sub(r"/\d+(?=/|$)", "/*", one["where"])
        if shown not in found.setdefault(one["request"], []):
            found[one["request"]].append(shown)
    for request, where in list(found.items())[:MAX_ROWS]:
        yield f"not counted: {request} {', '.join(where[:MAX_ROWS])}: the server itself changes it"


def _skipped(recording: Recording) -> None:
    for (what, reason), times in list(recording.skipped.items())[:MAX_ROWS]:
        click.echo(f"not sent: {what.partition('?')[0]} ({times}): {reason}", err=True)
