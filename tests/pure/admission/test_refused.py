"""Clients over their limit are remembered until their window moves, and not for longer."""

from __future__ import annotations

from fastgw.admission import refused
from fastgw.admission.refused import Refused


def test_a_note_holds_until_its_moment() -> None:
    known = Refused()
    known.note(b"a", 12.0)
    assert known.wait_s(b"a", 10.0) == 2.0
    assert known.wait_s(b"b", 10.0) == 0.0
    assert known.wait_s(b"a", 12.0) == 0.0
    assert len(known) == 0


def test_the_last_note_counts() -> None:
    known = Refused()
    known.note(b"a", 12.0)
    known.note(b"a", 11.0)
    assert known.wait_s(b"a", 10.0) == 1.0


def test_the_oldest_note_gives_way(monkeypatch) -> None:
    monkeypatch.setattr(refused, "MAX_CLIENTS", 2)
    known = Refused()
    known.note(b"a", 12.0)
    known.note(b"b", 12.0)
    known.note(b"a", 13.0)
    known.note(b"c", 12.0)
    assert len(known) == 2
    assert (known.wait_s(b"b", 10.0), known.wait_s(b"c", 10.0)) == (0.0, 2.0)


def test_changed_limits_forget_all() -> None:
    known = Refused()
    known.note(b"a", 12.0)
    known.clear()
    assert known.wait_s(b"a", 10.0) == 0.0
