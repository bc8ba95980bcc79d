using System.Text.Json;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Detections;
using Platform.Alerting.Windows;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Rules;

/// <summary>
/// The rules that the platform brings along: those of seed 002 and the detection pack. They hold in every realm and are rules like any
/// other: they can be changed, switched off and deleted, and stay so, until somebody restores them. What nobody touched follows the
/// settings at every start.
/// </summary>
public sealed partial class DefaultRules(
    NpgsqlDataSource db, RuleStore store, AlertStore alerts, DetectionOptions detections, WindowOptions windows, TimeProvider clock, ILogger<DefaultRules> logger) : IHostedService
{
    private const string By = "system:alerting";

    public static IReadOnlyList<Rule> At(DetectionOptions detections, DateTimeOffset now) => [.. OfSeed002(detections.Enabled, now), .. DetectionPack.Rules(detections, now)];

    /// <param name="withDetections">
    /// The detections tell guessing at a user apart from guessing at many, and page for it: then <c>auth_failures</c> is left with the failed
    /// logins that name no user, which they cannot judge. One cause, one page.
    /// </param>
    private static Rule[] OfSeed002(bool withDetections, DateTimeOffset now) =>
    [
        new(new Guid("0190a000-0000-7000-8000-000000000001"), Realm.All, "auth_failures",
            "Many failed logins from one address: somebody is guessing passwords.",
            new RuleMatch(null, null, null, new Dictionary<string, string> { ["action"] = "login", ["outcome"] = "failure" }) { Absent = withDetections ? ["tags.user_id"] : null },
            5, 300, ["tags.ip_address"], Severity.High, true, By, now, now, 1)
        {
            Cause = withDetections ? "password_guessing" : null,
            CauseBy = withDetections ? "tags.ip_address" : null,
        },
        new(new Guid("0190a000-0000-7000-8000-000000000002"), Realm.All, "api_errors",
            "A service fails its callers again and again.",
            new RuleMatch(null, null, "error", new Dictionary<string, string>()),
            10, 60, ["source"], Severity.Medium, true, By, now, now, 1),
        new(new Guid("0190a000-0000-7000-8000-000000000003"), Realm.All, "drift_detected",
            "A setting is not what it was declared to be.",
            new RuleMatch(null, null, null, new Dictionary<string, string> { ["action"] = "config_drift" }),
            1, 3600, ["source", "tags.setting"], Severity.High, true, By, now, now, 1),
    ];

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(cancellationToken);
        await using var tx = await connection.BeginTransactionAsync(cancellationToken);
        // Written only when something is to be written, so that a start does not wait for batches, nor batches for a start.
        var made = await MadeAsync(tx, cancellationToken);
        if (At(detections, now).All(rule => made.GetValueOrDefault(rule.Name) == Definition(rule)))
        {
            return;
        }

        await RuleStore.LockForChangeAsync(tx, cancellationToken);
        made = await MadeAsync(tx, cancellationToken);
        foreach (var rule in At(detections, now))
        {
            await FollowAsync(tx, rule, made.GetValueOrDefault(rule.Name), now, cancellationToken);
        }

        await tx.ExecuteAsync($"update rules_version set defaults_made = true where not defaults_made", cancellationToken);
        await tx.CommitAsync(cancellationToken);
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Makes a rule as it is by the settings, whatever became of it. False when another rule has its name.</summary>
    public async Task<bool> RestoreAsync(NpgsqlTransaction tx, Rule rule, DateTimeOffset now, CancellationToken ct)
    {
        var old = await store.FindForChangeAsync(tx, rule.Id, ct);
        if (!await WriteAsync(tx, rule, old, "The rule was restored to its default.", now, ct))
        {
            return false;
        }

        await RememberAsync(tx, rule, ct);
        return true;
    }

    // What people changed or deleted stays: only a rule that is still as it was made follows.
    private async Task FollowAsync(NpgsqlTransaction tx, Rule rule, string? made, DateTimeOffset now, CancellationToken ct)
    {
        if (made == Definition(rule))
        {
            return;
        }

        var old = await store.FindForChangeAsync(tx, rule.Id, ct);
        if (made is null ? old is null : old is not null && Definition(old) == made)
        {
            if (!await WriteAsync(tx, rule, old, "The settings of the rule were changed.", now, ct))
            {
                NameIsTaken(rule.Name);
                return;
            }
        }
        else
        {
            LeftAlone(rule.Name);
        }

        await RememberAsync(tx, rule, ct);
    }

    private async Task<bool> WriteAsync(NpgsqlTransaction tx, Rule rule, Rule? old, string reason, DateTimeOffset now, CancellationToken ct)
    {
        var wanted = old is null ? rule : rule with { CreatedAt = old.CreatedAt, Version = old.Version + 1 };
        if (old is null ? !await store.InsertAsync(tx, wanted, ct) : !await store.UpdateAsync(tx, wanted, ct))
        {
            return false;
        }

        if (old is not null && wanted.CountsDifferently(old))
        {
            await store.ForgetCountsAsync(tx, rule.Id, ct);
            await alerts.ResolveOfRuleAsync(tx, rule.Id, reason, now, ct);
        }

        await WindowStore.StartAsync(tx, wanted, windows, BatchMatch.Microseconds(now), ct);
        return true;
    }

    // Before the pack there was no memory of what was made: the rules of seed 002 were always made as they are without it.
    private static async Task<Dictionary<string, string>> MadeAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        var made = (await tx.QueryAsync($"select name, definition from built_in_rules", row => (Name: row.GetString(0), Definition: row.GetString(1)), ct))
            .ToDictionary(one => one.Name, one => one.Definition);
        if (made.Count == 0 && await tx.FindAsync($"select defaults_made from rules_version", row => row.GetBoolean(0), ct))
        {
            foreach (var rule in OfSeed002(withDetections: false, DateTimeOffset.UnixEpoch))
            {
                made[rule.Name] = Definition(rule);
            }
        }

        return made;
    }

    private static Task<int> RememberAsync(NpgsqlTransaction tx, Rule rule, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            insert into built_in_rules (name, rule_id, definition) values ({rule.Name}, {rule.Id}, {Definition(rule)})
            on conflict (name) do update set rule_id = excluded.rule_id, definition = excluded.definition
            """, ct);

    // Everything that people can change about a rule.
    private static string Definition(Rule rule) => JsonSerializer.Serialize(
        new
        {
            rule.Name,
            rule.Description,
            Match = new { rule.Match.EventType, rule.Match.Source, rule.Match.Level, Tags = Sorted(rule.Match.Tags), AnyOf = Sorted(rule.Match.AnyOf ?? new Dictionary<string, IReadOnlyList<string>>()), rule.Match.Present, rule.Match.Absent },
            rule.Threshold,
            rule.WindowSeconds,
            rule.GroupBy,
            rule.Severity,
            rule.Enabled,
            Condition = rule.Condition?.Text,
            rule.NotDuring,
            Labels = Sorted(rule.Labels),
            Annotations = Sorted(rule.Annotations),
            rule.Cause,
            rule.CauseBy,
        },
        WireJson.Options);

    // As the database gives them back in an order of its own.
    private static SortedDictionary<string, T> Sorted<T>(IReadOnlyDictionary<string, T> words) => new(words.ToDictionary(), StringComparer.Ordinal);

    [LoggerMessage(LogLevel.Information, "The built-in rule {Rule} was changed or deleted by somebody and stays so, though its settings are different now. POST /api/v1/monitoring/rules/restore-defaults makes it anew")]
    private partial void LeftAlone(string rule);

    [LoggerMessage(LogLevel.Warning, "There is a rule named {Rule} already, so the built-in one is not made. Rename that rule, then POST /api/v1/monitoring/rules/restore-defaults")]
    private partial void NameIsTaken(string rule);
}
