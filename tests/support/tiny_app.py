"""The supervisor with an application of a few lines, for tests of processes: no backend, no Redis, odd starts.

`python tests/support/tiny_app.py PORT WORKERS GRACE_S MODE_FILE [CERT KEY]`. MODE_FILE holds one word, which each new
worker reads and begins accordingly: `ok`, `raise` (in the lifespan), `fail` (startup.failed), `build` (the application
can't even be made), `die` (the process ends), `refuse` (SIGHUP finds bad settings; workers begin as with `ok`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from fastgw.server.sockets import listen
from fastgw.server.supervisor import Supervisor
from fastgw.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.background import Drain


class TinyApp:
    """/ tells who answers; /slow?s=2 takes its time; /events streams until the client leaves."""

    def __init__(self, mode_file: Path, drain: Drain) -> None:
        self.drain, self.mode = drain, mode_file.read_text().strip()
        if self.mode == "build":
            raise RuntimeError("this application can't be made")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["path"] == "/events":
            await self.events(receive, send)
        else:
            seconds = float(parse_qs(scope["query_string"].decode()).get("s", ["0"])[0])
            await asyncio.sleep(seconds)
            await self.tell(send, scope)

    async def lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        if self.mode == "raise":
            raise RuntimeError("no start today")
        if self.mode == "die":
            os._exit(7)
        if self.mode == "fail":
            await send({"type": "lifespan.startup.failed", "message": "no start today"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def tell(self, send: Any, scope: Any) -> None:
        body = json.dumps(
            {"pid": os.getpid(), "is_stopping": self.drain.is_stopping, "http": scope["http_version"]}
        ).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if self.drain.is_draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def events(self, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = asyncio.ensure_future(self.until_gone(receive))
        while not left.done():
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % os.getpid(), "more_body": True})
            await asyncio.sleep(0.05)

    async def until_gone(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


def main() -> int:
    port, workers, grace_s, mode_file, *tls = sys.argv[1:]
    logs.configure("info", "text")

    build = partial(TinyApp, Path(mode_file))

    def reload() -> Callable[[Drain], TinyApp] | None:
        return None if Path(mode_file).read_text() == "refuse" else build

    listeners = listen("127.0.0.1", int(port), int(workers))
    pair = (tls[0], tls[1]) if tls else None
    return Supervisor(listeners, build, tls=pair, grace_s=float(grace_s), reload=reload).run()


if __name__ == "__main__":
    sys.exit(main())
