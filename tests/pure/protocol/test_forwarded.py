"""Who the client is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from fastgw.protocol.forwarded import MAX_HOPS, MAX_REMEMBERED, TrustedProxies

LOCAL = TrustedProxies([ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("10.9.8.7", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("::2", False),
        ("", False),
        ("/run/gw.sock", False),
        ("localhost", False),
        ("127.0.0.1 ", False),
    ],
)
def test_whose_word_is_taken(address: str, trusted: bool) -> None:
    assert LOCAL.trusts(address) is trusted
    assert LOCAL.trusts(address) is trusted  # the second time it is remembered


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        ("8.8.8.8", b"1.1.1.1", "8.8.8.8"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", b"1.1.1.1", "1.1.1.1"),
        ("127.0.0.1", b"6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("127.0.0.1", b"6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("127.0.0.1", b"10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("127.0.0.1", b"1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("127.0.0.1", b"unknown", "127.0.0.1"),
        ("127.0.0.1", b"", "127.0.0.1"),
        ("127.0.0.1", b"1.1.1.1:4711", "1.1.1.1"),
        ("127.0.0.1", b"[2001:db8::1]:4711", "2001:db8::1"),
        ("127.0.0.1", b"2001:DB8::1", "2001:db8::1"),
        ("127.0.0.1", b" 1.1.1.1 ", "1.1.1.1"),
        ("127.0.0.1", b"\xff\xfe", "127.0.0.1"),
        ("127.0.0.1", b"1.1.1.1, 6.6.6.6\x00", "127.0.0.1"),
    ],
    ids=[
        "untrusted",
        "untrusted_claims",
        "trusted_alone",
        "one",
        "forged_on_the_left",
        "two_proxies",
        "all_trusted",
        "unknown_ends_it",
        "only_unknown",
        "empty",
        "port",
        "ipv6_and_port",
        "ipv6",
        "blanks",
        "not_ascii",
        "nul",
    ],
)
def test_the_rightmost_that_is_not_trusted(peer: str, chain: bytes | None, client: str) -> None:
    assert LOCAL.client_of(peer, chain) == client


def test_a_long_chain_is_looked_at_from_the_right_only() -> None:
    chain = b", ".join([b"1.1.1.1", *[b"10.0.0.1"] * (MAX_HOPS * 1000)])
    assert LOCAL.client_of("127.0.0.1", chain) == "10.0.0.1"


def test_what_is_remembered_is_bounded() -> None:
    proxies = TrustedProxies([])
    for number in range(2 * MAX_REMEMBERED + 10):
        proxies.trusts(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(proxies._known) <= MAX_REMEMBERED
