namespace Platform.PromQL;

/// <summary>Counts the samples of one query against its limit. One thread at a time; workers report to it after each batch.</summary>
internal sealed class Budget(long most)
{
    public long SamplesRead { get; private set; }

    /// <summary>Points of intermediate results that are in memory.</summary>
    public long Held { get; private set; }

    public long Peak { get; private set; }

    public void Read(long samples) => SamplesRead += samples;

    /// <summary>That many are held now.</summary>
    /// <exception cref="QueryException">More than allowed.</exception>
    public void Hold(long samples)
    {
        Held = samples;
        Peak = Math.Max(Peak, samples);
        if (samples > most)
        {
            throw new QueryException(
                QueryFault.Execution,
                $"query processing would load too many samples into memory in query execution: at most {most:N0} are allowed; select fewer series, a shorter range or larger steps");
        }
    }
}
