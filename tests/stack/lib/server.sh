# shellcheck shell=bash
# Starting, watching and stopping one server. Each service NAME keeps in target/stack/run:
#   NAME.home  its data directory, which is also its working directory
#   NAME.pid   its process
#   NAME.env   the variables that tests read

start_deadline=60
stop_deadline=10

# Ports are below the kernel's range for outgoing connections (from 32768), so
# that no client's socket sits on one. Callers hold the lock, see take_lock.
candidate=$((20000 + RANDOM % 12000))

# free_port: sets $port
free_port() {
  candidate=$((candidate + 1))
  while listens "$candidate"; do candidate=$((candidate + 1)); done
  port=$candidate
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ask PORT REQUEST COUNT: prints the first COUNT bytes of the answer. A port that
# accepts is not enough: a stopped process accepts too.
ask() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf '%b' "$2" >&3
    timeout 2 head -c "$3" <&3
  ) 2>/dev/null
}

# One start at a time on a machine: two would pick the same free port, or fill
# the same place in the cache.
take_lock() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock -n 9 && return
  say "waiting for another stack that is being started"
  flock 9
}

# make_home NAME [DIRECTORY]: sets $home
make_home() {
  home=${2:-$state/data/$1}
  mkdir -p "$home"
  echo "$home" >"$state/run/$1.home"
}

# spawn NAME COMMAND...: sets $pid. A session of its own keeps the terminal's
# Ctrl-C from the server, so that the tests it serves end first.
spawn() {
  local name=$1
  shift
  cd "$(<"$state/run/$name.home")" # before the fork: `runs` may look at once
  setsid "$@" </dev/null >"$state/log/$name.log" 2>&1 9>&- &
  pid=$!
  disown # else this shell reports how it ended
  echo "$pid" >"$state/run/$name.pid"
  cd "$repo"
}

# remember NAME VARIABLE=VALUE...
remember() {
  local name=$1 pair value
  shift
  for pair in "$@"; do
    value=${pair#*=}
    echo "export ${pair%%=*}=${value@Q}"
  done >"$state/run/$name.env"
}

# The working directory tells our server from a stranger that got its old pid.
runs() {
  local pid_file=$state/run/$1.pid
  [[ -s $pid_file && $(readlink "/proc/$(<"$pid_file")/cwd") == "$(<"$state/run/$1.home")" ]]
}

answers() {
  # shellcheck source=/dev/null
  runs "$1" && [[ -s $state/run/$1.env ]] && (source "$state/run/$1.env" && "$1_answers")
}

wait_for() {
  local name=$1 deadline=$((SECONDS + start_deadline))
  until answers "$name"; do
    runs "$name" || die_with_log "$state/log/$name.log" "$name ended while it was starting"
    ((SECONDS < deadline)) ||
      die_with_log "$state/log/$name.log" "$name does not answer after $start_deadline s"
    sleep 0.1
  done
}

# signal NAME SIGNAL: CONT first, since a test may have left the server stopped.
signal() {
  runs "$1" || return 0
  kill -CONT "$(<"$state/run/$1.pid")" || true
  kill "-$2" "$(<"$state/run/$1.pid")" || true
}

# forget NAME: waits for the end of a signalled server, then removes its data.
forget() {
  local name=$1 deadline=$((SECONDS + stop_deadline))
  while runs "$name" && ((SECONDS < deadline)); do sleep 0.1; done
  signal "$name" KILL
  while runs "$name"; do sleep 0.1; done
  [[ ! -s $state/run/$name.home ]] || rm -rf "$(<"$state/run/$name.home")"
  rm -f "$state/run/$name".{pid,home,env}
}
