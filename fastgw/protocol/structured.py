"""Structured field values (RFC 9651): a reader of dictionaries and items, a writer of strings. Strict, as asked in 4.2.

Values become Python's: Integer and Date int, Decimal float, String and Display String str, Token `Token`,
Byte Sequence bytes, Boolean bool, an inner list a tuple of these. Parameters are checked and dropped: nothing that
we read has any. A value is one field: lines of the same name are joined with b", " by the caller (section 4.2).

Each function returns the value or raises NotStructured; a field that does not parse is ignored whole (section 2.2).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
_BARE: Final = re.compile(
    r"(?P<decimal>-?\d{1,12}\.\d{1,3})(?![\d.])|(?P<integer>-?\d{1,15})(?![\d.])"
    r'|"(?P<string>(?:[ !#-\[\]-~]|\\["\\])*)"'
    r"|(?P<token>[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*)|:(?P<bytes>[A-Za-z0-9+/]*={0,2}):|\?(?P<boolean>[01])"
    r'|@(?P<date>-?\d{1,15})(?![\d.])|%"(?P<display>(?:[ !#$&-~]|%[0-9a-f]{2})*)"',
    re.ASCII,
)
_ESCAPED: Final = re.compile(r'\\(["\\])')
_TO_ESCAPE: Final = re.compile(rb'(["\\])')
_STRING_CHARS: Final = re.compile(rb"[ -~]*")
_OWS: Final = " \t"


class NotStructured(ValueError):
    """Text that is no structured field. Its message says where, and quotes nothing."""


class Token(str):
    """A token, told apart from a string: `a` and `"a"` mean different things."""

    __slots__ = ()


Bare = bool | int | float | str | bytes
Value = Bare | tuple[Bare, ...]


def dictionary(value: bytes) -> dict[str, Value]:
    """A Dictionary (section 4.2.2): lower-case key -> value; of two equal keys the last counts. b"" is empty.

    Raises NotStructured.
    """
    reader = _Reader(value)
    found: dict[str, Value] = {}
    while not reader.is_at_end():
        key = reader.key()
        found[key] = reader.member() if reader.skip("=") else True
        reader.parameters()
        reader.blanks(_OWS)
        if reader.is_at_end():
            break
        reader.expect(",")
        reader.blanks(_OWS)
        if reader.is_at_end():
            raise reader.wrong("a member after the comma")
    return found


def item(value: bytes) -> Bare:
    """An Item (section 4.2.3) without its parameters. Raises NotStructured."""
    reader = _Reader(value)
    bare = reader.bare()
    reader.parameters()
    if not reader.is_at_end():
        raise reader.wrong("the end")
    return bare


def string(text: bytes) -> bytes:
    r"""A String (section 4.1.6): in quotes, `"` and `\` escaped. Raises NotStructured unless it is printable ASCII."""
    if _STRING_CHARS.fullmatch(text) is None:
        raise NotStructured("a string holds printable ASCII only")
    return b'"' + _TO_ESCAPE.sub(rb"\\\1", text) + b'"'


class _Reader:
    """The text, and how far it is read."""

    def __init__(self, value: bytes) -> None:
        try:
            self._text = value.decode("ascii").strip(" ")
        except UnicodeDecodeError:
            raise NotStructured("structured fields are ASCII") from None
        self._at = 0

    def is_at_end(self) -> bool:
        return self._at >= len(self._text)

    def wrong(self, expected: str) -> NotStructured:
        return NotStructured(f"expected {expected} at {self._at}")

    def skip(self, char: str) -> bool:
        """Take `char` if it is next."""
        if self._text.startswith(char, self._at):
            self._at += 1
            return True
        return False

    def expect(self, char: str) -> None:
        if not self.skip(char):
            raise self.wrong(f"{char!r}")

    def blanks(self, which: str) -> None:
        while not self.is_at_end() and self._text[self._at] in which:
            self._at += 1

    def key(self) -> str:
        match = _KEY.match(self._text, self._at)
        if match is None:
            raise self.wrong("a key")
        self._at = match.end()
        return match[0]

    def member(self) -> Value:
        """An item or an inner list (section 4.2.1.1)."""
        return self._inner_list() if self.skip("(") else self.bare()

    def _inner_list(self) -> tuple[Bare, ...]:
        """What follows the parenthesis (section 4.2.1.2)."""
        items: list[Bare] = []
        while True:
            self.blanks(" ")
            if self.skip(")"):
                return tuple(items)
            items.append(self.bare())
            self.parameters()
            if not self._text.startswith((" ", ")"), self._at):
                raise self.wrong("a blank or ')'")

    def parameters(self) -> None:
        """Check and drop them (section 4.2.3.2)."""
        while self.skip(";"):
            self.blanks(" ")
            self.key()
            if self.skip("="):
                self.bare()

    def bare(self) -> Bare:
        """A bare item (section 4.2.3.1)."""
        match = _BARE.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            raise self.wrong("an item")
        self._at = match.end()
        return _meaning(match.lastgroup, match[match.lastgroup])


def _meaning(kind: str, text: str) -> Bare:  # one case for each type
    """The value of a bare item's text. Raises NotStructured for bytes that are no base64 and text that is no UTF-8."""
    if kind in {"integer", "date"}:
        return int(text)
    if kind == "decimal":
        return float(text)
    if kind == "string":
        return _ESCAPED.sub(r"\1", text)
    if kind == "token":
        return Token(text)
    if kind == "boolean":
        return text == "1"
    try:
        if kind == "bytes":
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # padding may be missing (4.2.7)
        return unquote_to_bytes(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise NotStructured("bytes that are no base64, or text that is no UTF-8") from None
