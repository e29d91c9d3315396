"""Reads the settings: environment over .env over defaults. The only reader of the environment.

All mistakes are reported in one message: the variable, what it was given, what is wrong with that, a good value.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values
from pydantic import ValidationError

from fastgw.settings.model import Settings, env_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

ENV_FILE: Final = Path(".env")

NAMES: Final = {env_name(field): field for field in Settings.model_fields}

_PREFIXES: Final = tuple(sorted({name.partition("_")[0] + "_" for name in NAMES}))
_NOT_OURS: Final = frozenset({"LOG_DIR", "LOG_FILE", "REDIS_HOST", "REDIS_PORT", "OTEL_TRACES_SAMPLER"})
"""Other programs' names that look like ours."""

_SIMILARITY: Final = 0.86
"""difflib's ratio from which a name counts as a misspelling: FASTAPI_TIMOUT has 0.96, REDIS_HOST and REDIS_DB 0.67."""


class SettingsError(Exception):
    """The settings can't be used; str() is the complete message for the operator."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and how they came about."""

    settings: Settings
    origins: dict[str, str]
    """Name -> "default", "environment" or ".env"."""
    warnings: tuple[str, ...]
    """One sentence each: names that look like misspelt ones of ours."""


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Loaded:
    """Read and validate all settings. An empty value counts as unset.

    environ: default the process's environment. env_file: default `.env` in the working directory; may be missing.
    Raises SettingsError with one message for all that is wrong.
    """
    environ = os.environ if environ is None else environ
    given = _read_file(ENV_FILE if env_file is None else env_file)
    origins = dict.fromkeys(NAMES, "default")
    values: dict[str, str] = {}
    for source, where in ((given, ".env"), (environ, "environment")):
        for name, value in source.items():
            if name in NAMES and value.strip():
                values[name] = value
                origins[name] = where
    try:
        settings = Settings.model_validate({NAMES[name]: value for name, value in values.items()})
    except ValidationError as error:
        raise SettingsError(_message(error.errors(), values, origins)) from None
    return Loaded(settings, origins, tuple(_misspellings({**given, **environ})))


def _read_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} can't be read: {error}\n\nhint: save it as UTF-8 text that this user may read, or remove it."
        ) from None
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def is_secret(field: str) -> bool:
    """Whether a field's value must never be shown."""
    return "SecretStr" in str(Settings.model_fields[field].annotation)


def about(field: str) -> dict[str, Any]:
    """What is declared beside a field: example, unit, live."""
    extra = Settings.model_fields[field].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _message(errors: list[ErrorDetails], values: Mapping[str, str], origins: Mapping[str, str]) -> str:
    """One message for all mistakes, a block each."""
    blocks: dict[str, str] = {}
    for error in errors:
        if error["loc"]:
            name = env_name(str(error["loc"][0]))
            problem = _problem(error)
        else:  # of several fields together: the text begins with the name
            name, _, problem = _problem(error).partition(": ")
        field = NAMES[name]
        value = values.get(name, "")
        shown = "(secret)" if is_secret(field) or ("://" in value and "@" in value) else repr(value)
        where = "" if origins[name] == "default" else f" (from {origins[name]})"
        given = f" = {shown}{where}" if name in values else ""
        blocks.setdefault(name, f"  {name}{given}\n    {problem}\n    for example: {name}={about(field)['example']}")
    count = "setting is" if len(blocks) == 1 else f"{len(blocks)} settings are"
    return (
        f"fastgw can't start, {'this' if len(blocks) == 1 else 'these'} {count} not usable:\n\n"
        + "\n".join(blocks.values())
        + "\n\nhint: `fastgw config` shows all settings; .env.example explains each."
    )


def _problem(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "should be")


def _misspellings(names: Mapping[str, str]) -> list[str]:
    """A sentence for each unknown name that is close to one of ours."""
    found = []
    for name in sorted(names):
        if name in NAMES or name in _NOT_OURS or not name.isupper():
            continue
        close = difflib.get_close_matches(name, NAMES, n=1, cutoff=_SIMILARITY)
        if close:
            found.append(f"{name} is not a setting; was {close[0]} meant?")
    return found
