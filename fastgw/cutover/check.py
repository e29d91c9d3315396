"""`fastgw check`: the guide's steps 2 to 4, asked from where it runs, with the settings that are found there.

It should run where the gateway runs, with its .env: what it asks of backends and of Redis is what the gateway would.
Nothing is changed but keys below `<prefix>check:`, which it deletes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import orjson

from fastgw.auth.accepted import Accepted
from fastgw.auth.credentials import MATCH, WORKER_TOKEN
from fastgw.cutover import troubles
from fastgw.cutover.compare import Comparison, Options
from fastgw.cutover.differences import VOLATILE
from fastgw.cutover.recordings import Request
from fastgw.cutover.redis_facts import RedisFacts, gather
from fastgw.cutover.sides import Side, client
from fastgw.cutover.troubles import Line, State
from fastgw.protocol.forwarded import TrustedProxies
from fastgw.settings import values
from fastgw.store.keys import Keys

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from fastgw.cutover.differences import Answer
    from fastgw.settings.model import Settings

TIMEOUT_S: Final = 5.0
JOBS: Final = Request("GET", "/api/v1/jobs")
"""The guide's step 3: a page that judges a token which is shown."""

MIN_SECRET: Final = 4
"""Characters from which a secret is looked for in what is shown; shorter ones are in every text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator said. path: of the safe request to both sides. proxies: addresses in front of the gateway.

    tls: whom to believe, for https; None: the system's authorities, as the gateway does.
    """

    gateway: str
    path: str = "/api/v1/queue/stats"
    token: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    proxies: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None


class Check:
    """Asks everything once."""

    def __init__(self, settings: Settings, asked: Asked) -> None:
        self._settings = settings
        self._asked = asked
        self._fields = (*asked.fields, *((("X-Worker-Token", asked.token),) if asked.token else ()))
        self._running: dict[str, Any] = {}  # the running gateway's settings, if it shows them
        self._facts: RedisFacts | None = None
        self._reachable = ""

    def run(self, tell: Callable[[str], None]) -> Iterator[Line]:
        """Yield a line for each question. tell: called with what is asked next. No line holds a secret."""
        steps: tuple[tuple[str, Callable[[], Iterator[Line]]], ...] = (
            ("backends", self._backends),
            ("redis", self._redis),
            ("gateway", self._gateway),
            ("the same answer", self._same),
            ("token", self._token),
            ("workers", self._workers),
            ("client addresses", self._proxies),
            ("rate limit", self._limits),
        )
        hidden = secrets_in(self._settings, self._asked)
        for name, step in steps:
            tell(name)
            for line in step():
                yield replace(line, text=_without(line.text, hidden), hint=_without(line.hint, hidden))

    def _ask(self, base: str, target: str, *fields: tuple[str, str]) -> Answer:
        with client(fields, TIMEOUT_S, self._asked.tls) as asking:
            return Side(base, asking).ask(Request("GET", target))

    def _is_trusted(self, base: str, target: str) -> bool:
        """Whether it is reached without what the operator has said of certificates: as the gateway reaches it."""
        with client((), TIMEOUT_S) as asking:
            return not Side(base, asking).ask(Request("GET", target)).error

    def _page(self, target: str) -> Answer:
        """A page of the gateway's operators."""
        token = self._settings.admin_token.get_secret_value()
        return self._ask(self._asked.gateway, target, *((("X-Admin-Token", token),) if token else ()))

    def _backends(self) -> Iterator[Line]:
        path = self._settings.router_health_path
        for address in self._settings.fastapi_url:
            answer = self._ask(address.url, path)
            if not answer.error and not self._reachable:
                self._reachable = address.url
            yield troubles.backend(address.url, path, answer)
            is_special = self._asked.tls is not None and address.scheme == "https"
            if is_special and not answer.error and not self._is_trusted(address.url, path):
                text = "it is reached with --ca or --insecure only; the gateway believes the system's authorities"
                hint = "add the authority to the system's, or start the gateway with SSL_CERT_FILE"
                yield Line(f"certificate of {address.url}", State.WARN, text, hint)

    def _redis(self) -> Iterator[Line]:
        settings = self._settings
        if not settings.redis_url:
            text = "REDIS_URL is empty: the gateway starts a Valkey of its own"
            yield Line("redis", State.WARN, text, "name the platform's Redis; else no GPU worker can be seen")
            return
        password = settings.redis_password.get_secret_value() or None
        keys = Keys(settings.redis_key_prefix)
        facts = asyncio.run(gather(settings.redis_url, password, settings.redis_db, keys))
        self._facts = None if facts.problem else facts
        yield from troubles.redis(facts, settings.redis_key_prefix)

    def _gateway(self) -> Iterator[Line]:
        answer = self._ask(self._asked.gateway, "/gateway/health")
        yield troubles.gateway(self._asked.gateway, answer, _json(answer))
        content = _json(self._page("/gateway/config"))
        found = content.get("settings") if isinstance(content, dict) else None
        if isinstance(found, dict):
            self._running = {name: one.get("value") for name, one in found.items() if isinstance(one, dict)}

    def _same(self) -> Iterator[Line]:
        name, request = "the same answer", Request("GET", self._asked.path)
        if not request.is_safe:
            yield Line(name, State.SKIP, "that path hands out a job", "give another one with --path")
            return
        if not self._reachable:
            yield Line(name, State.SKIP, "no backend can be asked directly")
            return
        fields, tls = self._fields, self._asked.tls
        with client(fields, TIMEOUT_S, tls) as one, client(fields, TIMEOUT_S, tls) as other:
            direct, gateway = Side(self._reachable, one), Side(self._asked.gateway, other)
            outcome = Comparison(direct, gateway, Options(1, VOLATILE, max_wait_s=0)).run([request], lambda *_: None)
            status = direct.ask(request).status
        if outcome.stopped:
            yield Line(name, State.FAIL, outcome.stopped, "see rate limit below")
        elif outcome.findings:
            found = outcome.findings[0]
            where = f"{found.difference.kind} {found.difference.where}".strip()
            text = f"{self._asked.path}: {where}: directly {found.difference.direct or 'none'}, "
            yield Line(name, State.FAIL, f"{text}through the gateway {found.difference.gateway or 'none'}", found.hint)
        elif status == 404:
            yield Line(name, State.WARN, f"{self._asked.path} is on neither side", "give a path of yours with --path")
        else:
            yield Line(name, State.OK, f"{self._asked.path}: {status} on both sides, the same content")

    def _token(self) -> Iterator[Line]:
        settings, secret = self._settings, self._asked.token.encode()
        if not secret:
            yield Line(
                "token", State.SKIP, "none was given", "give one that works with the server: --token, FASTGW_TOKEN"
            )
            return
        if MATCH[WORKER_TOKEN](secret) is None:
            yield Line(
                "token", State.FAIL, "it can't be sent in a header field", "only visible ASCII characters, up to 4096"
            )
            return
        hashes = [one.get_secret_value() for one in settings.auth_token_hashes]
        accepted = Accepted((), hashes, settings.auth_token_hashes_file)
        is_accepted = False
        if accepted.has_tokens:
            form, salt = settings.auth_token_format, settings.auth_token_salt.get_secret_value()
            state, found = troubles.token(lambda digest: accepted.token(digest) is not None, secret, form, salt)
            is_accepted = state is State.OK
            if found is None and settings.auth_verify_url:
                yield Line("token hash", State.OK, "not a configured one; AUTH_VERIFY_URL is asked")
            else:
                yield troubles.token_line(state, found, form, salt)
        yield self._token_passes(is_accepted=is_accepted)

    def _token_passes(self, *, is_accepted: bool) -> Line:
        """The guide's step 3: the token on both sides."""
        name, field = "token", ("X-Worker-Token", self._asked.token)
        through = self._ask(self._asked.gateway, JOBS.target, field)
        direct = self._ask(self._reachable, JOBS.target, field) if self._reachable else None
        said = f"{JOBS.target} with it: {through.status or through.error} through the gateway"
        if direct is not None:
            said += f", {direct.status or direct.error} directly"
            if direct.status in {401, 403}:
                return Line(name, State.FAIL, said, "the server itself refuses it: take one that works there")
        if through.error:
            return Line(name, State.FAIL, said, "see the gateway's line above")
        if through.status in {401, 403}:
            hint = "see the token's hash above; AUTH_* here and of the running gateway must be the server's"
            if is_accepted:
                hint = "its hash is right here, so the running gateway has other AUTH_* settings: restart or SIGHUP it"
            return Line(name, State.FAIL, said, hint)
        return Line(name, State.OK, said)

    def _workers(self) -> Iterator[Line]:
        answer = self._ask(self._asked.gateway, "/api/v1/workers?format=object", *self._fields)
        if answer.status in {401, 403}:
            yield Line(
                "workers",
                State.SKIP,
                f"the gateway answers {answer.status}",
                "give --token, or --header 'X-API-Key: ...'",
            )
            return
        listed = _json(answer) if answer.status == 200 else None
        source, is_forwarded = self._settings.workers_source, "fastgw" in answer.field("via")
        yield troubles.workers(self._facts, listed, source, is_forwarded=is_forwarded)

    def _proxies(self) -> Iterator[Line]:
        networks = self._settings.trusted_proxies
        running = self._running.get("TRUSTED_PROXIES")
        if isinstance(running, list):
            networks = values.networks(", ".join(map(str, running)))
        elif "TRUSTED_PROXIES" in self._running:
            networks = ()
        windows = self._facts.windows if self._facts is not None else {}
        yield troubles.proxies(TrustedProxies(networks).trusts, self._asked.proxies, windows)

    def _limits(self) -> Iterator[Line]:
        settings = self._settings
        if not self._running.get("RATE_LIMIT_ENABLED", settings.rate_limit_enabled):
            yield Line("rate limit", State.OK, "RATE_LIMIT_ENABLED is false: nobody is limited")
            return
        answer = self._page(settings.metrics_path)
        if answer.status != 200:
            hint = "run it on the gateway's machine, or set ADMIN_TOKEN; METRICS_ENABLED must be true"
            yield Line(
                "rate limit", State.SKIP, f"{settings.metrics_path} answers {answer.status or answer.error}", hint
            )
            return
        requests = self._running.get("RATE_LIMIT_MAX_REQUESTS", settings.rate_limit_max_requests)
        window_ms = self._running.get("RATE_LIMIT_WINDOW_MS", settings.rate_limit_window_ms)
        text = answer.body.decode("utf-8", "replace")
        yield troubles.limits(text, f"now {requests} in {window_ms / 1000:g} s")


def secrets_in(settings: Settings, asked: Asked) -> tuple[str, ...]:
    """Every secret that the settings and the command line hold; longest first. A published default is none."""
    found = [settings.redis_password, settings.admin_token, settings.auth_token_salt]
    found += [*settings.auth_api_keys, *settings.auth_token_hashes]
    texts = {one.get_secret_value() for one in found} | {asked.token} | {value for _, value in asked.fields}
    texts |= {value.rpartition(" ")[2] for _, value in asked.fields}
    texts |= {one.get_secret_value().rpartition(":")[2] for one in settings.auth_api_keys}
    for url in (settings.redis_url, settings.auth_verify_url):
        try:
            password = urlsplit(url).password or ""
        except ValueError:
            continue
        texts |= {password, unquote(password)}
    texts.discard(troubles.DEFAULT_SALT)
    return tuple(sorted((one for one in texts if len(one) >= MIN_SECRET), key=len, reverse=True))


def _without(text: str, hidden: tuple[str, ...]) -> str:
    for secret in hidden:
        text = text.replace(secret, "***")
    return text


def _json(answer: Answer) -> Any:
    try:
        return orjson.loads(answer.body)
    except ValueError:
        return None
