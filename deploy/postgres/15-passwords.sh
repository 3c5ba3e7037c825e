#!/bin/bash
# The roles of the services, each with the least rights that it needs. It runs
# once, when the database is made. What each role may do to single tables is
# granted by the migrations.
#
#   config_owner      owns schema eventstore; only migrates
#   config_command    appends to the log: no update, no delete
#   config_projector  owns schema readmodel; makes the tables of generations
#   config_query      reads readmodel
set -euo pipefail
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set db="$POSTGRES_DB" --set owner="$OWNER_PASSWORD" --set command="$COMMAND_PASSWORD" \
  --set projector="$PROJECTOR_PASSWORD" --set query="$QUERY_PASSWORD" <<'SQL'
create role config_owner login password :'owner';
create role config_command login password :'command';
create role config_projector login password :'projector';
create role config_query login password :'query';
revoke all on database :"db" from public;
revoke all on schema public from public;
grant connect on database :"db" to config_owner, config_command, config_projector, config_query;
create schema eventstore authorization config_owner;
create schema readmodel authorization config_projector;
SQL
