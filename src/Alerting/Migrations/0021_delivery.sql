alter table notifications
    -- Whose channel it is: the realm's own, or that of all realms ('*'). Decided when the notification is written.
    add column channel_realm text not null default '*',
    -- 0 is told first when a channel cannot take everything at once.
    add column urgency smallint not null default 2,
    -- Somebody asked for another try: the deadline counts from here.
    add column retried_at timestamptz;

-- What a channel has to tell, in the order in which it does. Also the list of channels that have anything to tell.
drop index notifications_due;
create index notifications_due on notifications (channel_realm, channel, urgency, number) where state = 'pending';
create index notifications_fallbacks on notifications (realm, group_key, channel, number) where kind = 'fallback';

alter table channel_states alter column refilled_at set default 'epoch';
update channel_states set refilled_at = 'epoch' where refilled_at = '-infinity';
