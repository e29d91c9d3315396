"""What can go wrong between the gateway and a backend, and what is known about it.

Every error says three facts that decide whether the request may be sent again: `sent`, the number of
request bytes handed to the socket (measured, not guessed from the kind of failure); `reused`, whether
the connection had carried a request before (a server may close such a one at any moment, RFC 9112 9.5);
and `answered`, whether a byte of the response had come. With `sent == 0` the backend has seen nothing.
"""

from __future__ import annotations


class UpstreamError(Exception):
    """Base of all failures of an exchange with a backend."""

    def __init__(self, reason: str, *, sent: int = 0, reused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.reused = reused
        self.answered = False


class PoolTimeout(UpstreamError):
    """No connection came free in time: the pool is at its limit. Nothing was sent."""


class ConnectFailed(UpstreamError):
    """The backend refused the connection, or its name or address could not be reached. Nothing was sent."""


class ConnectTimeout(UpstreamError):
    """The backend did not take the connection in time. Nothing was sent."""


class ReadTimeout(UpstreamError):
    """The backend was silent for too long: before the head, or between two pieces of the body."""


class ConnectionLost(UpstreamError):
    """The backend closed or reset the connection before the response was complete."""


class ProtocolFault(UpstreamError):
    """What the backend sent is not HTTP/1.1, or exceeds a limit of this client."""


class Aborted(UpstreamError):
    """This side gave the exchange up (the client left, a limit was passed, the process ends)."""
