-- A policy at work for an alert. It keeps the policy as it was when it began: a change in the middle of the night does not lose its place.
create table escalations (
    id         uuid primary key,
    alert_id   uuid not null references alerts on delete cascade,
    realm      text not null,
    policy     text not null,
    -- Null when there was no policy of that name; the watchdog raises an alert about it.
    document   jsonb,
    started_at timestamptz not null,
    next_step  int not null default 0,
    -- Null: every step was taken.
    next_at    timestamptz,
    -- Nobody is paged any more: acknowledged, or over.
    ended_at   timestamptz,
    end_reason text,
    -- The alert is over, and those who were paged were told so.
    closed_at  timestamptz
);

create unique index escalations_running on escalations (alert_id, policy) where ended_at is null;
create index escalations_due on escalations (next_at) where ended_at is null;
create index escalations_alert on escalations (alert_id);
create index escalations_open on escalations (id) where closed_at is null;

-- What was done, written with the notifications it led to: whoever takes a step twice meets the key.
create table escalation_steps (
    escalation_id uuid not null references escalations on delete cascade,
    number        int not null,
    due_at        timestamptz not null,
    taken_at      timestamptz not null,
    -- When the first of its messages was due: later than the step itself in quiet hours. From here its people have their time.
    told_at       timestamptz not null,
    reason        text not null,
    -- [{target, user, channel, at, note}]
    told          jsonb not null,
    primary key (escalation_id, number)
);

-- Messages of a step that come later: a second contact method, the end of quiet hours.
create table escalation_calls (
    id            uuid primary key,
    escalation_id uuid not null references escalations on delete cascade,
    channel       text not null,
    due_at        timestamptz not null,
    reason        text not null,
    settled_at    timestamptz,
    -- Why it was not sent after all; null when it was.
    dropped       text
);

create index escalation_calls_due on escalation_calls (due_at) where settled_at is null;
create index escalation_calls_escalation on escalation_calls (escalation_id);
