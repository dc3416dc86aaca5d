# shellcheck shell=bash
# Paths and messages that every script here shares.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd -P)
stack=$repo/tests/stack
state=$repo/target/stack
cache=${EVENTKIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/eventkit}
# Those that a caller needs, where it does not need all.
read -ra services <<<"${EVENTKIT_SERVICES:-kafka postgres jaeger redis}"

say() { printf 'stack: %s\n' "$*"; }

die() {
  printf 'stack: ERROR: %s\n' "$*" >&2
  exit 1
}

# die_with_log LOG MESSAGE: the reason is nearly always in the last lines.
die_with_log() {
  printf -- '--- last lines of %s\n' "$1" >&2
  tail -n 30 "$1" >&2 || true
  printf -- '---\n' >&2
  die "${@:2}"
}
