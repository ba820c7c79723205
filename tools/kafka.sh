#!/usr/bin/env bash
# The chat's tests on Apache Kafka (KRaft, on the loopback address), which Maven brings: on one node, and on three, where each record is
# on all of them and acknowledged by two. The brokers know the users and access rules that the lab's own does, so the tests show
# that each service gets along with its rights there, too, and so do the parts of a shadow. Then two browsers talk, and chaos strikes the chat and the brokers.
# usage: [NODES="1 3"] tools/kafka.sh [--smoke] [flags of go test, such as -run=…]
# With --smoke only each service's rights and the way of a message are tried.
set -euo pipefail
cd "$(dirname "$0")/.."
tests='^(TestEachServiceHasOnlyItsOwnTopics|TestTopicsAreAsInTheTable|TestChat|TestGroups|TestEverythingIsReadTwice|TestMessagingKilled|TestGatewayKilled|TestTwoInstancesOfEach|TestPoisonGoesToTheDeadLetters|TestShadowsOfVersions|TestBrowsersOnApacheKafka|TestOnApacheKafka)$'
packages=(./pkg/devlab ./pkg/chaos)
race=--race
if [ "${1:-}" = --smoke ]; then
  shift
  tests='^(TestEachServiceHasOnlyItsOwnTopics|TestChat)$' packages=(./pkg/devlab) race=
fi

for program in mvn java; do
  command -v $program >/dev/null || {
    echo "!!! SKIP: Apache Kafka was NOT TESTED: there is no $program on this machine" >&2
    exit 0
  }
done

# Kept for the next run; another version of the pom is another directory.
jars=${XDG_CACHE_HOME:-$HOME/.cache}/labctl/kafka/$(sha256sum test/kafka/pom.xml | cut -c 1-12)
if [ ! -d "$jars" ]; then
  mkdir -p "$(dirname "$jars")"
  part=$(mktemp -d "$jars.XXXXXX")
  if ! mvn -B -q -f test/kafka/pom.xml dependency:copy-dependencies "-DoutputDirectory=$part" >"$part.log" 2>&1; then
    cat "$part.log" >&2
    rm -rf "$part" "$part.log"
    echo "!!! SKIP: Apache Kafka was NOT TESTED: Maven does not reach it" >&2
    exit 0
  fi
  rm -f "$part.log"
  mv -T "$part" "$jars" 2>/dev/null || rm -rf "$part" # another run was faster
fi

work=$(mktemp -d)
processes=()
stop() {
  local p
  for p in "${processes[@]}"; do
    kill -KILL "$p" 2>/dev/null || true
    wait "$p" 2>/dev/null || true
  done
  processes=()
}
finish() {
  local status=$?
  trap - EXIT
  stop
  [ $status -eq 0 ] || tail -n 40 "$work"/*/broker.log 2>/dev/null >&2 || true
  rm -rf "$work"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

umask 077
password=$(head -c 18 /dev/urandom | base64 | tr -d '/+=')
printf '%s' "$password" >"$work/password"

# How a class of Kafka's is run. Its own JVM flags keep a broker small. It dies with whoever has started it, also where that is killed.
kafka=(setpriv --pdeathsig KILL java -Xmx512m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*")

# Keeps a broker up: chaos kills it by its number, which is in the file pid.
keep='dir=$1
shift
while :; do
  "$@" "$dir/server.properties" >>"$dir/broker.log" 2>&1 &
  echo $! >"$dir/pid.new"
  mv "$dir/pid.new" "$dir/pid"
  wait $! || true
done'

# Starts so many nodes, each a broker and a controller. first is the address of one.
start() {
  local nodes=$1 id ports voters=() acks=$(($1 / 2 + 1)) cluster
  # Bound and not listening, so that nobody else is given them before the brokers take them (pkg/freeport).
  exec 3< <(exec setpriv --pdeathsig KILL perl -MIO::Socket::INET -MSocket -e '$| = 1;
    @s = map { IO::Socket::INET->new(Proto => "tcp", LocalAddr => "127.0.0.1") or die $! } 1 .. $ARGV[0];
    $_->sockopt(SO_REUSEADDR, 1) for @s;
    print join(" ", map { $_->sockport } @s), "\n"; sleep' $((2 * nodes)))
  processes+=($!)
  read -r -a ports <&3
  for ((id = 1; id <= nodes; id++)); do voters+=("$id@127.0.0.1:${ports[2 * id - 1]}"); done
  cluster=$(head -c 16 /dev/urandom | base64 | tr '/+' '_-' | tr -d =)
  for ((id = 1; id <= nodes; id++)); do
    local dir=$work/$nodes-$id port=${ports[2 * id - 2]} controller=${ports[2 * id - 1]}
    mkdir "$dir"
    # root may do everything and is there to make the others, as each test needs them.
    cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=$id
controller.quorum.voters=$(IFS=,; echo "${voters[*]}")
listeners=SASL_PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
inter.broker.listener.name=SASL_PLAINTEXT
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="root" password="$password" user_root="$password";
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:root;User:admin;User:ANONYMOUS
auto.create.topics.enable=false
default.replication.factor=$nodes
min.insync.replicas=$acks
offsets.topic.replication.factor=$nodes
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$nodes
transaction.state.log.min.isr=$acks
group.initial.rebalance.delay.ms=0
log.dirs=$dir/data
END
    "${kafka[@]}" kafka.tools.StorageTool format "--cluster-id=$cluster" -c "$dir/server.properties" >"$dir/format.log" 2>&1 || {
      cat "$dir/format.log" >&2
      exit 1
    }
    setpriv --pdeathsig KILL bash -c "$keep" keep "$dir" "${kafka[@]}" kafka.Kafka 2>/dev/null &
    processes+=($!)
  done
  first=127.0.0.1:${ports[0]}
}

for nodes in ${NODES:-1 3}; do
  start "$nodes"
  echo "kafka: Apache Kafka, nodes: $nodes, one of them at $first" >&2
  LABCTL_TEST_KAFKA=$first LABCTL_TEST_KAFKA_PASSWORD_FILE=$work/password LABCTL_TEST_KAFKA_NODES=$nodes \
    LABCTL_TEST_KAFKA_PIDS="$(printf "$work/$nodes-%d/pid " $(seq "$nodes"))" \
    tools/gotest.sh $race -count=1 -timeout 15m -p 1 "-run=$tests" "$@" "${packages[@]}"
  stop
done
