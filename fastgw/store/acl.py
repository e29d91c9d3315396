"""What the Redis user `fastgw` may do, as data: `deploy/redis/fastgw.acl`, the embedded Valkey and the tests use it.

The rules are those of `ACL SETUSER` (Redis and Valkey from version 7 on). Everything is forbidden but what stands here.
What fastgw calls must be here, by itself or in a script (tests/pure/store/test_acl.py); of commands that reach nothing
but our own keys there are some more, so that the next version need not ask operators for another file.

The file names the default REDIS_KEY_PREFIX; whoever sets another one changes `~gateway:*` to it.
SCAN answers with names of keys only, so Redis checks no key rule for it: fastgw sees what keys there are, not their
values.
"""

from __future__ import annotations

from typing import Final

from fastgw.store.keys import PREFIX

USER: Final = "fastgw"
PASSWORD_TO_CHANGE: Final = "CHANGE-ME"  # noqa: S105 -- it says itself that it is none

READ_KEYS: Final = ("worker:*", "queue:*")
"""GPU workers and the FastAPI server write these."""

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "a connection, and what the clients ask when they open one": (
        "auth",
        "hello",
        "ping",
        "select",
        "client|setname",
        "client|setinfo",
        "command",
    ),
    "a Cluster": ("asking", "cluster|slots", "cluster|shards"),
    "scripts, and the clock that they go by": ("eval", "evalsha", "time"),
    "keys of any type": (
        "del",
        "unlink",
        "exists",
        "type",
        "expire",
        "pexpire",
        "pexpireat",
        "ttl",
        "pttl",
        "scan",
        "memory|usage",
        "object|idletime",
    ),
    "entries, sessions, config": ("get", "getrange", "mget", "set", "strlen"),
    "the index of the cache": ("sadd", "scard", "sismember", "smembers", "srandmember", "srem", "sscan"),
    "rate limits and leases": (
        "zadd",
        "zcard",
        "zcount",
        "zrange",
        "zrangebyscore",
        "zrem",
        "zremrangebyscore",
        "zscore",
    ),
}
"""What they are for -> the commands, lower case; a subcommand behind `|`."""


def rules(prefix: str = PREFIX) -> tuple[str, ...]:
    """In the order in which Redis applies them: first what is taken, then what is given.

    prefix: REDIS_KEY_PREFIX.
    """
    return (
        "resetkeys",
        f"~{prefix}*",
        *(f"%R~{pattern}" for pattern in READ_KEYS),
        "resetchannels",
        "-@all",
        *(f"+{command}" for group in COMMANDS.values() for command in group),
    )


RULES: Final = rules()


def user_line(secret: str = f">{PASSWORD_TO_CHANGE}", prefix: str = PREFIX) -> str:
    """One line for an ACL file or a configuration: `user fastgw on <secret> <rules>`, without line end.

    secret: a rule that lets in: `>password`, `#sha256` or `nopass`.
    """
    return " ".join(("user", USER, "on", secret, *rules(prefix)))


def acl_file() -> str:
    """The text of deploy/redis/fastgw.acl. No comments: Redis refuses an ACL file that has some."""
    return f"{user_line()}\n"
