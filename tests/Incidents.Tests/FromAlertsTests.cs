using System.Net;
using System.Text.Json;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Incidents.Tests;

public sealed class FromAlertsTests(IncidentsWorld world)
{
    private static DateTimeOffset Start { get; } = new(DateTimeOffset.UtcNow.AddMinutes(-30).Ticks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond, TimeSpan.Zero);

    [Fact]
    public async Task A_high_alert_opens_an_incident_with_all_that_is_known_of_it()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "opens");

        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "opens", "opens/203.0.113.9", Start));

        var incident = await moderator.OneAsync(_ => true, "an incident is open");
        Assert.Equal(("5 failed logins from 203.0.113.9", "high", "open", "system:incidents"), (Text(incident, "title"), Text(incident, "severity"), Text(incident, "status"), Text(incident, "created_by")));
        Assert.Equal("Somebody guesses passwords.", Text(incident, "description"));
        Assert.Equal(Start, incident.GetProperty("opened_at").GetDateTimeOffset());
        Assert.Equal("203.0.113.9", Text(incident.GetProperty("event_tags"), "ip_address"));
        await AuditedAsync(moderator, incident, "incident.opened");
    }

    [Fact]
    public async Task Many_alerts_of_one_group_at_once_open_one_incident()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "crowd");
        await using var replica = await world.World.StartAsync("Incidents", "incidentsdb", ("INCIDENT_CLOSE_POLICY", "manual"));
        var alerts = Enumerable.Range(0, 20).Select(number => Messages.Fired(Guid.CreateVersion7(), "crowd", "crowd", Start.AddSeconds(number))).ToList();

        await Task.WhenAll(alerts.Select(world.TellAsync));

        var incident = await moderator.OneAsync(_ => true, "the incident is open");
        await Eventually.TrueAsync(async () => (await moderator.TimelineAsync(Id(incident), "kinds=alert")).Count == 20, because: "every alert has joined");
        incident = await moderator.OneAsync(_ => true, "there is still one incident");
        Assert.Equal(Start, incident.GetProperty("opened_at").GetDateTimeOffset());
    }

    [Fact]
    public async Task Lesser_alerts_open_nothing_but_join_what_is_open()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "lesser");
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "lesser", "nothing", Start, Severity.Medium));
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "lesser", "something", Start, Severity.High));
        var incident = await moderator.OneAsync(_ => true, "the high alert has opened an incident");

        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "lesser", "something", Start.AddMinutes(1), Severity.Low));
        await Eventually.TrueAsync(async () => (await moderator.TimelineAsync(Id(incident), "kinds=alert")).Count == 2, because: "the low alert has joined");

        Assert.Equal("high", Text(await moderator.OneAsync(_ => true, "the medium alert opened nothing"), "severity"));
    }

    [Fact]
    public async Task A_worse_alert_makes_the_incident_worse()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "worse");
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "worse", "worse", Start, Severity.High));
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "worse", "worse", Start, Severity.Critical));

        await moderator.OneAsync(incident => Text(incident, "severity") == "critical", "the incident is critical");
    }

    [Fact]
    public async Task The_last_alert_to_resolve_resolves_the_incident_and_the_next_one_reopens_it()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "over");
        var first = Messages.Fired(Guid.CreateVersion7(), "over", "over", Start);
        var second = Messages.Fired(Guid.CreateVersion7(), "over", "over", Start.AddMinutes(1));
        await world.TellAsync(first);
        await world.TellAsync(second);
        var incident = await moderator.OneAsync(_ => true, "the incident is open");
        await Eventually.TrueAsync(async () => (await moderator.TimelineAsync(Id(incident), "kinds=alert")).Count == 2, because: "both alerts have joined");

        await world.TellAsync(Messages.Resolved(first, Start.AddMinutes(2)));
        await Eventually.TrueAsync(async () => (await moderator.TimelineAsync(Id(incident), "kinds=alert")).Count == 3, because: "the first resolution is noted");
        Assert.Equal("open", Text(await moderator.GetAsync($"{IncidentsClientOf.Path}/{Id(incident)}"), "status"));

        await world.TellAsync(Messages.Resolved(second, Start.AddMinutes(3)));
        var resolved = await moderator.OneAsync(one => Text(one, "status") == "resolved", "the incident is resolved");
        Assert.Equal(Start.AddMinutes(3), resolved.GetProperty("resolved_at").GetDateTimeOffset());
        await AuditedAsync(moderator, incident, "incident.resolved");

        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "over", "over", Start.AddMinutes(4)));
        var reopened = await moderator.OneAsync(one => Text(one, "status") == "open", "the incident is open again");
        Assert.Equal(Id(incident), Id(reopened));
        Assert.Equal(JsonValueKind.Null, reopened.GetProperty("resolved_at").ValueKind);
        await AuditedAsync(moderator, incident, "incident.reopened");
    }

    [Fact]
    public async Task An_incident_that_somebody_works_on_is_told_and_left_alone()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "hands");
        var alert = Messages.Fired(Guid.CreateVersion7(), "hands", "hands", Start);
        await world.TellAsync(alert);
        var incident = await moderator.OneAsync(_ => true, "the incident is open");
        await moderator.UpdateAsync(Id(incident), new { status = "investigating" });

        await world.TellAsync(Messages.Resolved(alert, Start.AddMinutes(2)));
        await Eventually.TrueAsync(
            async () => (await moderator.TimelineAsync(Id(incident), "kinds=action")).Any(entry => Text(entry, "title")!.StartsWith("All alerts have resolved", StringComparison.Ordinal)),
            because: "the end of the alerts is noted");

        Assert.Equal("investigating", Text(await moderator.GetAsync($"{IncidentsClientOf.Path}/{Id(incident)}"), "status"));
    }

    [Fact]
    public async Task An_acknowledged_alert_is_an_acknowledged_incident()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "notice");
        var alert = Messages.Fired(Guid.CreateVersion7(), "notice", "notice", Start);
        await world.TellAsync(alert);
        await world.TellAsync(Messages.Acknowledged(alert, Start.AddMinutes(2)));

        await moderator.OneAsync(
            incident => incident.GetProperty("acknowledged_at").ValueKind is not JsonValueKind.Null && incident.GetProperty("acknowledged_at").GetDateTimeOffset() == Start.AddMinutes(2),
            "the incident is acknowledged at the time of the alert's acknowledgement");
    }

    [Fact]
    public async Task Messages_in_the_wrong_order_and_twice_come_to_the_same_end()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "order");
        var alert = Messages.Fired(Guid.CreateVersion7(), "order", "order", Start);
        var attempt = Messages.Attempted(alert, Start.AddSeconds(1));
        for (var time = 0; time < 2; time++)
        {
            await world.TellAsync(attempt);
            await world.TellAsync(Messages.Resolved(alert, Start.AddMinutes(5)));
            await world.TellAsync(Messages.Acknowledged(alert, Start.AddMinutes(2)));
        }

        // Each kind of message has a queue of its own: seeing the effect of the one that follows shows that these were handled.
        var marker = Messages.Fired(Guid.CreateVersion7(), "order-marker", "marker", Start);
        await world.TellAsync(marker);
        await world.TellAsync(Messages.Resolved(marker, Start.AddMinutes(1)));
        using var other = await world.AsAsync(Role.Moderator, "order-marker");
        await other.OneAsync(one => Text(one, "status") == "resolved", "messages sent later were handled");

        await world.TellAsync(alert);
        await world.TellAsync(alert);

        var incident = await moderator.OneAsync(one => Text(one, "status") == "resolved", "the incident is resolved at once");
        Assert.Equal(Start.AddMinutes(5), incident.GetProperty("resolved_at").GetDateTimeOffset());
        Assert.Equal(Start.AddMinutes(2), incident.GetProperty("acknowledged_at").GetDateTimeOffset());
        await Eventually.TrueAsync(
            async () => (await moderator.TimelineAsync(Id(incident), "kinds=alert,notification")).Select(entry => Text(entry, "title")).SequenceEqual(
                ["Failed logins fired", "Telling webhook that the alert is firing: accepted", "Failed logins acknowledged", "Failed logins resolved"]),
            because: "each of the four facts is on the timeline once");
    }

    [Fact]
    public async Task The_same_group_key_in_two_realms_is_two_incidents()
    {
        using var one = await world.AsAsync(Role.Moderator, "same-one");
        using var other = await world.AsAsync(Role.Moderator, "same-other");
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "same-one", "same", Start));
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "same-other", "same", Start));

        Assert.NotEqual(Id(await one.OneAsync(_ => true, "one realm has its incident")), Id(await other.OneAsync(_ => true, "the other has its own")));
    }

    [Fact]
    public async Task A_quiet_incident_is_closed_once_by_one_of_two_replicas_and_the_next_alert_opens_another()
    {
        await using var quiet = await TestWorld.CreateAsync();
        (string, string)[] settings = [("INCIDENT_AUTO_CLOSE_MINUTES", "0.02"), ("INCIDENT_CLOSE_INTERVAL_SECONDS", "1")];
        var replicas = await Task.WhenAll(quiet.StartAsync("Incidents", "incidentsdb", settings), quiet.StartAsync("Incidents", "incidentsdb", settings));
        await using var db = await quiet.OpenAsync("incidentsdb");
        using var moderator = new IncidentsClientOf(await quiet.ClientAsync(replicas[0], Role.Moderator, "quiet"));
        var alerts = Enumerable.Range(0, 10).Select(number => Messages.Fired(Guid.CreateVersion7(), "quiet", $"group {number}", Start)).ToList();
        foreach (var alert in alerts)
        {
            await IncidentsWorld.TellAsync(db, alert);
            await IncidentsWorld.TellAsync(db, Messages.Resolved(alert, Start.AddMinutes(1)));
        }

        await Eventually.TrueAsync(async () => (await moderator.ListAsync("status=closed")).Count == 10, because: "all incidents are closed");

        foreach (var incident in await moderator.ListAsync())
        {
            Assert.Equal(Start.AddMinutes(1), incident.GetProperty("resolved_at").GetDateTimeOffset());
            Assert.Single(await moderator.TimelineAsync(Id(incident), "kinds=action"), entry => Text(entry, "title")!.StartsWith("Closed", StringComparison.Ordinal));
        }

        await IncidentsWorld.TellAsync(db, Messages.Fired(Guid.CreateVersion7(), "quiet", "group 0", Start.AddMinutes(2)));
        await Eventually.TrueAsync(async () => (await moderator.ListAsync("status=open")).Count == 1, because: "a new incident is open");
        Assert.Equal(11, (await moderator.ListAsync()).Count);
        using var metrics = TestWorld.Anonymous(replicas[0]);
        using var answer = await metrics.GetAsync(new Uri("metrics", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Contains("incidents_open", await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Killed_in_the_middle_of_its_work_it_opens_each_incident_once()
    {
        await using var fragile = await TestWorld.CreateAsync();
        var first = await fragile.StartAsync("Incidents", "incidentsdb");
        await using var db = await fragile.OpenAsync("incidentsdb");
        var alerts = Enumerable.Range(0, 100).Select(number => Messages.Fired(Guid.CreateVersion7(), "fragile", $"group {number}", Start)).ToList();
        await Task.WhenAll(alerts.Select(alert => IncidentsWorld.TellAsync(db, alert)));
        await Eventually.TrueAsync(
            async () => await db.FindAsync($"select count(*) from incidents", row => row.GetInt64(0), TestContext.Current.CancellationToken) > 0, because: "it has begun");
        await first.KillAsync();

        var second = await fragile.StartAsync("Incidents", "incidentsdb");

        using var moderator = new IncidentsClientOf(await fragile.ClientAsync(second, Role.Moderator, "fragile"));
        await Eventually.TrueAsync(async () => (await moderator.ListAsync("limit=500")).Count == 100, because: "every alert has its incident");
        await Eventually.TrueAsync(
            async () => await db.FindAsync(
                $"select count(*) from timeline_entries where title like 'incident.opened%' and incident_id is not null", row => row.GetInt64(0), TestContext.Current.CancellationToken) == 100,
            because: "every opening is audited once");
        Assert.Equal(100, (await moderator.ListAsync("limit=500")).Count);
    }

    [Fact]
    public async Task An_incident_of_the_platform_itself_belongs_to_those_who_see_all_realms()
    {
        using var admin = await world.AsAsync(Role.Admin, Realm.All);
        using var moderator = await world.AsAsync(Role.Moderator, "platform-onlooker");
        // Long before anything that other tests look at: it is on the timeline of every realm.
        var then = Start.AddDays(-2);
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), Realm.All, "health/postgres", then));
        await world.TellAsync(new HealthChanged(Realm.All, "postgres", "postgres", HealthState.Healthy, HealthState.Unhealthy, "Connection refused", then.AddSeconds(1)));

        var incident = await IncidentsClientOf.WaitAsync(
            async () => (await admin.ListAsync("limit=500")).Where(one => Text(one, "group_key") == "health/postgres").Cast<JsonElement?>().FirstOrDefault(), "the incident is open");
        await Eventually.TrueAsync(async () => (await admin.TimelineAsync(Id(incident), "kinds=health")).Count(entry => Text(entry, "source") == "postgres") == 1, because: "the change of health is on the timeline once");
        using var answer = await moderator.SendAsync(HttpMethod.Get, $"{IncidentsClientOf.Path}/{Id(incident)}");
        Assert.Equal(HttpStatusCode.Forbidden, answer.StatusCode);
    }

    private static async Task AuditedAsync(IncidentsClientOf moderator, JsonElement incident, string action) => await Eventually.TrueAsync(
        async () => (await moderator.TimelineAsync(Id(incident), "kinds=audit")).Any(entry =>
            Text(entry, "title")!.StartsWith(action, StringComparison.Ordinal) && Text(entry, "source") == "system:incidents"),
        because: $"{action} is audited");

    private static Guid Id(JsonElement incident) => incident.GetProperty("id").GetGuid();

    private static string? Text(JsonElement json, string field) => json.GetProperty(field).GetString();
}
