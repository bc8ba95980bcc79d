using System.Diagnostics;
using System.Globalization;
using System.Text;
using Npgsql;
using Platform.Metrics.Events;
using Platform.Testing;

namespace Platform.Bench;

/// <summary>
/// Rows per second of <c>POST …/events</c> through the gateway, everything on, as a ratio to the best that PostgreSQL itself does in the
/// same run: binary COPY of ready-made rows into a table with the same partitions and indexes, a commit per batch.
/// </summary>
internal static class Ingest
{
    private const int BatchSize = 500;
    private const int Batches = 300;
    private const int Connections = 8;

    public static async Task RunAsync(CancellationToken ct)
    {
        await using var platform = await PlatformProcess.StartAsync(args: ["--no-demo"], ct: ct);
        await using var db = NpgsqlDataSource.Create(await platform.PostgresAsync("metricsdb", ct));
        var bodies = Enumerable.Range(0, Batches).Select(Body).ToList();
        Console.WriteLine($"{Batches} batches of {BatchSize} events, {bodies.Average(body => body.Length) / BatchSize:F0} bytes each as JSON");

        // Both sides once before anything counts, so that neither meets cold code (the runtime optimises what runs often) or an empty catalogue.
        await ThroughGatewayAsync(platform, bodies, ct);
        await CopyAsync(db, bodies, 2, ct);

        var copies = new List<double>();
        var ingests = new List<double>();
        for (var round = 1; round <= 3; round++)
        {
            var one = await CopyAsync(db, bodies, 1, ct);
            var two = await CopyAsync(db, bodies, 2, ct);
            var (rate, drained) = await MeasureAsync(platform, db, bodies, ct);
            copies.Add(Math.Max(one, two));
            ingests.Add(rate);
            Console.WriteLine($"round {round}: COPY 1 connection {one,8:F0} rows/s, 2 connections {two,8:F0} rows/s; through the gateway {rate,8:F0} rows/s; outbox empty after {drained.TotalSeconds:F1} s; ratio {rate / Math.Max(one, two):F2}");
        }

        Console.WriteLine($"ingest ratio (median of 3): {ingests.Zip(copies, (ingest, copy) => ingest / copy).Order().ElementAt(1):F2} (bar: 0.5)");
    }

    private static async Task<(double Rate, TimeSpan Drained)> MeasureAsync(PlatformProcess platform, NpgsqlDataSource db, List<byte[]> bodies, CancellationToken ct)
    {
        var before = ProcessTree.ProcessorSecondsOf(platform.ProcessId);
        var own = Environment.CpuUsage.TotalTime;
        var rate = await ThroughGatewayAsync(platform, bodies, ct);
        var used = ProcessTree.ProcessorSecondsOf(platform.ProcessId)
            .Select(program => (Name: program.Key, Seconds: program.Value - before.GetValueOrDefault(program.Key)))
            .Append(("this client", (Environment.CpuUsage.TotalTime - own).TotalSeconds))
            .Where(program => program.Item2 > 0.02).OrderByDescending(program => program.Item2);
        Console.WriteLine($"  processor seconds: {string.Join(", ", used.Select(program => $"{program.Item1} {program.Item2:F1}"))}");
        var clock = Stopwatch.StartNew();
        await Eventually.TrueAsync(async () => await ScalarAsync(db, "select count(*) from outbox", ct) == 0, TimeSpan.FromMinutes(2), "the outbox is empty");
        return (rate, clock.Elapsed);
    }

    private static async Task<double> ThroughGatewayAsync(PlatformProcess platform, List<byte[]> bodies, CancellationToken ct)
    {
        using var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = Connections }) { BaseAddress = platform.GatewayUrl };
        http.DefaultRequestHeaders.Authorization = new("Bearer", platform.IngestKey);
        var next = -1;
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, Connections).Select(async _ =>
        {
            while (Interlocked.Increment(ref next) is var index && index < bodies.Count)
            {
                using var content = new ByteArrayContent(bodies[index]) { Headers = { ContentType = new("application/json") } };
                using var answer = await http.PostAsync(new Uri("api/v1/monitoring/events", UriKind.Relative), content, ct);
                answer.EnsureSuccessStatusCode();
                await answer.Content.CopyToAsync(Stream.Null, ct);
            }
        }));
        return bodies.Count * BatchSize / clock.Elapsed.TotalSeconds;
    }

    // Rows are encoded before the clock starts: this measures PostgreSQL, not us.
    private static async Task<double> CopyAsync(NpgsqlDataSource db, List<byte[]> bodies, int connections, CancellationToken ct)
    {
        var parser = new EventParser(new EventOptions());
        var batches = bodies.Select(body => parser.Parse(body, "default", DateTimeOffset.UtcNow).Events!.Rows.WrittenMemory.ToArray()).ToList();
        await ExecuteAsync(db, "drop table if exists bench_events; create table bench_events (like events including all) partition by range (timestamp)", ct);
        foreach (var day in (int[])[-1, 0, 1])
        {
            var start = DateTime.UtcNow.Date.AddDays(day);
            await ExecuteAsync(db, string.Create(CultureInfo.InvariantCulture, $"create table bench_events_{start:yyyyMMdd} partition of bench_events for values from ('{start:yyyy-MM-dd} 00:00+00') to ('{start.AddDays(1):yyyy-MM-dd} 00:00+00')"), ct);
        }

        var next = -1;
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, connections).Select(async _ =>
        {
            await using var connection = await db.OpenConnectionAsync(ct);
            while (Interlocked.Increment(ref next) is var index && index < batches.Count)
            {
                await using var copy = await connection.BeginRawBinaryCopyAsync("copy bench_events (id, realm, event_type, source, message, level, tags, payload, timestamp) from stdin (format binary)", ct);
                await copy.WriteAsync(CopyRow.Header.ToArray(), ct);
                await copy.WriteAsync(batches[index], ct);
                await copy.WriteAsync(CopyRow.Trailer.ToArray(), ct);
            }
        }));
        var rate = batches.Count * BatchSize / clock.Elapsed.TotalSeconds;
        await ExecuteAsync(db, "drop table bench_events", ct);
        return rate;
    }

    // What an authentication backend sends: mostly successes of many users, each with ids of its own.
    private static byte[] Body(int batch)
    {
        var random = new Random(batch);
        var body = new StringBuilder("[");
        for (var index = 0; index < BatchSize; index++)
        {
            var action = random.Next(10) switch { < 4 => "token_refresh", < 7 => "login", < 8 => "logout", _ => "mfa_verify" };
            body.Append(index == 0 ? "" : ",").Append(CultureInfo.InvariantCulture, $$$"""
                {"event_type":"log","source":"auth-api","message":"{{{action}}} succeeded","level":"info","tags":{"action":"{{{action}}}","outcome":"success","user_id":"user-{{{random.Next(5000)}}}","session_id":"{{{random.NextInt64():x16}}}","ip_address":"198.51.{{{random.Next(100)}}}.{{{random.Next(250)}}}","provider":"password","request_id":"{{{random.NextInt64():x16}}}{{{random.NextInt64():x16}}}","endpoint":"/{{{action}}}"},"payload":{"duration_ms":{{{random.Next(400)}}}}}
                """);
        }

        return Encoding.UTF8.GetBytes(body.Append(']').ToString());
    }

    internal static async Task ExecuteAsync(NpgsqlDataSource db, string sql, CancellationToken ct)
    {
#pragma warning disable CA2100 // literals of this program
        await using var command = db.CreateCommand(sql);
#pragma warning restore CA2100
        command.CommandTimeout = 0;
        await command.ExecuteNonQueryAsync(ct);
    }

    internal static async Task<long> ScalarAsync(NpgsqlDataSource db, string sql, CancellationToken ct)
    {
#pragma warning disable CA2100
        await using var command = db.CreateCommand(sql);
#pragma warning restore CA2100
        return (long)(await command.ExecuteScalarAsync(ct))!;
    }
}
