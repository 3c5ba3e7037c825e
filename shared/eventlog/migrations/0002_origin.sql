-- A log that is recovered or imported gets a new epoch, and keeps its chain. So
-- the chain begins with the origin, which never changes.
alter table eventstore.log_head add column origin uuid;
update eventstore.log_head set origin = epoch;
alter table eventstore.log_head alter column origin set not null;
