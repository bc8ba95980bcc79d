-- Where notifications go. Those that settings make are not here: the settings are their truth.
create table channels (
    id               uuid primary key,
    realm            text not null,
    name             text not null,
    kind             text not null check (kind in ('email', 'slack', 'teams', 'pagerduty', 'webhook', 'ntfy')),
    settings         jsonb not null,
    -- Sealed with the platform's key ring, as one piece.
    secrets          bytea not null,
    rate_per_minute  int check (rate_per_minute >= 0),
    fallback         text,
    deadline_seconds int check (deadline_seconds > 0),
    send_resolved    boolean not null,
    created_by       text not null,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    version          int not null default 1,
    unique (realm, name)
);

create index channels_page on channels (created_at, id);

-- How a channel fares, for all replicas: its bucket of tokens, and until when it is left alone. Also for channels of settings (realm '*').
create table channel_states (
    realm             text not null,
    channel           text not null,
    tokens            double precision not null default 0,
    refilled_at       timestamptz not null default '-infinity',
    paused_until      timestamptz,
    failures          int not null default 0,
    last_delivered_at timestamptz,
    last_failed_at    timestamptz,
    last_failure      text,
    -- The open alert that says that something was not delivered.
    alert_id          uuid,
    primary key (realm, channel)
) with (fillfactor = 50);

-- What a channel must remember of a group to speak of it again: the message of a bot that is updated, recipients that have the mail already.
create table channel_memories (
    realm     text not null,
    channel   text not null,
    group_key text not null,
    memory    text not null,
    at        timestamptz not null,
    primary key (realm, channel, group_key)
);

create index channel_memories_old on channel_memories (at);
