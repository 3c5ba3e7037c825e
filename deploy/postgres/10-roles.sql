-- The roles of the services, each with the least rights that it needs. It runs
-- once, when the database is made; the passwords are set apart. What each role may
-- do to single tables is granted by the migrations.
--
--   config_owner      owns schema eventstore; only migrates
--   config_command    appends to the log: no update, no delete
--   config_projector  owns schema readmodel; makes the tables of generations
--   config_query      reads readmodel
create role config_owner login;
create role config_command login;
create role config_projector login;
create role config_query login;
do $$ begin
  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect on database %I to config_owner, config_command, config_projector, config_query', current_database());
end $$;
revoke all on schema public from public;
create schema eventstore authorization config_owner;
create schema readmodel authorization config_projector;
