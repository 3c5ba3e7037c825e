-- The log is the only truth; everything else is rebuilt from it. Rows of events
-- are never changed or removed: by right (the grants below) and by trigger.

-- One row: whoever appends locks it first, so that positions are gapless, in
-- commit order, and recorded_at rises with them. It is updated by every batch;
-- the fill factor leaves room for that on its page.
create table eventstore.log_head (
    id          int primary key default 1 check (id = 1),
    epoch       uuid not null default gen_random_uuid(),
    position    bigint not null default 0,
    recorded_at timestamptz not null default 'epoch',
    hash        bytea not null default decode(repeat('00', 32), 'hex')
) with (fillfactor = 10);
insert into eventstore.log_head default values;

create table eventstore.events (
    position        bigint primary key,
    namespace       text collate "C" not null,
    name            text collate "C" not null,
    version         bigint not null,
    event_id        uuid not null,
    type            text not null,
    schema_version  int not null,
    commit_position bigint not null check (commit_position >= position),
    command_id      uuid not null,
    actor           text not null,
    reason          text not null,
    correlation_id  text not null,
    request_id      text not null,
    recorded_at     timestamptz not null,
    data            bytea not null, -- exact bytes; jsonb would rewrite them
    hash            bytea not null,
    unique (namespace, name, version)
);
create index events_recorded_at on eventstore.events (recorded_at);
-- For reverting a change set by its correlation id.
create index events_correlation_id on eventstore.events (correlation_id);

-- Commands that came with an idempotency key, and what was answered.
create table eventstore.commands (
    command_id     uuid primary key,
    request_hash   bytea not null,
    first_position bigint not null,
    last_position  bigint not null,
    outcome        jsonb not null,
    recorded_at    timestamptz not null
);

create function eventstore.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the log is append-only: % on %.% refused', tg_op, tg_table_schema, tg_table_name
        using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete or truncate on eventstore.events
    for each statement execute function eventstore.refuse_change();
-- "always": also when session_replication_role is replica.
alter table eventstore.events enable always trigger append_only;

do $$ begin
    if exists (select from pg_roles where rolname = 'config_command') then
        grant usage on schema eventstore to config_command;
        grant select on eventstore.migrations to config_command;
        grant select, insert on eventstore.events, eventstore.commands to config_command;
        grant select, update on eventstore.log_head to config_command;
    end if;
end $$;
