"""A real FastAPI server, instrumented by opentelemetry-instrumentation-fastapi; its spans go to COLLECTOR_URL, at once.

Beside what it is asked for it answers /boom (500), /slow and /cut (a body cut short).
"""

from __future__ import annotations

import asyncio
import os

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

app = FastAPI()


@app.get("/api/v1/queue/stats")
async def stats(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith("trace")}


@app.get("/boom")
async def boom() -> Response:
    return JSONResponse({"detail": "boom"}, 500)


@app.get("/slow")
async def slow() -> dict[str, bool]:
    await asyncio.sleep(0.3)
    return {"slow": True}


provider = TracerProvider(resource=Resource({SERVICE_NAME: "fastapi-server"}))
provider.add_span_processor(SimpleSpanProcessor(ZipkinExporter(endpoint=os.environ["COLLECTOR_URL"])))
FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
