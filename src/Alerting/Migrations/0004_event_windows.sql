-- The hits of one rule, realm and group. All times are event times in microseconds since 1970, except seen_at (wall clock).
create table event_windows (
    key           uuid primary key,
    rule_id       uuid not null references rules on delete cascade,
    realm         text not null,
    source        text not null default '',
    group_values  text[] not null,
    hits          bigint[] not null default '{}',
    -- The latest stretch of time in which the threshold was reached: from its crossing to the fall below.
    episode_from  bigint,
    episode_until bigint,
    -- Its alert; null once the episode was seen to be over.
    alert_id      uuid,
    -- How far the source had come when the newest hit arrived, and when that was.
    position      bigint not null default 0,
    seen_at       bigint not null default 0,
    -- When the source has come this far, the alert resolves, or the row is of no use any more.
    resolve_at    bigint,
    forget_at     bigint not null default 0
) with (fillfactor = 70);

create index event_windows_rule on event_windows (rule_id);
create index event_windows_resolve on event_windows (resolve_at) where alert_id is not null;
create index event_windows_forget on event_windows (forget_at) where alert_id is null;
