"""What a client could notice, and what it could not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgw.cutover.differences import MAX_DIFFERENCES, MAX_SHOWN, WHOLE, Answer, compare, is_below, shown

JSON = ("content-type", "application/json")


def answer(content: Any = None, status: int = 200, *fields: tuple[str, str], **more: Any) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, (JSON, *fields), body, **more)


def places(direct: Answer, gateway: Answer, **more: Any) -> list[tuple[str, str]]:
    return [(one.kind, one.where) for one in compare(direct, gateway, **more)]


def test_json_is_compared_as_values() -> None:
    one, other = answer(b'{"a": 1, "b": "\\u00e9"}'), answer('{"b":"é","a":1.0}'.encode())
    assert places(one, other) == []


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "/a/b"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "/a/1"),
        ({"a/b~": 1}, {"a/b~": 2}, "/a~1b~0"),
        ({"a": 1}, {}, "/a"),
        ({}, {"a": None}, "/a"),
        ([], {}, WHOLE),
        ({"a": True}, {"a": 1}, "/a"),
        ({"a": "1"}, {"a": 1}, "/a"),
    ],
)
def test_a_difference_is_named_by_its_json_pointer(one: Any, other: Any, where: str) -> None:
    assert places(answer(one), answer(other)) == [("body", where)]


def test_a_list_of_another_length_is_told_as_such() -> None:
    (found,) = compare(answer({"jobs": [1]}), answer({"jobs": [1, 2]}))
    assert (found.where, found.direct, found.gateway) == ("/jobs", "1 items", "2 items")


def test_volatile_members_are_ignored_wherever_they_stand() -> None:
    one, other = answer({"x": [{"timestamp": 1, "a": 1}]}), answer({"x": [{"timestamp": 2, "a": 1}]})
    assert places(one, other) == []
    assert places(one, other, ignored=()) == [("body", "/x/0/timestamp")]
    assert places(answer({"n": 1}), answer({"n": 2}), ignored={"n"}) == []


def test_a_status_that_differs_is_all_that_is_told() -> None:
    assert places(answer({"a": 1}), answer({"b": 1}, 503)) == [("status", "")]


@pytest.mark.parametrize("name", ["etag", "cache-control", "location", "www-authenticate", "vary", "content-encoding"])
def test_fields_that_clients_act_upon_count(name: str) -> None:
    assert places(answer(1, 200, (name, '"a"')), answer(1)) == [("field", name)]


@pytest.mark.parametrize(
    "name", ["via", "date", "server", "x-request-id", "connection", "transfer-encoding", "x-gateway-version", "age"]
)
def test_fields_that_a_gateway_adds_and_removes_do_not(name: str) -> None:
    assert places(answer(1), answer(1, 200, (name, "x"))) == []


def test_spelling_of_fields_that_mean_the_same_does_not_count() -> None:
    one = Answer(200, (("content-type", "text/html; charset=utf-8"), ("vary", "Accept, Origin")), b"x")
    other = Answer(200, (("content-type", "text/html;charset=UTF-8"), ("vary", "origin"), ("vary", "accept")), b"x")
    assert places(one, other) == []


def test_a_location_that_names_each_sides_own_address_is_the_same() -> None:
    one = Answer(307, (("location", "http://a:8000/x"),), base="http://a:8000")
    other = Answer(307, (("location", "http://g:3000/x"),), base="http://g:3000")
    assert places(one, other) == []
    assert places(one, Answer(307, (("location", "http://a:8000/x"),), base="http://g:3000")) == [("field", "location")]


def test_of_cookies_the_names_count() -> None:
    assert places(answer(1, 200, ("set-cookie", "s=1")), answer(1, 200, ("set-cookie", "s=2; Path=/"))) == []
    assert places(answer(1, 200, ("set-cookie", "s=1")), answer(1)) == [("field", "set-cookie")]


def test_other_bodies_are_compared_as_bytes() -> None:
    one, other = (Answer(200, (("content-type", "text/html"),), body) for body in (b"abcdef", b"abcxef"))
    (found,) = compare(one, other)
    assert (found.where, found.direct, found.gateway) == (WHOLE, "6 bytes, from 3 on: def", "6 bytes, from 3 on: xef")


def test_broken_json_is_compared_as_bytes() -> None:
    assert places(answer(b"{broken"), answer(b"{broken")) == []
    assert places(answer(b"{broken"), answer(b"{}")) == [("body", WHOLE)]


def test_a_body_that_was_not_read_whole_is_not_compared() -> None:
    assert places(answer(b"{", is_cut=True), answer({})) == []


def test_no_answer_is_an_error_unless_neither_side_gave_one() -> None:
    assert places(answer(1), Answer(0, error="ReadError")) == [("error", "")]
    assert places(Answer(0, error="x"), Answer(0, error="y")) == []


def test_what_is_listed_is_bounded() -> None:
    assert len(compare(answer(list(range(1000))), answer(list(range(1, 1001))))) == MAX_DIFFERENCES
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assert len(compare(answer(deep), answer([deep]))) == 1


def test_what_is_shown_is_bounded_and_harmless() -> None:
    assert len(shown("x" * 1000)) <= MAX_SHOWN + 3
    assert "\x1b" not in shown("\x1b[2J")


@pytest.mark.parametrize(
    ("where", "place", "expected"),
    [("/a/0/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/a", "/a/0", False), ("etag", WHOLE, False)],
)
def test_what_lies_within_a_place(where: str, place: str, expected: bool) -> None:
    assert is_below(where, {place}) == expected
