"""Reads the settings: environment over .env over defaults. The only reader of the environment.

All mistakes are reported in one message: the variable, what it was given, what is wrong with that, a good value.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import ValidationError

from fastgw.settings.conflicts import cautions, conflicts
from fastgw.settings.model import Settings, env_name
from fastgw.settings.parse import NONE
from fastgw.settings.values import masked_unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

ENV_FILE: Final = Path(".env")

NAMES: Final = {env_name(field): field for field in Settings.model_fields}

MAX_SHOWN: Final = 100
"""Characters of a bad value that are shown: enough to know it again, and no pasted file floods the terminal."""

_BARE: Final = {name.replace("_", ""): name for name in NAMES}
_SIMILARITY: Final = 0.84
"""difflib's ratio, underscores left out, from which a name counts as a misspelling.

FASTAPI_TIMOUT has 0.96, TRUSTED_PROXY 0.85; others' names: METRICS_PORT, OTEL_EXPORTER_ZIPKIN_ENDPOINT 0.82.
"""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PROBLEMS: Final = {
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "int_parsing_size": "is out of range",
    "float_parsing": "is no number",
    "finite_number": "is no number",
    "bool_parsing": "is neither true nor false",
    "greater_than_equal": "is below {ge:g}",
    "less_than_equal": "is above {le:.15g}",
    "enum": "is none of {expected}",
    "path_not_file": "names no file; check the path, and that fastgw's user may read the directories above it",
}
"""pydantic's error types, as phrases that follow the variable's name."""


class SettingsError(Exception):
    """The settings can't be used; str() is the complete message for the operator."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and how they came about."""

    settings: Settings
    origins: dict[str, str]
    """Name -> "default", "environment" or ".env"."""
    warnings: tuple[str, ...]
    """One sentence each: names that look like misspelt ones of ours, values that are likely not what was meant."""


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = ENV_FILE) -> Loaded:
    """Read and validate all settings.

    An empty value means the default (of CORS_ORIGIN: none, as nobody who empties it means all), and an empty variable
    in the environment hides the line in .env.
    environ: default the process's environment. env_file: may be missing; None: no file is read.
    Raises SettingsError with one message for all that is wrong.
    """
    environ = os.environ if environ is None else environ
    given = _read_file(env_file) if env_file else {}
    origins = dict.fromkeys(NAMES, "default")
    texts: dict[str, str] = {}
    for name in NAMES:
        source, where = (environ, "environment") if name in environ else (given, ".env")
        text = source.get(name, "").strip()
        if not text and name == "CORS_ORIGIN" and name in source:
            text = NONE
        if text:
            texts[name], origins[name] = text, where
    settings, problems = _validate(texts)
    if problems:
        raise SettingsError(_message(problems, texts, origins))
    unknown = sorted({*given, *environ} - NAMES.keys())
    return Loaded(settings, origins, (*_misspellings(unknown), *cautions(settings)))


def is_secret(field: str) -> bool:
    """Whether a field's value must never be shown."""
    return "SecretStr" in str(Settings.model_fields[field].annotation)


def about(field: str) -> dict[str, Any]:
    """What is declared beside a field: example, unit, live."""
    extra = Settings.model_fields[field].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _read_file(path: Path) -> dict[str, str]:
    """Read a .env file as python-dotenv does, but refuse what that would leave out with a mere log line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path} is no UTF-8 text (line {line}).\n\nhint: save it as UTF-8.") from None
    except OSError as error:
        raise SettingsError(
            f"{path} can't be read: {error.strerror}.\n\nhint: it must be a text file that this user may read; "
            "or move it out of the way, and only the environment counts."
        ) from None
    # The line itself is not shown: a secret may be in it.
    bad = [
        str(binding.original.line)
        for binding in parse_stream(StringIO(text))
        if binding.error or (binding.value is None and binding.key in NAMES)
    ]
    if bad:
        raise SettingsError(
            f"{path} can't be understood in line {', '.join(bad)}.\n\nhint: a line is NAME=value, quotes in pairs; "
            "a comment begins with #."
        )
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def _validate(texts: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Give the settings, and name -> problem. With problems, the settings are not to be used."""
    problems = {name: problem for name, text in texts.items() if (problem := unusable(text))}
    good = {NAMES[name]: text for name, text in texts.items() if name not in problems}
    try:
        settings = Settings.model_validate(good)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            problems.setdefault(env_name(str(detail["loc"][0])), problem_of(detail))
        # What is left is judged together all the same, so that one message has it all.
        settings = Settings.model_validate({k: v for k, v in good.items() if env_name(k) not in problems})
    for conflict in conflicts(settings):
        if problems.keys().isdisjoint(conflict.names):
            problems[conflict.names[0]] = conflict.problem
    return settings, problems


def unusable(text: str) -> str:
    """What is wrong with a text whatever the setting; empty if nothing is."""
    if _CONTROL.search(text):
        return "holds a line end or another control character"
    try:
        text.encode()
    except UnicodeEncodeError:  # os.environ smuggles bytes that are no UTF-8 as lone surrogates
        return "is no UTF-8 text"
    return ""


def problem_of(error: ErrorDetails) -> str:
    """What is wrong, as a phrase that follows the setting's name."""
    form = _PROBLEMS.get(error["type"])
    if form:
        return form.format(
            **{key: str(v).replace("'", "") if key == "expected" else v for key, v in error.get("ctx", {}).items()}
        )
    return error["msg"].removeprefix("Value error, ")


def _message(problems: Mapping[str, str], texts: Mapping[str, str], origins: Mapping[str, str]) -> str:
    """One message for all mistakes, a block each, in the order of the settings page."""
    blocks = []
    for name, field in NAMES.items():
        if name in problems:
            given = f" = {_shown(name, texts[name])} (from {origins[name]})" if name in texts else ""
            blocks.append(f"  {name}{given}\n    {problems[name]}\n    for example: {name}={about(field)['example']}")
            if texts.get(name, "").startswith("tcp://"):  # a Service called "gateway" makes GATEWAY_PORT=tcp://...
                blocks.append(
                    "    hint: Kubernetes sets this for a Service of that name; use enableServiceLinks: false"
                )
    count = "this setting is" if len(problems) == 1 else f"these {len(problems)} settings are"
    return (
        f"fastgw can't start, {count} not usable:\n\n"
        + "\n".join(blocks)
        + "\n\nhint: mend them in the environment or in .env; .env.example explains each setting."
    )


def _shown(name: str, text: str) -> str:
    if is_secret(NAMES[name]):
        return "(secret)"
    if not Settings.model_fields[NAMES[name]].repr or ("@" in text and ":" in text):
        text = masked_unread(text)
    return ascii(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "...")


def _misspellings(names: list[str]) -> Iterator[str]:
    """Yield a sentence for each unknown name that is close to one of ours."""
    for name in names:
        close = difflib.get_close_matches(name.upper().replace("_", ""), _BARE, n=1, cutoff=_SIMILARITY)
        if close:
            yield f"{name} is not a setting; was {_BARE[close[0]]} meant?"
