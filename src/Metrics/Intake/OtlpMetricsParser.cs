using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Platform.PromQL;
using Platform.SampleStore;

namespace Platform.Metrics.Intake;

/// <summary>
/// Reads an <c>ExportMetricsServiceRequest</c> into a batch, as Prometheus' OTLP receiver would store it. A series is known by a hash over
/// its resource, its metric and its attributes as they came, so that names are translated and attributes decoded once per series.
/// Points that cannot be stored are noted, one by one, and the rest goes on.
/// </summary>
internal sealed class OtlpMetricsParser(IntakeRun run, OtlpOptions options)
{
    private readonly List<ulong> _counts = [];
    private readonly List<double> _bounds = [];
    private readonly List<(StoredSeries Series, double Value)> _pending = [];
    private readonly SortedDictionary<string, string> _labels = new(StringComparer.Ordinal);
    private readonly ArrayBufferWriter<byte> _attributes = new(256);

    // Milliseconds; the time of the resource's newest point.
    private long _newest;

    public void Read(ReadOnlySpan<byte> body)
    {
        var reader = new ProtoReader(body);
        while (reader.Next())
        {
            if (reader.Field == 1)
            {
                ReadResource(reader.Bytes());
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private void ReadResource(ReadOnlySpan<byte> message)
    {
        var metric = new Metric();
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Field == 1)
            {
                metric.Resource = reader.Bytes();
            }
            else
            {
                reader.Skip();
            }
        }

        _newest = 0;
        metric.ResourceKey = run.KeyOf(metric.Resource);
        reader = new ProtoReader(message);
        while (reader.Next())
        {
            if (reader.Field == 2)
            {
                var scope = new ProtoReader(reader.Bytes());
                while (scope.Next())
                {
                    if (scope.Field == 2)
                    {
                        ReadMetric(ref metric, scope.Bytes());
                    }
                    else
                    {
                        scope.Skip();
                    }
                }
            }
            else
            {
                reader.Skip();
            }
        }

        if (_newest > 0)
        {
            AddTargetInfo(metric);
        }
    }

    private void ReadMetric(ref Metric metric, ReadOnlySpan<byte> message)
    {
        ReadOnlySpan<byte> description = [];
        ReadOnlySpan<byte> points = [];
        var type = 0;
        metric.Name = metric.Unit = [];
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    metric.Name = reader.Bytes();
                    break;
                case 2:
                    description = reader.Bytes();
                    break;
                case 3:
                    metric.Unit = reader.Bytes();
                    break;
                case 5 or 7 or 9 or 10 or 11:
                    type = reader.Field;
                    points = reader.Bytes();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (type == 0)
        {
            return;
        }

        ReadTemporality(ref metric, type, points);
        metric.Key = KeyOfMetric(metric);
        Describe(metric, description);
        reader = new ProtoReader(points);
        while (reader.Next())
        {
            if (reader.Field != 1)
            {
                reader.Skip();
                continue;
            }

            var point = reader.Bytes();
            switch (type)
            {
                case 5 or 7:
                    ReadNumber(metric, point);
                    break;
                case 9:
                    ReadHistogram(metric, point);
                    break;
                case 10:
                    ReadExponential(metric, point);
                    break;
                default:
                    ReadSummary(metric, point);
                    break;
            }
        }
    }

    private static void ReadTemporality(ref Metric metric, int type, ReadOnlySpan<byte> points)
    {
        var temporality = 0;
        var monotonic = false;
        var reader = new ProtoReader(points);
        while (reader.Next())
        {
            if (reader.Field == 2 && reader.Wire == 0)
            {
                temporality = (int)Math.Min(reader.Varint(), 3);
            }
            else if (reader.Field == 3 && reader.Wire == 0)
            {
                monotonic = reader.Varint() != 0;
            }
            else
            {
                reader.Skip();
            }
        }

        metric.Kind = type switch
        {
            5 => OtlpKind.Gauge,
            7 => monotonic ? OtlpKind.Counter : OtlpKind.Level,
            11 => OtlpKind.Summary,
            _ => OtlpKind.Histogram,
        };
        metric.AttributesField = type switch { 9 => 9, 10 => 1, _ => 7 };
        metric.IsDelta = metric.Kind is OtlpKind.Counter or OtlpKind.Level or OtlpKind.Histogram && temporality == 1;
        metric.Fault = metric.Kind is OtlpKind.Gauge or OtlpKind.Summary ? null
            : temporality is not (1 or 2) ? "its aggregation temporality is not set; send cumulative or delta"
            : metric is { IsDelta: true, Kind: OtlpKind.Level } ? "it is a delta of a sum that is not monotonic, from which no value follows; send it cumulative"
            : null;
    }

    private SeriesKey KeyOfMetric(in Metric metric)
    {
        Begin(metric.ResourceKey, (byte)metric.Kind);
        run.Scratch.Write(metric.Unit);
        run.Scratch.Write("\0"u8);
        run.Scratch.Write(metric.Name);
        return run.KeyOf(run.Scratch.WrittenSpan);
    }

    // Labels of remote write begin with 0x0a; these keys are of another kind and begin otherwise.
    private void Begin(in SeriesKey key, byte mark)
    {
        run.Scratch.ResetWrittenCount();
        var room = run.Scratch.GetSpan(18);
        room[0] = 0xff;
        room[1] = mark;
        BinaryPrimitives.WriteUInt64LittleEndian(room[2..], key.High);
        BinaryPrimitives.WriteUInt64LittleEndian(room[10..], key.Low);
        run.Scratch.Advance(18);
    }

    private void Describe(in Metric metric, ReadOnlySpan<byte> description)
    {
        Begin(metric.Key, 0xfe);
        run.Scratch.Write(description);
        var key = run.KeyOf(run.Scratch.WrittenSpan);
        if (!run.IsNews(key))
        {
            return;
        }

        var unit = ProtoReader.TextOf(metric.Unit);
        var family = OtlpNames.Metric(ProtoReader.TextOf(metric.Name), unit, metric.Kind);
        if (family.Length > 0)
        {
            var type = metric.Kind switch
            {
                OtlpKind.Gauge or OtlpKind.Level => "gauge",
                OtlpKind.Counter => "counter",
                OtlpKind.Histogram => "histogram",
                OtlpKind.Summary => "summary",
            };
            var help = ProtoReader.TextOf(description).Replace("\0", "", StringComparison.Ordinal);
            run.Describe(key, new MetricMetadata(run.Realm, family, type, help, OtlpNames.Unit(unit)));
        }
    }

    private void ReadNumber(in Metric metric, ReadOnlySpan<byte> message)
    {
        var point = new Point();
        double? value = null;
        var reader = new ProtoReader(message);
        for (var from = 0; reader.Next(); from = reader.Position)
        {
            switch (reader.Field)
            {
                case 3:
                    point.At = Milliseconds(reader.Fixed64());
                    break;
                case 4:
                    value = reader.Double();
                    break;
                case 6:
                    value = (long)reader.Fixed64();
                    break;
                case 7:
                    reader.Skip();
                    AddAttribute(ref point, message, from, reader.Position);
                    break;
                case 8:
                    point.IsGap = (reader.Varint() & 1) != 0;
                    break;
                default:
                    run.Exemplars += reader.Field == 5 ? 1 : 0;
                    reader.Skip();
                    break;
            }
        }

        if (!Begin(metric, ref point))
        {
            return;
        }

        if (value is null && !point.IsGap)
        {
            Refuse(metric, "a point has no value");
            return;
        }

        if (metric.IsDelta && !point.IsGap && !IsIncrement(value!.Value))
        {
            Refuse(metric, "the delta of a monotonic sum is negative or not a number");
            return;
        }

        Put(metric, ref point, "", "", 0, value ?? 0);
        Flush(metric, point);
    }

    private void ReadHistogram(in Metric metric, ReadOnlySpan<byte> message)
    {
        var point = new Point();
        ulong count = 0;
        double? sum = null;
        _counts.Clear();
        _bounds.Clear();
        var reader = new ProtoReader(message);
        for (var from = 0; reader.Next(); from = reader.Position)
        {
            switch (reader.Field)
            {
                case 3:
                    point.At = Milliseconds(reader.Fixed64());
                    break;
                case 4:
                    count = reader.Fixed64();
                    break;
                case 5:
                    sum = reader.Double();
                    break;
                case 6:
                    ReadList(ref reader, _counts);
                    break;
                case 7:
                    ReadList(ref reader, _bounds);
                    break;
                case 9:
                    reader.Skip();
                    AddAttribute(ref point, message, from, reader.Position);
                    break;
                case 10:
                    point.IsGap = (reader.Varint() & 1) != 0;
                    break;
                default:
                    run.Exemplars += reader.Field == 8 ? 1 : 0;
                    reader.Skip();
                    break;
            }
        }

        if (!Begin(metric, ref point) || !IsSum(metric, point, sum))
        {
            return;
        }

        if (!point.IsGap && _counts.Count != _bounds.Count + 1 && (_counts.Count > 0 || _bounds.Count > 0))
        {
            Refuse(metric, $"a point has {_counts.Count} buckets and {_bounds.Count} bounds; there is one bucket more than bounds");
            return;
        }

        if (_bounds.Count > options.MaxBuckets)
        {
            Refuse(metric, $"a point has {_bounds.Count} bounds; at most {options.MaxBuckets} are taken (METRICS_OTLP_MAX_BUCKETS)");
            return;
        }

        if (!IsAscending(_bounds))
        {
            Refuse(metric, "the bounds of a point are not ascending");
            return;
        }

        ulong below = 0;
        for (var index = 0; index < _bounds.Count; index++)
        {
            below += index < _counts.Count ? _counts[index] : 0;
            Put(metric, ref point, "_bucket", "le", _bounds[index], below);
        }

        PutTotals(metric, ref point, count, sum);
        Flush(metric, point);
    }

    private void ReadExponential(in Metric metric, ReadOnlySpan<byte> message)
    {
        var point = new Point();
        var buckets = new ExponentialBuckets();
        ulong count = 0;
        double? sum = null;
        var reader = new ProtoReader(message);
        for (var from = 0; reader.Next(); from = reader.Position)
        {
            switch (reader.Field)
            {
                case 1:
                    reader.Skip();
                    AddAttribute(ref point, message, from, reader.Position);
                    break;
                case 3:
                    point.At = Milliseconds(reader.Fixed64());
                    break;
                case 4:
                    count = reader.Fixed64();
                    break;
                case 5:
                    sum = reader.Double();
                    break;
                case 6:
                    buckets.Scale = (int)Math.Clamp(reader.ZigZag(), -100, 100);
                    break;
                case 7:
                    buckets.Zero = reader.Fixed64();
                    break;
                case 8:
                    buckets.Positive = reader.Bytes();
                    break;
                case 9:
                    buckets.Negative = reader.Bytes();
                    break;
                case 10:
                    point.IsGap = (reader.Varint() & 1) != 0;
                    break;
                case 14:
                    buckets.ZeroThreshold = reader.Double();
                    break;
                default:
                    run.Exemplars += reader.Field == 11 ? 1 : 0;
                    reader.Skip();
                    break;
            }
        }

        if (!Begin(metric, ref point) || !IsSum(metric, point, sum))
        {
            return;
        }

        if (buckets.Scale is < -10 or > 20)
        {
            Refuse(metric, $"a point has the scale {buckets.Scale}; scales are from -10 to 20");
            return;
        }

        _bounds.Clear();
        _counts.Clear();
        if (!point.IsGap && buckets.ToClassic(options, metric.IsDelta, _bounds, _counts) is { } fault)
        {
            Refuse(metric, fault);
            return;
        }

        for (var index = 0; index < _bounds.Count; index++)
        {
            Put(metric, ref point, "_bucket", "le", _bounds[index], _counts[index]);
        }

        PutTotals(metric, ref point, count, sum);
        Flush(metric, point);
    }

    private void ReadSummary(in Metric metric, ReadOnlySpan<byte> message)
    {
        var point = new Point();
        ulong count = 0;
        double sum = 0;
        _bounds.Clear();
        var values = new List<double>();
        var reader = new ProtoReader(message);
        for (var from = 0; reader.Next(); from = reader.Position)
        {
            switch (reader.Field)
            {
                case 3:
                    point.At = Milliseconds(reader.Fixed64());
                    break;
                case 4:
                    count = reader.Fixed64();
                    break;
                case 5:
                    sum = reader.Double();
                    break;
                case 6:
                    ReadQuantile(reader.Bytes(), values);
                    break;
                case 7:
                    reader.Skip();
                    AddAttribute(ref point, message, from, reader.Position);
                    break;
                case 8:
                    point.IsGap = (reader.Varint() & 1) != 0;
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        if (!Begin(metric, ref point))
        {
            return;
        }

        if (values.Count > options.MaxBuckets)
        {
            Refuse(metric, $"a point has more than {options.MaxBuckets} quantiles (METRICS_OTLP_MAX_BUCKETS)");
            return;
        }

        for (var index = 0; index < values.Count; index++)
        {
            Put(metric, ref point, "", "quantile", _bounds[index], values[index]);
        }

        Put(metric, ref point, "_sum", "", 0, sum);
        Put(metric, ref point, "_count", "", 0, count);
        Flush(metric, point);
    }

    private void ReadQuantile(ReadOnlySpan<byte> message, List<double> values)
    {
        double quantile = 0, value = 0;
        var reader = new ProtoReader(message);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    quantile = reader.Double();
                    break;
                case 2:
                    value = reader.Double();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        // One more than may be, so that the fault shows.
        if (values.Count <= options.MaxBuckets)
        {
            _bounds.Add(quantile);
            values.Add(value);
        }
    }

    // Lists of fixed64 and of double are the same on the wire: eight bytes each, packed or one field each.
    private static void ReadList<T>(ref ProtoReader reader, List<T> into) where T : unmanaged
    {
        if (reader.Wire == 1)
        {
            var one = reader.Fixed64();
            into.Add(MemoryMarshal.Cast<ulong, T>(new ReadOnlySpan<ulong>(in one))[0]);
            return;
        }

        var packed = reader.Bytes();
        if (packed.Length % 8 != 0)
        {
            throw new RefusedBodyException($"The body is no valid protobuf message: a list of numbers has {packed.Length} bytes.");
        }

        into.AddRange(MemoryMarshal.Cast<byte, T>(packed));
    }

    private static bool IsAscending(List<double> bounds)
    {
        for (var index = 0; index < bounds.Count; index++)
        {
            if (double.IsNaN(bounds[index]) || (index > 0 && bounds[index] <= bounds[index - 1]))
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsIncrement(double value) => value >= 0 && double.IsFinite(value);

    private bool IsSum(in Metric metric, in Point point, double? sum)
    {
        if (metric.IsDelta && !point.IsGap && sum is { } delta && !IsIncrement(delta))
        {
            Refuse(metric, "the sum of a delta histogram is negative or not a number, and cannot be added to a total; send it cumulative");
            return false;
        }

        return true;
    }

    // Writers put the attributes one after the other; if not, they are brought together.
    private void AddAttribute(ref Point point, ReadOnlySpan<byte> message, int from, int to)
    {
        if (point.Attributes.Length == 0)
        {
            point.AttributesEnd = to;
            point.Attributes = message[from..to];
        }
        else if (point.AttributesEnd == from)
        {
            point.Attributes = message[(from - point.Attributes.Length)..to];
            point.AttributesEnd = to;
        }
        else
        {
            var first = point.AttributesEnd >= 0;
            if (first)
            {
                _attributes.ResetWrittenCount();
                _attributes.Write(point.Attributes);
                point.AttributesEnd = -1;
            }

            _attributes.Write(message[from..to]);
            point.Attributes = _attributes.WrittenSpan;
        }
    }

    // False: the point is refused.
    private bool Begin(in Metric metric, ref Point point)
    {
        if (metric.Fault is { } fault)
        {
            Refuse(metric, fault);
            return false;
        }

        if (point.At <= 0)
        {
            Refuse(metric, "a point has no time");
            return false;
        }

        _pending.Clear();
        _newest = Math.Max(_newest, point.At);
        Begin(metric.Key, metric.Kind switch { OtlpKind.Histogram => 0x81, OtlpKind.Summary => 0x82, _ => 0x80 });
        run.Scratch.Write(point.Attributes);
        point.Key = run.KeyOf(run.Scratch.WrittenSpan);
        return true;
    }

    private void PutTotals(in Metric metric, ref Point point, ulong count, double? sum)
    {
        Put(metric, ref point, "_bucket", "le", double.PositiveInfinity, count);
        Put(metric, ref point, "_count", "", 0, count);
        if (sum is { } total)
        {
            Put(metric, ref point, "_sum", "", 0, total);
        }
    }

    /// <param name="suffix">After the name of the family.</param>
    /// <param name="label">The label that holds <paramref name="bound"/>, or empty.</param>
    private void Put(in Metric metric, ref Point point, string suffix, string label, double bound, double value)
    {
        if (point.IsRefused)
        {
            return;
        }

        var key = point.Key;
        if (suffix.Length + label.Length > 0)
        {
            Begin(point.Key, (byte)(suffix.Length + (16 * label.Length)));
            BinaryPrimitives.WriteDoubleLittleEndian(run.Scratch.GetSpan(8), bound);
            run.Scratch.Advance(8);
            key = run.KeyOf(run.Scratch.WrittenSpan);
        }

        var series = run.Find(key) ?? Introduce(metric, point, suffix, label, bound, key);
        if (series is null)
        {
            // The point is counted once, whatever the number of its series.
            point.IsRefused = true;
            return;
        }

        run.Expect(_pending.Count + 1);
        _pending.Add((series, value));
    }

    private void Flush(in Metric metric, in Point point)
    {
        if (point.IsRefused)
        {
            return;
        }

        foreach (var (series, value) in CollectionsMarshal.AsSpan(_pending))
        {
            if (point.IsGap)
            {
                run.Batch.Add(series, point.At, StaleMarker.Value);
            }
            else if (metric.IsDelta)
            {
                run.Batch.IncrementOnce(series, point.At, value);
            }
            else
            {
                run.Batch.Add(series, point.At, value);
            }
        }
    }

    private StoredSeries? Introduce(in Metric metric, in Point point, string suffix, string label, double bound, in SeriesKey key)
    {
        _labels.Clear();
        foreach (var (attribute, value) in OtlpAttributes.Read(point.Attributes, metric.AttributesField))
        {
            AddLabel(OtlpNames.Label(attribute), value);
        }

        AddResourceLabels(OtlpAttributes.Read(metric.Resource, 1));
        if (label.Length > 0)
        {
            _labels[label] = OtlpNames.Number(bound);
        }

        var family = OtlpNames.Metric(ProtoReader.TextOf(metric.Name), ProtoReader.TextOf(metric.Unit), metric.Kind);
        return Introduce(key, family.Length == 0 ? "" : family + suffix);
    }

    private StoredSeries? Introduce(in SeriesKey key, string name)
    {
        _labels[Labels.MetricName] = name;
        run.Labels.Clear();
        foreach (var (label, value) in _labels)
        {
            run.Labels.Add(label, value);
        }

        return run.Introduce(key, samples: 1);
    }

    private void AddLabel(string label, string value)
    {
        if (label.Length > 0)
        {
            _labels[label] = _labels.TryGetValue(label, out var other) ? $"{other};{value}" : value;
        }
    }

    // job and instance say who is measured; other attributes of the resource are labels only where a setting asks for it.
    private void AddResourceLabels(List<KeyValuePair<string, string>> resource)
    {
        string name = "", space = "", instance = "";
        foreach (var (key, value) in resource)
        {
            switch (key)
            {
                case "service.name":
                    name = value;
                    break;
                case "service.namespace":
                    space = value;
                    break;
                case "service.instance.id":
                    instance = value;
                    break;
                default:
                    break;
            }

            if (options.PromotedAttributes.Contains(key))
            {
                _labels.TryAdd(OtlpNames.Label(key), value);
            }
        }

        if (name.Length > 0)
        {
            _labels["job"] = space.Length > 0 ? $"{space}/{name}" : name;
        }

        if (instance.Length > 0)
        {
            _labels["instance"] = instance;
        }
    }

    // What is known of the resource besides, as one series to join with; a sample of it comes with every request that has points.
    private void AddTargetInfo(in Metric metric)
    {
        Begin(metric.ResourceKey, 0xfd);
        var key = run.KeyOf(run.Scratch.WrittenSpan);
        var series = run.Find(key);
        if (series is null)
        {
            _labels.Clear();
            var resource = OtlpAttributes.Read(metric.Resource, 1);
            foreach (var (attribute, value) in resource)
            {
                if (attribute is not ("service.name" or "service.namespace" or "service.instance.id"))
                {
                    AddLabel(OtlpNames.Label(attribute), value);
                }
            }

            var own = _labels.Count;
            AddResourceLabels(resource);
            if (own == 0 || !(_labels.ContainsKey("job") || _labels.ContainsKey("instance")))
            {
                return;
            }

            series = Introduce(key, "target_info");
        }

        if (series is not null)
        {
            run.Batch.Add(series, _newest, 1);
        }
    }

    private void Refuse(in Metric metric, string fault) =>
        run.Refusals.Add(RefusalReason.Invalid, 1, run.Refusals.WantsSentence ? $"{ProtoReader.TextOf(metric.Name)}: {fault}." : null);

    private static long Milliseconds(ulong nanoseconds) => (long)(nanoseconds / 1_000_000);

    private ref struct Metric
    {
        public ReadOnlySpan<byte> Resource;
        public SeriesKey ResourceKey;
        public ReadOnlySpan<byte> Name;
        public ReadOnlySpan<byte> Unit;
        public SeriesKey Key;
        public OtlpKind Kind;
        public int AttributesField;
        public bool IsDelta;

        /// <summary>Why no point of it can be stored, or null.</summary>
        public string? Fault;
    }

    private ref struct Point
    {
        public SeriesKey Key;

        /// <summary>Milliseconds since 1970-01-01 UTC.</summary>
        public long At;

        /// <summary>The point says that there is no value.</summary>
        public bool IsGap;

        public bool IsRefused;
        public ReadOnlySpan<byte> Attributes;

        // Where they end in the message; -1 when they were brought together.
        public int AttributesEnd;
    }
}
