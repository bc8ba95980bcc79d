using System.Runtime.CompilerServices;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// Series for a realm, from memory and database together. Memory has all samples since its floor, and some before; the database has what
/// was compacted. What is in both does no harm, because of samples with one time only one is read. What is in neither cannot happen: the
/// floor is raised before samples leave memory, and the chunks that hold them are known before that; so a reader who looks at memory first
/// and at the floor afterwards either still has the samples or knows that it must ask the database.
/// </summary>
internal sealed class StoredReader(Head head, SeriesRows rows, ChunkReader chunks, string? realm) : ISeriesSource
{
    // Series of which only memory is read come in large batches; where rows are fetched, a batch is bounded by the rows it may have.
    private const int InMemory = 4096;
    private const int RowsPerBatch = 1024;

    public async IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, [EnumeratorCancellation] CancellationToken ct)
    {
        var found = await FindAsync(selection, ct);
        if (selection.LabelsOnly)
        {
            yield return found.ConvertAll(static Series (each) => new ViewedSeries(each.Labels, new BufferView([], default, default), [], long.MinValue));
            yield break;
        }

        // The next batch is fetched while the one before is evaluated.
        Task<IReadOnlyList<Series>>? next = null;
        for (var start = 0; start < found.Count || next is not null;)
        {
            var current = next;
            next = null;
            if (start < found.Count)
            {
                var days = selection.From < head.SamplesFloor ? chunks.DaysWithin(selection.From, Math.Min(selection.To, head.SamplesFloor - 1)) : 0;
                var count = Math.Min(found.Count - start, days == 0 ? InMemory : Math.Max(16, RowsPerBatch / days));
                next = ReadAsync(found.GetRange(start, count), selection, ct);
                start += count;
            }

            if (current is not null)
            {
                yield return await current;
            }
        }
    }

    public async Task<IReadOnlyList<string>> LabelNamesAsync(IReadOnlyList<Selection> selections, int limit, CancellationToken ct)
    {
        if (!selections.Any(selection => selection.From < head.IndexFloor))
        {
            return head.LabelNames(realm, selections, limit);
        }

        var names = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var selection in selections)
        {
            foreach (var series in await FindAsync(selection, ct))
            {
                for (var at = 0; at < series.Labels.Count; at++)
                {
                    names.Add(series.Labels.NameAt(at));
                }
            }
        }

        return [.. names.Take(limit)];
    }

    public async Task<IReadOnlyList<string>> LabelValuesAsync(string label, IReadOnlyList<Selection> selections, int limit, CancellationToken ct)
    {
        if (!selections.Any(selection => selection.From < head.IndexFloor))
        {
            return head.LabelValues(realm, label, selections, limit);
        }

        var values = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var selection in selections)
        {
            foreach (var series in await FindAsync(selection, ct))
            {
                if (series.Labels[label] is { Length: > 0 } value)
                {
                    values.Add(value);
                }
            }
        }

        return [.. values.Take(limit)];
    }

    // Series in memory, and those that have left it where the time reaches back further than memory does. First memory, then its floor.
    private async Task<List<Found>> FindAsync(Selection selection, CancellationToken ct)
    {
        var inMemory = head.Select(realm, selection.Matchers);
        var found = new List<Found>(inMemory.Count);
        foreach (var series in inMemory)
        {
            if (series.LastTime >= selection.From)
            {
                found.Add(new Found(series, series.Id, series.Labels));
            }
        }

        if (selection.From < head.IndexFloor)
        {
            var known = inMemory.Select(series => series.Id).ToHashSet();
            var stored = await rows.FindStoredAsync(realm, selection.Matchers, ChunkReader.DayOf(selection.From), known.Contains, ct);
            found.AddRange(stored.Select(series => new Found(null, series.Id, series.Labels)));
        }

        return found;
    }

    private async Task<IReadOnlyList<Series>> ReadAsync(List<Found> found, Selection selection, CancellationToken ct)
    {
        var views = new BufferView[found.Count];
        for (var at = 0; at < views.Length; at++)
        {
            views[at] = new BufferView([], default, default);
            if (found[at].Live is { } series)
            {
                Head.TryView(series, selection.From, selection.To, out views[at]);
            }
        }

        var floor = head.SamplesFloor;
        var storedTo = Math.Min(selection.To, floor - 1);
        Segment[][]? stored = null;
        if (selection.From < floor && chunks.DaysWithin(selection.From, storedTo) > 0)
        {
            stored = await chunks.ReadAsync([.. found.Select(each => each.Id)], selection.From, storedTo, ct);
        }

        var batch = new List<Series>(found.Count);
        for (var at = 0; at < views.Length; at++)
        {
            if (!views[at].IsEmpty || stored?[at].Length > 0)
            {
                batch.Add(new ViewedSeries(found[at].Labels, views[at], stored?[at] ?? [], storedTo));
            }
        }

        return batch;
    }

    private readonly record struct Found(LiveSeries? Live, long Id, Labels Labels);
}
