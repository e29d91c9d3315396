"""What is to be looked up for a request, and what the reply to it means.

An entry stands at the name of its URI (`base`), unless the response differs by request fields (Vary) or belongs to an
identity. Then the base holds a marker that says by what it differs, and entries stand at the names of their variants
(RFC 9111 4.1). A process remembers markers as it holds copies of entries; the admission script validates both, so one
round trip is enough unless the marker is new to the process.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from fastgw.cache.coalesce import LEASE_S, PASS_S
from fastgw.cache.conditional import has_precondition
from fastgw.cache.entry import Entry, Marker, decode, stamp
from fastgw.cache.key import CREDENTIALS, base_name, identity_scope, is_never_cached, variant_name
from fastgw.cache.policy import NO_WISHES, Wishes, wishes
from fastgw.cache.status import cache_fields
from fastgw.protocol.fields import first
from fastgw.store.link import bulks

if TYPE_CHECKING:
    from fastgw.cache.local import Copy, LocalCopies
    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields
    from fastgw.store.keys import Keys

MAX_NAMES: Final = 4096
"""URIs whose names are remembered, about 400 bytes each; then it starts anew. Saves 2 us of hashing."""

MAX_VARIANTS: Final = 1024
"""Names of variants remembered per URI."""

LEASE_US: Final = b"%d" % int(LEASE_S * 1e6)

MISS: Final = cache_fields(b"MISS", fwd=b"uri-miss")
BYPASS: Final = cache_fields(b"BYPASS", fwd=b"bypass")
BY_METHOD: Final = cache_fields(b"BYPASS", fwd=b"method")
BY_REQUEST: Final = cache_fields(b"BYPASS", fwd=b"request")

FOR_BACKEND: Final = frozenset({b"range", b"if-range", b"if-match", b"if-unmodified-since"})
"""Request fields that only the backend can answer."""

Parts = tuple[int, bytes, bytes]
"""Of a call of admission.lua: number of keys, keys and arguments as RESP."""

Orphans = deque[tuple[bytes, bytes]]
"""Leases, and who may hold them, of which nobody knows whether they were claimed."""

MAX_ORPHANS: Final = 4096
"""The oldest ones are left to expire."""

MAX_REMEMBERED_ORIGIN: Final = 269
"""Bytes: https://, the longest name of a host (RFC 1035 2.3.4), and a port. Longer ones are hashed each time: a client
may send 64 KiB, and MAX_VARIANTS of them for each URI."""

ORIGIN_ONLY: Final = (b"origin",)
"""Where the backend has a CORS policy of its own, most that is cached differs by that alone."""

NO_PARTS: Final = (0, b"", b"")

CACHEABLE_METHODS: Final = frozenset({b"GET", b"HEAD"})


class Names:
    """The names that belong to one URI, and what this process knows of it."""

    __slots__ = ("base", "is_never", "key", "lease", "marker", "passes", "variants")

    def __init__(self, base: bytes, keys: Keys, *, is_never: bool) -> None:
        """is_never: nothing of it is ever cached."""
        self.base = base
        self.key = keys.cache(base)
        self.lease = keys.cache_lease(base)
        self.is_never = is_never
        self.marker: Marker | None = None
        self.passes: dict[bytes, float] = {}  # scope -> monotonic seconds until which it is taken for not storable
        # scope and origin -> name, while nothing else tells
        self.variants: dict[tuple[bytes, bytes | None], bytes] = {}

    def use(self, marker: Marker | None) -> None:
        """The marker that stands there from now on; None: an entry, or nothing."""
        self.marker = marker
        self.variants = {}

    def note_pass(self, scope: bytes) -> None:
        """What came for this scope was not storable. Others' may be: whoever sends nonsense stops no cache."""
        if len(self.passes) >= MAX_VARIANTS:
            self.passes.clear()
        self.passes[scope] = monotonic() + PASS_S

    def variant(self, marker: Marker, headers: Fields, scope: bytes) -> bytes:
        """The name of the variant for a request. Remembered where scope and origin decide: hashing takes 1.4 us."""
        scope = scope if marker.by_identity else b""
        vary = marker.vary
        if vary and vary != ORIGIN_ONLY:
            return variant_name(self.base, marker.version, vary, headers, scope)
        origins = [value for field, value in headers if field == b"origin"] if vary else []
        if len(origins) > 1 or (origins and len(origins[0]) > MAX_REMEMBERED_ORIGIN):
            return variant_name(self.base, marker.version, vary, headers, scope)
        origin = origins[0] if origins else None
        name = self.variants.get((scope, origin))
        if name is None:
            if len(self.variants) >= MAX_VARIANTS:
                self.variants = {}
            name = self.variants[scope, origin] = variant_name(self.base, marker.version, vary, headers, scope)
        return name


class Ask:
    """A lookup: what is asked for one request, and after `take`, what there is."""

    __slots__ = (
        "_orphans",
        "base_reply",
        "copy",
        "holder",
        "is_claim",
        "is_forced",
        "is_plain",
        "lead",
        "marker",
        "name",
        "names",
        "parts",
        "scope",
        "variant_reply",
        "wishes",
    )

    def __init__(self, names: Names, scope: bytes, wanted: Wishes, orphans: Orphans) -> None:
        self._orphans = orphans
        self.names = names
        self.scope = scope
        self.wishes = wanted
        self.holder = b""  # who fetches, if it is missing; "": not this request
        self.marker: Marker | None = None
        self.name = names.base  # of the entry that was looked for: the base's, or a variant's
        self.copy: Copy | None = None  # before `take` what the process holds, after it what is there
        self.lead = 0
        self.is_plain = False  # has no field that the cache must look at, but for one credential
        self.parts: Parts = NO_PARTS
        self.is_claim = False  # it asks for the lease too
        self.is_forced = False  # though the entry is there
        self.base_reply: bytes | int = 0
        self.variant_reply: bytes | int = 0

    @property
    def was_claimed(self) -> bool:
        """Whether the script tried to claim the lease: it does so for what is missing, or if it is told to."""
        missing = self.base_reply == 0 or (self.marker is not None and self.base_reply == 1 and self.variant_reply == 0)
        return self.is_claim and (missing or self.is_forced)

    @property
    def key(self) -> bytes:
        """The first of its keys."""
        return self.names.key

    @property
    def flight_name(self) -> bytes:
        """Who may wait for whom: the URI, for one identity."""
        return self.names.base + self.scope

    @property
    def lease(self) -> bytes:
        """The key of the lease that goes with it."""
        return self.names.lease + self.scope

    def lost(self) -> None:
        """There was no reply: if the lease was claimed, nobody fetches, so it is given back as soon as possible."""
        if self.is_claim:
            self._orphans.append((self.lease, self.holder))

    def take(self, base: bytes | int, variant: bytes | int, lead: int) -> None:
        """The reply of admission.lua; what it means is read when it is asked for (`Lookup.read`)."""
        self.base_reply, self.variant_reply, self.lead = base, variant, lead


class Lookup:
    """Makes the asks, and reads the replies."""

    def __init__(self, keys: Keys, local: LocalCopies, holder: bytes) -> None:
        """holder: a name of this process, unique in the fleet."""
        self.own: frozenset[bytes] = frozenset()
        """Paths that another step answers: nothing is looked up, and no lease claimed, for them."""
        self._keys = keys
        self._local = local
        self._holder = holder
        self._fetches = 0
        self._names: dict[tuple[bytes, bytes], Names] = {}
        self.orphans: Orphans = deque(maxlen=MAX_ORPHANS)
        self.is_on = True
        self.on_change: Any = None  # what becomes of the response to an unsafe request: set by wiring

    def __call__(self, x: Exchange) -> Ask | None:
        """The lookup for a request; None if the cache has no part in it. Sets x.cache_fields where that is so.

        What was not storable a moment ago is not looked up either: it is the usual GET, and costs 0.4 us here.
        """
        names = self.names_of(x)
        if names.is_never or "method" not in x.scope:  # a WebSocket has none
            x.cache_fields = BYPASS
            return None
        if x.method not in CACHEABLE_METHODS:
            x.cache_fields, x.fetch = BY_METHOD, self.on_change
            return None
        noted = x.noted
        is_plain = not noted or (x.credential and len(noted) == 1)
        if not is_plain and any(name in FOR_BACKEND for name, _ in noted):
            x.cache_fields = BY_REQUEST
            return None
        if x.body_length and (x.body_length > 0 or x.http_version != "2"):
            x.cache_fields = BY_REQUEST  # the backend may look at the body, which no name holds
            return None
        # one name for a credential, whatever else the request has: it was found good, alone, by its digest
        lone = is_plain or (x.credential and sum([name in CREDENTIALS for name, _ in noted]) == 1)
        scope = x.credential if lone else identity_scope(noted)
        wanted = NO_WISHES if is_plain else wishes(noted)
        if names.passes and names.passes.get(scope, 0.0) > monotonic() and not wanted.only_if_cached:
            x.cache_fields = MISS
            return None
        ask = Ask(names, scope, wanted, self.orphans)
        ask.is_plain = bool(is_plain)
        self.aim(x, ask)
        return ask

    def enlist(self, x: Exchange, ask: Ask) -> bool:
        """Whether this request, if it finds nothing, fetches for others too; then it has a holder's name."""
        wanted = ask.wishes
        if not ask.holder:
            if x.method != b"GET" or (not ask.is_plain and has_precondition(x.noted)):
                return False
            if wanted is not NO_WISHES and (wanted.no_store or wanted.no_cache or wanted.only_if_cached):
                return False
            self._fetches += 1
            ask.holder = b"%b.%x" % (self._holder, self._fetches)
        return True

    def names_of(self, x: Exchange) -> Names:
        """The names of a request's URI, remembered."""
        host = x.host if len(x.special) == 1 else _told_host(x)
        names = self._names.get((host, x.target))
        if names is None:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            is_never = x.raw_path in self.own or is_never_cached(x.raw_path)
            names = Names(base_name(host, x.raw_path, x.target), self._keys, is_never=is_never)
            self._names[host, x.target] = names
        return names

    def aim(self, x: Exchange, ask: Ask, *, anyway: bool = False) -> None:
        """Make the call by what the process knows. anyway: claim the lease though the entry is there.

        Whoever holds a copy expects it to be good, and claims nothing: that call is made once for each copy.
        """
        names = ask.names
        marker = ask.marker = names.marker
        ask.name = names.base if marker is None else names.variant(marker, x.headers, ask.scope)
        copy = ask.copy = self._local.get(ask.name)
        ask.is_claim = (copy is None or anyway) and self.enlist(x, ask)
        ask.is_forced = anyway
        if ask.is_claim:
            ask.parts = self._parts(ask, anyway=anyway)
        elif copy is not None and copy.call is not None and copy.call_of is marker:
            ask.parts = copy.call
        else:
            ask.parts = self._parts(ask, anyway=False)
            if copy is not None:
                copy.call, copy.call_of = ask.parts, marker

    def _parts(self, ask: Ask, *, anyway: bool) -> Parts:
        """The keys and arguments of a lookup: see admission.lua."""
        copy, marker = ask.copy, ask.marker
        held = copy.stamp if copy is not None else b""
        keys: tuple[bytes, ...] = (ask.names.key,)
        known = (b"1", held, b"")
        if marker is not None:
            keys = (ask.names.key, self._keys.cache(ask.name))
            known = (b"2", stamp(marker.version), held)
        holder = b""
        if ask.is_claim:
            keys, holder = (*keys, ask.lease), ask.holder
        return len(keys), bulks(*keys), bulks(*known, holder, LEASE_US, b"1" if anyway else b"0")

    def read(self, ask: Ask) -> bool:
        """What the reply says is there goes to ask.copy. False: a marker came that was new; `aim` and ask again."""
        base, names = ask.base_reply, ask.names
        if isinstance(base, bytes):
            value = decode(base)
            if isinstance(value, Marker):
                names.use(value)
                self._local.drop(names.base)
                return False
            names.use(None)
            ask.marker, ask.name = None, names.base
            ask.copy = self._local.put(ask.name, value) if isinstance(value, Entry) else None
        elif base == 0:
            names.use(None)
            self._local.drop(names.base)
            ask.copy = None
        elif ask.marker is not None:
            variant = ask.variant_reply
            if isinstance(variant, bytes):
                entry = decode(variant)
                ask.copy = self._local.put(ask.name, entry) if isinstance(entry, Entry) else None
            elif variant == 0:
                self._local.drop(ask.name)
                ask.copy = None
        if ask.copy is not None and ask.marker is None and ask.scope and not ask.copy.entry.is_shared:
            ask.copy = None  # stored for those without credentials: not for this one
        return True


def _told_host(x: Exchange) -> bytes:
    """The host that the backend is told, which may stand in its response: with the scheme, if a trusted proxy says it.

    Without these two in the name, one client's X-Forwarded-Host would be in another's response.
    """
    if not x.is_peer_trusted:
        return x.host
    host = first(x.special, b"x-forwarded-host") or x.host
    proto = first(x.special, b"x-forwarded-proto")
    return host if proto is None else proto + b"://" + host
