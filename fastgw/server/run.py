"""`fastgw serve`: settings in, a running gateway until it is told to stop, an exit status out."""

from __future__ import annotations

import logging
import resource
import ssl
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from fastgw import __version__, app
from fastgw.routing import regions
from fastgw.server.keeper import Keeper
from fastgw.server.sockets import ListenError, listen
from fastgw.server.supervisor import Supervisor
from fastgw.settings.load import Loaded, SettingsError, load
from fastgw.store.embedded import MAX_MEMORY, EmbeddedValkey, EmbeddedValkeyError
from fastgw.telemetry import logs
from fastgw.wiring import Shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastgw.background import Drain
    from fastgw.settings.model import Settings

log = logging.getLogger("fastgw")


def serve(loaded: Loaded) -> int:
    """Run the gateway in the foreground. Returns the exit status: 0, or 1 with a line in the log that says why."""
    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    raise_file_limit()
    with ExitStack() as at_end:
        try:
            tls = check_tls(settings)
            check_regions(settings)
            listeners = listen(settings.gateway_host, settings.gateway_port, settings.gateway_workers)
            for listener in listeners:
                at_end.callback(listener.close)
            embedded, keeper = "", None
            if not settings.redis_url:
                valkey = at_end.enter_context(EmbeddedValkey(key_prefix=settings.redis_key_prefix))
                embedded, keeper = valkey.gateway_url, Keeper(valkey)
                at_end.callback(keeper.close)
        except (ListenError, EmbeddedValkeyError, TlsError, regions.RegionsError) as error:
            log.error("%s", error)  # noqa: TRY400 - the message says it all; a traceback would hide it
            return 1
        if embedded:
            log.info("embedded Valkey started (%s, in memory): nothing in it outlives this process", MAX_MEMORY)
        host, port = listeners[0].getsockname()[:2]
        scheme = "https" if tls else "http"
        log.info(
            "fastgw %s listening on %s://%s:%s with %d workers, for %s",
            __version__,
            scheme,
            f"[{host}]" if ":" in host else host,
            port,
            settings.gateway_workers,
            ", ".join(backend.url for backend in settings.fastapi_url),
        )
        shared = Shared(settings.gateway_workers)  # before any process is forked, so that all have the same
        supervisor = Supervisor(
            listeners,
            partial(app.build, loaded, embedded, shared),
            tls=tls,
            grace_s=settings.shutdown_grace_seconds,
            reload=partial(_reload, settings, embedded, shared),
            keeper=keeper,
        )
        return supervisor.run()


class TlsError(Exception):
    """Certificate and key can't be used; the text says why."""


def check_tls(settings: Settings) -> tuple[str, str] | None:
    """The paths of certificate and key if both can be used together, None without TLS. Raises TlsError."""
    if not settings.gateway_tls_cert:
        return None
    cert, key = str(settings.gateway_tls_cert), str(settings.gateway_tls_key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(
            f"GATEWAY_TLS_CERT {cert} and GATEWAY_TLS_KEY {key} can't be used: {error}; "
            "give a PEM certificate chain and its unencrypted key"
        ) from None
    return cert, key


def check_regions(settings: Settings) -> None:
    """Raise RegionsError if REGIONS_FILE can't be used, with all that is wrong with it."""
    if settings.regions_file is not None:
        try:
            regions.load(settings.regions_file)
        except regions.RegionsError as error:
            raise regions.RegionsError(f"REGIONS_FILE {settings.regions_file} can't be used:\n{error}") from None


def raise_file_limit() -> None:
    """Take all the descriptors that the system grants: each client and each backend connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _reload(running: Settings, embedded_url: str, shared: Shared) -> Callable[[Drain], Any] | None:
    """Read the settings anew, for SIGHUP. None if they are no good: the old ones stay in force."""
    try:
        loaded = load()
        check_tls(loaded.settings)
        check_regions(loaded.settings)
    except (SettingsError, TlsError, regions.RegionsError) as error:
        log.error("reload refused, the settings in force stay: %s", error)  # noqa: TRY400 - see serve
        return None
    for warning in loaded.warnings:
        log.warning("%s", warning)
    new = loaded.settings
    logs.configure(new.log_level, new.log_format)
    fixed = (
        "gateway_host",
        "gateway_port",
        "gateway_workers",
        "gateway_tls_cert",
        "gateway_tls_key",
        "redis_url",
        "shutdown_grace_seconds",
    )
    changed = [name.upper() for name in fixed if getattr(new, name) != getattr(running, name)]
    if changed:
        log.warning("%s changed: this needs a restart, the rest is taken over", ", ".join(changed))
    if bool(new.redis_url) == bool(embedded_url):  # the embedded one stays or is missed until the restart
        new = new.model_copy(update={"redis_url": running.redis_url})
        loaded = replace(loaded, settings=new)
    return partial(app.build, loaded, embedded_url, shared)
