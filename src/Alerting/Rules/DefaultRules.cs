using Npgsql;
using Platform.Contracts;
using Platform.Postgres;

namespace Platform.Alerting.Rules;

/// <summary>
/// The rules that a new platform starts with. They hold in every realm and are rules like any other: they can be changed, switched off
/// and deleted, and stay so, until somebody restores them.
/// </summary>
public sealed class DefaultRules(NpgsqlDataSource db, RuleStore store, TimeProvider clock) : IHostedService
{
    private const string By = "system:alerting";

    public static IReadOnlyList<Rule> At(DateTimeOffset now) =>
    [
        new(new Guid("0190a000-0000-7000-8000-000000000001"), ServiceDefaults.Realm.All, "auth_failures",
            "Many failed logins from one address: somebody is guessing passwords.",
            new RuleMatch(null, null, null, new Dictionary<string, string> { ["action"] = "login", ["outcome"] = "failure" }),
            5, 300, ["tags.ip_address"], Severity.High, true, By, now, now, 1),
        new(new Guid("0190a000-0000-7000-8000-000000000002"), ServiceDefaults.Realm.All, "api_errors",
            "A service fails its callers again and again.",
            new RuleMatch(null, null, "error", new Dictionary<string, string>()),
            10, 60, ["source"], Severity.Medium, true, By, now, now, 1),
        new(new Guid("0190a000-0000-7000-8000-000000000003"), ServiceDefaults.Realm.All, "drift_detected",
            "A setting is not what it was declared to be.",
            new RuleMatch(null, null, null, new Dictionary<string, string> { ["action"] = "config_drift" }),
            1, 3600, ["source", "tags.setting"], Severity.High, true, By, now, now, 1),
    ];

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        await using var connection = await db.OpenConnectionAsync(cancellationToken);
        await using var tx = await connection.BeginTransactionAsync(cancellationToken);
        // The mark, not the absence of the rules: a default that was deleted stays deleted.
        if (await tx.ExecuteAsync($"update rules_version set defaults_made = true where not defaults_made", cancellationToken) == 1)
        {
            foreach (var rule in At(clock.GetUtcNow()))
            {
                await store.InsertAsync(tx, rule, cancellationToken);
            }
        }

        await tx.CommitAsync(cancellationToken);
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
