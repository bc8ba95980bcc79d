using System.Diagnostics;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Npgsql;
using NpgsqlTypes;

namespace Platform.SampleStore;

/// <summary>
/// Requests queue, and each of a few writers takes what is waiting and commits it as one transaction with one row of the log. Alone, a
/// request is committed at once; under load, many share a commit. The queue is bounded in samples; what does not fit is turned away.
/// </summary>
internal sealed partial class GroupCommit : IDisposable
{
    // Series that are looked at before they are written to.
    private const int Together = 32;

    private static readonly TimeSpan AskAgain = TimeSpan.FromSeconds(1);

    private readonly Channel<Request> _queue = Channel.CreateUnbounded<Request>(new UnboundedChannelOptions { SingleReader = false });
    private readonly NpgsqlDataSource _db;
    private readonly Head _head;
    private readonly SeriesRows _rows;
    private readonly CommitOrder _order;
    private readonly OwnCommits _own;
    private readonly SampleStoreOptions _options;
    private readonly TimeProvider _clock;
    private readonly StoreMetrics _metrics;
    private readonly ILogger _logger;
    private readonly KnownMetadata _known;
    private Task _writers = Task.CompletedTask;
    private long _queued;
    private long _commits;
    private long _touched;

    public GroupCommit(
        NpgsqlDataSource db, Head head, SeriesRows rows, CommitOrder order, OwnCommits own, SampleStoreOptions options, TimeProvider clock, StoreMetrics metrics, ILogger logger)
    {
        (_db, _head, _rows, _order, _own, _options, _clock, _metrics, _logger) = (db, head, rows, order, own, options, clock, metrics, logger);
        _known = new KnownMetadata(options);
        metrics.Gauge("metrics_queue_samples", "Samples in requests that wait for a commit.", () => Volatile.Read(ref _queued));
    }

    /// <summary>Commits of this process so far; the follower tells others when it grows.</summary>
    public long Commits => Volatile.Read(ref _commits);

    public Task<CommitResult> CommitAsync(WriteBatch batch)
    {
        var weight = batch.Count + batch.Increments.Count + batch.Metadata.Count + 1;
        // One request that is larger than the whole queue gets in when it is empty.
        var queued = Interlocked.Add(ref _queued, weight);
        if ((queued > _options.QueueSamples && queued != weight) || _order.Samples > 4 * _options.CompactSamples)
        {
            Interlocked.Add(ref _queued, -weight);
            _metrics.Refused(RefusalReason.Busy, batch.Count);
            return Task.FromResult(new CommitResult(CommitOutcome.Busy, 0, [], AskAgain));
        }

        var request = new Request(batch, weight);
        if (!_queue.Writer.TryWrite(request))
        {
            Interlocked.Add(ref _queued, -weight);
            return Task.FromResult(new CommitResult(CommitOutcome.Busy, 0, [], AskAgain));
        }

        // Not to be given up with the client: the batch is being read until the commit has ended.
        return request.Done.Task;
    }

    public void Start() => _writers = Task.WhenAll(Enumerable.Range(0, _options.Writers).Select(_ => Task.Run(WriteLoopAsync)));

    /// <summary>What was taken in is still committed and answered.</summary>
    public Task StopAsync()
    {
        _queue.Writer.TryComplete();
        return _writers;
    }

    public void Dispose() => _queue.Writer.TryComplete();

    private async Task WriteLoopAsync()
    {
        var work = new Work();
        var group = new List<Request>();
        while (await _queue.Reader.WaitToReadAsync())
        {
            TakeGroup(group);
            if (group.Count == 0)
            {
                continue; // another writer was faster
            }

            try
            {
                await CommitAsync(group, work);
            }
            catch (PostgresException error) when (IsOfTheData(error) && group.Count > 1)
            {
                // One request's data spoiled the commit that it shared: each gets its own, and only the culprit fails.
                await CommitOneByOneAsync(group, work);
            }
            catch (Exception error)
            {
                Failed(group, error);
            }
            finally
            {
                foreach (var request in group)
                {
                    Interlocked.Add(ref _queued, -request.Weight);
                }

                work.Clear();
            }
        }
    }

    private void TakeGroup(List<Request> group)
    {
        group.Clear();
        var weight = 0L;
        while (weight < _options.CommitSamples && _queue.Reader.TryRead(out var request))
        {
            group.Add(request);
            weight += request.Weight;
        }
    }

    private async Task CommitOneByOneAsync(List<Request> group, Work work)
    {
        foreach (var request in group)
        {
            try
            {
                await CommitAsync([request], work);
            }
            catch (Exception error)
            {
                Failed([request], error);
            }
        }
    }

    private void Failed(List<Request> group, Exception error)
    {
        CommitFailed(_logger, error, group.Count);
        foreach (var request in group)
        {
            request.Done.TrySetException(error);
        }
    }

    private static bool IsOfTheData(PostgresException error) =>
        error.SqlState.StartsWith("22", StringComparison.Ordinal) || error.SqlState.StartsWith("23", StringComparison.Ordinal);

    private async Task CommitAsync(List<Request> group, Work work)
    {
        work.Clear();
        var started = Stopwatch.GetTimestamp();
        var token = Guid.NewGuid();
        var today = (int)(_clock.GetUtcNow().ToUnixTimeSeconds() / 86_400);
        var (txid, metadata) = (0UL, new List<MetricMetadata>());
        await using (var connection = await _db.OpenConnectionAsync())
        {
            // A commit of nothing but samples of known series is one statement and its own transaction.
            var plain = true;
            foreach (var request in group)
            {
                plain &= request.Batch.Key is null && request.Batch.Increments.Count == 0;
                _known.Unknown(request.Batch.Metadata, metadata);
            }

            plain &= metadata.Count == 0;
            var collected = plain;
            if (collected)
            {
                Collect(group, work, today);
                plain = work.Unborn.Count == 0;
            }

            _own.Begin(token, _clock.GetUtcNow());
            try
            {
                if (plain)
                {
                    txid = await AppendAsync(connection, work, token);
                }
                else
                {
                    await using var tx = await connection.BeginTransactionAsync();
                    if (!collected)
                    {
                        await SampleKeys.ClaimAsync(connection, group);
                        Collect(group, work, today);
                    }

                    if (work.Unborn.Count > 0)
                    {
                        await _rows.InsertAsync(connection, work.Unborn, today);
                    }

                    await SampleTotals.MoveAsync(connection, work);
                    await KnownMetadata.WriteAsync(connection, metadata);
                    await SampleKeys.NoteWrittenAsync(connection, group);
                    txid = await AppendAsync(connection, work, token);
                    await tx.CommitAsync();
                    _known.Remember(metadata);
                }
            }
            catch
            {
                _own.Failed(token);
                throw;
            }
        }

        var took = Stopwatch.GetElapsedTime(started);
        Apply(work, txid);
        _own.Applied(token);
        Interlocked.Increment(ref _commits);
        _metrics.Committed(work.Samples, took);
        _metrics.Appended(work.Samples);
        foreach (var request in group)
        {
            request.Done.TrySetResult(request.Answer ?? new CommitResult(CommitOutcome.Stored, request.Written, request.Refusals));
        }
    }

    // What of the requests is going to be stored, as runs of samples of one series.
    private void Collect(List<Request> group, Work work, int today)
    {
        work.Clear();
        foreach (var request in group)
        {
            (request.Written, request.Refusals) = (0, []);
            if (request.Answer is not null)
            {
                continue; // its key was used before
            }

            var age = new SampleAge(_options, _clock);
            var series = request.Batch.Series;
            var times = request.Batch.Times;
            for (var start = 0; start < series.Length;)
            {
                var own = (StoredSeries)series[start];
                var accepted = age.Accept(own, times[start]);
                var end = start + 1;
                while (end < series.Length && ReferenceEquals(series[end], own) && age.Accepts(times[end]) == accepted)
                {
                    if (!accepted)
                    {
                        age.Accept(own, times[end]);
                    }

                    end++;
                }

                if (accepted)
                {
                    work.Add(Wanted(own, work, today), request.Batch, start, end - start);
                    request.Written += end - start;
                }

                start = end;
            }

            foreach (var increment in request.Batch.Increments)
            {
                if (age.Accept(increment.Series, increment.At))
                {
                    work.Increments.Add((Wanted(increment.Series, work, today), increment));
                    request.Written++;
                }
            }

            request.Refusals = age.Refusals(_metrics);
        }
    }

    // The series as it is in memory now, noted as one that needs a row when it has none, or one that retention might soon take.
    private LiveSeries Wanted(StoredSeries given, Work work, int today)
    {
        var series = _head.Current(given);
        if (!series.IsDurable || series.KeptFrom < today - Math.Max(1, _options.RetentionDays / 2))
        {
            work.NeedsRow(series);
        }

        return series;
    }

    private static async Task<ulong> AppendAsync(NpgsqlConnection connection, Work work, Guid token)
    {
        if (work.Samples == 0)
        {
            return 0;
        }

        await using var append = new NpgsqlCommand("insert into sample_batches (token, samples, bytes) values ($1, $2, $3) returning txid", connection);
        append.Parameters.Add(new NpgsqlParameter<Guid> { TypedValue = token });
        append.Parameters.Add(new NpgsqlParameter<int> { TypedValue = work.Samples });
        append.Parameters.Add(new NpgsqlParameter<ReadOnlyMemory<byte>> { TypedValue = work.Encode(), NpgsqlDbType = NpgsqlDbType.Bytea });
        return (ulong)(await append.ExecuteScalarAsync())!;
    }

    private void Apply(Work work, ulong txid)
    {
        if (work.Samples == 0)
        {
            return;
        }

        var place = _order.Begin(txid, work.Samples);
        var sealAt = _head.SealAt;
        foreach (var series in work.Unborn)
        {
            _rows.Put(series);
            _head.Publish(series);
        }

        for (var rest = work.Runs; !rest.IsEmpty;)
        {
            var some = rest[..Math.Min(Together, rest.Length)];
            Touch(some);
            foreach (ref readonly var run in some)
            {
                _head.Apply(run.Series, run.Times, run.Values, sealAt, place);
                _head.Watch.Touch(run.Series);
            }

            rest = rest[some.Length..];
        }

        _head.Watch.Tell();
    }

    // See SampleBuffer.Touch. The sum is there so that the reads are.
    private void Touch(ReadOnlySpan<Run> runs)
    {
        var sum = 0L;
        foreach (ref readonly var run in runs)
        {
            sum += run.Series.KeptFrom;
        }

        foreach (ref readonly var run in runs)
        {
            sum += run.Series.Samples?.MaxTime ?? 0;
        }

        foreach (ref readonly var run in runs)
        {
            sum += run.Series.Samples?.Touch() ?? 0;
        }

        Volatile.Write(ref _touched, sum);
    }

    [LoggerMessage(LogLevel.Error, "Committing {Requests} requests with samples failed; their clients were told to send again")]
    private static partial void CommitFailed(ILogger logger, Exception error, int requests);

    /// <summary>A batch on its way into a commit.</summary>
    internal sealed class Request(WriteBatch batch, int weight)
    {
        public WriteBatch Batch => batch;

        public int Weight => weight;

        public int Written { get; set; }

        public IReadOnlyList<string> Refusals { get; set; } = [];

        /// <summary>Set when the request's key was used before.</summary>
        public CommitResult? Answer { get; set; }

        public TaskCompletionSource<CommitResult> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>What one writer commits at the moment; kept and used again.</summary>
    internal sealed class Work
    {
        private readonly BatchEncoder _encoder = new();
        private readonly HashSet<LiveSeries> _needRow = new(ReferenceEqualityComparer.Instance);
        private readonly List<Run> _runs = [];

        public List<LiveSeries> Unborn { get; } = [];

        public List<(LiveSeries Series, Increment Increment)> Increments { get; } = [];

        public int Samples { get; private set; }

        public ReadOnlySpan<Run> Runs => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_runs);

        public void Add(LiveSeries series, WriteBatch batch, int start, int count)
        {
            _runs.Add(new Run(series, batch, start, count, 0, 0));
            Samples += count;
        }

        public void Add(LiveSeries series, long time, double value)
        {
            _runs.Add(new Run(series, null, 0, 1, time, value));
            Samples++;
        }

        public void NeedsRow(LiveSeries series)
        {
            if (_needRow.Add(series))
            {
                Unborn.Add(series);
            }
        }

        public ReadOnlyMemory<byte> Encode()
        {
            _encoder.Clear();
            foreach (ref readonly var run in Runs)
            {
                _encoder.Add(run.Series.Id, run.Times, run.Values);
            }

            return _encoder.Finish();
        }

        public void Clear()
        {
            _encoder.Clear();
            _needRow.Clear();
            _runs.Clear();
            Unborn.Clear();
            Increments.Clear();
            Samples = 0;
        }
    }

    /// <summary>Samples of one series that follow each other in a request, or the single sample of a total.</summary>
    internal readonly struct Run(LiveSeries series, WriteBatch? batch, int start, int count, long time, double value)
    {
        private readonly long _time = time;
        private readonly double _value = value;

        public LiveSeries Series => series;

        [System.Diagnostics.CodeAnalysis.UnscopedRef]
        public ReadOnlySpan<long> Times => batch is null ? new ReadOnlySpan<long>(in _time) : batch.Times.Slice(start, count);

        [System.Diagnostics.CodeAnalysis.UnscopedRef]
        public ReadOnlySpan<double> Values => batch is null ? new ReadOnlySpan<double>(in _value) : batch.Values.Slice(start, count);
    }
}
