"""`fastgw workers`: the GPU workers, as the gateway lists them."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import httpx
import orjson

from fastgw.settings.load import SettingsError, load
from fastgw.workers.parse import restore, select, totals

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Group
    from rich.table import Table

    from fastgw.workers.parse import Worker

PATH: Final = "/api/v1/workers"
TIMEOUT_S: Final = 5.0
EVERY_S: Final = 1.0
"""As often as the gateway's own list changes."""

NONE: Final = "-"
_STYLES: Final = {
    "online": "green",
    "idle": "green",
    "busy": "cyan",
    "going_offline": "yellow",
    "offline": "red",
    "unknown": "magenta",
}


class Unanswered(Exception):
    """The list could not be had; str() is one line that says what to do."""


@dataclass(slots=True)
class Listed:
    """What the gateway answered, or why it did not."""

    workers: list[Worker] = field(default_factory=list)
    is_stale: bool = False
    unread: int = 0  # entries that tell neither an id nor a known state: a backend's own list may be of another form
    problem: str = ""


@dataclass(slots=True)
class Asker:
    """Asks one gateway for the workers."""

    url: str
    regions: tuple[str, ...]
    states: tuple[str, ...]
    client: httpx.Client

    def ask(self) -> Listed:
        """Ask once. Raises Unanswered."""
        query: list[tuple[str, str | int | float | bool | None]] = [("format", "object")]
        query += [("region", region) for region in self.regions] + [("status", state) for state in self.states]
        try:
            response = self.client.get(self.url + PATH, params=query)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError):
            raise Unanswered(f"{self.url} can't be asked; write --url as http://localhost:3000") from None
        except httpx.TimeoutException:
            raise Unanswered(f"{self.url} gave no answer within {TIMEOUT_S:g} s; look at its log") from None
        except httpx.HTTPError as error:
            raise Unanswered(
                f"{self.url} can't be reached ({error}); start it with `fastgw serve`, or name another with --url"
            ) from None
        return self._read(response)

    def _read(self, response: httpx.Response) -> Listed:
        if response.status_code in (401, 403):
            raise Unanswered(f"{self.url} wants a credential ({response.status_code}); give --api-key or --token")
        try:
            content = orjson.loads(response.content)
        except ValueError:
            content = None
        if response.status_code != 200:
            raise Unanswered(f"{self.url} answered {response.status_code}{_message(content)}")
        # A backend's own list, which is passed on while Redis knows of no worker, is an array and knows no filters.
        found = content.get("workers") if isinstance(content, dict) else content
        if not isinstance(found, list):
            raise Unanswered(f"{self.url}{PATH} is no list of workers; is that a fastgw?")
        workers = [worker for one in found if (worker := restore(one)) is not None]
        is_stale = isinstance(content, dict) and content.get("stale") is True
        return Listed(select(workers, self.regions, self.states), is_stale, len(found) - len(workers))


@click.command()
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--url", help="The gateway.  [default: where GATEWAY_HOST and GATEWAY_PORT put it]")
@click.option("--region", "regions", multiple=True, help="Only workers of this region; may be repeated.")
@click.option("--status", "states", multiple=True, help="Only workers in this state; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: {workers, total, online, busy, idle}.")
@click.option("--api-key", envvar="FASTGW_API_KEY", show_envvar=True, help="Credential, if the gateway wants one.")
@click.option("--token", envvar="FASTGW_TOKEN", show_envvar=True, help="A worker's token instead.")
def workers(
    *,
    watch: bool,
    url: str | None,
    regions: tuple[str, ...],
    states: tuple[str, ...],
    as_json: bool,
    **credentials: str | None,
) -> None:
    """List the GPU workers: state, GPU, heartbeat, jobs.

    Asks the gateway, which reads Redis. Without a terminal: one line per worker, in columns. Exit status 1 and a
    message if the gateway can't be asked.
    """
    show = _json if as_json else _table if sys.stdout.isatty() else _columns
    with httpx.Client(headers=_headers(credentials), timeout=TIMEOUT_S, trust_env=False) as client:
        asker = Asker((url or _own_url()).rstrip("/"), regions, states, client)
        try:
            if not watch:
                show(asker.ask())
            elif show is _table:
                _live(asker)
            else:
                _repeat(asker, show)
        except Unanswered as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            sys.exit(0)  # how a watch is meant to end


def _own_url() -> str:
    """Where the settings put the gateway, as seen from this machine."""
    try:
        settings = load().settings
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(settings.gateway_host, settings.gateway_host)
    scheme = "https" if settings.gateway_tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.gateway_port}"


def _headers(credentials: dict[str, str | None]) -> dict[bytes, bytes]:
    named = {b"X-API-Key": credentials["api_key"], b"X-Worker-Token": credentials["token"]}
    return {name: value.encode() for name, value in named.items() if value}


def _message(content: Any) -> str:
    """What an error says of itself, in the gateway's form or in FastAPI's."""
    error = content.get("error", content.get("detail")) if isinstance(content, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return f": {_safe(text[:200])}" if isinstance(text, str) else ""


def _repeat(asker: Asker, show: Callable[[Listed], None]) -> None:
    """One list after the other; a lost gateway ends it."""
    while True:
        show(asker.ask())
        sys.stdout.flush()
        time.sleep(EVERY_S)


def _live(asker: Asker) -> None:
    """One view that changes; a gateway that was there once is waited for."""
    from rich.live import Live  # noqa: PLC0415 - see _table

    listed = asker.ask()
    with Live(_view(listed), auto_refresh=False) as live:
        while True:
            live.update(_view(listed), refresh=True)
            time.sleep(EVERY_S)
            try:
                listed = asker.ask()
            except Unanswered as error:
                listed = replace(listed, is_stale=True, problem=str(error))


def _json(listed: Listed) -> None:
    stale = {"stale": True} if listed.is_stale else {}
    click.echo(orjson.dumps({"workers": listed.workers, **totals(listed.workers), **stale}))


def _columns(listed: Listed) -> None:
    """Print one line per worker, the GPU's name last as it holds spaces; the counts go to stderr."""
    rows = [_texts(worker) for worker in listed.workers]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    click.echo(_summary(listed), err=True)


def _table(listed: Listed) -> None:
    # Imported here: only a terminal has use for it.
    from rich.console import Console  # noqa: PLC0415

    Console().print(_view(listed))


def _view(listed: Listed) -> Group:
    """The table with the counts below it. Texts, not markup: what workers write may hold brackets."""
    from rich.console import Group  # noqa: PLC0415 - see _table
    from rich.text import Text  # noqa: PLC0415 - see _table

    summary = Text(_summary(listed), "yellow" if listed.is_stale else "dim")
    parts = [_rows(listed.workers), summary] if listed.workers else [summary]
    return Group(*parts, *([Text(_safe(listed.problem), "red")] if listed.problem else []))


def _rows(found: list[Worker]) -> Table:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - see _table
    from rich.table import Table  # noqa: PLC0415 - see _table
    from rich.text import Text  # noqa: PLC0415 - see _table

    table = Table(box=None, pad_edge=False)
    for title in ("worker", "region", "status", "GPU", "memory", ""):
        table.add_column(title, no_wrap=title != "GPU", overflow="fold" if title == "worker" else "ellipsis")
    for title in ("busy", "heard", "jobs"):
        table.add_column(title, justify="right", no_wrap=True)
    for worker in found:
        name, region, state, busy, memory, heard, jobs, gpu = _texts(worker)
        share = _memory_share(worker)
        bar = Text(NONE, "dim") if share is None else ProgressBar(100, share, width=10)
        style = _STYLES[state]
        table.add_row(
            Text(name),
            Text(region),
            Text(state, style),
            Text(gpu),
            bar,
            Text(memory),
            Text(busy),
            Text(heard),
            Text(jobs),
        )
    return table


def _texts(worker: Worker) -> tuple[str, str, str, str, str, str, str, str]:
    """Id, region, status, GPU's utilisation, its memory, age of the heartbeat, jobs, GPU's name; `-` for nothing."""
    gpu = worker["gpu"] or {}
    share, busy, jobs = _memory_share(worker), gpu.get("utilization_percent"), worker["jobs_completed"]
    return (
        _safe(worker["worker_id"]),
        _safe(worker["region"] or NONE),
        worker["status"],
        NONE if busy is None else f"{busy:.0f}%",
        NONE if share is None else f"{share:.0f}%",
        _age(worker["last_heartbeat"]),
        NONE if jobs is None else f"{jobs:.0f}",
        _safe(gpu.get("name") or NONE),
    )


def _memory_share(worker: Worker) -> float | None:
    """Percent of the GPU's memory in use."""
    gpu = worker["gpu"] or {}
    total, used = gpu.get("memory_total_mb"), gpu.get("memory_used_mb")
    return min(100.0 * used / total, 100.0) if total and used is not None else None


def _age(heartbeat: str | None) -> str:
    """How long ago the worker was heard, by this machine's clock: `4s`, `3m`, `5h`, `2d`."""
    if heartbeat is None:
        return NONE
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(heartbeat)).total_seconds(), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _summary(listed: Listed) -> str:
    count = totals(listed.workers)
    total = "1 worker" if count["total"] == 1 else f"{count['total']} workers"
    notes = "; not up to date" if listed.is_stale else ""
    notes += f"; {listed.unread} more in another form" if listed.unread else ""
    return f"{total}: {count['online']} online, {count['busy']} busy, {count['idle']} idle{notes}"


def _safe(text: str) -> str:
    """What others wrote, without what a terminal would take for commands."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
