using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Windows;

/// <summary>Resolves alerts whose count fell below the threshold without a further event saying so, and forgets idle windows. Every replica runs it.</summary>
public sealed partial class WindowWorker(
    NpgsqlDataSource db,
    WindowStore windows,
    AlertStore alerts,
    SourceClocks clocks,
    GroupCounts counts,
    Dispatcher dispatcher,
    WindowOptions options,
    TimeProvider clock,
    ILogger<WindowWorker> logger) : BackgroundService
{
    private const int CountEvery = 15;

    private int _ticks;

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
            var places = clocks.All(BatchMatch.Microseconds(now));
            while (await ResolveAsync(places, now, ct) > 0)
            {
                dispatcher.Wake();
            }

            while (await windows.ForgetAsync(places, BatchMatch.Microseconds(now), ct) > 0)
            {
            }

            if (_ticks++ % CountEvery == 0)
            {
                counts.Counted(await windows.CountAsync(ct));
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error);
        }
    }

    private async Task<int> ResolveAsync(IReadOnlyList<(string Realm, string Source, long Position)> places, DateTimeOffset now, CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var ended = await WindowStore.TakeEndedAsync(tx, places, BatchMatch.Microseconds(now), (long)options.Grace.TotalMicroseconds, ct);
        foreach (var episode in ended)
        {
            await alerts.ResolveAsync(tx, episode.AlertId, BatchMatch.Time(episode.Until), "The count fell below the threshold.", now, ct);
        }

        await tx.CommitAsync(ct);
        return ended.Count;
    }

    [LoggerMessage(LogLevel.Error, "Resolving alerts failed; trying again in a second")]
    private partial void TickFailed(Exception error);
}

public static class Windows
{
    public static IHostApplicationBuilder AddWindows(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<WindowOptions>();
        builder.Services.AddSingleton<WindowStore>();
        builder.Services.AddSingleton<SourceClocks>();
        builder.Services.AddSingleton<GroupCounts>();
        builder.Services.AddHostedService<WindowWorker>();
        builder.AddConsumer<EventsStored, EvaluateRulesOnEventsStored>();
        return builder;
    }
}
