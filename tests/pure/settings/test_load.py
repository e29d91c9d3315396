"""Where values come from, what is refused and how, which names are misspelt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastgw.settings.load import SettingsError, load


def refused(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ, None)
    return str(caught.value)


def env_file(directory: Path, content: str | bytes) -> Path:
    file = directory / ".env"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("environ", "content", "port", "origin"),
    [
        ({}, "", 3000, "default"),
        ({}, "GATEWAY_PORT=4000", 4000, ".env"),
        ({"GATEWAY_PORT": "5000"}, "GATEWAY_PORT=4000", 5000, "environment"),
        ({"GATEWAY_PORT": ""}, "GATEWAY_PORT=4000", 3000, "default"),
        ({"GATEWAY_PORT": "  "}, "GATEWAY_PORT=4000", 3000, "default"),
        ({}, "GATEWAY_PORT=", 3000, "default"),
        ({"GATEWAY_PORT": " 5000\n"}, "", 5000, "environment"),
    ],
    ids=["default", "file", "environment-wins", "empty-hides-file", "blank-hides-file", "empty-in-file", "stripped"],
)
def test_environment_wins_over_file_over_default_and_empty_is_the_default(
    tmp_path: Path, environ: dict[str, str], content: str, port: int, origin: str
) -> None:
    loaded = load(environ, env_file(tmp_path, content))
    assert (loaded.settings.gateway_port, loaded.origins["GATEWAY_PORT"]) == (port, origin)


def test_without_arguments_the_process_environment_and_env_in_the_working_directory_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file(tmp_path, "GATEWAY_PORT=4000\nLOG_LEVEL=error")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_PORT", "5000")
    loaded = load()
    assert (loaded.settings.gateway_port, loaded.settings.log_level) == (5000, "error")


def test_a_missing_file_is_no_mistake(tmp_path: Path) -> None:
    assert load({}, tmp_path / ".env").settings == load({}, None).settings


def test_file_is_read_as_dotenv_does(tmp_path: Path) -> None:
    content = "\ufeff# comment\nexport GATEWAY_PORT=4000  # inline\nREDIS_PASSWORD=\"a # b\"\nLOG_LEVEL='debug'\n"
    settings = load({}, env_file(tmp_path, content)).settings
    assert settings.gateway_port == 4000
    assert settings.redis_password.get_secret_value() == "a # b"
    assert settings.log_level == "debug"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GATEWAY_PORT=4000\nREDIS_PASSWORD=\xff\xfe", "no UTF-8 text (line 2)"),
        ("A=1\nFASTAPI_URL http://hunt3r\n", "line 2"),
        ('REDIS_PASSWORD="hunt3r\n', "line 1"),
        ("REDIS_PASSWORD\n", "line 1"),
    ],
    ids=["not-utf8", "no-equals", "open-quote", "name-alone"],
)
def test_a_file_that_cannot_be_understood_is_refused_with_its_line_and_no_secret(
    tmp_path: Path, content: str | bytes, told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, env_file(tmp_path, content))
    assert told in str(caught.value)
    assert ".env" in str(caught.value)
    assert "hunt3r" not in str(caught.value)


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        load({}, tmp_path)


def test_all_mistakes_stand_in_one_message_with_value_problem_and_example() -> None:
    message = refused(
        GATEWAY_PORT="70000",
        FASTAPI_TIMEOUT="3s",
        FASTAPI_URL="ftp://h",
        RATE_LIMIT_ENABLED="maybe",
        OTEL_SAMPLE_RATIO="1.5",
        AUTH_ENABLED="true",
        GATEWAY_TLS_CERT=__file__,
        REDIS_PASSWORD="\x00hunter2",
        LOG_FORMAT="xml",
    )
    assert "these 9 settings are" in message
    for line in (
        "GATEWAY_PORT = '70000' (from environment)\n    is above 65535\n    for example: GATEWAY_PORT=3000",
        "FASTAPI_TIMEOUT = '3s' (from environment)\n    is no whole number\n    for example: FASTAPI_TIMEOUT=30000",
        "FASTAPI_URL = 'ftp://h' (from environment)\n    does not begin with http:// or https://\n    for example:",
        "RATE_LIMIT_ENABLED = 'maybe' (from environment)\n    is neither true nor false",
        "OTEL_SAMPLE_RATIO = '1.5' (from environment)\n    is above 1",
        "AUTH_ENABLED = 'true' (from environment)\n    is true, but nobody could pass",
        "GATEWAY_TLS_KEY\n    is missing",
        "REDIS_PASSWORD = (secret) (from environment)\n    holds a line end or another control character",
        "LOG_FORMAT = 'xml' (from environment)\n    is none of json or text",
    ):
        assert line in message
    assert "hunter2" not in message


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "ten", "1e3", "9" * 5000], ids=lambda value: value[:5])
@pytest.mark.parametrize(
    "name",
    [
        "GATEWAY_WORKERS", "FASTAPI_TIMEOUT", "FASTAPI_CONNECT_TIMEOUT", "FASTAPI_POOL_SIZE", "FASTAPI_POOL_TIMEOUT",
        "FASTAPI_KEEPALIVE", "ROUTER_HEALTH_CHECK_INTERVAL", "RATE_LIMIT_MAX_REQUESTS", "RATE_LIMIT_WINDOW_MS",
        "CACHE_TTL_SECONDS", "CACHE_MAX_SIZE", "CACHE_MAX_BODY", "IDEMPOTENCY_TTL_SECONDS", "MAX_BODY_BYTES",
        "GATEWAY_PORT",
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(name: str, value: str) -> None:
    message = refused(**{name: value})
    assert f"  {name} = " in message
    assert len(message) < 1000


@pytest.mark.parametrize("name", ["CONCURRENCY_LIMIT_PER_IDENTITY", "CONCURRENCY_LIMIT_PER_BACKEND", "REDIS_DB"])
def test_zero_is_a_value_where_it_has_a_meaning(name: str) -> None:
    assert getattr(load({name: "0"}, None).settings, name.lower()) == 0


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", "YES", "on"])
def test_words_for_true(word: str) -> None:
    assert load({"OTEL_ENABLED": word}, None).settings.otel_enabled is True


@pytest.mark.parametrize("word", ["false", "FALSE", "0", "no", "No", "off"])
def test_words_for_false(word: str) -> None:
    assert load({"ACCESS_LOG": word}, None).settings.access_log is False


@pytest.mark.parametrize(
    ("word", "level"), [("info", "info"), ("WARN", "warning"), ("fatal", "critical"), ("trace", "debug")]
)
def test_log_levels_of_node_are_understood(word: str, level: str) -> None:
    assert load({"LOG_LEVEL": word}, None).settings.log_level == level


SECRETS = {
    "fastapi-port": {"FASTAPI_URL": "http://u:hunt3r@h:99999"},
    "fastapi-userinfo": {"FASTAPI_URL": "http://u:hunt3r@h"},
    "fastapi-slash": {"FASTAPI_URL": "http://u:x/hunt3r@h"},
    "redis-no-scheme": {"REDIS_URL": ":hunt3r@h:6379"},
    "redis-password-alone": {"REDIS_URL": "hunt3r"},
    "redis-no-host": {"REDIS_URL": "redis://:hunt3r"},
    "redis-slash": {"REDIS_URL": "redis://:pa/hunt3r@h"},
    "redis-hash": {"REDIS_URL": "redis://:pa#hunt3r@h"},
    "redis-space": {"REDIS_URL": "redis://:pa hunt3r@h"},
    "redis-query": {"REDIS_URL": "redis://h:0/?password=hunt3r"},
    "verify": {"AUTH_VERIFY_URL": "ftp://u:hunt3r@h"},
    "zipkin": {"OTEL_ZIPKIN_ENDPOINT": "ftp://u:hunt3r@h"},
    "api-keys": {"AUTH_API_KEYS": "a:hunt3r,b:hunt3r"},
    "api-key-name": {"AUTH_API_KEYS": "hunt3r name:k"},
    "hashes": {"AUTH_TOKEN_HASHES": "hunt3r"},
    "admin": {"ADMIN_TOKEN": "hunt3r\x01"},
    "conflict": {"REDIS_URL": "redis://:hunt3r@h", "REDIS_PASSWORD": "hunt3r2"},
}


@pytest.mark.parametrize("environ", SECRETS.values(), ids=SECRETS)
def test_no_secret_is_shown_in_a_refusal(environ: dict[str, str]) -> None:
    assert "hunt3r" not in refused(**environ)


def test_bytes_that_are_no_text_are_refused_and_the_message_can_be_printed() -> None:
    message = refused(OTEL_SERVICE_NAME="gate\udce9")
    assert "is no UTF-8 text" in message
    message.encode()


def test_a_kubernetes_service_link_is_explained() -> None:
    assert "enableServiceLinks" in refused(GATEWAY_PORT="tcp://10.0.0.1:3000")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("FASTAPI_TIMOUT", "FASTAPI_TIMEOUT"), ("GATEWAY_WORKER", "GATEWAY_WORKERS"),
        ("RATELIMIT_ENABLED", "RATE_LIMIT_ENABLED"), ("FASTPI_URL", "FASTAPI_URL"), ("REDIS_URI", "REDIS_URL"),
        ("AUTH_API_KEY", "AUTH_API_KEYS"), ("RATE_LIMIT_WINDOW", "RATE_LIMIT_WINDOW_MS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"), ("fastapi_url", "FASTAPI_URL"), ("CORS_ORIGINS", "CORS_ORIGIN"),
        ("METRICS_ENABLE", "METRICS_ENABLED"),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_warned_about(tmp_path: Path, wrong: str, meant: str) -> None:
    told = (f"{wrong} is not a setting; was {meant} meant?",)
    assert load({wrong: "1"}, None).warnings == told
    assert load({}, env_file(tmp_path, f"{wrong}=1")).warnings == told


FOREIGN = """
HOME PATH PWD OLDPWD SHLVL TERM LANG LC_ALL USER LOGNAME SHELL HOSTNAME PYTHONPATH PYTHONUNBUFFERED VIRTUAL_ENV
NO_COLOR REDIS_HOST REDIS_PORT REDIS_PORT_6379_TCP REDIS_SERVICE_HOST REDIS_SERVICE_PORT FASTAPI_ENV FASTAPI_PORT
FASTAPI_SERVICE_HOST GATEWAY_SERVICE_HOST GATEWAY_SERVICE_PORT GATEWAY_PORT_3000_TCP GATEWAY_PORT_3000_TCP_ADDR
METRICS_PORT LOG_FILE LOG_DIR RUST_LOG UVICORN_LOG_LEVEL OTEL_EXPORTER_ZIPKIN_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT
OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG OTEL_SERVICE_VERSION OTEL_SDK_DISABLED AUTH_TOKEN CACHE_DIR HTTP_PROXY
HTTPS_PROXY NO_PROXY http_proxy SSL_CERT_FILE KUBERNETES_SERVICE_HOST KUBERNETES_PORT DATABASE_URL SECRET_KEY NODE_ENV
PORT HOST DEBUG TZ EDITOR MAIL WORKERS WEB_CONCURRENCY
"""


@pytest.mark.parametrize("name", FOREIGN.split())
def test_other_programs_names_are_left_alone(name: str) -> None:
    assert load({name: "1"}, None).warnings == ()


def test_reading_settings_loads_no_server_and_no_terminal_library() -> None:
    heavy = ("granian", "rich", "redis", "httpx", "pydantic_settings")
    code = f"import sys, fastgw.settings.load; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("environ", "content", "expected"),
    [
        ({}, "", ("*",)),
        ({"CORS_ORIGIN": ""}, "", ()),
        ({"CORS_ORIGIN": "none"}, "", ()),
        ({"CORS_ORIGIN": ""}, "CORS_ORIGIN=https://a.test", ()),
        ({}, "CORS_ORIGIN=", ()),
        ({"CORS_ORIGIN": "https://a.test"}, "", ("https://a.test",)),
    ],
    ids=["default", "empty", "none", "empty-hides-file", "empty-in-file", "given"],
)
def test_an_empty_cors_origin_is_no_origin_not_all(
    tmp_path: Path, environ: dict[str, str], content: str, expected: tuple[str, ...]
) -> None:
    assert load(environ, env_file(tmp_path, content)).settings.cors_origin == expected
