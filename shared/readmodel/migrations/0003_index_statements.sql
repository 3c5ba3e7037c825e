-- The indexes of a generation one by one, so that several can be made at a time;
-- the largest first. What can't be made beside others is in finish_generation.
create function readmodel.index_statements(g bigint) returns setof text language sql immutable as $$
    select format(statement, g) from unnest(array[
        'create unique index history_%1$s_pkey on readmodel.history_%1$s (namespace, name, position)',
        'create index history_%1$s_correlation on readmodel.history_%1$s (correlation_id, position)',
        'create index history_%1$s_actor on readmodel.history_%1$s (actor, position)',
        'create index history_%1$s_namespace on readmodel.history_%1$s (namespace, position)',
        'create index history_%1$s_recorded_at on readmodel.history_%1$s (recorded_at)',
        'create unique index history_%1$s_position on readmodel.history_%1$s (position)',
        'create unique index current_%1$s_pkey on readmodel.current_%1$s (namespace, name)'
    ]) statement
$$;

-- What comes after the indexes: the primary keys, and the checkpoint at the
-- beginning.
create function readmodel.finish_generation(g bigint) returns void language plpgsql as $$
begin
    execute format($sql$
        alter table readmodel.current_%1$s add primary key using index current_%1$s_pkey;
        alter table readmodel.history_%1$s add primary key using index history_%1$s_pkey;
    $sql$, g);
    insert into readmodel.checkpoint (generation, epoch, position, hash, recorded_at)
    values (g, '', 0, decode(repeat('00', 32), 'hex'), 'epoch');
end $$;

-- Both in one, one index after the other.
create or replace function readmodel.index_generation(g bigint) returns void language plpgsql as $$
declare
    statement text;
begin
    for statement in select readmodel.index_statements(g) loop
        execute statement;
    end loop;
    perform readmodel.finish_generation(g);
end $$;
