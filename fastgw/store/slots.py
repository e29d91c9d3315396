"""Which slot of a Cluster a key lies in (Redis Cluster specification, "Key distribution model" and "Hash tags")."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

SLOTS: Final = 16384
"""2 ** 14, fixed by the specification."""


def slot_of(key: bytes) -> int:
    """The slot of a key, 0 to 16383: CRC16/XMODEM of its hash tag, or of all of it where it has none.

    The hash tag is what stands between the first `{` and the first `}` behind it, if that is not empty.
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS
