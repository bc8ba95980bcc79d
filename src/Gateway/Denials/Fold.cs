namespace Platform.Gateway.Denials;

/// <summary>Which denials are one: the same credential (or address), route and status.</summary>
/// <param name="Realm">Realm that the record belongs to.</param>
/// <param name="Actor">Subject of the credential, or <c>address:…</c> of an anonymous client.</param>
/// <param name="Role">The credential's role, or <c>anonymous</c>.</param>
/// <param name="Route">Template of the route, never the raw path.</param>
public sealed record DenialKey(string Realm, string Actor, string Role, string Route, int Status);

/// <summary>Denials to be recorded as one.</summary>
/// <param name="At">Time of the first of them.</param>
public sealed record Denial(DenialKey Key, DateTimeOffset At, string? Address, string? CorrelationId, string? TraceId, int Count);

/// <summary>
/// Folds repeats: the first of its kind is recorded at once, what repeats within <paramref name="window"/> becomes one further record
/// with the count. At most <paramref name="capacity"/> kinds are told apart; the rest are one kind, so that a flood of different
/// addresses costs neither memory nor records. Belongs to one thread.
/// </summary>
public sealed class Fold(TimeSpan window, int capacity)
{
    /// <summary>What stands for actor and route where there were too many to tell apart.</summary>
    public const string Many = "(many)";

    private readonly Dictionary<DenialKey, (DateTimeOffset Since, Denial? Repeats)> _open = [];

    /// <summary>The record to write now, or null when the denial repeats one that was recorded within the window.</summary>
    public Denial? Add(Denial denial)
    {
        var key = _open.ContainsKey(denial.Key) || _open.Count < capacity
            ? denial.Key
            : new DenialKey(Keys.RealmName.Platform, Many, Many, Many, denial.Key.Status);
        denial = denial with { Key = key, Address = key.Actor == Many ? null : denial.Address };
        if (!_open.TryGetValue(key, out var seen))
        {
            _open[key] = (denial.At, null);
            return denial;
        }

        _open[key] = seen with { Repeats = seen.Repeats is { } repeats ? repeats with { Count = repeats.Count + denial.Count } : denial };
        return null;
    }

    /// <summary>The repeats whose window is over; those kinds begin anew.</summary>
    public List<Denial> Due(DateTimeOffset now) => Close(seen => now - seen >= window);

    /// <summary>All repeats, for the end of the process.</summary>
    public List<Denial> All() => Close(_ => true);

    private List<Denial> Close(Func<DateTimeOffset, bool> isOver)
    {
        List<Denial> repeats = [];
        foreach (var (key, seen) in _open.Where(open => isOver(open.Value.Since)).ToList())
        {
            _open.Remove(key);
            if (seen.Repeats is { } denials)
            {
                repeats.Add(denials);
            }
        }

        return repeats;
    }
}
