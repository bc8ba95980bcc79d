-- Messages that wait for the broker. Written in the transaction of the change they tell about; deleted once the broker confirmed them.
create table outbox (
    id         bigint generated always as identity primary key,
    message_id uuid not null,
    topic      text not null,
    body       bytea not null,
    encoding   text,
    headers    jsonb not null,
    created_at timestamptz not null default now()
);

-- Bodies are compressed before they come here; compressing them again would only cost time.
alter table outbox alter column body set storage external;
-- A queue of rows that live for milliseconds: vacuum early, or its pages and index fill with the dead.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

create function outbox_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('outbox', '');
    return null;
end
$$;

create trigger outbox_notify after insert on outbox for each statement execute function outbox_notify();

-- Messages already handled, so that a second delivery changes nothing.
create table inbox (
    queue      text not null,
    message_id uuid not null,
    handled_at timestamptz not null default now(),
    primary key (queue, message_id)
);

create index inbox_handled_at on inbox (handled_at);
