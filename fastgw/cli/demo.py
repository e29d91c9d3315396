"""`fastgw demo`: the whole picture on one machine."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from fastgw.settings.load import SettingsError, load

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--host", help="Address the gateway listens on.  [default: GATEWAY_HOST if set, else 127.0.0.1]")
@click.option("--port", type=_PORT, help="The gateway's port.  [default: GATEWAY_PORT if set, else 3000]")
@click.option("--backend-port", type=_PORT, default=8000, show_default=True, help="The sample server's port.")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Write the gateway's log lines here.")
def demo(host: str | None, port: int | None, backend_port: int, log: Path | None) -> None:
    """Run the whole picture on this machine: sample server, GPU workers, Redis, and the gateway.

    Prints the addresses and the guide's curl lines, then runs until Ctrl-C. Uses the Redis of REDIS_URL if that is
    set, else an embedded Valkey.
    """
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"The demo's sample server needs {' and '.join(missing)}. Install them: pip install 'fastgw[demo]'"
        )
    # Imported here: the other commands have no use for it, and without the extra it could not be.
    from fastgw.demo.run import Demo, DemoError, Ports, check_ports  # noqa: PLC0415
    from fastgw.demo.show import Show  # noqa: PLC0415

    try:
        loaded = load()
        listens = loaded.settings.gateway_host if loaded.origins.get("GATEWAY_HOST", "default") != "default" else None
        ports = Ports(host or listens or "127.0.0.1", port or loaded.settings.gateway_port, backend_port)
        check_ports(ports)
        with _opened(log) as file:
            asyncio.run(Demo(ports, loaded, Show(), file).run())
    except (DemoError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


def _opened(log: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """Empty the file, and open it unbuffered: whoever follows it sees lines at once, and may empty it again."""
    if log is None:
        return nullcontext()
    try:
        log.write_bytes(b"")
        return log.open("ab", buffering=0)
    except OSError as error:
        raise click.ClickException(f"--log {log} can't be written: {error.strerror}") from error
