"""Servers with a CORS policy of their own, as FastAPI's users have them; for a real uvicorn.

strict: one origin, with credentials. open_to_all: any, with credentials. mounted: only below /inner.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware

APP = "https://app.test"


def made(**policy: Any) -> FastAPI:
    """An application that counts what reaches its routes: a preflight that the middleware answers does not."""
    app = FastAPI()
    if policy:
        app.add_middleware(
            CORSMiddleware,
            allow_methods=["GET", "POST", "PATCH"],
            allow_headers=["X-API-Key", "Content-Type", "Idempotency-Key"],
            **policy,
        )
    app.state.calls = 0

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.api_route("/api/v1/jobs", methods=["GET", "POST"])
    def jobs() -> dict[str, int]:
        app.state.calls += 1
        return {"calls": app.state.calls}

    @app.get("/regions")
    def regions(request: Request) -> dict[str, Any]:
        app.state.calls += 1
        return {"calls": app.state.calls, "for": request.headers.get("origin")}

    return app


strict = made(allow_origins=[APP], allow_credentials=True)
open_to_all = made(allow_origins=["*"], allow_credentials=True)
mounted = made()
mounted.mount("/inner", made(allow_origins=[APP]))
