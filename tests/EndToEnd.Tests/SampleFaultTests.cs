using System.Buffers.Binary;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>
/// kill -9 of Metrics and of PostgreSQL while several senders write samples: whatever was answered 2xx is there, once, with its value.
/// <c>PLATFORM_FAULT_SAMPLES</c> sets how many each sender writes per kill.
/// </summary>
public sealed class SampleFaultTests
{
    private const int Senders = 4;
    private const int PerRequest = 50;
    private static readonly string[] Victims = ["metrics", "postgres", "metrics", "postgres"];
    private static readonly int PerKill = int.Parse(Environment.GetEnvironmentVariable("PLATFORM_FAULT_SAMPLES") ?? "3000", CultureInfo.InvariantCulture);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task No_acknowledged_sample_is_lost_or_doubled_when_metrics_and_postgres_are_killed()
    {
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await PlatformFixture.StartAsync(pages);
        using var admin = new GatewayClient(platform.GatewayUrl, platform.AdminKey);
        var start = DateTimeOffset.UtcNow.AddMinutes(-30).ToUnixTimeMilliseconds();
        var senders = Enumerable.Range(0, Senders).Select(number => new Sender(platform.GatewayUrl, platform.IngestKey, number, start)).ToArray();

        foreach (var victim in Victims)
        {
            var sending = Task.WhenAll(senders.Select(sender => sender.SendAsync(PerKill, Ct)));
            await Task.WhenAll(senders.Select(sender => sender.FirstAnswer));
            await platform.KillAsync(victim, Ct);
            await platform.WaitHealthyAsync(TimeSpan.FromMinutes(2), Ct);
            await sending;
        }

        var query = Uri.EscapeDataString("faults[1h]");
        var answer = await admin.Http.GetStringAsync(new Uri($"prometheus/api/v1/query?query={query}", UriKind.Relative), Ct);
        using var document = JsonDocument.Parse(answer);
        var result = document.RootElement.GetProperty("data").GetProperty("result").EnumerateArray().ToList();
        Assert.Equal(Senders, result.Count);
        foreach (var series in result)
        {
            var values = series.GetProperty("values").EnumerateArray().Select(value => value[1].GetString()).ToList();
            // The n-th sample has the value n: none is missing, none is there twice, all in order.
            Assert.Equal(Enumerable.Range(0, Victims.Length * PerKill).Select(n => n.ToString(CultureInfo.InvariantCulture)), values);
        }

        Assert.True(senders.Sum(sender => sender.Repeated) > 0, "No request was ever in flight when something was killed: the test has shown nothing.");
    }

    /// <summary>Writes one series in order, each request until it is answered 2xx, as Prometheus does.</summary>
    private sealed class Sender(Uri gateway, string key, int number, long start)
    {
        private TaskCompletionSource _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _sent;

        public int Repeated { get; private set; }

        public Task FirstAnswer => _firstAnswer.Task;

        public async Task SendAsync(int samples, CancellationToken ct)
        {
            _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
            using var http = new HttpClient { BaseAddress = gateway, Timeout = TimeSpan.FromSeconds(15) };
            http.DefaultRequestHeaders.Authorization = new("Bearer", key);
            for (var end = _sent + samples; _sent < end; _sent += PerRequest)
            {
                var body = Body(_sent);
                await Eventually.TrueAsync(() => TrySendAsync(http, body, ct), TimeSpan.FromMinutes(3), "a request is acknowledged");
                _firstAnswer.TrySetResult();
            }
        }

        private async Task<bool> TrySendAsync(HttpClient http, byte[] body, CancellationToken ct)
        {
            using var content = new ByteArrayContent(body);
            content.Headers.ContentType = new MediaTypeHeaderValue("application/x-protobuf");
            content.Headers.ContentEncoding.Add("snappy");
            try
            {
                using var answer = await http.PostAsync(new Uri("prometheus/api/v1/write", UriKind.Relative), content, ct);
                if (answer.IsSuccessStatusCode)
                {
                    return true;
                }

                Assert.True((int)answer.StatusCode is 408 or 429 or >= 500, $"Answered {(int)answer.StatusCode}: {await answer.Content.ReadAsStringAsync(ct)}");
            }
            catch (HttpRequestException)
            {
                // the connection broke
            }
            catch (TaskCanceledException) when (!ct.IsCancellationRequested)
            {
                // no answer in time
            }

            Repeated++;
            return false;
        }

        // WriteRequest { timeseries { labels, samples } }, as one snappy literal.
        private byte[] Body(int first)
        {
            using var series = new MemoryStream();
            Message(series, 0x0a, Label("__name__", "faults"));
            Message(series, 0x0a, Label("sender", number.ToString(CultureInfo.InvariantCulture)));
            var value = new byte[9];
            value[0] = 0x09;
            for (var n = first; n < first + PerRequest; n++)
            {
                using var sample = new MemoryStream();
                BinaryPrimitives.WriteDoubleLittleEndian(value.AsSpan(1), n);
                sample.Write(value);
                sample.WriteByte(0x10);
                Varint(sample, (ulong)(start + n));
                Message(series, 0x12, sample.ToArray());
            }

            using var request = new MemoryStream();
            Message(request, 0x0a, series.ToArray());
            var plain = request.ToArray();
            using var body = new MemoryStream();
            Varint(body, (ulong)plain.Length);
            body.WriteByte(61 << 2);
            body.WriteByte((byte)(plain.Length - 1));
            body.WriteByte((byte)((plain.Length - 1) >> 8));
            body.Write(plain);
            return body.ToArray();
        }

        private static byte[] Label(string name, string value)
        {
            using var label = new MemoryStream();
            Message(label, 0x0a, Encoding.UTF8.GetBytes(name));
            Message(label, 0x12, Encoding.UTF8.GetBytes(value));
            return label.ToArray();
        }

        private static void Message(MemoryStream into, byte tag, byte[] bytes)
        {
            into.WriteByte(tag);
            Varint(into, (ulong)bytes.Length);
            into.Write(bytes);
        }

        private static void Varint(MemoryStream into, ulong value)
        {
            for (; value >= 0x80; value >>= 7)
            {
                into.WriteByte((byte)(value | 0x80));
            }

            into.WriteByte((byte)value);
        }
    }
}
