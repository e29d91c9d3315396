"""How long a backend may take."""

from __future__ import annotations

import pytest

from fastgw.forwarding.timeouts import SYNC_MARGIN_S, SYNC_MAX_S, first_byte_timeout, sync_timeout
from tests.pure.asgi import exchange


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"", 60),
        (b"timeout=5", 5),
        (b"timeout=0.5", 0.5),
        (b"a=b&timeout=120&c=d", 120),
        (b"timeout=1&timeout=2", 2),
        (b"timeout=%32%30", 20),
        (b"timeout=0", 60),
        (b"timeout=-5", 60),
        (b"timeout=", 60),
        (b"timeout=soon", 60),
        (b"timeout=nan", 60),
        (b"timeout=inf", 60),
        (b"timeout=1e999", 60),
        (b"timeout=99999999", SYNC_MAX_S),
        (b"Timeout=5", 60),
        (b"\xff\xfe=1&timeout=7", 7),
        (b"&".join(b"a%d=b" % n for n in range(2000)), 60),
    ],
)
def test_the_wait_for_a_job(query: bytes, seconds: float) -> None:
    assert sync_timeout(query) == seconds + SYNC_MARGIN_S


@pytest.mark.parametrize(
    ("method", "target", "seconds"),
    [
        ("POST", b"/api/v1/jobs/sync?timeout=90", 100),
        ("POST", b"/api/v1/jobs/sync", 70),
        ("GET", b"/api/v1/jobs/sync?timeout=90", 30),
        ("POST", b"/api/v1/jobs?timeout=90", 30),
        ("POST", b"/api/v1/jobs/sync/?timeout=90", 30),
    ],
)
def test_only_jobs_sync_has_its_own(method: str, target: bytes, seconds: float) -> None:
    assert first_byte_timeout(exchange(method=method, target=target), 30) == seconds
