#!/bin/bash
# Brings up docker-compose.yml, or with the argument "cluster" that of the cluster, as
# a project of its own, on ports of its own, tests it from outside, and takes it down
# with its data, whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_ANSI=never COMPOSE_PROGRESS=quiet BUILDKIT_PROGRESS=plain
settings=$(mktemp -d)
if [ "${1:-}" = cluster ]; then
	export COMPOSE_FILE=deploy/cluster/docker-compose.yml COMPOSE_PROJECT_NAME=config-api-cluster-test PORT=${TEST_PORT:-15000}
	export COMPOSE_ENV_FILES=$settings/env
	scripts/env.sh "$COMPOSE_ENV_FILES" >/dev/null
	set -a
	# shellcheck source=/dev/null
	. "$COMPOSE_ENV_FILES" # for the tests
	set +a
	contract='^TestContract$/^v1$'
else
	export COMPOSE_PROJECT_NAME=config-api-test PORT=${TEST_PORT:-14000} NATS_PORT=${TEST_NATS_PORT:-14222}
	export COMPOSE_ENV_FILES=/dev/null NATS_URL=nats://127.0.0.1:$NATS_PORT
	contract='^TestContract$'
fi
export CONFIG_API_URL=http://127.0.0.1:$PORT

finish() {
	status=$?
	[ $status = 0 ] || docker compose logs --no-color --tail=200 || true
	docker compose down -v --remove-orphans || true
	rm -rf "$settings"
	exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

docker compose down -v --remove-orphans # what a killed run left behind
docker compose build
go build -trimpath -o bin/ ./cmd/configctl
began=$SECONDS
docker compose up -d --wait
echo "up and healthy after $((SECONDS - began)) s"
# The tour first, since it is for new data; then the contract, since the tests of
# the containers stop and start them.
go test -count=1 -tags=contract -run='^TestTour$' -v ./e2e/...
go test -count=1 -tags=contract -run="$contract" ./e2e/...
go test -count=1 -tags=compose -run='^TestCompose' -timeout=20m -v ./e2e/...
