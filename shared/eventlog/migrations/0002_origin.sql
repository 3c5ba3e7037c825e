-- A log that is recovered or imported gets a new epoch, and keeps its chain. So
-- the chain begins with the origin, which never changes; began is where the log
-- was when its epoch began.
alter table eventstore.log_head
    add column origin uuid,
    add column began  bigint not null default 0;
update eventstore.log_head set origin = epoch;
alter table eventstore.log_head alter column origin set not null;
