#!/bin/bash
# One of two Postgres servers: the primary if PRIMARY is its NAME, else the standby,
# which copies the primary's data at its first start and follows it from then on.
set -euo pipefail

if [ "$NAME" != "$PRIMARY" ]; then
	if [ ! -s "$PGDATA/PG_VERSION" ]; then
		echo "copying the data of $PRIMARY"
		# Beside, and moved when it is whole: a copy that breaks off is none.
		until rm -rf "$PGDATA.copy" && PGPASSWORD=$REPLICATION_PASSWORD \
			setpriv --reuid=postgres --regid=postgres --init-groups pg_basebackup --no-password --write-recovery-conf \
			--checkpoint=fast --pgdata="$PGDATA.copy" --dbname="host=$PRIMARY user=config_replication application_name=$NAME"; do
			sleep 1
		done
		mv "$PGDATA.copy" "$PGDATA"
	elif [ ! -e "$PGDATA/standby.signal" ]; then
		# It may have writes that the new primary has not: two would be written to.
		echo "this server was the primary and $PRIMARY is now: remove its volume, and it copies the data anew" >&2
		exit 1
	fi
fi
exec docker-entrypoint.sh "$@"
