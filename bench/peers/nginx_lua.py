"""nginx_lua: nginx with fastgw's chain in Lua (Debian's libnginx-mod-http-lua), speaking to the same Redis.

The chain is `lua/chain.lua`, in the access phase: API key by a lookup in a Lua table (cheaper than a digest), rate
limit and cache lookup as one EVALSHA of fastgw's own admission.lua over a cosocket with a keep-alive pool, a copy of
cached answers in the process that the script validates. All other things are nginx's own: request id, X-Forwarded-*,
answer fields from variables, proxy_pass with a keep-alive pool. The answer has the same fields as fastgw's.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import chain
from bench.harness.process import HOST, Command, StartError
from bench.harness.store import UNIX
from bench.peers.nginx import Nginx, nginx_path, write_config
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from bench.harness.process import Place
    from bench.harness.store import Store

LUA = Path(__file__).with_name("lua")
MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
INSTALL = "apt-get install nginx-light libnginx-mod-http-lua"
SCRIPT_ROOM, SCRIPT_NAME = "fastgw.admission", "admission.lua"

CHAIN = """
    lua_package_path "{lua}/?.lua;;";
    lua_socket_connect_timeout 50ms;
    lua_socket_send_timeout 50ms;
    lua_socket_read_timeout 50ms;
    lua_socket_keepalive_timeout 300s;
    lua_socket_pool_size 256;
    init_by_lua_block {{
        chain = require "chain"
        chain.configure {{
            {redis},
            keys = {{ ["{key}"] = "bench" }},
            script = "{script}", sha = "{sha}", limit = {limit}, window_us = {window_us},
            cached_prefix = "{cached_prefix}", cached_seconds = {cached_seconds},
        }}
    }}
    map $http_x_request_id $kept_id {{
        default $request_id;
        "~^[A-Za-z0-9._-]{{1,128}}$" $http_x_request_id;
    }}
    map $cache_state $cache_status {{
        default "fastgw; fwd=miss";
        HIT "fastgw; hit";
    }}
    upstream backend {{
        server {host}:{backend_port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} backlog=4096;
        set $cache_state MISS;
        set $cached_age "";
        set $limit_left "";
        set $limit_wait "";
        set $limit_reset "";
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_set_header Connection "";
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Request-ID $kept_id;
        proxy_set_header Via "1.1 nginx";
        location / {{
            access_by_lua_block {{ chain.access() }}
            add_header X-Request-ID $kept_id;
            add_header X-Gateway-Version "{gateway_version}";
            add_header X-Gateway-Duration $request_time;
            add_header Server-Timing "backend;dur=$upstream_header_time";
            add_header Via "1.1 nginx";
            add_header X-RateLimit-Limit {limit};
            add_header X-RateLimit-Remaining $limit_left;
            add_header X-RateLimit-Reset $limit_reset;
            add_header RateLimit-Policy '"default";q={limit};w={window_s}';
            add_header RateLimit '"default";r=$limit_left;t=$limit_wait';
            add_header X-Gateway-Cache $cache_state;
            add_header Cache-Status $cache_status;
            add_header Age $cached_age;
            proxy_pass http://backend;
        }}
        location /backend/ {{
            internal;
            proxy_pass http://backend/;
        }}
    }}
}}
"""


class NginxLua:
    """The peer whose CPU per request is the chain's budget (spec 11)."""

    name = "nginx_lua"

    def version(self) -> str:
        """Of nginx; Debian's module belongs to it."""
        return f"{Nginx().version()} with its Lua module"

    def missing(self) -> str | None:
        """Without nginx, its module, or a script to run."""
        folder = _module_folder()
        if folder is None or not all((folder / name).is_file() for name in MODULES):
            return f"nginx with its Lua module is not installed; run: {INSTALL}"
        return None

    def command(self, home: Path, place: Place) -> Command | None:
        """One server block, and the chain. Raises StartError without a store."""
        if place.store is None:
            raise StartError("nginx_lua needs a Redis")
        script = files(SCRIPT_ROOM).joinpath(SCRIPT_NAME)
        servers = CHAIN.format(
            lua=LUA,
            redis=_redis(place.store),
            script=script,
            sha=load(SCRIPT_ROOM, SCRIPT_NAME).sha.decode(),
            key=chain.KEY,
            limit=chain.LIMIT,
            window_us=chain.WINDOW_MS * 1000,
            window_s=chain.WINDOW_MS // 1000,
            cached_prefix=chain.CACHED_PREFIX,
            cached_seconds=chain.CACHED_SECONDS,
            gateway_version=version("fastgw"),
            host=HOST,
            port=place.port,
            backend_port=place.backend_port,
        )
        return write_config(home, servers, [f"{_module_folder()}/{name}" for name in MODULES])


def _redis(store: Store) -> str:
    """Where it is, as fields of a Lua table."""
    if store.by == UNIX:
        return f'redis_host = "unix:{store.socket_path}"'
    return f'redis_host = "{HOST}", redis_port = {store.process.port}'


@cache
def _module_folder() -> Path | None:
    """Where this nginx keeps its modules; None without nginx. `nginx -V` prints to stderr."""
    path = nginx_path()
    if path is None:
        return None
    printed = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=10, check=True)
    found = re.search(r"--modules-path=(\S+)", printed.stderr)
    return Path(found[1]) if found else None
