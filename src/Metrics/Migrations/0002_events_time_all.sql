-- Pages in order of time for a caller who sees all realms; events_time serves those who see one.
create index events_time_all on events (timestamp, id);
