"""A backend is itself only, and says in one line what is known of it."""

from __future__ import annotations

from typing import Any

from fastgw.routing.backend import Backend

NO_POOL: Any = None


def test_backends_are_themselves_only() -> None:
    one, twin = Backend("http://a", b"a", NO_POOL), Backend("http://a", b"a", NO_POOL)
    assert one != twin
    assert {one, twin} == {twin, one}


def test_its_record_has_its_name_and_its_weight_is_in_force() -> None:
    backend = Backend("http://a:1", b"a:1", NO_POOL, "europe-west", 3)
    assert (backend.record.name, backend.effective_weight, backend.request_load) == ("http://a:1", 3.0, 1 / 3)


def test_repr_says_where_and_how() -> None:
    backend = Backend("http://a:1", b"a:1", NO_POOL, "oceania", 2, in_flight=5, is_healthy=False)
    assert repr(backend) == "<Backend http://a:1 region=oceania weight=2 serving unhealthy in_flight=5>"
