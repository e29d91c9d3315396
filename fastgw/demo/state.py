"""What the sample server remembers, and how its endpoints reach it."""

from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection

from fastgw.demo.book import Job, JobBook
from fastgw.demo.crew import Crew
from fastgw.demo.hub import Hub


class Platform:
    """Jobs, workers and event streams of one server process."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.crew = Crew()
        self.book = JobBook(on_change=self._tell)

    def _tell(self, job: Job) -> None:
        self.hub.publish(job.facts())


# Dependencies are async, for FastAPI runs others in threads: the platform belongs to the loop's thread alone.


async def _of(connection: HTTPConnection) -> Platform:
    platform: Platform = connection.app.state.platform
    return platform


Here = Annotated[Platform, Depends(_of)]
"""A parameter of this type is the server's Platform."""


async def presented_token(connection: HTTPConnection) -> str | None:
    """Read X-Worker-Token, else an Authorization: Bearer; None if there is neither."""
    token = connection.headers.get("x-worker-token")
    if token is None:
        scheme, _, value = connection.headers.get("authorization", "").partition(" ")
        token = value.strip() if scheme.lower() == "bearer" else None
    return token or None


Token = Annotated[str | None, Depends(presented_token)]


def refuse(detail: str) -> HTTPException:
    """Build the 401 for a missing or wrong token."""
    return HTTPException(401, detail, headers={"WWW-Authenticate": 'Bearer realm="workers"'})
