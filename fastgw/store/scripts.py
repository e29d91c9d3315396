"""The Lua scripts. They lie in the room that owns the decision; here they are only loaded.

A script is called by its digest (EVALSHA). A server that does not know it answers NOSCRIPT and has done nothing, so the
call is sent again with the text (EVAL), which teaches it: pipeline.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script. sha: of its text, in hex, as Redis names it."""

    name: str
    text: bytes
    sha: bytes


def load(package: str, name: str) -> Script:
    """The script `name` (with its ending) beside the modules of a package."""
    text = files(package).joinpath(name).read_bytes()
    return Script(name, text, sha1(text, usedforsecurity=False).hexdigest().encode())
