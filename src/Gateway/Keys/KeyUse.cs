using System.Collections.Concurrent;

namespace Platform.Gateway.Keys;

/// <summary>Notes when keys were used last, beside the requests and not in them: one statement every few seconds for all keys together.</summary>
public sealed partial class KeyUse(KeyStore store, TimeProvider clock, ILogger<KeyUse> logger) : BackgroundService
{
    // There are as many entries as keys in use; this is for a platform with absurdly many.
    private const int MaxPending = 10_000;

    private static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    private ConcurrentDictionary<Guid, DateTimeOffset> _pending = new();
    private int _count;

    public void Note(Guid key)
    {
        var now = clock.GetUtcNow();
        var pending = Volatile.Read(ref _pending);
        if (pending.ContainsKey(key))
        {
            pending[key] = now;
        }
        else if (Volatile.Read(ref _count) < MaxPending && pending.TryAdd(key, now))
        {
            Interlocked.Increment(ref _count);
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Every, clock);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await TickAsync(stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            await TickAsync(CancellationToken.None);
        }
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        if (_pending.IsEmpty)
        {
            return;
        }

        var uses = Interlocked.Exchange(ref _pending, new());
        Volatile.Write(ref _count, 0);
        try
        {
            await store.NoteUseAsync(uses, ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            // The next use of the same key is noted again.
            NotingFailed(error.GetBaseException().Message);
        }
    }

    [LoggerMessage(LogLevel.Warning, "The last use of some keys was not noted: {reason}")]
    private partial void NotingFailed(string reason);
}
