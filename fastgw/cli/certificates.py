"""--ca and --insecure: which certificates the commands that ask https servers believe."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

CAUTION: Final = (
    "--insecure: no certificate was verified, so anybody in between may have answered, and has seen what was sent; "
    "use --ca"
)


def _read(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> ssl.SSLContext | None:
    """The system's authorities, and those of a file."""
    if path is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.BadParameter(f"{path} holds no certificate in PEM that can be read ({why})") from None
    return context


def certificate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options `ca`, a context or None, and `insecure`."""
    ca = click.option(
        "--ca",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_read,
        help="PEM file of authorities to believe beside the system's, for https.",
    )
    insecure = click.option("--insecure", is_flag=True, help="Verify no certificate. Whoever answers is believed.")
    return ca(insecure(command))


def chosen(ca: ssl.SSLContext | None, *, insecure: bool) -> ssl.SSLContext | None:
    """What the two options mean; None: the usual. Raises UsageError if both are given."""
    if not insecure:
        return ca
    if ca is not None:
        raise click.UsageError("--ca says whom to believe, --insecure to believe anybody: give one of them.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
