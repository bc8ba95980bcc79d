-- A notification tells about a group of alerts, and keeps what it says: a later attempt says the same as the first one, whatever became
-- of the alerts since. It outlives them; its own age decides when it goes.
alter table notifications
    alter column alert_id drop not null,
    drop constraint notifications_alert_id_fkey,
    add column alert_ids uuid[] not null default '{}',
    add column kind text not null default 'alert',
    add column content jsonb;

-- Fills what the version before does not write (it runs beside this one while replicas are replaced), and alert_id, which it reads.
create function notifications_of_one_alert() returns trigger language plpgsql as $$
begin
    if new.content is null then
        new.alert_ids := array[new.alert_id];
        select jsonb_build_object(
            'status', new.status,
            'receiver', new.channel,
            'group_key', new.group_key,
            'group_labels', a.group_labels || jsonb_build_object('alertname', a.name),
            'reason', case new.status when 'firing' then 'first notification' else 'all alerts resolved' end,
            'truncated_alerts', 0,
            'alerts', jsonb_build_array(jsonb_build_object(
                'id', a.id, 'fingerprint', a.fingerprint, 'name', a.name, 'severity', a.severity, 'status', new.status,
                'labels', a.labels, 'annotations', a.annotations, 'starts_at', a.starts_at,
                'ends_at', case new.status when 'resolved' then a.ends_at end, 'value', a.value, 'threshold', a.threshold, 'generator_url', '')))
        into new.content from alerts a where a.id = new.alert_id;
    elsif new.alert_id is null then
        new.alert_id := new.alert_ids[1];
    end if;
    return new;
end
$$;

create trigger notifications_of_one_alert before insert or update of content on notifications for each row execute function notifications_of_one_alert();

update notifications set content = null;
alter table notifications alter column content set not null;

drop index notifications_alert;
create index notifications_alerts on notifications using gin (alert_ids);

-- Alerts come from PromQL rules ('query') and from the doors that other systems send to ('api') as well.
alter table alerts
    drop constraint alerts_source_check,
    add constraint alerts_source_check check (source in ('rule', 'query', 'health', 'manual', 'api')),
    add column generator_url text not null default '',
    -- A sender that has to repeat itself: without a word until then, the alert is over.
    add column expires_at timestamptz,
    add column acknowledged_until timestamptz,
    -- What keeps the alert from being told now: [{kind, id, name, reason, since}].
    add column suppressed_by jsonb not null default '[]';

create index alerts_expire on alerts (expires_at) where state <> 'resolved' and expires_at is not null;
create index alerts_acknowledgement_ends on alerts (acknowledged_until) where state = 'acknowledged' and acknowledged_until is not null;
