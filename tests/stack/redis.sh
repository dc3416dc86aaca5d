# shellcheck shell=bash
# Redis from Debian's package, without persistence.

redis_install() { need redis-server redis-server; }

redis_start() {
  make_home redis
  free_port
  spawn redis redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no
  remember redis \
    "REDIS_URL=redis://127.0.0.1:$port" \
    "EVENTKIT_REDIS_PID=$pid" \
    "EVENTKIT_REDIS_SERVER=$(command -v redis-server)"
}

redis_answers() { [[ $(ask "${REDIS_URL##*:}" 'PING\r\n' 5) == +PONG ]]; }
