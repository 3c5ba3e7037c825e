-- Events that could not be applied for reasons of their own, and those of the same
-- names behind them, in order: see parked.go. The others go on.
create table readmodel.parked (
    generation      bigint not null,
    position        bigint not null,
    namespace       text collate "C" not null,
    name            text collate "C" not null,
    recorded_at     timestamptz not null,
    commit_position bigint not null,
    reason          text not null default '', -- of the first of a name; the others only wait
    record          bytea not null,           -- the event, as the log's own routes show it
    primary key (generation, position)
);
create index parked_name on readmodel.parked (generation, namespace, name, position);

-- Changes with the set of parked names; 0 means that there never were any.
alter table readmodel.checkpoint add column revision bigint not null default 0;

create or replace function readmodel.drop_generation(g bigint) returns void language plpgsql as $$
begin
    delete from readmodel.parked where generation = g;
    delete from readmodel.checkpoint where generation = g;
    execute format('drop table if exists readmodel.current_%1$s, readmodel.history_%1$s, readmodel.snapshot_%1$s, readmodel.pending_%1$s', g);
end $$;
