"""A text in Redis that the whole fleet shares, without a TTL: read by all, replaced by compare and set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.store.errors import ReplyFailed
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from fastgw.store.hot import Store

SWAP: Final = load("fastgw.store", "swap.lua")


class Document:
    """One such text. All methods raise StoreError if Redis can't be asked or does not do it."""

    def __init__(self, store: Store, key: bytes) -> None:
        """key: where it lies, in full."""
        self._store = store
        self._key = key

    async def read(self) -> bytes | None:
        """The text; None if there is none. What is there but no string reads as an empty text."""
        try:
            text: bytes | None = await self._store.command(self._key, b"GET", self._key)
        except ReplyFailed as error:
            if error.code == "WRONGTYPE":
                return b""
            raise
        return text

    async def swap(self, old: bytes | None, new: bytes) -> bool:
        """Replace `old`, as it was read, by `new`. False: another was faster, and nothing was written.

        After StoreDown it is not known which of the two texts is there. What is no string is replaced too.
        """
        return bool(await self._store.run(SWAP, (self._key,), old or b"", new))
