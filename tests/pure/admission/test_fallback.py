"""Without Redis a process counts by itself, exactly, with its share."""

from __future__ import annotations

from fastgw.admission import fallback
from fastgw.admission.fallback import LocalWindows


def test_a_share_of_the_limit_in_any_window() -> None:
    windows = LocalWindows(share=2)
    verdicts = [windows.admit(b"a", 4, 10.0, now) for now in (0.0, 1.0, 2.0, 10.0, 10.5, 11.0)]
    assert [admitted for admitted, _, _ in verdicts] == [True, True, False, True, False, True]
    assert verdicts[2] == (False, 2, 8.0)


def test_at_least_one_request_is_allowed() -> None:
    windows = LocalWindows(share=8)
    assert windows.admit(b"a", 3, 10.0, 0.0)[0]
    assert not windows.admit(b"a", 3, 10.0, 1.0)[0]


def test_clients_do_not_share_a_window() -> None:
    windows = LocalWindows(1)
    assert windows.admit(b"a", 1, 10.0, 0.0)[0]
    assert windows.admit(b"b", 1, 10.0, 0.0)[0]


def test_nothing_is_counted_twice_when_redis_is_back() -> None:
    windows = LocalWindows(1)
    windows.admit(b"a", 1, 10.0, 0.0)
    windows.clear()
    assert len(windows) == 0
    assert windows.admit(b"a", 1, 10.0, 1.0)[0]


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(fallback, "MAX_TIMES", 10)
    windows = LocalWindows(1)
    for number in range(100):
        windows.admit(b"%d" % number, 5, 10.0, 0.0)
    assert len(windows) == 10


def test_one_client_can_be_forgotten_while_others_are_not() -> None:
    windows = LocalWindows(1)
    for name in (b"a", b"b"):
        assert windows.admit(name, 1, 60.0, 0.0)[0]
    windows.forget(b"a")
    windows.forget(b"c")
    assert [windows.admit(name, 1, 60.0, 1.0)[0] for name in (b"a", b"b")] == [True, False]
