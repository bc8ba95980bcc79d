using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;

namespace Platform.Alerting.OnCall;

/// <summary>
/// Once a second: ends escalations that nobody needs any more, takes the steps that are due, and sends the messages whose time has come.
/// Every replica runs it; each escalation is claimed for one transaction, which writes notifications, record and next due time together.
/// </summary>
public sealed partial class EscalationWorker(
    NpgsqlDataSource db, EscalationStore escalations, AlertStore alerts, Dispatcher dispatcher, OnCallMetrics metrics, TimeProvider clock, ILogger<EscalationWorker> logger) : BackgroundService
{
    private const int AtOnce = 50;

    private readonly ClockWatch _clocks = new();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var now = clock.GetUtcNow();
            if (_clocks.SetBackBy(now) is var back && back > TimeSpan.Zero)
            {
                await EscalationStore.BringForwardAsync(db, back, now, ct);
            }

            _clocks.Saw(now);
            // First what is over: nobody is paged about it.
            while (await InTransactionAsync(tx => escalations.EndAsync(tx, alerts, clock.GetUtcNow(), AtOnce, ct), ct) == AtOnce)
            {
            }

            while (await InTransactionAsync(tx => TakeDueAsync(tx, ct), ct) == AtOnce)
            {
            }

            while (await InTransactionAsync(tx => escalations.CallDueAsync(tx, alerts, clock.GetUtcNow(), AtOnce, ct), ct) == AtOnce)
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
    }

    private async Task<int> TakeDueAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var due = await EscalationStore.ClaimDueAsync(tx, now, AtOnce, ct);
        foreach (var escalation in due)
        {
            if (await alerts.FindAsync(escalation.AlertId, ct) is { } alert)
            {
                await escalations.TakeStepAsync(tx, escalation, alert, now, ct);
                metrics.Escalated();
            }
        }

        return due.Count;
    }

    private async Task<int> InTransactionAsync(Func<NpgsqlTransaction, Task<int>> work, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var done = await work(tx);
        await tx.CommitAsync(ct);
        if (done > 0)
        {
            dispatcher.Wake();
        }

        return done;
    }

    [LoggerMessage(LogLevel.Error, "Escalating failed; trying again in a second. What stays overdue becomes the alert EscalationOverdue")]
    private partial void TickFailed(Exception error);
}
