-- Jobs and systems that report by themselves, and must not fall silent.
create table heartbeats (
    realm            text not null,
    name             text not null,
    interval_seconds int not null check (interval_seconds > 0),
    grace_seconds    int not null check (grace_seconds >= 0),
    missed           boolean not null default false,
    last_beat_at     timestamptz,
    -- Without a beat until then it is missed.
    due_at           timestamptz not null,
    since            timestamptz not null,
    created_by       text not null,
    created_at       timestamptz not null,
    primary key (realm, name)
);

create index heartbeats_due on heartbeats (due_at) where not missed;
