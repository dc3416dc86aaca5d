# shellcheck shell=bash
# Installs Debian packages, and only those whose command is missing.

# need COMMAND PACKAGE...
need() {
  command -v "$1" >/dev/null && return
  apt_install "${@:2}"
  command -v "$1" >/dev/null || die "'$1' is still missing after installing: ${*:2}"
}

apt_install() {
  local as_root=() log=$state/log/apt.log
  command -v apt-get >/dev/null ||
    die "missing package(s): $*. There is no apt-get here, install them by hand"
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "missing package(s): $*. Run as root: apt-get install $*"
    as_root=(sudo)
  fi
  say "installing $*"
  mkdir -p "${log%/*}"
  # Descriptor 9 is the start-up lock: a daemon that a package starts must not keep it.
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
  } >"$log" 2>&1 </dev/null 9>&- || die_with_log "$log" "apt-get could not install: $*"
}
