using Npgsql;
using Platform.Gateway.Keys;
using Platform.Postgres;

namespace Platform.Gateway.Denials;

/// <summary>Once an hour: deletes denials, and keys that no longer work, when their time is over. A thousand rows a statement, so that nobody waits for it.</summary>
public sealed partial class Retention(NpgsqlDataSource db, KeyStore keys, DenialOptions options, TimeProvider clock, ILogger<Retention> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromHours(1), clock);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            await TickAsync(stoppingToken);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        var before = clock.GetUtcNow() - options.Retention;
        try
        {
            while (await db.ExecuteAsync($"delete from denials where id in (select id from denials where at < {before} limit 1000)", ct) > 0)
            {
            }

            while (await keys.ForgetAsync(before, ct) > 0)
            {
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            DeletingFailed(error);
        }
    }

    [LoggerMessage(LogLevel.Warning, "Deleting old denials and keys failed; trying again in an hour")]
    private partial void DeletingFailed(Exception error);
}
