#!/bin/bash
# The role that a standby copies the primary with and follows it. It runs once, when
# the database is made; a system that has no standby gives it no password.
set -euo pipefail
[ -n "${REPLICATION_PASSWORD:-}" ] || exit 0
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set password="$REPLICATION_PASSWORD" <<'SQL'
create role config_replication login replication password :'password';
SQL
echo 'host replication config_replication samenet scram-sha-256' >>"$PGDATA/pg_hba.conf"
