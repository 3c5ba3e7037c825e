-- Where an event is in a trace (W3C traceparent), for whichever process publishes
-- it. The default is for a program that does not know of it yet.
alter table eventstore.events add column trace text not null default '';
