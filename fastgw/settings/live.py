"""The settings in force: those of the environment, with the changes that were made at run time upon them.

The changes lie in Redis, at `gateway:config`, for every process of every node; changes.py knows their form. What is in
force follows from the environment and that text alone: whoever reads it comes to the same, whatever he had before. What
a process can't use of it is left out, with one warning.

A snapshot is never changed but replaced, and subscribers are told. Without Redis the last snapshot stays in force; if
the text is deleted, the environment's settings are.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastgw.settings import changes as changing
from fastgw.settings.changes import MAX_BYTES, Proposal
from fastgw.settings.load import NAMES, Loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastgw.settings.model import Settings

REFRESH_S: Final = 0.4
"""Between two looks at the stored text: with the jitter of Periodic and the round trip well below a second."""

MAX_TRIES: Final = 16
"""Each failed try is a success of another writer; people change settings, so two at a time is rare already."""

FIRST_PAUSE_S: Final = 0.002
LAST_PAUSE_S: Final = 0.064
"""Longest pause before the next try, doubled each time; the pause is a random part of it."""

CATCH_UP_S: Final = 1.0
"""A worker that starts serves without the stored changes if Redis has not answered by then."""

CATCH_UP_PAUSE_S: Final = 0.02

RUN_TIME: Final = "run time"
"""The origin of a changed value, beside default, environment and .env."""

log = logging.getLogger("fastgw.settings")


class Shared(Protocol):
    """The text in Redis: store.document.Document."""

    async def read(self) -> bytes | None:
        """The text, or None."""

    async def swap(self, old: bytes | None, new: bytes) -> bool:
        """Replace `old` by `new`; False if it is no longer `old`."""


class Contended(Exception):
    """Others changed the settings at the same time, again and again; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in force, and what it follows from."""

    settings: Settings
    changes: Mapping[str, str] = field(default_factory=dict)
    """Name -> text, of the stored changes that are in force."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Name -> why a stored change is not. The key's own name: why nothing of the text is."""
    revision: int = 0
    updated: str = ""
    """RFC 3339; empty before the first change."""


class Live:
    """The settings of one process. To be used in its event loop only."""

    def __init__(self, loaded: Loaded, shared: Shared, away: type[Exception], key: str = "gateway:config") -> None:
        """loaded: what the environment says. away: what `shared` raises while Redis can't be asked.

        key: the text's name, for people.
        """
        self._loaded = loaded
        self._shared = shared
        self._away = away
        self._key = key
        self._subscribers: list[Callable[[Settings], None]] = []
        self._raw: bytes | None = None
        self._complaint, self._has_complained = "", False
        self.snapshot = Snapshot(loaded.settings)

    def __repr__(self) -> str:
        return f"<Live revision={self.snapshot.revision} changes={len(self.snapshot.changes)}>"

    @property
    def settings(self) -> Settings:
        """The settings in force. Frozen: for later ones ask again, or subscribe."""
        return self.snapshot.settings

    @property
    def in_force(self) -> Loaded:
        """The settings in force with their origins: default, environment, .env or run time."""
        known = {**dict.fromkeys(NAMES, "default"), **self._loaded.origins}
        return Loaded(self.settings, {**known, **dict.fromkeys(self.snapshot.changes, RUN_TIME)}, ())

    def subscribe(self, callback: Callable[[Settings], None]) -> None:
        """Have `callback` called with the new settings after each change, in the order of subscribing."""
        self._subscribers.append(callback)

    def propose(self, changes: Mapping[str, Any]) -> Proposal:
        """Judge changes as if they were made now. Changes nothing.

        changes: environment variable, or the field in lower case -> a JSON value: a number, a bool, a list, a text as
        in .env, or null for the environment's value.
        """
        return changing.propose(self._loaded.settings, changing.read(self._raw).changes, changes)[0]

    async def change(self, changes: Mapping[str, Any]) -> Proposal:
        """Judge changes, see `propose`; if all are good, store them and put them in force. Others follow by `refresh`.

        Raises Contended, or what `shared` raises; then it may be that they were stored.
        """
        spread = Random().uniform  # noqa: S311 - spreads load, hides nothing
        longest = FIRST_PAUSE_S
        for _ in range(MAX_TRIES):
            raw = await self._shared.read()
            stored = changing.read(raw)
            proposal, merged = changing.propose(self._loaded.settings, stored.changes, changes)
            if proposal.problems:
                return proposal
            if merged == stored.changes and not stored.problem:
                self._apply(raw)
                return proposal
            new = changing.written(merged, stored.revision + 1)
            if len(new) > MAX_BYTES or len(merged) > changing.MAX_CHANGES:
                return Proposal({}, {"": f"with what is stored already, it is too much for {self._key}"})
            if await self._shared.swap(raw, new):
                self._apply(new)
                return proposal
            await asyncio.sleep(spread(0, longest))
            longest = min(longest * 2, LAST_PAUSE_S)
        raise Contended

    async def refresh(self) -> None:
        """Take over what others have changed. For a periodic job: raises nothing, whatever Redis says or does not."""
        await self._pull()

    async def catch_up(self) -> bool:
        """Take over the stored changes before the first request. False if Redis has not answered in CATCH_UP_S."""
        try:
            async with asyncio.timeout(CATCH_UP_S):
                while not await self._pull():  # noqa: ASYNC110 - Redis does not say when it is there
                    await asyncio.sleep(CATCH_UP_PAUSE_S)
        except TimeoutError:
            return False
        return True

    async def _pull(self) -> bool:
        """Read once, and apply what is new. False if Redis could not be asked."""
        try:
            raw = await self._shared.read()
        except self._away:  # the store says so itself, once for all who use it
            return False
        except Exception as error:
            # Said at the second time in a row: what a Cluster or a starting Redis says once is over soon.
            complaint = str(error)
            if complaint == self._complaint and not self._has_complained:
                self._has_complained = True
                log.warning("%s can't be read, the settings stay as they are: %s", self._key, complaint)
            self._complaint = complaint
            return False
        self._complaint, self._has_complained = "", False
        self._apply(raw)
        return True

    def _apply(self, raw: bytes | None) -> None:
        if raw == self._raw:
            return
        old, self._raw = changing.read(self._raw), raw
        stored, before = changing.read(raw), self.snapshot
        judged = changing.judge(self._loaded.settings, stored.changes)
        ignored = {self._key: stored.problem} if stored.problem else judged.problems
        self.snapshot = Snapshot(judged.settings, judged.good, ignored, stored.revision, stored.updated)
        for name, problem in ignored.items():
            if before.ignored.get(name) != problem or old.changes.get(name) != stored.changes.get(name):
                log.warning("stored setting ignored: %s %s", name, problem)
        if judged.settings != before.settings:
            log.info("settings changed, revision %d: %s", stored.revision, _difference(before.changes, judged.good))
            self._tell(judged.settings)

    def _tell(self, settings: Settings) -> None:
        for callback in self._subscribers:
            try:
                callback(settings)
            except Exception:
                log.exception("a part of the gateway could not take over the changed settings")


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What changed between two snapshots, in one line. No secret is among it: none can be changed at run time."""
    parts = [f"{name}={text}" for name, text in after.items() if before.get(name) != text]
    parts += [f"{name} as in the environment" for name in before if name not in after]
    return ", ".join(parts)
