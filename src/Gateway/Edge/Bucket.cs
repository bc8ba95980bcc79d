using Platform.ServiceDefaults;

namespace Platform.Gateway.Edge;

/// <summary>The rule of a token bucket: it holds at most <paramref name="Burst"/> tokens and gains <paramref name="Rate"/> a second.</summary>
/// <param name="Amount">What was in it at <paramref name="At"/>.</param>
internal readonly record struct Tokens(double Rate, int Burst, double Amount, DateTimeOffset At)
{
    /// <summary>Takes one token if there is one; otherwise says how long until there is.</summary>
    public (Tokens Left, TimeSpan Wait) Take(DateTimeOffset now)
    {
        var filled = this with { Amount = Math.Min(Burst, Amount + (Math.Max(0, (now - At).TotalSeconds) * Rate)), At = now };
        return filled.Amount >= 1
            ? (filled with { Amount = filled.Amount - 1 }, TimeSpan.Zero)
            : (filled, TimeSpan.FromSeconds((1 - filled.Amount) / Rate));
    }
}

/// <summary>The buckets in Redis, and whether Redis is worth asking.</summary>
internal sealed class SharedBuckets(Cache redis, TimeProvider clock)
{
    // The clock is Redis' own, so that gateways need not agree on the time. An untouched bucket is full again when it expires.
    private const string Script = """
        local t = redis.call('TIME')
        local now = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
        local rate, burst, wanted = tonumber(ARGV[1]) / 1000000, tonumber(ARGV[2]), tonumber(ARGV[3])
        local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
        local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
        tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
        local granted = math.min(wanted, math.floor(tokens))
        tokens = tokens - granted
        redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.3f', now))
        redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate) + 1000)
        if granted > 0 then return {granted, 0} end
        return {0, math.ceil((1 - tokens) / rate)}
        """;

    private static readonly TimeSpan LeftAlone = TimeSpan.FromSeconds(1);

    private long _askFrom;

    /// <summary>Redis did not answer just now, and is left alone for a moment: a Redis that hangs would cost every request its patience.</summary>
    public bool IsAway => clock.GetUtcNow().UtcTicks < Volatile.Read(ref _askFrom);

    /// <summary>Up to <paramref name="wanted"/> tokens, or how long until there is one; null when Redis is away.</summary>
    public async Task<(int Granted, TimeSpan Wait)?> LeaseAsync(string key, double rate, int burst, int wanted, CancellationToken ct)
    {
        // Per millisecond and in billionths, because arguments are whole numbers.
        var answer = await redis.TryEvaluateAsync(Script, [key], [(long)Math.Round(rate * 1_000), burst, wanted], ct);
        if (answer is [var granted, var wait])
        {
            return ((int)granted, TimeSpan.FromMilliseconds(wait));
        }

        Volatile.Write(ref _askFrom, (clock.GetUtcNow() + LeftAlone).UtcTicks);
        return null;
    }
}

/// <summary>One credential at one gateway: the tokens it has leased, and a bucket of its own for the time without Redis.</summary>
internal sealed class Bucket(string key, double rate, int burst, DateTimeOffset now)
{
    /// <summary>Tokens that were leased and not used within this time are given up.</summary>
    private static readonly TimeSpan LeaseLength = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan Quick = TimeSpan.FromMilliseconds(100);

    // No lease holds more than a twentieth of a second, or a twentieth of the burst: what a gateway leases and does not use is lost to the others.
    private readonly int _largestLease = (int)Math.Clamp(Math.Min(rate, burst) / 20, 1, 500);

    // Guards the fields below; held for a few instructions.
    private readonly Lock _lock = new();
    private Tokens _local = new(rate, burst, burst, now);
    private int _leased;
    private int _leaseSize = 1;
    private DateTimeOffset _leasedAt = DateTimeOffset.MinValue;
    private DateTimeOffset _emptyUntil = DateTimeOffset.MinValue;
    private Task? _leasing;

    public bool IsExhausted(DateTimeOffset at)
    {
        lock (_lock)
        {
            return at < _emptyUntil;
        }
    }

    /// <returns>Zero when a token was taken, else how long to wait for one.</returns>
    public async ValueTask<TimeSpan> TakeAsync(SharedBuckets shared, TimeProvider clock, Action redisIsAway, CancellationToken ct)
    {
        while (true)
        {
            Task leasing;
            lock (_lock)
            {
                var time = clock.GetUtcNow();
                if (_leased > 0 && time - _leasedAt < LeaseLength)
                {
                    _leased--;
                    return TimeSpan.Zero;
                }

                if (time < _emptyUntil)
                {
                    return _emptyUntil - time;
                }

                if (shared.IsAway)
                {
                    redisIsAway();
                    (_local, var wait) = _local.Take(time);
                    _emptyUntil = time + wait;
                    return wait;
                }

                // One lease at a time: the others wait for it and share what it brings.
                leasing = _leasing ??= LeaseAsync(shared, clock);
            }

            await leasing.WaitAsync(ct);
        }
    }

    private async Task LeaseAsync(SharedBuckets shared, TimeProvider clock)
    {
        // Not under the lock of the caller, and not with its token: the lease is for everybody who waits.
        await Task.Yield();
        (int Granted, TimeSpan Wait)? answer = null;
        try
        {
            answer = await shared.LeaseAsync(key, rate, burst, NextLeaseSize(clock.GetUtcNow()), CancellationToken.None);
        }
        finally
        {
            lock (_lock)
            {
                _leasing = null;
                if (answer is var (granted, wait))
                {
                    _leased = granted;
                    _leasedAt = clock.GetUtcNow();
                    _emptyUntil = _leasedAt + wait;
                }
            }
        }
    }

    // Twice as many when the last lease was used up quickly, half when it lasted.
    private int NextLeaseSize(DateTimeOffset time)
    {
        lock (_lock)
        {
            _leaseSize = time - _leasedAt < Quick ? Math.Min(_leaseSize * 2, _largestLease) : Math.Max(_leaseSize / 2, 1);
            return _leaseSize;
        }
    }
}
