"""From facts to lines of `fastgw check`: what was found, what to do. The guide's troubleshooting, turned around. Pure.

A line is good, failed, a caution (it may be meant so) or left out (there was no way to ask).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastgw.auth.credentials import Hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.cutover.differences import Answer
    from fastgw.cutover.redis_facts import RedisFacts

DEFAULT_SALT: Final = "distributed-gpu-inference-v1"
"""The platform's own."""

FORMATS: Final = ("{token}{salt}", "{salt}:{token}", "{salt}{token}", "{token}:{salt}", "{token}")
"""The guide's, and what else servers take."""

FEW: Final = 20
"""Counted requests below which nothing is concluded from where they come from."""

SHARE: Final = 0.8
REJECTED_SHARE: Final = 0.01
"""Of the requests refused, from which the limit is too low for the traffic."""


class State(StrEnum):
    """What became of one question."""

    OK = "ok"
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Line:
    """One question, what was found, what to do about it."""

    name: str
    state: State
    text: str
    hint: str = ""


class Hashing(NamedTuple):
    """How a token's hash was found to be accepted."""

    form: str
    salt: str


def backend(url: str, path: str, answer: Answer) -> Line:
    """One backend of FASTAPI_URL, asked for ROUTER_HEALTH_PATH."""
    name = f"backend {url}"
    if answer.error:
        return Line(name, State.FAIL, answer.error, _unreachable(answer.error, "FASTAPI_URL", "the FastAPI server"))
    said = f"{path} answers {answer.status}"
    if answer.status >= 500:
        return Line(name, State.FAIL, said, "it is up but not well: look at the FastAPI server's log")
    if answer.status in {404, 405}:
        hint = "set ROUTER_HEALTH_PATH to a page that says whether the server is well; /docs if there is no other"
        return Line(name, State.FAIL, said, hint)
    if answer.status >= 300:
        hint = "the gateway's checks take that for well; set ROUTER_HEALTH_PATH to a page that answers 200 to everybody"
        return Line(name, State.WARN, said, hint)
    return Line(name, State.OK, f"{said} in {answer.seconds * 1e3:.0f} ms")


def _unreachable(error: str, setting: str, what: str) -> str:
    """What to look at when nobody answers."""
    if "refused" in error:
        return f"nothing listens there: start {what}, or correct {setting}; in a container, localhost is itself"
    if re.search(r"[Nn]ame or service|nodename|resolution|No address", error):
        return f"the name is not known here: correct it in {setting}, or the DNS"
    if "CERTIFICATE" in error or "SSL" in error:
        return f"TLS does not fit: https or http in {setting}, and a certificate that this machine trusts (--ca FILE)"
    if "time" in error.lower():
        return f"is a firewall between here and there, or {what} too busy? (curl -v the address)"
    return f"does {setting} name {what}?"


def redis(facts: RedisFacts, prefix: str) -> list[Line]:
    """Whether it lets us in, and what the user lacks."""
    hints = {
        "address": "write REDIS_URL as redis://user:password@host:6379/0, special characters %-encoded",
        "password": (
            "Redis is there and refuses the credentials: check the user and the password in REDIS_URL, or "
            "REDIS_PASSWORD (redis-cli -u URL PING); the user fastgw is made by deploy/redis/fastgw.acl"
        ),
        "down": "is Redis running there, does it listen beyond its own machine (bind), is a firewall between?",
    }
    if facts.problem:
        return [Line("redis", State.FAIL, facts.problem, hints[facts.kind])]
    lines = [Line("redis", State.OK, f"{facts.where} answers")]
    if facts.refused:
        hint = "REDIS_URL must name the master, with memory left (redis+sentinel:// finds the master by itself)"
        lines.append(Line("redis rights", State.FAIL, f"writes are refused: {facts.refused}", hint))
    elif facts.denied_commands or facts.denied_keys:
        which = [f"commands {', '.join(facts.denied_commands)}"] if facts.denied_commands else []
        names = [f"{prefix}*" if kind == "the prefix" else kind for kind in facts.denied_keys]
        which += [f"keys {', '.join(names)}"] if names else []
        hint = (
            f"give the user the rights of deploy/redis/fastgw.acl (ACL SETUSER), with ~{prefix}* for REDIS_KEY_PREFIX "
            "and %R~worker:* for the workers' keys"
        )
        lines.append(Line("redis rights", State.FAIL, f"the user may not use {' nor '.join(which)}", hint))
    else:
        lines.append(Line("redis rights", State.OK, f"reads and writes {prefix}*, reads worker:*"))
    return lines


def gateway(url: str, answer: Answer, content: Any) -> Line:
    """The gateway's health page; content: of the answer, as JSON."""
    name = f"gateway {url}"
    if answer.error:
        return Line(name, State.FAIL, answer.error, _unreachable(answer.error, "--gateway", "fastgw serve"))
    if not answer.field("x-gateway-version") or not isinstance(content, dict):
        return Line(name, State.FAIL, f"answers {answer.status}, but not as fastgw", "give its address with --gateway")
    status = str(content.get("status"))
    found = content.get("errors")
    problems = "; ".join(str(one) for one in found) if isinstance(found, list) else ""
    text = f"{status}{': ' if problems else ''}{problems}"
    if status == "healthy":
        return Line(name, State.OK, f"{text}, version {content.get('version')}")
    if status == "degraded":
        return Line(
            name, State.WARN, text, "it serves, but not with all it has: see /gateway/health/detailed and its log"
        )
    if status == "draining":
        return Line(name, State.FAIL, text, "it is being stopped: start it anew")
    return Line(
        name, State.FAIL, text, "it reaches no backend: compare its FASTAPI_URL with the lines above, and see its log"
    )


def token(accepts: Callable[[bytes], bool], secret: bytes, form: str, salt: str) -> tuple[State, Hashing | None]:
    """Whether the token's hash is accepted; and if it would be in another format or with the platform's salt, which.

    accepts: takes a digest.
    """
    if accepts(Hash(form, salt)(secret)):
        return State.OK, Hashing(form, salt)
    for other_salt in dict.fromkeys((salt, DEFAULT_SALT)):
        for other in FORMATS:
            if accepts(Hash(other, other_salt)(secret)):
                return State.FAIL, Hashing(other, other_salt)
    return State.FAIL, None


def token_line(state: State, found: Hashing | None, form: str, salt: str) -> Line:
    """What to do about a token's hash. The salt is not shown, unless it is the published one."""
    if state is State.OK:
        return Line("token hash", State.OK, f"accepted, as {form}")
    if found is None:
        hint = (
            f"is it in AUTH_TOKEN_HASHES (fastgw token hash)? If so, the salt is another: compare AUTH_TOKEN_SALT with "
            f"the server's (grep -r SALT in its code); tried were {', '.join(FORMATS)}"
        )
        return Line(
            "token hash", State.FAIL, "in no known format and with no known salt is its hash an accepted one", hint
        )
    todo = []
    if found.form != form:
        todo.append(f"AUTH_TOKEN_FORMAT={found.form}")
    if found.salt != salt and "{salt}" in found.form:
        todo.append(f"AUTH_TOKEN_SALT={found.salt}")
    what = "the format" if found.form != form else "the salt"
    return Line("token hash", State.FAIL, f"{what} is another than the server's", f"set {' and '.join(todo)}")


def workers(facts: RedisFacts | None, listed: Any, source: str, *, is_forwarded: bool = False) -> Line:
    """The GPU workers: those in Redis, and those that the gateway lists (the content of its page; None: not to be had).

    source: WORKERS_SOURCE. facts: None if Redis could not be asked. is_forwarded: the list is the backend's own.
    """
    name = "workers"
    shown = listed if isinstance(listed, list) else listed.get("workers") if isinstance(listed, dict) else None
    count = len(shown) if isinstance(shown, list) else None
    if source == "backend":
        state = State.OK if count else State.WARN
        return Line(name, state, f"the backend lists {count or 'none'}", "" if count else "is any worker registered?")
    if facts is None:
        if count:
            return Line(name, State.OK, f"the gateway lists {count}")
        return Line(name, State.SKIP, "without Redis there is nothing to compare the gateway's list with")
    if not facts.workers:
        return _no_workers(facts, count if is_forwarded else 0)
    if not count:
        said = "gives no list" if count is None else "lists none"
        hint = "has it the same REDIS_URL, REDIS_DB, and rights as tried here? See /gateway/health/detailed"
        return Line(name, State.FAIL, f"Redis holds {facts.workers}, but the gateway {said}", hint)
    online = listed.get("online") if isinstance(listed, dict) else None
    if online == 0:
        hint = "no heartbeat in the last 60 s: are the workers running, and their clocks right?"
        return Line(name, State.WARN, f"Redis holds {facts.workers}, none of them online", hint)
    return Line(name, State.OK, f"Redis holds {facts.workers}, the gateway lists {count}")


def _no_workers(facts: RedisFacts, count: int | None) -> Line:
    if facts.elsewhere is not None:
        text = f"no worker:*:status in this database, but in database {facts.elsewhere}"
        return Line("workers", State.FAIL, text, f"set REDIS_DB={facts.elsewhere}, or /{facts.elsewhere} in REDIS_URL")
    instead = ", ".join(f"{kind} ({n})" for kind, n in facts.others) or "no keys at all"
    text = f"no worker:{{id}}:status, :gpu or :heartbeat in Redis; found instead: {instead}"
    text += "" if facts.is_complete else " (not all keys were looked through)"
    hint = "do the workers write to this Redis, under this pattern? (grep -r redis in their code)"
    if count:
        return Line("workers", State.WARN, f"{text}; the {count} listed are the backend's own", hint)
    return Line("workers", State.FAIL, text, hint)


def proxies(trusts: Callable[[str], bool], named: tuple[str, ...], windows: dict[str, int]) -> Line:
    """Whether X-Forwarded-For is believed where it has to be.

    named: addresses of proxies in front, by the operator. windows: address -> requests counted.
    """
    name = "client addresses"
    strangers = [one for one in named if not trusts(one)]
    if strangers:
        which = ", ".join(strangers)
        text = (
            f"TRUSTED_PROXIES does not hold {which}: all its clients count as one, and its X-Forwarded-For is dropped"
        )
        return Line(name, State.FAIL, text, f"add {which} to TRUSTED_PROXIES")
    total = sum(windows.values())
    if total >= FEW:
        address, most = max(windows.items(), key=lambda one: one[1])
        if most >= SHARE * total and not trusts(address) and not ip_address(address).is_global:
            text = f"{most} of the {total} requests counted now come from {address}"
            hint = (
                f"if that is a proxy, its X-Forwarded-For is not believed and all its clients share one limit: add "
                f"{address} to TRUSTED_PROXIES"
            )
            return Line(name, State.WARN, text, hint)
        if most >= SHARE * total and trusts(address):
            text = f"{most} of the {total} requests counted now come from {address}, a trusted proxy"
            hint = "does it send X-Forwarded-For? (proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for)"
            return Line(name, State.WARN, text, hint)
    known = f"{len(windows)} addresses counted now" if windows else "no requests counted now"
    return Line(name, State.OK, f"{known}{'; the proxies named are trusted' if named else ''}")


def limits(metrics: str, per_window: str) -> Line:
    """Whether the limits refuse too much of the traffic so far. metrics: the text of the page."""
    name = "rate limit"
    total, rejected = total_of(metrics, "gateway_requests_total"), total_of(metrics, "gateway_ratelimit_rejected_total")
    if not total:
        return Line(name, State.OK, "no requests counted yet")
    text = f"{rejected:.0f} of {total:.0f} requests refused ({rejected / total:.1%})"
    if rejected / total > REJECTED_SHARE:
        hint = (
            f"raise RATE_LIMIT_MAX_REQUESTS ({per_window}), e.g. to 500, count by identity (RATE_LIMIT_KEY), or give "
            "busy clients limits of their own (RATE_LIMIT_RULES); behind a proxy, see client addresses first"
        )
        return Line(name, State.FAIL, text, hint)
    return Line(name, State.OK, text)


def total_of(metrics: str, name: str) -> float:
    """The sum of a metric over its labels, of Prometheus' text."""
    found = re.findall(rf"^{name}(?:\{{[^\n]*\}})? ([0-9.eE+]+)", metrics, re.MULTILINE)
    return sum(map(float, found))
