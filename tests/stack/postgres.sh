# shellcheck shell=bash
# PostgreSQL from Debian's package.

# It refuses to run as root, so root hands it to the user that the package made.
postgres_as=()
if ((EUID == 0)); then
  postgres_as=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
# At once, but with its children; see the manual on 'immediate shutdown'.
postgres_stop_signal=QUIT

postgres_install() {
  find_postgres || apt_install postgresql
  find_postgres || die "PostgreSQL is installed, but its servers are not in /usr/lib/postgresql/*/bin"
}

# The servers of Debian's package are not on PATH. Takes the newest.
find_postgres() {
  pg_bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [[ -x $pg_bin/postgres && -x $pg_bin/initdb ]]
}

postgres_start() {
  local log=$state/log/postgres.log
  make_postgres_home
  "${postgres_as[@]}" "$pg_bin/initdb" -D "$home" -U postgres -A trust -E UTF8 --locale=C --no-sync \
    </dev/null >"$log" 2>&1 9>&- || die_with_log "$log" "initdb failed"
  free_port
  # The data need not survive a power cut; the benchmark turns it on again.
  echo 'fsync = off' >>"$home/postgresql.conf"
  # No socket file: its path may be too long.
  spawn postgres "${postgres_as[@]}" "$pg_bin/postgres" -D "$home" -h 127.0.0.1 -p "$port" \
    -k '' -N 200
  remember postgres \
    "DATABASE_URL=postgres://postgres:postgres@127.0.0.1:$port/postgres" \
    "EVENTKIT_POSTGRES_PID=$pid" \
    "EVENTKIT_POSTGRES_PROGRAMS=$pg_bin"
}

# A clone may lie where only its owner gets in: then the data goes to /tmp.
make_postgres_home() {
  make_home postgres
  ((EUID == 0)) || return 0
  if ! "${postgres_as[@]}" test -x "$home"; then
    rmdir "$home"
    make_home postgres "$(mktemp -d "${TMPDIR:-/tmp}/eventkit-postgres.XXXXXX")"
  fi
  chown postgres: "$home"
}

postgres_answers() { "$pg_bin/pg_isready" -q -t 2 -d "$DATABASE_URL"; }
