-- What people are to be told. The row is written with the change it tells about; sending comes after.
create table notifications (
    id              uuid primary key,
    number          bigint generated always as identity,
    alert_id        uuid not null references alerts on delete cascade,
    realm           text not null,
    group_key       text not null,
    channel         text not null,
    status          text not null check (status in ('firing', 'resolved')),
    state           text not null check (state in ('pending', 'delivered', 'failed')),
    attempts        int not null default 0,
    next_attempt_at timestamptz not null,
    claimed_until   timestamptz,
    created_at      timestamptz not null
);

create index notifications_due on notifications (next_attempt_at) where state = 'pending';
create index notifications_alert on notifications (alert_id, channel, number);
create index notifications_page on notifications (created_at desc, id desc);

create table notification_attempts (
    notification_id uuid not null references notifications on delete cascade,
    number          int not null,
    at              timestamptz not null,
    duration_ms     double precision not null,
    status_code     int,
    outcome         text not null check (outcome in ('accepted', 'try_again', 'refused')),
    reason          text not null,
    response        text not null,
    primary key (notification_id, number)
);

create function notifications_notify() returns trigger language plpgsql as $$
begin
    perform pg_notify('notifications', '');
    return null;
end
$$;

create trigger notifications_notify after insert on notifications for each statement execute function notifications_notify();
