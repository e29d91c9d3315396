"""The names of our keys, and that nobody else spells them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastgw.store.keys import PREFIX, Keys
from fastgw.store.slots import slot_of

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "fastgw"


def all_names(keys: Keys) -> list[bytes]:
    return [
        keys.ratelimit(b"10.0.0.1"),
        keys.cache(b"{/regions}"),
        keys.cache_index,
        keys.cache_lease(b"{/regions}"),
        keys.session(b"ab12"),
        keys.idempotency(b"ab12"),
        keys.config,
        keys.workers,
        keys.lease(b"worker-scan"),
        keys.check(b"ab12:text"),
    ]


def test_the_names_are_those_of_the_guide() -> None:
    keys = Keys()
    assert keys.ratelimit(b"10.0.0.1") == b"gateway:ratelimit:10.0.0.1"
    assert keys.cache_index == b"gateway:cache:keys"
    assert keys.session(b"ab12") == b"gateway:session:ab12"
    assert keys.idempotency(b"ab12") == b"gateway:idempotency:ab12"
    assert keys.config == b"gateway:config"


@pytest.mark.parametrize("prefix", [PREFIX, "eu1:"])
def test_all_are_under_the_prefix_and_no_two_are_the_same(prefix: str) -> None:
    names = all_names(Keys(prefix))
    assert len(set(names)) == len(names)
    assert all(name.startswith(prefix.encode()) for name in names)


def test_an_entry_its_variants_and_its_lease_share_a_slot() -> None:
    keys = Keys()
    base = b"{/api/v1/queue/stats?region=eu}"
    together = [keys.cache(base), keys.cache(base + b"a-variant"), keys.cache_lease(base)]
    assert len({slot_of(name) for name in together}) == 1


def test_nobody_else_spells_the_prefix() -> None:
    """In code. Sentences may name a key, as the default of settings/live.py is for; and a span is named so."""
    code = re.compile(rf'"{PREFIX}\w')
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if code.search(path.read_text())}
    assert found <= {"settings/live.py", "telemetry/tracing.py"}


def test_the_page_names_every_key() -> None:
    page = (ROOT / "docs/reference/redis-keys.md").read_text()
    kinds = {name.decode().removeprefix(PREFIX).partition(":")[0] for name in all_names(Keys())}
    assert not [kind for kind in sorted(kinds) if f"`{PREFIX}{kind}" not in page]
