"""What is replayed, and above all what is not."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

from fastgw.cutover import recordings
from fastgw.cutover.recordings import BadRecording, Recording, Request, built_in, side_effect

WORKER = "/api/v1/workers/w-1"


def read(content: bytes, **more: bool) -> Recording:
    return recordings.read(BytesIO(content), **more)


@pytest.mark.parametrize(
    "target",
    [
        f"{WORKER}/next-job",
        f"{WORKER}/next-job/",
        f"{WORKER}/next-job?wait=1",
        f"{WORKER}/Next-Job",
        f"{WORKER}/next%2Djob",
        f"{WORKER}/next%252djob",
        f"{WORKER}/%6e%65%78%74-%6a%6f%62",
        f"{WORKER}/nextJob",
        f"{WORKER}/next_job",
        f"{WORKER}//next-job",
        f"{WORKER}/config/../next-job",
        f"{WORKER}%2Fnext-job",
        f"{WORKER}/next-job;x=1",
        "/rpc?do=next-job",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_next_job_is_never_sent_in_whatever_spelling(method: str, target: str) -> None:
    assert side_effect(Request(method, target))
    found = read(f"{method} {target}\n/regions\n".encode())
    assert [one.target for one in found.requests] == ["/regions"]
    assert list(found.skipped) == [(f"{method} {target}", recordings.HANDS_OUT)]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_methods_that_may_change_something_are_never_sent(method: str) -> None:
    found = read(f"{method} /api/v1/jobs\n".encode())
    assert found.requests == []
    assert list(found.skipped) == [(f"{method} /api/v1/jobs", recordings.SIDE_EFFECT)]


def test_unsafe_sends_them() -> None:
    found = read(f"POST /api/v1/jobs\nGET {WORKER}/next-job\n".encode(), unsafe=True)
    assert [one.method for one in found.requests] == ["POST", "GET"]
    assert not any(one.is_safe for one in found.requests)


def test_the_built_in_requests_change_nothing() -> None:
    assert built_in().requests
    assert all(one.is_safe for one in built_in().requests)


def test_a_list_of_paths() -> None:
    text = "# a comment\n/regions\n\nHEAD /health\nget /health?x=1\nhttp://server:8000/docs\n/regions\nwhat is this\n"
    found = read(text.encode())
    assert [(one.method, one.target) for one in found.requests] == [
        ("GET", "/regions"),
        ("HEAD", "/health"),
        ("GET", "/health?x=1"),
        ("GET", "/docs"),
    ]
    assert found.unread_lines == 1


def test_an_access_log_of_nginx() -> None:
    log = (
        '10.0.0.1 - bob [07/Oct/2026:10:00:00 +0000] "GET /api/v1/jobs?limit=5 HTTP/1.1" 200 12 "-" "curl/8"\n'
        '10.0.0.1 - - [07/Oct/2026:10:00:00 +0000] "POST /api/v1/jobs HTTP/1.1" 201 12 "http://x/" "a \\"b\\" c" 0.1\n'
        '10.0.0.1 - - [07/Oct/2026:10:00:01 +0000] "POST /api/v1/jobs HTTP/2.0" 201 12 "-" "-"\n'
        '10.0.0.1 - - [07/Oct/2026:10:00:02 +0000] "\\x16\\x03\\x01" 400 0 "-" "-"\n'
    )
    found = read(log.encode())
    assert found.requests == [Request("GET", "/api/v1/jobs?limit=5")]
    assert found.skipped == {("POST /api/v1/jobs", recordings.SIDE_EFFECT): 2}
    assert found.unread_lines == 1


def entry(url: str, method: str = "GET", body: str = "", **headers: str) -> dict[str, Any]:
    fields = [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()]
    return {
        "request": {"method": method, "url": url, "headers": fields, **({"postData": {"text": body}} if body else {})}
    }


def har(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()


def test_a_har_without_its_credentials() -> None:
    secret = {"Authorization": "Bearer s3cret", "Cookie": "s=s3cret", "X_API_Key": "s3cret"}
    found = read(har(entry("https://gpu.example/api/v1/jobs?limit=1", Accept="application/json", **secret)))
    assert found.requests == [Request("GET", "/api/v1/jobs?limit=1", (("accept", "application/json"),))]
    assert "s3cret" not in repr(found)


def test_a_hars_websockets_and_posts_are_left_out() -> None:
    found = read(har(entry("wss://gpu.example/ws"), entry("https://gpu.example/jobs", "POST", '{"a": 1}')))
    assert found.requests == []
    assert [reason for _, reason in found.skipped] == [recordings.NO_HTTP, recordings.SIDE_EFFECT]
    (post,) = read(har(entry("https://gpu.example/jobs", "POST", '{"a": 1}')), unsafe=True).requests
    assert post.body == b'{"a": 1}'


@pytest.mark.parametrize("target", ["/gateway/health", "/%67ateway/config"])
def test_the_gateways_own_pages_are_left_out(target: str) -> None:
    assert list(read(target.encode()).skipped) == [(f"GET {target}", recordings.OWN_PAGE)]


def test_the_list_of_workers_is_left_out() -> None:
    found = read(b"/api/v1/workers?region=x\n/api/v1/workers/w-1/config\n")
    assert [one.target for one in found.requests] == ["/api/v1/workers/w-1/config"]


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\x89PNG\r\n\x1a\n", b'{"a": 1}', b'{"log": ', har()])
def test_what_is_no_recording_is_told(content: bytes) -> None:
    with pytest.raises(BadRecording):
        read(content)


def test_a_long_recording_is_bounded() -> None:
    lines = "\n".join(f"/jobs/{number}" for number in range(recordings.MAX_DISTINCT + 7))
    found = read(lines.encode())
    assert len(found.requests) == recordings.MAX_DISTINCT
    assert found.skipped == {("others", recordings.TOO_MANY): 7}


def test_what_is_skipped_is_bounded_too() -> None:
    lines = "\n".join(f"POST /jobs/{number}" for number in range(recordings.MAX_SKIPPED + 7))
    found = read(lines.encode())
    assert len(found.skipped) == recordings.MAX_SKIPPED + 1
    assert found.skipped["others", recordings.SIDE_EFFECT] == 7


def test_a_har_that_is_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_HAR_BYTES", 100)
    with pytest.raises(BadRecording, match="shorter"):
        read(har(entry("http://a/b")))
