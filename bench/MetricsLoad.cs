using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using System.Text;

namespace Platform.Bench;

/// <summary>
/// What a hundred-series application sends from many pods, every 15 seconds: counters that restart, gauges with whole, page-sized and noisy
/// values, the buckets of a histogram, and an info series to join with. All of one <paramref name="run"/> carry its name as a label.
/// </summary>
/// <param name="run">Value of the label <c>run</c>.</param>
/// <param name="pods">A hundred series each.</param>
/// <param name="samples">Of each series.</param>
/// <param name="end">No sample is later (milliseconds, a multiple of <see cref="Interval"/>).</param>
internal sealed class MetricsLoad(string run, int pods, int samples, long end)
{
    public const int Interval = 15_000;
    public const int SeriesPerPod = 100;
    public const int SamplesPerRequest = 5_000;

    private static readonly string[] Names = ["http_requests_total", "http_response_bytes_total", "queue_depth", "process_memory_bytes", "process_load_ratio", "app_build_info", "http_request_duration_seconds_bucket"];
    private static readonly string[] Paths = ["/api/v1/orders", "/api/v1/orders/{id}", "/api/v1/customers", "/login", "/health"];
    private static readonly string[] Statuses = ["200", "302", "404", "500"];
    private static readonly (string Text, double Share)[] Buckets = [("0.1", 0.6), ("0.5", 0.85), ("2.5", 0.97), ("+Inf", 1)];

    public string Run => run;

    public int Series => pods * SeriesPerPod;

    public long Samples => (long)Series * samples;

    /// <summary>Of the first samples, rounded down to a multiple of <see cref="Interval"/>.</summary>
    public long Start => end - (long)samples * Interval;

    public long End => end;

    /// <summary>
    /// Ready-made request bodies, in the order in which each connection sends its own: a series always comes over the same connection, with
    /// ascending times, as Prometheus' own sender does it.
    /// </summary>
    /// <param name="samplesPerSeries">In one request; 1 is what a sender has that keeps up.</param>
    public List<byte[]>[] Bodies(int samplesPerSeries = 1)
    {
        var seriesPerRequest = SamplesPerRequest / samplesPerSeries;
        var chunks = (Series + seriesPerRequest - 1) / seriesPerRequest;
        var encoded = new byte[chunks][][];
        Parallel.For(0, chunks, chunk =>
        {
            var first = chunk * seriesPerRequest;
            var labels = Enumerable.Range(first, Math.Min(seriesPerRequest, Series - first)).Select(series => LabelsOf(series)).ToArray();
            var requests = new List<byte[]>();
            var request = new ArrayBufferWriter<byte>(labels.Sum(label => label.Length + 24 * samplesPerSeries));
            for (var sample = 0; sample < samples; sample += samplesPerSeries)
            {
                request.ResetWrittenCount();
                for (var index = 0; index < labels.Length; index++)
                {
                    Append(request, first + index, labels[index], sample, Math.Min(samplesPerSeries, samples - sample));
                }

                requests.Add(IronSnappy.Snappy.Encode(request.WrittenSpan.ToArray()));
            }

            encoded[chunk] = [.. requests];
        });

        var connections = Enumerable.Range(0, MetricsEngine.Connections).Select(_ => new List<byte[]>()).ToArray();
        for (var step = 0; step < encoded[0].Length; step++)
        {
            for (var chunk = 0; chunk < chunks; chunk++)
            {
                connections[chunk % connections.Length].Add(encoded[chunk][step]);
            }
        }

        return connections;
    }

    /// <summary>Sends the bodies over <see cref="MetricsEngine.Connections"/> connections; anything but 2xx is an error.</summary>
    /// <returns>From the first byte sent to the last answer.</returns>
    public static async Task<TimeSpan> SendAsync(MetricsEngine engine, List<byte[]>[] bodies, CancellationToken ct)
    {
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(bodies.Select(mine => Task.Run(
            async () =>
            {
                foreach (var body in mine)
                {
                    using var content = new ByteArrayContent(body) { Headers = { ContentType = new("application/x-protobuf"), ContentEncoding = { "snappy" } } };
                    content.Headers.Add("X-Prometheus-Remote-Write-Version", "0.1.0");
                    using var answer = await engine.Door.PostAsync(new Uri("api/v1/write", UriKind.Relative), content, ct);
                    if (!answer.IsSuccessStatusCode)
                    {
                        throw new InvalidOperationException($"{engine.Name} answered {(int)answer.StatusCode}: {await answer.Content.ReadAsStringAsync(ct)}");
                    }
                }
            },
            ct)));
        return clock.Elapsed;
    }

    /// <summary>Until a query sees every sample; fails when some do not come.</summary>
    public async Task ArrivedAsync(MetricsEngine engine, TimeSpan patience, CancellationToken ct)
    {
        var expression = CountExpression;
        double? seen = null;
        var clock = Stopwatch.StartNew();
        while (seen != Samples)
        {
            if (clock.Elapsed > patience)
            {
                throw new InvalidOperationException($"{engine.Name} acknowledged {Samples:N0} samples of run {run}, and a query finds {seen?.ToString("N0", CultureInfo.InvariantCulture) ?? "none"}.");
            }

            seen = await engine.FindValueAsync(expression, end, ct);
            await Task.Delay(20, ct);
        }
    }

    /// <summary>How many samples the run has, asked at <see cref="End"/>.</summary>
    /// <remarks>One name at a time: without their names, some series of a pod would be the same.</remarks>
    public string CountExpression => string.Join(" + ", Names.Select(name => $"sum(count_over_time({name}{{run=\"{run}\"}}[{(long)samples * Interval / 1000}s]))"));

    // One WriteRequest.timeseries: labels, then samples.
    private void Append(ArrayBufferWriter<byte> request, int series, byte[] labels, int firstSample, int count)
    {
        var length = labels.Length;
        for (var sample = firstSample; sample < firstSample + count; sample++)
        {
            length += 2 + 9 + 1 + VarintSize((ulong)TimeOf(series, sample));
        }

        request.GetSpan(1)[0] = 0x0a;
        request.Advance(1);
        Varint(request, (ulong)length);
        request.Write(labels);
        for (var sample = firstSample; sample < firstSample + count; sample++)
        {
            var at = (ulong)TimeOf(series, sample);
            var head = request.GetSpan(12);
            head[0] = 0x12;
            head[1] = (byte)(9 + 1 + VarintSize(at));
            head[2] = 0x09;
            BinaryPrimitives.WriteDoubleLittleEndian(head[3..], ValueOf(series, sample));
            head[11] = 0x10;
            request.Advance(12);
            Varint(request, at);
        }
    }

    // A pod is scraped at the same place within each interval, and never at its edge: ranges that end on whole seconds are the same
    // whether they include their first instant (Prometheus 2) or not (Prometheus 3, ours).
    private long TimeOf(int series, int sample) => Start + (long)sample * Interval + 1_123 + series / SeriesPerPod * 137 % 12_000;

    private static double ValueOf(int series, int sample)
    {
        var pod = series / SeriesPerPod;
        var kind = series % SeriesPerPod;
        var noise = Noise(series, sample);
        // A pod restarts every six to ten hours, and its counters with it.
        var uptime = sample % (1_500 + pod * 37 % 900);
        switch (kind)
        {
            case < 20:
                return uptime * (1 + kind % 7) + (int)(noise * (1 + kind % 7));
            case < 40:
                return uptime * 40_000.0 + (int)(noise * 40_000);
            case < 60:
                return (int)(noise * noise * 100);
            case < 70:
                return 4096 * (20_000 + 3_000 * Math.Round(Math.Sin((sample + kind) / 300.0), 2) + (int)(noise * 500));
            case < 79:
                return noise;
            case 79:
                return 1;
            default:
                // One growth for the four buckets of a path, so that they stay in order.
                var path = (kind - 80) / 4;
                return Math.Floor((uptime * (2 + path) + Noise(series - kind + 80 + 4 * path, sample) * (2 + path)) * Buckets[kind % 4].Share);
        }
    }

    private static double Noise(int series, int sample)
    {
        var mixed = (ulong)series * 0x9E3779B97F4A7C15 + (ulong)sample * 0xC2B2AE3D27D4EB4F + 1;
        mixed = (mixed ^ (mixed >> 31)) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ (mixed >> 29)) * 0x94D049BB133111EB;
        return (mixed >> 11) / (double)(1L << 53);
    }

    private byte[] LabelsOf(int series)
    {
        var pod = series / SeriesPerPod;
        var kind = series % SeriesPerPod;
        var application = pod % 8;
        var labels = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["cluster"] = "prod-eu-central-1",
            ["container"] = "app",
            ["instance"] = string.Create(CultureInfo.InvariantCulture, $"10.{pod / 62_500}.{pod / 250 % 250}.{pod % 250}:8080"),
            ["job"] = string.Create(CultureInfo.InvariantCulture, $"shop/application-{application}"),
            ["namespace"] = string.Create(CultureInfo.InvariantCulture, $"shop-{application / 2}"),
            ["pod"] = string.Create(CultureInfo.InvariantCulture, $"application-{application}-{(uint)(pod * 2654435761):x8}-{pod:x4}"),
            ["run"] = run,
        };
        switch (kind)
        {
            case < 60:
                labels["__name__"] = kind < 20 ? "http_requests_total" : kind < 40 ? "http_response_bytes_total" : "queue_depth";
                labels["method"] = kind % 2 == 0 ? "GET" : "POST";
                labels["path"] = Paths[kind % 20 / 4];
                labels["status"] = Statuses[kind % 4];
                break;
            case < 79:
                labels["__name__"] = kind < 70 ? "process_memory_bytes" : "process_load_ratio";
                labels["kind"] = string.Create(CultureInfo.InvariantCulture, $"segment-{kind % 10}");
                labels["node"] = string.Create(CultureInfo.InvariantCulture, $"ip-10-0-{pod % 40}-17.eu-central-1.compute.internal");
                labels["service"] = "application";
                break;
            case 79:
                labels["__name__"] = "app_build_info";
                labels["version"] = string.Create(CultureInfo.InvariantCulture, $"2.{pod % 5}.0");
                labels["revision"] = "8f3c1d2e";
                break;
            default:
                labels["__name__"] = "http_request_duration_seconds_bucket";
                labels["le"] = Buckets[kind % 4].Text;
                labels["method"] = "GET";
                labels["path"] = Paths[(kind - 80) / 4];
                break;
        }

        var encoded = new ArrayBufferWriter<byte>(512);
        foreach (var (name, value) in labels)
        {
            byte[] label = [0x0a, (byte)(4 + name.Length + value.Length), 0x0a, (byte)name.Length, .. Encoding.ASCII.GetBytes(name), 0x12, (byte)value.Length, .. Encoding.ASCII.GetBytes(value)];
            encoded.Write(label);
        }

        return encoded.WrittenSpan.ToArray();
    }

    private static int VarintSize(ulong value) => (BitOperations.Log2(value | 1) + 7) / 7;

    private static void Varint(ArrayBufferWriter<byte> into, ulong value)
    {
        var span = into.GetSpan(10);
        var size = 0;
        for (; value >= 0x80; value >>= 7)
        {
            span[size++] = (byte)(value | 0x80);
        }

        span[size++] = (byte)value;
        into.Advance(size);
    }
}
