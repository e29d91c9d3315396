"""Every key that fastgw writes, in one place; nobody else spells the prefix. Its page: docs/reference/redis-keys.md.

    <prefix>ratelimit:<client>          sorted set: member and score are the request's time, us of Redis's clock
    <prefix>cache:{<path><rest>}        JSON: an entry, or the marker that says how variants are told apart
    <prefix>cache:{<path><rest>}<var>   JSON: the entry of one variant (Vary, identity)
    <prefix>cache:keys                  set: the names of all present entries and markers, without `<prefix>cache:`
    <prefix>session:<digest>            JSON: who a credential belongs to; never the credential
    <prefix>idempotency:<digest>        JSON: what became of the request with an Idempotency-Key; never the key
    <prefix>config                      JSON: settings changed at run time
    <prefix>workers                     JSON: the list of GPU workers, read once for the whole fleet
    <prefix>lease:<name>                sorted set: holder -> expiry, us of Redis's clock
    <prefix>check:<name>                what `fastgw check` tries its rights on, for 10 s at most

The braces in the names of cache entries are literal: a Cluster hashes what stands in them, so that an entry, its
variants and its lease share a slot and one script may touch them (Redis Cluster specification, hash tags).
"""

from __future__ import annotations

PREFIX = "gateway:"
"""The default of REDIS_KEY_PREFIX."""


class Keys:
    """The names under one prefix. All take and give bytes."""

    def __init__(self, prefix: str = PREFIX) -> None:
        """prefix: of every key, with its colon."""
        base = prefix.encode()
        self._ratelimit = base + b"ratelimit:"
        self._cache = base + b"cache:"
        self._session = base + b"session:"
        self._lease = base + b"lease:"
        self._idempotency = base + b"idempotency:"
        self._check = base + b"check:"
        self.cache_index = base + b"cache:keys"
        self.config = base + b"config"
        self.workers = base + b"workers"

    def ratelimit(self, client: bytes) -> bytes:
        """The window of one client: an address, or a name that rules.py made."""
        return self._ratelimit + client

    def cache(self, name: bytes) -> bytes:
        """The entry or marker of a name: `{...}` for what all share, `{...}variant` for a variant."""
        return self._cache + name

    def cache_lease(self, base: bytes) -> bytes:
        """Who is fetching the entry `{...}` from the backend. Same slot as the entry."""
        return self._lease + b"cache:" + base

    def session(self, digest: bytes) -> bytes:
        """The session of a credential, by its digest in hex."""
        return self._session + digest

    def idempotency(self, digest: bytes) -> bytes:
        """What became of the request with an Idempotency-Key, by the digest of key and identity, in hex."""
        return self._idempotency + digest

    def lease(self, name: bytes) -> bytes:
        """Who does a job of the whole fleet."""
        return self._lease + name

    def check(self, name: bytes) -> bytes:
        """What `fastgw check` tries its rights on."""
        return self._check + name
