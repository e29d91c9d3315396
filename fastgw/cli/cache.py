"""`fastgw cache`: the response cache of a running gateway."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from fastgw.settings.load import SettingsError, load

if TYPE_CHECKING:
    from httpx import Response

    from fastgw.settings.model import Settings

TIMEOUT_S: Final = 30.0
"""A purge of a full cache takes a fraction of a second."""

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Who listens on all addresses is reached at the machine's own."""


@click.group()
def cache() -> None:
    """Look after the response cache of a running gateway."""


@cache.command()
@click.argument("path", required=False)
@click.option("--url", help="The gateway.  [default: this machine, GATEWAY_PORT]")
@click.option("--token", help="Admin token.  [default: ADMIN_TOKEN]")
def purge(path: str | None, url: str | None, token: str | None) -> None:
    """Throw away what is cached: all of it, or what one PATH answered, in all its variants.

    PATH is as on a request line, such as /regions. Prints how many entries went. Exit status 1 with a message if the
    gateway could not be asked, 2 if the settings can't be used.
    """
    if path is not None and not path.startswith("/"):
        raise click.UsageError("PATH begins with /, as on a request line.")
    try:
        settings = load().settings
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    base = (url or address(settings)).rstrip("/")
    response = _delete(base, path, token or settings.admin_token.get_secret_value())
    if response.status_code != 200:
        raise click.ClickException(_refusal(response, base))
    try:
        purged = int(response.json()["purged"])
    except (ValueError, KeyError, TypeError):
        raise click.ClickException(
            f"What answers at {base} is no fastgw.\n\nhint: give its address with --url"
        ) from None
    click.echo(f"{purged} {'entry' if purged == 1 else 'entries'} purged")


def address(settings: Settings) -> str:
    """Where a gateway with these settings is reached from its own machine."""
    host = _EVERYWHERE.get(settings.gateway_host, settings.gateway_host)
    scheme = "https" if settings.gateway_tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.gateway_port}"


def _delete(base: str, path: str | None, token: str) -> Response:
    """Ask the gateway. Raises ClickException if it can't be asked."""
    import httpx  # noqa: PLC0415 - no other command has use for it

    fields: dict[str, Any] = {"authorization": f"Bearer {token}"} if token else {}
    try:
        # trust_env: a proxy of the environment would be asked for an address of this machine
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            return client.delete(f"{base}/gateway/cache", params={"path": path} if path else None, headers=fields)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        message = f"{base} is no address of a gateway.\n\nhint: it is like http://127.0.0.1:3000"
    except httpx.TimeoutException:
        message = f"The gateway at {base} did not answer within {TIMEOUT_S:g} s.\n\nhint: look at its log"
    except httpx.TransportError as error:
        hint = "is it running there? --url gives another address"
        if "CERTIFICATE" in str(error):
            hint = "give the name that its certificate is for: --url https://gateway.example.com"
        message = f"The gateway at {base} can't be reached: {error}.\n\nhint: {hint}"
    raise click.ClickException(message)


def _refusal(response: Response, base: str) -> str:
    """What the gateway said instead, and what helps."""
    hints = {
        401: "ADMIN_TOKEN here, or --token, must be the ADMIN_TOKEN of the gateway",
        403: "call from an address in the gateway's ADMIN_ALLOW, or give its ADMIN_TOKEN with --token",
        404: f"is {base} the address of a fastgw, of this version?",
        503: "look at /gateway/health/detailed; Redis must be reachable from the gateway",
    }
    try:
        said = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = "no error of fastgw's form"
    hint = hints.get(response.status_code, f"is {base} the address of a fastgw?")
    return f"The gateway at {base} answered {response.status_code}: {said}.\n\nhint: {hint}"
