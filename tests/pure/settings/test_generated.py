"""The table of the contract, the settings, and the generated pages say the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fastgw.settings.explain import GROUPS, embedded, env_example, in_force, settings_page, settings_table
from fastgw.settings.load import NAMES, about, load
from fastgw.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]

CONTRACT = {
    "GATEWAY_HOST": "0.0.0.0",
    "GATEWAY_PORT": 3000,
    "GATEWAY_WORKERS": len(os.sched_getaffinity(0)),
    "GATEWAY_TLS_CERT": None,
    "GATEWAY_TLS_KEY": None,
    "FASTAPI_URL": ["http://localhost:8000"],
    "FASTAPI_TIMEOUT": 30000,
    "FASTAPI_CONNECT_TIMEOUT": 2000,
    "FASTAPI_POOL_SIZE": 256,
    "FASTAPI_POOL_TIMEOUT": 1000,
    "FASTAPI_KEEPALIVE": 4000,
    "ROUTER_STRATEGY": "round-robin",
    "ROUTER_STICKY_HEADER": "X-Session-ID",
    "REGIONS_FILE": None,
    "ROUTER_HEALTH_CHECK_INTERVAL": 10000,
    "ROUTER_HEALTH_PATH": "/health",
    "REDIS_URL": None,
    "REDIS_PASSWORD": None,
    "REDIS_DB": None,
    "REDIS_KEY_PREFIX": "gateway:",
    "AUTH_ENABLED": None,
    "AUTH_API_KEYS": None,
    "AUTH_TOKEN_SALT": "distributed-gpu-inference-v1",
    "AUTH_TOKEN_FORMAT": "{token}{salt}",
    "AUTH_TOKEN_HASHES": None,
    "AUTH_TOKEN_HASHES_FILE": None,
    "AUTH_VERIFY_URL": None,
    "TRUSTED_PROXIES": ["127.0.0.0/8", "::1/128"],
    "ADMIN_ALLOW": ["127.0.0.0/8", "::1/128"],
    "ADMIN_TOKEN": None,
    "RATE_LIMIT_ENABLED": True,
    "RATE_LIMIT_MAX_REQUESTS": 100,
    "RATE_LIMIT_WINDOW_MS": 60000,
    "RATE_LIMIT_KEY": "ip",
    "RATE_LIMIT_ON_REDIS_FAILURE": "local",
    "RATE_LIMIT_RULES": None,
    "CACHE_ENABLED": True,
    "CACHE_TTL_SECONDS": 60,
    "CACHE_MAX_SIZE": 1000,
    "CACHE_MAX_BODY": 1024 * 1024,
    "CACHE_ROUTES": ["/api/v1/queue/stats=10", "/api/v1/jobs/stats/queue=10", "/regions"],
    "IDEMPOTENCY_TTL_SECONDS": 86400,
    "OVERLOAD_PROTECTION": True,
    "CONCURRENCY_LIMIT_PER_IDENTITY": 0,
    "CONCURRENCY_LIMIT_PER_BACKEND": 0,
    "WORKERS_SOURCE": "auto",
    "WORKERS_FORMAT": "object",
    "CORS_ORIGIN": ["*"],
    "CORS_METHODS": ["GET", "POST", "PUT", "DELETE", "OPTIONS"],
    "METRICS_ENABLED": True,
    "METRICS_PATH": "/gateway/metrics",
    "METRICS_ROUTES": None,
    "OTEL_ENABLED": False,
    "OTEL_SERVICE_NAME": "acip-gpu-gateway",
    "OTEL_ZIPKIN_ENDPOINT": "http://localhost:9411/api/v2/spans",
    "OTEL_SAMPLE_RATIO": 1.0,
    "OTEL_TRUST": "all",
    "OTEL_SLOW_MS": 1000,
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
    "ACCESS_LOG": True,
    "MAX_BODY_BYTES": 100 * 1024 * 1024,
    "SHUTDOWN_GRACE_SECONDS": 30,
}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_setting_of_the_contract_has_its_default(name: str) -> None:
    in_table = {line.name: line.value for line in in_force(load({}, None))}
    assert in_table[name] == CONTRACT[name]


def test_there_is_no_setting_beyond_the_contract() -> None:
    assert set(NAMES) == set(CONTRACT)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_explained_and_its_example_is_good(name: str) -> None:
    field = NAMES[name]
    assert Settings.model_fields[field].description
    example = about(field)["example"]
    if name.endswith(("_CERT", "_KEY", "_FILE")) and name != "RATE_LIMIT_KEY":
        assert example.startswith("/")
    else:
        Settings.model_validate({field: example})


@pytest.mark.parametrize(
    ("page", "file"),
    [(env_example, ".env.example"), (settings_page, "docs/reference/settings.md")],
    ids=["env", "settings"],
)
def test_generated_page_is_up_to_date(page: Callable[[], str], file: str) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == page(), "run: make docs"


def test_the_readme_has_all_settings_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == embedded(readme, "settings", settings_table()), "run: make docs"
    assert "(docs/reference/settings.md)" in readme


@pytest.mark.parametrize("page", ["no markers\n", "<!-- settings -->\nno end\n"])
def test_a_page_without_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="settings"):
        embedded(page, "settings", "x\n")


def test_groups_begin_with_fields_that_exist() -> None:
    assert set(GROUPS) <= set(Settings.model_fields)
    assert next(iter(Settings.model_fields)) in GROUPS


def test_env_example_is_the_defaults_when_every_line_is_taken(tmp_path: Path) -> None:
    lines = env_example().splitlines()
    taken = [line.removeprefix("#") for line in lines if line.startswith("#") and not line.startswith("# ")]
    file = tmp_path / ".env"
    file.write_text("\n".join(taken))
    assert {line.split("=")[0] for line in taken} == set(NAMES)
    assert load({}, file).settings == load({}, None).settings
    assert load({}, file).warnings == ()
