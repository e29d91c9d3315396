"""Settings for people: the listing of `fastgw config`, `.env.example` and the settings page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from fastgw.settings.load import about, is_secret
from fastgw.settings.model import Settings, env_name

if TYPE_CHECKING:
    from fastgw.settings.load import Loaded

MASK: Final = "********"

_USERINFO: Final = re.compile(r"(?<=://)([^/@:]*):([^/@]*)@")

GROUPS: Final = {
    "gateway_host": "Listening",
    "fastapi_url": "Backend",
    "redis_url": "Redis",
    "auth_enabled": "Authentication and access",
    "rate_limit_enabled": "Rate limit",
    "cache_enabled": "Response cache",
    "idempotency_ttl_seconds": "Limits and safety",
    "workers_source": "Pages",
    "metrics_enabled": "Telemetry",
}
"""The first field of each group; fields stand in the order in which the model declares them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One setting as it is in force."""

    name: str
    value: str
    unit: str
    origin: str


def in_force(loaded: Loaded) -> list[Line]:
    """All settings, secrets masked, each with where its value came from."""
    return [
        Line(
            env_name(field),
            shown(field, getattr(loaded.settings, field)),
            about(field)["unit"],
            loaded.origins[env_name(field)],
        )
        for field in Settings.model_fields
    ]


def shown(field: str, value: Any) -> str:
    """A value as an operator would write it; a secret, or a password inside a URL, masked."""
    if value is None or value in ("", ()):
        return ""
    if is_secret(field):
        secrets = value if isinstance(value, tuple) else (value,)
        return MASK if any(secret.get_secret_value() for secret in secrets) else ""
    return _USERINFO.sub(rf"\1:{MASK}@", _text(value))


def env_example() -> str:
    """The text of .env.example: every setting with its default, commented out, under its sentence."""
    out = ["# Settings of fastgw. Copy to .env and change what you need; what is commented out is the default.", ""]
    for field, info in Settings.model_fields.items():
        if field in GROUPS:
            out += ["", f"# --- {GROUPS[field]} " + "-" * (90 - len(GROUPS[field])), ""]
        unit = f" ({about(field)['unit']})" if about(field)["unit"] else ""
        out.append(f"# {info.description}{unit}")
        default = _default(field)
        if default:
            out.append(f"#{env_name(field)}={default}")
        else:
            out.append(f"#{env_name(field)}=")
            out[-2] += f" For example: {about(field)['example']}"
    return "\n".join(out) + "\n"


def settings_page() -> str:
    """The text of docs/reference/settings.md."""
    out = [
        "# Settings",
        "",
        "Environment variables, or lines of a file `.env` in the working directory; the environment wins. An empty",
        "value counts as unset. A bad value stops the start with one message about all of them; `fastgw config` shows",
        "what is in force and where it came from. Written by `make docs` from `fastgw/settings/model.py`.",
    ]
    for field, info in Settings.model_fields.items():
        if field in GROUPS:
            out += ["", f"## {GROUPS[field]}", "", "| name | default | unit | meaning |", "|---|---|---|---|"]
        default = _default(field).replace("|", "\\|")
        choices = _choices(field)
        meaning = f"{info.description}{choices}".replace("|", "\\|")
        out.append(f"| {env_name(field)} | {f'`{default}`' if default else ''} | {about(field)['unit']} | {meaning} |")
    return "\n".join(out) + "\n"


def _default(field: str) -> str:
    info = Settings.model_fields[field]
    if info.default is PydanticUndefined:
        return ""  # made at run time
    default = info.default
    if isinstance(default, SecretStr):  # a default is no secret
        return default.get_secret_value()
    return "" if default is None else _text(default)


def _choices(field: str) -> str:
    kind = Settings.model_fields[field].annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " One of " + ", ".join(f"`{choice}`" for choice in kind) + "."
    return ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_text(part) for part in value)
    return str(value)
