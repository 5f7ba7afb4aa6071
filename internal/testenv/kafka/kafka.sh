#!/usr/bin/env bash
# A real Apache Kafka (KRaft) on loopback from Maven's jars; needs a JDK 17 or later and Maven, no root, no installation.
#   kafka.sh jars             fetch the jars (54 MB) unless they are there
#   kafka.sh up [BROKERS=1]   start and wait until each answers; prints the bootstrap addresses
#   kafka.sh kill|stop|cont|start N    SIGKILL, SIGSTOP, SIGCONT, start again broker N (1, 2, 3)
#   kafka.sh status           one line a broker: number, address, pid, up or down
#   kafka.sh down             end the brokers and remove their data (the jars stay)
#   kafka.sh tool CLASS ...   run a class of the jars, e.g. org.apache.kafka.tools.TopicCommand
# KAFKA_JARS: where jars are kept (default .kafka here); KAFKA_RUN: where this cluster's state lives (default
# .kafka/run-PORT); KAFKA_PORT: first port (default 19092; brokers take PORT.., controllers PORT+101..);
# KAFKA_VERSION (default 4.3.1; 3.9.2 works too); KAFKA_EXTRA: more server properties, one a line (the last one wins);
# KAFKA_HEAP: of each broker (default 384m).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
jars=${KAFKA_JARS:-$PWD/.kafka}
port=${KAFKA_PORT:-19092}
version=${KAFKA_VERSION:-4.3.1}
lib=$jars/lib-$version
run=${KAFKA_RUN:-$jars/run-$port}
export CLASSPATH="$lib/*"

fetch() { # into a folder beside, moved when complete: a killed run leaves no half of it
  [ -d "$lib" ] && return
  mkdir -p "$jars"
  local tmp
  tmp=$(mktemp -d "$jars/fetch-XXXXXX")
  mvn -q -B -f "$here/pom.xml" -Dkafka.version="$version" dependency:copy-dependencies -DoutputDirectory="$tmp" >&2
  mv "$tmp" "$lib"
}

started() { # pid: when it was started, empty when it is gone or a zombie (on which kill -0 still succeeds)
  local line
  if [ -r /proc/self/stat ]; then # in ticks since boot: what ps makes of them may differ by a second from call to call
    line=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    line=${line##*) } # behind the program's name: the state is the first field, the start the twentieth (proc_pid_stat(5))
    case $line in Z* | X*) ;; *) cut -d' ' -f20 <<<"$line" ;; esac
    return 0
  fi
  line=$(ps -o stat=,lstart= -p "$1" 2>/dev/null) || return 0
  case $line in Z*) ;; *) printf '%s\n' "${line#* }" | tr -s ' ' ;; esac
}

alive() { # broker: the very process that we started, not a stranger with its pid
  [ -s "$run/$1/pid" ] || return 1
  local now
  now=$(started "$(cat "$run/$1/pid")")
  [ -n "$now" ] && [ "$now" = "$(cat "$run/$1/started")" ]
}

signal() { # signal, broker
  alive "$2" || { echo "kafka.sh: broker $2 is not running" >&2; return 1; }
  kill "-$1" "$(cat "$run/$2/pid")"
}

configure() { # broker, of how many
  local n=$1 of=$2 voters="" i rf=$2 isr=1
  [ "$of" -gt 2 ] && isr=2
  for i in $(seq "$of"); do voters="$voters${voters:+,}$i@127.0.0.1:$((port + 100 + i))"; done
  mkdir -p "$run/$n"
  cat >"$run/$n/server.properties" <<P
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$((port + n - 1)),CONTROLLER://127.0.0.1:$((port + 100 + n))
advertised.listeners=PLAINTEXT://127.0.0.1:$((port + n - 1))
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$run/$n/data
num.partitions=8
default.replication.factor=$rf
min.insync.replicas=$isr
auto.create.topics.enable=false
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=$rf
transaction.state.log.num.partitions=8
transaction.state.log.min.isr=$isr
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$isr
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
${KAFKA_EXTRA:-}
P
  printf '%s\n' 'Configuration:' '  Appenders:' '    Console:' '      name: OUT' '      PatternLayout: { Pattern: "[%d] %p %m (%c)%n" }' \
    '  Loggers:' '    Logger: [{ name: kafka.server.KafkaRaftServer, level: INFO }]' '    Root: { level: WARN, AppenderRef: { ref: OUT } }' >"$run/$n/log4j2.yaml"
  printf '%s\n' 'log4j.rootLogger=WARN,OUT' 'log4j.appender.OUT=org.apache.log4j.ConsoleAppender' 'log4j.appender.OUT.layout=org.apache.log4j.PatternLayout' \
    'log4j.appender.OUT.layout.ConversionPattern=[%d] %p %m (%c)%n' 'log4j.logger.kafka.server.KafkaRaftServer=INFO' >"$run/$n/log4j.properties" # 3.9
  [ -d "$run/$n/data" ] || java kafka.tools.StorageTool format -t "AAAAAAAAQACAAAAAAAAAAQ" -c "$run/$n/server.properties" >"$run/$n/format.log" 2>&1 ||
    { cat "$run/$n/format.log" >&2; return 1; }
}

start() {
  alive "$1" && return
  [ ! -e "$run/$1/log" ] || mv "$run/$1/log" "$run/$1/log.$(date +%s)"
  # A session of its own, so that no signal to the caller's group ends it. Where there is no setsid(1), perl has it.
  local session=(setsid)
  command -v setsid >/dev/null || session=(perl -e 'use POSIX "setsid"; setsid(); exec @ARGV')
  "${session[@]}" java -Xmx"${KAFKA_HEAP:-384m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=4 \
    -Dlog4j2.configurationFile="$run/$1/log4j2.yaml" -Dlog4j.configuration="file:$run/$1/log4j.properties" \
    kafka.Kafka "$run/$1/server.properties" >"$run/$1/log" 2>&1 </dev/null &
  echo $! >"$run/$1/pid"
  started $! >"$run/$1/started"
}

await() { # broker: until it serves metadata (its log says so) and the port is open
  local i
  for i in $(seq 240); do
    alive "$1" || { echo "kafka.sh: broker $1 ended:" >&2; tail -20 "$run/$1/log" >&2; return 1; }
    (echo >"/dev/tcp/127.0.0.1/$((port + $1 - 1))") 2>/dev/null && grep -q 'Kafka Server started' "$run/$1/log" && return
    sleep 0.25
  done
  echo "kafka.sh: broker $1 does not answer after 60 s, see $run/$1/log" >&2
  return 1
}

brokers() { # the numbers of those that were made
  local d
  for d in "$run"/*/; do [ -e "$d/server.properties" ] && basename "$d"; done
}

case ${1:-} in
jars) fetch ;;
up)
  fetch; of=${2:-1}
  for n in $(seq "$of"); do configure "$n" "$of"; start "$n"; done
  for n in $(seq "$of"); do await "$n"; done
  for n in $(seq "$of"); do printf '%s127.0.0.1:%s' "$([ "$n" -gt 1 ] && echo ,)" $((port + n - 1)); done; echo ;;
kill) signal KILL "$2"; while alive "$2"; do sleep 0.02; done ;;
stop) signal STOP "$2" ;;
cont) signal CONT "$2" ;;
start) start "$2"; await "$2" ;;
status)
  for n in $(brokers); do
    echo "$n 127.0.0.1:$((port + n - 1)) $(cat "$run/$n/pid") $(alive "$n" && echo up || echo down)"
  done ;;
down)
  for n in $(brokers); do if alive "$n"; then signal KILL "$n"; while alive "$n"; do sleep 0.02; done; fi; done
  # Threads of a killed process may write for another moment after its leader is gone.
  for _ in $(seq 50); do rm -rf "$run" 2>/dev/null && exit; sleep 0.1; done
  rm -rf "$run" ;;
tool) shift; fetch; exec java "$@" ;;
*) sed -n '2,13p' "$0"; exit 2 ;;
esac
