using System.Collections.Concurrent;

namespace Platform.Alerting.Windows;

/// <summary>
/// How far each source has come in event time, as this replica saw it: the newest event of about the last second, moved on with the wall
/// clock, and never ahead of it. So the replay of an old log is judged by the log's time, and a live stream by today's. Nothing is lost
/// with a crash: a source that is not known here is judged by what its windows remember.
/// </summary>
public sealed class SourceClocks
{
    private const int MaxSources = 10_000;
    private const long Front = 1_000_000;
    private const long Forget = 3_600_000_000;

    private readonly ConcurrentDictionary<(string Realm, string Source), Seen> _sources = new();

    /// <summary>Called when a batch is committed, not before: alerts must not resolve by the time of events that are still being counted.</summary>
    /// <param name="newest">Newest event time of the batch; microseconds like everything here.</param>
    /// <param name="now">The wall clock.</param>
    public void Observe(string realm, string source, long newest, long now)
    {
        if (_sources.Count < MaxSources || _sources.ContainsKey((realm, source)))
        {
            _sources.AddOrUpdate((realm, source), static (_, fresh) => fresh, static (_, seen, fresh) => seen.Then(fresh), new Seen(newest, now));
        }
    }

    /// <summary>Where the source is now, given a batch that is being handled.</summary>
    public long Position(string realm, string source, long newest, long now)
    {
        var fresh = new Seen(newest, now);
        return Math.Min(now, (_sources.TryGetValue((realm, source), out var seen) ? seen.Then(fresh) : fresh).Position(now));
    }

    /// <summary>Every known source and its place now. Those that were silent for an hour are forgotten.</summary>
    public List<(string Realm, string Source, long Position)> All(long now)
    {
        var all = new List<(string, string, long)>();
        foreach (var (key, seen) in _sources)
        {
            if (now - seen.At > Forget)
            {
                _sources.TryRemove(key, out _);
                continue;
            }

            all.Add((key.Realm, key.Source, Math.Min(now, seen.Position(now))));
        }

        return all;
    }

    private readonly record struct Seen(long Newest, long At)
    {
        // Old news counts as the source's place only when nothing newer came within the last second.
        public Seen Then(Seen fresh) => fresh.At - At > Front || fresh.Newest > Position(fresh.At) ? fresh : this;

        public long Position(long now) => Newest + (now - At);
    }
}
