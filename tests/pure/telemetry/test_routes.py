"""Paths and the templates that stand for them."""

from __future__ import annotations

import random

import pytest

from fastgw.telemetry.routes import MAX_REMEMBERED_BYTES, OTHER, PLATFORM, REMEMBERED, Routes


@pytest.mark.parametrize(
    ("path", "template"),
    [
        (b"/api/v1/jobs", "/api/v1/jobs"),
        (b"/api/v1/jobs/", "/api/v1/jobs/{id}"),
        (b"/api/v1/jobs/sync", "/api/v1/jobs/sync"),
        (b"/api/v1/jobs/123", "/api/v1/jobs/{id}"),
        (b"/api/v1/jobs/123/x", OTHER),
        (b"/api/v1/jobs/stats/queue", "/api/v1/jobs/stats/queue"),
        (b"/api/v1/workers/register", "/api/v1/workers/register"),
        (b"/api/v1/workers/w-1/next-job", "/api/v1/workers/{id}/next-job"),
        (b"/api/v1/workers/w-1/jobs/9/complete", "/api/v1/workers/{id}/jobs/{job}/complete"),
        (b"/api/v1/workers/w-1/jobs/9/start", OTHER),
        (b"/", "/"),
        (b"", OTHER),
        (b"//", OTHER),
        (b"*", OTHER),
        (b"/API/v1/jobs", OTHER),
        (b"/\xff\xfe", OTHER),
    ],
)
def test_a_path_has_one_template(path: bytes, template: str) -> None:
    routes = Routes()
    assert routes(path).template == template
    assert routes(path).template == template, "remembered"


def test_more_of_them_may_be_given_and_the_literal_goes_first() -> None:
    routes = Routes(["/v2/models/{name}", "/v2/models/default", "/v2/{kind}/x"])
    assert routes(b"/v2/models/llama").template == "/v2/models/{name}"
    assert routes(b"/v2/models/default").template == "/v2/models/default"
    assert routes(b"/v2/models/x").template in {"/v2/models/{name}", "/v2/{kind}/x"}
    assert routes(b"/v2/other/x").template == "/v2/{kind}/x"


def test_whatever_comes_templates_and_memory_are_bounded() -> None:
    routes, rng = Routes(), random.Random(1)
    found = {routes(bytes(rng.choices(b"/abcdef{}%?", k=rng.randrange(40)))).template for _ in range(3 * REMEMBERED)}
    found |= {routes(b"/api/v1/jobs/%d" % number).template for number in range(3 * REMEMBERED)}
    assert found <= {*PLATFORM, OTHER}
    for number in range(10):
        assert routes(b"/api/v1/jobs/%d" % number + b"x" * 60_000).template == "/api/v1/jobs/{id}"
    assert len(routes._known) <= REMEMBERED
    assert max(map(len, routes._known)) <= MAX_REMEMBERED_BYTES
