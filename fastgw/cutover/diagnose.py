"""From a symptom to what to do: the guide's page of troubles as a table. Pure.

For `fastgw compare`: where a difference between the two sides comes from, and what the latency says. Whether an answer
is the gateway's own shows in its body: an error with one of our codes. What has been forwarded has Via.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.cutover.compare import Pair
    from fastgw.cutover.differences import Answer, Difference
    from fastgw.cutover.latency import Added, Quantile

CODES: Final = frozenset(kind.code for kind in errors.ALL)

_CREDENTIAL: Final = (
    "the gateway itself asks who it is: give the credential with --header, "
    "or look at AUTH_* (fastgw check --token finds a wrong salt or format)"
)
_OWN: Final = {
    errors.UNAUTHORIZED.code: _CREDENTIAL,
    errors.FORBIDDEN.code: _CREDENTIAL,
    errors.RATE_LIMIT_EXCEEDED.code: (
        "the gateway limits the rate: raise RATE_LIMIT_MAX_REQUESTS, or set RATE_LIMIT_ENABLED=false meanwhile"
    ),
    errors.BAD_GATEWAY.code: (
        "the gateway does not reach its backend, or that breaks off: see fastgw check, and the log for the reason"
    ),
    errors.GATEWAY_TIMEOUT.code: "the backend took longer than FASTAPI_TIMEOUT: is that the server's own measure?",
    errors.SERVICE_UNAVAILABLE.code: (
        "no backend is in use, or the gateway has no room: see /gateway/health/detailed and FASTAPI_POOL_SIZE"
    ),
    errors.HEADERS_TOO_LARGE.code: "the request's head is larger than the gateway passes on",
    errors.PAYLOAD_TOO_LARGE.code: "the body is larger than MAX_BODY_BYTES",
}

OTHER_BACKEND: Final = (
    "the backend behind the gateway gave this answer: does FASTAPI_URL name the same server, in the same version, as "
    "--direct?"
)
NO_GATEWAY: Final = "what answers at --gateway is no fastgw: check the address, and what listens there"
FROM_CACHE: Final = "it came from the gateway's cache: fastgw cache purge {path}, or a shorter time in CACHE_ROUTES"


def code_of(answer: Answer) -> str:
    """The code of the gateway's own error; "" if the answer is none."""
    if answer.status < 400:
        return ""
    try:
        content: Any = orjson.loads(answer.body)
        code = content["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return ""
    return code if isinstance(code, str) and code in CODES else ""


def cause(found: Difference, direct: Answer, gateway: Answer, path: str = "") -> str:
    """Where a difference comes from and what to do, in one sentence. path: of the request, without its query."""
    if found.kind == "error":
        if gateway.error:
            return "the gateway gave no answer: is it running at --gateway, and what does its log say at this time?"
        return "the server itself gave no answer where the gateway did: is --direct right, and is it overloaded?"
    if not gateway.field("x-gateway-version"):
        return NO_GATEWAY
    code = code_of(gateway)
    if code and code != code_of(direct):
        return _OWN.get(code, f"the gateway answered by itself: {code}, see docs/reference/errors.md")
    if gateway.field("x-gateway-cache") in {"HIT", "STALE"}:
        return FROM_CACHE.format(path=path or "PATH")
    return OTHER_BACKEND


def slowness(pairs: Sequence[Pair], added_ms: float) -> str:
    """Whose time the added latency is, by the gateway's Server-Timing; "" if it does not say."""
    known = [(one.own, one.backend, one.direct) for one in pairs if one.own is not None and one.backend is not None]
    if not known:
        return ""
    own, backend = median(one[0] for one in known), median(one[1] for one in known)
    excess = backend - median(one[2] for one in known)
    if excess > added_ms / 2:
        return (
            f"by Server-Timing the gateway's own part is {own:.2f} ms, and its wait for its backend {backend:.2f} ms, "
            f"{excess:.2f} ms more than the server takes directly: is FASTAPI_URL the server of --direct, as near to "
            "the gateway as to you, and not busy with other traffic?"
        )
    if own > added_ms / 2:
        return (
            f"by Server-Timing {own:.2f} ms of it are the gateway's own: look at gateway_loop_lag_seconds and "
            "gateway_redis_latency_seconds, and give it more GATEWAY_WORKERS or a nearer Redis"
        )
    return (
        f"by Server-Timing the gateway's own part is {own:.2f} ms: the rest is the network between here and it, or "
        "this machine; measure from where the clients are"
    )


def judge(name: str, found: Quantile, budget_ms: float, count: int) -> tuple[bool, str]:
    """Whether a quantile of the added latency keeps to its budget, as a sentence."""
    low = "?" if found.low is None else f"{found.low:.2f}"
    high = "?" if found.high is None else f"{found.high:.2f}"
    text = f"{name} of the added latency is {found.value:.2f} ms (95 %: {low} to {high}), budget {budget_ms:g} ms"
    if found.value <= budget_ms:
        return True, text
    if found.low is not None and found.low > budget_ms:
        return False, text
    return False, f"{text}; that may be chance: measure again with --samples {max(5 * count, 500)}"


def lateness(measured: Added, pairs: Sequence[Pair], p50_ms: float, p99_ms: float) -> list[tuple[bool, str, str]]:
    """The verdicts on p50 and p99: (kept, sentence, what to do, which is said once)."""
    found: list[tuple[bool, str, str]] = []
    for name, quantile, budget in (("p50", measured.p50, p50_ms), ("p99", measured.p99, p99_ms)):
        is_kept, text = judge(name, quantile, budget, len(pairs))
        is_told = any(hint for _, _, hint in found)
        found.append((is_kept, text, "" if is_kept or is_told else slowness(pairs, measured.p50.value)))
    return found
