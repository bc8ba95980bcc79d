using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// Whether samples can be asked. When they cannot for a while, no rule can be evaluated, and one alert says so for all of them, whoever of
/// the replicas notices first; the first answer ends it.
/// </summary>
public sealed partial class DataSource(NpgsqlDataSource db, AlertStore alerts, Flusher flusher, RuleGroupOptions options, TimeProvider clock, ILogger<DataSource> logger) : IDisposable
{
    public const string AlertName = "RuleDataSourceFailing";

    // Several requests are on their way at a time; one of them writes.
    private readonly SemaphoreSlim _turn = new(1, 1);
    private DateTimeOffset? _failingSince;
    // Whether the database may hold a failure: at the start nobody knows.
    private volatile bool _mayBeKnown = true;
    private bool _isTold;

    public async Task AnsweredAsync(CancellationToken ct)
    {
        if (!_mayBeKnown && _failingSince is null)
        {
            return;
        }

        await _turn.WaitAsync(ct);
        try
        {
            var now = clock.GetUtcNow();
            await using var connection = await db.OpenConnectionAsync(ct);
            await using var tx = await connection.BeginTransactionAsync(ct);
            var ended = await tx.QueryAsync($"delete from rule_source_failures returning alert_id", row => row.IsDBNull(0) ? (Guid?)null : row.GetGuid(0), ct);
            foreach (var id in ended.OfType<Guid>())
            {
                await alerts.ResolveAsync(tx, id, now, "Samples can be asked again.", now, ct);
            }

            await tx.CommitAsync(ct);
            (_failingSince, _mayBeKnown, _isTold) = (null, false, false);
            if (ended.Count > 0)
            {
                AnswersAgain();
                flusher.Wake();
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    public async Task FailedAsync(string reason, CancellationToken ct)
    {
        await _turn.WaitAsync(ct);
        try
        {
            var now = clock.GetUtcNow();
            if (_failingSince is null)
            {
                _failingSince = now;
                DoesNotAnswer(reason);
            }

            if (_isTold || now - _failingSince < options.SourceFailure)
            {
                return;
            }

            await using var connection = await db.OpenConnectionAsync(ct);
            await using var tx = await connection.BeginTransactionAsync(ct);
            _mayBeKnown = true;
            if (await tx.ExecuteAsync($"insert into rule_source_failures (since, reason) values ({_failingSince.Value}, {reason}) on conflict do nothing", ct) == 1)
            {
                var id = await alerts.FireAsync(tx, Describe(reason, _failingSince.Value, now), ct);
                await tx.ExecuteAsync($"update rule_source_failures set alert_id = {id}", ct);
            }

            await tx.CommitAsync(ct);
            _isTold = true;
            flusher.Wake();
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Dispose() => _turn.Dispose();

    private static Alert Describe(string reason, DateTimeOffset since, DateTimeOffset now) => Alert.Fire(
        Realm.All, $"{Realm.All}/rules:{{source=\"metrics\"}}", null, AlertName, Severity.Critical, AlertSource.Query,
        new Dictionary<string, string> { ["alertname"] = AlertName, ["realm"] = Realm.All, ["source"] = "metrics" },
        new Dictionary<string, string> { ["source"] = "metrics" },
        new Dictionary<string, string> { ["summary"] = "Rules in PromQL cannot be evaluated", ["description"] = $"Metrics does not answer: {reason}. Alerts of rules stay as they are until it does." },
        new Dictionary<string, string>(), null, null, since, now, new AlertReason(null, null, Seen: reason, Condition: "Metrics answers what rules ask"));

    [LoggerMessage(LogLevel.Warning, "Samples cannot be asked, alerts of rules stay as they are: {Reason}")]
    private partial void DoesNotAnswer(string reason);

    [LoggerMessage(LogLevel.Information, "Samples can be asked again")]
    private partial void AnswersAgain();
}
