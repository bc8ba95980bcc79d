using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>Users, schedules, overrides and policies over HTTP.</summary>
public sealed class OnCallApiTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private const string Users = "api/v1/monitoring/on-call/users";
    private const string Schedules = "api/v1/monitoring/schedules";
    private const string Policies = "api/v1/monitoring/escalation-policies";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_week_of_two_people_with_a_stand_in_shows_its_shifts_and_who_is_on_call()
    {
        using var admin = world.Client(Role.Admin, "weekly");
        await MakeUserAsync(admin, "anna");
        await MakeUserAsync(admin, "bob");
        var (created, schedule) = await SendAsync(admin, HttpMethod.Post, Schedules, new
        {
            name = "primary",
            time_zone = "Europe/Berlin",
            layers = new[] { new { name = "week", every = 1, unit = "weeks", handover = "09:00", weekday = "monday", starts_on = "2026-03-02", participants = (string[])["anna", "bob"] } },
        });
        Assert.Equal(HttpStatusCode.Created, created);
        var id = schedule.GetProperty("data").GetProperty("id").GetString();

        var shifts = (await world.GetAsync($"{Schedules}/{id}/shifts?from=2026-03-01T00:00:00Z&to=2026-04-06T00:00:00Z", admin));
        Assert.Equal(
            ["2026-03-01T00:00:00 ", "2026-03-02T08:00:00 anna", "2026-03-09T08:00:00 bob", "2026-03-16T08:00:00 anna", "2026-03-23T08:00:00 bob", "2026-03-30T07:00:00 anna"],
            shifts.GetProperty("shifts").EnumerateArray().Select(shift => $"{shift.GetProperty("from").GetDateTimeOffset():s} {shift.GetProperty("user").GetString()}"));
        Assert.Single(shifts.GetProperty("gaps").EnumerateArray());

        var now = DateTimeOffset.UtcNow;
        var before = (await world.GetAsync("api/v1/monitoring/on-call", admin)).GetProperty("items")[0].GetProperty("user").GetString();
        var other = before == "anna" ? "bob" : "anna";
        var (overridden, made) = await SendAsync(admin, HttpMethod.Post, $"{Schedules}/{id}/overrides", new { user = other, to = now.AddHours(2), reason = "dentist" });
        Assert.Equal(HttpStatusCode.Created, overridden);
        var standIn = (await world.GetAsync("api/v1/monitoring/on-call", admin)).GetProperty("items")[0];
        Assert.Equal((other, "override", $"The {other}"), (standIn.GetProperty("user").GetString(), standIn.GetProperty("layer").GetString(), standIn.GetProperty("display_name").GetString()));

        var number = made.GetProperty("data").GetProperty("id").GetString();
        Assert.Equal(HttpStatusCode.NoContent, (await SendAsync(admin, HttpMethod.Delete, $"{Schedules}/{id}/overrides/{number}", null)).Status);
        Assert.Equal(HttpStatusCode.NotFound, (await SendAsync(admin, HttpMethod.Delete, $"{Schedules}/{id}/overrides/{number}", null)).Status);
        Assert.Equal(before, (await world.GetAsync("api/v1/monitoring/on-call", admin)).GetProperty("items")[0].GetProperty("user").GetString());
    }

    [Fact]
    public async Task Every_fault_of_a_schedule_is_named_with_its_place_and_nothing_is_stored()
    {
        var (status, problem) = await SendAsync(world.Moderator, HttpMethod.Post, Schedules, new
        {
            name = "two words",
            time_zone = "Berlin",
            layers = new object[]
            {
                new { unit = "months", every = 0, handover = "9 o'clock", starts_on = "soon", participants = Array.Empty<string>() },
                new { unit = "days", weekday = "monday", starts_on = "2026-03-02", ends_on = "2026-03-01", participants = (string[])["x"], restrictions = new[] { new { from = "08:00", to = "24:30", weekdays = (string[])["1"] } } },
            },
        });

        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Equal(
            ["layers[0].every", "layers[0].handover", "layers[0].participants", "layers[0].starts_on", "layers[0].unit", "layers[1].ends_on",
             "layers[1].restrictions[0].to", "layers[1].restrictions[0].weekdays", "layers[1].weekday", "name", "time_zone"],
            problem.GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task What_is_named_must_exist_and_cannot_be_deleted()
    {
        using var admin = world.Client(Role.Admin, "naming");
        var (missing, problem) = await SendAsync(admin, HttpMethod.Post, Policies, Policy("p", ("user", "nobody"), ("schedule", "none"), ("channel", "smoke")));
        Assert.Equal(HttpStatusCode.BadRequest, missing);
        Assert.Equal(
            ["steps[0].targets[0].name", "steps[0].targets[1].name", "steps[0].targets[2].name"],
            problem.GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal));

        var user = await MakeUserAsync(admin, "dora");
        // "webhook" is a channel of settings: every realm reaches it.
        var (created, policy) = await SendAsync(admin, HttpMethod.Post, Policies, Policy("p", ("user", "dora"), ("channel", "webhook")));
        Assert.Equal(HttpStatusCode.Created, created);
        var (inUse, why) = await SendAsync(admin, HttpMethod.Delete, $"{Users}/{user}", null);
        Assert.Equal(HttpStatusCode.Conflict, inUse);
        Assert.Contains("policy p", why.GetProperty("detail").GetString(), StringComparison.Ordinal);

        Assert.Equal(HttpStatusCode.NoContent, (await SendAsync(admin, HttpMethod.Delete, $"{Policies}/{policy.GetProperty("data").GetProperty("id").GetString()}", null)).Status);
        Assert.Equal(HttpStatusCode.NoContent, (await SendAsync(admin, HttpMethod.Delete, $"{Users}/{user}", null)).Status);
        Assert.Equal(0, await world.CountAsync($"select count(*) from channels where realm = 'naming'"));
    }

    [Fact]
    public async Task Where_a_contact_method_leads_is_a_channel_kept_by_a_change_and_never_shown()
    {
        using var admin = world.Client(Role.Admin, "secrets");
        var user = await MakeUserAsync(admin, "erik");
        var shown = await world.GetAsync($"{Users}/{user}", admin);
        Assert.DoesNotContain("receiver.example", shown.GetRawText(), StringComparison.Ordinal);
        Assert.Equal("phone", shown.GetProperty("contact_methods")[0].GetProperty("name").GetString());

        // What was read is written back, with another method beside it: where "phone" leads is not in it, and stays.
        var (changed, answer) = await SendAsync(admin, HttpMethod.Put, $"{Users}/{user}", new
        {
            name = "erik",
            time_zone = "UTC",
            contact_methods = new object[] { new { name = "phone", type = "webhook" }, new { name = "mail", type = "email", target = "erik@example.com", settings = new { smarthost = "127.0.0.1:25", from = "a@example.com", tls = "none" } } },
            version = 1,
        });
        Assert.True(changed == HttpStatusCode.OK, answer.GetRawText());
        Assert.Equal(2, await world.CountAsync($"select count(*) from channels where realm = 'secrets' and name like 'on-call/erik/%'"));

        var (stale, _) = await SendAsync(admin, HttpMethod.Put, $"{Users}/{user}", new { name = "erik", contact_methods = new[] { new { name = "phone", type = "webhook" } }, version = 1 });
        var (renamed, _) = await SendAsync(admin, HttpMethod.Put, $"{Users}/{user}", new { name = "eric", contact_methods = new[] { new { name = "phone", type = "webhook" } } });
        Assert.Equal((HttpStatusCode.Conflict, HttpStatusCode.BadRequest), (stale, renamed));

        var (wrong, problem) = await SendAsync(admin, HttpMethod.Post, Users, new { name = "faulty", contact_methods = new object[] { new { name = "a", type = "email", target = "not an address" }, new { name = "b", type = "pigeon" } } });
        Assert.Equal(HttpStatusCode.BadRequest, wrong);
        Assert.Contains("contact_methods[1].type", problem.GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_realm_sees_nothing_and_a_moderator_makes_no_users()
    {
        using var admin = world.Client(Role.Admin, "here");
        using var foreign = world.Client(Role.Admin, "there");
        var user = await MakeUserAsync(admin, "frida");

        Assert.Equal(HttpStatusCode.Forbidden, (await SendAsync(foreign, HttpMethod.Get, $"{Users}/{user}", null)).Status);
        Assert.Equal(HttpStatusCode.Forbidden, (await SendAsync(foreign, HttpMethod.Delete, $"{Users}/{user}", null)).Status);
        Assert.Empty((await world.GetAsync(Users, foreign)).GetProperty("items").EnumerateArray());
        Assert.Equal(HttpStatusCode.Forbidden, (await SendAsync(world.Moderator, HttpMethod.Post, Users, new { name = "x" })).Status);
        Assert.Equal(1, await world.CountAsync($"select count(*) from on_call_plans where realm = 'here'"));
    }

    private async Task<string> MakeUserAsync(HttpClient admin, string name)
    {
        var (status, body) = await SendAsync(admin, HttpMethod.Post, Users, new
        {
            name,
            display_name = $"The {name}",
            time_zone = "Europe/Berlin",
            contact_methods = new[] { new { name = "phone", type = "webhook", target = "https://receiver.example/hook" } },
        });
        Assert.True(status == HttpStatusCode.Created, body.GetRawText());
        return body.GetProperty("data").GetProperty("id").GetString()!;
    }

    private static object Policy(string name, params (string Type, string Name)[] targets) =>
        new { name, steps = new[] { new { targets = targets.Select(target => new { type = target.Type, name = target.Name }) } } };

    private static async Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(HttpClient client, HttpMethod method, string path, object? body)
    {
        using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative)) { Content = body is null ? null : JsonContent.Create(body) };
        using var answer = await client.SendAsync(request, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        return (answer.StatusCode, text.Length > 0 ? JsonElement.Parse(text) : default);
    }
}
