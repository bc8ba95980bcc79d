using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Rules;
using Platform.Postgres;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Routing;

/// <summary>Alerts that are told together to one receiver.</summary>
/// <param name="Id">Follows from realm, receiver and key.</param>
/// <param name="Key">What receivers know the group by.</param>
public sealed record AlertGroup(
    Guid Id, string Realm, string Receiver, string Key, IReadOnlyDictionary<string, string> Labels, GroupRoute Route, DateTimeOffset? LastToldAt, string? MutedBy, DateTimeOffset? DueAt)
{
    public static Guid IdOf(string realm, string receiver, string key) => new(SHA256.HashData(Encoding.UTF8.GetBytes($"{realm}\n{receiver}\n{key}")).AsSpan(0, 16));

    public static AlertGroup Of(string realm, RouteMatch route, Labels alert)
    {
        var labels = route.GroupLabels(alert);
        var key = route.GroupKey(realm, labels);
        return new AlertGroup(
            IdOf(realm, route.Receiver, key), realm, route.Receiver, key, labels.ToDictionary(),
            new GroupRoute(route.Path, route.GroupWait, route.GroupInterval, route.RepeatInterval, route.MuteTimeIntervals, route.ActiveTimeIntervals),
            null, null, null);
    }
}

/// <summary>What a group needs of its route.</summary>
public sealed record GroupRoute(
    string Path, TimeSpan Wait, TimeSpan Interval, TimeSpan Repeat, IReadOnlyList<string> MuteTimeIntervals, IReadOnlyList<string> ActiveTimeIntervals)
{
    public bool HasIntervals => MuteTimeIntervals.Count + ActiveTimeIntervals.Count > 0;

    public bool SameAs(GroupRoute other) =>
        (Path, Wait, Interval, Repeat) == (other.Path, other.Wait, other.Interval, other.Repeat)
        && MuteTimeIntervals.SequenceEqual(other.MuteTimeIntervals) && ActiveTimeIntervals.SequenceEqual(other.ActiveTimeIntervals);
}

/// <summary>News of one alert, all that there was together.</summary>
public sealed record AlertNews(Alert Alert, bool Began, bool Ended, string? Again, bool ToldBefore, bool Acknowledged);

/// <summary>What a pass of the flusher looks at.</summary>
/// <param name="Realms">Null for all.</param>
/// <param name="Alerts">Only their news, and no groups; null for all news.</param>
/// <param name="Groups">Only these, and no news; null for all that are due.</param>
/// <param name="Aside">Realms, alerts and groups that are left out. Nothing waits for their news.</param>
public sealed record FlushScope(string[]? Realms, Guid[]? Alerts, Guid[]? Groups, (string[] Realms, Guid[] Alerts, Guid[] Groups) Aside)
{
    internal Sql Holds(Sql alert, Sql realm)
    {
        Sql holds = $"{realm} <> all({Aside.Realms}) and {alert} <> all({Aside.Alerts})";
        holds = Realms is { } realms ? $"{holds} and {realm} = any({realms})" : holds;
        return Alerts is { } alerts ? $"{holds} and {alert} = any({alerts})" : holds;
    }

    internal Sql HoldsGroup()
    {
        Sql holds = $"g.realm <> all({Aside.Realms}) and g.id <> all({Aside.Groups})";
        holds = Realms is { } realms ? $"{holds} and g.realm = any({realms})" : holds;
        return Groups is { } groups ? $"{holds} and g.id = any({groups})" : holds;
    }
}

/// <summary>An entry of an alert's log.</summary>
/// <param name="What">routed, suppressed, released, acknowledged, acknowledgement_ended, not_told.</param>
/// <param name="By">Who did it; null for the platform.</param>
public sealed record AlertLogEntry(Guid AlertId, DateTimeOffset At, string What, string? By, JsonElement Detail)
{
    /// <summary>What the platform did.</summary>
    public static AlertLogEntry Of<T>(Guid alert, DateTimeOffset at, string what, T detail) => new(alert, at, what, null, JsonSerializer.SerializeToElement(detail, WireJson.Options));
}

/// <summary>All SQL about groups. Only the flusher writes, in one transaction at a time: <see cref="LockAsync"/>. Every method is a fixed number of statements.</summary>
public static class GroupStore
{
    /// <summary>Any constant will do, as long as nothing else in this database uses it.</summary>
    private const long Lock = 0x67726f75_70696e67;

    private const int LeastShare = 1_000;

    private static Sql Columns => $"id, realm, receiver, key, labels::text, route::text, last_told_at, muted_by, due_at";

    /// <summary>
    /// Waits for whoever flushes just now, in whatever replica. A process that hangs in the middle loses its session, and with it the lock;
    /// a statement that takes too long fails, also when it answers row by row, which the client's own limit does not see.
    /// </summary>
    public static async Task LockAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        await tx.ExecuteAsync($"select set_config('idle_in_transaction_session_timeout', '30s', true), set_config('statement_timeout', '30s', true)", ct);
        await tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock})", ct);
    }

    /// <summary>
    /// Takes the oldest news, and holds their alerts until the transaction ends. Alerts that somebody is changing are left for the next
    /// time, so that this never waits for a transaction that may be waiting for it.
    /// </summary>
    public static async Task<List<AlertNews>> TakeNewsAsync(NpgsqlTransaction tx, FlushScope scope, int atMost, CancellationToken ct)
    {
        var taken = await tx.QueryAsync($"""
            with taken as (
                select n.number, n.alert_id, n.what, n.again from alert_news n join alerts a on a.id = n.alert_id
                where {scope.Holds($"a.id", $"a.realm")}
                order by n.number limit {atMost}
                for update of a skip locked),
            gone as (delete from alert_news where number = any(array(select number from taken)))
            select alert_id, bool_or(what = 'began'), bool_or(what = 'ended'), max(again), bool_or(what = 'told'), bool_or(what = 'acknowledged') from taken group by alert_id
            """,
            row => (Id: row.GetGuid(0), Began: row.GetBoolean(1), Ended: row.GetBoolean(2), Again: row.GetOrNull(3, row.GetString), Told: row.GetBoolean(4), Acknowledged: row.GetBoolean(5)), ct);
        // A statement of its own: it sees what was committed before the rows were locked.
        var alerts = (await AlertStore.GetAsync(tx, [.. taken.Select(one => one.Id)], ct)).ToDictionary(alert => alert.Id);
        return [.. taken.Where(one => alerts.ContainsKey(one.Id)).Select(one => new AlertNews(alerts[one.Id], one.Began, one.Ended, one.Again, one.Told, one.Acknowledged)).OrderBy(news => news.Alert.Id)];
    }

    /// <summary>What there is to do, as the realms it belongs to.</summary>
    public static Task<List<string>> RealmsAsync(NpgsqlDataSource db, FlushScope scope, DateTimeOffset now, CancellationToken ct) =>
        db.QueryAsync($"""
            select distinct a.realm from alert_news n join alerts a on a.id = n.alert_id where {scope.Holds($"a.id", $"a.realm")}
            union
            select distinct g.realm from notification_groups g where g.due_at <= {now} and {scope.HoldsGroup()}
            """, row => row.GetString(0), ct);

    /// <summary>The alerts of a realm with the oldest news.</summary>
    public static async Task<List<Guid>> WithNewsAsync(NpgsqlDataSource db, FlushScope scope, int atMost, CancellationToken ct) =>
        [.. (await db.QueryAsync($"select a.id from alert_news n join alerts a on a.id = n.alert_id where {scope.Holds($"a.id", $"a.realm")} order by n.number limit {atMost}", row => row.GetGuid(0), ct)).Distinct()];

    public static Task<List<Guid>> DueIdsAsync(NpgsqlDataSource db, FlushScope scope, DateTimeOffset now, int atMost, CancellationToken ct) =>
        db.QueryAsync($"select g.id from notification_groups g where g.due_at <= {now} and {scope.HoldsGroup()} order by g.due_at limit {atMost}", row => row.GetGuid(0), ct);

    /// <summary>Open alerts that have all labels of one of the probes, in the order of their ids.</summary>
    /// <param name="atMost">In all; each realm has its share, so that one with many open alerts leaves those of the others in.</param>
    public static async Task<List<OpenAlert>> FindOpenAsync(NpgsqlTransaction tx, IReadOnlyCollection<(string Realm, string Probe)> probes, int atMost, CancellationToken ct)
    {
        if (probes.Count == 0)
        {
            return [];
        }

        var share = Math.Max(LeastShare, atMost / probes.DistinctBy(probe => probe.Realm).Count());
        return await tx.QueryAsync($"""
            with probes as (select * from unnest({probes.Select(probe => probe.Realm).ToArray()}, {probes.Select(probe => probe.Probe).ToArray()}) as p (realm, labels))
            select o.id, r.realm, o.name, o.labels::text
            from (select distinct realm from probes) r
            cross join lateral (
                select distinct on (a.id) a.id, a.name, a.labels
                from probes p join alerts a on a.state <> 'resolved' and a.realm = p.realm and a.labels @> p.labels::jsonb
                where p.realm = r.realm
                order by a.id limit {share}) o
            """,
            row => new OpenAlert(row.GetGuid(0), row.GetString(1), row.GetString(2), LabelSet.Of(JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(3))!)), ct);
    }

    /// <summary>Has open alerts judged again: those that have all labels of one of the probes, and those that one of these alerts suppresses.</summary>
    public static async Task JudgeAgainAsync(NpgsqlTransaction tx, IReadOnlyCollection<(string Realm, string Probe)> probes, IReadOnlyCollection<Guid> suppressing, CancellationToken ct)
    {
        if (probes.Count > 0)
        {
            await tx.ExecuteAsync($"""
                insert into alert_news (alert_id, what)
                select distinct a.id, 'judge'
                from unnest({probes.Select(probe => probe.Realm).ToArray()}, {probes.Select(probe => probe.Probe).ToArray()}) as p (realm, labels)
                join alerts a on a.state <> 'resolved' and a.realm = p.realm and a.labels @> p.labels::jsonb
                """, ct);
        }

        if (suppressing.Count > 0)
        {
            await tx.ExecuteAsync($"""
                insert into alert_news (alert_id, what)
                select distinct a.id, 'judge'
                from unnest({suppressing.Select(id => $"[{{\"id\":\"{id}\"}}]").ToArray()}) as p (by)
                join alerts a on a.state <> 'resolved' and a.suppressed_by <> '[]' and a.suppressed_by @> p.by::jsonb
                """, ct);
        }
    }

    public static Task SaveSuppressionAsync(NpgsqlTransaction tx, IReadOnlyCollection<(Guid Id, IReadOnlyList<Suppression> By)> changed, CancellationToken ct) =>
        changed.Count == 0 ? Task.CompletedTask : tx.ExecuteAsync($"""
            update alerts a set suppressed_by = n.suppressed_by::jsonb, suppressed = n.suppressed
            from unnest({changed.Select(one => one.Id).ToArray()}, {changed.Select(one => JsonSerializer.Serialize(one.By, WireJson.Options)).ToArray()},
                {changed.Select(one => Suppressing.HoldsEverywhere(one.By)).ToArray()}) as n (id, suppressed_by, suppressed)
            where a.id = n.id
            """, ct);

    public static Task LogAsync(NpgsqlTransaction tx, IReadOnlyCollection<AlertLogEntry> entries, CancellationToken ct) =>
        entries.Count == 0 ? Task.CompletedTask : tx.ExecuteAsync($"""
            insert into alert_log (alert_id, at, what, by, detail)
            select alert_id, at, what, by, detail::jsonb
            from unnest({entries.Select(one => one.AlertId).ToArray()}, {entries.Select(one => one.At).ToArray()}, {entries.Select(one => one.What).ToArray()},
                {Queries.Texts(entries.Select(one => one.By))},
                {entries.Select(one => one.Detail.GetRawText()).ToArray()}) as n (alert_id, at, what, by, detail)
            """, ct);

    public static Task<List<(Guid Alert, Guid Group, bool Told, bool Leaving)>> MembershipsAsync(NpgsqlTransaction tx, IReadOnlyCollection<Guid> alerts, CancellationToken ct) =>
        tx.QueryAsync($"select alert_id, group_id, told, leaving from notification_group_members where alert_id = any({alerts.ToArray()})",
            row => (row.GetGuid(0), row.GetGuid(1), row.GetBoolean(2), row.GetBoolean(3)), ct);

    public static Task<List<AlertGroup>> GroupsAsync(NpgsqlTransaction tx, IReadOnlyCollection<Guid> ids, CancellationToken ct) =>
        tx.QueryAsync($"select {Columns} from notification_groups where id = any({ids.ToArray()})", Read, ct);

    /// <summary>
    /// Groups that are due, except where news of a member wait: they are judged on what is known, all of it. Each "offset 0" keeps a look from
    /// becoming a join: group by group, member by member, it is two steps in an index; as a join it took minutes when many were due at once.
    /// </summary>
    public static Task<List<AlertGroup>> DueAsync(NpgsqlTransaction tx, FlushScope scope, DateTimeOffset now, int atMost, CancellationToken ct) =>
        tx.QueryAsync($"""
            select {Columns} from notification_groups g
            where due_at <= {now} and {scope.HoldsGroup()} and not exists (
                select 1 from notification_group_members m
                where m.group_id = g.id and m.alert_id <> all({scope.Aside.Alerts}) and exists (select 1 from alert_news n where n.alert_id = m.alert_id offset 0) offset 0)
            order by due_at limit {atMost}
            """, Read, ct);

    /// <summary>When the next group is due; null for never.</summary>
    public static Task<DateTimeOffset?> NextDueAsync(NpgsqlTransaction tx, FlushScope scope, CancellationToken ct) =>
        tx.FindAsync($"select min(due_at) from notification_groups g where due_at is not null and {scope.HoldsGroup()}", row => row.GetTimeOrNull(0), ct);

    /// <summary>Makes the groups that are not there; those that are follow their route.</summary>
    public static Task SaveRoutesAsync(NpgsqlTransaction tx, IReadOnlyCollection<AlertGroup> groups, CancellationToken ct) =>
        groups.Count == 0 ? Task.CompletedTask : tx.ExecuteAsync($"""
            insert into notification_groups as g (id, realm, receiver, key, labels, route, last_told_at)
            select id, realm, receiver, key, labels::jsonb, route::jsonb, last_told_at
            from unnest({groups.Select(one => one.Id).ToArray()}, {groups.Select(one => one.Realm).ToArray()}, {groups.Select(one => one.Receiver).ToArray()},
                {groups.Select(one => one.Key).ToArray()}, {groups.Select(one => JsonSerializer.Serialize(one.Labels, WireJson.Options)).ToArray()},
                {groups.Select(one => JsonSerializer.Serialize(one.Route, WireJson.Options)).ToArray()}, {Queries.Times(groups.Select(one => one.LastToldAt))})
                as n (id, realm, receiver, key, labels, route, last_told_at)
            on conflict (id) do update set route = excluded.route where g.route <> excluded.route
            """, ct);

    public static Task JoinAsync(NpgsqlTransaction tx, IReadOnlyCollection<(Guid Group, Guid Alert, DateTimeOffset TellAt, bool Told)> members, CancellationToken ct) =>
        members.Count == 0 ? Task.CompletedTask : tx.ExecuteAsync($"""
            insert into notification_group_members (group_id, alert_id, tell_at, told)
            select * from unnest({members.Select(one => one.Group).ToArray()}, {members.Select(one => one.Alert).ToArray()}, {members.Select(one => one.TellAt).ToArray()},
                {members.Select(one => one.Told).ToArray()})
            on conflict (group_id, alert_id) do update set leaving = false
            """, ct);

    /// <summary>Members whose routes lead elsewhere now: those who were told stay for the end.</summary>
    public static async Task LeaveAsync(NpgsqlTransaction tx, IReadOnlyCollection<(Guid Group, Guid Alert)> members, CancellationToken ct)
    {
        if (members.Count > 0)
        {
            var (groups, alerts) = (members.Select(one => one.Group).ToArray(), members.Select(one => one.Alert).ToArray());
            await tx.ExecuteAsync($"update notification_group_members set leaving = told where (group_id, alert_id) in (select * from unnest({groups}, {alerts}))", ct);
            await tx.ExecuteAsync($"delete from notification_group_members where not told and (group_id, alert_id) in (select * from unnest({groups}, {alerts}))", ct);
        }
    }

    /// <summary>The groups that were told of one of these alerts, and of nothing else that fires, calls for somebody, and has nobody who takes care.</summary>
    public static Task<List<AlertGroup>> AcknowledgedAsync(NpgsqlTransaction tx, IReadOnlyCollection<Guid> alerts, CancellationToken ct) =>
        tx.QueryAsync($"""
            select {Columns} from notification_groups g
            where id = any(array(select group_id from notification_group_members where alert_id = any({alerts.ToArray()}) and told))
                and not exists (
                    select 1 from notification_group_members m join alerts a on a.id = m.alert_id
                    where m.group_id = g.id and m.told and not m.leaving and a.state = 'firing' and not a.suppressed offset 0)
            """, Read, ct);

    public static Task TellAgainAsync(NpgsqlTransaction tx, IReadOnlyCollection<(Guid Alert, string Reason)> alerts, CancellationToken ct) =>
        alerts.Count == 0 ? Task.CompletedTask : tx.ExecuteAsync($"""
            update notification_group_members m set again = n.reason
            from unnest({alerts.Select(one => one.Alert).ToArray()}, {alerts.Select(one => one.Reason).ToArray()}) as n (alert_id, reason)
            where m.alert_id = n.alert_id
            """, ct);

    public static Task<List<(Guid Group, Member Member)>> MembersAsync(NpgsqlTransaction tx, IReadOnlyCollection<Guid> groups, CancellationToken ct) =>
        tx.QueryAsync($"""
            select m.group_id, m.alert_id, a.state, a.severity, m.tell_at, a.resolved_at, m.told, m.again, a.suppressed, m.leaving
            from notification_group_members m join alerts a on a.id = m.alert_id
            where m.group_id = any({groups.ToArray()})
            order by m.alert_id
            """,
            row => (row.GetGuid(0), new Member(
                row.GetGuid(1), Enum.Parse<AlertState>(row.GetString(2), ignoreCase: true), Severities.Parse(row.GetString(3))!.Value, row.GetTime(4), row.GetTimeOrNull(5),
                row.GetBoolean(6), row.GetOrNull(7, row.GetString), row.GetBoolean(8), row.GetBoolean(9))), ct);

    /// <summary>Keeps what was told, and when each group is to be looked at next; a group without members goes.</summary>
    public static async Task SaveAsync(NpgsqlTransaction tx, IReadOnlyCollection<(AlertGroup Group, GroupVerdict Verdict, bool Empty)> judged, CancellationToken ct)
    {
        var told = judged.SelectMany(one => one.Verdict.Told.Select(alert => (Group: one.Group.Id, Alert: alert))).ToList();
        if (told.Count > 0)
        {
            await tx.ExecuteAsync($"""
                update notification_group_members m set told = true, again = null
                from unnest({told.Select(one => one.Group).ToArray()}, {told.Select(one => one.Alert).ToArray()}) as n (group_id, alert_id)
                where m.group_id = n.group_id and m.alert_id = n.alert_id
                """, ct);
        }

        var gone = judged.Where(one => !one.Empty).SelectMany(one => one.Verdict.Gone.Select(alert => (Group: one.Group.Id, Alert: alert))).ToList();
        if (gone.Count > 0)
        {
            await tx.ExecuteAsync($"""
                delete from notification_group_members where (group_id, alert_id) in (
                    select * from unnest({gone.Select(one => one.Group).ToArray()}, {gone.Select(one => one.Alert).ToArray()}))
                """, ct);
        }

        if (judged.Where(one => one.Empty).Select(one => one.Group.Id).ToArray() is { Length: > 0 } empty)
        {
            await tx.ExecuteAsync($"delete from notification_groups where id = any({empty})", ct);
        }

        var groups = judged.Where(one => !one.Empty).ToList();
        if (groups.Count > 0)
        {
            await tx.ExecuteAsync($"""
                update notification_groups g
                set last_told_at = n.last_told_at, muted_by = n.muted_by, due_at = n.due_at
                from unnest({groups.Select(one => one.Group.Id).ToArray()}, {Queries.Times(groups.Select(one => one.Verdict.LastToldAt))},
                    {Queries.Texts(groups.Select(one => one.Group.MutedBy))},
                    {Queries.Times(groups.Select(one => one.Verdict.DueAt))}) as n (id, last_told_at, muted_by, due_at)
                where g.id = n.id
                """, ct);
        }
    }

    private static AlertGroup Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3), JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(4))!,
        JsonSerializer.Deserialize<GroupRoute>(row.GetString(5), WireJson.Options)!, row.GetTimeOrNull(6), row.GetOrNull(7, row.GetString),
        row.GetTimeOrNull(8));
}

/// <summary>Between label sets as alerts keep them and as matchers read them.</summary>
internal static class LabelSet
{
    public static Labels Of(IReadOnlyDictionary<string, string> labels) => Labels.Of([.. labels.Select(label => (label.Key, label.Value))]);

    public static Dictionary<string, string> ToDictionary(this Labels labels) =>
        Enumerable.Range(0, labels.Count).ToDictionary(labels.NameAt, labels.ValueAt);
}
