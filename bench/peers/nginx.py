"""nginx: proxy_pass over HTTP/1.1 with a keep-alive pool, one worker, no access log, X-Forwarded-For added.

Request and response buffering are off, so that long bodies are streamed as the other peers do it (with buffering nginx
would write them to disk); for the small answer of forwarding_cost this makes no measurable difference.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from bench.harness.process import HOST, Command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.harness.process import Place

# keepalive_requests is 1000 by default, on both sides: a new connection every few milliseconds at bench rates.
HEAD = """
{modules}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {home}/nginx.pid;
error_log stderr crit;
{user}
events {{ worker_connections 32768; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
"""
PROXY = """
    upstream backend {{
        server {host}:{backend_port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {host}:{port} backlog=4096;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"""


def nginx_path() -> str | None:
    """The system's nginx, if installed; /usr/sbin is not on everybody's PATH."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def write_config(home: Path, servers: str, modules: Sequence[str] = ()) -> Command:
    """The command for one nginx whose http block ends with `servers` (closing braces included).

    modules: files to load.
    """
    path = nginx_path()
    if path is None:
        raise FileNotFoundError("nginx is not installed; run: apt-get install nginx-light")
    user = "user root;" if os.geteuid() == 0 else ""  # else the worker becomes nobody and may not use its own home
    config = home / "nginx.conf"
    loaded = "\n".join(f"load_module {module};" for module in modules)
    config.write_text(HEAD.format(home=home, user=user, modules=loaded) + servers)
    return Command(argv=(path, "-p", str(home), "-c", str(config), "-e", "stderr"))


class Nginx:
    """The usual proxy."""

    name = "nginx"

    def version(self) -> str:
        """From `nginx -v`, which prints to stderr."""
        printed = subprocess.run(
            [nginx_path() or "nginx", "-v"], capture_output=True, text=True, timeout=10, check=True
        )
        found = re.search(r"nginx/(\S+)", printed.stderr)
        return f"nginx {found[1] if found else '(version unknown)'}"

    def missing(self) -> str | None:
        """Without the binary."""
        return None if nginx_path() else "nginx is not installed; run: apt-get install nginx-light"

    def command(self, home: Path, place: Place) -> Command | None:
        """One server block."""
        return write_config(home, PROXY.format(host=HOST, port=place.port, backend_port=place.backend_port))


class NginxClosing(Nginx):
    """As nginx is without `keepalive`: a connection to what stands behind for each request."""

    name = "nginx_closing"

    def command(self, home: Path, place: Place) -> Command | None:
        """HTTP/1.0 towards the backend is nginx's default."""
        config = PROXY.replace("proxy_http_version 1.1;", "").replace("keepalive 256;", "")
        config = config.replace('proxy_set_header Connection "";', "").replace("keepalive_requests 1000000000;", "")
        return write_config(home, config.format(host=HOST, port=place.port, backend_port=place.backend_port))
