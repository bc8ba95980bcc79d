-- Where every check stands. One row per component, rewritten by each run.
create table check_states (
    component            text primary key,
    realm                text not null,
    kind                 text not null,
    state                text not null,
    since                timestamptz not null,
    toward               text not null,
    streak               int not null,
    consecutive_failures int not null,
    result               text not null,
    checked_at           timestamptz not null,
    latency_ms           double precision not null,
    reason               text not null,
    details              jsonb not null
);

-- Small, hot and updated in place: room on the page keeps its updates off the index.
alter table check_states set (fillfactor = 50);

-- Changes of state; a component's uptime is computed from them.
create table state_changes (
    id        bigint generated always as identity primary key,
    realm     text not null,
    component text not null,
    at        timestamptz not null,
    previous  text not null,
    current   text not null,
    reason    text not null
);

create index state_changes_component on state_changes (component, at);

-- Every single result, for as long as HEALTH_HISTORY_RETENTION_DAYS says.
create table check_results (
    realm      text not null,
    component  text not null,
    at         timestamptz not null,
    state      text not null,
    latency_ms double precision not null,
    reason     text not null,
    primary key (component, at)
);

-- Rows arrive in order of time, so a summary per block range is enough to find the old ones.
create index check_results_at on check_results using brin (at);
