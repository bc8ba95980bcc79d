-- What is asked most of the log: one channel, and what was given up, which is seldom and then wanted at once.
create index notifications_of_channel on notifications (channel, created_at desc, id desc);
create index notifications_failed on notifications (created_at desc, id desc) where state = 'failed';
