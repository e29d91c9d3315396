"""Which limit holds for a request, and under which name it is counted. Pure.

One limit holds for a request, the most specific one: that of its path (exact before `/*`, longer before shorter), else
that of its identity, else the general one. A rule has a window of its own, so its requests do not count elsewhere.

    general            <address or identity>
    path rule          <address or identity>:<rule's path>
    identity rule      <identity>
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgw.admission.call import counted, limit_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange

Target = tuple[str, int, int]
"""A rule: its target as in RATE_LIMIT_RULES, requests, window in ms."""

_MAPPED = "::ffff:"


class Limit:
    """`requests` in any `window_ms`. What does not depend on the request is made once: arguments and fields."""

    __slots__ = ("counted", "fields", "name", "requests", "suffix", "tail", "window_s", "window_us")

    def __init__(self, name: str, requests: int, window_ms: int, suffix: str = "") -> None:
        """name: in RateLimit fields. suffix: of the client's name, for a path's own window."""
        self.name = name.encode()
        self.requests = requests
        self.window_us = window_ms * 1000
        self.window_s = window_ms / 1e3
        self.suffix = suffix.encode()
        self.counted = counted(requests, self.window_us)
        self.tail = limit_tail(requests, self.window_us)
        seconds = max(1, -(-window_ms // 1000))
        self.fields = (
            (b"x-ratelimit-limit", b"%d" % requests),
            (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (self.name, requests, seconds)),
        )

    def __repr__(self) -> str:
        return f"<Limit {self.name.decode()} {self.requests}/{self.window_us // 1000}ms>"


class Rules:
    """The limits in force."""

    def __init__(self, requests: int, window_ms: int, rules: Sequence[Target] = (), *, by_identity: bool) -> None:
        """requests, window_ms: the general limit. by_identity: count identities where there is one, else addresses."""
        self._general = Limit("default", requests, window_ms)
        self._by_identity = by_identity
        self._identities: dict[str, Limit] = {}
        self._paths: dict[str, Limit] = {}
        prefixes: list[tuple[str, Limit]] = []
        for target, allowed, length_ms in rules:
            if target.startswith("identity:"):
                name = target.removeprefix("identity:")
                self._identities[name] = Limit("identity", allowed, length_ms)
            elif target.endswith("/*"):
                prefixes.append((target[:-1], Limit("path", allowed, length_ms, ":" + target)))
            else:
                self._paths[target] = Limit("path", allowed, length_ms, ":" + target)
        self._prefixes = sorted(prefixes, key=lambda rule: -len(rule[0]))
        self._has_rules = bool(rules)

    def limit_of(self, x: Exchange) -> tuple[Limit, bytes]:
        """The limit for a request, and the name of the window in which it is counted.

        The decoded path decides, so that no other spelling of it escapes its rule.
        """
        limit = self._general
        if self._has_rules:
            path = x.scope["path"]
            own = self._paths.get(path) or next((lim for start, lim in self._prefixes if path.startswith(start)), None)
            if own is None and x.identity:
                own = self._identities.get(x.identity.partition(":")[2])
                if own is not None:
                    return own, x.identity.encode()
            limit = own or limit
        client = x.identity if self._by_identity and x.identity else x.client.removeprefix(_MAPPED)
        return limit, client.encode() + limit.suffix
