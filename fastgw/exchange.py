"""One request and what becomes of it: the context that the steps of the path share.

Each field names in its comment the step that writes it; steps read and write here and do not know each other.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from fastgw.protocol.fields import Fields

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


NOTED: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"cookie",
        b"idempotency-key",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"origin",
        b"pragma",
        b"range",
        b"x-api-key",
        b"x-worker-token",
    }
)
"""Request fields that authentication, the cache or idempotency look at. They are copied to the backend as they are."""


class End(Enum):
    """The ways in which an exchange can end."""

    COMPLETE = "complete"  # the backend's response reached its end
    CACHED = "cached"  # answered with what an earlier response has left
    REFUSED = "refused"  # the gateway answered instead of the backend: an error, or a page of its own
    CLIENT_GONE = "client gone"
    BROKE_BEFORE_HEAD = "backend broke before head"
    BROKE_IN_BODY = "backend broke in body"
    CLIENT_STALLED = "client stalled"
    FAILED = "failed"  # a fault of the gateway itself


class Nudgeable(Protocol):
    """What can be told that its request is a slow one, and what can be given up."""

    def nudge(self) -> None:
        """See upstream.connection.Connection."""

    def abort(self, error: Any = None) -> None:
        """See upstream.connection.Connection."""


class Cors(Protocol):
    """What a page of the request's Origin may read: see cors.py. Each takes and gives a response's fields."""

    is_allowed: bool

    def of_backend(self, fields: Fields) -> Fields:
        """Of a backend's response, as it has come."""

    def of_kept(self, fields: Fields) -> Fields:
        """Of a backend's earlier response, from the cache or of the same Idempotency-Key."""

    def of_gateway(self, status: int) -> Fields:
        """What is added to an answer of the gateway's own."""


class Trace(NamedTuple):
    """To which trace a request belongs. Ids are hex."""

    trace_id: bytes = b""
    """b"": it is not traced."""
    span_id: bytes = b""
    """Of gateway:proxy."""
    parent_id: bytes = b""
    """The client's span, if there is one."""
    is_sampled: bool = False
    lines: bytes = b""
    """What a backend is told: traceparent and tracestate, each with its line end."""


NOT_TRACED: Final = Trace()


class Exchange:
    """A request under way. Times are seconds of `time.perf_counter`.

    What most requests never change are defaults of the class: setting thirty slots for each of them cost 0.6 us,
    a fiftieth of the whole (bench/micro). An object has no dict of its own, and is quick, up to thirty attributes that
    differ from these (CPython's SHARED_KEYS_MAX_SIZE); the whole chain needs nearly as many.
    """

    # accept
    special: list[tuple[bytes, bytes]]  # the fields that are not simply copied
    _noted: list[tuple[bytes, bytes]] | None = None  # see noted
    request_id = b""
    host = b""
    forwarded_for: bytes | None = None  # X-Forwarded-For as it came, its lines joined
    is_peer_trusted = False
    must_close = False  # the process is draining: the client is told to close
    trace_fields: tuple[tuple[bytes, bytes], ...] = ()  # traceparent and tracestate, as they came
    request_start = b""  # X-Request-Start, as it came
    body_length = 0  # bytes, or protocol.framing.UNKNOWN_LENGTH
    cors: Cors | None = None  # what a page of the request's Origin may read; None without an Origin, or if CORS is off
    # observe, at the beginning
    trace = NOT_TRACED
    stages: tuple[tuple[str, float, float, dict[str, str]], ...] = ()  # of sampled ones: name, begun, seconds, tags
    # authenticate
    refused_for = ""  # why authentication refused it; "" if it did not
    identity = ""  # "key:NAME", "token:DIGEST-START", "worker:ID"; "" without a credential that was judged
    credential = b""  # of the only credential, which was found good: 15 hex of its digest, and its field's third letter
    # admit
    limit_fields: tuple[tuple[bytes, bytes], ...] = ()  # X-RateLimit-* and RateLimit, for every answer
    limited = False  # refused by a rate limit
    found: Any = None  # what the cache holds for this request: see cache/answer.py
    # answer
    fetch: Any = None  # what becomes of the backend's response: see cache/keep.py
    cache_fields: tuple[tuple[bytes, bytes], ...] = ()  # X-Gateway-Cache and Cache-Status
    is_plain_hit = False  # answered with an entry whose own fields hold these two
    # shed
    shed = ""  # why it was refused: backend; "" if it was not
    among = 0  # requests that waited for backends when it began to, itself included; 0: it does not wait
    # deliver
    attempts = 0
    backend = ""  # host:port of the last one that was chosen
    failures: tuple[tuple[str, str], ...] = ()  # of tries that failed: backend, reason
    upstream_s = 0.0  # waiting for the backend until the head
    client_s = 0.0  # waiting for the first piece of the request's body
    connection: Nudgeable | None = None  # the backend's, while one is held
    was_sent = False  # a byte of the request was handed to a backend's socket
    body: bytes | None = None  # the whole body, if a step before deliver has read it
    body_read = False  # the request's body was received to its end
    client_deadline = math.inf  # loop time until which the client must take or give bytes
    # disconnect
    client_gone = False
    client_stalled = False
    watch: Any = None  # the task that waits for the client's leaving, for slow requests only
    # respond
    head_sent = False
    status = 0
    own_s = 0.0  # until the answer's head, without the waits for the backend and for the client
    end = End.FAILED

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = perf_counter()
        # the request, as it came
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: bytes = scope["method"].encode() if "method" in scope else b"GET"  # a WebSocket's is GET
        self.raw_path: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        self.target = self.raw_path + b"?" + query if query else self.raw_path
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.client: str = scope["client"][0]  # accept replaces it by the one behind trusted proxies

    @property
    def http_version(self) -> str:
        """1.0, 1.1 or 2."""
        return self.scope["http_version"]  # type: ignore[no-any-return]

    @property
    def peer(self) -> str:
        """The address at the other end of the connection."""
        return self.scope["client"][0]  # type: ignore[no-any-return]

    @property
    def cache_state(self) -> bytes:
        """What X-Gateway-Cache says: HIT, MISS, BYPASS or STALE; b"" if it says nothing."""
        fields = self.cache_fields
        return fields[0][1] if fields else b"HIT" if self.is_plain_hit else b""

    def stage(self, name: str, begun: float, **tags: str) -> None:
        """A stage of a sampled request has ended that began at `begun`."""
        self.stages = (*self.stages, (name, begun, perf_counter() - begun, tags))

    @property
    def noted(self) -> list[tuple[bytes, bytes]]:
        """The fields that speak of credentials, of caching or of idempotency, as they came. Found when first asked for:
        0.4 us that a request saves which no step looks at so closely.
        """
        noted = self._noted
        if noted is None:
            noted = self._noted = [field for field in self.headers if field[0] in NOTED]
        return noted

    @noted.setter
    def noted(self, fields: list[tuple[bytes, bytes]]) -> None:
        self._noted = fields
