"""Every error a client can be given: code, status, message, and what to do next. One table.

`docs/reference/errors.md` is generated from it. The answer's body is
`{"error": {"code", "message", "requestId", "retryAfter"?}}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the table."""

    code: str
    status: int
    message: str
    hint: str
    retry_after_s: int | None = None


BAD_REQUEST: Final = ErrorKind(
    "BAD_REQUEST",
    400,
    "The request is malformed",
    "Correct the request; the message says what is wrong with it.",
)
UNAUTHORIZED: Final = ErrorKind(
    "UNAUTHORIZED",
    401,
    "The request needs a valid credential",
    "Send X-API-Key, X-Worker-Token or Authorization: Bearer; `fastgw token hash` shows whether salt and format match.",
)
FORBIDDEN: Final = ErrorKind(
    "FORBIDDEN",
    403,
    "This client may not do this",
    "Use a credential of the worker that the path names; for /gateway/ pages see ADMIN_ALLOW and ADMIN_TOKEN.",
)
NOT_FOUND: Final = ErrorKind(
    "NOT_FOUND",
    404,
    "The gateway has no such page",
    "See docs/reference/endpoints.md for the pages under /gateway/.",
)
METHOD_NOT_ALLOWED: Final = ErrorKind(
    "METHOD_NOT_ALLOWED",
    405,
    "This method is not served here",
    "CONNECT and TRACE are never forwarded; pages of the gateway answer the methods in Allow.",
)
REQUEST_TIMEOUT: Final = ErrorKind(
    "REQUEST_TIMEOUT",
    408,
    "The request's body did not arrive in time",
    "Send the body without pauses, or in smaller requests.",
)
IDEMPOTENCY_IN_PROGRESS: Final = ErrorKind(
    "IDEMPOTENCY_IN_PROGRESS",
    409,
    "The first request with this Idempotency-Key is still under way",
    "Ask again after Retry-After seconds, with the same key and body.",
    retry_after_s=1,
)
IDEMPOTENCY_OUTCOME_UNKNOWN: Final = ErrorKind(
    "IDEMPOTENCY_OUTCOME_UNKNOWN",
    409,
    "The first request with this Idempotency-Key was sent, and nobody knows whether it ran",
    "Look whether what it asked for is there; if not, send it with a new key. It is never run again under this one.",
)
IDEMPOTENCY_ANSWER_NOT_KEPT: Final = ErrorKind(
    "IDEMPOTENCY_ANSWER_NOT_KEPT",
    409,
    "The first request with this Idempotency-Key was answered, but its answer was too large to be kept",
    "It ran: look at what it made. It is not run again.",
)
PAYLOAD_TOO_LARGE: Final = ErrorKind(
    "PAYLOAD_TOO_LARGE",
    413,
    "The request's body is larger than allowed",
    "Send less, or raise MAX_BODY_BYTES.",
)
IDEMPOTENCY_KEY_REUSED: Final = ErrorKind(
    "IDEMPOTENCY_KEY_REUSED",
    422,
    "This Idempotency-Key stands for another request",
    "A key stands for one method, target, content type and body: use a new one for each request.",
)
RATE_LIMIT_EXCEEDED: Final = ErrorKind(
    "RATE_LIMIT_EXCEEDED",
    429,
    "Too many requests",
    "Wait for Retry-After seconds; if the limit is too low for real traffic, raise RATE_LIMIT_MAX_REQUESTS.",
    retry_after_s=1,
)
HEADERS_TOO_LARGE: Final = ErrorKind(
    "HEADERS_TOO_LARGE",
    431,
    "The request's header fields are larger than allowed",
    "Send smaller or fewer fields; cookies are the usual culprit.",
)
INTERNAL_ERROR: Final = ErrorKind(
    "INTERNAL_ERROR",
    500,
    "The gateway failed",
    "This is a fault of fastgw: report it with the request id and the gateway's log line.",
)
BAD_GATEWAY: Final = ErrorKind(
    "BAD_GATEWAY",
    502,
    "The backend could not be reached or did not answer properly",
    "Check that the backend runs and that FASTAPI_URL names it.",
)
SERVICE_UNAVAILABLE: Final = ErrorKind(
    "SERVICE_UNAVAILABLE",
    503,
    "The gateway can't take the request now",
    "Try again after Retry-After seconds; if it lasts, add backends or raise FASTAPI_POOL_SIZE.",
    retry_after_s=1,
)
GATEWAY_TIMEOUT: Final = ErrorKind(
    "GATEWAY_TIMEOUT",
    504,
    "The backend did not answer in time",
    "Look at the backend's load, or raise FASTAPI_TIMEOUT.",
)

ALL: Final = (
    BAD_REQUEST,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_OUTCOME_UNKNOWN,
    IDEMPOTENCY_ANSWER_NOT_KEPT,
    PAYLOAD_TOO_LARGE,
    IDEMPOTENCY_KEY_REUSED,
    RATE_LIMIT_EXCEEDED,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    BAD_GATEWAY,
    SERVICE_UNAVAILABLE,
    GATEWAY_TIMEOUT,
)


class GatewayError(Exception):
    """A request can't be served: which kind of error the client is told, and what exactly happened."""

    def __init__(self, kind: ErrorKind, detail: str = "", *, retry_after_s: float | None = None) -> None:
        """detail: one sentence for the client, without secrets and without addresses of backends.

        retry_after_s: seconds, where more is known than the kind's own default.
        """
        super().__init__(detail or kind.message)
        self.kind = kind
        self.retry_after_s = kind.retry_after_s if retry_after_s is None else retry_after_s
        self.message = f"{kind.message}: {detail}" if detail else kind.message


def reference_page() -> str:
    """The text of docs/reference/errors.md."""
    lines = [
        "# Errors",
        "",
        'Each of the gateway\'s own errors has the body `{"error": {"code", "message", "requestId", "retryAfter"?}}`;',
        "`requestId` is that of X-Request-ID. What the backend answers is passed on as it is. Written by `make docs`",
        "from `fastgw/errors.py`.",
        "",
        "| code | status | meaning | what to do |",
        "|---|---|---|---|",
    ]
    lines += [f"| {kind.code} | {kind.status} | {kind.message}. | {kind.hint} |" for kind in ALL]
    return "\n".join(lines) + "\n"
