namespace Platform.SampleStore;

/// <summary>
/// Makes the bytes of one log row: the samples of all batches that are committed together. Kept and used again by the one who writes the
/// log. The format is described in FORMAT.md.
/// </summary>
internal sealed class BatchEncoder
{
    /// <summary>Samples added since <see cref="Clear"/>.</summary>
    public int Count { get; private set; }

    /// <summary>
    /// Adds samples that follow each other in one series. The encoding is best when series come in the order of their ids and when series
    /// that are sampled together come one after the other.
    /// </summary>
    /// <param name="id">The series' durable id.</param>
    /// <param name="times">In any order, with repetitions if there are; decoding gives back the same.</param>
    public void Add(long id, ReadOnlySpan<long> times, ReadOnlySpan<double> values) => throw new NotImplementedException();

    /// <summary>Everything added so far as one row. The memory is this encoder's: valid until the next call.</summary>
    public ReadOnlyMemory<byte> Finish() => throw new NotImplementedException();

    /// <summary>Begins the next row.</summary>
    public void Clear() => Count = 0;
}

/// <summary>The samples of one log row as columns; kept and used again by the reader.</summary>
internal sealed class DecodedBatch
{
    /// <summary>One stretch of samples of one series, in the order in which they were added. A series may have more than one.</summary>
    public readonly record struct Run(long Id, int Start, int Count);

    public ReadOnlySpan<Run> Runs => throw new NotImplementedException();

    /// <summary>Times of all samples, in the order of the runs.</summary>
    public ReadOnlySpan<long> Times => throw new NotImplementedException();

    public ReadOnlySpan<double> Values => throw new NotImplementedException();

    /// <summary>Replaces what was decoded before.</summary>
    /// <exception cref="InvalidDataException">The bytes are no log row, or were damaged.</exception>
    public void Decode(ReadOnlySpan<byte> row) => throw new NotImplementedException();
}
