-- Test alerts by which the platform watches its own alerting. About an hour of them is kept.
create table canaries (
    id         uuid primary key,
    sent_at    timestamptz not null,
    -- When the channel at the end of their way took it.
    arrived_at timestamptz
);

create index canaries_sent on canaries (sent_at);

-- When another system was last told that all is well. One row: whoever moves the time on, pings.
create table pings (at timestamptz not null);
insert into pings values ('epoch');

-- The rule of canaries lives in the program, so windows no longer refer to the table of rules. What a deletion takes along stays the same,
-- also when a replica of the version before deletes.
alter table event_windows drop constraint event_windows_rule_id_fkey;

create function rule_forgets_windows() returns trigger language plpgsql as $$
begin
    delete from event_windows where rule_id = old.id;
    return null;
end
$$;

create trigger rule_forgets_windows after delete on rules for each row execute function rule_forgets_windows();

-- What canaries leave behind is found without a look at everything else.
create index alerts_of_canaries on alerts (fired_at) where realm = '~canary';
create index notifications_of_canaries on notifications (created_at) where realm = '~canary';
