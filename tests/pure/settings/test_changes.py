"""Which changes can be made at run time, what is said about the others, and what is read of the stored text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgw.settings import changes
from fastgw.settings.changes import MAX_BYTES, MAX_CHANGES, judge, propose, read, written
from fastgw.settings.load import NAMES, about, is_secret, load
from fastgw.settings.model import Settings

BASE = load({"RATE_LIMIT_MAX_REQUESTS": "70"}, None).settings
LIVE = {
    "FASTAPI_TIMEOUT", "TRUSTED_PROXIES", "RATE_LIMIT_ENABLED", "RATE_LIMIT_MAX_REQUESTS", "RATE_LIMIT_WINDOW_MS",
    "RATE_LIMIT_KEY", "RATE_LIMIT_ON_REDIS_FAILURE", "RATE_LIMIT_RULES", "CACHE_ENABLED", "CACHE_TTL_SECONDS",
    "CACHE_MAX_SIZE", "CACHE_ROUTES", "LOG_LEVEL", "FASTAPI_URL", "ROUTER_STRATEGY",
}  # fmt: skip


def problem(name: str, value: Any) -> str:
    proposal, _ = propose(BASE, {}, {name: value})
    assert list(proposal.problems) == [name], "one problem, under the name as it was given"
    return proposal.problems[name]


def field_after(name: str, value: Any) -> Any:
    proposal, merged = propose(BASE, {}, {name: value})
    assert proposal.problems == {}
    return getattr(judge(BASE, merged).settings, NAMES[name.upper()])


def test_what_is_live_is_what_takes_effect_without_a_restart() -> None:
    assert {name for name in NAMES if about(NAMES[name])["live"]} == LIVE


def test_no_secret_is_live() -> None:
    assert not [name for name in LIVE if is_secret(NAMES[name])]


@pytest.mark.parametrize("name", sorted(LIVE))
def test_a_live_setting_takes_its_own_example(name: str) -> None:
    example = about(NAMES[name])["example"]
    assert field_after(name, example) == getattr(Settings.model_validate({NAMES[name]: example}), NAMES[name])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RATE_LIMIT_MAX_REQUESTS", 500, 500),
        ("RATE_LIMIT_MAX_REQUESTS", 500.0, 500),
        ("RATE_LIMIT_MAX_REQUESTS", " 500 ", 500),
        ("rate_limit_max_requests", "500", 500),
        ("RATE_LIMIT_ENABLED", False, False),
        ("RATE_LIMIT_ENABLED", "no", False),
        ("LOG_LEVEL", "warn", "warning"),
        ("RATE_LIMIT_KEY", "identity", "identity"),
    ],
)
def test_values_come_as_json_or_as_in_env(name: str, value: Any, told: Any) -> None:
    assert field_after(name, value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["10.0.0.0/8", " ::1 "], ["10.0.0.0/8", "::1/128"]),
        ("10.0.0.0/8, ::1", ["10.0.0.0/8", "::1/128"]),
        ([], []),
        ("none", []),
    ],
    ids=["list", "text", "empty-list", "none"],
)
def test_lists_come_as_lists_or_as_in_env(value: Any, told: list[str]) -> None:
    assert [str(network) for network in field_after("TRUSTED_PROXIES", value)] == told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RATE_LIMIT_MAX_REQUESTS", 0, "is below 1"),
        ("RATE_LIMIT_MAX_REQUESTS", 1.5, "is no whole number"),
        ("RATE_LIMIT_MAX_REQUESTS", True, "is no whole number"),
        ("RATE_LIMIT_MAX_REQUESTS", 10**30, "is above 10000000"),
        ("RATE_LIMIT_MAX_REQUESTS", "1\n2", "holds a line end or another control character"),
        ("RATE_LIMIT_MAX_REQUESTS", "", "is empty; null gives back the environment's value"),
        ("RATE_LIMIT_MAX_REQUESTS", [5], "takes one value, no list"),
        ("RATE_LIMIT_MAX_REQUESTS", {"a": 1}, "is neither a number"),
        ("RATE_LIMIT_ENABLED", "perhaps", "is neither true nor false"),
        ("RATE_LIMIT_KEY", "token", "is none of ip or identity"),
        ("RATE_LIMIT_RULES", "/a=1", "has an item 1 that is not of the form path=requests/window"),
        ("CACHE_ROUTES", "", "`none` makes the list empty"),
        ("CACHE_ROUTES", ["/a,/b"], "has an item 1"),
        ("CACHE_ROUTES", ["/a", 5], "has an item 2"),
        ("TRUSTED_PROXIES", ["10.0.0.1/8"], "did you mean 10.0.0.0/8?"),
        ("GATEWAY_PORT", 4000, "needs a restart"),
        ("gateway_port", 4000, "needs a restart"),
        ("GATEWAY_PORT", None, "needs a restart"),
        ("ADMIN_TOKEN", "x", "it is secret"),
        ("RATE_LIMIT_MAX_REQUEST", 5, "was RATE_LIMIT_MAX_REQUESTS meant?"),
        ("xyz", 5, "is not a setting"),
        ("xyz", None, "is not a setting"),
    ],
)
def test_what_cannot_be_changed_is_explained(name: str, value: Any, told: str) -> None:
    assert told in problem(name, value)


def test_all_problems_are_told_together_and_the_good_changes_are_named() -> None:
    proposal, _ = propose(BASE, {}, {"LOG_LEVEL": "loud", "GATEWAY_PORT": 1, "CACHE_TTL_SECONDS": 5})
    assert set(proposal.problems) == {"LOG_LEVEL", "GATEWAY_PORT"}
    assert proposal.changes["CACHE_TTL_SECONDS"] == "5"


def test_one_setting_in_two_spellings_is_refused() -> None:
    proposal, _ = propose(BASE, {}, {"LOG_LEVEL": "info", "log_level": "debug"})
    assert proposal.problems == {"log_level": "is given twice, as LOG_LEVEL too"}


@pytest.mark.parametrize("given", [{}, {f"X{n}": 1 for n in range(MAX_CHANGES + 1)}], ids=["none", "too-many"])
def test_no_change_and_too_many_are_refused(given: dict[str, Any]) -> None:
    assert list(propose(BASE, {}, given)[0].problems) == [""]


def test_a_foreign_name_is_cut_and_escaped_in_the_problem() -> None:
    proposal, _ = propose(BASE, {}, {"\x1b[31m" + "é" * 500: 1})
    (name,) = proposal.problems
    assert name.isascii()
    assert "\x1b" not in name
    assert len(name) < 120


def test_null_gives_back_the_environments_value_and_keeps_the_rest() -> None:
    stored = {"RATE_LIMIT_MAX_REQUESTS": "500", "LOG_LEVEL": "debug"}
    proposal, merged = propose(BASE, stored, {"rate_limit_max_requests": None})
    assert proposal.changes == {"RATE_LIMIT_MAX_REQUESTS": None}
    assert merged == {"LOG_LEVEL": "debug"}
    assert judge(BASE, merged).settings.rate_limit_max_requests == 70


def test_what_others_stored_stays_and_null_takes_it_away() -> None:
    """A newer fastgw may know a setting that this one does not: its change is not lost here."""
    stored = {"NEWER_SETTING": "1", "RATE_LIMIT_MAX_REQUESTS": "many"}
    assert propose(BASE, stored, {"LOG_LEVEL": "debug"})[1] == {**stored, "LOG_LEVEL": "debug"}
    proposal, merged = propose(BASE, stored, {"NEWER_SETTING": None, "RATE_LIMIT_MAX_REQUESTS": None})
    assert (proposal.problems, merged) == ({}, {})


def test_good_changes_apply_beside_bad_ones() -> None:
    judged = judge(BASE, {"LOG_LEVEL": "loud", "rate_limit_max_requests": 5, "X": 1, "REDIS_PASSWORD": "p"})
    assert judged.good == {"RATE_LIMIT_MAX_REQUESTS": "5"}
    assert judged.settings.rate_limit_max_requests == 5
    assert set(judged.problems) == {"LOG_LEVEL", "X", "REDIS_PASSWORD"}
    assert judged.settings.redis_password == BASE.redis_password


def test_all_other_settings_are_the_environments() -> None:
    judged = judge(BASE, {"CACHE_MAX_SIZE": "7"})
    assert judged.settings == BASE.model_copy(update={"cache_max_size": 7})


def test_a_change_that_contradicts_the_other_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No live setting contradicts another today, so AUTH_ENABLED, which can, is taken for one."""
    monkeypatch.setattr(changes, "not_changeable", lambda name: "")
    assert "does not go with the other settings: AUTH_ENABLED is true, but" in problem("AUTH_ENABLED", True)


def test_what_the_environment_contradicts_itself_in_is_no_changes_fault() -> None:
    base = BASE.model_copy(update={"auth_enabled": True})
    assert judge(base, {"LOG_LEVEL": "debug"}).problems == {}


def test_what_is_written_is_read() -> None:
    stored = read(written({"LOG_LEVEL": "debug"}, 3))
    assert (stored.changes, stored.revision, stored.problem) == ({"LOG_LEVEL": "debug"}, 3, "")
    assert stored.updated.endswith("Z")
    assert set(json.loads(written({}, 1))) == {"v", "changes", "revision", "updated"}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "no JSON"),
        (b"hello", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 5000, "no JSON"),
        (b"[1]", "no object"),
        (b'{"v": 1}', "no object"),
        (b'{"v": 1, "changes": []}', "no object"),
        (b'{"v": 2, "changes": {}}', "a form that this version"),
        (b'{"changes": {}}', "a form that this version"),
        (b'{"v": 1, "changes": {' + b", ".join(b'"X%d": 1' % n for n in range(MAX_CHANGES + 1)) + b"}}", "more than"),
        (b" " * MAX_BYTES + b"{}", "longer than"),
    ],
)
def test_what_is_no_text_of_ours_is_left_out_whole(raw: bytes, told: str) -> None:
    stored = read(raw)
    assert told in stored.problem
    assert stored.changes == {}


@pytest.mark.parametrize("facts", ['"revision": -1', '"revision": "x", "updated": 5', '"revision": true', '"z": 0'])
def test_odd_facts_beside_the_changes_do_no_harm(facts: str) -> None:
    stored = read(f'{{"v": 1, "changes": {{"LOG_LEVEL": "debug"}}, {facts}}}'.encode())
    assert (dict(stored.changes), stored.revision, stored.updated) == ({"LOG_LEVEL": "debug"}, 0, "")


def test_nothing_stored_is_nothing_changed() -> None:
    assert read(None) == changes.Stored()
