using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Testing;
using RabbitMQ.Client;

namespace Platform.EndToEnd.Tests;

/// <summary>
/// Everything that can fail between an alert and the person it is for, while alerts pour in through Alertmanager's door and as events:
/// each fires and ends, and what the receiver saw says whether something was lost, told twice under two keys, or told in the wrong order.
/// <c>PLATFORM_FAULT_ALERTS</c> sets how many alerts each fault meets; <c>./bench.sh faults</c> takes 10,000 with the settings as they are.
/// </summary>
public sealed class AlertFaultTests
{
    private static readonly int Alerts = int.Parse(Environment.GetEnvironmentVariable("PLATFORM_FAULT_ALERTS") ?? "60", CultureInfo.InvariantCulture);

    private static readonly bool IsFullSize = Alerts >= 1_000;

    // Paces of minutes, shortened; with them what a killed process had claimed is free after 24 seconds.
    private static readonly (string Name, string Value)[] Hurry = IsFullSize ? [] :
        [("ALERT_WEBHOOK_TIMEOUT_SECONDS", "2"), ("ALERT_SMTP_TIMEOUT_SECONDS", "1"), ("ALERT_RETRY_LONGEST_SECONDS", "2"), ("ALERT_CIRCUIT_LONGEST_SECONDS", "1")];

    private static readonly TimeSpan Outage = TimeSpan.FromSeconds(IsFullSize ? 180 : 3);
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(IsFullSize ? 20 : 3);
    private static readonly int AcceptedPerSecond = IsFullSize ? 250 : 60;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_alert_is_told_under_one_key_and_in_order_whatever_fails_meanwhile()
    {
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await PlatformFixture.StartAsync(pages, Hurry);
        using var admin = new GatewayClient(platform.GatewayUrl, platform.AdminKey);
        await admin.SendAsync(HttpMethod.Post, "/api/v1/monitoring/alerts", new
        {
            name = "fault_probe",
            realm = "default",
            match = new { tags = new { action = "fault_probe" } },
            threshold = 1,
            window_seconds = 1,
            group_by = new[] { "tags.n" },
            severity = "high",
        });
        await using var db = NpgsqlDataSource.Create(await platform.PostgresAsync("alertingdb", Ct));
        var ledger = new Ledger(pages);
        (string Name, Func<Load, Task> Meet)[] faults =
        [
            ("kill -9 alerting", load => KillAsync(platform, load, "alerting", times: IsFullSize ? 3 : 1)),
            ("kill -9 rabbitmq", load => KillAsync(platform, load, "messaging", times: 1)),
            ("kill -9 postgresql", load => KillAsync(platform, load, "postgres", times: 1)),
            ("receiver down", load => DownAsync(pages, db, load)),
            ("hangs, resets, 500", load => MisbehaveAsync(pages, db, load)),
            ("429 storm", load => StormAsync(pages, load)),
            ("backlog, replayed", load => ReplayAsync(platform, load)),
        ];

        var verdicts = new List<Verdict>();
        foreach (var (name, meet) in faults)
        {
            var clock = Stopwatch.StartNew();
            var load = new Load(platform, name);
            await meet(load);
            try
            {
                await Eventually.TrueAsync(() => ledger.IsComplete(load.Names), Patience, $"all that fired during \"{name}\" was told");
            }
            catch (TimeoutException)
            {
                // The verdict says what is missing.
            }

            verdicts.Add(ledger.Judge(name, load.Names, clock.Elapsed));
            pages.On("/", 200);
        }

        Report(verdicts);
        Assert.All(verdicts, verdict => Assert.Equal((Alerts, 0, 0, 0), (verdict.Told, verdict.Lost, verdict.OtherKey, verdict.OutOfOrder)));
        await using var command = db.CreateCommand("select count(*), count(distinct labels->>'n') from alerts where labels ? 'n'");
        await using var row = await command.ExecuteReaderAsync(Ct);
        await row.ReadAsync(Ct);
        Assert.Equal(((long)Alerts * faults.Length, (long)Alerts * faults.Length), (row.GetInt64(0), row.GetInt64(1)));
        Assert.Empty((await admin.GetAsync("/api/v1/monitoring/dead-letters/alerting")).GetProperty("items").EnumerateArray());
    }

    private static async Task KillAsync(PlatformProcess platform, Load load, string victim, int times)
    {
        for (var time = 0; time < times; time++)
        {
            var sending = load.SendAsync(Alerts * (time + 1) / times - Alerts * time / times);
            await load.FirstAnswerAsync();
            await platform.KillAsync(victim, Ct);
            await platform.WaitHealthyAsync(TimeSpan.FromMinutes(3), Ct);
            await sending;
        }
    }

    private static async Task DownAsync(WebhookReceiver pages, NpgsqlDataSource db, Load load)
    {
        await pages.CloseAsync();
        await load.SendAsync(Alerts);
        await LeftAloneAsync(db);
        await pages.OpenAsync();
    }

    private static async Task MisbehaveAsync(WebhookReceiver pages, NpgsqlDataSource db, Load load)
    {
        var requests = 0;
        pages.On("/", async context =>
        {
            context.Response.StatusCode = 500;
            switch (Interlocked.Increment(ref requests) % 3)
            {
                case 0:
                    context.Abort();
                    break;
                case 1:
                    var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                    await using (context.RequestAborted.Register(gone.SetResult))
                    {
                        await gone.Task;
                    }

                    break;
            }
        });
        await load.SendAsync(Alerts);
        await LeftAloneAsync(db);
        pages.On("/", 200);
    }

    private static async Task StormAsync(WebhookReceiver pages, Load load)
    {
        var storm = Stopwatch.StartNew();
        var (second, accepted, refused) = (0L, 0, 0);
        var gate = new Lock();
        // At first nobody is let in, and then only so many a second.
        pages.On("/", context =>
        {
            lock (gate)
            {
                var now = (long)storm.Elapsed.TotalSeconds;
                (second, accepted) = now == second ? (second, accepted) : (now, 0);
                if (storm.Elapsed < Outage || accepted == AcceptedPerSecond)
                {
                    refused++;
                    context.Response.StatusCode = 429;
                    context.Response.Headers.RetryAfter = "1";
                }
                else
                {
                    accepted++;
                }
            }

            return Task.CompletedTask;
        });
        await load.SendAsync(Alerts);
        await Eventually.TrueAsync(() => Volatile.Read(ref refused) > 0, because: "somebody was asked to wait");
    }

    /// <summary>Alerting stands still while events pile up at the broker; then they come all at once, and each a second time.</summary>
    private static async Task ReplayAsync(PlatformProcess platform, Load load)
    {
        const string topic = "metrics.events.stored.v1";
        await using var connection = await new ConnectionFactory { Uri = new Uri(await platform.BrokerAsync(Ct)) }.CreateConnectionAsync(Ct);
        await using var channel = await connection.CreateChannelAsync(new CreateChannelOptions(publisherConfirmationsEnabled: true, publisherConfirmationTrackingEnabled: true), Ct);
        var copies = (await channel.QueueDeclareAsync("", exclusive: true, cancellationToken: Ct)).QueueName;
        await channel.QueueBindAsync(copies, "platform", topic, cancellationToken: Ct);

        await platform.SuspendAsync("alerting", Ct);
        var backlog = new List<BasicGetResult>();
        try
        {
            await load.SendEventsAsync(Alerts / 2);
            await using var metrics = NpgsqlDataSource.Create(await platform.PostgresAsync("metricsdb", Ct));
            await using var outbox = metrics.CreateCommand("select count(*) from outbox");
            await Eventually.TrueAsync(async () => (long)(await outbox.ExecuteScalarAsync(Ct))! == 0, because: "the events are at the broker");
            while (await channel.BasicGetAsync(copies, autoAck: true, Ct) is { } copy)
            {
                backlog.Add(copy);
            }

            await PublishAsync();
        }
        finally
        {
            await platform.ResumeAsync("alerting", Ct);
        }

        await load.PushAsync(Alerts - Alerts / 2);
        await PublishAsync();
        await platform.WaitHealthyAsync(TimeSpan.FromMinutes(3), Ct);

        async Task PublishAsync()
        {
            Assert.NotEmpty(backlog);
            foreach (var copy in backlog)
            {
                await channel.BasicPublishAsync("platform", topic, mandatory: true, new BasicProperties(copy.BasicProperties), copy.Body, Ct);
            }
        }
    }

    /// <summary>The platform has found out that nobody answers, and some time has passed.</summary>
    private static async Task LeftAloneAsync(NpgsqlDataSource db)
    {
        var clock = Stopwatch.StartNew();
        await Eventually.TrueAsync(
            async () =>
            {
                await using var command = db.CreateCommand("select failures >= 5 from channel_states where channel = 'webhook'");
                return clock.Elapsed > Outage && (bool)(await command.ExecuteScalarAsync(Ct))!;
            },
            Outage + TimeSpan.FromMinutes(2),
            "the channel is known to be silent");
    }

    private static void Report(List<Verdict> verdicts)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{"fault",-20} {"alerts in",10} {"told",8} {"lost",6} {"again, same key",16} {"two keys",9} {"out of order",13} {"seconds",8}");
        foreach (var one in verdicts)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{one.Fault,-20} {one.In,10:N0} {one.Told,8:N0} {one.Lost,6:N0} {one.SameKey,16:N0} {one.OtherKey,9:N0} {one.OutOfOrder,13:N0} {one.Took.TotalSeconds,8:N0}");
        }

        TestContext.Current.SendDiagnosticMessage("{0}", text.ToString());
        TestContext.Current.TestOutputHelper?.WriteLine(text.ToString());
    }

    /// <param name="Told">The receiver has said 2xx to its beginning and to its end.</param>
    /// <param name="SameKey">Accepted again under a key that had been accepted: the receiver can tell.</param>
    /// <param name="OtherKey">Alerts whose beginning or end came under more than one key.</param>
    /// <param name="OutOfOrder">Alerts whose beginning came after their end.</param>
    private sealed record Verdict(string Fault, int In, int Told, int Lost, int SameKey, int OtherKey, int OutOfOrder, TimeSpan Took);

    /// <summary>What came to the receiver, by alert.</summary>
    private sealed class Ledger(WebhookReceiver receiver)
    {
        private readonly Dictionary<string, List<(bool Firing, ReceivedPage Page)>> _byAlert = [];
        private readonly HashSet<string> _complete = [];
        private int _read;

        public bool IsComplete(IReadOnlyCollection<string> names)
        {
            foreach (var page in receiver.Pages.Skip(_read))
            {
                _read++;
                if (page.Label("n") is { } name)
                {
                    (_byAlert.TryGetValue(name, out var known) ? known : (_byAlert[name] = [])).Add((page.Status == "firing", page));
                }
            }

            _complete.UnionWith(names.Where(name => !_complete.Contains(name) && IsTold(name)));
            return names.All(_complete.Contains);
        }

        public Verdict Judge(string fault, IReadOnlyCollection<string> names, TimeSpan took)
        {
            _ = IsComplete(names);
            var told = names.Count(_complete.Contains);
            var each = names.Select(name => _byAlert.GetValueOrDefault(name) ?? []).ToList();
            return new Verdict(
                fault,
                names.Count,
                told,
                names.Count - told,
                each.Sum(pages => pages.Where(one => one.Page.Accepted).GroupBy(one => one.Page.Id).Sum(same => same.Count() - 1)),
                each.Count(pages => pages.GroupBy(one => one.Firing).Any(half => half.Select(one => one.Page.Id).Distinct().Count() > 1)),
                each.Count(pages => pages.SkipWhile(one => one.Firing).Any(one => one.Firing)),
                took);
        }

        private bool IsTold(string name) =>
            _byAlert.TryGetValue(name, out var pages) && pages.Exists(one => one.Firing && one.Page.Accepted) && pages.Exists(one => !one.Firing && one.Page.Accepted);
    }

    /// <summary>
    /// Half of the alerts as a Prometheus would send them, firing and then over, half as events that a rule counts. Like any good client,
    /// these send again until they have an answer.
    /// </summary>
    private sealed class Load(PlatformProcess platform, string fault)
    {
        private static readonly int BatchSize = IsFullSize ? 50 : 10;

        private readonly ConcurrentQueue<string> _names = new();
        private TaskCompletionSource _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _number;

        public IReadOnlyCollection<string> Names => _names;

        public Task FirstAnswerAsync() => _firstAnswer.Task;

        public Task SendAsync(int alerts)
        {
            _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
            return Task.WhenAll(PushAsync(alerts / 2), SendEventsAsync(alerts - alerts / 2));
        }

        public async Task PushAsync(int alerts)
        {
            using var http = Client(platform.AdminKey);
            var batches = Batches("pushed", alerts);
            for (var i = 0; i <= batches.Length; i++)
            {
                // While these begin, those before end.
                if (i < batches.Length)
                {
                    await UntilTakenAsync(http, "alertmanager/api/v2/alerts", HttpStatusCode.OK, () => Pushed(batches[i], TimeSpan.FromHours(6)));
                }

                if (i > 0)
                {
                    await UntilTakenAsync(http, "alertmanager/api/v2/alerts", HttpStatusCode.OK, () => Pushed(batches[i - 1], TimeSpan.FromSeconds(-1)));
                }
            }
        }

        public async Task SendEventsAsync(int alerts)
        {
            using var http = Client(platform.IngestKey);
            foreach (var batch in Batches("event", alerts))
            {
                var body = JsonSerializer.Serialize(batch.Select(name => new { event_type = "log", source = "faults", level = "info", tags = new { action = "fault_probe", n = name } }));
                await UntilTakenAsync(http, "api/v1/monitoring/events", HttpStatusCode.Created, () => body);
            }
        }

        private string[][] Batches(string way, int alerts)
        {
            string[] names = [.. Enumerable.Range(0, alerts).Select(_ => string.Create(CultureInfo.InvariantCulture, $"{fault} {way} {Interlocked.Increment(ref _number)}"))];
            foreach (var name in names)
            {
                _names.Enqueue(name);
            }

            return [.. names.Chunk(BatchSize)];
        }

        private static string Pushed(string[] names, TimeSpan endsIn) => JsonSerializer.Serialize(names.Select(name => new
        {
            labels = new { alertname = "FaultProbe", severity = "high", n = name },
            endsAt = DateTimeOffset.UtcNow + endsIn,
        }));

        private HttpClient Client(string key)
        {
            // A request that was given up and is handled later would begin anew what has ended meanwhile; so none is given up.
            var http = new HttpClient { BaseAddress = platform.GatewayUrl, Timeout = Patience };
            http.DefaultRequestHeaders.Authorization = new("Bearer", key);
            return http;
        }

        private async Task UntilTakenAsync(HttpClient http, string path, HttpStatusCode taken, Func<string> body)
        {
            var idempotencyKey = Guid.NewGuid().ToString();
            await Eventually.TrueAsync(() => TrySendAsync(http, path, taken, body(), idempotencyKey), Patience, "a batch is taken");
            _firstAnswer.TrySetResult();
        }

        private static async Task<bool> TrySendAsync(HttpClient http, string path, HttpStatusCode taken, string body, string idempotencyKey)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
            request.Headers.Add("Idempotency-Key", idempotencyKey);
            try
            {
                using var answer = await http.SendAsync(request, Ct);
                Assert.True(answer.StatusCode == taken || (int)answer.StatusCode is 408 or 429 or >= 500, $"Answered {(int)answer.StatusCode}: {await answer.Content.ReadAsStringAsync(Ct)}");
                return answer.StatusCode == taken;
            }
            catch (HttpRequestException)
            {
                return false; // the connection broke
            }
        }
    }
}
