-- What people write down about being on call: users, schedules and escalation policies, each a document with a name. Documents mean each
-- other by name, in their own realm or else in realm '*'.
create table on_call_plans (
    id         uuid primary key,
    realm      text not null,
    kind       text not null check (kind in ('user', 'schedule', 'policy')),
    name       text not null,
    document   jsonb not null,
    -- Which other plans it names: 'user:anna', 'schedule:primary'. What is named cannot be deleted.
    refers     text[] not null,
    version    int not null default 1,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (realm, kind, name)
);

create index on_call_plans_page on on_call_plans (kind, created_at, id);

create table on_call_overrides (
    id          uuid primary key,
    schedule_id uuid not null references on_call_plans on delete cascade,
    user_name   text not null,
    starts_at   timestamptz not null,
    ends_at     timestamptz not null check (ends_at > starts_at),
    reason      text not null,
    created_by  text not null,
    created_at  timestamptz not null
);

create index on_call_overrides_time on on_call_overrides (schedule_id, ends_at);
