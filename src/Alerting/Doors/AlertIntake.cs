using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Routing;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

/// <summary>
/// Takes pushed alerts in, all of a request in one transaction. The label set is the identity: repeated, an alert goes on and its expiry
/// moves; told to be over, it resolves; unknown and over, nothing happens. So a request that comes twice changes nothing the second time.
/// Alerts of the platform itself, whatever their labels, are out of reach from here.
/// </summary>
public sealed class AlertIntake(NpgsqlDataSource db, AlertStore alerts, Flusher flusher, DoorOptions options, TimeProvider clock)
{
    /// <param name="sender">Who tells, for the reason of the end.</param>
    /// <returns>Why new ones were left out; null when all were taken.</returns>
    public async Task<string?> TakeAsync(string realm, IReadOnlyList<PushedAlert> pushed, string sender, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var byLabels = pushed.GroupBy(alert => alert.Fingerprint).Select(same => same.ToArray()).ToList();
        var left = 0;
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        // A request that names a label set more than once is taken in its order: the first of each, then the second of each.
        for (var turn = 0; byLabels.Exists(same => same.Length > turn); turn++)
        {
            left += await TakeAsync(tx, realm, byLabels.Where(same => same.Length > turn).Select(same => same[turn]).ToList(), sender, now, ct);
        }

        await tx.CommitAsync(ct);
        flusher.Wake();
        return left == 0 ? null : $"{left} new alerts were left out: the realm {realm} has {options.MaxOpen} open ones that were pushed. End some, or raise ALERT_PUSH_MAX_OPEN.";
    }

    // Each label set once. Returns how many new ones there was no room for.
    private async Task<int> TakeAsync(NpgsqlTransaction tx, string realm, List<PushedAlert> pushed, string sender, DateTimeOffset now, CancellationToken ct)
    {
        var open = (await tx.QueryAsync($"""
            select fingerprint, id from alerts
            where realm = {realm} and fingerprint = any({pushed.Select(alert => alert.Fingerprint).ToArray()}) and source = 'api' and state <> 'resolved'
            order by id for update
            """, row => (Fingerprint: row.GetString(0), Id: row.GetGuid(1)), ct)).ToDictionary(one => one.Fingerprint, one => one.Id);
        var known = pushed.ToLookup(alert => open.ContainsKey(alert.Fingerprint));
        await alerts.ResolveAllAsync(tx, [.. known[true].Where(alert => alert.EndsAt is not null).Select(alert => (open[alert.Fingerprint], alert.EndsAt!.Value, $"{sender} told that it is over."))], now, ct);
        await RefreshAsync(tx, [.. known[true].Where(alert => alert.EndsAt is null).Select(alert => (open[alert.Fingerprint], alert))], ct);

        var fresh = known[false].Where(alert => alert.EndsAt is null).ToList();
        if (fresh.Count == 0)
        {
            return 0;
        }

        var dismissed = await DismissedAsync(tx, realm, fresh, ct);
        fresh.RemoveAll(alert => dismissed.Contains((alert.Fingerprint, alert.StartsAt)));
        var room = await RoomAsync(tx, realm, ct);
        var taken = fresh.Take(Math.Max(room, 0)).ToList();
        await alerts.FireAllAsync(tx, taken.ConvertAll(alert => alert.Fire(realm, now)), ct);
        return fresh.Count - taken.Count;
    }

    /// <summary>How many more pushed alerts the realm may have open.</summary>
    internal async Task<int> RoomAsync(NpgsqlTransaction tx, string realm, CancellationToken ct) =>
        options.MaxOpen - await tx.FindAsync($"select count(*)::int from alerts where realm = {realm} and source = 'api' and state <> 'resolved'", row => row.GetInt32(0), ct);

    // What a person resolved stays so while its sender goes on about the same episode; its next one has another beginning.
    private static async Task<HashSet<(string, DateTimeOffset)>> DismissedAsync(NpgsqlTransaction tx, string realm, IEnumerable<PushedAlert> unknown, CancellationToken ct)
    {
        string[] keys = [.. unknown.Select(alert => alert.GroupKey(realm)).Distinct()];
        return keys.Length == 0 ? [] : (await tx.QueryAsync($"""
            select fingerprint, starts_at from alerts where realm = {realm} and group_key = any({keys}) and state = 'resolved' and resolved_by is not null
            """, row => (row.GetString(0), row.GetTime(1)), ct)).ToHashSet();
    }

    // Its sender repeats itself: it goes on for as long as that says. Annotations may change while an alert fires, a value in them for example;
    // the newest are shown.
    private static Task RefreshAsync(NpgsqlTransaction tx, IReadOnlyCollection<(Guid Id, PushedAlert Alert)> repeated, CancellationToken ct) =>
        repeated.Count == 0 ? Task.CompletedTask : tx.ExecuteAsync($"""
            update alerts a set expires_at = case when a.expires_at < n.expires_at then n.expires_at else a.expires_at end, annotations = n.annotations::jsonb, generator_url = n.generator_url
            from unnest({repeated.Select(one => one.Id).ToArray()}, {Queries.Times(repeated.Select(one => one.Alert.ExpiresAt))},
                {repeated.Select(one => JsonSerializer.Serialize(one.Alert.Annotations, WireJson.Options)).ToArray()}, {repeated.Select(one => one.Alert.GeneratorUrl).ToArray()})
                as n (id, expires_at, annotations, generator_url)
            where a.id = n.id and (a.expires_at < n.expires_at or a.annotations <> n.annotations::jsonb or a.generator_url <> n.generator_url)
            """, ct);
}
