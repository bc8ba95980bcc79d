using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Text;

namespace Platform.ServiceDefaults;

/// <summary>
/// The process' own metrics as Prometheus text (version 0.0.4). Listens to the meters it is given, keeps the current values, and writes them when asked.
/// Recording finds its series without allocating; series are bounded per instrument. The source is shared with the package for applications.
/// </summary>
internal sealed class Exposition : IDisposable
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    private readonly IReadOnlyList<string> _meters;
    private readonly int _maxSeries;
    private readonly IMeterFactory? _ours;
    private readonly ConcurrentDictionary<string, Family> _families = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _collecting = new(1, 1);
    private readonly MeterListener _listener = new();
    private int _generation;

    /// <param name="maxSeries">Of one instrument; measurements beyond share one series.</param>
    /// <param name="meters">Names of meters; one that ends in a dot stands for all that begin so.</param>
    /// <param name="ours">Meters that another factory made are left alone; null listens to all.</param>
    public Exposition(int maxSeries, IReadOnlyList<string> meters, IMeterFactory? ours = null)
    {
        _maxSeries = maxSeries;
        _meters = meters;
        _ours = ours;
        _listener.InstrumentPublished = Listen;
        _listener.SetMeasurementEventCallback<double>(static (_, value, tags, family) => Record(family, value, tags));
        _listener.SetMeasurementEventCallback<float>(static (_, value, tags, family) => Record(family, value, tags));
        _listener.SetMeasurementEventCallback<decimal>(static (_, value, tags, family) => Record(family, (double)value, tags));
        _listener.SetMeasurementEventCallback<long>(static (_, value, tags, family) => Record(family, value, tags));
        _listener.SetMeasurementEventCallback<int>(static (_, value, tags, family) => Record(family, value, tags));
        _listener.SetMeasurementEventCallback<short>(static (_, value, tags, family) => Record(family, value, tags));
        _listener.SetMeasurementEventCallback<byte>(static (_, value, tags, family) => Record(family, value, tags));
        _listener.Start();
    }

    public async Task<string> CollectAsync(CancellationToken ct)
    {
        // Observable instruments are asked once per collection, so collections take turns.
        await _collecting.WaitAsync(ct);
        try
        {
            var generation = ++_generation;
            foreach (var family in _families.Values)
            {
                family.Begin(generation);
            }

            try
            {
                _listener.RecordObservableInstruments();
            }
            catch (AggregateException)
            {
                // One instrument whose callback fails must not hide the others; it is missing from this answer.
            }

            var text = new StringBuilder(16 * 1024);
            foreach (var (_, family) in _families.OrderBy(family => family.Key, StringComparer.Ordinal))
            {
                family.WriteTo(text);
            }

            WriteOverflow(text);
            return text.ToString();
        }
        finally
        {
            _collecting.Release();
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        _collecting.Dispose();
    }

    private void Listen(Instrument instrument, MeterListener listener)
    {
        var meter = instrument.Meter;
        var wanted = _meters.Any(name => name.EndsWith('.') ? meter.Name.StartsWith(name, StringComparison.Ordinal) : meter.Name == name);

        // A meter made by another host in this process is that host's business.
        if (!wanted || (meter.Scope is IMeterFactory factory && _ours is not null && !ReferenceEquals(factory, _ours)))
        {
            return;
        }

        if (MetricName.KindOf(instrument) is { } kind)
        {
            var name = MetricName.Of(instrument, kind);
            var family = _families.GetOrAdd(name, static (name, made) => new Family(name, made.kind, made.instrument, made._maxSeries), (instrument, kind, _maxSeries));

            // Two instruments may share a name when they are the same thing; a counter and a gauge of one name cannot be written.
            if (family.Kind == kind)
            {
                listener.EnableMeasurementEvents(instrument, family);
            }
        }
    }

    private static void Record(object? family, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags) => ((Family)family!).Record(value, tags);

    private void WriteOverflow(StringBuilder text)
    {
        const string Name = "platform_metrics_overflow_measurements_total";
        text.Append("# HELP ").Append(Name).Append(" Measurements that got no series of their own because the instrument has as many as it may have.\n# TYPE ").Append(Name).Append(" counter\n");
        foreach (var (name, family) in _families.OrderBy(family => family.Key, StringComparer.Ordinal))
        {
            if (family.Overflow > 0)
            {
                text.Append(Name).Append("{metric=\"").Append(name).Append("\"} ").Append(family.Overflow).Append('\n');
            }
        }
    }
}
