-- Events of applications: logs, traces, alerts, and events about metrics. One partition per day of event time (UTC), made by
-- EventPartitions when a first event of that day comes, and dropped whole when the day leaves retention.
create table events (
    id         uuid not null,
    realm      text not null,
    event_type text not null constraint valid_event_type check (event_type in ('log', 'metric', 'trace', 'alert')),
    source     text not null,
    message    text,
    level      text,
    tags       jsonb not null default '{}',
    payload    jsonb not null default '{}',
    timestamp  timestamptz not null default now(),
    created_at timestamptz not null default now()
) partition by range (timestamp);

-- Pages in order of time, with a cursor on (timestamp, id).
create index events_time on events (realm, timestamp, id);
-- Tag filters: tags @> '{"user_id": "42"}'.
create index events_tags on events using gin (tags jsonb_path_ops);

-- How many events came, by minute of event time, so that statistics and reports count rows of this table instead of events.
-- action and outcome are words of the vocabulary or empty, so the table stays small whatever clients send.
create table event_counts (
    realm      text not null,
    minute     timestamptz not null,
    event_type text not null,
    action     text not null,
    outcome    text not null,
    count      bigint not null,
    primary key (minute, realm, event_type, action, outcome)
);

-- Requests that carried an Idempotency-Key. The ids of a request differ only in their last four bytes, which count from 0.
create table idempotency_keys (
    subject     text not null,
    key         text not null,
    body_hash   bytea not null,
    first_id    uuid not null,
    event_count int not null,
    created_at  timestamptz not null default now(),
    primary key (subject, key)
);

create index idempotency_keys_created_at on idempotency_keys (created_at);
