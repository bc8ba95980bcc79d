-- What a rule asks beyond a number of events, and what its alerts carry. A condition is text: its members have an order.
alter table rules
    add column condition   text,
    add column not_during  text[] not null default '{}',
    add column labels      jsonb not null default '{}',
    add column annotations jsonb not null default '{}',
    add column cause       text,
    add column cause_by    text;

-- The rules that the platform brings along, as they were last made. What differs in the table of rules was changed by people and stays.
create table built_in_rules (
    name       text primary key,
    rule_id    uuid not null,
    definition text not null
);

-- What a hit says besides its time: two numbers each, in the order of hits; empty where the time is all there is.
alter table event_windows
    add column details bigint[] not null default '{}',
    -- When the source has come this far without a further hit, the alert about its absence fires.
    add column fire_at bigint;

create index event_windows_fire on event_windows (fire_at) where fire_at is not null;

-- Events that only matter after another one, kept apart for the time that events may be late: one row per batch, not one window per key.
create table event_tails (
    rule_id uuid not null references rules on delete cascade,
    seen_at timestamptz not null,
    newest  bigint not null,
    keys    uuid[] not null,
    times   bigint[] not null
);

create index event_tails_rule on event_tails (rule_id, newest);
create index event_tails_old on event_tails (seen_at);
