# shellcheck shell=bash
# Jaeger, built from its Go module (minutes, once): it takes OTLP in and answers
# queries over HTTP. The module has no web pages, only the API.

jaeger_version=v1.76.0
jaeger_bin=$cache/jaeger-$jaeger_version
# The first Go that fetches by itself the newer one that a module asks for.
go_switches=21
# For an older Go: a release that is new enough for Jaeger.
go_toolchain=v0.0.1-go1.25.4.linux

jaeger_install() {
  [[ -x $jaeger_bin ]] && return
  need go golang-go ca-certificates
  local log=$state/log/jaeger-build.log go source
  say "building Jaeger $jaeger_version (a few minutes, kept in $cache)"
  {
    go=$(new_enough_go) &&
      source=$(module_dir "$go" "github.com/jaegertracing/jaeger@$jaeger_version") &&
      CGO_ENABLED=0 GOTOOLCHAIN=auto GOFLAGS='' "$go" build -C "$source" -trimpath -ldflags='-s -w' \
        -o "$jaeger_bin.part" ./cmd/all-in-one &&
      mv "$jaeger_bin.part" "$jaeger_bin"
  } >"$log" 2>&1 </dev/null || die_with_log "$log" "Jaeger could not be built"
}

# Debian 12's Go is too old for Jaeger and does not switch by itself, but it can
# fetch a newer Go, which is a module as well.
new_enough_go() {
  local minor dir arch
  minor=$(go env GOVERSION)
  minor=${minor#go1.}
  if ((${minor%%[!0-9]*} >= go_switches)); then
    command -v go
    return
  fi
  arch=$(go env GOARCH)
  dir=$(module_dir go "golang.org/toolchain@$go_toolchain-$arch")
  # A module's files are not executable.
  chmod u+x "$dir/bin/go" "$dir"/pkg/tool/linux_"$arch"/*
  echo "$dir/bin/go"
}

# module_dir GO MODULE: downloads a module and prints its folder. Away from the
# repository, so that no go.mod above it counts.
module_dir() {
  local json
  json=$(cd "$cache" && GOTOOLCHAIN=auto GOFLAGS='' "$1" mod download -json "$2") || {
    echo "$json" >&2
    return 1
  }
  sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p' <<<"$json"
}

jaeger_start() {
  local grpc http query
  make_home jaeger
  free_port && grpc=$port
  free_port && http=$port
  free_port && query=$port
  # Jaeger traces itself too, and would send that to whoever listens on OTLP's usual
  # port. The servers that nobody here talks to get port 0, which is any free one.
  OTEL_TRACES_SAMPLER=always_off COLLECTOR_OTLP_ENABLED=true spawn jaeger "$jaeger_bin" \
    --collector.otlp.grpc.host-port="127.0.0.1:$grpc" \
    --collector.otlp.http.host-port="127.0.0.1:$http" \
    --query.http-server.host-port="127.0.0.1:$query" \
    --query.grpc-server.host-port=127.0.0.1:0 \
    --collector.grpc-server.host-port=127.0.0.1:0 \
    --collector.http-server.host-port=127.0.0.1:0 \
    --admin.http.host-port=127.0.0.1:0
  remember jaeger \
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$grpc" \
    "EVENTKIT_OTLP_HTTP=http://127.0.0.1:$http" \
    "JAEGER_QUERY_URL=http://127.0.0.1:$query" \
    "EVENTKIT_JAEGER_PID=$pid"
}

jaeger_answers() {
  [[ $(ask "${JAEGER_QUERY_URL##*:}" 'GET /api/services HTTP/1.0\r\n\r\n' 12) == 'HTTP/1.0 200' ]] &&
    listens "${OTEL_EXPORTER_OTLP_ENDPOINT##*:}" && listens "${EVENTKIT_OTLP_HTTP##*:}"
}
