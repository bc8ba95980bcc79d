using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization;
using Platform.PromQL;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>A stored sample.</summary>
/// <param name="MetricType">counter, gauge, histogram or another word of its metadata; unknown when nobody said.</param>
/// <param name="Value">A counter's total, not its increments. NaN and infinity are texts.</param>
/// <param name="Labels">Without name and realm.</param>
public sealed record MetricRecord(
    string Realm, string Name, string MetricType, [property: JsonNumberHandling(JsonNumberHandling.AllowNamedFloatingPointLiterals)] double Value,
    IReadOnlyDictionary<string, string> Labels, DateTimeOffset Timestamp);

/// <summary>
/// Finds single samples, a page at a time: the order is by time over all series, so every series in question is read, and of what is read
/// only the page is held.
/// </summary>
internal sealed class MetricList(ISampleStore store, SampleStoreOptions storeOptions, MetricOptions options, TimeProvider clock)
{
    // Newest first, most pages are full after the first of these; only then is what is older looked at.
    private static readonly TimeSpan[] Windows = [TimeSpan.FromHours(1), TimeSpan.FromDays(1), TimeSpan.FromDays(36_500)];

    /// <returns>Null when too many samples would have to be looked at.</returns>
    public async Task<(IReadOnlyList<MetricRecord> Items, string? Next)?> ReadAsync(MetricQuery query, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var from = query.From ?? now.AddDays(-storeOptions.RetentionDays - 1).ToUnixTimeMilliseconds();
        var to = query.To ?? (now + storeOptions.MaxSampleFuture).ToUnixTimeMilliseconds();
        (from, to) = query.After is not { } after ? (from, to) : query.Ascending ? (Math.Max(from, after.At), to) : (from, Math.Min(to, after.At));

        var matchers = await MatchersAsync(query, ct);
        var page = new Page(query, options.ListMaxSamples);
        if (query.Ascending)
        {
            await CollectAsync(query, matchers, from, to, page, ct);
        }
        else
        {
            var end = to;
            foreach (var window in Windows)
            {
                var start = Math.Max(from, to - (long)window.TotalMilliseconds);
                if (end >= start)
                {
                    await CollectAsync(query, matchers, start, end, page, ct);
                }

                end = start - 1;
                if (page.IsFull || page.IsTooMuch || end < from)
                {
                    break;
                }
            }
        }

        return page.IsTooMuch ? null : await ResultAsync(query, page, ct);
    }

    private async Task CollectAsync(MetricQuery query, IReadOnlyList<Matcher> matchers, long from, long to, Page page, CancellationToken ct)
    {
        var columns = new SampleColumns();
        await foreach (var batch in store.Source(query.Realm).SelectAsync(new Selection(matchers, from, to), ct))
        {
            foreach (var series in batch)
            {
                columns.Clear();
                // A page that is full has an end, beyond which nothing of this series can be on it.
                var (first, last) = page.IsFull ? (query.Ascending ? (from, Math.Min(to, page.End)) : (Math.Max(from, page.End), to)) : (from, to);
                if (first <= last)
                {
                    series.Read(first, last, columns);
                    page.Add(series.Labels, columns);
                }

                if (page.IsTooMuch)
                {
                    return;
                }
            }
        }
    }

    // A histogram is found under its own name too, which none of its series has.
    private async Task<IReadOnlyList<Matcher>> MatchersAsync(MetricQuery query, CancellationToken ct)
    {
        var matchers = new List<Matcher>();
        if (query.Name is not { } name)
        {
            matchers.Add(new Matcher(Labels.MetricName, MatchKind.NotEqual, ""));
        }
        else if ((await store.MetadataAsync(query.Realm, name, 1, ct)) is [{ Type: "histogram" or "summary" }, ..])
        {
            matchers.Add(new Matcher(Labels.MetricName, MatchKind.Regex, $"{System.Text.RegularExpressions.Regex.Escape(name)}(|_bucket|_sum|_count)"));
        }
        else
        {
            matchers.Add(new Matcher(Labels.MetricName, MatchKind.Equal, name));
        }

        matchers.AddRange(query.Labels.Select(label => new Matcher(label.Key, MatchKind.Equal, label.Value)));
        return matchers;
    }

    private async Task<(IReadOnlyList<MetricRecord> Items, string? Next)> ResultAsync(MetricQuery query, Page page, CancellationToken ct)
    {
        var types = new Dictionary<string, string>();
        var items = new List<MetricRecord>();
        var (samples, next) = page.Take();
        foreach (var (place, labels, value) in samples)
        {
            if (!types.TryGetValue(labels.Name, out var type))
            {
                types[labels.Name] = type = await TypeAsync(query.Realm, labels.Name, ct);
            }

            var shown = new Dictionary<string, string>(labels.Count);
            for (var index = 0; index < labels.Count; index++)
            {
                if (labels.NameAt(index) is not (Labels.MetricName or SeriesLabels.Realm))
                {
                    shown[labels.NameAt(index)] = labels.ValueAt(index);
                }
            }

            items.Add(new MetricRecord(labels[SeriesLabels.Realm], labels.Name, type, value, shown, DateTimeOffset.FromUnixTimeMilliseconds(place.At)));
        }

        return (items, next?.ToString());
    }

    private async Task<string> TypeAsync(string? realm, string name, CancellationToken ct)
    {
        foreach (var suffix in (string[])["", "_bucket", "_count", "_sum"])
        {
            if (name.EndsWith(suffix, StringComparison.Ordinal)
                && await store.MetadataAsync(realm, name[..^suffix.Length], 1, ct) is [var metadata, ..]
                && (suffix.Length == 0 || metadata.Type is "histogram" or "summary"))
            {
                return metadata.Type;
            }
        }

        return "unknown";
    }

    /// <summary>The first samples in the order that is asked for, of all that were shown to it.</summary>
    private sealed class Page(MetricQuery query, int most)
    {
        // The last of the page comes out first.
        private readonly PriorityQueue<(MetricCursor Place, Labels Labels, double Value), MetricCursor> _kept =
            new(query.Ascending ? Comparer<MetricCursor>.Create((left, right) => right.CompareTo(left)) : Comparer<MetricCursor>.Default);

        private long _seen;

        // One more than the page, to know whether there is another page.
        public bool IsFull => _kept.Count > query.Limit;

        public bool IsTooMuch => _seen > most;

        /// <summary>Time of the last sample, when the page is full.</summary>
        public long End => _kept.Peek().Place.At;

        public void Add(Labels labels, SampleColumns samples)
        {
            _seen += samples.Count;
            var number = samples.Count > 0 ? NumberOf(labels) : 0;
            for (var index = 0; index < samples.Count; index++)
            {
                var place = new MetricCursor(samples.Times[index], number);
                if (StaleMarker.Is(samples.Values[index]) || (query.After is { } after && (query.Ascending ? place.CompareTo(after) <= 0 : place.CompareTo(after) >= 0)))
                {
                    continue;
                }

                if (IsFull)
                {
                    _kept.EnqueueDequeue((place, labels, samples.Values[index]), place);
                }
                else
                {
                    _kept.Enqueue((place, labels, samples.Values[index]), place);
                }
            }
        }

        public (List<(MetricCursor Place, Labels Labels, double Value)> Samples, MetricCursor? Next) Take()
        {
            var hasNext = IsFull;
            if (hasNext)
            {
                _kept.Dequeue();
            }

            var samples = new List<(MetricCursor Place, Labels Labels, double Value)>(_kept.Count);
            while (_kept.TryDequeue(out var sample, out _))
            {
                samples.Add(sample);
            }

            samples.Reverse();
            return (samples, hasNext ? samples[^1].Place : null);
        }

        private static ulong NumberOf(Labels labels) =>
            BinaryPrimitives.ReadUInt64BigEndian(SHA256.HashData(Encoding.UTF8.GetBytes(labels.ToString())));
    }
}
