#!/usr/bin/env bash
# An nginx of one's own for trying the cutover, as any user, in a folder: /etc/nginx is neither read nor changed.
#
#   deploy/local-nginx.sh start    makes NGINX_CONF_DIR of deploy/nginx if it is not there, begins with the rollback, and starts nginx
#   deploy/local-nginx.sh stop     ends it; the folder stays, delete it as you like
#
# Environment, with defaults; deploy/phase.sh reads the same:
#   NGINX_CONF_DIR   ./walk; gets nginx.conf, the folder fastgw, fastgw.access.log and error.log
#   NGINX            nginx; the binary
#   NGINX_PORT       8080; where clients ask
#   NGINX_PHASE_URL  http://127.0.0.1:3081/phase; copies (phase 1) go by the port above
#   FASTAPI_URL, GATEWAY_URL   http://localhost:8000, http://localhost:3000; their ports, on this machine
#
# A client on this machine may say in X-Forwarded-For who it is, as a load test does. In production that line of site.conf
# names your load balancer, or is not there.
#
# Exit status: 0 done, 1 refused or failed, 2 used wrongly.
set -euo pipefail

PATH=$PATH:/usr/sbin:/usr/local/sbin
NGINX=${NGINX:-nginx}
HOME_DIR=$(realpath -m "${NGINX_CONF_DIR:-walk}")
PORT=${NGINX_PORT:-8080}
PHASE_URL=${NGINX_PHASE_URL:-http://127.0.0.1:3081/phase}
FASTAPI_URL=${FASTAPI_URL:-http://localhost:8000}
GATEWAY_URL=${GATEWAY_URL:-http://localhost:3000}
FILES=$(dirname "$(realpath "$0")")/nginx

refuse() {
  printf 'refused: %s\n' "$*" >&2
  exit 1
}

port_of() { # of http://host:port/path
  local rest=${1#*://}
  rest=${rest%%/*}
  [[ $rest =~ :([0-9]+)$ ]] || refuse "$1 has no port"
  echo "${BASH_REMATCH[1]}"
}

pid() { cat "$HOME_DIR/nginx.pid" 2>/dev/null; }

is_running() { [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; }

make_folder() {
  local phase user
  phase=$(port_of "$PHASE_URL")
  mkdir -p "$HOME_DIR"
  cp -r "$FILES" "$HOME_DIR/fastgw"
  sed -i \
    -e "s|listen 80;|listen $PORT;|" \
    -e "s|/var/log/nginx/fastgw.access.log|\"$HOME_DIR/fastgw.access.log\"|" \
    -e "s|^# set_real_ip_from .*|set_real_ip_from  127.0.0.0/8;|" \
    -e "s|^# real_ip_|real_ip_|" \
    -e "s|127.0.0.1:3081|127.0.0.1:$phase|" \
    -e "s|127.0.0.1:3082|127.0.0.1:$((phase + 1))|" \
    -e "s|127.0.0.1:8000|127.0.0.1:$(port_of "$FASTAPI_URL")|" \
    -e "s|127.0.0.1:3000|127.0.0.1:$(port_of "$GATEWAY_URL")|" \
    "$HOME_DIR"/fastgw/*.conf
  user=
  [ "$(id -u)" != 0 ] || user="user root;" # else its workers could not reach a folder that is root's alone
  ln -s rollback.conf "$HOME_DIR/fastgw/current.conf"
  cat >"$HOME_DIR/nginx.conf" <<CONF
pid "$HOME_DIR/nginx.pid";
worker_processes 2;
error_log "$HOME_DIR/error.log" warn;
$user
events {
    worker_connections 2048;
}
http {
    client_body_temp_path "$HOME_DIR/tmp-body";
    proxy_temp_path "$HOME_DIR/tmp-proxy";
    fastcgi_temp_path "$HOME_DIR/tmp-fastcgi";
    uwsgi_temp_path "$HOME_DIR/tmp-uwsgi";
    scgi_temp_path "$HOME_DIR/tmp-scgi";
    include fastgw/current.conf;
}
CONF
}

start() {
  command -v "$NGINX" >/dev/null || refuse "nginx is not installed: sudo apt install nginx-light"
  ! is_running || refuse "an nginx runs already in $HOME_DIR"
  [ -e "$HOME_DIR/fastgw" ] || make_folder
  "$NGINX" -e "$HOME_DIR/error.log" -c "$HOME_DIR/nginx.conf" ||
    refuse "nginx does not start (above). If a port is taken: rm -r $HOME_DIR, and choose others, with NGINX_PORT and NGINX_PHASE_URL"
  echo "nginx answers at http://localhost:$PORT; its log is $HOME_DIR/fastgw.access.log"
}

stop() {
  local running
  is_running || refuse "no nginx runs in $HOME_DIR"
  running=$(pid)
  kill -TERM "$running"
  for _ in $(seq 100); do
    kill -0 "$running" 2>/dev/null || { echo "stopped" && return; }
    sleep 0.1
  done
  refuse "nginx ($running) does not end"
}

case ${1:-} in
  start | stop) "$1" ;;
  *)
    sed -n '2,/^set -euo/{/^set /!s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
