"""auth/sessions.py: what is believed of Redis, and what is kept here. The script and Redis: store/test_sessions.py."""

from __future__ import annotations

import json

import pytest

from fastgw.auth import sessions
from fastgw.auth.sessions import MAX_ADDRESSES, MAX_BYTES, MAX_WORKERS, TOKEN, Session, Sessions, believed
from fastgw.store.errors import StoreDown
from fastgw.store.keys import Keys
from tests.pure.loop import in_loop

D = bytes(range(32))
NAME = f"token:{D.hex()[:12]}"
FOR_WORKER = {"type": "verified", "identity": "worker:w-1", "workers": ["w-1"], "requests": 3}
ALONE = {"type": "verified", "identity": NAME}


class Away:
    """A Store whose Redis is away."""

    is_up = False
    keys = Keys()

    def command(self, *_: object) -> None:
        raise StoreDown("no connection")

    run = command


def read(content: object, *, names_worker: bool = True) -> object:
    return believed(json.dumps(content).encode(), D, names_worker=names_worker)


def test_a_session_of_ours_is_believed():
    assert read(FOR_WORKER) == ("worker:w-1", ("w-1",))
    assert read(FOR_WORKER | {"workers": ["w-1", "w-2"], "more": {}}) == ("worker:w-1", ("w-1", "w-2"))
    assert read(ALONE, names_worker=False) == (NAME, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "token"},
        {"type": "key"},
        {"type": True},
        {"type": None},
        {"identity": "worker:w-2"},
        {"identity": "key:ops"},
        {"identity": None},
        {"identity": ["worker:w-1"]},
        {"workers": []},
        {"workers": "w-1"},
        {"workers": {"0": "w-1"}},
        {"workers": [1]},
        {"workers": ["w-1", None]},
        {"workers": ["w-1", ""]},
        {"workers": ["w-1", "a/b"]},
        {"workers": ["w-1", "w" * 129]},
        {"workers": ["w-1"] * (MAX_WORKERS + 1)},
    ],
    ids=str,
)
def test_what_others_may_have_written_is_not_believed(changes):
    assert read(FOR_WORKER | changes) is None


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"1", b"{", b"\xff", b'{"type": "verified"}', b"[" * 5000])
def test_what_is_no_session_is_not_believed(text):
    assert believed(text, D, names_worker=True) is None
    assert believed(text, D, names_worker=False) is None


def test_a_value_that_is_too_long_is_not_looked_at():
    text = json.dumps(FOR_WORKER).encode()
    assert believed(text + b" " * (MAX_BYTES - len(text)), D, names_worker=True)
    assert believed(text + b" " * (MAX_BYTES - len(text) + 1), D, names_worker=True) is None


def test_a_yes_for_a_token_alone_is_none_for_a_worker_and_the_other_way_round():
    assert read(ALONE) is None
    assert read(FOR_WORKER, names_worker=False) is None


def test_a_tokens_name_is_its_own():
    assert believed(json.dumps(ALONE).encode(), b"x" * 32, names_worker=False) is None


def test_a_session_covers_its_workers_and_paths_without_one():
    one = Session(TOKEN, D, NAME, [])
    assert one.covers("anyone")
    one.workers = ("w-1", "w-2")
    assert one.covers("w-2")
    assert one.covers(None)
    assert not one.covers("w-3")
    assert not one.covers("")


def test_the_addresses_of_a_session_are_bounded():
    one = Session(TOKEN, D, NAME, [])
    for number in range(MAX_ADDRESSES + 1):
        one.used_from(str(number))
    one.used_from("5")
    assert len(one.addresses) == MAX_ADDRESSES
    assert "0" not in one.addresses
    assert "1" in one.addresses
    assert str(MAX_ADDRESSES) in one.addresses


def test_sessions_are_bounded_and_the_oldest_give_way(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_LOCAL", 3)
    some = Sessions(Away(), names_worker=False)
    for number in range(5):
        some.count(some.configured(TOKEN, bytes([number]), "x"))
    assert list(some.tokens) == [b"\2", b"\3", b"\4"]
    assert repr(some) == "<Sessions 0 keys, 3 tokens, 3 to write>"


def test_a_hash_that_is_configured_no_more_has_no_session():
    some = Sessions(Away(), names_worker=False)
    some.configured(TOKEN, b"a", "x")
    some.configured(TOKEN, b"b", "x")
    some.retain(lambda digest: digest == b"b")
    assert list(some.tokens) == [b"b"]


@in_loop
async def test_without_redis_a_yes_is_remembered_here_for_a_while(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(sessions, "monotonic", lambda: now)
    some = Sessions(Away(), names_worker=True)
    assert await some.recall(D) is None
    one = await some.remember(D, "w-1", None)
    assert (one.identity, one.workers, one.good_until) == ("worker:w-1", ("w-1",), now + sessions.LOCAL_S)
    two = await some.remember(D, "w-2", one)
    assert two is one
    assert (two.identity, two.workers) == ("worker:w-1", ("w-1", "w-2"))
    assert await some.recall(D) is one
    now += sessions.LOCAL_S
    assert await some.recall(D) is None


@in_loop
async def test_without_redis_counts_wait():
    some = Sessions(Away(), names_worker=False)
    one = some.configured(TOKEN, D, NAME)
    for _ in range(3):
        some.count(one)
        await some.flush()
    assert one.pending == 3
    assert repr(some) == "<Sessions 0 keys, 1 tokens, 1 to write>"
    assert repr(one) == f"<Session token {NAME} +3 from 0 addresses>"
