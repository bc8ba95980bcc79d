-- acknowledged: somebody takes care. Channels that can show it are told, where the alert was told. The version before takes such news for 'judge'.
alter table alert_news
    drop constraint alert_news_what_check,
    add constraint alert_news_what_check check (what in ('began', 'ended', 'again', 'judge', 'told', 'acknowledged'));
