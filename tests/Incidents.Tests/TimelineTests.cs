using System.Net.Http.Json;
using System.Text.Json;
using Platform.Contracts;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Incidents.Tests;

/// <summary>Timelines over the real Metrics service.</summary>
public sealed class TimelineTests(IncidentsWorld world)
{
    private static DateTimeOffset Start { get; } = new(DateTimeOffset.UtcNow.AddMinutes(-30).Ticks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond, TimeSpan.Zero);

    [Fact]
    public async Task Everything_that_happened_around_an_incident_is_on_one_axis_with_source_and_link()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "axis", "key:mo");
        var alert = Messages.Fired(Guid.CreateVersion7(), "axis", "axis", Start);
        await IngestAsync("axis", [.. Enumerable.Range(-4, 5).Select(second => Login(Start.AddSeconds(second)))]);
        await IngestAsync("axis", [Login(Start.AddMinutes(-61)), Login(Start.AddSeconds(-1), "198.51.100.1")]);
        await world.TellAsync(alert);
        await world.TellAsync(Messages.Attempted(alert, Start.AddSeconds(1)));
        await world.TellAsync(new HealthChanged(Realm.All, "redis", "redis", HealthState.Healthy, HealthState.Degraded, "Connection refused", Start.AddSeconds(2)));
        await world.TellAsync(new HealthChanged("elsewhere", "target", "http", HealthState.Healthy, HealthState.Unhealthy, "503", Start.AddSeconds(2)));
        await world.TellAsync(new Audited("axis", "key:eve", "user", "access.denied", "route", "/api/v1/monitoring/rules", AuditOutcome.Denied, Start.AddSeconds(3), Count: 4));
        await world.TellAsync(Messages.Acknowledged(alert, Start.AddSeconds(4)));
        var incident = await moderator.OneAsync(one => one.GetProperty("acknowledged_at").ValueKind is not JsonValueKind.Null, "the alert is acknowledged");
        await world.TellAsync(new Audited("axis", "key:anna", "moderator", "alert.acknowledged", "alert", alert.AlertId.ToString(), AuditOutcome.Success, Start.AddSeconds(5)));

        var expected = new[]
        {
            "event Login failed", "event Login failed", "event Login failed", "event Login failed", "event Login failed",
            "alert Failed logins fired", "notification Telling webhook that the alert is firing: accepted", "health redis went from healthy to degraded",
            "audit access.denied route /api/v1/monitoring/rules", "alert Failed logins acknowledged", $"audit alert.acknowledged alert {alert.AlertId}",
            "action Incident opened by the alert Failed logins", $"audit incident.opened incident {Id(incident)}",
        };
        var shown = "";
        await Eventually.TrueAsync(
            async () => (shown = string.Join('\n', (await moderator.TimelineAsync(Id(incident))).Select(entry => $"{Text(entry, "kind")} {Text(entry, "title")}"))) == string.Join('\n', expected),
            because: "the whole story is told");

        var entries = await moderator.TimelineAsync(Id(incident));
        Assert.All(entries, entry => Assert.NotEqual("", Text(entry, "source")));
        Assert.All(entries, entry => Assert.StartsWith("/", Text(entry, "link"), StringComparison.Ordinal));
        Assert.Equal("203.0.113.9", Text(entries[0].GetProperty("data"), "ip_address"));
        Assert.Equal("4", Text(entries.Single(entry => Text(entry, "source") == "key:eve").GetProperty("data"), "count"));
        Assert.Equal(6, (await moderator.TimelineAsync(Id(incident), "kinds=event&events=all")).Count);
    }

    [Fact]
    public async Task Events_are_found_however_many_tags_an_alert_names()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "tagged");
        var tags = Enumerable.Range(10, 25).ToDictionary(number => $"t{number}", number => $"v{number}");
        await IngestAsync("tagged", [Tagged(tags), Tagged(new(tags) { ["t10"] = "another" })]);
        await world.TellAsync(Messages.Fired(Guid.CreateVersion7(), "tagged", "tagged", Start) with { EventTags = tags });
        var incident = await moderator.OneAsync(_ => true, "the incident is open");

        var page = await moderator.GetAsync($"{IncidentsClientOf.Path}/{Id(incident)}/timeline?kinds=event");

        Assert.Empty(page.GetProperty("missing").EnumerateArray());
        Assert.Equal("v10", Text(Assert.Single(page.GetProperty("items").EnumerateArray()).GetProperty("data"), "t10"));

        static object Tagged(Dictionary<string, string> tags) => new { event_type = "log", source = "sshd", message = "Login failed", timestamp = Start, tags };
    }

    [Fact]
    public async Task Users_do_not_see_the_audit_records_of_others_on_their_timeline()
    {
        using var user = await world.AsAsync(Role.User, "discreet", "key:anna");
        using var moderator = await world.AsAsync(Role.Moderator, "discreet", "key:mo");
        var id = await user.OpenAsync();
        await world.TellAsync(new Audited("discreet", "key:eve", "user", "access.denied", "route", "/x", AuditOutcome.Denied, DateTimeOffset.UtcNow.AddMinutes(-1)));
        await Eventually.TrueAsync(async () => (await moderator.TimelineAsync(id, "kinds=audit")).Count == 2, because: "a moderator sees the denial");

        var record = Assert.Single(await user.TimelineAsync(id, "kinds=audit"));
        Assert.StartsWith("incident.created", Text(record, "title"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("asc", 1)]
    [InlineData("asc", 7)]
    [InlineData("asc", 50)]
    [InlineData("desc", 7)]
    [InlineData("desc", 13)]
    public async Task Pages_put_together_are_the_whole(string order, int limit)
    {
        var realm = $"pages-{order}-{limit}";
        using var moderator = await world.AsAsync(Role.Moderator, realm);
        var alert = Messages.Fired(Guid.CreateVersion7(), realm, realm, Start);
        // Crowds at few instants, and entries of this service at the same instants.
        await IngestAsync(realm, [.. Enumerable.Range(0, 60).Select(number => Login(Start.AddSeconds(number % 4)))]);
        await world.TellAsync(alert);
        for (var attempt = 1; attempt <= 12; attempt++)
        {
            await world.TellAsync(Messages.Attempted(alert, Start.AddSeconds(attempt % 4), attempt));
        }

        var incident = await moderator.OneAsync(_ => true, "the incident is open");
        // 60 events, 12 attempts, the alert, the opening, and its audit record. Health of the platform is on every timeline, also that of other tests.
        const string Kinds = "kinds=event,alert,notification,action,audit";
        await Eventually.TrueAsync(async () => (await moderator.TimelineAsync(Id(incident), $"limit=500&{Kinds}")).Count == 75, because: "everything is on the timeline");
        var whole = await moderator.TimelineAsync(Id(incident), $"limit=500&order={order}&{Kinds}");

        var read = new List<Guid>();
        var path = $"{IncidentsClientOf.Path}/{Id(incident)}/timeline?order={order}&limit={limit}&{Kinds}";
        for (var cursor = ""; cursor is not null;)
        {
            var page = await moderator.GetAsync($"{path}&cursor={cursor}");
            Assert.True(page.GetProperty("items").GetArrayLength() <= limit);
            read.AddRange(page.GetProperty("items").EnumerateArray().Select(Id));
            cursor = page.GetProperty("next_cursor").GetString();
        }

        Assert.Equal(whole.Select(Id), read);
        Assert.Equal(whole.Select(Id).Skip(5).Take(limit), (await moderator.TimelineAsync(Id(incident), $"order={order}&limit={limit}&offset=5&{Kinds}")).Select(Id));
    }

    [Fact]
    public async Task Pages_of_one_reading_do_not_show_what_happened_after_the_first()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "still");
        var id = await moderator.OpenAsync();
        using (await moderator.SendAsync(HttpMethod.Post, $"{IncidentsClientOf.Path}/{id}/notes", new { text = "Before" }))
        {
        }

        var first = await moderator.GetAsync($"{IncidentsClientOf.Path}/{id}/timeline?kinds=action&limit=1");
        using (await moderator.SendAsync(HttpMethod.Post, $"{IncidentsClientOf.Path}/{id}/notes", new { text = "After" }))
        {
        }

        var second = await moderator.GetAsync($"{IncidentsClientOf.Path}/{id}/timeline?kinds=action&limit=10&cursor={first.GetProperty("next_cursor").GetString()}");

        Assert.Equal("Before", Text(Assert.Single(second.GetProperty("items").EnumerateArray()), "message"));
        Assert.Equal(3, (await moderator.TimelineAsync(id, "kinds=action")).Count);
    }

    [Fact]
    public async Task Without_Metrics_the_timeline_shows_the_rest_and_says_what_is_missing()
    {
        await using var alone = await TestWorld.CreateAsync();
        var incidents = await alone.StartAsync(
            "Incidents", "incidentsdb", ("services__metrics__http__0", "http://127.0.0.1:9"), ("INCIDENT_TIMELINE_EVENTS_TIMEOUT_SECONDS", "1"));
        using var moderator = new IncidentsClientOf(await alone.ClientAsync(incidents, Role.Moderator));
        var id = await moderator.OpenAsync();

        var page = await moderator.GetAsync($"{IncidentsClientOf.Path}/{id}/timeline");

        Assert.Equal("events", Assert.Single(page.GetProperty("missing").EnumerateArray()).GetString());
        Assert.Contains("Metrics", Text(page, "missing_reason"), StringComparison.Ordinal);
        Assert.Contains(page.GetProperty("items").EnumerateArray(), entry => Text(entry, "title") == "Incident opened");
    }

    private static object Login(DateTimeOffset at, string address = "203.0.113.9") => new
    {
        event_type = "log",
        source = "sshd",
        message = "Login failed",
        level = "warning",
        timestamp = at,
        tags = new { action = "login", outcome = "failure", user_id = "root", ip_address = address },
    };

    private async Task IngestAsync(string realm, object[] events)
    {
        using var client = await world.World.ClientAsync(world.Metrics, Role.User, realm, Scopes.Ingest);
        using var answer = await client.PostAsJsonAsync(new Uri("/api/v1/monitoring/events", UriKind.Relative), events, TestContext.Current.CancellationToken);
        answer.EnsureSuccessStatusCode();
    }

    private static Guid Id(JsonElement json) => json.GetProperty("id").GetGuid();

    private static string? Text(JsonElement json, string field) => json.GetProperty(field).GetString();
}
