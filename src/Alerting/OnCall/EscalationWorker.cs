using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Postgres;

namespace Platform.Alerting.OnCall;

/// <summary>
/// Once a second, and when the flusher began something: ends escalations that nobody needs any more, takes the steps that are due, and sends
/// the messages whose time has come. Every replica runs it. Each escalation has a transaction of its own, which writes notifications, record
/// and next due time together; one that fails rests for a while, and the others go on.
/// </summary>
public sealed partial class EscalationWorker(
    NpgsqlDataSource db, EscalationStore escalations, AlertStore alerts, Dispatcher dispatcher, OnCallMetrics metrics, AlertingMetrics all, TimeProvider clock, ILogger<EscalationWorker> logger)
    : BackgroundService
{
    private const int AtOnce = 200;
    private static readonly TimeSpan Poll = TimeSpan.FromSeconds(1);

    private readonly Signal _wake = new();

    // Alerts, escalations and calls, by their ids. Of the loop alone.
    private readonly Aside<Guid> _aside = new();

    private readonly ClockWatch _clocks = new();

    /// <summary>From any thread, after the commit: an escalation began.</summary>
    public void Wake() => _wake.Raise();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            await TickAsync(stoppingToken);
            await ((Task)_wake.WaitAsync(Poll, stoppingToken)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
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
            if (!await escalations.AnyOpenAsync(ct))
            {
                return;
            }

            // First what is over; what is due is looked at again when its turn comes, so that nobody is paged about an end.
            while (await EachAsync(await escalations.OverAsync(Resting(), AtOnce, ct), (tx, id) => escalations.EndAsync(tx, alerts, id, clock.GetUtcNow(), ct), ct))
            {
            }

            while (await EachAsync(await escalations.DueAsync(clock.GetUtcNow(), Resting(), AtOnce, ct), (tx, id) => TakeAsync(tx, id, ct), ct))
            {
            }

            while (await EachAsync(await escalations.CallsDueAsync(clock.GetUtcNow(), Resting(), AtOnce, ct), (tx, id) => escalations.CallAsync(tx, alerts, id, clock.GetUtcNow(), ct), ct))
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
        catch (OperationCanceledException)
        {
            // The process ends.
        }
    }

    private Guid[] Resting() => [.. _aside.All.Except(_aside.Due(clock.GetUtcNow()))];

    private async Task<bool> TakeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        if (await EscalationStore.ClaimAsync(tx, id, now, ct) is not { } escalation || await alerts.FindAsync(escalation.AlertId, ct) is not { } alert)
        {
            return false;
        }

        await escalations.TakeStepAsync(tx, escalation, alert, now, ct);
        metrics.Escalated();
        return true;
    }

    // Whether there may be more: all places were taken, and something was done.
    private async Task<bool> EachAsync(List<Guid> ids, Func<NpgsqlTransaction, Guid, Task<bool>> work, CancellationToken ct)
    {
        var done = 0;
        foreach (var id in ids)
        {
            try
            {
                await using var connection = await db.OpenConnectionAsync(ct);
                await using var tx = await connection.BeginTransactionAsync(ct);
                if (await work(tx, id))
                {
                    await tx.CommitAsync(ct);
                    done++;
                    dispatcher.Wake();
                }

                _aside.Passed(id);
            }
            catch (Exception error) when (!ct.IsCancellationRequested)
            {
                // Who fails while the database answers has failed of its own.
                await db.ExecuteAsync($"select 1", ct);
                all.SetAside("escalation");
                Rests(error, id, _aside.Failed(id, clock.GetUtcNow()).TotalSeconds);
            }
        }

        return ids.Count == AtOnce && done > 0;
    }

    public override void Dispose()
    {
        _wake.Dispose();
        base.Dispose();
    }

    [LoggerMessage(LogLevel.Error, "The escalation, alert or call {Id} fails and rests; tried again in {Seconds} s. What stays overdue becomes the alert EscalationOverdue")]
    private partial void Rests(Exception error, Guid id, double seconds);

    [LoggerMessage(LogLevel.Error, "Escalating failed; trying again in a second. What stays overdue becomes the alert EscalationOverdue")]
    private partial void TickFailed(Exception error);
}
