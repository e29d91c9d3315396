"""Settings that contradict each other, and settings that are likely a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fastgw.settings.conflicts import _unreadable
from fastgw.settings.load import SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

CERT = {"GATEWAY_TLS_CERT": __file__}
KEY = {"GATEWAY_TLS_KEY": __file__}


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (CERT, "GATEWAY_TLS_KEY\n    is missing"),
        (KEY, "GATEWAY_TLS_CERT\n    is missing"),
        ({**CERT, "GATEWAY_TLS_KEY": "/nowhere/key.pem"}, "key.pem' (from environment)\n    names no file"),
        ({**CERT, "GATEWAY_TLS_KEY": "/"}, "names no file"),
        ({"AUTH_TOKEN_HASHES_FILE": "/nowhere/hashes"}, "names no file"),
        ({"AUTH_ENABLED": "true"}, "nobody could pass"),
        ({"REDIS_URL": "redis://h/1", "REDIS_DB": "2"}, "differs from the database 1"),
        ({"REDIS_URL": "redis+cluster://h", "REDIS_DB": "2"}, "database 0 only"),
        ({"REDIS_URL": "redis://:a@h", "REDIS_PASSWORD": "b"}, "differs from the password"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ, None)
    assert told in str(caught.value)
    assert "this setting is" in str(caught.value)


@pytest.mark.parametrize(
    "environ",
    [
        {**CERT, **KEY},
        {"AUTH_ENABLED": "false"},
        {"AUTH_ENABLED": "true", "AUTH_API_KEYS": "k"},
        {"AUTH_ENABLED": "true", "AUTH_TOKEN_HASHES_FILE": __file__},
        {"AUTH_ENABLED": "true", "AUTH_VERIFY_URL": "http://h/v"},
        {"REDIS_URL": "redis://h/1", "REDIS_DB": "1"},
        {"REDIS_URL": "redis://:a%40@h", "REDIS_PASSWORD": "a@"},
        {"REDIS_URL": "redis://h", "REDIS_PASSWORD": "b", "REDIS_DB": "2"},
        {"GATEWAY_PORT": "8000", "FASTAPI_URL": "http://10.0.0.1:8000"},
        {"GATEWAY_HOST": "10.0.0.2", "GATEWAY_PORT": "8000"},
    ],
    ids=str,
)
def test_what_agrees_passes_without_a_word(environ: dict[str, str]) -> None:
    assert load(environ, None).warnings == ()


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"FASTAPI_KEEPALIVE": "5000"}, "uvicorn closes idle connections after 5000 ms"),
        ({"REDIS_PASSWORD": "pw", "REDIS_DB": "1"}, "REDIS_PASSWORD and REDIS_DB are set, but not REDIS_URL"),
        ({"GATEWAY_PORT": "8000"}, "where the gateway itself listens"),
    ],
)
def test_likely_mistakes_are_warned_about(environ: dict[str, str], told: str) -> None:
    [warning] = load(environ, None).warnings
    assert told in warning


def test_a_source_that_is_bad_itself_is_not_reported_as_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"AUTH_ENABLED": "true", "AUTH_TOKEN_HASHES": "abc"}, None)
    assert "nobody could pass" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path: Path) -> None:
    [conflict] = _unreadable("AUTH_TOKEN_HASHES_FILE", tmp_path)  # a directory: fails to open for root as well
    assert conflict.names == ("AUTH_TOKEN_HASHES_FILE",)
    assert "Is a directory" in conflict.problem
