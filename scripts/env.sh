#!/bin/bash
# Writes passwords that nobody knows into a file of settings for docker compose, if
# it is not there: scripts/env.sh .env. A database that was made with other
# passwords keeps those.
set -euo pipefail
file=$1
[ ! -e "$file" ] || exit 0
umask 077
names=(POSTGRES OWNER COMMAND PROJECTOR QUERY REPLICATION
	NATS_RELAY NATS_PROJECTOR NATS_QUERY NATS_SUBSCRIBER NATS_CLUSTER)
{
	echo "# Made by scripts/env.sh. Whoever can read this can do everything."
	for name in "${names[@]}"; do
		# A letter first: NATS takes what looks like a number for one.
		echo "${name}_PASSWORD=p$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
	done
} >"$file.new"
mv "$file.new" "$file"
echo "passwords are in $file, which only you can read"
