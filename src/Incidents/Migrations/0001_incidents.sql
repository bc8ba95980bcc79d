create table incidents (
    id              uuid primary key,
    realm           text not null,
    title           text not null,
    description     text,
    severity        text not null constraint valid_severity check (severity in ('critical', 'high', 'medium', 'low', 'info')),
    status          text not null constraint valid_status check (status in ('open', 'investigating', 'identified', 'monitoring', 'resolved', 'closed')),
    root_cause      text,
    assigned_to     text,
    created_by      text not null,
    -- What alerts are gathered by; null for an incident that a person opened.
    group_key       text,
    -- Tags that the events behind the alerts have in common.
    event_tags      jsonb not null default '{}',
    -- Event time of the first alert, or the time of opening by hand.
    opened_at       timestamptz not null,
    created_at      timestamptz not null,
    acknowledged_at timestamptz,
    resolved_at     timestamptz,
    closed_at       timestamptz,
    updated_at      timestamptz not null,
    -- Since when, by this service's clock, nothing has happened to a resolved incident. It closes by itself some time after.
    quiet_since     timestamptz,
    version         int not null
);

-- Two alerts of one group that fire at once, on two replicas, meet here: one opens the incident, the other joins it.
create unique index incidents_one_open_per_group on incidents (realm, group_key) where status <> 'closed';
create index incidents_by_time on incidents (realm, opened_at, id);
create index incidents_by_creator on incidents (created_by);
create index incidents_by_assignee on incidents (assigned_to);
create index incidents_quiet on incidents (quiet_since) where status = 'resolved';
create index incidents_closed on incidents (closed_at) where status = 'closed';

-- What is known of an alert, in whatever order its messages came. Every consumer that touches an alert locks its row first,
-- and the row of the incident after that: nothing about one alert is decided twice at the same time.
create table incident_alerts (
    alert_id        uuid primary key,
    realm           text not null,
    incident_id     uuid references incidents on delete cascade,
    name            text,
    severity        text,
    fired_at        timestamptz,
    acknowledged_at timestamptz,
    resolved_at     timestamptz,
    seen_at         timestamptz not null
);

create index incident_alerts_of_incident on incident_alerts (incident_id);
create index incident_alerts_unlinked on incident_alerts (seen_at) where incident_id is null;

-- One axis of what happened, apart from events, which stay in Metrics. A row belongs to an incident, or waits for the incident of
-- its alert (incident_id null, alert_id set), or belongs to the realm as a whole (both null): health, denials, changes of rules and keys.
create table timeline_entries (
    id          uuid primary key,
    realm       text not null,
    incident_id uuid references incidents on delete cascade,
    alert_id    uuid,
    timestamp   timestamptz not null,
    -- Rank of the kind on the axis when times are equal: 1 health, 2 alert, 3 notification, 4 action, 5 audit.
    kind        smallint not null constraint valid_kind check (kind between 1 and 5),
    source      text not null,
    title       text not null,
    message     text,
    level       text,
    link        text,
    data        jsonb not null default '{}'
);

create index timeline_of_incident on timeline_entries (incident_id, timestamp, kind, id) where incident_id is not null;
create index timeline_of_realm on timeline_entries (realm, timestamp, kind, id) where incident_id is null and alert_id is null;
create index timeline_waiting on timeline_entries (alert_id) where incident_id is null and alert_id is not null;
create index timeline_by_age on timeline_entries (timestamp);
