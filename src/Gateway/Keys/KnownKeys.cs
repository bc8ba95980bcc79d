using Npgsql;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Keys;

/// <summary>A key that was found valid, and the ticket it is exchanged for.</summary>
public sealed class KnownKey(ApiKey key, TicketMint mint)
{
    private string? _ticket;

    public ApiKey Key => key;

    /// <summary>Minted when first needed. It lives longer than this object is remembered (<see cref="KnownKeys.Remembered"/>), so it is always fresh.</summary>
    public string Ticket => _ticket ??= mint.Mint(key.Caller);
}

/// <summary>
/// Remembers for seconds which keys are valid and which are not, so that busy clients cost no query. Any change of a key, at whichever
/// gateway, makes all gateways forget everything (NOTIFY); while a gateway cannot listen, it is at most <see cref="Remembered"/> behind.
/// </summary>
public sealed partial class KnownKeys(KeyStore store, NpgsqlDataSource db, TicketMint mint, TimeProvider clock, ILogger<KnownKeys> logger) : BackgroundService
{
    /// <summary>How long a valid key is taken for valid without asking again.</summary>
    public static readonly TimeSpan Remembered = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan UnknownRemembered = TimeSpan.FromSeconds(5);

    // Two memories, so that a flood of made-up keys does not push out the real ones. An entry of an older generation is forgotten.
    private readonly Recent<Hash, (KnownKey Key, DateTimeOffset Until, long Generation)> _valid = new(10_000);
    private readonly Recent<Hash, (DateTimeOffset Until, long Generation)> _unknown = new(10_000);
    private long _generation;

    /// <summary>The valid key that <paramref name="text"/> is, or null. Costs a query unless it was asked within the last seconds.</summary>
    public async Task<KnownKey?> FindAsync(string text, CancellationToken ct)
    {
        var bytes = KeyText.Hash(text);
        var hash = new Hash(bytes);
        var now = clock.GetUtcNow();
        if (TryRecall(hash, now, out var recalled))
        {
            return recalled;
        }

        // Read before asking: should a key change meanwhile, the answer counts for this request and is not recalled.
        var generation = Volatile.Read(ref _generation);
        var found = await store.FindByHashAsync(bytes, ct) is { } key && key.IsValidAt(now) ? new KnownKey(key, mint) : null;
        if (found is not null)
        {
            _valid.Set(hash, (found, now + Remembered, generation));
        }
        else
        {
            _unknown.Set(hash, (now + UnknownRemembered, generation));
        }

        return found;
    }

    /// <summary>Whether finding <paramref name="text"/> would cost no query.</summary>
    public bool Remembers(string text) => TryRecall(new Hash(KeyText.Hash(text)), clock.GetUtcNow(), out _);

    public void Forget() => Interlocked.Increment(ref _generation);

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => db.ListenAsync("api_keys", Forget, ListeningFailed, clock, stoppingToken);

    private bool TryRecall(Hash hash, DateTimeOffset now, out KnownKey? known)
    {
        known = null;
        var generation = Volatile.Read(ref _generation);
        if (_valid.TryGet(hash, out var entry) && now < entry.Until && entry.Generation == generation)
        {
            known = entry.Key.Key.IsValidAt(now) ? entry.Key : null;
            return true;
        }

        return _unknown.TryGet(hash, out var unknown) && now < unknown.Until && unknown.Generation == generation;
    }

    /// <summary>32 bytes that compare by value.</summary>
    private readonly record struct Hash(Int128 Low, Int128 High)
    {
        public Hash(byte[] bytes)
            : this(BitConverter.ToInt128(bytes, 0), BitConverter.ToInt128(bytes, 16))
        {
        }
    }

    [LoggerMessage(LogLevel.Warning, "Listening for changes of keys failed: {reason}. A revoked key may work for some seconds")]
    private partial void ListeningFailed(string reason);
}
