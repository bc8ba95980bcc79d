using System.Text.Json;
using Npgsql;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Rules;

/// <summary>All SQL about rules.</summary>
public sealed class RuleStore(NpgsqlDataSource db)
{
    /// <summary>Shared by batches of events while they are evaluated, exclusive for a change of the rules. Any constant will do.</summary>
    private const long Lock = 0x616c7274_72756c65;

    private static Sql Columns =>
        $"id, realm, name, description, match::text, threshold, window_seconds, group_by, severity, enabled, created_by, created_at, updated_at, version, condition, not_during, labels::text, annotations::text, cause, cause_by";

    /// <summary>
    /// The version of the rules, which does not move until the transaction ends. So a batch is evaluated wholly before or wholly after a
    /// change, and every batch that begins after the change's commit sees it, in whatever replica.
    /// </summary>
    public static async Task<long> HoldVersionAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        await tx.ExecuteAsync($"select pg_advisory_xact_lock_shared({Lock})", ct);
        return await tx.FindAsync($"select version from rules_version", row => row.GetInt64(0), ct);
    }

    /// <summary>Waits for batches that are being evaluated, and keeps new ones waiting until the transaction ends.</summary>
    public static Task LockForChangeAsync(NpgsqlTransaction tx, CancellationToken ct) =>
        tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock})", ct);

    public static Task<int> CountAsync(NpgsqlTransaction tx, string realm, CancellationToken ct) =>
        tx.FindAsync($"select count(*)::int from rules where realm = {realm}", row => row.GetInt32(0), ct);

    public static Task<List<Rule>> ListAllAsync(NpgsqlTransaction tx, CancellationToken ct) =>
        tx.QueryAsync($"select {Columns} from rules", Read, ct);

    /// <param name="realm">That realm's rules and those of all realms; null for every rule.</param>
    public Task<List<Rule>> ListAsync(string? realm, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        if (realm is not null)
        {
            where = $"{where} and realm in ({realm}, '*')";
        }

        if (after is { } place)
        {
            where = $"{where} and (created_at, id) > ({place.At}, {place.Id})";
        }

        return db.QueryAsync($"select {Columns} from rules where {where} order by created_at, id limit {limit}", Read, ct);
    }

    public Task<Rule?> FindAsync(Guid id, CancellationToken ct) =>
        db.FindAsync($"select {Columns} from rules where id = {id}", Read, ct);

    public Task<Rule?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from rules where id = {id} for update", Read, ct);

    /// <summary>False when the realm already has a rule of that name.</summary>
    public async Task<bool> InsertAsync(NpgsqlTransaction tx, Rule rule, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into rules (id, realm, name, description, match, threshold, window_seconds, group_by, severity, enabled, created_by, created_at, updated_at, version,
                condition, not_during, labels, annotations, cause, cause_by)
            values ({rule.Id}, {rule.Realm}, {rule.Name}, {rule.Description}, {Queries.Jsonb(rule.Match, WireJson.Options)}, {rule.Threshold},
                    {rule.WindowSeconds}, {rule.GroupBy.ToArray()}, {rule.Severity.Word()}, {rule.Enabled}, {rule.CreatedBy}, {rule.CreatedAt}, {rule.UpdatedAt}, {rule.Version},
                    {rule.Condition?.Text}, {rule.NotDuring.ToArray()}, {Queries.Jsonb(rule.Labels, WireJson.Options)}, {Queries.Jsonb(rule.Annotations, WireJson.Options)}, {rule.Cause}, {rule.CauseBy})
            on conflict do nothing
            """, ct) == 1;

    /// <summary>False when another rule of the realm has the name.</summary>
    public async Task<bool> UpdateAsync(NpgsqlTransaction tx, Rule rule, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            update rules set name = {rule.Name}, description = {rule.Description}, match = {Queries.Jsonb(rule.Match, WireJson.Options)},
                threshold = {rule.Threshold}, window_seconds = {rule.WindowSeconds}, group_by = {rule.GroupBy.ToArray()}, severity = {rule.Severity.Word()},
                enabled = {rule.Enabled}, updated_at = {rule.UpdatedAt}, version = {rule.Version}, condition = {rule.Condition?.Text},
                not_during = {rule.NotDuring.ToArray()}, labels = {Queries.Jsonb(rule.Labels, WireJson.Options)},
                annotations = {Queries.Jsonb(rule.Annotations, WireJson.Options)}, cause = {rule.Cause}, cause_by = {rule.CauseBy}
            where id = {rule.Id} and not exists (select 1 from rules other where other.realm = {rule.Realm} and other.name = {rule.Name} and other.id <> {rule.Id})
            """, ct) == 1;

    public Task DeleteAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.ExecuteAsync($"delete from rules where id = {id}", ct);

    /// <summary>Forgets what was counted for a rule.</summary>
    public async Task ForgetCountsAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct)
    {
        await tx.ExecuteAsync($"delete from event_windows where rule_id = {id}", ct);
        await tx.ExecuteAsync($"delete from event_tails where rule_id = {id}", ct);
    }

    private static Rule Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), row.GetString(2), row.GetString(3),
        JsonSerializer.Deserialize<RuleMatch>(row.GetString(4), WireJson.Options)!,
        row.GetInt32(5), row.GetInt32(6), row.GetFieldValue<string[]>(7), Severities.Parse(row.GetString(8))!.Value,
        row.GetBoolean(9), row.GetString(10), row.GetTime(11), row.GetTime(12), row.GetInt32(13))
    {
        Condition = Condition.Parse(row.GetOrNull(14, row.GetString)),
        NotDuring = row.GetFieldValue<string[]>(15),
        Labels = Words(row, 16),
        Annotations = Words(row, 17),
        Cause = row.GetOrNull(18, row.GetString),
        CauseBy = row.GetOrNull(19, row.GetString),
    };

    private static Dictionary<string, string> Words(NpgsqlDataReader row, int ordinal) =>
        JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(ordinal))!;
}
