-- The read tables: rebuilt from the feed at any time, so nothing here is truth.
-- A generation is one complete set of them with its checkpoint; a rebuild makes
-- the next one beside the one that is read.

create table readmodel.checkpoint (
    generation  bigint primary key,
    epoch       text not null,
    position    bigint not null,
    hash        bytea not null,
    recorded_at timestamptz not null
) with (fillfactor = 10);

-- One row: the generation that is read.
create table readmodel.active (
    id         int primary key default 1 check (id = 1),
    generation bigint not null references readmodel.checkpoint
);

-- How far the change log has been written.
create table readmodel.changelog (
    id       int primary key default 1 check (id = 1),
    epoch    text not null default '',
    position bigint not null default 0
) with (fillfactor = 10);
insert into readmodel.changelog default values;

-- The rebuild that is asked for or has ended last.
create table readmodel.rebuild (
    id          int primary key default 1 check (id = 1),
    generation  bigint not null,
    state       text not null check (state in ('running', 'cancelling', 'done', 'cancelled', 'failed')),
    fresh       boolean not null, -- from the first event, not an old generation brought up to date
    detail      text not null default '',
    done        bigint not null default 0, -- events
    total       bigint not null default 0,
    started_at  timestamptz not null default now(),
    finished_at timestamptz
) with (fillfactor = 50);

-- Makes the empty tables of a generation, without what is faster to make when
-- they are full: see index_generation.
create function readmodel.create_generation(g bigint) returns void language plpgsql as $$
begin
    execute format($sql$
        create table readmodel.current_%1$s (
            namespace      text collate "C" not null,
            name           text collate "C" not null,
            value          bytea, -- JSON text; null when deleted
            version        bigint not null,
            position       bigint not null,
            deleted        boolean not null,
            updated_at     timestamptz not null,
            updated_by     text not null,
            reason         text not null,
            correlation_id text not null
        );
        create table readmodel.history_%1$s (
            namespace       text collate "C" not null,
            name            text collate "C" not null,
            value           bytea,
            version         bigint not null,
            position        bigint not null,
            deleted         boolean not null,
            recorded_at     timestamptz not null,
            actor           text collate "C" not null,
            reason          text not null,
            correlation_id  text collate "C" not null,
            type            text not null,
            old_value       bytea,
            commit_position bigint not null,
            request_id      text not null,
            event_id        uuid not null,
            command_id      uuid not null
        );
        -- All live configs of a namespace at a position, now and then, so that the
        -- namespace as of any position is one of these and what came after it. Its
        -- arrays are null when it would be too large.
        create table readmodel.snapshot_%1$s (
            namespace       text collate "C" not null,
            position        bigint not null,
            names           text[] collate "C",
            "values"        bytea[],
            versions        bigint[],
            positions       bigint[],
            updated_at      timestamptz[],
            updated_by      text[],
            reasons         text[],
            correlation_ids text[],
            primary key (namespace, position)
        );
        -- What came after a namespace's newest snapshot, and how large that is.
        create table readmodel.pending_%1$s (
            namespace text collate "C" primary key,
            events    bigint not null,
            bytes     bigint not null,
            names     bigint not null default 0,
            size      bigint not null default 0
        ) with (fillfactor = 50);
    $sql$, g);
end $$;

-- Makes the indexes of a generation, and its checkpoint at the beginning.
create function readmodel.index_generation(g bigint) returns void language plpgsql as $$
begin
    execute format($sql$
        alter table readmodel.current_%1$s add primary key (namespace, name);
        alter table readmodel.history_%1$s add primary key (namespace, name, position);
        create unique index history_%1$s_position on readmodel.history_%1$s (position);
        create index history_%1$s_recorded_at on readmodel.history_%1$s (recorded_at);
        create index history_%1$s_namespace on readmodel.history_%1$s (namespace, position);
        create index history_%1$s_actor on readmodel.history_%1$s (actor, position);
        create index history_%1$s_correlation on readmodel.history_%1$s (correlation_id, position);
    $sql$, g);
    insert into readmodel.checkpoint (generation, epoch, position, hash, recorded_at)
    values (g, '', 0, decode(repeat('00', 32), 'hex'), 'epoch');
end $$;

-- Drops a generation that is not read, or what there is of it.
create function readmodel.drop_generation(g bigint) returns void language plpgsql as $$
begin
    delete from readmodel.checkpoint where generation = g;
    execute format('drop table if exists readmodel.current_%1$s, readmodel.history_%1$s, readmodel.snapshot_%1$s, readmodel.pending_%1$s', g);
end $$;

do $$ begin
    if exists (select from pg_roles where rolname = 'config_query') then
        grant usage on schema readmodel to config_query;
        alter default privileges in schema readmodel grant select on tables to config_query;
        grant select on all tables in schema readmodel to config_query;
    end if;
end $$;

select readmodel.create_generation(1);
select readmodel.index_generation(1);
insert into readmodel.active (generation) values (1);
