-- Who is told what: every version of a realm's configuration; the newest holds.
create table routing (
    realm      text not null,
    version    int not null,
    config     jsonb not null,
    changed_by text not null,
    changed_at timestamptz not null,
    primary key (realm, version)
);

-- One row. The flusher reads it in its own transaction and loads the configurations again when it moved.
create table routing_version (version bigint not null);
insert into routing_version values (0);

create function routing_changed() returns trigger language plpgsql as $$
begin
    update routing_version set version = version + 1;
    return null;
end
$$;

create trigger routing_changed after insert or update or delete on routing for each statement execute function routing_changed();

-- Never deleted when they end: who silenced what, and why, stays known. 'applied' is the state that the flusher has acted upon.
create table silences (
    id         uuid primary key,
    realm      text not null,
    matchers   text[] not null,
    owner      text not null,
    comment    text not null,
    starts_at  timestamptz not null,
    ends_at    timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    updated_by text not null,
    version    int not null default 1,
    applied    text not null default 'new' check (applied in ('new', 'changed', 'pending', 'active', 'expired')),
    check (ends_at >= starts_at)
);

create index silences_live on silences (realm) where applied <> 'expired';
create index silences_page on silences (created_at desc, id desc);
create index silences_old on silences (ends_at);

-- What happened to an alert and has not been looked at by the flusher. Written with the change; deleted with what follows from it.
create table alert_news (
    number   bigint generated always as identity primary key,
    alert_id uuid not null,
    -- began, ended: the condition. again: people are to be told once more, for this reason. judge: what suppresses it may have changed.
    -- told: it was told before there were groups.
    what     text not null check (what in ('began', 'ended', 'again', 'judge', 'told')),
    again    text
);

create index alert_news_alert on alert_news (alert_id);

create function alert_news_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('alert_news', '');
    return null;
end
$$;

create trigger alert_news_notify after insert on alert_news for each statement execute function alert_news_notify();
create trigger silences_notify after insert or update on silences for each statement execute function alert_news_notify();

-- Alerts that are told together to one receiver. A group is there as long as it has a member; only the flusher writes.
create table notification_groups (
    id            uuid primary key,
    realm         text not null,
    receiver      text not null,
    key           text not null,
    labels        jsonb not null,
    route         jsonb not null,
    last_told_at  timestamptz,
    muted_by      text,
    due_at        timestamptz
);

create index notification_groups_due on notification_groups (due_at) where due_at is not null;

create table notification_group_members (
    group_id uuid not null references notification_groups on delete cascade,
    alert_id uuid not null,
    tell_at  timestamptz not null,
    told     boolean not null default false,
    again    text,
    -- The routes lead elsewhere now: only its end is still told here.
    leaving  boolean not null default false,
    primary key (group_id, alert_id)
);

create index notification_group_members_alert on notification_group_members (alert_id);

-- What became of an alert besides its beginning and its end, for whoever asks why.
create table alert_log (
    number   bigint generated always as identity primary key,
    alert_id uuid not null,
    at       timestamptz not null,
    what     text not null,
    by       text,
    detail   jsonb not null
);

create index alert_log_alert on alert_log (alert_id, number);

alter table alerts add column suppressed boolean not null default false;

create index alerts_open_page on alerts (fired_at desc, id desc) where state <> 'resolved';
create index alerts_open_page_of_realm on alerts (realm, fired_at desc, id desc) where state <> 'resolved';
create index alerts_suppressed on alerts using gin (suppressed_by jsonb_path_ops) where suppressed_by <> '[]';
create index alerts_open_labels on alerts using gin (labels jsonb_path_ops) where state <> 'resolved';

-- What is open was told by the version before: its end is still to be told, its beginning not again.
insert into alert_news (alert_id, what) select id, 'told' from alerts where state <> 'resolved';
