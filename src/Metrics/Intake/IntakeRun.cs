using System.Buffers;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>
/// One request on its way into a <see cref="WriteBatch"/>: what its parser and its answer share. Known series are found by a hash over
/// their bytes; only for unknown ones are labels decoded.
/// </summary>
internal sealed class IntakeRun(ISampleStore store, KnownMetadata known, IntakeOptions options, string realm) : IDisposable
{
    // Families beyond are passed over: their metadata comes again, and samples do not wait for it.
    private const int MostDescribed = 20_000;

    private readonly SeriesKey _realmKey = SeriesKey.OfRealm(realm);
    private readonly HashSet<SeriesKey> _described = [];

    public string Realm => realm;

    public WriteBatch Batch { get; } = new();

    /// <summary>Samples that the store is given, totals of increments among them.</summary>
    public int Given => Batch.Count + Batch.Increments.Count;

    public Refusals Refusals { get; } = new();

    /// <summary>Of the series at hand.</summary>
    public SeriesLabels Labels { get; } = new(realm);

    /// <summary>Bytes that keys are made of, or fields that had to be brought together.</summary>
    public ArrayBufferWriter<byte> Scratch { get; } = new(512);

    /// <summary>Exemplars that came and are not kept.</summary>
    public int Exemplars { get; set; }

    public SeriesKey KeyOf(ReadOnlySpan<byte> bytes) => SeriesKey.Of(_realmKey, bytes);

    public StoredSeries? Find(in SeriesKey key) => store.Find(key);

    /// <summary>Announces keys that are about to be looked for.</summary>
    public void Touch(ReadOnlySpan<SeriesKey> keys) => store.Touch(keys);

    /// <summary>Makes a series of <see cref="Labels"/>, and remembers it under the key.</summary>
    /// <param name="samples">How many samples are refused if the series is.</param>
    public StoredSeries? Introduce(in SeriesKey key, int samples)
    {
        var labels = Labels.Build(out var fault);
        if (labels is null)
        {
            Refusals.Add(RefusalReason.Invalid, samples, Refusals.WantsSentence ? $"{Labels}: {fault}." : null);
            return null;
        }

        var series = store.Intern(labels, out var refusal);
        if (series is null)
        {
            Refusals.Add(RefusalReason.Guard, samples, Refusals.WantsSentence ? $"{Labels}: {refusal}" : null);
            return null;
        }

        store.Remember(key, series);
        return series;
    }

    /// <summary>To be called before so many more samples are added: a small body may hold very many.</summary>
    /// <exception cref="RefusedBodyException">413: they are too many for one request.</exception>
    public void Expect(int samples)
    {
        if (Given + (long)samples > options.MaxSamples)
        {
            throw new RefusedBodyException(
                $"The request holds more than {options.MaxSamples} samples (METRICS_INTAKE_MAX_SAMPLES). Nothing of it was stored; send several requests.",
                StatusCodes.Status413PayloadTooLarge);
        }
    }

    /// <summary>Whether this was not said before; then <see cref="Describe"/> says it.</summary>
    public bool IsNews(in SeriesKey key) => _described.Count < MostDescribed && !known.Contains(key) && !_described.Contains(key);

    public void Describe(in SeriesKey key, MetricMetadata metadata)
    {
        _described.Add(key);
        Batch.Describe(metadata);
    }

    /// <summary>Makes the batch durable. Once begun it is not given up when the client goes: the batch must not be touched while it is written.</summary>
    public async Task<CommitResult> CommitAsync()
    {
        var result = await store.CommitAsync(Batch, CancellationToken.None);
        if (result.Outcome is CommitOutcome.Stored)
        {
            known.Add(_described);
        }

        return result;
    }

    public void Dispose() => Batch.Dispose();
}
