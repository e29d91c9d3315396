"""What no setting shows alone: settings that contradict each other, files that can't be read, likely mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from fastgw.settings.values import database_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastgw.settings.model import Settings

UVICORN_KEEPALIVE_MS: Final = 5000
"""How long uvicorn keeps an idle connection, unless its --timeout-keep-alive says otherwise."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY: Final = frozenset({"0.0.0.0", "::"})


class Conflict(NamedTuple):
    """A problem of the settings `names` together; the first is the one to mend, `problem` follows its name."""

    names: tuple[str, ...]
    problem: str


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield what stops the start. Reads the files that settings name; the network is not asked."""
    yield from _tls(settings)
    if settings.auth_enabled and not settings.has_credentials:
        sources = ("AUTH_API_KEYS", "AUTH_TOKEN_HASHES", "AUTH_TOKEN_HASHES_FILE", "AUTH_VERIFY_URL")
        yield Conflict(
            ("AUTH_ENABLED", *sources),
            f"is true, but nobody could pass; set one of {', '.join(sources)}, or leave it unset",
        )
    yield from _unreadable("AUTH_TOKEN_HASHES_FILE", settings.auth_token_hashes_file)
    yield from _unreadable("REGIONS_FILE", settings.regions_file)
    yield from _redis(settings)


def cautions(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each setting that works, but likely not as it was meant."""
    if settings.fastapi_keepalive >= UVICORN_KEEPALIVE_MS:
        yield (
            f"FASTAPI_KEEPALIVE is {settings.fastapi_keepalive} ms, but uvicorn closes idle connections after "
            f"{UVICORN_KEEPALIVE_MS} ms; keep it below the server's --timeout-keep-alive"
        )
    if not settings.redis_url:
        given = [
            name
            for name, value in (
                ("REDIS_PASSWORD", settings.redis_password.get_secret_value()),
                ("REDIS_DB", settings.redis_db is not None),
            )
            if value
        ]
        if given:
            verb = "are" if len(given) > 1 else "is"
            yield f"{' and '.join(given)} {verb} set, but not REDIS_URL: the embedded Valkey is used"
    host = settings.gateway_host
    for backend in settings.fastapi_url:
        if backend.port == settings.gateway_port and backend.host in _LOOPBACK and host in _LOOPBACK | _ANY:
            yield f"FASTAPI_URL names {backend.url}, where the gateway itself listens: requests would run in a circle"


def _tls(settings: Settings) -> Iterator[Conflict]:
    both = ("GATEWAY_TLS_CERT", "GATEWAY_TLS_KEY")
    cert, key = settings.gateway_tls_cert, settings.gateway_tls_key
    if cert and not key:
        yield Conflict(both[::-1], "is missing; TLS needs the key beside GATEWAY_TLS_CERT")
    if key and not cert:
        yield Conflict(both, "is missing; TLS needs the certificate beside GATEWAY_TLS_KEY")
    yield from _unreadable(both[0], cert)
    yield from _unreadable(both[1], key)


def _unreadable(name: str, file: Path | None) -> Iterator[Conflict]:
    if file is None:
        return
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        yield Conflict((name,), f"can't be read ({error.strerror}); fastgw's user needs read permission")


def _redis(settings: Settings) -> Iterator[Conflict]:
    if not settings.redis_url:
        return
    parts = urlsplit(settings.redis_url)
    both = ("REDIS_PASSWORD", "REDIS_URL")
    password = settings.redis_password.get_secret_value()
    if password and parts.password and unquote(parts.password) != password:
        yield Conflict(both, "differs from the password in REDIS_URL; give it once")
    number = database_of(settings.redis_url)
    if settings.redis_db is not None and number is not None and settings.redis_db != number:
        yield Conflict(("REDIS_DB", "REDIS_URL"), f"differs from the database {number} in REDIS_URL; give it once")
    if settings.redis_db and parts.scheme == "redis+cluster":
        yield Conflict(("REDIS_DB", "REDIS_URL"), "is not 0, but a cluster has the database 0 only")
