using Platform.PromQL;

namespace Platform.SampleStore;

/// <summary>
/// Which series have which labels. Readers take no lock and see every series that was added before they began. A label that a series does
/// not have counts as the empty string, as everywhere in PromQL. A realm of null means all realms. Safe for all threads.
/// </summary>
/// <param name="isGone">The series has left memory, for good: readers pass it over, and <see cref="Prune"/> forgets it.</param>
internal sealed class LabelIndex<T>(Predicate<T> isGone) where T : StoredSeries
{
    /// <summary>The series must not be in the index already.</summary>
    public void Add(T series) => throw new NotImplementedException(isGone.Method.Name);

    /// <summary>
    /// Forgets the series that have left memory, when they are so many that it pays. To be called after series were removed. Readers go on
    /// meanwhile, additions wait.
    /// </summary>
    public void Prune() => throw new NotImplementedException();

    /// <summary>Appends every series that all matchers accept, each once, in the order in which they were added.</summary>
    /// <param name="matchers">None accepts every series of the realm.</param>
    public void Select(string? realm, IReadOnlyList<Matcher> matchers, List<T> into) => throw new NotImplementedException();

    /// <summary>Label names of the series that any of the matcher lists accepts (of all series when there is no list), sorted, at most <paramref name="limit"/>.</summary>
    public IReadOnlyList<string> LabelNames(string? realm, IReadOnlyList<IReadOnlyList<Matcher>> any, int limit) => throw new NotImplementedException();

    /// <summary>As <see cref="LabelNames"/>: the values of one label.</summary>
    public IReadOnlyList<string> LabelValues(string? realm, string label, IReadOnlyList<IReadOnlyList<Matcher>> any, int limit) => throw new NotImplementedException();
}
