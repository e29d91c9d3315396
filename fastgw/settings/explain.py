"""Settings for people: the listing of `fastgw config`, `.env.example` and the settings page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from fastgw.settings.load import about, is_secret
from fastgw.settings.model import Settings, env_name
from fastgw.settings.values import masked

if TYPE_CHECKING:
    from fastgw.settings.load import Loaded

MASK: Final = "********"

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
    """One setting as it is in force. value: bool, int, float, str, list of str, or None if unset; secrets masked."""

    name: str
    value: Any
    unit: str
    origin: str

    @property
    def text(self) -> str:
        """The value as it would stand in .env; empty if unset."""
        return _text(self.value)


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


def shown(field: str, value: Any) -> Any:
    """A value that may be shown; a secret is masked whole, in a URL its password. An empty text or list is None."""
    if isinstance(value, SecretStr):
        if value == Settings.model_fields[field].default:  # a published default is no secret
            return value.get_secret_value() or None
        return MASK if value.get_secret_value() else None
    if isinstance(value, tuple):
        return [shown(field, part) for part in value] or None
    if isinstance(value, bool | int | float):
        return value
    return masked(str(value)) if value is not None and str(value) else None


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
        "value counts as unset, and an empty variable hides the line in `.env`. A bad value stops the start with",
        "one message about all of them; `fastgw config` shows what is in force and where it came from. Live: can",
        "be changed at run time. Sizes: a MiB is 2^20 bytes, a MB 10^6, a bare k 2^10. Written by `make docs` from",
        "`fastgw/settings/model.py`.",
    ]
    for field, info in Settings.model_fields.items():
        if field in GROUPS:
            out += [
                "",
                f"## {GROUPS[field]}",
                "",
                "| name | default | unit, range | live | meaning |",
                "|---|---|---|---|---|",
            ]
        default = _default(field).replace("|", "\\|")
        choices = _choices(field)
        meaning = f"{info.description}{choices}".replace("|", "\\|")
        secret = " Secret: never shown." if is_secret(field) else ""
        unit = " ".join(filter(None, (_range(field), about(field)["unit"])))
        live = "yes" if about(field)["live"] else ""
        shown_default = f"`{default}`" if default else ""
        out.append(f"| {env_name(field)} | {shown_default} | {unit} | {live} | {meaning}{secret} |")
    return "\n".join(out) + "\n"


def settings_table() -> str:
    """The short table of README.md: name, default, meaning, by group."""
    out = ["| name | default | meaning |", "|---|---|---|"]
    for field, info in Settings.model_fields.items():
        if field in GROUPS:
            out.append(f"| **{GROUPS[field]}** | | |")
        default = _default(field).replace("|", "\\|")
        unit = about(field)["unit"]
        shown_default = " ".join(
            filter(None, (f"`{default}`" if default else "", unit if default == _bare(default) else ""))
        )
        meaning = (info.description or "").replace("|", "\\|")
        out.append(f"| {env_name(field)} | {shown_default} | {meaning} |")
    return "\n".join(out) + "\n"


def embedded(page: str, name: str, content: str) -> str:
    """The page with what is between `<!-- name -->` and `<!-- /name -->` replaced; ValueError without these lines."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page lacks the lines {begin.strip()} and {end.strip()}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def _bare(text: str) -> str:
    """A number as it is, else nothing: a size such as 1MiB has its unit."""
    return text if text.replace(".", "").isdigit() else ""


def _default(field: str) -> str:
    info = Settings.model_fields[field]
    if info.default is PydanticUndefined:
        return ""  # made when settings are read
    default = info.default
    if isinstance(default, SecretStr):  # a default is no secret
        return default.get_secret_value()
    return _text(default)


def _range(field: str) -> str:
    """`1 to 65535`, from the bounds that the type declares; empty for what is no number."""
    info = Settings.model_fields[field]
    bounds = (
        [*info.metadata, *getattr(get_args(info.annotation)[0], "__metadata__", ())]
        if get_args(info.annotation)
        else info.metadata
    )
    declared = [part for bound in bounds for part in (*getattr(bound, "metadata", ()), bound)]
    low = next((part.ge for part in declared if hasattr(part, "ge")), None)
    high = next((part.le for part in declared if hasattr(part, "le")), None)
    return "" if low is None else f"{low} to {high}"


def _choices(field: str) -> str:
    kind = Settings.model_fields[field].annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " One of " + ", ".join(f"`{choice}`" for choice in kind) + "."
    return ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(_text(part) for part in value)
    return str(value)
