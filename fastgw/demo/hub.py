"""Tells everyone who listens what happens to jobs. Feeds the event streams and `/ws/jobs/{id}`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

BACKLOG: Final = 256
"""Events kept for one slow listener; one that falls further behind is let go, so that memory stays bounded."""

Subscription: TypeAlias = asyncio.Queue[dict[str, Any] | None]


class Hub:
    """Hands each event to each open subscription. An event is the job's facts at the time."""

    def __init__(self) -> None:
        self._listeners: dict[Subscription, str | None] = {}
        self._closed = False

    def publish(self, event: dict[str, Any]) -> None:
        """Queue the event for everyone who listens to its job or to all."""
        for queue, job_id in list(self._listeners.items()):
            if job_id in (None, event["job_id"]):
                self._put(queue, event)

    @contextmanager
    def subscribe(self, job_id: str | None = None) -> Iterator[Subscription]:
        """Give a queue of events, of one job or of all; None in it means that no more will come."""
        # One place more than the backlog: the closing None always fits.
        queue: Subscription = asyncio.Queue(BACKLOG + 1)
        self._listeners[queue] = job_id
        if self._closed:
            self._drop(queue)
        try:
            yield queue
        finally:
            self._listeners.pop(queue, None)

    def close(self) -> None:
        """End every subscription, also those to come: the server is stopping."""
        self._closed = True
        for queue in list(self._listeners):
            self._drop(queue)

    def _put(self, queue: Subscription, event: dict[str, Any]) -> None:
        if queue.qsize() >= BACKLOG:
            self._drop(queue)
        else:
            queue.put_nowait(event)

    def _drop(self, queue: Subscription) -> None:
        del self._listeners[queue]
        queue.put_nowait(None)
