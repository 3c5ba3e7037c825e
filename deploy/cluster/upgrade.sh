#!/bin/bash
# Replaces the containers of services one after the other, each when the one before
# is healthy: deploy/cluster/upgrade.sh command projector query. The images are those
# that docker compose build or pull has left. command and projector migrate the
# database, so they come before query.
set -euo pipefail
cd "$(dirname "$0")"
export COMPOSE_FILE=$PWD/docker-compose.yml

for service in "$@"; do
	mapfile -t old < <(docker compose ps --quiet "$service")
	for container in "${old[@]}"; do
		docker stop "$container" >/dev/null
		docker rm "$container" >/dev/null
		docker compose up --detach --wait --no-deps --no-recreate --scale "$service=${#old[@]}" "$service"
	done
done
