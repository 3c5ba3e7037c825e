#!/bin/bash
# The passwords of the roles of 10-roles.sql. It runs once, when the database is made.
set -euo pipefail
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set owner="$OWNER_PASSWORD" --set command="$COMMAND_PASSWORD" \
  --set projector="$PROJECTOR_PASSWORD" --set query="$QUERY_PASSWORD" <<'SQL'
alter role config_owner password :'owner';
alter role config_command password :'command';
alter role config_projector password :'projector';
alter role config_query password :'query';
SQL
