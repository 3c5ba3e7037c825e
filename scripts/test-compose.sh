#!/bin/bash
# Brings up docker-compose.yml as a project of its own, on ports of its own,
# tests it from outside, and takes it down with its data, whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_PROJECT_NAME=config-api-test PORT=${TEST_PORT:-14000} NATS_PORT=${TEST_NATS_PORT:-14222}
export COMPOSE_ENV_FILES=/dev/null COMPOSE_ANSI=never COMPOSE_PROGRESS=quiet BUILDKIT_PROGRESS=plain
export CONFIG_API_URL=http://127.0.0.1:$PORT NATS_URL=nats://127.0.0.1:$NATS_PORT

finish() {
	status=$?
	[ $status = 0 ] || docker compose logs --no-color --tail=200 || true
	docker compose down -v --remove-orphans || true
	exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

docker compose down -v --remove-orphans # what a killed run left behind
docker compose build
began=$SECONDS
docker compose up -d --wait
echo "up and healthy after $((SECONDS - began)) s"
# The contract first: the tests of the containers stop and start them.
go test -count=1 -tags=contract -run='^TestContract' -v ./e2e/...
go test -count=1 -tags=compose -run='^TestCompose' -v ./e2e/...
