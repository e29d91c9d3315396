"""Event streams (`text/event-stream`) and WebSockets."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, WebSocket
from fastapi.responses import StreamingResponse

from fastgw.demo.book import Job, JobState, PlatformError
from fastgw.demo.hub import Hub
from fastgw.demo.state import Here

KEEP_ALIVE_S: Final = 15.0
"""A comment line after so long a silence, as the HTML standard's section on server-sent events advises."""

ECHO_SUBPROTOCOL: Final = "echo.v1"
NO_SUCH_JOB: Final = 4404
"""Close code for an unknown job, of the range left to applications (RFC 6455, 7.4.2)."""

CLOSE_WISH: Final = re.compile(r"close:(?P<code>1000|1001|1008|1011|[34]\d{3})(:(?P<reason>.{0,30}))?")
"""Codes that an endpoint may send; the reason is kept within the 123 bytes of a close frame."""

router = APIRouter(tags=["streams"])


@router.get("/api/v1/events", response_class=StreamingResponse)
async def all_events(platform: Here) -> StreamingResponse:
    """Stream the changes of all jobs, until the client leaves."""
    return _event_stream(_job_changes(platform.hub, None))


@router.get("/api/v1/jobs/{job_id}/events", response_class=StreamingResponse)
async def job_events(job_id: str, platform: Here) -> StreamingResponse:
    """Stream a job's state as it is and as it changes; the stream ends with the job."""
    return _event_stream(_job_changes(platform.hub, platform.book.get(job_id)))


@router.websocket("/ws/echo")
async def echo(socket: WebSocket) -> None:
    """Send back each message as it came. The text `close:CODE:REASON` closes with that code and reason."""
    offered = socket.scope["subprotocols"]
    await socket.accept(ECHO_SUBPROTOCOL if ECHO_SUBPROTOCOL in offered else None)
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        if text is None:
            await socket.send_bytes(message["bytes"])
        elif wish := CLOSE_WISH.fullmatch(text):
            await socket.close(int(wish["code"]), wish["reason"])
            return
        else:
            await socket.send_text(text)


@router.websocket("/ws/jobs/{job_id}")
async def watch_job(job_id: str, socket: WebSocket, platform: Here) -> None:
    """Send the job's facts as they are and as they change, one JSON text each; close with 1000 when it has ended."""
    await socket.accept()
    try:
        job = platform.book.get(job_id)
    except PlatformError as error:
        await socket.close(NO_SUCH_JOB, str(error))
        return
    tasks = [asyncio.create_task(_send_changes(socket, platform.hub, job)), asyncio.create_task(_until_gone(socket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send_changes(socket: WebSocket, hub: Hub, job: Job) -> None:
    async for facts in _job_changes(hub, job):
        if facts is not None:
            await socket.send_json(facts)
    await socket.close()


async def _until_gone(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _job_changes(hub: Hub, job: Job | None) -> AsyncIterator[dict[str, Any] | None]:
    """Yield a job's facts as they are and each time they change, to its end; without a job, the changes of all.

    Yields None after KEEP_ALIVE_S without a change. Ends also when the server stops, or the reader is too slow.
    """
    with hub.subscribe(job.job_id if job else None) as queue:
        if job is not None:
            yield job.facts()
            if job.state.final and queue.empty():
                return
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event
            if job is not None and JobState(event["status"]).final:
                return


def _event_stream(changes: AsyncIterator[dict[str, Any] | None]) -> StreamingResponse:
    return StreamingResponse(_as_events(changes), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _as_events(changes: AsyncIterator[dict[str, Any] | None]) -> AsyncIterator[bytes]:
    """Write each change as an event named `job` with a rising id; silence as a comment."""
    yield b": open\n\n"  # so that the head and a first byte reach the client before anything happens
    number = 0
    async for facts in changes:
        if facts is None:
            yield b": still here\n\n"
        else:
            number += 1
            yield f"id: {number}\nevent: job\ndata: {json.dumps(facts)}\n\n".encode()
