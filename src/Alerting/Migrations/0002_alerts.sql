create table alerts (
    id                 uuid primary key,
    realm              text not null,
    fingerprint        text not null,
    group_key          text not null,
    rule_id            uuid,
    name               text not null,
    severity           text not null check (severity in ('critical', 'high', 'medium', 'low', 'info')),
    source             text not null check (source in ('rule', 'health', 'manual')),
    state              text not null check (state in ('firing', 'acknowledged', 'resolved')),
    labels             jsonb not null,
    group_labels       jsonb not null,
    annotations        jsonb not null,
    event_tags         jsonb not null,
    value              double precision,
    threshold          double precision,
    starts_at          timestamptz not null,
    fired_at           timestamptz not null,
    ends_at            timestamptz,
    acknowledged_by    text,
    acknowledged_at    timestamptz,
    acknowledge_reason text,
    resolved_by        text,
    resolved_at        timestamptz,
    resolve_reason     text,
    why                jsonb not null,
    check ((state = 'resolved') = (resolved_at is not null))
);

-- One episode at a time: the same label set cannot be firing twice.
create unique index alerts_open on alerts (realm, fingerprint) where state <> 'resolved';
create index alerts_rule on alerts (rule_id) where state <> 'resolved';
create index alerts_group on alerts (realm, group_key);
create index alerts_page on alerts (fired_at desc, id desc);
create index alerts_page_of_realm on alerts (realm, fired_at desc, id desc);
create index alerts_old on alerts (resolved_at) where state = 'resolved';
