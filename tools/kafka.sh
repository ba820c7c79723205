#!/usr/bin/env bash
# The chat's tests on Apache Kafka (KRaft, one node on the loopback address), whose broker Maven brings. The broker knows the
# users and access rules that the lab's own does, so the tests show that each service gets along with its rights there, too.
# usage: tools/kafka.sh [flags of go test, such as -run=…]
set -euo pipefail
cd "$(dirname "$0")/.."
tests='^(TestEachServiceHasOnlyItsOwnTopics|TestChat|TestGroups|TestEverythingIsReadTwice|TestMessagingKilled|TestGatewayKilled|TestTwoInstancesOfEach|TestPoisonGoesToTheDeadLetters)$'

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
broker=
finish() {
  local status=$?
  trap - EXIT
  if [ -n "$broker" ]; then
    kill -KILL "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
  fi
  [ $status -eq 0 ] || tail -n 40 "$work/broker.log" 2>/dev/null >&2 || true
  rm -rf "$work"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# Two ports that are free now.
read -r port controller < <(perl -MIO::Socket::INET -e '@s = map { IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") } 1, 2; print join(" ", map { $_->sockport } @s), "\n"')
umask 077
password=$(head -c 18 /dev/urandom | base64 | tr -d '/+=')
printf '%s' "$password" >"$work/password"
# root may do everything and is there to make the others, as each test needs them.
cat >"$work/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
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
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.dirs=$work/data
END

# Runs a class of Kafka's. Its own JVM flags keep the broker small.
kafka() { java -Xmx512m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" "$@"; }
kafka kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '/+' '_-' | tr -d =)" -c "$work/server.properties" >"$work/format.log" 2>&1 || {
  cat "$work/format.log" >&2
  exit 1
}
# It dies with this script, also where that is killed.
setpriv --pdeathsig KILL java -Xmx512m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" \
  kafka.Kafka "$work/server.properties" >"$work/broker.log" 2>&1 &
broker=$!

echo "kafka: Apache Kafka at 127.0.0.1:$port" >&2
LABCTL_TEST_KAFKA=127.0.0.1:$port LABCTL_TEST_KAFKA_PASSWORD_FILE=$work/password \
  go test -count=1 -timeout 15m "-run=$tests" "$@" ./pkg/devlab
