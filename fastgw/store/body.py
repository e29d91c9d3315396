"""A response's body as a member of a JSON value in Redis: text where it is text, base64 where that is shorter. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

TEXT: Final = "body"
BASE64: Final = "base64"

_CONTROLS: Final = bytes(c for c in range(32) if c not in b"\t\n\r") + b"\x7f"
"""JSON takes six bytes for each; base64 is shorter."""


def packed(body: bytes) -> tuple[str, str]:
    """The member's name, and the text that stands for the body."""
    if len(body.translate(None, _CONTROLS)) == len(body):
        try:
            return TEXT, body.decode()
        except UnicodeDecodeError:
            pass
    return BASE64, base64.b64encode(body).decode()


def unpacked(name: str, found: Any) -> bytes | None:
    """What `packed` made it of; None for what it can't have made."""
    if not isinstance(found, str):
        return None
    if name == TEXT:
        return found.encode()
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError):  # ValueError: text that is not ASCII
        return None
