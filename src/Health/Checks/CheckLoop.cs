using System.Globalization;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Health.Checks;

/// <summary>Runs one check, apart from all others: whatever a probe does or fails to do, only its own component waits.</summary>
public sealed partial class CheckLoop(Check check, CheckStore store, HealthMetrics metrics, TimeProvider clock, ILogger<CheckLoop> logger)
{
    private const int LongestReason = 500;

    private readonly Grid _grid = Grid.For(check.Component, check.Pace.Interval);

    // A run that did not end in time. Remembered for as long as the process lives, because it may hold on to its target for as long.
    private Task? _abandoned;
    private DateTimeOffset _abandonedSince;

    public string Component => check.Component;

    /// <summary>Until cancelled. What is overdue runs at once, everything else when the grid says.</summary>
    public async Task RunAsync(CancellationToken ct)
    {
        try
        {
            if (await LastRunAsync(ct) is { } last && clock.GetUtcNow() - last < check.Pace.Interval)
            {
                await WaitAsync(ct);
            }

            while (true)
            {
                await TickAsync(ct);
                await WaitAsync(ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The replica stops, or another one is the runner now.
        }
    }

    /// <summary>One run: ask, and take the answer into account. A result that cannot be stored is lost; the next run brings another.</summary>
    public async Task TickAsync(CancellationToken ct)
    {
        var result = await AskAsync(ct);
        metrics.Checked(check, result);
        try
        {
            if (await store.RecordAsync(check, result, ct) is { } change)
            {
                Changed(check.Component, change.Previous, change.Current, change.Reason);
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            ResultLost(check.Component, error.GetBaseException().Message);
        }
    }

    private async Task<CheckResult> AskAsync(CancellationToken ct)
    {
        // As exact as the database keeps it.
        var now = clock.GetUtcNow();
        var at = now.AddTicks(-(now.Ticks % TimeSpan.TicksPerMicrosecond));
        if (_abandoned is { IsCompleted: false })
        {
            return Result(at, TimeSpan.Zero, ProbeAnswer.Unhealthy(string.Create(
                CultureInfo.InvariantCulture, $"The run that began at {_abandonedSince:HH:mm:ss} UTC still hangs; no other is started beside it.")));
        }

        var began = clock.GetTimestamp();
        var asking = Task.Run(() => ProbeAsync(ct), CancellationToken.None);
        try
        {
            var answer = await asking.WaitAsync(check.Pace.Timeout, ct);
            return Result(at, clock.GetElapsedTime(began), answer);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            (_abandoned, _abandonedSince) = (asking, at);
            // Nobody else looks at how an abandoned run ends.
            _ = asking.ContinueWith(static ended => _ = ended.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            var reason = error is TimeoutException or OperationCanceledException
                ? string.Create(CultureInfo.InvariantCulture, $"No answer within {check.Pace.Timeout.TotalSeconds:0.###} s.")
                : error.GetBaseException().Message;
            return Result(at, clock.GetElapsedTime(began), ProbeAnswer.Unhealthy(reason));
        }
    }

    private async Task<ProbeAnswer> ProbeAsync(CancellationToken ct)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
        patience.CancelAfter(check.Pace.Timeout);
        return await check.Probe.AskAsync(patience.Token);
    }

    private CheckResult Result(DateTimeOffset at, TimeSpan latency, ProbeAnswer answer)
    {
        var state = answer.State == HealthState.Unhealthy ? check.WhenFailing : answer.State;
        var reason = StorableText.Clean(StorableText.Cut(answer.Reason, LongestReason)).ReplaceLineEndings(" ");
        return new(at, state, latency, reason, answer.Details);
    }

    private Task WaitAsync(CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        return Task.Delay(_grid.After(now) - now, clock, ct);
    }

    private async Task<DateTimeOffset?> LastRunAsync(CancellationToken ct)
    {
        try
        {
            return await store.FindLastRunAsync(check.Component, ct);
        }
        catch (Exception) when (!ct.IsCancellationRequested)
        {
            return null;
        }
    }

    [LoggerMessage(LogLevel.Warning, "{Component} went from {Previous} to {Current}: {Reason}")]
    private partial void Changed(string component, HealthState previous, HealthState current, string reason);

    [LoggerMessage(LogLevel.Warning, "A result of {Component} could not be stored: {Reason}")]
    private partial void ResultLost(string component, string reason);
}
