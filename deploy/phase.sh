#!/usr/bin/env bash
# The steps of the cutover: which phase does nginx have, and on to the next, or back.
#
#   deploy/phase.sh status             what is in force
#   deploy/phase.sh 1|2|3|4 [--force]  shadow, 10 %, 50 %, 100 %
#   deploy/phase.sh rollback           all clients to the server again
#
# A switch is: check the new configuration (nginx -t), replace one symbolic link, reload, see that the running nginx has it.
# No request is lost by it. Going up to phase 2, 3 or 4 asks FASTGW_COMPARE first; --force goes on whatever that says.
# Going down, to phase 1 and back to the server asks nobody.
#
# Environment, with defaults:
#   NGINX_CONF_DIR    /etc/nginx; has nginx.conf, in whose http block `include fastgw/current.conf;` is read, and the files
#                     of deploy/nginx in its folder fastgw, where current.conf is the link
#   NGINX             nginx; the binary
#   NGINX_PID         none; a pid file: reload by SIGHUP to that process instead of `nginx -s reload`
#   NGINX_PHASE_URL   http://127.0.0.1:3081/phase; where the running nginx says which phase it has (common.conf)
#   NGINX_TAKEN_S     10; seconds that it has for that
#   FASTAPI_URL, GATEWAY_URL   http://localhost:8000, http://localhost:3000; for the default of FASTGW_COMPARE
#   FASTGW_COMPARE    fastgw compare --direct $FASTAPI_URL --gateway $GATEWAY_URL; status 0: the answers are alike
#
# Exit status: 0 done, 1 refused or failed (what was in force still is), 2 used wrongly.
set -euo pipefail

PATH=$PATH:/usr/sbin:/usr/local/sbin # where Debian has nginx, and an ordinary user's shell does not look
NGINX=${NGINX:-nginx}
NGINX_CONF_DIR=${NGINX_CONF_DIR:-/etc/nginx}
NGINX_PID=${NGINX_PID:-}
NGINX_PHASE_URL=${NGINX_PHASE_URL:-http://127.0.0.1:3081/phase}
FASTAPI_URL=${FASTAPI_URL:-http://localhost:8000}
FASTAPI_URL=${FASTAPI_URL%%[,;]*} # the gateway's setting may name several backends; the first one stands for them
GATEWAY_URL=${GATEWAY_URL:-http://localhost:3000}
FASTGW_COMPARE=${FASTGW_COMPARE:-fastgw compare --direct $FASTAPI_URL --gateway $GATEWAY_URL}

CONF=$NGINX_CONF_DIR/nginx.conf
FILES=$NGINX_CONF_DIR/fastgw
LINK=$FILES/current.conf
TAKEN_S=${NGINX_TAKEN_S:-10} # how long the running nginx has to say that it has the new phase; it takes well under one
SCRATCH=

say() { printf '%s\n' "$*"; }

refuse() {
  printf 'refused: %s\n' "$*" >&2
  exit 1
}

usage() {
  sed -n '2,/^set -euo/{/^set /!s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

cleanup() { [ -z "$SCRATCH" ] || rm -rf "$SCRATCH"; }
trap cleanup EXIT

file_of() {
  case $1 in
    1) echo phase-1-shadow.conf ;;
    2) echo phase-2-10.conf ;;
    3) echo phase-3-50.conf ;;
    4) echo phase-4-100.conf ;;
    rollback) echo rollback.conf ;;
  esac
}

# What the link says: 1 to 4, rollback, none (no link yet) or unknown (somebody else's file).
linked() {
  local name phase
  [ -e "$LINK" ] || [ -L "$LINK" ] || { echo none && return; }
  name=$(basename "$(readlink "$LINK" || true)")
  for phase in 1 2 3 4 rollback; do
    [ "$name" != "$(file_of "$phase")" ] || { echo "$phase" && return; }
  done
  echo unknown
}

rank() { case $1 in [1-4]) echo "$1" ;; *) echo 0 ;; esac; }

words() {
  case $1 in
    1) echo "phase 1: all clients to the server, copies of harmless requests to the gateway" ;;
    2) echo "phase 2: 10 % of the clients to the gateway" ;;
    3) echo "phase 3: 50 % of the clients to the gateway" ;;
    4) echo "phase 4: all clients to the gateway" ;;
    rollback) echo "rollback: all clients to the server, nothing to the gateway" ;;
    none) echo "none yet" ;;
    *) echo "$LINK is not a link to one of the phases" ;;
  esac
}

# What the running nginx says: 2-10, rollback, ...; nothing if it does not answer.
running() { curl -fsS --noproxy '*' --max-time 2 "$NGINX_PHASE_URL" 2>/dev/null || true; }

# The name that the file of a phase says of itself.
name_of() { basename "$(file_of "$1")" .conf | sed 's/^phase-//'; }

# Would nginx take it? Asked of a copy of the configuration, made of links, in which only the phase is another. So the
# running one's files are not touched before the answer is yes. $1: phase.
check() {
  local entry shown
  SCRATCH=$(mktemp -d)
  for entry in "$NGINX_CONF_DIR"/*; do
    [ "$entry" = "$FILES" ] || ln -sfn "$(realpath "$entry")" "$SCRATCH/$(basename "$entry")"
  done
  mkdir "$SCRATCH/fastgw"
  for entry in "$FILES"/*; do
    [ "$entry" = "$LINK" ] || ln -s "$(realpath "$entry")" "$SCRATCH/fastgw/$(basename "$entry")"
  done
  ln -s "$(file_of "$1")" "$SCRATCH/fastgw/current.conf"
  if ! shown=$("$NGINX" -T -c "$SCRATCH/nginx.conf" 2>"$SCRATCH/problems"); then
    sed "s|$SCRATCH|$NGINX_CONF_DIR|g" "$SCRATCH/problems" >&2
    refuse "nginx does not take $(file_of "$1") (nginx -t, above). Nothing was changed."
  fi
  grep -qF "# configuration file $SCRATCH/fastgw/current.conf:" <<<"$shown" ||
    refuse "$CONF does not include the phase. Its http block needs the line: include fastgw/current.conf; (relative, as it stands here)"
}

# Replace the link in one step: there is no moment without one. $1: what it points to.
point() {
  ln -sfn "$1" "$LINK.new"
  mv -T "$LINK.new" "$LINK"
}

reload() {
  if [ -n "$NGINX_PID" ]; then
    kill -HUP "$(cat "$NGINX_PID")"
  else
    "$NGINX" -c "$CONF" -s reload
  fi
}

# nginx lets old and new processes take connections side by side for 0.1 s; so the new one has to answer several times in a row.
await() {
  local deadline=$((SECONDS + TAKEN_S)) row=0
  while [ "$row" -lt 4 ]; do
    if [ "$(running)" = "$1" ]; then row=$((row + 1)); else row=0; fi
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

compare() {
  say "comparing: $FASTGW_COMPARE"
  if bash -c "$FASTGW_COMPARE"; then
    say "the gateway answers as the server does"
  elif [ "$2" = yes ]; then
    say "WARNING: the comparison failed, and --force goes on all the same. Clients may get other answers from now on." >&2
  else
    refuse "the comparison failed (above), so phase $1 does not begin. Nothing was changed. Mend it, or take the risk: $0 $1 --force"
  fi
}

status() {
  local phase says
  phase=$(linked)
  says=$(running)
  say "configured  $(words "$phase")"
  say "running     ${says:-nginx does not answer at $NGINX_PHASE_URL}"
  case $phase in
    none | unknown) [ -z "$says" ] ;;
    *) [ "$says" = "$(name_of "$phase")" ] ||
      refuse "nginx does not run what is configured; see its error log, then: $NGINX -c $CONF -s reload" ;;
  esac
}

switch() {
  local to=$1 force=$2 from before
  [ -f "$FILES/$(file_of "$to")" ] || refuse "$FILES/$(file_of "$to") is missing: copy deploy/nginx to $FILES"
  exec 9<"$FILES"
  flock -n 9 || refuse "another phase.sh is at work"
  from=$(linked)
  [ "$from" != unknown ] || refuse "$(words unknown); put it aside first"
  check "$to"
  if [ "$(rank "$to")" -ge 2 ] && [ "$(rank "$to")" -gt "$(rank "$from")" ]; then
    compare "$to" "$force"
  fi
  before=$(readlink "$LINK" || true)
  point "$(file_of "$to")"
  if ! reload || ! await "$(name_of "$to")"; then
    if [ -n "$before" ]; then point "$before"; else rm -f "$LINK"; fi
    reload 2>/dev/null || true # should it have been taken after all, but not been said
    refuse "nginx did not take the new configuration; is it running, and what does its error log say? The link is as it was."
  fi
  say "was         $(words "$from")"
  say "now         $(words "$to")"
  say "look at     X-Served-By on the answers, side and status in fastgw.access.log, GET /gateway/health"
  case $to in
    rollback) say "on again    $0 1" ;;
    *) say "way back    $0 rollback" ;;
  esac
}

force=no
command=
for argument in "$@"; do
  case $argument in
    --force) force=yes ;;
    1 | 2 | 3 | 4 | rollback | status) [ -z "$command" ] || usage; command=$argument ;;
    *) usage ;;
  esac
done
case $command in
  '') usage ;;
  status) status ;;
  *) switch "$command" "$force" ;;
esac
