using Platform.PromQL;

namespace Platform.SampleStore.Tests;

internal static class Reading
{
    /// <summary>The samples of all series of that name, one series after the other.</summary>
    public static async Task<(List<long> Times, List<double> Values)> ReadAsync(this ISampleStore store, string? realm, string name, long from, long to)
    {
        var columns = new SampleColumns();
        await foreach (var batch in store.Source(realm).SelectAsync(new Selection([new Matcher("__name__", MatchKind.Equal, name)], from, to), TestContext.Current.CancellationToken))
        {
            foreach (var series in batch)
            {
                series.Read(from, to, columns);
            }
        }

        return ([.. columns.Times], [.. columns.Values]);
    }
}
