using System.Runtime.CompilerServices;
using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>Series and samples that are in memory, for a realm.</summary>
internal sealed class HeadReader(Head head, string? realm) : ISeriesSource
{
    // Series whose samples are looked up together; the list of series is there already, so a batch costs little.
    private const int Batch = 4096;

#pragma warning disable CS1998 // nothing is fetched, so nothing is awaited
    public async IAsyncEnumerable<IReadOnlyList<Series>> SelectAsync(Selection selection, [EnumeratorCancellation] CancellationToken ct)
#pragma warning restore CS1998
    {
        var found = head.Select(realm, selection.Matchers);
        for (var start = 0; start < found.Count; start += Batch)
        {
            ct.ThrowIfCancellationRequested();
            var batch = new List<Series>(Math.Min(Batch, found.Count - start));
            for (var at = start; at < Math.Min(found.Count, start + Batch); at++)
            {
                var series = found[at];
                if (Head.TryView(series, selection.From, selection.To, out var view))
                {
                    batch.Add(new ViewedSeries(series.Labels, view, [], long.MinValue));
                }
            }

            yield return batch;
        }
    }
}

/// <summary>A series as it was when it was selected.</summary>
/// <param name="stored">Chunks that were fetched for it, by their start.</param>
/// <param name="storedTo">They are read up to here; what is later is in the view.</param>
internal sealed class ViewedSeries(Labels labels, BufferView view, Segment[] stored, long storedTo) : Series(labels)
{
    public override void Read(long from, long to, SampleColumns into) => view.Read(stored, storedTo, from, to, into);
}
