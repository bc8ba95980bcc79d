using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Platform.Alerting.Canaries;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Alerting.Silences;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;
using RabbitMQ.Client;

namespace Platform.Alerting.Tests;

/// <summary>The test alerts that walk the pipeline, what follows when they stay away, and the ping that rests on them.</summary>
public sealed class CanaryTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task It_arrives_is_measured_bothers_nobody_and_leaves_nothing_behind()
    {
        await using var service = await world.StartAsync(("ALERT_CANARY_ENABLED", "true"), ("ALERT_CANARY_SECONDS", "1"), ("ALERT_CANARY_OVERDUE_SECONDS", "3600"));
        // Also when somebody silences everything.
        using var admin = world.Client(Role.Admin, "*");
        await SilenceAsync(admin);
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from canaries where arrived_at is not null") >= 3, Patience, "test alerts arrive");
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from alerts where realm = {Canary.Realm} and state = 'resolved'") > 0, Patience, "a test alert resolves");

        var series = await SeriesAsync(service);
        Assert.InRange(series["alerting_canary_latency_seconds"], 0, 3600);
        Assert.True(series["alerting_canary_last_success_timestamp_seconds"] > world.Start.ToUnixTimeSeconds());
        Assert.Equal(1, series["alerting_canary_interval_seconds"]);
        // Counted is what people are told.
        Assert.DoesNotContain(series.Keys, name => name.StartsWith("alerting_alerts_fired", StringComparison.Ordinal) && name.Contains("info", StringComparison.Ordinal));
        Assert.DoesNotContain(series.Keys, name => name.StartsWith("alerting_notification_attempts", StringComparison.Ordinal) && name.Contains("canary", StringComparison.Ordinal));

        foreach (var path in (string[])["alerts", "notifications", "channels", "rules", "routing"])
        {
            Assert.DoesNotContain(Canary.Realm, (await world.GetAsync($"api/v1/monitoring/{path}", admin)).GetRawText(), StringComparison.Ordinal);
        }

        Assert.NotEqual(0, (await world.GetAsync("api/v1/monitoring/alerts?realm=~canary", admin)).GetProperty("items").GetArrayLength());
        Assert.Empty(world.Receiver.Of(Canary.Realm));
        foreach (var topic in (string[])[AlertFired.Topic, AlertResolved.Topic, NotificationAttempted.Topic])
        {
            Assert.DoesNotContain(await WaitingAsync($"incidents.{topic}"), message => message.Contains(Canary.Realm, StringComparison.Ordinal));
        }

        // An hour later, all of it goes with the next one that is sent.
        await world.Db.ExecuteAsync($"update canaries set sent_at = sent_at - interval '2 hours', arrived_at = arrived_at - interval '2 hours'", Ct);
        await world.Db.ExecuteAsync($"update alerts set fired_at = fired_at - interval '2 hours' where realm = {Canary.Realm}", Ct);
        await world.Db.ExecuteAsync($"update notifications set created_at = created_at - interval '2 hours' where realm = {Canary.Realm}", Ct);
        await Eventually.TrueAsync(
            async () => await world.CountAsync($"""
                select (select count(*) from alerts where realm = '~canary' and fired_at < now() - interval '1 hour')
                    + (select count(*) from notifications where realm = '~canary' and created_at < now() - interval '1 hour')
                    + (select count(*) from canaries where sent_at < now() - interval '1 hour')
                    + (select count(*) from alert_log l where not exists (select 1 from alerts a where a.id = l.alert_id))
                """) == 0,
            Patience,
            "what is old is deleted");
    }

    [Fact]
    public async Task A_pipeline_that_stands_still_is_told_past_itself_and_the_pings_stop_until_it_goes_on()
    {
        await using var other = await PingedAsync();
        await using var service = await world.StartAsync(
            ("ALERT_CANARY_ENABLED", "true"), ("ALERT_CANARY_SECONDS", "1"), ("ALERT_CANARY_OVERDUE_SECONDS", "5"), ("ALERT_WATCHDOG_CHANNELS", "webhook"),
            ("ALERT_PING_URL", other.Url), ("ALERT_PING_SECONDS", "1"));
        // The first one is answered 500: that is counted, and the next one comes all the same.
        await Eventually.TrueAsync(() => other.Pings.Count >= 3, Patience, "the other system hears that all is well");
        var series = await SeriesAsync(service);
        Assert.True(series["alerting_pings_total{outcome=\"failed\"}"] >= 1);
        Assert.True(series["alerting_pings_total{outcome=\"accepted\"}"] >= 1);

        // Whoever hangs in the flusher's lock stops all of them, in every replica.
        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        await using (var hanging = await connection.BeginTransactionAsync(Ct))
        {
            await GroupStore.LockAsync(hanging, Ct);
            await hanging.ExecuteAsync($"set local idle_in_transaction_session_timeout = 0", Ct);
            var stopped = DateTimeOffset.UtcNow;
            await Eventually.TrueAsync(
                async () => await world.CountAsync($"select count(*) from canaries where arrived_at is null and sent_at > {stopped} and sent_at < now() - interval '6 seconds'") > 0, Patience, "a test alert is late");
            await Eventually.TrueAsync(() => world.Receiver.Of("AlertPipelineOverdue").Any(one => one.Status == "firing"), Patience, "the alarm goes past the flusher");
            Assert.True((await SeriesAsync(service))["alerting_canary_latency_seconds"] > 5);

            var pings = other.Pings.Count;
            var late = await world.CountAsync($"select count(*) from canaries where arrived_at is null");
            await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from canaries where arrived_at is null") >= late + 2, Patience, "time passes");
            // One may have been on its way.
            Assert.InRange(other.Pings.Count, pings, pings + 1);
        }

        var before = other.Pings.Count;
        await Eventually.TrueAsync(
            async () => await world.CountAsync($"select count(*) from alerts where name = 'AlertPipelineOverdue' and state <> 'resolved'") == 0, Patience, "the alarm ends when test alerts arrive");
        await Eventually.TrueAsync(() => other.Pings.Count > before, Patience, "the pings go on");
    }

    [Fact]
    public async Task What_was_sent_before_everything_died_arrives_afterwards()
    {
        var store = new CanaryStore(world.Db);
        await world.Db.ExecuteAsync($"delete from canaries", Ct);
        await world.Service.KillAsync();
        Assert.True(await store.SendAsync(TimeSpan.FromMinutes(1), DateTimeOffset.UtcNow, Ct));

        world.Service = await world.StartAsync();

        await Eventually.TrueAsync(async () => (await store.FlightAsync(Ct)) is { ArrivedAt: not null, Missing: 0 }, Patience, "the test alert arrives");
    }

    [Fact]
    public async Task Of_many_replicas_one_sends_and_one_pings()
    {
        await world.Db.ExecuteAsync($"delete from canaries", Ct);
        var now = DateTimeOffset.UtcNow;
        var minute = TimeSpan.FromMinutes(1);

        var sent = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => new CanaryStore(world.Db).SendAsync(minute, now, Ct)));
        var pinged = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => new CanaryStore(world.Db).ClaimPingAsync(minute, now.AddDays(1), Ct)));

        Assert.Single(sent, true);
        Assert.Single(pinged, true);
        Assert.Equal(1, await world.CountAsync($"select count(*) from canaries"));
    }

    [Fact]
    public async Task Nobody_else_makes_such_a_channel_and_a_rule_still_takes_its_windows_along()
    {
        using var admin = world.Client(Role.Admin);
        foreach (var body in (string[])["""{"name":"mine","kind":"canary","settings":{}}""", """{"name":"~canary","kind":"webhook","settings":{"url":"https://hooks.example/x"}}"""])
        {
            using var content = new StringContent(body, Encoding.UTF8, "application/json");
            using var answer = await admin.PostAsync(new Uri("api/v1/monitoring/channels", UriKind.Relative), content, Ct);
            Assert.Equal(System.Net.HttpStatusCode.BadRequest, answer.StatusCode);
        }

        var rule = await world.CreateRuleAsync("short-lived", new { tags = new { action = "canary-test" } });
        await world.TellAsync(TestEvent.Action(world.Start, "canary-test"));
        var id = rule.GetProperty("id").GetGuid();
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from event_windows where rule_id = {id}") == 1, because: "the event is counted");
        using var deleted = await world.Moderator.DeleteAsync(new Uri($"api/v1/monitoring/rules/{id}", UriKind.Relative), Ct);
        Assert.Equal(0, await world.CountAsync($"select count(*) from event_windows where rule_id = {id}"));
    }

    [Fact]
    public void What_follows_from_a_flight_is_decided_by_when_the_newest_arrived()
    {
        var (start, minute, allowed) = (new DateTimeOffset(2026, 1, 15, 12, 0, 0, TimeSpan.Zero), TimeSpan.FromMinutes(1), TimeSpan.FromSeconds(90));
        var none = new CanaryFlight(null, null, null, null, 0);
        var well = new CanaryFlight(start, start.AddSeconds(1), TimeSpan.FromSeconds(1), null, 0);
        var lost = new CanaryFlight(start.AddSeconds(60), start.AddSeconds(1), TimeSpan.FromSeconds(1), start.AddSeconds(60), 1);
        var gone = lost with { SentAt = start.AddSeconds(660), Missing = CanaryFlight.Many };

        Assert.Equal((true, false, false), (none.IsDue(start, minute), none.IsLate(start, allowed), none.IsFresh(start, minute, allowed)));
        Assert.Equal((false, true), (well.IsDue(start.AddSeconds(59), minute), well.IsDue(start.AddSeconds(60), minute)));
        // A clock that was set back by an hour stops nothing; one of another replica that is a little slow sends nothing twice.
        Assert.Equal((true, false), (well.IsDue(start.AddHours(-1), minute), well.IsDue(start.AddSeconds(-2), minute)));
        Assert.Equal((true, false), (well.IsFresh(start.AddSeconds(151), minute, allowed), well.IsFresh(start.AddSeconds(152), minute, allowed)));
        Assert.Equal((false, true), (lost.IsLate(start.AddSeconds(150), allowed), lost.IsLate(start.AddSeconds(151), allowed)));
        Assert.Equal((TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(30)), (lost.LatencyAt(start.AddSeconds(60)), lost.LatencyAt(start.AddSeconds(90))));
        Assert.Equal((false, true), (gone.IsDue(start.AddSeconds(1259), minute), gone.IsDue(start.AddSeconds(1260), minute)));
        Assert.Null(none.LatencyAt(start));
    }

    [Fact]
    public void No_rule_of_all_realms_counts_a_test_alert_and_no_silence_of_all_realms_holds_it()
    {
        var everywhere = Canary.Rule with { Id = Guid.NewGuid(), Realm = Realm.All, Match = new RuleMatch("log", null, null, new Dictionary<string, string>()) };
        var found = new List<Interest>();
        new RuleIndex(1, [Canary.Rule, everywhere]).Of(Canary.Realm).Match(Canary.Event(Guid.NewGuid(), world.Start).Events[0], found);
        Assert.Same(Canary.Rule, Assert.Single(found).Rule);

        var silence = new Silence(Guid.NewGuid(), Realm.All, [], "anna", "", world.Start, world.Start.AddHours(1), world.Start, world.Start, "anna", 1);
        Assert.Equal((true, false), (silence.Holds("default", LabelSet.Of(new Dictionary<string, string>()), world.Start), silence.Holds(Canary.Realm, LabelSet.Of(new Dictionary<string, string>()), world.Start)));
    }

    private static async Task SilenceAsync(HttpClient admin)
    {
        using var content = new StringContent("""{"matchers":["severity=~\".+\""],"comment":"all quiet","realm":"*","duration":"1h"}""", Encoding.UTF8, "application/json");
        using var answer = await admin.PostAsync(new Uri("api/v1/monitoring/silences", UriKind.Relative), content, Ct);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Ct));
    }

    // The service's own series, by name and labels.
    private static async Task<Dictionary<string, double>> SeriesAsync(ServiceProcess service)
    {
        using var anonymous = TestWorld.Anonymous(service);
        var text = await anonymous.GetStringAsync(new Uri("metrics", UriKind.Relative), Ct);
        return Regex.Matches(text, "^(alerting_[^ ]+) ([^ \n]+)", RegexOptions.Multiline)
            .ToDictionary(line => line.Groups[1].Value, line => double.Parse(line.Groups[2].Value, CultureInfo.InvariantCulture));
    }

    // There is no Incidents here that would take them.
    private async Task<List<string>> WaitingAsync(string queue)
    {
        await using var connection = await new ConnectionFactory { Uri = new Uri(world.World.Broker) }.CreateConnectionAsync(Ct);
        await using var channel = await connection.CreateChannelAsync(cancellationToken: Ct);
        var messages = new List<string>();
        while (await channel.BasicGetAsync(queue, autoAck: true, Ct) is { } message)
        {
            messages.Add(Encoding.UTF8.GetString(message.Body.Span));
        }

        return messages;
    }

    private static async Task<Pinged> PingedAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration["urls"] = "http://127.0.0.1:0";
        var app = builder.Build();
        var pings = new ConcurrentQueue<DateTimeOffset>();
        app.MapGet("/ping/secret", () =>
        {
            pings.Enqueue(DateTimeOffset.UtcNow);
            return pings.Count == 1 ? Results.StatusCode(500) : Results.Ok();
        });
        await app.StartAsync(Ct);
        return new Pinged(app, $"{app.Urls.Single()}/ping/secret", pings);
    }

    /// <summary>Another system that watches this one.</summary>
    private sealed record Pinged(WebApplication App, string Url, ConcurrentQueue<DateTimeOffset> Pings) : IAsyncDisposable
    {
        public ValueTask DisposeAsync() => App.DisposeAsync();
    }
}
