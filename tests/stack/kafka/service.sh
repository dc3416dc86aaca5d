# shellcheck shell=bash
# Apache Kafka from the jars in Maven Central, in KRaft mode.

kafka_pom=$stack/kafka/pom.xml
# A changed pom.xml gets a place of its own in the cache.
kafka_lib=$cache/kafka-$(cksum <"$kafka_pom" | cut -d ' ' -f 1)
kafka_java=(
  java -Xmx512m -cp "$kafka_lib/*"
  -Dorg.slf4j.simpleLogger.showDateTime=true
  "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS"
)

kafka_install() {
  need java default-jre-headless
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  ((version >= 17)) || die "Kafka needs Java 17 or newer, but 'java' is version $version"
  [[ -d $kafka_lib ]] && return
  need mvn maven
  local log=$state/log/kafka-download.log
  say "downloading Kafka (kept in $cache)"
  rm -rf "$kafka_lib.part"
  mvn -B -f "$kafka_pom" dependency:copy-dependencies -DoutputDirectory="$kafka_lib.part" \
    >"$log" 2>&1 </dev/null || die_with_log "$log" "Kafka's jars could not be downloaded"
  mv "$kafka_lib.part" "$kafka_lib"
}

kafka_start() {
  local controller log=$state/log/kafka.log
  make_home kafka
  free_port && controller=$port
  free_port
  {
    cat "$stack/kafka/server.properties"
    echo "listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller"
    echo "advertised.listeners=PLAINTEXT://127.0.0.1:$port"
    echo "controller.quorum.voters=1@127.0.0.1:$controller"
    echo "log.dirs=$home/data"
  } >"$home/server.properties"
  # Any 16 bytes in base64 will do as the cluster's id.
  "${kafka_java[@]}" kafka.tools.StorageTool format -t eventkitEventkitEventk \
    -c "$home/server.properties" </dev/null >"$log" 2>&1 9>&- ||
    die_with_log "$log" "Kafka's data directory could not be formatted"
  spawn kafka "${kafka_java[@]}" kafka.Kafka "$home/server.properties"
  remember kafka \
    "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$port" \
    "EVENTKIT_KAFKA_PID=$pid" \
    "EVENTKIT_KAFKA_CLASSPATH=$kafka_lib/*"
}

# An ApiVersions request, whose correlation id comes back; and the log, since the
# port opens a little before the broker takes part in the cluster.
kafka_answers() {
  local port=${KAFKA_BOOTSTRAP_SERVERS##*:}
  [[ $(ask "$port" '\0\0\0\012\0\022\0\0ekit\0377\0377' 8 | tail -c 4) == ekit ]] &&
    grep -q 'Kafka Server started' "$state/log/kafka.log"
}
