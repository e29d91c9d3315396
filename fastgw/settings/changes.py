"""Changes of settings at run time: what was asked for, judged; and the form in which they lie in Redis. Pure.

    {"v": 1, "changes": {"RATE_LIMIT_MAX_REQUESTS": "500"}, "revision": 3, "updated": "2026-01-31T12:00:00.000Z"}

Names are environment variables, values are texts as they would stand in .env. Others may have written there, by hand or
as a newer fastgw: what can't be used is told apart from what can, and stays in the text.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError

from fastgw.settings.conflicts import conflicts
from fastgw.settings.load import NAMES, about, is_secret, problem_of, unusable
from fastgw.settings.model import Settings
from fastgw.settings.parse import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION: Final = 1
"""Of the stored text's form. Another one is not read."""

MAX_BYTES: Final = 64 * 1024
"""Of the stored text, which every process fetches every 0.4 s. Fifty rules and routes are about 2 KiB."""

MAX_CHANGES: Final = 100
"""Names in one change, and in the stored text: more than there are settings, few enough to be judged in no time."""

MAX_SHOWN: Final = 100
"""Characters of a name that is none of ours, in logs and answers."""

MAX_REVISION: Final = 1 << 53
"""What every JSON reader holds exactly."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Changes, judged. changes: name -> text, or None to give back the environment's value."""

    changes: Mapping[str, str | None]
    problems: Mapping[str, str]
    """Name as it was given -> what is wrong with it; "" is the name for what is wrong with all of it together.

    If there is a problem, nothing may be changed.
    """


@dataclass(frozen=True, slots=True)
class Stored:
    """The text in Redis, read but not judged."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0
    updated: str = ""
    problem: str = ""
    """Why nothing of it can be used; empty if it can be read."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Stored changes upon the environment's settings."""

    settings: Settings
    good: Mapping[str, str]
    """Name -> text, of what is in force."""
    problems: Mapping[str, str]
    """Name, cut and escaped -> why it is not."""


def propose(base: Settings, stored: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Proposal, dict[str, Any]]:
    """Judge `changes` upon what is `stored`; the proposal, and what is to be stored if it has no problem."""
    if not changes:
        return Proposal({}, {"": "no setting is named"}), {}
    if len(changes) > MAX_CHANGES:
        return Proposal({}, {"": f"more than {MAX_CHANGES} settings are named"}), {}
    given: dict[str, str] = {}
    problems: dict[str, str] = {}
    for as_given in changes:
        if (twin := given.setdefault(name_of(as_given), as_given)) != as_given:
            problems[shown(as_given)] = f"is given twice, as {shown(twin)} too"
    present = {name_of(name) for name in stored}
    merged = {name: value for name, value in stored.items() if name_of(name) not in given}
    proposed: dict[str, str | None] = {}
    for name, as_given in given.items():
        if changes[as_given] is None and (name in present or not not_changeable(name)):
            proposed[name] = None
            continue
        try:
            proposed[name] = merged[name] = text_of(base, name, changes[as_given])
        except ValueError as error:
            problems.setdefault(shown(as_given), str(error))
    ignored = judge(base, merged).problems
    for name, as_given in given.items():
        if name in ignored:
            problems.setdefault(shown(as_given), ignored[name])
    in_order = {name: problems[name] for name in map(shown, changes) if name in problems}
    return Proposal(proposed, in_order), merged


def judge(base: Settings, changes: Mapping[str, Any]) -> Judged:
    """Tell the changes that can be used from the others. O(number of changes)."""
    texts: dict[str, str] = {}
    problems: dict[str, str] = {}
    for as_given, value in changes.items():
        name = name_of(as_given)
        try:
            texts[name] = text_of(base, name, value)
        except ValueError as error:
            problems[shown(name)] = str(error)
    parsed: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            parsed[name] = getattr(Settings.model_validate({NAMES[name]: text}), NAMES[name])
        except ValidationError as error:
            problems[name] = problem_of(error.errors(include_url=False, include_input=False)[0])
    # What the environment's settings have against each other is none of the changes' doing.
    for conflict in conflicts(_merged(base, parsed)):
        for name in parsed.keys() & set(conflict.names):
            del parsed[name]
            problems[name] = f"does not go with the other settings: {conflict.names[0]} {conflict.problem}"
    return Judged(_merged(base, parsed), {name: texts[name] for name in parsed}, problems)


def _merged(base: Settings, parsed: Mapping[str, Any]) -> Settings:
    """A copy with other values, which are validated: the rest need not be read and checked again."""
    return base.model_copy(update={NAMES[name]: value for name, value in parsed.items()})


def read(raw: bytes | None) -> Stored:
    """The stored text. Never raises, whatever others wrote there."""
    if raw is None:
        return Stored()
    if len(raw) > MAX_BYTES:
        return Stored(problem=f"is longer than {MAX_BYTES} bytes")
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Stored(problem="is no JSON")
    if not isinstance(content, dict) or not isinstance(changes := content.get("changes"), dict):
        return Stored(problem="is no object with changes in it")
    if content.get("v") != VERSION:
        return Stored(problem="has a form that this version of fastgw does not know")
    if len(changes) > MAX_CHANGES:
        return Stored(problem=f"names more than {MAX_CHANGES} settings")
    revision: Any = content.get("revision")
    updated: Any = content.get("updated")
    return Stored(
        changes,
        revision if type(revision) is int and 0 <= revision < MAX_REVISION else 0,
        updated[:MAX_SHOWN] if isinstance(updated, str) else "",
    )


def written(changes: Mapping[str, Any], revision: int) -> bytes:
    """The text to be stored. updated: now."""
    updated = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"v": VERSION, "changes": changes, "revision": revision, "updated": updated})


def text_of(base: Settings, name: str, value: Any) -> str:
    """A JSON value as it would stand in .env. Raises ValueError with the problem, as a phrase after the name."""
    if problem := not_changeable(name):
        raise ValueError(problem)
    is_list = isinstance(getattr(base, NAMES[name]), tuple)
    text = _as_text(value, is_list=is_list)
    if not text:
        hint = f", `{NONE}` makes the list empty" if is_list else ""
        raise ValueError(f"is empty; null gives back the environment's value{hint}")
    if problem := unusable(text):
        raise ValueError(problem)
    return text


def _as_text(value: Any, *, is_list: bool) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # JSON has one kind of number: 500.0 is 500
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        if not is_list:
            raise ValueError("takes one value, no list")
        return _joined(value)
    raise ValueError("is neither a number, a text, a list nor true, false or null")


def _joined(parts: Iterable[Any]) -> str:
    texts = []
    for number, part in enumerate(parts, 1):
        if not isinstance(part, str) or not part.strip() or "," in part:
            raise ValueError(f"has an item {number} that is no text, is empty or holds a comma")
        texts.append(part.strip())
    return ", ".join(texts) or NONE


def not_changeable(name: str) -> str:
    """Why a setting can't be changed at run time; empty if it can."""
    if name not in NAMES:
        near = difflib.get_close_matches(name[:MAX_SHOWN].upper(), NAMES, 1)
        return f"is not a setting; was {near[0]} meant?" if near else "is not a setting"
    if is_secret(NAMES[name]):
        return "needs a restart: it is secret, and not kept in Redis; set it in the environment or in .env"
    if not about(NAMES[name])["live"]:
        return "needs a restart; set it in the environment or in .env"
    return ""


def name_of(given: str) -> str:
    """The environment variable, also from its field's name."""
    return given.upper() if given.islower() else given


def shown(name: str) -> str:
    """A name that may be anybody's, fit for a log line."""
    text = ascii(name)[1:-1]
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
