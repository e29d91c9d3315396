"""The settings: each declared once, with its type, unit, range, default, and what it is.

Loading, `fastgw config`, `.env.example` and the settings page of the documentation are derived from the fields of
`Settings`; nothing about a setting stands anywhere else. Attributes are the environment variables in lower case.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FilePath, SecretStr

from fastgw.settings import parse, values
from fastgw.settings.parse import CacheRoute, RateLimitRule
from fastgw.settings.values import BackendAddress, Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.config import JsonDict


def of_text(read: Callable[[str], object]) -> BeforeValidator:
    """Read a text with `read`; a value that is none (a default, or an argument in code) goes on as it is."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=10_000_000)]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
Bytes = Annotated[int, of_text(parse.byte_size), Field(ge=1, le=1 << 40)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Networks = Annotated[tuple[Network, ...], of_text(values.networks)]
Backends = Annotated[tuple[BackendAddress, ...], of_text(values.backends)]
CacheRoutes = Annotated[tuple[CacheRoute, ...], of_text(parse.cache_routes)]
RateLimitRules = Annotated[tuple[RateLimitRule, ...], of_text(parse.rate_limit_rules)]
Templates = Annotated[tuple[str, ...], of_text(parse.templates)]
Methods = Annotated[tuple[str, ...], of_text(parse.methods)]
Origins = Annotated[tuple[str, ...], of_text(values.origins)]
ApiKeys = Annotated[tuple[SecretStr, ...], of_text(parse.api_keys)]
TokenHashes = Annotated[tuple[SecretStr, ...], of_text(parse.token_hashes)]
FieldName = Annotated[str, of_text(parse.field_name)]
UrlPath = Annotated[str, of_text(parse.path)]
Host = Annotated[str, of_text(values.listen_host)]
# A password may stand in these, so repr() leaves them out.
RedisUrl = Annotated[str, of_text(lambda text: values.redis_url(text) if text else text), Field(repr=False)]
VerifyUrl = Annotated[str, of_text(lambda text: values.verify_url(text) if text else text), Field(repr=False)]
HttpUrl = Annotated[str, of_text(values.http_url), Field(repr=False)]


class RouterStrategy(StrEnum):
    """How a backend is chosen."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    TWO_CHOICES = "two-choices"
    REGION_AFFINITY = "region-affinity"
    STICKY = "sticky"


class RateLimitKey(StrEnum):
    """What is counted."""

    IP = "ip"
    IDENTITY = "identity"


class OnRedisFailure(StrEnum):
    """What happens to rate limits without Redis."""

    LOCAL = "local"
    OPEN = "open"
    CLOSED = "closed"


class WorkersSource(StrEnum):
    """Where GET /api/v1/workers is answered from."""

    AUTO = "auto"
    REDIS = "redis"
    BACKEND = "backend"


class WorkersFormat(StrEnum):
    """The form of GET /api/v1/workers from Redis."""

    OBJECT = "object"
    LIST = "list"


class LogLevel(StrEnum):
    """The least that is logged. The spellings of Node's loggers are read too: existing .env files have them."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"

    @classmethod
    def _missing_(cls, value: object) -> LogLevel | None:
        word = {"warn": "warning", "fatal": "critical", "trace": "debug"}.get(str(value).lower(), str(value).lower())
        return cls._value2member_map_.get(word)  # type: ignore[return-value]  # typeshed knows Enum only


class TraceTrust(StrEnum):
    """Whose trace context is believed."""

    ALL = "all"
    PROXIES = "proxies"
    NONE = "none"


class LogFormat(StrEnum):
    """The form of log lines."""

    JSON = "json"
    TEXT = "text"


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def setting(default: Any, about: str, *, example: str, unit: str = "", live: bool = False) -> Any:
    """A field of Settings. about: one sentence. example: a good value, shown beside a bad one.

    unit: of the number. live: may be changed at run time (PATCH /gateway/config).
    """
    extra: JsonDict = {"example": example, "unit": unit, "live": live}
    if callable(default):
        return Field(default_factory=default, description=about, json_schema_extra=extra)
    return Field(default=default, description=about, json_schema_extra=extra, validate_default=isinstance(default, str))


class Settings(BaseModel):
    """All settings, validated and frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Listening
    gateway_host: Host = setting("0.0.0.0", "Address to listen on.", example="0.0.0.0")
    gateway_port: Port = setting(3000, "Port to listen on.", example="3000")
    gateway_workers: Annotated[int, Field(ge=1, le=256)] = setting(
        usable_cores, "Worker processes; default: the number of usable cores.", example="4"
    )
    gateway_tls_cert: FilePath | None = setting(
        None, "PEM certificate chain; with the key, TLS and HTTP/2 are served.", example="/etc/fastgw/cert.pem"
    )
    gateway_tls_key: FilePath | None = setting(None, "PEM private key.", example="/etc/fastgw/key.pem")
    # Backend
    fastapi_url: Backends = setting(
        "http://localhost:8000",
        "Backends, comma-separated; each may carry `;region=NAME;weight=N`.",
        example="http://10.0.0.5:8000;region=europe-west;weight=2",
        live=True,
    )
    fastapi_timeout: Milliseconds = setting(
        30000, "To the first byte of a response, and between pieces of its body.", unit="ms", example="30000", live=True
    )
    fastapi_connect_timeout: Milliseconds = setting(2000, "To connect to a backend.", unit="ms", example="2000")
    fastapi_pool_size: Annotated[int, Field(ge=1, le=65_535)] = setting(
        256, "Connections per process and backend.", example="256"
    )
    fastapi_pool_timeout: Milliseconds = setting(1000, "To wait for a free connection.", unit="ms", example="1000")
    fastapi_keepalive: Milliseconds = setting(
        4000,
        "Longest idle time of a connection; keep it below the backend's own (uvicorn: 5 s).",
        unit="ms",
        example="4000",
    )
    router_strategy: RouterStrategy = setting(
        "round-robin", "How a backend is chosen.", example="least-connections", live=True
    )
    router_sticky_header: FieldName = setting(
        "X-Session-ID", "For `sticky`: requests with the same value go to the same backend.", example="X-User-ID"
    )
    regions_file: FilePath | None = setting(
        None, "For `region-affinity`: JSON of the deployment's own regions.", example="/etc/fastgw/regions.json"
    )
    router_health_check_interval: Annotated[int, Field(ge=100, le=86_400_000)] = setting(
        10000, "Between active checks of a backend.", unit="ms", example="10000"
    )
    router_health_path: UrlPath = setting("/health", "Page that active checks ask for.", example="/health")
    # Redis
    redis_url: RedisUrl = setting(
        "",
        "redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://; empty: an embedded Valkey.",
        example="redis://localhost:6379",
    )
    redis_password: SecretStr = setting(SecretStr(""), "Password, if the URL has none.", example="s3cret")
    redis_db: Annotated[int, Field(ge=0, le=9999)] | None = setting(
        None, "Database number, if the URL has none.", example="0"
    )
    redis_key_prefix: Annotated[str, of_text(parse.key_prefix)] = setting(
        "gateway:", "Prefix of every key that fastgw writes.", example="gateway:"
    )
    # Authentication
    auth_enabled: bool | None = setting(
        None, "Unset: on when a credential source is configured; true without one refuses to start.", example="true"
    )
    auth_api_keys: ApiKeys = setting((), "API keys, comma-separated, each optionally `name:key`.", example="ops:k3y")
    auth_token_salt: SecretStr = setting(
        SecretStr("distributed-gpu-inference-v1"), "Salt of the token hash; the backend's.", example="my-salt"
    )
    auth_token_format: Annotated[str, of_text(parse.token_format)] = setting(
        "{token}{salt}", "What SHA-256 is taken of.", example="{salt}:{token}"
    )
    auth_token_hashes: TokenHashes = setting(
        (),
        "Accepted token hashes, hex, comma-separated.",
        example="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    )
    auth_token_hashes_file: FilePath | None = setting(
        None, "File of accepted hashes, one a line; read again when it changes.", example="/etc/fastgw/hashes"
    )
    auth_verify_url: VerifyUrl = setting(
        "",
        "Asked about tokens that are not known here; {worker_id} is taken from the request's path.",
        example="http://localhost:8000/api/v1/workers/{worker_id}/verify",
    )
    trusted_proxies: Networks = setting(
        "127.0.0.0/8, ::1",
        "Whose X-Forwarded-For is believed; `none`: nobody's.",
        example="10.0.0.0/8, 127.0.0.1",
        live=True,
    )
    admin_allow: Networks = setting(
        "127.0.0.0/8, ::1",
        "Addresses that may see /gateway/* beyond health; `none`: only ADMIN_TOKEN.",
        example="10.1.0.0/16",
    )
    admin_token: SecretStr = setting(SecretStr(""), "Token that may see it from anywhere.", example="s3cret")
    # Rate limit
    rate_limit_enabled: bool = setting(True, "Limit requests per client.", example="true", live=True)
    rate_limit_max_requests: Count = setting(100, "Requests per window.", example="500", live=True)
    rate_limit_window_ms: Milliseconds = setting(60000, "Sliding window.", unit="ms", example="60000", live=True)
    rate_limit_key: RateLimitKey = setting(
        "ip", "What is counted: the address or the identity.", example="identity", live=True
    )
    rate_limit_on_redis_failure: OnRedisFailure = setting(
        "local", "Without Redis: count here, let all pass, or refuse all.", example="open", live=True
    )
    rate_limit_rules: RateLimitRules = setting(
        (),
        "Limits of their own, comma-separated: `PATH=REQUESTS/SECONDS`, `identity:NAME=REQUESTS/SECONDS`.",
        example="/api/v1/jobs=20/60",
        live=True,
    )
    # Cache
    cache_enabled: bool = setting(True, "Cache responses.", example="false", live=True)
    cache_ttl_seconds: Seconds = setting(60, "Of CACHE_ROUTES without their own.", unit="s", example="10", live=True)
    cache_max_size: Count = setting(1000, "Entries.", unit="entries", example="1000", live=True)
    cache_max_body: Bytes = setting("1MiB", "Largest body that is cached.", unit="bytes", example="1MiB")
    cache_routes: CacheRoutes = setting(
        "/api/v1/queue/stats=10, /api/v1/jobs/stats/queue=10, /regions",
        "GET paths cached though the backend says nothing of freshness; `=N` seconds each.",
        example="/api/v1/queue/stats=10, /regions",
        live=True,
    )
    # Safety
    idempotency_ttl_seconds: Seconds = setting(
        86400, "How long the answer to an Idempotency-Key is kept.", unit="s", example="86400"
    )
    concurrency_limit_per_identity: CountOrNone = setting(
        0, "Requests in flight per identity; 0: no limit.", example="20"
    )
    concurrency_limit_per_backend: CountOrNone = setting(
        0, "Requests in flight per backend; 0: no limit.", example="200"
    )
    overload_protection: bool = setting(
        True,
        "Refuse early what neither this process nor the backends can carry.",
        example="true",
    )
    max_body_bytes: Bytes = setting("100MiB", "Largest request body.", unit="bytes", example="100MiB")
    shutdown_grace_seconds: Annotated[int, Field(ge=0, le=86_400)] = setting(
        30, "For requests under way when a worker stops.", unit="s", example="30"
    )
    # Pages
    workers_source: WorkersSource = setting(
        "auto",
        "Where GET /api/v1/workers is answered from; auto: the backend while Redis holds no worker.",
        example="redis",
    )
    workers_format: WorkersFormat = setting("object", "Form of that answer from Redis.", example="list")
    cors_origin: Origins = setting(
        "*",
        "Origins whose pages may call, comma-separated, or `*`; empty or `none`: CORS is left to the backend.",
        example="https://app.example.com",
    )
    cors_methods: Methods = setting(
        "GET,POST,PUT,DELETE,OPTIONS", "Methods that these pages may use.", example="GET,POST"
    )
    # Telemetry
    metrics_enabled: bool = setting(
        True, "Count, and serve Prometheus metrics; without it the status page has no figures.", example="true"
    )
    metrics_path: UrlPath = setting("/gateway/metrics", "Where.", example="/gateway/metrics")
    metrics_routes: Templates = setting(
        "",
        "Path templates that get figures of their own, beside the platform's; the rest is `other`.",
        example="/v2/models/{name},/v2/models",
    )
    otel_enabled: bool = setting(False, "Export traces.", example="true")
    otel_service_name: str = setting("acip-gpu-gateway", "Name of this service in traces.", example="gateway")
    otel_zipkin_endpoint: HttpUrl = setting(
        "http://localhost:9411/api/v2/spans", "Zipkin collector.", example="http://zipkin:9411/api/v2/spans"
    )
    otel_sample_ratio: Ratio = setting(1.0, "Share of requests that are traced.", example="0.1")
    otel_trust: TraceTrust = setting(
        "all",
        "Whose traceparent is gone on with: everyone's, that of TRUSTED_PROXIES, or nobody's.",
        example="proxies",
    )
    otel_slow_ms: Milliseconds = setting(
        1000,
        "A request that takes longer to its answer's head is traced even if not sampled.",
        unit="ms",
        example="250",
    )
    log_level: LogLevel = setting("info", "The least that is logged.", example="warning", live=True)
    log_format: LogFormat = setting("json", "Form of log lines.", example="text")
    access_log: bool = setting(True, "One line per request.", example="false")

    @property
    def has_credentials(self) -> bool:
        """Whether there is anything that a credential could be compared with."""
        return bool(self.auth_api_keys or self.auth_token_hashes or self.auth_token_hashes_file or self.auth_verify_url)


def env_name(field: str) -> str:
    """The environment variable of a field."""
    return field.upper()
