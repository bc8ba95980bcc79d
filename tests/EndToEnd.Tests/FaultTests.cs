using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>
/// kill -9 of everything, one after the other, under load: what was answered 2xx is there exactly once, every alert was told, the chain
/// verifies. <c>PLATFORM_FAULT_EVENTS</c> sets the size; <c>./bench.sh faults</c> runs it ten times larger.
/// </summary>
public sealed class FaultTests
{
    private static readonly string[] Victims = ["metrics", "alerting", "incidents", "compliance", "health", "gateway", "messaging", "postgres"];

    private static readonly int Events = int.Parse(Environment.GetEnvironmentVariable("PLATFORM_FAULT_EVENTS") ?? "1000", CultureInfo.InvariantCulture);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Nothing_that_was_answered_2xx_is_lost_when_processes_are_killed()
    {
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await PlatformFixture.StartAsync(pages);
        using var admin = new GatewayClient(platform.GatewayUrl, platform.AdminKey);
        var load = new Load(platform.GatewayUrl, platform.IngestKey);

        // A tenth of the attacks before, between and after the kills; every attack is one address that guesses ten times at one user.
        foreach (var victim in Victims)
        {
            var inFlight = load.SendAsync(Events, Ct);
            await load.FirstAnswerAsync();
            await platform.KillAsync(victim, Ct);
            await platform.WaitHealthyAsync(TimeSpan.FromMinutes(2), Ct);
            await inFlight;
        }

        await load.SendAsync(Events, Ct);

        await using var metrics = NpgsqlDataSource.Create(await platform.PostgresAsync("metricsdb", Ct));
        var (stored, distinct) = await CountAsync(metrics, "select count(*), count(distinct tags->>'n') from events where source = 'load'");
        Assert.Equal((load.Accepted, load.Accepted), (stored, distinct));
        Assert.True(load.Accepted == Events * (Victims.Length + 1), $"Only {load.Accepted} events were accepted in the end.");

        await using var alerting = NpgsqlDataSource.Create(await platform.PostgresAsync("alertingdb", Ct));
        await Eventually.TrueAsync(
            async () => (await CountAsync(alerting, "select count(*), count(distinct labels->>'ip_address') from alerts where name = 'brute_force'")).Second == load.Attacks,
            TimeSpan.FromMinutes(2),
            $"each of {load.Attacks} attacks has its alert");
        var alerts = await CountAsync(alerting, "select count(*), count(distinct labels->>'ip_address') from alerts where name = 'brute_force'");
        Assert.Equal(alerts.First, alerts.Second);
        await Eventually.TrueAsync(
            () => pages.Pages.Where(page => page.Status == "firing").Select(page => page.Label("ip_address")).OfType<string>().Distinct().Count() == load.Attacks,
            TimeSpan.FromMinutes(2),
            "every alert was told");
        // Told twice only under the same id, which receivers drop.
        Assert.Equal(load.Attacks, pages.Pages.Where(page => page.Status == "firing" && page.Label("ip_address") is not null).Select(page => page.Id).Distinct().Count());

        await using var incidents = NpgsqlDataSource.Create(await platform.PostgresAsync("incidentsdb", Ct));
        await Eventually.TrueAsync(
            async () => (await CountAsync(incidents, "select count(*), count(distinct group_key) from incidents where group_key like '%198.%'")).First == load.Attacks,
            TimeSpan.FromMinutes(2),
            "every alert has its incident");

        foreach (var database in (string[])["metricsdb", "alertingdb", "incidentsdb", "compliancedb", "healthdb", "identity"])
        {
            await using var db = NpgsqlDataSource.Create(await platform.PostgresAsync(database, Ct));
            await Eventually.TrueAsync(async () => (await CountAsync(db, "select count(*), 0::bigint from outbox")).First == 0, because: $"the outbox of {database} is empty");
        }

        foreach (var service in (string[])["alerting", "incidents", "compliance"])
        {
            Assert.Empty((await admin.GetAsync($"/api/v1/monitoring/dead-letters/{service}")).GetProperty("items").EnumerateArray());
        }

        var verified = await admin.GetAsync("/api/v1/monitoring/audit/verify?realm=default");
        Assert.True(verified.GetProperty("ok").GetBoolean(), verified.ToString());

        var summary = $"{Victims.Length} kills; {load.Accepted} events answered 2xx and stored once; {load.Attacks} attacks, alerts, pages and incidents; {load.Retries} requests sent again; chain of {verified.GetProperty("count").GetInt64()} records verifies";
        TestContext.Current.SendDiagnosticMessage("{0}", summary);
        TestContext.Current.TestOutputHelper?.WriteLine(summary);
    }

    private static async Task<(long First, long Second)> CountAsync(NpgsqlDataSource db, string sql)
    {
#pragma warning disable CA2100 // literals of this file
        await using var command = db.CreateCommand(sql);
#pragma warning restore CA2100
        await using var row = await command.ExecuteReaderAsync(Ct);
        await row.ReadAsync(Ct);
        return (row.GetInt64(0), row.GetInt64(1));
    }

    /// <summary>Eight clients that send batches and, like any good client, send again under the same Idempotency-Key until they have an answer.</summary>
    private sealed class Load(Uri gateway, string key)
    {
        private const int Clients = 8;
        private const int BatchSize = 25;

        private TaskCompletionSource _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _next;
        private long _accepted;
        private long _retries;
        private int _attacks;

        public long Accepted => Volatile.Read(ref _accepted);

        public long Retries => Volatile.Read(ref _retries);

        /// <summary>Addresses that guessed ten times.</summary>
        public int Attacks => Volatile.Read(ref _attacks);

        public Task FirstAnswerAsync() => _firstAnswer.Task;

        public async Task SendAsync(int events, CancellationToken ct)
        {
            _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
            var bodies = new ConcurrentQueue<string>(Enumerable.Range(0, events / BatchSize).Select(_ => Batch()));
            await Task.WhenAll(Enumerable.Range(0, Clients).Select(_ => ClientAsync(bodies, ct)));
        }

        private async Task ClientAsync(ConcurrentQueue<string> bodies, CancellationToken ct)
        {
            using var http = new HttpClient { BaseAddress = gateway, Timeout = TimeSpan.FromSeconds(15) };
            http.DefaultRequestHeaders.Authorization = new("Bearer", key);
            while (bodies.TryDequeue(out var body))
            {
                var idempotencyKey = Guid.NewGuid().ToString();
                await Eventually.TrueAsync(() => TrySendAsync(http, body, idempotencyKey, ct), TimeSpan.FromMinutes(3), "a batch is accepted");
                Interlocked.Add(ref _accepted, BatchSize);
                _firstAnswer.TrySetResult();
            }
        }

        private async Task<bool> TrySendAsync(HttpClient http, string body, string idempotencyKey, CancellationToken ct)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "api/v1/monitoring/events") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
            request.Headers.Add("Idempotency-Key", idempotencyKey);
            try
            {
                using var answer = await http.SendAsync(request, ct);
                if (answer.StatusCode == HttpStatusCode.Created)
                {
                    return true;
                }

                Assert.True((int)answer.StatusCode is 408 or 429 or >= 500, $"Answered {(int)answer.StatusCode}: {await answer.Content.ReadAsStringAsync(ct)}");
            }
            catch (HttpRequestException)
            {
                // the gateway itself was killed
            }
            catch (TaskCanceledException) when (!ct.IsCancellationRequested)
            {
                // no answer in time
            }

            Interlocked.Increment(ref _retries);
            return false;
        }

        // 15 ordinary events and one attack of ten failures, each on a user of its own: many addresses on one user would be another finding.
        private string Batch()
        {
            var attack = Interlocked.Increment(ref _attacks);
            var address = $"198.{18 + attack / 62_500}.{attack / 250 % 250}.{attack % 250}";
            var batch = Enumerable.Range(0, BatchSize).Select(index =>
            {
                var n = Interlocked.Increment(ref _next).ToString(CultureInfo.InvariantCulture);
                return index < 10
                    ? Event(new() { ["n"] = n, ["action"] = "login", ["outcome"] = "failure", ["user_id"] = $"user-{attack}", ["ip_address"] = address })
                    : Event(new() { ["n"] = n, ["action"] = "token_refresh", ["outcome"] = "success" });
            });
            return $"[{string.Join(',', batch)}]";
        }

        private static string Event(Dictionary<string, string> tags) => JsonSerializer.Serialize(new { event_type = "log", source = "load", level = "info", tags });
    }
}
