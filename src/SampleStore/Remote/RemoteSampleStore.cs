using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Npgsql;
using Platform.Postgres;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// The store with its samples in another Prometheus-compatible engine: a batch goes there as remote write 1.0 and counts as stored when the
/// engine says so. What engines do not have stays in PostgreSQL, in one transaction around the write: totals of counters that come as
/// increments, and keys of repeated requests. Should the process die between the two, the sender repeats, and the same samples go out again.
/// </summary>
public sealed class RemoteSampleStore(
    RemoteEngine engine, SampleStoreOptions options, SeriesGuardOptions guards, NpgsqlDataSource db, TimeProvider clock, ILoggerFactory logs) : ISampleStore, IDisposable
{
    private readonly StoreMetrics _metrics = new();
    private readonly SeriesGuards _guards = new(guards, clock, logs.CreateLogger<SeriesGuards>());
    private ConcurrentDictionary<SeriesKey, StoredSeries> _known = new();

    public SeriesWatch Watch { get; } = new();

    public ISeriesSource Source(string? realm) => new RemoteSource(engine, realm);

    public async Task<IReadOnlyList<string>> LabelNamesAsync(string? realm, IReadOnlyList<Selection> selections, int limit, CancellationToken ct) =>
        Cut(await engine.GetAsync(HttpMethod.Post, "api/v1/labels", Parameters(realm, selections), ct), limit);

    public async Task<IReadOnlyList<string>> LabelValuesAsync(string? realm, string label, IReadOnlyList<Selection> selections, int limit, CancellationToken ct) =>
        Cut(await engine.GetAsync(HttpMethod.Get, $"api/v1/label/{Uri.EscapeDataString(label)}/values", Parameters(realm, selections), ct), limit);

    /// <summary>Engines keep metadata by name alone: what one realm said of a name, another must not read. So it is for all realms or for none.</summary>
    public async Task<IReadOnlyList<MetricMetadata>> MetadataAsync(string? realm, string? family, int limit, CancellationToken ct)
    {
        if (realm is not null)
        {
            return [];
        }

        var known = await engine.GetAsync(HttpMethod.Get, "api/v1/metadata", family is null ? [] : [new("metric", family)], ct);
        return
        [
            .. known.EnumerateObject()
                .SelectMany(entry => entry.Value.EnumerateArray().Select(said => new MetricMetadata(
                    "*", entry.Name, said.GetProperty("type").GetString()!, said.GetProperty("help").GetString()!, said.GetProperty("unit").GetString()!)))
                .Take(limit),
        ];
    }

    public StoredSeries? Find(in SeriesKey key) => _known.GetValueOrDefault(key);

    public StoredSeries? Intern(Labels labels, out string? refusal)
    {
        refusal = _guards.Refuse(labels, 0);
        return refusal is null ? new RemoteSeries(labels) : null;
    }

    public void Remember(in SeriesKey key, StoredSeries series)
    {
        // What is forgotten is parsed once more; so all of it may go at once.
        if (_known.Count >= options.RememberedLabelSets)
        {
            _known = new();
        }

        _known[key] = series;
    }

    public async Task<CommitResult> CommitAsync(WriteBatch batch, CancellationToken ct)
    {
        var age = new SampleAge(options, clock);
        var samples = Accepted(batch, age);
        if (batch.Increments.Count == 0 && batch.Key is null)
        {
            return await SendAsync(batch, samples, age, ct);
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (batch.Key is { } key && await IsRepeatedAsync(tx, key, ct) is { } before)
        {
            return before;
        }

        await AddTotalsAsync(tx, batch.Increments, samples, age, ct);
        var result = await SendAsync(batch, samples, age, ct);
        if (result.Outcome == CommitOutcome.Stored && (result.Written > 0 || samples.Count == 0))
        {
            if (batch.Key is { } used)
            {
                await tx.ExecuteAsync($"update sample_keys set written = {result.Written} where subject = {used.Subject} and key = {used.Key}", ct);
            }

            await tx.CommitAsync(ct);
        }

        return result;
    }

    public void Dispose()
    {
        _guards.Dispose();
        _metrics.Dispose();
    }

    private async Task<CommitResult> SendAsync(WriteBatch batch, List<RemoteSample> samples, SampleAge age, CancellationToken ct)
    {
        var refusals = age.Refusals(_metrics);
        if (samples.Count == 0 && batch.Metadata.Count == 0)
        {
            return new CommitResult(CommitOutcome.Stored, 0, refusals);
        }

        if (await engine.WriteAsync(Encode(samples, batch.Metadata), samples.Count, ct) is { } refused)
        {
            return refused with { Refusals = [.. refusals, .. refused.Refusals] };
        }

        foreach (var series in batch.Series)
        {
            Watch.Touch(series);
        }

        Watch.Tell();
        return new CommitResult(CommitOutcome.Stored, samples.Count, refusals);
    }

    private static List<RemoteSample> Accepted(WriteBatch batch, SampleAge age)
    {
        var samples = new List<RemoteSample>(batch.Count + batch.Increments.Count);
        for (var index = 0; index < batch.Count; index++)
        {
            if (age.Accept(batch.Series[index], batch.Times[index]))
            {
                samples.Add(new(batch.Series[index].Labels, batch.Times[index], batch.Values[index], index));
            }
        }

        return samples;
    }

    // Each series once, its samples in order of time; of two with the same time the first to come counts.
    private static byte[] Encode(List<RemoteSample> samples, IReadOnlyList<MetricMetadata> metadata)
    {
        var slots = new Dictionary<Labels, int>();
        var order = new (int Slot, long At, int Place, int Index)[samples.Count];
        for (var index = 0; index < order.Length; index++)
        {
            ref var slot = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(slots, samples[index].Labels, out var known);
            slot = known ? slot : slots.Count - 1;
            order[index] = (slot, samples[index].At, samples[index].Place, index);
        }

        Array.Sort(order);
        var body = new RemoteWriteBody();
        var columns = new SampleColumns();
        for (var index = 0; index < order.Length; index++)
        {
            if (columns.Count == 0 || columns.Times[^1] != order[index].At)
            {
                columns.Add(order[index].At, samples[order[index].Index].Value);
            }

            if (index + 1 == order.Length || order[index + 1].Slot != order[index].Slot)
            {
                body.Add(samples[order[index].Index].Labels, columns.Times, columns.Values);
                columns.Clear();
            }
        }

        foreach (var said in metadata)
        {
            body.Add(said);
        }

        return body.Compress();
    }

    // The row is held until the write is through, so that a repetition at the same time waits for it.
    private static async Task<CommitResult?> IsRepeatedAsync(NpgsqlTransaction tx, BatchKey key, CancellationToken ct)
    {
        if (await tx.ExecuteAsync($"insert into sample_keys (subject, key, body_hash, written) values ({key.Subject}, {key.Key}, {key.BodyHash}, 0) on conflict do nothing", ct) == 1)
        {
            return null;
        }

        var (hash, written) = await tx.FindAsync(
            $"select body_hash, written from sample_keys where subject = {key.Subject} and key = {key.Key}", row => (row.GetFieldValue<byte[]>(0), row.GetInt32(1)), ct);
        return hash.AsSpan().SequenceEqual(key.BodyHash) ? new CommitResult(CommitOutcome.Repeated, written, []) : new CommitResult(CommitOutcome.KeyReused, 0, []);
    }

    // Rows are made and locked in one order, so that two replicas cannot wait for each other.
    private static async Task AddTotalsAsync(NpgsqlTransaction tx, IReadOnlyList<Increment> increments, List<RemoteSample> samples, SampleAge age, CancellationToken ct)
    {
        if (increments.Count == 0)
        {
            return;
        }

        var names = increments.Select(increment => Fingerprint(increment.Series.Labels)).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToArray();
        await tx.ExecuteAsync($"insert into remote_totals (series, total, at, once_at) select name, 0, {long.MinValue}, {long.MinValue} from unnest({names}) as name order by name on conflict do nothing", ct);
        var totals = (await tx.QueryAsync(
                $"select series, total, at, once_at from remote_totals where series = any({names}) order by series for update",
                row => (Series: row.GetString(0), Total: new Total(row.GetDouble(1), row.GetInt64(2), row.GetInt64(3))), ct))
            .ToDictionary(row => row.Series, row => row.Total, StringComparer.Ordinal);
        foreach (var increment in increments)
        {
            var name = Fingerprint(increment.Series.Labels);
            if (age.Accept(increment.Series, increment.At) && totals[name].Add(increment) is { } moved)
            {
                totals[name] = moved;
                samples.Add(new(increment.Series.Labels, moved.At, moved.Value, samples.Count));
            }
        }

        await tx.ExecuteAsync(
            $"""
            update remote_totals set total = moved.total, at = moved.at, once_at = moved.once_at
            from unnest({names}, {names.Select(name => totals[name].Value).ToArray()}, {names.Select(name => totals[name].At).ToArray()}, {names.Select(name => totals[name].OnceAt).ToArray()})
                as moved (series, total, at, once_at)
            where remote_totals.series = moved.series
            """, ct);
    }

    // With lengths in it, so that no label's text can be made to look like another series.
    private static string Fingerprint(Labels labels)
    {
        var text = new StringBuilder();
        for (var index = 0; index < labels.Count; index++)
        {
            text.Append(labels.NameAt(index).Length).Append(':').Append(labels.NameAt(index)).Append(labels.ValueAt(index).Length).Append(':').Append(labels.ValueAt(index));
        }

        return Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
    }

    private static IEnumerable<KeyValuePair<string, string>> Parameters(string? realm, IReadOnlyList<Selection> selections)
    {
        if (realm is not null && selections.Count == 0)
        {
            yield return new("match[]", RemoteEngine.Restrict([], realm));
        }

        foreach (var selection in selections)
        {
            yield return new("match[]", RemoteEngine.Restrict(selection.Matchers, realm));
        }

        if (selections.Count > 0)
        {
            yield return new("start", RemoteEngine.Seconds(selections.Min(selection => selection.From)));
            yield return new("end", RemoteEngine.Seconds(selections.Max(selection => selection.To)));
        }
    }

    private static string[] Cut(JsonElement texts, int limit) =>
        [.. texts.EnumerateArray().Select(text => text.GetString()!).Order(StringComparer.Ordinal).Take(limit)];

    private sealed class RemoteSeries(Labels labels) : StoredSeries(labels);

    /// <param name="Place">In the batch: of two samples with the same time, the earlier counts.</param>
    private readonly record struct RemoteSample(Labels Labels, long At, double Value, int Place);
}

/// <summary>The samples of an engine behind, read through its HTTP API: a range selector at the end of the time gives them as they were stored.</summary>
internal sealed class RemoteSource(RemoteEngine engine, string? realm) : ISeriesSource
{
    public async IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var selector = RemoteEngine.Restrict(selection.Matchers, realm);
        if (selection.LabelsOnly)
        {
            var found = await engine.GetAsync(
                HttpMethod.Post, "api/v1/series",
                [new("match[]", selector), new("start", RemoteEngine.Seconds(selection.From)), new("end", RemoteEngine.Seconds(selection.To))], ct);
            yield return [.. found.EnumerateArray().Select(labels => new Fetched(LabelsOf(labels), [], []))];
            yield break;
        }

        var range = (selection.To - selection.From + 1).ToString(CultureInfo.InvariantCulture);
        var matrix = await engine.GetAsync(HttpMethod.Post, "api/v1/query", [new("query", $"{selector}[{range}ms]"), new("time", RemoteEngine.Seconds(selection.To))], ct);
        yield return [.. matrix.GetProperty("result").EnumerateArray().Select(Read)];
    }

    private static Fetched Read(JsonElement series)
    {
        var points = series.GetProperty("values");
        var times = new long[points.GetArrayLength()];
        var values = new double[times.Length];
        var index = 0;
        foreach (var point in points.EnumerateArray())
        {
            times[index] = (long)Math.Round(point[0].GetDouble() * 1000);
            values[index++] = point[1].GetString() switch
            {
                "+Inf" => double.PositiveInfinity,
                "-Inf" => double.NegativeInfinity,
                { } number => double.Parse(number, CultureInfo.InvariantCulture),
                null => double.NaN,
            };
        }

        return new Fetched(LabelsOf(series.GetProperty("metric")), times, values);
    }

    private static Labels LabelsOf(JsonElement labels) => Labels.Of([.. labels.EnumerateObject().Select(label => (label.Name, label.Value.GetString()!))]);

    private sealed class Fetched(Labels labels, long[] times, double[] values) : Series(labels)
    {
        public override void Read(long from, long to, SampleColumns into)
        {
            for (var index = 0; index < times.Length; index++)
            {
                if (times[index] >= from && times[index] <= to)
                {
                    into.Add(times[index], values[index]);
                }
            }
        }
    }
}
