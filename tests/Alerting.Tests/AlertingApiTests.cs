using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>Rules and alerts over HTTP: shapes, mistakes, roles and realms.</summary>
public sealed class AlertingApiTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_new_platform_has_the_default_rules_and_the_detections_and_restores_them()
    {
        using var admin = world.Client(Role.Admin, "*");
        var rules = (await world.GetAsync("api/v1/monitoring/rules", admin)).GetProperty("items").EnumerateArray().Where(rule => rule.GetProperty("realm").GetString() == "*").ToList();
        Assert.Equal(
            [("api_errors", 10, 60, "medium"), ("auth_failures", 5, 300, "high"), ("drift_detected", 1, 3600, "high")],
            rules.Where(rule => !rule.GetProperty("labels").TryGetProperty("mitre_attack", out _)).Select(rule => (rule.GetProperty("name").GetString(), rule.GetProperty("threshold").GetInt32(), rule.GetProperty("window_seconds").GetInt32(), rule.GetProperty("severity").GetString())).Order());
        Assert.Equal(15, rules.Count(rule => rule.GetProperty("labels").TryGetProperty("mitre_attack", out _)));

        var drift = $"api/v1/monitoring/rules/{rules.Single(rule => rule.GetProperty("name").GetString() == "drift_detected").GetProperty("id").GetString()}";
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(world.Moderator, HttpMethod.Delete, drift));
        Assert.Equal(HttpStatusCode.NoContent, await StatusAsync(admin, HttpMethod.Delete, drift));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(admin, HttpMethod.Get, drift));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(world.Moderator, HttpMethod.Post, "api/v1/monitoring/rules/restore-defaults"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(admin, HttpMethod.Post, "api/v1/monitoring/rules/restore-defaults"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(admin, HttpMethod.Get, drift));
    }

    [Fact]
    public async Task A_rule_with_several_mistakes_is_answered_with_all_of_them_and_not_stored()
    {
        var (status, problem) = await PostAsync("api/v1/monitoring/alerts", new { name = "", threshold = 0, window_seconds = 90_000, group_by = (string[])["tags.a", "ip", "tags.a"], severity = "loud" });

        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Equal(
            ["group_by[1]", "group_by[2]", "match", "name", "severity", "threshold", "window_seconds"],
            problem.GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal));
        Assert.Equal(0, await world.CountAsync($"select count(*) from rules where name = ''"));
    }

    [Fact]
    public async Task A_change_made_from_an_old_version_and_a_name_that_is_taken_are_conflicts()
    {
        var rule = await world.CreateRuleAsync("edited", new { level = "error" });
        var path = $"api/v1/monitoring/rules/{rule.GetProperty("id").GetString()}";
        object Change(int version) => new { name = "edited", match = new { level = "error" }, threshold = 7, window_seconds = 60, severity = "low", version };

        using var first = await world.Moderator.PutAsJsonAsync(path, Change(1), Ct);
        using var second = await world.Moderator.PutAsJsonAsync(path, Change(1), Ct);
        var (taken, _) = await PostAsync("api/v1/monitoring/rules", new { name = "edited", match = new { level = "error" }, threshold = 7, window_seconds = 60, severity = "low" });

        Assert.Equal((HttpStatusCode.OK, HttpStatusCode.Conflict, HttpStatusCode.Conflict), (first.StatusCode, second.StatusCode, taken));
        Assert.Equal(2, (await world.GetAsync(path)).GetProperty("version").GetInt32());
    }

    [Fact]
    public async Task An_alert_raised_by_hand_is_acknowledged_and_resolved_once_each()
    {
        object body = new { name = "test_alert", severity = "warning", message = "Test alert", source = "manual", labels = new { metric = "conversion_rate" }, annotations = new { runbook = "Check conversion funnel" } };
        var (created, answer) = await PostAsync("monitoring/alerts/create/", body);
        var (repeated, same) = await PostAsync("api/v1/monitoring/alerts/create", body);
        var alert = answer.GetProperty("data");
        var id = alert.GetProperty("id").GetString();

        Assert.Equal((HttpStatusCode.Created, HttpStatusCode.OK), (created, repeated));
        Assert.Equal(id, same.GetProperty("data").GetProperty("id").GetString());
        Assert.Equal(("medium", "firing", "conversion_rate"), (alert.GetProperty("severity").GetString(), alert.GetProperty("state").GetString(), alert.GetProperty("labels").GetProperty("metric").GetString()));

        var (_, acknowledged) = await PostAsync($"monitoring/alerts/{id}/acknowledge/", new { reason = "mine" });
        var (again, _) = await PostAsync($"api/v1/monitoring/alerts/{id}/acknowledge", new { reason = "mine, too" });
        Assert.Equal(("acknowledged", "mine", "key:moderator"), (
            acknowledged.GetProperty("data").GetProperty("state").GetString(),
            acknowledged.GetProperty("data").GetProperty("acknowledged").GetProperty("reason").GetString(),
            acknowledged.GetProperty("data").GetProperty("acknowledged").GetProperty("by").GetString()));
        Assert.Equal(HttpStatusCode.OK, again);

        Assert.Equal(HttpStatusCode.OK, await StatusAsync(world.Moderator, HttpMethod.Post, $"monitoring/alerts/{id}/resolve/"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(world.Moderator, HttpMethod.Post, $"monitoring/alerts/{id}/resolve/"));
        Assert.Equal(HttpStatusCode.Conflict, await StatusAsync(world.Moderator, HttpMethod.Post, $"monitoring/alerts/{id}/acknowledge/"));
        Assert.Equal(["firing", "resolved"], (await world.Receiver.WaitAsync("conversion_rate", 2)).Select(one => one.Status));
    }

    [Fact]
    public async Task An_alert_resolved_by_hand_stays_so_while_its_events_go_on()
    {
        await world.CreateRuleAsync("nagging", new { tags = new { action = "nag" } }, threshold: 2, window: 600);
        await world.TellAsync(TestEvent.Action(world.Start, "nag"), TestEvent.Action(world.Start, "nag"));
        await world.Receiver.WaitAsync("nagging", 1);
        var alert = Assert.Single(await world.AlertsAsync("nagging"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(world.Moderator, HttpMethod.Post, $"monitoring/alerts/{alert.GetProperty("id").GetString()}/resolve"));

        var handled = await world.CountAsync($"select count(*) from inbox");
        await world.TellAsync(TestEvent.Action(world.Start.AddSeconds(20), "nag"));
        await world.HandledAsync(handled + 1);

        Assert.Equal("resolved", Assert.Single(await world.AlertsAsync("nagging")).GetProperty("state").GetString());
    }

    [Fact]
    public async Task Lists_are_filtered_and_paged()
    {
        for (var i = 0; i < 5; i++)
        {
            await PostAsync("monitoring/alerts/create", new { name = "paged", severity = i == 0 ? "critical" : "low", labels = new { number = $"{i}" } });
        }

        var seen = new List<string>();
        string? cursor = null;
        do
        {
            var page = await world.GetAsync($"api/v1/monitoring/alerts?name=paged&state=open&limit=2{(cursor is null ? "" : $"&cursor={cursor}")}");
            seen.AddRange(page.GetProperty("items").EnumerateArray().Select(alert => alert.GetProperty("labels").GetProperty("number").GetString()!));
            cursor = page.GetProperty("next_cursor").GetString();
        }
        while (cursor is not null);

        Assert.Equal(["4", "3", "2", "1", "0"], seen);
        Assert.Single((await world.GetAsync("api/v1/monitoring/alerts/?name=paged&severity=critical")).GetProperty("items").EnumerateArray());
        Assert.Empty((await world.GetAsync("api/v1/monitoring/alerts?name=paged&to=2020-01-01T00:00:00Z")).GetProperty("items").EnumerateArray());
        Assert.Equal(HttpStatusCode.BadRequest, await StatusAsync(world.Moderator, HttpMethod.Get, "api/v1/monitoring/alerts?state=loud&from=yesterday&cursor=x"));
    }

    [Theory]
    [InlineData("GET", "api/v1/monitoring/alerts", Role.User)]
    [InlineData("POST", "api/v1/monitoring/alerts", Role.Moderator)]
    [InlineData("POST", "monitoring/alerts/create/", Role.Moderator)]
    [InlineData("POST", "api/v1/monitoring/alerts/0198a000-0000-7000-8000-000000000001/acknowledge", Role.Moderator)]
    [InlineData("POST", "api/v1/monitoring/alerts/0198a000-0000-7000-8000-000000000001/resolve", Role.Moderator)]
    [InlineData("GET", "api/v1/monitoring/rules", Role.Moderator)]
    [InlineData("DELETE", "api/v1/monitoring/rules/0198a000-0000-7000-8000-000000000001", Role.Moderator)]
    [InlineData("GET", "api/v1/monitoring/notifications", Role.Moderator)]
    [InlineData("GET", "internal/alerts/counts", Role.Service)]
    public async Task Who_may(string method, string path, Role least)
    {
        foreach (var role in Enum.GetValues<Role>())
        {
            using var client = world.Client(role);
            var status = await StatusAsync(client, new HttpMethod(method), path);
            var reads = method == "GET" && least != Role.Service;
            var may = least == Role.Service ? role == Role.Service : role is Role.User or Role.Moderator or Role.Admin ? role >= least : role == Role.Service && reads;
            Assert.True(may == (status != HttpStatusCode.Forbidden), $"{role}: {status}");
        }

        using var nobody = Testing.TestWorld.Anonymous(world.Service);
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(nobody, new HttpMethod(method), path));
    }

    [Theory]
    [InlineData("GET", "api/v1/monitoring/alerts?stat=open", "\"stat\" is not known at this address; state is probably meant. Known here are state, severity, name, from, to, cursor, limit and realm.")]
    [InlineData("GET", "api/v1/monitoring/notifications?alert=x", "\"alert\" is not known at this address; alert_id is probably meant.")]
    [InlineData("GET", "api/v1/monitoring/on-call/users?lmit=1", "\"lmit\" is not known at this address; limit is probably meant. Known here are cursor, limit and realm.")]
    [InlineData("POST", "api/v1/monitoring/rule-groups?dry_run=true", "\"dry_run\" is not known at this address. Known here is realm only.")]
    [InlineData("PUT", "api/v1/monitoring/routing?vresion=1", "\"vresion\" is not known at this address; version is probably meant. Known here are version and realm.")]
    [InlineData("GET", "alertmanager/api/v2/alerts?stat=open", null)]
    [InlineData("GET", "prometheus/api/v1/rules?stat=open", null)]
    [InlineData("GET", "api/v1/monitoring/alerts?State=open&REALM=default", null)]
    public async Task A_misspelt_parameter_is_refused_except_where_other_systems_protocols_are_spoken(string method, string path, string? sentence)
    {
        using var admin = world.Client(Role.Admin);
        using var answer = await admin.SendAsync(new HttpRequestMessage(new HttpMethod(method), new Uri(path, UriKind.Relative)), Ct);

        Assert.Equal(sentence is null ? HttpStatusCode.OK : HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.StartsWith(sentence ?? "", sentence is null ? "" : (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_realm_neither_sees_nor_touches()
    {
        var (_, answer) = await PostAsync("monitoring/alerts/create/", new { name = "private", severity = "low" });
        var alert = $"api/v1/monitoring/alerts/{answer.GetProperty("data").GetProperty("id").GetString()}";
        var rule = $"api/v1/monitoring/rules/{(await world.CreateRuleAsync("private", new { level = "error" })).GetProperty("id").GetString()}";
        using var stranger = world.Client(Role.Admin, "elsewhere");

        using var refused = await stranger.GetAsync(new Uri(alert, UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        // Which realm it is that the alert belongs to is not told.
        Assert.Equal("Missing: another realm, to which this belongs. The request reaches the realm \"elsewhere\" only.", (await refused.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("detail").GetString());
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(stranger, HttpMethod.Post, $"{alert}/resolve"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(stranger, HttpMethod.Post, $"{alert}/acknowledge"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(stranger, HttpMethod.Get, rule));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(stranger, HttpMethod.Delete, rule));
        Assert.Empty((await world.GetAsync("api/v1/monitoring/alerts", stranger)).GetProperty("items").EnumerateArray());
        Assert.Empty((await world.GetAsync("api/v1/monitoring/notifications", stranger)).GetProperty("items").EnumerateArray());
        Assert.DoesNotContain((await world.GetAsync("api/v1/monitoring/rules", stranger)).GetProperty("items").EnumerateArray(), one => one.GetProperty("name").GetString() == "private");
    }

    [Fact]
    public async Task Counts_are_those_of_the_realm_that_is_asked_for()
    {
        using var owner = world.Client(Role.Moderator, "counted");
        using var created = await owner.PostAsJsonAsync("monitoring/alerts/create/", new { name = "one", severity = "low" }, Ct);
        using var other = await owner.PostAsJsonAsync("monitoring/alerts/create/", new { name = "over", severity = "low" }, Ct);
        var over = (await other.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("data").GetProperty("id").GetString();
        using var resolved = await owner.PostAsync(new Uri($"monitoring/alerts/{over}/resolve/", UriKind.Relative), null, Ct);
        Assert.True(resolved.IsSuccessStatusCode);
        using var service = world.Client(Role.Service, "*");

        var counts = await world.GetAsync("internal/alerts/counts?realm=counted", service);

        Assert.Equal(1, counts.GetProperty("active").GetInt32());
    }

    [Fact]
    public async Task Old_history_goes_and_what_is_open_stays()
    {
        var (_, answer) = await PostAsync("monitoring/alerts/create/", new { name = "ancient", severity = "low", labels = new { n = "1" } });
        await PostAsync("monitoring/alerts/create/", new { name = "ancient", severity = "low", labels = new { n = "2" } });
        var id = Guid.Parse(answer.GetProperty("data").GetProperty("id").GetString()!);
        await world.Receiver.WaitAsync("ancient", 2);
        await StatusAsync(world.Moderator, HttpMethod.Post, $"monitoring/alerts/{id}/resolve");
        await world.Receiver.WaitAsync("ancient", 3);
        await using (var age = world.Db.CreateCommand("""
            with aged as (update alerts set resolved_at = now() - interval '31 days' where id = $1)
            update notifications set created_at = now() - interval '31 days' where $1 = any(alert_ids)
            """))
        {
            age.Parameters.Add(new() { Value = id });
            await age.ExecuteNonQueryAsync(Ct);
        }

        // A process cleans up as soon as it starts.
        await using var second = await world.StartAsync();

        await Testing.Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from notifications where {id} = any(alert_ids)") == 0, because: "the old notifications are gone");
        Assert.Equal("2", Assert.Single(await world.AlertsAsync("ancient")).GetProperty("labels").GetProperty("n").GetString());
    }

    private async Task<(HttpStatusCode Status, JsonElement Body)> PostAsync(string path, object body)
    {
        using var answer = await world.Moderator.PostAsJsonAsync(path, body, Ct);
        return (answer.StatusCode, await answer.Content.ReadFromJsonAsync<JsonElement>(Ct));
    }

    private static async Task<HttpStatusCode> StatusAsync(HttpClient client, HttpMethod method, string path)
    {
        using var request = new HttpRequestMessage(method, path);
        using var answer = await client.SendAsync(request, Ct);
        return answer.StatusCode;
    }
}
