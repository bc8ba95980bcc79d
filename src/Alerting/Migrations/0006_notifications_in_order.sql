-- "Is something earlier of this group still to be told over this channel?"
create index notifications_in_order on notifications (realm, group_key, channel, number) where state = 'pending';
