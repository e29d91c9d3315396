"""Who the client is behind trusted proxies, and what the backend is told about it.

X-Forwarded-For is a list that each proxy appends to; only what trusted proxies appended can be believed. The
client is therefore the rightmost address that is no trusted proxy (as nginx's real_ip_recursive and Envoy's
xff_num_trusted_hops do). From a peer that is not trusted, nothing of what it says about itself is passed on.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Network = IPv4Network | IPv6Network

CLAIMS: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"})
"""Fields in which a proxy states who its client is."""

MAX_REMEMBERED: Final = 4096
"""Peers whose trust is remembered; about 100 bytes each. Proxies are few, direct clients fill it and start anew."""

MAX_HOPS: Final = 32
"""Entries of X-Forwarded-For that are looked at, from the right. Real chains have two or three."""


class TrustedProxies:
    """The set of networks whose word is taken."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def trusts(self, address: str) -> bool:
        """Whether an address belongs to a trusted proxy. Not an address (a unix socket's peer): not trusted."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            known = self._known[address] = self._is_inside(address)
        return known

    def client_of(self, peer: str, forwarded_for: bytes | None) -> str:
        """The client's address: `peer`, or, if that is trusted, the rightmost address that is not.

        An entry that is no IP address ends the search: what stands left of it is nobody's word.
        """
        client = peer
        if forwarded_for is None or not self.trusts(peer):
            return client
        for entry in reversed(forwarded_for.split(b",")[-MAX_HOPS:]):
            address = _address(entry)
            if address is None:
                return client
            client = address
            if not self.trusts(client):
                return client
        return client

    def _is_inside(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # ::ffff:127.0.0.1 is 127.0.0.1 on a dual-stack socket
        return any(ip in network for network in self._networks)


def _address(entry: bytes) -> str | None:
    """One entry of X-Forwarded-For as an address, without the port that some proxies add. None if it is none."""
    text = entry.strip().decode("ascii", "replace")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
