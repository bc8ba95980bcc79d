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
/// </summary>
public sealed class AlertIntake(NpgsqlDataSource db, AlertStore alerts, Flusher flusher, DoorOptions options, TimeProvider clock)
{
    /// <param name="sender">Who tells, for the reason of the end.</param>
    /// <returns>Why new ones were left out; null when all were taken.</returns>
    public async Task<string?> TakeAsync(string realm, IReadOnlyList<PushedAlert> pushed, string sender, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        // In one order everywhere: two senders of the same alerts wait for each other and never in a circle.
        var sorted = pushed.OrderBy(alert => alert.Fingerprint, StringComparer.Ordinal).ToList();
        string[] fingerprints = [.. sorted.Select(alert => alert.Fingerprint).Distinct()];
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var open = (await tx.QueryAsync(
            $"select fingerprint, id from alerts where realm = {realm} and fingerprint = any({fingerprints}) and state <> 'resolved'",
            row => (row.GetString(0), row.GetGuid(1)), ct)).ToDictionary(one => one.Item1, one => one.Item2);
        var dismissed = await DismissedAsync(tx, realm, sorted.Where(alert => alert.EndsAt is null && !open.ContainsKey(alert.Fingerprint)), ct);
        var room = open.Count == fingerprints.Length
            ? 0
            : options.MaxOpen - await tx.FindAsync($"select count(*)::int from alerts where realm = {realm} and state <> 'resolved'", row => row.GetInt32(0), ct);
        var left = 0;
        foreach (var alert in sorted)
        {
            var isOpen = open.TryGetValue(alert.Fingerprint, out var id);
            if (alert.EndsAt is { } end)
            {
                if (isOpen)
                {
                    await alerts.ResolveAsync(tx, id, end, $"{sender} told that it is over.", now, ct);
                    open.Remove(alert.Fingerprint);
                }
            }
            else if (!isOpen && dismissed.Contains((alert.Fingerprint, alert.StartsAt)))
            {
                continue;
            }
            else if (!isOpen && room-- <= 0)
            {
                left++;
            }
            else
            {
                open[alert.Fingerprint] = await alerts.FireAsync(tx, alert.Fire(realm, now), ct);
                if (isOpen)
                {
                    await RefreshAsync(tx, id, alert, ct);
                }
            }
        }

        await tx.CommitAsync(ct);
        flusher.Wake();
        return left == 0 ? null : $"{left} new alerts were left out: the realm {realm} has {options.MaxOpen} open ones. End some, or raise ALERT_PUSH_MAX_OPEN.";
    }

    // What a person resolved stays so while its sender goes on about the same episode; its next one has another beginning.
    private static async Task<HashSet<(string, DateTimeOffset)>> DismissedAsync(NpgsqlTransaction tx, string realm, IEnumerable<PushedAlert> unknown, CancellationToken ct)
    {
        string[] keys = [.. unknown.Select(alert => alert.GroupKey(realm)).Distinct()];
        return keys.Length == 0 ? [] : (await tx.QueryAsync($"""
            select fingerprint, starts_at from alerts where realm = {realm} and group_key = any({keys}) and state = 'resolved' and resolved_by is not null
            """, row => (row.GetString(0), row.GetTime(1)), ct)).ToHashSet();
    }

    // Annotations may change while an alert fires, a value in them for example; the newest are shown.
    private static async Task RefreshAsync(NpgsqlTransaction tx, Guid id, PushedAlert alert, CancellationToken ct)
    {
        var annotations = JsonSerializer.Serialize(alert.Annotations, WireJson.Options);
        await tx.ExecuteAsync($"""
            update alerts set annotations = {Queries.Jsonb(annotations)}, generator_url = {alert.GeneratorUrl}
            where id = {id} and (annotations <> {Queries.Jsonb(annotations)} or generator_url <> {alert.GeneratorUrl})
            """, ct);
    }
}
