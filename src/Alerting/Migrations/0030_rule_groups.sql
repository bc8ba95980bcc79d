-- Rules in PromQL. A group is one row: its rules change together.
create table rule_groups (
    id           uuid primary key,
    realm        text not null,
    file         text not null, -- '' for groups made through the API
    name         text not null,
    interval_ms  bigint,
    series_limit int not null,
    offset_ms    bigint,
    labels       jsonb not null,
    rules        jsonb not null,
    created_by   text not null,
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    version      int not null,
    unique (realm, file, name)
);

create function rule_groups_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('rule_groups', '');
    return null;
end
$$;

create trigger rule_groups_changed after insert or update or delete on rule_groups for each statement execute function rule_groups_changed();

-- Every replica that evaluates says here that it is alive. Groups of one that is not are free.
create table rule_evaluators (
    id          uuid primary key,
    alive_until timestamptz not null
);

-- Who evaluates a group, and how its last evaluation went. Written by every evaluation, so it is kept apart from the group and narrow.
create table rule_group_runs (
    group_id     uuid primary key references rule_groups on delete cascade,
    -- Of the group; moved with it, so that an evaluation of what the group was before ends here.
    version      int not null,
    owner        uuid,
    evaluated_at timestamptz,
    took_ms      double precision,
    rule_ids     uuid[] not null default '{}',
    rule_ms      real[] not null default '{}',
    errors       jsonb not null default '{}', -- rule id: message
    value_of     text[] not null default '{}', -- "rule id/fingerprint" of active alerts, and their values, as many as are worth it
    alert_values double precision[] not null default '{}'
) with (fillfactor = 50);

-- Alerts of rules that are pending or firing. An alert that is inactive has no row.
create table rule_alerts (
    rule_id           uuid not null,
    fingerprint       text not null,
    group_id          uuid not null references rule_groups on delete cascade,
    realm             text not null,
    labels            jsonb not null,
    annotations       jsonb not null,
    phase             text not null check (phase in ('pending', 'firing')),
    active_at         timestamptz not null,
    fired_at          timestamptz,
    keep_firing_since timestamptz,
    value             double precision not null,
    alert_id          uuid,
    primary key (rule_id, fingerprint),
    check ((phase = 'firing') = (fired_at is not null))
);

create index rule_alerts_group on rule_alerts (group_id);

-- The rule files that were seen, so that a replica knows what has changed, and people see what is wrong.
create table rule_files (
    file      text primary key,
    hash      text not null,
    loaded_at timestamptz, -- null: never understood
    error     text,
    error_at  timestamptz
);

-- One row while samples cannot be asked, whoever notices first; its alert is the one about it.
create table rule_source_failures (
    one      boolean primary key default true check (one),
    since    timestamptz not null,
    reason   text not null,
    alert_id uuid
);
