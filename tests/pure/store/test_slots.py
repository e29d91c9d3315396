"""Slots as the Redis Cluster specification computes them; tests/store/test_topology.py asks a real Cluster too."""

from __future__ import annotations

from binascii import crc_hqx

import pytest

from fastgw.store.slots import SLOTS, slot_of


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"", 0),
        (b"123456789", 0x31C3),  # the check value that the specification gives for CRC16/XMODEM
        (b"foo", 12182),  # as redis.io shows for CLUSTER KEYSLOT
    ],
)
def test_the_slot_of_a_plain_key(key: bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{}{bar}", b"foo{}{bar}"),  # an empty tag is none
        (b"foo{{bar}}zap", b"{bar"),
        (b"foo{bar}{zap}", b"bar"),
        (b"foo}{bar", b"foo}{bar"),
        (b"foo{bar", b"foo{bar"),
        (b"}{a}", b"a"),
    ],
)
def test_only_the_hash_tag_counts(key: bytes, hashed: bytes) -> None:
    """The examples of the specification, section "Hash tags", and its corners."""
    assert slot_of(key) == crc_hqx(hashed, 0) % SLOTS
