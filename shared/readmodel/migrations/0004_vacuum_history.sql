-- A namespace's events between two positions come from an index alone, as long as the
-- pages of the table are known to be visible: see sinceSQL. Only a vacuum tells, and
-- by default one comes when a fifth of the table is new. It reads what is new only.
create or replace function readmodel.finish_generation(g bigint) returns void language plpgsql as $$
begin
    execute format($sql$
        alter table readmodel.current_%1$s add primary key using index current_%1$s_pkey;
        alter table readmodel.history_%1$s add primary key using index history_%1$s_pkey;
        alter table readmodel.history_%1$s set (autovacuum_vacuum_insert_scale_factor = 0.05);
    $sql$, g);
    insert into readmodel.checkpoint (generation, epoch, position, hash, recorded_at)
    values (g, '', 0, decode(repeat('00', 32), 'hex'), 'epoch');
end $$;

do $$
declare
    history text;
begin
    for history in select c.oid::regclass from pg_class c
        where c.relnamespace = 'readmodel'::regnamespace and c.relkind = 'r' and c.relname ~ '^history_\d+$' loop
        execute format('alter table %s set (autovacuum_vacuum_insert_scale_factor = 0.05)', history);
    end loop;
end $$;
