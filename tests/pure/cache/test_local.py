"""The process's own copies: bounded in bytes, the least recently used dropped."""

from __future__ import annotations

from fastgw.cache.entry import Entry
from fastgw.cache.local import OVERHEAD_BYTES, Copy, LocalCopies


def entry(body: bytes = b"x", **more) -> Entry:
    facts = {
        "version": b"0" * 16,
        "status": 200,
        "fields": [(b"content-type", b"text/plain")],
        "stored_ms": 0,
        "age_ms": 0,
        "ttl_ms": 1000,
        "swr_ms": 0,
        "sie_ms": 0,
        "must_revalidate": False,
        "is_shared": True,
    }
    return Entry(body=body, **(facts | more))


def test_a_copy_has_what_hits_need() -> None:
    copies = LocalCopies()
    copy = copies.put(b"a", entry(b"hello"))
    assert copies.get(b"a") is copy
    assert dict(copy.fields)[b"content-length"] == b"5"
    assert dict(copy.fields)[b"server"] == b"fastgw"
    assert copy.stamp.startswith(b'{"v":"0000')
    assert copies.get(b"b") is None


def test_the_backends_server_stays() -> None:
    copy = LocalCopies().put(b"a", entry(fields=[(b"server", b"uvicorn")]))
    assert [value for name, value in copy.fields if name == b"server"] == [b"uvicorn"]


def test_the_least_recently_used_goes_first() -> None:
    cost = Copy(entry()).cost
    copies = LocalCopies(4 * cost + 1)
    for name in (b"a", b"b", b"c", b"d"):
        copies.put(name, entry())
    copies.get(b"a")
    copies.put(b"e", entry())
    assert copies.names() == [b"c", b"d", b"a", b"e"]
    assert copies.bytes == 4 * cost


def test_what_is_too_large_is_not_kept() -> None:
    copies = LocalCopies(8 * OVERHEAD_BYTES)
    copy = copies.put(b"a", entry(b"x" * 2 * OVERHEAD_BYTES))
    assert copy.entry.body
    assert (len(copies), copies.bytes) == (0, 0)


def test_dropping_frees() -> None:
    copies = LocalCopies()
    copies.put(b"a", entry())
    copies.put(b"a", entry(b"longer"))
    copies.drop(b"a")
    copies.drop(b"a")
    assert (len(copies), copies.bytes) == (0, 0)
