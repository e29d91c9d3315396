"""May a page of this origin send that? And what may it read of the answer? (Fetch, CORS protocol.)

    who decides              a preflight              a backend's response            the gateway's own answers
    the gateway              is answered here         gets our fields                 get our fields
    the backend, which has   goes to the backend      keeps its own; none is added    errors get ours; what holds data
    a policy of its own                                                               only if CORS_ORIGIN is a list
    neither: not the origin  is refused here          loses what opens it             get none
    of CORS_ORIGIN's list

A backend that has a policy says nothing at all to an origin that it excludes, as one does that knows no CORS. So which
of them it is has to be known before: active checks send a preflight (routing/health.py), and a response that speaks of
CORS tells too. Until it is known the backend decides: what it keeps closed is not opened by guess.

We never allow credentials: what a browser adds by itself (cookies) is no credential of this gateway. Requests without
an Origin have no part in any of this, and WebSockets neither: browsers ask no permission for them, and their Origin is
the backend's to judge.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

from fastgw.errors import FORBIDDEN, GatewayError
from fastgw.protocol.fields import first
from fastgw.respond import Answer, error_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields

MAX_AGE_S: Final = b"600"
"""How long a browser remembers a preflight: Starlette's own. Chromium takes 7200 at most; a changed setting should
arrive sooner than that."""

MAX_ASKED_BYTES: Final = 4096
"""Of Access-Control-Request-Headers, which is given back. A page that sets a hundred fields needs less."""

EXPOSED: Final = (
    "X-Request-ID, X-Gateway-Version, X-Gateway-Duration, X-Gateway-Attempts, X-Gateway-Cache, Cache-Status, Age, "
    "Server-Timing, RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "Retry-After, Idempotency-Replayed, WWW-Authenticate"
)
"""What the gateway itself says in its answers, for scripts to read."""

REFUSAL: Final = "pages of this origin may not call: it is not in CORS_ORIGIN"

_EXPOSE: Final = (b"access-control-expose-headers", EXPOSED.lower().encode())
_BY_ORIGIN: Final = (b"vary", b"Origin")
_BY_QUESTION: Final = (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers")
_MAX_AGE: Final = (b"access-control-max-age", MAX_AGE_S)
_ALLOW_ORIGIN: Final = b"access-control-allow-origin"
_OURS: Final = b"access-control-"
_FIELD_NAMES: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z, \t]+")

log = logging.getLogger("fastgw.cors")


class Grant:
    """What CORS_ORIGIN means for one origin, or for all that have no other: see exchange.Cors."""

    __slots__ = ("_policy", "fields", "is_allowed")

    def __init__(self, policy: Cors, fields: Fields, *, is_allowed: bool) -> None:
        """fields: for the answers of which the gateway decides."""
        self._policy = policy
        self.fields = fields
        self.is_allowed = is_allowed

    def of_backend(self, fields: Fields) -> Fields:
        """The response's fields. One that speaks of CORS shows that the backend has a policy."""
        for name, _ in fields:
            if name.startswith(_OURS):
                self._policy.note()
                break
        return self.of_kept(fields)

    def of_kept(self, fields: Fields) -> Fields:
        """The fields with at most one Access-Control-Allow-Origin: the backend's own, or ours."""
        if self._policy.is_left and self.is_allowed:
            return fields if first(fields, _ALLOW_ORIGIN) is None else [*fields, _EXPOSE]
        return [field for field in fields if not field[0].startswith(_OURS)] + self.fields

    def of_gateway(self, status: int) -> Fields:
        """What is added to an answer of our own. Errors tell nothing of the backend's; the list of workers does."""
        policy = self._policy
        if status < 400 and policy.is_open and policy.is_left:
            return []
        return self.fields


class Cors:
    """CORS_ORIGIN and CORS_METHODS, put into force."""

    def __init__(
        self, origins: Iterable[str], methods: Iterable[str], known: Callable[[], Iterable[bool | None]]
    ) -> None:
        """origins: `*` alone, or a list. known: of each backend whether it has a policy of its own; None: not yet."""
        self.is_open = "*" in origins
        self._methods = (b"access-control-allow-methods", ", ".join(methods).encode())
        self._known = known
        self._seen = False
        if self.is_open:
            self._others = Grant(self, [(_ALLOW_ORIGIN, b"*"), _EXPOSE], is_allowed=True)
            self._grants: dict[bytes, Grant] = {}
        else:
            self._others = Grant(self, [_BY_ORIGIN], is_allowed=False)
            self._grants = {
                origin: Grant(self, [(_ALLOW_ORIGIN, origin), _EXPOSE, _BY_ORIGIN], is_allowed=True)
                for origin in [origin.encode() for origin in origins]
            }

    def meet(self, x: Exchange, origin: bytes) -> None:
        """For accept: the request comes from a page of this origin."""
        if x.scope["type"] == "http":
            x.cors = self._grants.get(origin, self._others)

    def of_refusal(self, headers: Fields) -> Fields:
        """The fields of an answer that is made without an Exchange (forwarding/shed.py)."""
        origin = first(headers, b"origin")
        return [] if origin is None else self._grants.get(origin, self._others).fields

    def preflight(self, x: Exchange) -> Answer | None:
        """DOOR. The answer to a preflight, if it is ours: before anybody is asked who they are, and not counted.

        A method, not __call__: every request takes this step, and 0.07 us of it instead of 0.18.
        """
        grant = x.cors
        if grant is None or x.method != b"OPTIONS":
            return None
        if first(x.headers, b"access-control-request-method") is None:
            return None
        if not grant.is_allowed:
            return error_answer(GatewayError(FORBIDDEN, REFUSAL), x.request_id)
        if self.is_left:
            return None
        fields = [self._methods, _MAX_AGE, _BY_QUESTION]
        asked = first(x.headers, b"access-control-request-headers")
        if asked and len(asked) <= MAX_ASKED_BYTES and _FIELD_NAMES.fullmatch(asked):
            fields.append((b"access-control-allow-headers", asked))  # `*` would leave Authorization out
        return Answer(204, b"", fields)

    # -- who decides ----------------------------------------------------------------------------------

    @property
    def is_left(self) -> bool:
        """Whether the decision is left to the backends: one of them has a policy, or of none it is known yet."""
        return self.is_backends or False not in self._known()

    @property
    def is_backends(self) -> bool:
        """Whether a backend is known to have a policy."""
        return self._seen or True in self._known()

    def note(self) -> None:
        """A response has spoken of CORS."""
        if not self._seen and not self.is_backends:
            log.info("a response shows a CORS policy of the backend's own: from now on it decides, within CORS_ORIGIN")
        self._seen = True

    def told(self) -> dict[str, Any]:
        """For /gateway/plugins."""
        decides = "backend" if self.is_backends else "unknown" if self.is_left else "gateway"
        return {"name": "cors", "enabled": True, "state": "active", "decides": decides}
