"""What counts as a secret that no line may show."""

from __future__ import annotations

from typing import Any

from fastgw.cutover.check import Asked, secrets_in
from fastgw.settings.load import load


def secrets(asked: Asked | None = None, **environ: Any) -> tuple[str, ...]:
    return secrets_in(load(environ, None).settings, asked or Asked("http://gateway"))


def test_a_set_up_without_secrets_has_none() -> None:
    assert secrets() == ()


def test_all_of_them_are_found() -> None:
    found = secrets(
        Asked("http://gateway", token="a-token", fields=(("Authorization", "Bearer a-bearer"),)),
        REDIS_URL="redis://user:p%40ssword@redis",
        ADMIN_TOKEN="admin-token",
        AUTH_API_KEYS="ops:an-api-key",
        AUTH_TOKEN_SALT="own-salt",
    )
    expected = {
        "a-token",
        "a-bearer",
        "p%40ssword",
        "p@ssword",
        "admin-token",
        "an-api-key",
        "own-salt",
    }
    assert expected <= set(found)


def test_longer_ones_come_first_so_that_none_is_left_in_part() -> None:
    found = secrets(Asked("http://gateway", token="abcdef", fields=(("X-API-Key", "abcdefgh"),)))
    assert found == ("abcdefgh", "abcdef")
