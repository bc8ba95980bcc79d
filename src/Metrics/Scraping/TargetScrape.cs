using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Platform.PromQL;
using Platform.SampleStore;

namespace Platform.Metrics.Scraping;

/// <summary>
/// Scrapes one target, apart from all others. Each scrape is one commit: the samples, <c>up</c> and what else is known about the scrape,
/// and stale markers for what is gone. A scrape that fails leaves none of its samples.
/// </summary>
internal sealed partial class TargetScrape
{
    private static readonly string[] ReportNames =
        ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added"];

    private static readonly TimeSpan Tolerance = TimeSpan.FromMilliseconds(20);

    private readonly TargetPlan _plan;
    private readonly ScrapeTools _tools;
    private readonly SeriesCache _cache = new();
    private readonly Families _families;
    private readonly TimeSpan _offset;
    private readonly List<KeyValuePair<string, string>> _exposed = [];
    private readonly TargetFetch _fetch;
    private readonly SeriesLabels _labels;
    private readonly StoredSeries?[] _report = new StoredSeries?[ReportNames.Length];
    private readonly ILogger _logger;
    private volatile TargetState _state;
    private string? _refusal;
    private long _complainedAt = long.MinValue;

    public TargetScrape(TargetPlan plan, ScrapeTools tools, TargetScrape? predecessor = null)
    {
        _plan = plan;
        _tools = tools;
        _logger = tools.Logger;
        _fetch = new(plan, tools);
        _labels = new(plan.Job, plan.Labels);
        _families = new(plan.Job.Realm);
        _offset = OffsetOf(plan);
        _state = predecessor?._state is { } known
            ? known with { Interval = plan.Interval, Timeout = plan.Timeout, Discovered = plan.Discovered }
            : new(plan.Job.Realm, plan.Job.Name, plan.Discovered, plan.Labels, plan.Url, plan.Interval, plan.Timeout, TargetHealth.Unknown, "", null, TimeSpan.Zero);
        if (predecessor is not null)
        {
            _cache.Inherit(predecessor._cache);
        }
    }

    public TargetPlan Plan => _plan;

    public TargetState State => _state;

    /// <summary>Until cancelled: at every point of the target's own grid. A scrape that took too long leaves points out; the following ones do not shift.</summary>
    public async Task RunAsync(CancellationToken ct)
    {
        try
        {
            while (true)
            {
                var due = After(_tools.Clock.GetUtcNow());
                await DelayUntilAsync(due, ct);
                await TickAsync(due, ct);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The target is gone, or this replica does not scrape any more.
        }
    }

    /// <summary>One scrape. Every failure ends in <see cref="State"/>; only cancelling leaves this method with an exception.</summary>
    /// <param name="due">The point of the grid. It is the time of the samples when the scrape begins close to it, so that samples stand at even distances.</param>
    public async Task TickAsync(DateTimeOffset due, CancellationToken ct)
    {
        await _tools.Gate.WaitAsync(ct);
        try
        {
            var now = _tools.Clock.GetUtcNow();
            var tolerance = _plan.Interval / 100 < Tolerance ? _plan.Interval / 100 : Tolerance;
            await ScrapeAsync((now - due).Duration() <= tolerance ? due : now, ct);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            // The samples of this scrape are lost: the store did not take them. The series stay known, and the next scrape follows.
            _tools.Metrics.Lost();
            Complain(() => NotStored(_plan.Url.Authority, _plan.Job.Name, error.GetBaseException().Message));
            _state = _state with { LastError = $"The samples could not be stored: {error.GetBaseException().Message}" };
        }
        finally
        {
            _tools.Gate.Release();
        }
    }

    /// <summary>The target is scraped no more: its series end now.</summary>
    public async Task EndAsync(CancellationToken ct)
    {
        _cache.BeginScrape();
        var at = _tools.Clock.GetUtcNow().ToUnixTimeMilliseconds();
        using var batch = new WriteBatch();
        AddStaleMarkers(batch, at);
        for (var index = 0; index < ReportNames.Length; index++)
        {
            if (_state.LastScrape is not null && Report(index) is { } series)
            {
                batch.Add(series, at, StaleMarker.Value);
            }
        }

        if (batch.Count > 0)
        {
            await CommitAsync(batch, ct);
        }
    }

    internal DateTimeOffset After(DateTimeOffset now)
    {
        var passed = (now.UtcTicks - _offset.Ticks) / _plan.Interval.Ticks;
        return new(_offset.Ticks + (passed + 1) * _plan.Interval.Ticks, TimeSpan.Zero);
    }

    // The same in every process, so that a replica that takes over goes on in the same rhythm, and spread evenly, so that targets do not
    // all answer at once.
    private static TimeSpan OffsetOf(TargetPlan plan)
    {
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{plan.Url} {plan.Labels}"));
        return TimeSpan.FromTicks((long)(BitConverter.ToUInt64(hash) % (ulong)plan.Interval.Ticks));
    }

    private async Task DelayUntilAsync(DateTimeOffset due, CancellationToken ct)
    {
        // A timer may fire a little early; then the point would come twice.
        for (var wait = due - _tools.Clock.GetUtcNow(); wait > TimeSpan.Zero; wait = due - _tools.Clock.GetUtcNow())
        {
            await Task.Delay(wait, _tools.Clock, ct);
        }
    }

    private async Task ScrapeAsync(DateTimeOffset at, CancellationToken ct)
    {
        var began = _tools.Clock.GetTimestamp();
        var counts = new Counts();
        var batch = new WriteBatch();
        try
        {
            _cache.BeginScrape();
            var error = await FillAsync(batch, at.ToUnixTimeMilliseconds(), counts, ct);
            if (error is not null)
            {
                batch.Dispose();
                batch = new WriteBatch();
                _cache.BeginScrape(); // nothing was seen
            }

            AddStaleMarkers(batch, at.ToUnixTimeMilliseconds());
            var took = _tools.Clock.GetElapsedTime(began);
            AddReport(batch, at.ToUnixTimeMilliseconds(), error is null, took, counts);
            _state = _state with { Health = error is null ? TargetHealth.Up : TargetHealth.Down, LastError = error ?? _refusal ?? "", LastScrape = at, LastDuration = took };
            _tools.Metrics.Scraped(error is null, batch.Count);
            if (error is not null)
            {
                Complain(() => ScrapeFailed(_plan.Url.Authority, _plan.Job.Name, error));
            }

            await CommitAsync(batch, ct);
            _cache.EndScrape(isGood: error is null);
        }
        finally
        {
            batch.Dispose();
        }
    }

    /// <returns>Why the scrape failed, or null.</returns>
    private async Task<string?> FillAsync(WriteBatch batch, long at, Counts counts, CancellationToken ct)
    {
        if (_plan.Error is not null)
        {
            return _plan.Error;
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
        patience.CancelAfter(_plan.Timeout);
        byte[]? body = null;
        try
        {
            (body, var length, var format) = await _fetch.GetAsync(patience.Token);
            Take(body.AsSpan(0, length), format, batch, at, counts);
            _families.DescribeChanged(batch);
            return null;
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return string.Create(CultureInfo.InvariantCulture, $"no answer within {_plan.Timeout.TotalSeconds:0.###} s");
        }
        catch (Exception error) when (error is HttpRequestException or IOException or InvalidDataException or ScrapeException or TextFormatException)
        {
            return error.GetBaseException().Message;
        }
        finally
        {
            if (body is not null)
            {
                ArrayPool<byte>.Shared.Return(body);
            }
        }
    }

    private void Take(ReadOnlySpan<byte> body, TextFormat format, WriteBatch batch, long at, Counts counts)
    {
        _refusal = null;
        var job = _plan.Job;
        var reader = new TextFormatReader(body, format);
        while (true)
        {
            var entry = reader.Read();
            if (entry == TextEntry.End)
            {
                return;
            }

            if (entry != TextEntry.Sample)
            {
                _families.Take(entry, reader.Family, reader.Text);
                continue;
            }

            counts.Scraped++;
            if (!_cache.TryFind(reader.SeriesText, out var series) && !TryAdd(ref reader, counts, out series))
            {
                continue;
            }

            if (series is null)
            {
                continue; // dropped by relabelling
            }

            counts.Kept++;
            if (job.SampleLimit > 0 && counts.Kept > job.SampleLimit)
            {
                throw new ScrapeException($"sample limit exceeded: more than {job.SampleLimit} samples after relabelling (sample_limit)");
            }

            var own = job.HonorTimestamps ? reader.Timestamp : null;
            _cache.See(series, isMarked: own is null || job.TrackTimestampsStaleness);
            batch.Add(series.Series, own ?? at, reader.Value);
        }
    }

    // The slow way of a series that is new: labels as strings, relabelling, limits, a place in the store.
    private bool TryAdd(ref TextFormatReader reader, Counts counts, out SeriesCache.Tracked? tracked)
    {
        tracked = null;
        reader.ReadLabels(reader.SeriesText, _exposed);
        if (!_labels.TryMake(_exposed, out var labels))
        {
            _cache.Add(reader.SeriesText, null);
            return true;
        }

        if (_tools.Store.Intern(labels, out var refusal) is not { } stored)
        {
            // Not remembered: the guard may let it in later.
            counts.Kept++;
            _refusal = $"a series was refused: {refusal}";
            Complain(() => SeriesRefused(_plan.Url.Authority, _plan.Job.Name, refusal ?? ""));
            return false;
        }

        counts.Added++;
        tracked = _cache.Add(reader.SeriesText, stored);
        return true;
    }

    private void AddStaleMarkers(WriteBatch batch, long at)
    {
        foreach (var series in _cache.Missing())
        {
            batch.Add(series, at, StaleMarker.Value);
        }
    }

    private void AddReport(WriteBatch batch, long at, bool isUp, TimeSpan took, Counts counts)
    {
        ReadOnlySpan<double> values = [isUp ? 1 : 0, took.TotalSeconds, counts.Scraped, counts.Kept, counts.Added];
        for (var index = 0; index < values.Length; index++)
        {
            if (Report(index) is { } series)
            {
                batch.Add(series, at, values[index]);
            }
        }
    }

    private StoredSeries? Report(int index) => _report[index] ??= _tools.Store.Intern(_plan.Labels.With(Labels.MetricName, ReportNames[index]), out _);

    private async Task CommitAsync(WriteBatch batch, CancellationToken ct)
    {
        var until = _tools.Clock.GetUtcNow() + _plan.Interval;
        while (true)
        {
            var result = await _tools.Store.CommitAsync(batch, ct);
            if (result.Outcome != CommitOutcome.Busy)
            {
                _tools.Counts.Add(_plan.Labels[Intake.SeriesLabels.Realm], result.Written);
                if (result.Refusals.Count > 0)
                {
                    Complain(() => SamplesRefused(_plan.Url.Authority, _plan.Job.Name, string.Join(" ", result.Refusals)));
                }

                return;
            }

            var wait = result.RetryAfter > TimeSpan.Zero ? result.RetryAfter : TimeSpan.FromMilliseconds(100);
            if (_tools.Clock.GetUtcNow() + wait > until)
            {
                throw new ScrapeException("the queue of the sample store is full");
            }

            await Task.Delay(wait, _tools.Clock, ct);
        }
    }

    // A target that is broken says so once a minute, not at every scrape.
    private void Complain(Action log)
    {
        var now = _tools.Clock.GetUtcNow().UtcTicks;
        if (_complainedAt == long.MinValue || now - _complainedAt >= TimeSpan.TicksPerMinute)
        {
            _complainedAt = now;
            log();
        }
    }

    private sealed class Counts
    {
        public int Scraped { get; set; }

        public int Kept { get; set; }

        public int Added { get; set; }
    }

    [LoggerMessage(LogLevel.Warning, "The scrape of {Target} (job {Job}) failed: {Reason}")]
    private partial void ScrapeFailed(string target, string job, string reason);

    [LoggerMessage(LogLevel.Error, "A scrape of {Target} (job {Job}) could not be stored: {Reason}")]
    private partial void NotStored(string target, string job, string reason);

    [LoggerMessage(LogLevel.Warning, "The store refused a series of {Target} (job {Job}): {Reason}")]
    private partial void SeriesRefused(string target, string job, string reason);

    [LoggerMessage(LogLevel.Warning, "The store refused samples of {Target} (job {Job}): {Reason}")]
    private partial void SamplesRefused(string target, string job, string reason);
}
