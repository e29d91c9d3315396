"""Whether this process is on its way out."""

from __future__ import annotations


class Drain:
    """Told by the server, read by the path and by the health page. There is no way back.

    is_draining: this worker ends. Its answers say `Connection: close`, and clients come back to another one.
    is_stopping: the whole gateway ends, and health says so with 503. A worker that a reload replaces drains without
    that: the gateway goes on, and a load balancer is to keep sending.
    """

    __slots__ = ("is_draining", "is_stopping")

    def __init__(self) -> None:
        self.is_draining = False
        self.is_stopping = False

    def __repr__(self) -> str:
        return f"<Drain {'stopping' if self.is_stopping else 'draining' if self.is_draining else 'serving'}>"

    def begin(self, *, is_stopping: bool) -> None:
        """The process will end soon; is_stopping: because the gateway does."""
        self.is_draining = True
        self.is_stopping = self.is_stopping or is_stopping
