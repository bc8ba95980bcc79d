using System.Diagnostics.Metrics;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>Why samples of a request were not stored although the request could be read.</summary>
internal enum RefusalReason
{
    /// <summary>Labels, values or times that no series can have.</summary>
    Invalid,

    /// <summary>A guard of the store: too many series, too many or too long labels.</summary>
    Guard,

    /// <summary>Native histograms, which are not stored.</summary>
    NativeHistogram,

    /// <summary>The store refused it when committing: too old, or too far ahead.</summary>
    Time,
}

/// <summary>What a request holds that is not stored: counted, with a few sentences for the sender.</summary>
internal sealed class Refusals
{
    private const int MostSentences = 10;

    private readonly int[] _counts = new int[Enum.GetValues<RefusalReason>().Length];
    private readonly List<string> _sentences = [];

    public int Count { get; private set; }

    public IReadOnlyList<string> Sentences => _sentences;

    /// <summary>False when a further sentence would not be shown, and need not be made.</summary>
    public bool WantsSentence => _sentences.Count < MostSentences;

    public int Of(RefusalReason reason) => _counts[(int)reason];

    public void Add(RefusalReason reason, int count, string? sentence)
    {
        _counts[(int)reason] += count;
        Count += count;
        if (sentence is not null && WantsSentence)
        {
            _sentences.Add(sentence);
        }
    }

    /// <summary>What the store did not take of the samples that were given to it.</summary>
    public void Add(CommitResult result, int given)
    {
        if (result.Refusals.Count > 0)
        {
            Add(RefusalReason.Time, Math.Max(1, given - result.Written), null);
            foreach (var sentence in result.Refusals)
            {
                Add(RefusalReason.Time, 0, sentence);
            }
        }
    }
}

/// <summary>What the intakes count about themselves, on <c>/metrics</c>.</summary>
internal sealed partial class IntakeMetrics
{
    private readonly ILogger<IntakeMetrics> _logger;
    private readonly TimeProvider _clock;
    private readonly Counter<long> _stored;
    private readonly Counter<long> _refused;
    private readonly Counter<long> _exemplars;
    private long _lastLogged;

    public IntakeMetrics(IMeterFactory meters, IntakeBodies bodies, TimeProvider clock, ILogger<IntakeMetrics> logger)
    {
        _logger = logger;
        _clock = clock;
        var meter = meters.Create("Platform.Metrics");
        _stored = meter.CreateCounter<long>("monitoring_samples", null, "Samples committed, by intake.");
        _refused = meter.CreateCounter<long>("monitoring_samples_refused", null, "Samples not stored, by intake and reason.");
        _exemplars = meter.CreateCounter<long>("monitoring_exemplars_dropped", null, "Exemplars that came with samples and are not kept, by intake.");
        meter.CreateObservableGauge("monitoring_intake_bytes", () => bodies.BytesInUse, "By", "Bodies that are being read.");
    }

    /// <param name="intake">One of a few words: <c>remote_write</c>, <c>remote_write_2</c>, <c>otlp</c>, <c>json</c>.</param>
    public void Done(string intake, string realm, long stored, int exemplars, Refusals refusals)
    {
        if (stored > 0)
        {
            _stored.Add(stored, new KeyValuePair<string, object?>("intake", intake));
        }

        if (exemplars > 0)
        {
            _exemplars.Add(exemplars, new KeyValuePair<string, object?>("intake", intake));
        }

        if (refusals.Count == 0)
        {
            return;
        }

        foreach (var reason in Enum.GetValues<RefusalReason>())
        {
            if (refusals.Of(reason) > 0)
            {
                _refused.Add(refusals.Of(reason), new("intake", intake), new("reason", Word(reason)));
            }
        }

        // Once a minute, because a sender that is wrong is wrong at every request.
        var last = Volatile.Read(ref _lastLogged);
        var now = _clock.GetUtcNow().Ticks;
        if (now - last >= TimeSpan.TicksPerMinute && Interlocked.CompareExchange(ref _lastLogged, now, last) == last)
        {
            SamplesRefused(refusals.Count, intake, realm, refusals.Sentences.Count > 0 ? refusals.Sentences[0] : "");
        }
    }

    private static string Word(RefusalReason reason) => reason switch
    {
        RefusalReason.Invalid => "invalid",
        RefusalReason.Guard => "guard",
        RefusalReason.NativeHistogram => "native_histogram",
        RefusalReason.Time => "time",
    };

    [LoggerMessage(LogLevel.Warning, "{Samples} samples of one {Intake} request of realm {Realm} were refused; further such requests are counted and not logged for a minute. The first reason: {Reason}")]
    private partial void SamplesRefused(int samples, string intake, string realm, string reason);
}
