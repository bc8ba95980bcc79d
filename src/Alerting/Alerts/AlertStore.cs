using System.Runtime.CompilerServices;
using System.Text.Json;
using Npgsql;
using Platform.Alerting.Canaries;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Alerts;

/// <summary>What a list of alerts is narrowed to; null means any.</summary>
/// <param name="From">Started at or after this.</param>
/// <param name="To">Started before this.</param>
/// <param name="Suppressed">Only open ones that something keeps from being told.</param>
public sealed record AlertFilter(string? Realm, AlertState? State, bool OpenOnly, bool Suppressed, Severity? Severity, string? Name, DateTimeOffset? From, DateTimeOffset? To);

/// <summary>
/// All SQL about alerts. What changes an alert also tells about it: row, message and news for the flusher are written here together, in the
/// caller's transaction. Windows are locked before alerts, never the other way round; alerts in the order of their ids, and before new ones
/// are made, those in the order of their label sets.
/// </summary>
public sealed class AlertStore(NpgsqlDataSource db, AlertingMetrics metrics)
{
    private const int OpenAtOnce = 1_000;

    private static Sql Columns => $"""
        id, realm, fingerprint, group_key, rule_id, name, severity, source, state, labels::text, group_labels::text, annotations::text, event_tags::text,
        value, threshold, starts_at, fired_at, ends_at, acknowledged_by, acknowledged_at, acknowledge_reason, resolved_by, resolved_at, resolve_reason, why::text,
        generator_url, expires_at, acknowledged_until, suppressed_by::text
        """;

    /// <summary>Begins an episode. When the same label set is already open, that alert goes on and nobody is told twice; pushed ones and others are apart.</summary>
    /// <returns>The id of the open alert.</returns>
    public async Task<Guid> FireAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct) => (await FireAllAsync(tx, [alert], ct))[0];

    /// <summary>Begins many episodes in a fixed number of statements, each as <see cref="FireAsync"/> does.</summary>
    /// <returns>The id of each one's open alert, in the order given.</returns>
    public async Task<IReadOnlyList<Guid>> FireAllAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> fired, CancellationToken ct)
    {
        if (fired.Count == 0)
        {
            return [];
        }

        if (fired.Any(alert => alert.Source != fired[0].Source))
        {
            throw new ArgumentException("Alerts of different sources are fired apart.", nameof(fired));
        }

        var begun = await InsertAsync(tx, fired, ct);
        await TellFiredAsync(tx, [.. fired.Where(alert => begun.Contains(alert.Id))], ct);
        var known = fired.Where(alert => !begun.Contains(alert.Id)).ToList();
        var open = known.Count == 0 ? [] : await GoOnAsync(tx, known, ct);
        return [.. fired.Select(alert => begun.Contains(alert.Id) ? alert.Id : open.TryGetValue((alert.Realm, alert.Fingerprint), out var id) ? id
            : throw new InvalidOperationException($"The alert {alert.Fingerprint} was open and is no longer; whatever raised it comes again."))];
    }

    /// <summary>Keeps and tells episodes that were over when they came to light. They may lie beside open ones of the same labels.</summary>
    public async Task FirePassedAsync(NpgsqlTransaction tx, IReadOnlyList<(Alert Alert, DateTimeOffset EndsAt, string Reason)> over, DateTimeOffset now, CancellationToken ct)
    {
        var passed = over.Select(one => one.Alert.Resolve(new AlertAct(null, now, one.Reason), one.EndsAt)).ToList();
        if (passed.Count > 0)
        {
            await InsertAsync(tx, passed, ct);
            await TellFiredAsync(tx, passed, ct);
            await TellResolvedAsync(tx, passed, ct);
        }
    }

    /// <summary>Ends an episode whose condition is over; nothing happens when somebody has resolved it already.</summary>
    public Task ResolveAsync(NpgsqlTransaction tx, Guid id, DateTimeOffset endsAt, string reason, DateTimeOffset now, CancellationToken ct) =>
        ResolveAllAsync(tx, [(id, endsAt, reason)], now, ct);

    /// <summary>Ends many episodes in a fixed number of statements, each as <see cref="ResolveAsync"/> does.</summary>
    public async Task ResolveAllAsync(NpgsqlTransaction tx, IReadOnlyCollection<(Guid Id, DateTimeOffset EndsAt, string Reason)> over, DateTimeOffset now, CancellationToken ct)
    {
        if (over.Count > 0)
        {
            var ends = over.DistinctBy(one => one.Id).ToDictionary(one => one.Id);
            var open = await tx.QueryAsync($"select {Columns} from alerts where id = any({ends.Keys.ToArray()}) and state <> 'resolved' order by id for update", Read, ct);
            await SaveResolvedAsync(tx, open.ConvertAll(alert => alert.Resolve(new AlertAct(null, now, ends[alert.Id].Reason), ends[alert.Id].EndsAt)), ct);
        }
    }

    public async Task ResolveOfRuleAsync(NpgsqlTransaction tx, Guid rule, string reason, DateTimeOffset now, CancellationToken ct)
    {
        var open = await tx.QueryAsync($"select {Columns} from alerts where rule_id = {rule} and state <> 'resolved' order by id for update", Read, ct);
        await SaveResolvedAsync(tx, open.ConvertAll(alert => alert.Resolve(new AlertAct(null, now, reason), now)), ct);
    }

    /// <summary>Keeps and tells the end of alerts that the transaction holds.</summary>
    public async Task SaveResolvedAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> resolved, CancellationToken ct)
    {
        if (resolved.Count > 0)
        {
            await tx.ExecuteAsync($"""
                update alerts a set state = 'resolved', ends_at = n.ends_at, resolved_by = n.resolved_by, resolved_at = n.resolved_at, resolve_reason = n.resolve_reason
                from unnest({resolved.Select(alert => alert.Id).ToArray()}, {Queries.Times(resolved.Select(alert => alert.EndsAt))}, {Queries.Texts(resolved.Select(alert => alert.Resolved!.By))},
                    {Queries.Times(resolved.Select(alert => alert.Resolved?.At))}, {Queries.Texts(resolved.Select(alert => alert.Resolved!.Reason))})
                    as n (id, ends_at, resolved_by, resolved_at, resolve_reason)
                where a.id = n.id
                """, ct);
            await TellResolvedAsync(tx, resolved, ct);
        }
    }

    public async Task SaveAcknowledgedAsync(NpgsqlTransaction tx, Alert alert, CancellationToken ct)
    {
        var act = alert.Acknowledged!;
        await tx.ExecuteAsync($"""
            update alerts set state = 'acknowledged', acknowledged_by = {act.By}, acknowledged_at = {act.At}, acknowledge_reason = {act.Reason},
                acknowledged_until = {alert.AcknowledgedUntil}
            where id = {alert.Id}
            """, ct);
        await LogAsync(tx, alert.Id, act.At, "acknowledged", act.By, new { reason = act.Reason, until = alert.AcknowledgedUntil }, ct);
        await NewsAsync(tx, [alert.Id], "acknowledged", null, ct);
        await tx.SendAsync(new AlertAcknowledged(alert.Id, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, act.At, act.By!, act.Reason), ct);
    }

    /// <summary>Nobody listened for a while: alerts of before that their senders have to repeat go on until <paramref name="until"/> at least.</summary>
    public Task<int> ProlongAsync(DateTimeOffset firedBefore, DateTimeOffset until, CancellationToken ct) =>
        db.ExecuteAsync($"update alerts set expires_at = {until} where state <> 'resolved' and expires_at < {until} and fired_at <= {firedBefore}", ct);

    /// <summary>Ends what has an end: acknowledgements, and alerts whose sender has fallen silent. Replicas share the work.</summary>
    /// <returns>How many were ended.</returns>
    public async Task<int> EndDueAsync(DateTimeOffset now, int atMost, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var acknowledged = await tx.QueryAsync($"""
            select {Columns} from alerts where state = 'acknowledged' and acknowledged_until <= {now} order by id limit {atMost} for update skip locked
            """, Read, ct);
        foreach (var alert in acknowledged.Select(alert => (Before: alert, After: alert.EndAcknowledgement(now))).Where(one => one.After != one.Before))
        {
            await tx.ExecuteAsync($"""
                update alerts set state = 'firing', acknowledged_by = null, acknowledged_at = null, acknowledge_reason = null, acknowledged_until = null where id = {alert.After.Id}
                """, ct);
            await LogAsync(tx, alert.After.Id, now, "acknowledgement_ended", null, new { by = alert.Before.Acknowledged!.By, until = alert.Before.AcknowledgedUntil }, ct);
            await NewsAsync(tx, [alert.After.Id], "again", $"acknowledgement by {alert.Before.Acknowledged!.By} timed out", ct);
        }

        var expired = await tx.QueryAsync($"""
            select {Columns} from alerts where state <> 'resolved' and expires_at <= {now} order by id limit {atMost} for update skip locked
            """, Read, ct);
        await SaveResolvedAsync(tx, expired.ConvertAll(alert => alert.Resolve(new AlertAct(null, now, "Its sender did not repeat it."), alert.ExpiresAt!.Value)), ct);
        await tx.CommitAsync(ct);
        return acknowledged.Count + expired.Count;
    }

    /// <summary>What became of an alert besides its beginning and end, oldest first.</summary>
    public Task<List<AlertLogEntry>> LogOfAsync(Guid id, int limit, CancellationToken ct) =>
        db.QueryAsync($"select alert_id, at, what, by, detail::text from alert_log where alert_id = {id} order by number limit {limit}",
            row => new AlertLogEntry(row.GetGuid(0), row.GetTime(1), row.GetString(2), row.GetOrNull(3, row.GetString), JsonElement.Parse(row.GetString(4))), ct);

    public Task<List<AlertGroupPlace>> PlacesOfAsync(Guid id, CancellationToken ct) =>
        db.QueryAsync($"""
            select g.receiver, g.key, m.told, g.last_told_at, g.muted_by, g.due_at
            from notification_group_members m join notification_groups g on g.id = m.group_id where m.alert_id = {id} order by g.receiver, g.key limit 100
            """,
            row => new AlertGroupPlace(row.GetString(0), row.GetString(1), row.GetBoolean(2), row.GetTimeOrNull(3), row.GetOrNull(4, row.GetString), row.GetTimeOrNull(5)), ct);

    public Task<Alert?> FindAsync(Guid id, CancellationToken ct) => db.FindAsync($"select {Columns} from alerts where id = {id}", Read, ct);

    /// <summary>The alerts of these ids that are there.</summary>
    internal static Task<List<Alert>> GetAsync(NpgsqlTransaction tx, IReadOnlyCollection<Guid> ids, CancellationToken ct) =>
        tx.QueryAsync($"select {Columns} from alerts where id = any({ids.ToArray()})", Read, ct);

    public Task<Alert?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from alerts where id = {id} for update", Read, ct);

    /// <summary>The platform's own open alert of a label set; a pushed one is another.</summary>
    public Task<Alert?> FindOpenAsync(NpgsqlTransaction tx, string realm, string fingerprint, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from alerts where realm = {realm} and fingerprint = {fingerprint} and source <> 'api' and state <> 'resolved'", Read, ct);

    /// <summary>The newest alert of a group, open or not.</summary>
    public Task<Alert?> FindLatestOfGroupAsync(NpgsqlTransaction tx, string realm, string groupKey, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from alerts where realm = {realm} and group_key = {Alert.BoundKey(groupKey)} order by fired_at desc, id desc limit 1 for update", Read, ct);

    public Task<List<Alert>> ListAsync(AlertFilter filter, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"realm <> {Canary.Realm}";
        where = filter.Realm is { } realm ? $"realm = {realm}" : where;
        where = filter.State is { } state ? $"{where} and state = {WireJson.Name(state.ToString())}" : where;
        // Said in so many words, so that the indexes of open alerts serve: they may be few among many.
        where = filter.OpenOnly || filter.Suppressed || filter.State is AlertState.Firing or AlertState.Acknowledged ? $"{where} and state <> 'resolved'" : where;
        where = filter.Suppressed ? $"{where} and suppressed_by <> '[]'" : where;
        where = filter.Severity is { } severity ? $"{where} and severity = {severity.Word()}" : where;
        where = filter.Name is { } name ? $"{where} and name = {name}" : where;
        where = filter.From is { } from ? $"{where} and starts_at >= {from}" : where;
        where = filter.To is { } to ? $"{where} and starts_at < {to}" : where;
        where = after is { } place ? $"{where} and (fired_at, id) < ({place.At}, {place.Id})" : where;
        return db.QueryAsync($"select {Columns} from alerts where {where} order by fired_at desc, id desc limit {limit}", Read, ct);
    }

    /// <summary>
    /// Every open alert, realm by realm in the order of the label sets. Read some at a time, so that neither memory nor a connection is held
    /// for all of them: one that begins or ends meanwhile may be among them or not.
    /// </summary>
    /// <param name="realm">Null for all.</param>
    public async IAsyncEnumerable<Alert> OpenAsync(string? realm, [EnumeratorCancellation] CancellationToken ct)
    {
        var (lastRealm, lastFingerprint, lastPushed) = ("", "", false);
        List<Alert> some;
        do
        {
            // In terms of the index of open alerts: each time begins where the one before ended.
            Sql where = $"realm <> {Canary.Realm} and (realm, fingerprint, (source = 'api')) > ({lastRealm}, {lastFingerprint}, {lastPushed})";
            where = realm is not null ? $"realm = {realm} and (fingerprint, (source = 'api')) > ({lastFingerprint}, {lastPushed})" : where;
            some = await db.QueryAsync($"select {Columns} from alerts where {where} and state <> 'resolved' order by realm, fingerprint, (source = 'api') limit {OpenAtOnce}", Read, ct);
            foreach (var alert in some)
            {
                yield return alert;
                (lastRealm, lastFingerprint, lastPushed) = (alert.Realm, alert.Fingerprint, alert.Source == AlertSource.Api);
            }
        }
        while (some.Count == OpenAtOnce);
    }

    public async Task<AlertCounts> CountAsync(string? realm, CancellationToken ct)
    {
        Sql where = $"state <> 'resolved'";
        if (realm is not null)
        {
            where = $"{where} and realm = {realm}";
        }
        else
        {
            where = $"{where} and realm <> {Canary.Realm}";
        }

        return (await db.FindAsync($"select count(*) from alerts where {where}", row => new AlertCounts(row.GetInt64(0)), ct))!;
    }

    /// <summary>Deletes alerts that were resolved before <paramref name="before"/>. Notifications keep what they say, and go by their own age.</summary>
    public async Task<int> DeleteOldAsync(DateTimeOffset before, int atMost, CancellationToken ct) =>
        await db.FindAsync($"""
            with gone as (
                delete from alerts where id = any(array(
                    select id from alerts where state = 'resolved' and resolved_at < {before} order by resolved_at limit {atMost} for update skip locked))
                returning id),
            members as (delete from notification_group_members where alert_id = any(array(select id from gone))),
            news as (delete from alert_news where alert_id = any(array(select id from gone))),
            log as (delete from alert_log where alert_id = any(array(select id from gone)))
            select count(*)::int from gone
            """, row => row.GetInt32(0), ct);

    // Returns those that are new: the label set of the others is open already, or stands in the list before them. The order is the same for
    // everybody, so that two who insert the same label sets wait for each other and never in a circle.
    private static async Task<HashSet<Guid>> InsertAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> alerts, CancellationToken ct)
    {
        return [.. await tx.QueryAsync($"""
            insert into alerts (id, realm, fingerprint, group_key, rule_id, name, severity, source, state, labels, group_labels, annotations, event_tags,
                value, threshold, starts_at, fired_at, ends_at, resolved_at, resolve_reason, why, generator_url, expires_at)
            select id, realm, fingerprint, group_key, rule_id, name, severity, source, state, labels::jsonb, group_labels::jsonb, annotations::jsonb, event_tags::jsonb,
                value, threshold, starts_at, fired_at, ends_at, resolved_at, resolve_reason, why::jsonb, generator_url, expires_at
            from unnest({Each(alert => alert.Id)}, {Each(alert => alert.Realm)}, {Each(alert => alert.Fingerprint)}, {Each(alert => alert.GroupKey)},
                {Each(alert => alert.RuleId)}, {Each(alert => alert.Name)}, {Each(alert => alert.Severity.Word())}, {Each(alert => WireJson.Name(alert.Source.ToString()))},
                {Each(alert => WireJson.Name(alert.State.ToString()))}, {Each(alert => Json(alert.Labels))}, {Each(alert => Json(alert.GroupLabels))},
                {Each(alert => Json(alert.Annotations))}, {Each(alert => Json(alert.EventTags))}, {Each(alert => alert.Value)}, {Each(alert => alert.Threshold)},
                {Queries.Times(alerts.Select(alert => (DateTimeOffset?)alert.StartsAt))}, {Queries.Times(alerts.Select(alert => (DateTimeOffset?)alert.FiredAt))},
                {Queries.Times(alerts.Select(alert => alert.EndsAt))}, {Queries.Times(alerts.Select(alert => alert.Resolved?.At))},
                {Queries.Texts(alerts.Select(alert => alert.Resolved?.Reason))}, {Each(alert => Json(alert.Why))}, {Each(alert => alert.GeneratorUrl)},
                {Queries.Times(alerts.Select(alert => alert.ExpiresAt))})
                with ordinality as n (id, realm, fingerprint, group_key, rule_id, name, severity, source, state, labels, group_labels, annotations, event_tags,
                    value, threshold, starts_at, fired_at, ends_at, resolved_at, resolve_reason, why, generator_url, expires_at, place)
            order by realm, fingerprint, place
            on conflict (realm, fingerprint, (source = 'api')) where state <> 'resolved' do nothing
            returning id
            """, row => row.GetGuid(0), ct)];

        T[] Each<T>(Func<Alert, T> column) => [.. alerts.Select(column)];
    }

    // What is raised again goes on, and when its sender has to repeat itself, for as long as that says.
    private static async Task<Dictionary<(string Realm, string Fingerprint), Guid>> GoOnAsync(NpgsqlTransaction tx, List<Alert> again, CancellationToken ct)
    {
        var open = await tx.QueryAsync($"""
            select a.realm, a.fingerprint, a.id
            from unnest({again.Select(alert => alert.Realm).ToArray()}, {again.Select(alert => alert.Fingerprint).ToArray()}) as n (realm, fingerprint) join alerts a using (realm, fingerprint)
            where a.state <> 'resolved' and (a.source = 'api') = {again[0].Source == AlertSource.Api} order by a.id for update of a
            """, row => (Labels: (row.GetString(0), row.GetString(1)), Id: row.GetGuid(2)), ct);
        var ids = open.DistinctBy(one => one.Id).ToDictionary(one => one.Labels, one => one.Id);
        var prolonged = again.Where(alert => alert.ExpiresAt is not null && ids.ContainsKey((alert.Realm, alert.Fingerprint))).ToList();
        if (prolonged.Count > 0)
        {
            await tx.ExecuteAsync($"""
                update alerts a set expires_at = n.expires_at
                from unnest({prolonged.Select(alert => ids[(alert.Realm, alert.Fingerprint)]).ToArray()}, {Queries.Times(prolonged.Select(alert => alert.ExpiresAt))}) as n (id, expires_at)
                where a.id = n.id and a.expires_at < n.expires_at
                """, ct);
        }

        return ids;
    }

    private async Task TellFiredAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> alerts, CancellationToken ct)
    {
        // Test alerts are no other service's business, and no statistic's.
        var others = alerts.Where(alert => alert.Realm != Canary.Realm).ToList();
        await tx.SendAllAsync(
            [.. others.Select(alert => new AlertFired(
                alert.Id, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, alert.Severity, WireJson.Name(alert.Source.ToString()),
                alert.Annotations.GetValueOrDefault("summary", alert.Name), alert.Labels, alert.Annotations, alert.EventTags, alert.StartsAt, alert.Value, alert.Threshold))],
            ct);
        await NewsAsync(tx, [.. alerts.Select(alert => alert.Id)], "began", null, ct);
        foreach (var alert in others)
        {
            metrics.Fired(WireJson.Name(alert.Source.ToString()), alert.Severity);
        }
    }

    private static async Task TellResolvedAsync(NpgsqlTransaction tx, IReadOnlyList<Alert> alerts, CancellationToken ct)
    {
        await tx.SendAllAsync(
            [.. alerts.Where(alert => alert.Realm != Canary.Realm).Select(alert => new AlertResolved(
                alert.Id, alert.Realm, alert.Fingerprint, alert.GroupKey, alert.Name, alert.EndsAt!.Value, alert.Resolved!.By, alert.Resolved.Reason))],
            ct);
        await NewsAsync(tx, [.. alerts.Select(alert => alert.Id)], "ended", null, ct);
    }

    private static Task<int> LogAsync<T>(NpgsqlTransaction tx, Guid alert, DateTimeOffset at, string what, string? by, T detail, CancellationToken ct) =>
        tx.ExecuteAsync($"insert into alert_log (alert_id, at, what, by, detail) values ({alert}, {at}, {what}, {by}, {Queries.Jsonb(detail, WireJson.Options)})", ct);

    private static Task NewsAsync(NpgsqlTransaction tx, Guid[] alerts, string what, string? again, CancellationToken ct) =>
        alerts.Length == 0 ? Task.CompletedTask : tx.ExecuteAsync($"insert into alert_news (alert_id, what, again) select id, {what}, {again} from unnest({alerts}) as n (id)", ct);

    private static string Json<T>(T value) => JsonSerializer.Serialize(value, WireJson.Options);

    private static Alert Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3), row.IsDBNull(4) ? null : row.GetGuid(4), row.GetString(5),
        Severities.Parse(row.GetString(6))!.Value, Enum.Parse<AlertSource>(row.GetString(7), ignoreCase: true), Enum.Parse<AlertState>(row.GetString(8), ignoreCase: true),
        Words(row, 9), Words(row, 10), Words(row, 11), Words(row, 12),
        row.IsDBNull(13) ? null : row.GetDouble(13), row.IsDBNull(14) ? null : row.GetDouble(14),
        row.GetTime(15), row.GetTime(16), row.GetTimeOrNull(17),
        row.GetTimeOrNull(19) is { } acknowledgedAt ? new AlertAct(row.GetOrNull(18, row.GetString), acknowledgedAt, row.GetOrNull(20, row.GetString)) : null,
        row.GetTimeOrNull(22) is { } resolvedAt ? new AlertAct(row.GetOrNull(21, row.GetString), resolvedAt, row.GetOrNull(23, row.GetString)) : null,
        JsonSerializer.Deserialize<AlertReason>(row.GetString(24), WireJson.Options)!,
        row.GetString(25), row.GetTimeOrNull(26), row.GetTimeOrNull(27), JsonSerializer.Deserialize<Suppression[]>(row.GetString(28), WireJson.Options));

    private static Dictionary<string, string> Words(NpgsqlDataReader row, int ordinal) =>
        JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(ordinal))!;
}
