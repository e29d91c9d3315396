"""`fastgw token`: the hash that a token is known by."""

from __future__ import annotations

import sys
from getpass import getpass

import click

from fastgw.auth.credentials import MATCH, MAX_CREDENTIAL_BYTES, WORKER_TOKEN, Hash
from fastgw.settings.load import SettingsError, load
from fastgw.settings.parse import token_format


@click.group()
def token() -> None:
    """Work with tokens."""


def _checked_format(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else token_format(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@token.command("hash")
@click.argument("text", metavar="[TOKEN]", required=False)
@click.option("--salt", help="Instead of AUTH_TOKEN_SALT.")
@click.option("--format", "form", callback=_checked_format, help="Instead of AUTH_TOKEN_FORMAT.")
def token_hash(text: str | None, salt: str | None, form: str | None) -> None:
    """Print the hash of a token.

    It is the SHA-256 that AUTH_TOKEN_HASHES and the platform's server have, in hex.

    Without TOKEN, or with -, the token is read from standard input (asked for without echo, on a terminal): so it
    stands in no shell history. Salt and format are those of the environment and of .env.
    """
    if salt is None or form is None:
        salt, form = _from_settings(salt, form)
    secret = _from_input() if text in {None, "-"} else text.encode("utf-8", "surrogateescape")
    if not secret:
        raise click.UsageError("the token is empty")
    if MATCH[WORKER_TOKEN](secret) is None:
        click.echo(
            "warning: the gateway will refuse this token: it must be of visible ASCII characters, "
            f"at most {MAX_CREDENTIAL_BYTES}",
            err=True,
        )
    click.echo(Hash(form, salt)(secret).hex())


def _from_settings(salt: str | None, form: str | None) -> tuple[str, str]:
    """Fill in what was not given."""
    try:
        settings = load().settings
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    return (
        settings.auth_token_salt.get_secret_value() if salt is None else salt,
        settings.auth_token_format if form is None else form,
    )


def _from_input() -> bytes:
    """One line of standard input, without its end."""
    if sys.stdin.isatty():
        return getpass("Token: ").encode("utf-8", "surrogateescape")
    line = sys.stdin.buffer.readline()
    return line.removesuffix(b"\n").removesuffix(b"\r")
