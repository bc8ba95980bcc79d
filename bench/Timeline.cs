using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Metrics.Events;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>First page of the timelines of incidents, with ten million events in the store: a quarter of them within the hour that the timelines show.</summary>
internal static class Timeline
{
    private const int BatchSize = 5_000;
    private const int Incidents = 20;
    private const int Reads = 200;

    private static readonly int Events = int.Parse(Environment.GetEnvironmentVariable("PLATFORM_BENCH_EVENTS") ?? "10000000", CultureInfo.InvariantCulture);

    public static async Task RunAsync(CancellationToken ct)
    {
        await using var platform = await PlatformProcess.StartAsync(args: ["--no-demo"], ct: ct);
        await using var db = NpgsqlDataSource.Create(await platform.PostgresAsync("metricsdb", ct));
        await FillAsync(db, ct);

        using var http = new HttpClient { BaseAddress = platform.GatewayUrl };
        http.DefaultRequestHeaders.Authorization = new("Bearer", platform.AdminKey);
        for (var incident = 0; incident < Incidents; incident++)
        {
            var attack = Enumerable.Range(0, 5).Select(_ => $$$"""{"event_type":"log","source":"auth-api","level":"warning","tags":{"action":"login","outcome":"failure","ip_address":"{{{AddressOf(incident)}}}"}}""");
            using var content = new StringContent($"[{string.Join(',', attack)}]", Encoding.UTF8, "application/json");
            using var sent = await http.PostAsync(new Uri("api/v1/monitoring/events", UriKind.Relative), content, ct);
            sent.EnsureSuccessStatusCode();
        }

        var ids = await Eventually.GetAsync(async () =>
        {
            var list = await http.GetFromJsonAsync<JsonElement>("api/v1/monitoring/incidents?limit=100", ct);
            var found = list.GetProperty("data").GetProperty("items").EnumerateArray().Select(item => item.GetProperty("id").GetString()!).ToList();
            return found.Count >= Incidents ? found : null;
        });
        foreach (var events in (string[])["related", "all"])
        {
            var times = new List<double>();
            for (var read = -Incidents; read < Reads; read++)
            {
                var clock = Stopwatch.StartNew();
                var page = await http.GetFromJsonAsync<JsonElement>($"api/v1/monitoring/incidents/{ids[(read + Incidents) % Incidents]}/timeline?events={events}&limit=100", ct);
                if (page.GetProperty("data").GetProperty("items").GetArrayLength() < 6)
                {
                    throw new InvalidOperationException("A timeline lacks its events.");
                }

                if (read >= 0)
                {
                    times.Add(clock.Elapsed.TotalMilliseconds);
                }
            }

            times.Sort();
            Console.WriteLine($"timeline over {Events:N0} events, first page, events={events}: p50 {times[Reads / 2]:F0} ms, p95 {times[Reads * 95 / 100]:F0} ms, max {times[^1]:F0} ms (bar: p95 under 200 ms)");
        }
    }

    private static string AddressOf(int incident) => $"203.0.113.{incident + 1}";

    // Straight into the table: this bench is about reading. A quarter of the events fall into the last hour, the rest into the nine days before.
    private static async Task FillAsync(NpgsqlDataSource db, CancellationToken ct)
    {
        var clock = Stopwatch.StartNew();
        var now = DateTimeOffset.UtcNow;
        for (var day = 0; day <= 10; day++)
        {
            var start = now.UtcDateTime.Date.AddDays(-day);
            await Ingest.ExecuteAsync(db, string.Create(CultureInfo.InvariantCulture, $"create table if not exists events_{start:yyyyMMdd} partition of events for values from ('{start:yyyy-MM-dd} 00:00+00') to ('{start.AddDays(1):yyyy-MM-dd} 00:00+00')"), ct);
        }

        var next = -1;
        await Task.WhenAll(Enumerable.Range(0, 2).Select(async _ =>
        {
            await using var connection = await db.OpenConnectionAsync(ct);
            var parser = new EventParser(new EventOptions { MaxPerRequest = BatchSize });
            while (Interlocked.Increment(ref next) is var batch && batch < Events / BatchSize)
            {
                var body = Encoding.UTF8.GetBytes(Body(batch, now));
                var rows = (parser.Parse(body, "default", now).Events ?? throw new InvalidOperationException("The bench made an event that the parser refuses.")).Rows;
                await using var copy = await connection.BeginRawBinaryCopyAsync("copy events (id, realm, event_type, source, message, level, tags, payload, timestamp) from stdin (format binary)", ct);
                await copy.WriteAsync(CopyRow.Header.ToArray(), ct);
                await copy.WriteAsync(rows.WrittenMemory, ct);
                await copy.WriteAsync(CopyRow.Trailer.ToArray(), ct);
                if (batch % 100 == 99)
                {
                    Console.WriteLine($"  {(batch + 1) * (long)BatchSize:N0} events stored after {clock.Elapsed.TotalSeconds:F0} s");
                }
            }
        }));
        await Ingest.ExecuteAsync(db, "analyze events", ct);
    }

    private static string Body(int batch, DateTimeOffset now)
    {
        var random = new Random(batch);
        var body = new StringBuilder("[");
        for (var index = 0; index < BatchSize; index++)
        {
            var age = random.Next(4) == 0 ? TimeSpan.FromMinutes(random.NextDouble() * 60) : TimeSpan.FromDays(random.NextDouble() * 9);
            var failed = random.Next(20) == 0;
            body.Append(index == 0 ? "" : ",").Append(CultureInfo.InvariantCulture, $$$"""{"event_type":"log","source":"auth-api","level":"info","timestamp":"{{{now - age:O}}}","tags":{"action":"login","outcome":"{{{(failed ? "failure" : "success")}}}","user_id":"user-{{{random.Next(5000)}}}","ip_address":"{{{(random.Next(1000) == 0 ? AddressOf(random.Next(Incidents)) : $"198.51.{random.Next(100)}.{random.Next(250)}")}}}","request_id":"{{{random.NextInt64():x16}}}"}}""");
        }

        return body.Append(']').ToString();
    }
}
