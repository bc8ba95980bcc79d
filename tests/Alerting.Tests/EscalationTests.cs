using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>What happens while nobody acknowledges: steps, rounds, quiet hours, the end, two replicas, and a watchdog over all of it.</summary>
public sealed class EscalationTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private const string Users = "api/v1/monitoring/on-call/users";
    private const string Policies = "api/v1/monitoring/escalation-policies";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Urgency.High, "2026-01-10T23:00:00Z", "2026-01-10T23:00:00Z", "")]
    [InlineData(Urgency.Low, "2026-01-10T20:59:00Z", "2026-01-10T20:59:00Z", "")]
    // 22:00 in Berlin is 21:00Z in winter; the night ends at 07:00, and Sunday is quiet all day.
    [InlineData(Urgency.Low, "2026-01-12T21:00:00Z", "2026-01-13T06:00:00Z", "waited for the end of quiet hours")]
    [InlineData(Urgency.Low, "2026-01-10T21:00:00Z", "2026-01-12T06:00:00Z", "waited for the end of quiet hours")]
    // In summer the same 07:00 is 05:00Z.
    [InlineData(Urgency.Low, "2026-07-14T22:00:00Z", "2026-07-15T05:00:00Z", "waited for the end of quiet hours")]
    public void Low_urgency_waits_for_the_end_of_quiet_hours_and_high_does_not(Urgency urgency, string now, string expected, string reason)
    {
        var user = new OnCallUser(
            "anna", "Anna", "Europe/Berlin", [new("phone", "ntfy")], [new("phone", 0)], [new("phone", 0)],
            [new(new(22, 0), new(7, 0), []), new(new(0, 0), new(0, 0), [DayOfWeek.Sunday])]);

        Assert.Equal([new Call("phone", At(expected), reason)], user.Calls(urgency, At(now)));
    }

    [Fact]
    public async Task A_real_service_pages_step_after_step_in_words_until_somebody_acknowledges()
    {
        var policy = await PolicyAsync("words", repeat: 5, (["webhook"], 1), (["webhook"], 1));
        var alert = await RaiseAsync("paged");
        await using (var services = await ServicesAsync(TimeProvider.System))
        {
            await BeginAsync(services, alert, policy, DateTimeOffset.UtcNow);
        }


        var told = await Eventually.GetAsync(async () => (await ToldAsync(alert)) is { Count: >= 3 } found ? found : null, because: "three steps were told");
        Assert.Equal(
            ["first notification by the escalation policy words, step 1 of 2", "escalated: nobody acknowledged within 1 s, step 2 of 2", "escalated: nobody acknowledged within 1 s, step 1 of 2, round 2 of 6"],
            told.Take(3).Select(one => one.Reason));
        await world.Receiver.WaitAsync("escalated: nobody acknowledged within 1 s, step 2 of 2", 1);

        using var acknowledged = await world.Moderator.PostAsync(new Uri($"api/v1/monitoring/alerts/{alert}/acknowledge", UriKind.Relative), null, Ct);
        Assert.Equal(HttpStatusCode.OK, acknowledged.StatusCode);
        var ended = await Eventually.GetAsync<object>(
            async () => (await world.GetAsync($"api/v1/monitoring/alerts/{alert}/escalation")).GetProperty("items")[0] is var one && one.GetProperty("ended_at").ValueKind != JsonValueKind.Null ? one : null,
            because: "the acknowledgement ends the escalation");
        Assert.Equal("acknowledged by key:moderator", ((JsonElement)ended).GetProperty("end_reason").GetString());

        // Those who were paged are told of the end as well, once.
        using var resolved = await world.Moderator.PostAsync(new Uri($"api/v1/monitoring/alerts/{alert}/resolve", UriKind.Relative), null, Ct);
        await Eventually.TrueAsync(async () => (await ToldAsync(alert)).Count(one => one.Status == "resolved") == 1, because: "the end is told");
    }

    [Fact]
    public async Task Two_workers_take_each_step_once()
    {
        var policy = await PolicyAsync("twice", repeat: 0, (["webhook"], 60), (["webhook"], 60));
        var clock = Tomorrow();
        await using var services = await ServicesAsync(clock);
        var alerts = new List<Guid>();
        for (var i = 0; i < 30; i++)
        {
            alerts.Add(await RaiseAsync($"twice-{i}"));
            await BeginAsync(services, alerts[^1], policy, clock.Now);
            // A second beginning while it runs changes nothing.
            await BeginAsync(services, alerts[^1], policy, clock.Now);
        }

        clock.Advance(TimeSpan.FromSeconds(60));
        await using var other = await ServicesAsync(clock);
        await Task.WhenAll(Worker(services).TickAsync(Ct), Worker(other).TickAsync(Ct));
        await Worker(services).TickAsync(Ct);

        Assert.Equal(60, await world.CountAsync($"select count(*) from notifications where kind = 'escalation' and alert_ids && {alerts.ToArray()}"));
        Assert.Equal(60, await world.CountAsync($"select count(*) from escalation_steps s join escalations e on e.id = s.escalation_id where e.alert_id = any({alerts.ToArray()})"));
        Assert.Equal(0, await world.CountAsync($"select count(*) from escalations where alert_id = any({alerts.ToArray()}) and next_at is not null"));
    }

    [Fact]
    public async Task A_clock_that_leaps_takes_one_step_and_one_that_is_set_back_keeps_the_pace()
    {
        var policy = await PolicyAsync("leaping", repeat: 5, (["webhook"], 60), (["webhook"], 60));
        var clock = Tomorrow();
        await using var services = await ServicesAsync(clock);
        var alert = await RaiseAsync("leaping-alert");
        await BeginAsync(services, alert, policy, clock.Now);
        var worker = Worker(services);
        await worker.TickAsync(Ct);

        clock.Advance(TimeSpan.FromHours(5));
        await worker.TickAsync(Ct);
        await worker.TickAsync(Ct);
        Assert.Equal(2, (await ToldAsync(alert)).Count);

        clock.Advance(-TimeSpan.FromHours(1));
        await worker.TickAsync(Ct);
        Assert.Equal(2, (await ToldAsync(alert)).Count);
        clock.Advance(TimeSpan.FromSeconds(59));
        await worker.TickAsync(Ct);
        Assert.Equal(2, (await ToldAsync(alert)).Count);
        clock.Advance(TimeSpan.FromSeconds(1));
        await worker.TickAsync(Ct);
        Assert.Equal(3, (await ToldAsync(alert)).Count);
    }

    [Fact]
    public async Task A_schedule_means_who_is_on_call_then_and_a_step_that_reaches_nobody_goes_on_at_once()
    {
        using var admin = world.Client(Role.Admin);
        await UserAsync(admin, "night-owl", ("phone", 0), ("mail", 120));
        await PostAsync(admin, "api/v1/monitoring/schedules", new
        {
            name = "nights",
            time_zone = "UTC",
            layers = new[] { new { every = 1, unit = "days", handover = "00:00", starts_on = "2026-01-01", participants = (string[])["night-owl"], restrictions = new[] { new { from = "20:00", to = "08:00" } } } },
        });
        await PostAsync(admin, Policies, new
        {
            name = "by-schedule",
            steps = new object[]
            {
                new { targets = new[] { new { type = "schedule", name = "nights" } }, escalate_after_seconds = 300 },
                new { targets = new[] { new { type = "channel", name = "webhook" } } },
            },
        });

        // By day nobody is on call: the second step is taken with the first.
        var day = Tomorrow(hour: 12);
        await using var services = await ServicesAsync(day);
        var alert = await RaiseAsync("by-day");
        await BeginAsync(services, alert, "by-schedule", day.Now);
        Assert.Equal(["webhook"], (await ToldAsync(alert)).Select(one => one.Channel));
        var steps = (await world.GetAsync($"api/v1/monitoring/alerts/{alert}/escalation")).GetProperty("items")[0].GetProperty("steps");
        Assert.Equal("nobody is on call", steps[0].GetProperty("told")[0].GetProperty("note").GetString());

        // By night the owl is told, over the second method when two minutes have passed, and only then comes the next step.
        day.Now = day.Now.AddHours(10);
        alert = await RaiseAsync("by-night");
        await BeginAsync(services, alert, "by-schedule", day.Now);
        Assert.Equal(["on-call/night-owl/phone"], (await ToldAsync(alert)).Select(one => one.Channel));
        day.Advance(TimeSpan.FromSeconds(119));
        await Worker(services).TickAsync(Ct);
        Assert.Single(await ToldAsync(alert));
        day.Advance(TimeSpan.FromSeconds(1));
        await Worker(services).TickAsync(Ct);
        Assert.Equal(["on-call/night-owl/phone", "on-call/night-owl/mail"], (await ToldAsync(alert)).Select(one => one.Channel));
        day.Advance(TimeSpan.FromSeconds(180));
        await Worker(services).TickAsync(Ct);
        Assert.Equal(["on-call/night-owl/phone", "on-call/night-owl/mail", "webhook"], (await ToldAsync(alert)).Select(one => one.Channel));
    }

    [Fact]
    public async Task A_round_that_reaches_nobody_is_the_last_one_until_its_time_has_passed()
    {
        using var admin = world.Client(Role.Admin);
        await UserAsync(admin, "evening-owl", ("phone", 0));
        await PostAsync(admin, "api/v1/monitoring/schedules", new
        {
            name = "evenings",
            time_zone = "UTC",
            layers = new[] { new { every = 1, unit = "days", handover = "00:00", starts_on = "2026-01-01", participants = (string[])["evening-owl"], restrictions = new[] { new { from = "13:00", to = "20:00" } } } },
        });
        var step = new { targets = new[] { new { type = "schedule", name = "evenings" } }, escalate_after_seconds = 3600 };
        await PostAsync(admin, Policies, new { name = "evening-rounds", steps = new[] { step, step }, repeat = 20 });
        var clock = Tomorrow(hour: 12);
        await using var services = await ServicesAsync(clock);
        var alert = await RaiseAsync("nobody-yet");
        await BeginAsync(services, alert, "evening-rounds", clock.Now);
        Assert.Equal(2, await world.CountAsync($"select count(*) from escalation_steps s join escalations e on e.id = s.escalation_id where e.alert_id = {alert}"));

        clock.Advance(TimeSpan.FromHours(1));
        await Worker(services).TickAsync(Ct);
        Assert.Equal(["on-call/evening-owl/phone"], (await ToldAsync(alert)).Select(one => one.Channel));
    }

    [Fact]
    public async Task An_escalation_that_fails_keeps_no_other_waiting()
    {
        var (bad, good) = (await PolicyAsync("cannot-climb", repeat: 0, (["webhook"], 60)), await PolicyAsync("can-climb", repeat: 0, (["webhook"], 60)));
        await world.Db.ExecuteAsync($"""
            create function refuse_step() returns trigger language plpgsql as 'begin raise exception ''refused''; end';
            create trigger refuse_step before insert on escalation_steps for each row when (new.reason like '%cannot-climb%') execute function refuse_step();
            """, Ct);
        var clock = Tomorrow();
        await using var services = await ServicesAsync(clock);
        var (first, second) = (await RaiseAsync("refused-alert"), await RaiseAsync("taken-alert"));
        await BeginAsync(services, first, bad, clock.Now);
        await BeginAsync(services, second, good, clock.Now.AddSeconds(1));
        clock.Advance(TimeSpan.FromSeconds(1));
        var worker = Worker(services);
        await worker.TickAsync(Ct);
        Assert.Empty(await ToldAsync(first));
        Assert.Single(await ToldAsync(second));

        await world.Db.ExecuteAsync($"drop trigger refuse_step on escalation_steps", Ct);
        clock.Advance(Aside<Guid>.LongestRest);
        await worker.TickAsync(Ct);
        Assert.Single(await ToldAsync(first));
    }

    [Fact]
    public async Task What_is_suppressed_waits_and_goes_on_afterwards()
    {
        var policy = await PolicyAsync("silenced", repeat: 0, (["webhook"], 60), (["webhook"], 60));
        var clock = Tomorrow();
        await using var services = await ServicesAsync(clock);
        var alert = await RaiseAsync("silenced-alert");
        await BeginAsync(services, alert, policy, clock.Now);
        await world.Db.ExecuteAsync($"update alerts set suppressed = true, suppressed_by = {Queries.Jsonb("""[{"kind":"silence","id":null,"name":"a","reason":"b","since":"2026-01-01T00:00:00Z"}]""")} where id = {alert}", Ct);
        clock.Advance(TimeSpan.FromMinutes(10));
        await Worker(services).TickAsync(Ct);
        Assert.Single(await ToldAsync(alert));

        await world.Db.ExecuteAsync($"update alerts set suppressed = false, suppressed_by = '[]' where id = {alert}", Ct);
        await Worker(services).TickAsync(Ct);
        Assert.Equal(2, (await ToldAsync(alert)).Count);
    }

    [Fact]
    public async Task A_worker_that_stands_still_is_noticed_and_the_alarm_ends_when_it_goes_on()
    {
        var policy = await PolicyAsync("watched", repeat: 0, (["webhook"], 60), (["webhook"], 600));
        var clock = Tomorrow();
        await using var services = await ServicesAsync(clock);
        var alert = await RaiseAsync("watched-alert");
        await BeginAsync(services, alert, policy, clock.Now);
        await BeginAsync(services, await RaiseAsync("watched-low", "low"), policy, clock.Now);
        var watchdog = ActivatorUtilities.CreateInstance<EscalationWatchdog>(services);

        // A replica hangs with the escalation in its hands: the others pass it by, as they must.
        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        await using (var hanging = await connection.BeginTransactionAsync(Ct))
        {
            await hanging.ExecuteAsync($"select 1 from escalations where alert_id = {alert} for update", Ct);
            clock.Advance(TimeSpan.FromSeconds(90));
            await Worker(services).TickAsync(Ct);
            await watchdog.TickAsync(Ct);
            Assert.Empty(await world.AlertsAsync("EscalationOverdue"));

            clock.Advance(TimeSpan.FromSeconds(1));
            await watchdog.TickAsync(Ct);
            await watchdog.TickAsync(Ct);
        }

        var alarm = Assert.Single(await world.AlertsAsync("EscalationOverdue"));
        Assert.Equal(("firing", "critical", alert.ToString()), (alarm.GetProperty("state").GetString(), alarm.GetProperty("severity").GetString(), alarm.GetProperty("annotations").GetProperty("alert_id").GetString()));

        await Worker(services).TickAsync(Ct);
        await watchdog.TickAsync(Ct);
        Assert.Equal("resolved", Assert.Single(await world.AlertsAsync("EscalationOverdue")).GetProperty("state").GetString());
    }

    [Fact]
    public void The_watchdog_judges_by_policy_and_record_alone()
    {
        var start = At("2026-01-15T12:00:00Z");
        var grace = TimeSpan.FromSeconds(30);
        var policy = new EscalationPolicy("p", "", [new([new(TargetType.Channel, "c")], 60), new([new(TargetType.Channel, "c")], 60)], 0);
        var fresh = new Escalation(Guid.NewGuid(), Guid.NewGuid(), "default", "p", policy, start, 0, start, null, null, []);
        TakenStep Step(int number, DateTimeOffset at, string? channel = "c") => new(number, at, at, at, "", [new("channel c", null, channel, at, "")]);

        Assert.Null(fresh.Overdue(start.AddSeconds(30), grace));
        Assert.NotNull(fresh.Overdue(start.AddSeconds(31), grace));
        var once = fresh with { Steps = [Step(0, start.AddSeconds(5))] };
        Assert.Null(once.Overdue(start.AddSeconds(95), grace));
        Assert.NotNull(once.Overdue(start.AddSeconds(96), grace));
        Assert.Null((once with { EndedAt = start }).Overdue(start.AddHours(1), grace));
        Assert.Null((once with { Steps = [Step(0, start), Step(1, start)] }).Overdue(start.AddHours(1), grace));
        Assert.Contains("none could tell anybody", (once with { Steps = [Step(0, start, null), Step(1, start, null)] }).Overdue(start, grace), StringComparison.Ordinal);
        // A round that reached nobody is news, whatever later rounds may find.
        var rounds = fresh with { Policy = policy with { Repeat = 20 } };
        Assert.Contains("none could tell anybody", (rounds with { Steps = [Step(0, start, null), Step(1, start, null)] }).Overdue(start, grace), StringComparison.Ordinal);
        Assert.Null((rounds with { Steps = [Step(0, start, null), Step(1, start)] }).Overdue(start, grace));
        Assert.Contains("There is no escalation policy", (fresh with { Policy = null }).Overdue(start, grace), StringComparison.Ordinal);
    }

    // The service's own worker lives today; what is due tomorrow is left to the workers of the test.
    private static TestClock Tomorrow(int hour = 12) => new(new DateTimeOffset(DateTimeOffset.UtcNow.Date.AddDays(2).AddHours(hour), TimeSpan.Zero));

    private Task<ServiceProvider> ServicesAsync(TimeProvider clock) => ServicesAsync(world, clock);

    /// <summary>Parts of the service on the world's database, with the test's clock.</summary>
    internal static async Task<ServiceProvider> ServicesAsync(AlertingWorld world, TimeProvider clock)
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["ALERT_WEBHOOK_URL"] = "http://127.0.0.1:9/",
            ["PLATFORM_MASTER_KEY"] = world.World.MasterKey,
            ["ConnectionStrings:identity"] = await world.World.DatabaseAsync("identity"),
        });
        builder.AddTickets();
        builder.Services.AddLogging().AddSingleton(clock).AddSingleton(world.Db).AddSingleton<AlertingMetrics>();
        builder.AddRules();
        builder.AddChannels();
        builder.AddNotifications();
        builder.AddOnCall();
        builder.AddRouting();
        builder.AddAlerts();
        // Only what a test asks for is made; nothing of this host is ever started.
        return builder.Services.BuildServiceProvider();
    }

    private static EscalationWorker Worker(ServiceProvider services) => ActivatorUtilities.CreateInstance<EscalationWorker>(services);

    private async Task BeginAsync(ServiceProvider services, Guid alert, string policy, DateTimeOffset now)
    {
        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        {
            await using var tx = await connection.BeginTransactionAsync(Ct);
            await services.GetRequiredService<EscalationStore>().BeginAsync(tx, [(alert, policy)], now, Ct);
            await tx.CommitAsync(Ct);
        }

        await Worker(services).TickAsync(Ct);
    }

    private Task<List<(string Channel, string Status, string Reason)>> ToldAsync(Guid alert) => world.Db.QueryAsync(
        $"select channel, status, content->>'reason' from notifications where kind = 'escalation' and {alert} = any(alert_ids) order by number",
        row => (row.GetString(0), row.GetString(1), row.GetString(2)), Ct);

    private async Task<Guid> RaiseAsync(string name, string severity = "critical") =>
        (await PostAsync(world.Moderator, "api/v1/monitoring/alerts/create", new { name, severity, message = name })).GetProperty("id").GetGuid();

    private async Task<string> PolicyAsync(string name, int repeat, params (string[] Channels, int Seconds)[] steps)
    {
        await PostAsync(world.Moderator, Policies, new
        {
            name,
            repeat,
            steps = steps.Select(step => new { targets = step.Channels.Select(channel => new { type = "channel", name = channel }), escalate_after_seconds = step.Seconds }),
        });
        return name;
    }

    private static Task<JsonElement> UserAsync(HttpClient admin, string name, params (string Name, int After)[] methods) => PostAsync(admin, Users, new
    {
        name,
        contact_methods = methods.Select(method => new { name = method.Name, type = "webhook", target = "https://receiver.example/hook" }),
        high_urgency = methods.Select(method => new { method = method.Name, after_seconds = method.After }),
    });

    private static async Task<JsonElement> PostAsync(HttpClient client, string path, object body)
    {
        using var answer = await client.PostAsJsonAsync(path, body, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.StatusCode == HttpStatusCode.Created, text);
        return JsonElement.Parse(text).GetProperty("data");
    }

    private static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, System.Globalization.CultureInfo.InvariantCulture);
}
