"""Which requests are answered with the list, and how it looks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from fastgw.errors import BAD_REQUEST, SERVICE_UNAVAILABLE, GatewayError
from fastgw.workers.listing import Listing
from fastgw.workers.parse import read_worker
from fastgw.workers.snapshot import Snapshot
from tests.pure.asgi import exchange

PATH = b"/api/v1/workers"


def worker(name: str, region: str, state: str) -> Any:
    return read_worker(name.encode(), (json.dumps({"region": region, "status": state}).encode(), None, None), 0)


WORKERS = [
    worker("a", "asia-east", "busy"),
    worker("b", "asia-east", "idle"),
    worker("c", "oceania", "online"),
    worker("d", "oceania", "offline"),
]
FLEET = Snapshot(WORKERS, has_any=True)
NOBODY = Snapshot([], has_any=False)
UNREAD = Snapshot([], has_any=True)


@dataclass
class Known:
    current: Snapshot | None = FLEET
    is_stale: bool = False


def ask(
    target: bytes = PATH, method: str = "GET", *, known: Known | None = None, source: str = "auto", form: str = "object"
) -> Any:
    return Listing(known or Known(), source, form)(exchange(method=method, target=target))


def content(target: bytes = PATH, **how: Any) -> Any:
    return json.loads(ask(target, **how).body)


def names(found: Any) -> str:
    return "".join(one["worker_id"] for one in found)


def test_the_object():
    answer = ask()
    assert answer.status == 200
    assert dict(answer.fields) == {b"content-type": b"application/json", b"cache-control": b"no-store"}
    assert json.loads(answer.body) == {"workers": WORKERS, "total": 4, "online": 3, "busy": 1, "idle": 1}


def test_the_list():
    assert content(PATH + b"?format=list") == WORKERS
    assert content(form="list") == WORKERS
    assert content(PATH + b"?format=object", form="list")["workers"] == WORKERS


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_is_answered(method):
    assert json.loads(ask(method=method).body)["total"] == 4


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_other_methods_are_the_backends(method):
    assert ask(method=method) is None


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/workers/",
        b"/api/v1/workers/w1",
        b"/api/v1/workers/w1/next-job",
        b"/api/v1/workers/register",
        b"/api/v1/worker",
        b"/api/v1/%77orkers",
        b"/API/v1/workers",
        b"//api/v1/workers",
        b"/",
        b"",
    ],
)
@pytest.mark.parametrize("source", ["auto", "redis", "backend"])
def test_other_paths_are_the_backends(path, source):
    assert ask(path, source=source) is None


@pytest.mark.parametrize(
    ("source", "current", "is_answered"),
    [
        ("auto", FLEET, True),
        ("auto", UNREAD, True),
        ("auto", NOBODY, False),
        ("auto", None, False),
        ("redis", FLEET, True),
        ("redis", UNREAD, True),
        ("redis", NOBODY, True),
        ("backend", FLEET, False),
        ("backend", NOBODY, False),
        ("backend", None, False),
    ],
)
def test_the_source(source, current, is_answered):
    answer = ask(known=Known(current), source=source)
    assert (answer is not None) == is_answered
    assert Listing(Known(current), source, "object").will_answer(exchange(target=PATH)) == is_answered


def test_a_websocket_is_the_backends():
    assert Listing(Known(), "redis", "object")(exchange(target=PATH, type="websocket")) is None


def test_without_any_list_redis_alone_is_503():
    with pytest.raises(GatewayError) as caught:
        ask(known=Known(None), source="redis")
    assert caught.value.kind is SERVICE_UNAVAILABLE


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"region=asia-east", "ab"),
        (b"region=asia-east&region=oceania", "abcd"),
        (b"status=busy", "a"),
        (b"status=busy&status=idle", "ab"),
        (b"region=oceania&status=online", "c"),
        (b"region=oceania&status=busy", ""),
        (b"region=mars", ""),
        (b"status=BUSY", ""),
        (b"region=&status=", "abcd"),
        (b"region", "abcd"),
        (b"region=asia%2Deast", "ab"),
        (b"limit=1&page=2", "abcd"),
        (b"region=%ff%fe", ""),
        (b"&&&=", "abcd"),
    ],
)
def test_filters(query, found):
    answer = content(PATH + b"?" + query)
    assert names(answer["workers"]) == found
    assert answer["total"] == len(found)
    assert names(content(PATH + b"?" + query + b"&format=list")) == found


def test_the_counts_are_of_the_workers_listed():
    answer = content(PATH + b"?region=oceania")
    assert {k: answer[k] for k in ("total", "online", "busy", "idle")} == {
        "total": 2,
        "online": 1,
        "busy": 0,
        "idle": 0,
    }


@pytest.mark.parametrize("query", [b"format=xml", b"format=List", b"format=list&format=csv", b"&".join([b"a=1"] * 101)])
def test_a_query_that_can_not_be_answered(query):
    with pytest.raises(GatewayError) as caught:
        ask(PATH + b"?" + query)
    assert caught.value.kind is BAD_REQUEST


def test_a_query_that_goes_to_the_backend_is_not_judged():
    assert ask(PATH + b"?format=xml", known=Known(NOBODY)) is None


def test_the_last_format_counts():
    assert content(PATH + b"?format=object&format=list") == WORKERS


def test_a_stale_list_says_so():
    assert content(known=Known(is_stale=True))["stale"] is True
    assert content(PATH + b"?status=busy", known=Known(is_stale=True))["stale"] is True
    assert content(PATH + b"?format=list", known=Known(is_stale=True)) == WORKERS


def test_the_whole_list_is_written_once_and_follows_what_is_known():
    known = Known()
    listing = Listing(known, "auto", "object")

    def body(query: bytes = b"") -> bytes:
        answer = listing(exchange(target=PATH + query))
        assert answer is not None
        return answer.body

    first = body()
    assert body() is first
    assert body(b"?format=object") is first
    known.is_stale = True
    assert b"stale" in body()
    known.is_stale = False
    assert body() is first
    known.current = Snapshot(WORKERS[:1], has_any=True)
    assert json.loads(body())["total"] == 1
    assert json.loads(body(b"?format=list")) == WORKERS[:1]
