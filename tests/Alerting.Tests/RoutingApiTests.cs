using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Routing, silences and why over HTTP. Each test has a realm.</summary>
public sealed class RoutingApiTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_configuration_is_read_written_exported_and_imported()
    {
        using var admin = world.Client(Role.Admin, "shop");
        Assert.Equal(0, (await world.GetAsync("api/v1/monitoring/routing", admin)).GetProperty("version").GetInt32());

        const string config = """{"route":{"receiver":"team","group_by":["alertname"],"group_wait":"0s"},"receivers":[{"name":"team","channels":["webhook"]}]}""";
        Assert.Equal(HttpStatusCode.OK, (await PutAsync(admin, config, "application/json")).Status);
        using var ask = new HttpRequestMessage(HttpMethod.Get, "api/v1/monitoring/routing") { Headers = { Accept = { new MediaTypeWithQualityHeaderValue("application/yaml") } } };
        using var answer = await admin.SendAsync(ask, Ct);
        var yaml = await answer.Content.ReadAsStringAsync(Ct);
        Assert.Contains("http://channel.invalid/webhook", yaml, StringComparison.Ordinal);

        Assert.Equal(HttpStatusCode.OK, (await PutAsync(admin, yaml, "application/yaml")).Status);
        Assert.Equal(HttpStatusCode.Conflict, (await PutAsync(admin, yaml, "application/yaml", "?version=1")).Status);
        var (status, problem) = await PutAsync(admin, config.Replace("webhook", "nowhere", StringComparison.Ordinal), "application/json");
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Contains("nowhere", problem.GetProperty("errors").GetProperty("config")[0].GetString(), StringComparison.Ordinal);

        var stored = await world.GetAsync("api/v1/monitoring/routing", admin);
        Assert.Equal(("shop", 2, "webhook"), (stored.GetProperty("realm").GetString(), stored.GetProperty("version").GetInt32(), stored.GetProperty("config").GetProperty("receivers")[0].GetProperty("channels")[0].GetString()));
        Assert.Equal(2, (await world.GetAsync("api/v1/monitoring/routing/history", admin)).GetProperty("items").GetArrayLength());
    }

    [Fact]
    public async Task Receivers_of_an_Alertmanager_file_become_channels()
    {
        using var admin = world.Client(Role.Admin, "import");
        var (status, problem) = await PutAsync(admin, """
            global: {resolve_timeout: 5m}
            route: {receiver: ops}
            receivers:
            - name: ops
              webhook_configs: [{url: 'http://hooks.example/x'}]
              slack_configs: [{api_url: 'http://hooks.example/slack', channel: '#ops', title: '{{ .Status }}'}]
            """, "application/yaml");

        Assert.True(status == HttpStatusCode.OK, problem.ToString());
        var ignored = problem.GetProperty("data").GetProperty("ignored").EnumerateArray().Select(one => one.GetString()!).ToList();
        Assert.Equal(2, ignored.Count);
        Assert.StartsWith("line 1: global.resolve_timeout is not taken over.", ignored[0], StringComparison.Ordinal);
        Assert.StartsWith("line 6: receiver \"ops\": slack_configs: title is not taken over", ignored[1], StringComparison.Ordinal);
        Assert.False((await world.GetAsync("api/v1/monitoring/routing", admin)).TryGetProperty("ignored", out _));
        Assert.Equal("ops/webhook", (await world.GetAsync("api/v1/monitoring/routing", admin)).GetProperty("config").GetProperty("receivers")[0].GetProperty("channels")[0].GetString());
        Assert.Contains((await world.GetAsync("api/v1/monitoring/channels", admin)).GetProperty("items").EnumerateArray(), channel => channel.GetProperty("name").GetString() == "ops/webhook");
    }

    [Fact]
    public async Task Whatever_an_imported_file_does_to_channels_is_recorded_and_nothing_else()
    {
        const string realm = "recorded";
        using var admin = world.Client(Role.Admin, realm);
        // The relay takes messages away as soon as they are committed: a copy of each stays here.
        await world.Db.ExecuteAsync($"""
            create table recorded (like outbox);
            create function keep_message() returns trigger language plpgsql as 'begin insert into recorded select new.*; return new; end';
            create trigger keep_message before insert on outbox for each row execute function keep_message();
            """, Ct);
        const string file = """
            route: {receiver: ops}
            receivers:
            - name: ops
              webhook_configs: [{url: 'http://hooks.example/x'}]
              slack_configs: [{api_url: 'http://hooks.example/slack'}]
            """;

        Assert.Equal(HttpStatusCode.OK, (await PutAsync(admin, file, "application/yaml")).Status);
        Assert.Equal(["channel.created ops/slack slack", "channel.created ops/webhook webhook", "routing.changed"], await RecordedAsync());

        Assert.Equal(HttpStatusCode.OK, (await PutAsync(admin, file.Replace("/slack'", "/other'", StringComparison.Ordinal), "application/yaml")).Status);
        Assert.Equal(["channel.changed ops/slack slack", "routing.changed"], await RecordedAsync());

        // What is as it was is no change, and what is refused never happened.
        Assert.Equal(HttpStatusCode.OK, (await PutAsync(admin, file.Replace("/slack'", "/other'", StringComparison.Ordinal), "application/yaml")).Status);
        Assert.Equal(["routing.changed"], await RecordedAsync());
        Assert.Equal(HttpStatusCode.BadRequest, (await PutAsync(admin, file.Replace("http://hooks.example/slack", "no address", StringComparison.Ordinal).Replace("/x'", "/y'", StringComparison.Ordinal), "application/yaml")).Status);
        Assert.Empty(await RecordedAsync());
        await world.Db.ExecuteAsync($"drop trigger keep_message on outbox", Ct);

        // Since the last call.
        async Task<IReadOnlyList<string>> RecordedAsync()
        {
            var bodies = await world.Db.QueryAsync($"delete from recorded where topic = {Audited.Topic} returning convert_from(body, 'UTF8')", row => row.GetString(0), Ct);
            var records = bodies.Select(body => JsonSerializer.Deserialize<Audited>(body, WireJson.Options)!).Where(record => record.Realm == realm).ToList();
            Assert.All(records, record => Assert.Equal(("key:admin", "admin", AuditOutcome.Success), (record.Actor, record.ActorRole, record.Outcome)));
            return [.. records.Select(record => string.Join(' ', [record.Action, .. record.Action.StartsWith("channel", StringComparison.Ordinal) ? [record.Details!["name"], record.Details["kind"]] : (string[])[]])).Order(StringComparer.Ordinal)];
        }
    }

    [Fact]
    public async Task A_silence_is_previewed_made_obeyed_across_a_restart_and_ended()
    {
        using var moderator = world.Client(Role.Moderator, "hush");
        await RaiseAsync(moderator, "hush-before");
        await world.Receiver.WaitAsync("hush-before", 1);
        object body = new { matchers = (string[])["alertname=~\"hush-.*\""], comment = "works", duration = "1h" };

        var preview = await PostAsync(moderator, "api/v1/monitoring/silences/preview", body);
        Assert.Equal((1, 1), (preview.GetProperty("now").GetProperty("count").GetInt32(), preview.GetProperty("before").GetProperty("by_name").GetProperty("hush-before").GetInt32()));
        var silence = await PostAsync(moderator, "api/v1/monitoring/silences", body, HttpStatusCode.Created);
        Assert.Equal(("active", "key:moderator"), (silence.GetProperty("state").GetString(), silence.GetProperty("owner").GetString()));

        await world.Service.KillAsync();
        world.Service = await world.StartAsync();
        var muted = await RaiseAsync(moderator, "hush-after");
        var suppressed = (await Eventually.GetAsync<object>(
            async () => (await world.GetAsync("api/v1/monitoring/alerts?state=suppressed", moderator)).GetProperty("items") is var items && items.GetArrayLength() == 2 ? items : null, because: "both are shown as suppressed"));
        Assert.All(((JsonElement)suppressed).EnumerateArray(), alert => Assert.Equal("silence", alert.GetProperty("suppressed_by")[0].GetProperty("kind").GetString()));
        await RaiseAsync(moderator, "loud");
        await world.Receiver.WaitAsync("\"loud\"", 1);
        Assert.Empty(world.Receiver.Of("hush-after"));

        Assert.Equal(HttpStatusCode.NoContent, (await moderator.DeleteAsync(new Uri($"api/v1/monitoring/silences/{silence.GetProperty("id").GetString()}", UriKind.Relative), Ct)).StatusCode);
        await world.Receiver.WaitAsync("hush-after", 1);
        var again = await world.Receiver.WaitAsync("hush-before", 2);
        Assert.Equal("silence ended", again[1].Body.GetProperty("notification_reason").GetString());
        Assert.Equal("expired", (await world.GetAsync("api/v1/monitoring/silences", moderator)).GetProperty("items")[0].GetProperty("state").GetString());
        using var late = await moderator.PutAsJsonAsync(new Uri($"api/v1/monitoring/silences/{silence.GetProperty("id").GetString()}", UriKind.Relative), body, Ct);
        Assert.Equal(HttpStatusCode.Conflict, late.StatusCode);

        var why = await world.GetAsync($"api/v1/monitoring/alerts/{muted}/why", moderator);
        Assert.Equal(["suppressed", "routed", "released"], why.GetProperty("log").EnumerateArray().Select(entry => entry.GetProperty("what").GetString()));
        Assert.Equal("first notification", why.GetProperty("notifications")[0].GetProperty("reason").GetString());
        Assert.Equal("high", why.GetProperty("groups")[0].GetProperty("receiver").GetString());
    }

    [Fact]
    public async Task A_silence_that_takes_everything_or_has_no_end_or_no_reason_is_refused()
    {
        var (status, problem) = await SendAsync(world.Moderator, HttpMethod.Post, "api/v1/monitoring/silences", new { matchers = (string[])["a=~\".*\""] });

        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Equal(["comment", "ends_at", "matchers"], problem.GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_silence_is_previewed_for_realms_in_reach_only()
    {
        foreach (var (realm, expected) in new[] { ("elsewhere", HttpStatusCode.Forbidden), ("*", HttpStatusCode.Forbidden), ("default", HttpStatusCode.OK) })
        {
            Assert.Equal(expected, (await SendAsync(world.Moderator, HttpMethod.Post, "api/v1/monitoring/silences/preview", new { matchers = (string[])["a=1"], realm })).Status);
        }
    }

    [Fact]
    public async Task The_simulator_tells_where_an_alert_would_go_and_what_would_keep_it_quiet()
    {
        using var admin = world.Client(Role.Admin, "try");
        await PutAsync(admin, """
            route: {receiver: team, group_by: [alertname], routes: [{matchers: ['severity="low"'], receiver: mail, mute_time_intervals: [always]}]}
            receivers: [{name: team, channels: [webhook]}, {name: mail, channels: [webhook]}]
            time_intervals: [{name: always, time_intervals: [{years: ['2000:3000']}]}]
            """, "application/yaml");

        var critical = await PostAsync(admin, "api/v1/monitoring/routing/simulate", new { labels = new { alertname = "Down", severity = "critical" } });
        var low = await PostAsync(admin, "api/v1/monitoring/routing/simulate", new { labels = new { alertname = "Down", severity = "low" } });

        Assert.Equal((true, "team", "0s"), (critical.GetProperty("told").GetBoolean(), critical.GetProperty("routes")[0].GetProperty("receiver").GetString(), critical.GetProperty("routes")[0].GetProperty("first_notification_after").GetString()));
        Assert.Equal((false, "always", "severity=\"low\"", "30s"), (
            low.GetProperty("told").GetBoolean(), low.GetProperty("routes")[0].GetProperty("muted_by").GetString(),
            low.GetProperty("routes")[0].GetProperty("because")[0].GetString(), low.GetProperty("routes")[0].GetProperty("first_notification_after").GetString()));
    }

    [Fact]
    public async Task An_acknowledgement_with_an_end_pages_again()
    {
        var id = await RaiseAsync(world.Moderator, "returns");
        await world.Receiver.WaitAsync("returns", 1);
        Assert.Equal(HttpStatusCode.BadRequest, (await SendAsync(world.Moderator, HttpMethod.Post, $"api/v1/monitoring/alerts/{id}/acknowledge", new { @for = "soon" })).Status);

        await PostAsync(world.Moderator, $"api/v1/monitoring/alerts/{id}/acknowledge", new { @for = "1s" });

        Assert.Equal("acknowledgement by key:moderator timed out", (await world.Receiver.WaitAsync("returns", 2))[1].Body.GetProperty("notification_reason").GetString());
        Assert.Equal("firing", Assert.Single(await world.AlertsAsync("returns")).GetProperty("state").GetString());
    }

    private static async Task<string> RaiseAsync(HttpClient client, string name) =>
        (await PostAsync(client, "api/v1/monitoring/alerts/create", new { name, severity = "high", message = name }, HttpStatusCode.Created)).GetProperty("id").GetString()!;

    private static async Task<JsonElement> PostAsync(HttpClient client, string path, object body, HttpStatusCode expected = HttpStatusCode.OK)
    {
        var (status, answer) = await SendAsync(client, HttpMethod.Post, path, body);
        Assert.True(status == expected, $"{status}: {answer}");
        return answer.GetProperty("data");
    }

    private static async Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(HttpClient client, HttpMethod method, string path, object body)
    {
        using var request = new HttpRequestMessage(method, path) { Content = JsonContent.Create(body) };
        using var answer = await client.SendAsync(request, Ct);
        return (answer.StatusCode, await answer.Content.ReadFromJsonAsync<JsonElement>(Ct));
    }

    private static async Task<(HttpStatusCode Status, JsonElement Body)> PutAsync(HttpClient client, string text, string type, string query = "")
    {
        using var content = new StringContent(text, Encoding.UTF8, type);
        using var answer = await client.PutAsync(new Uri($"api/v1/monitoring/routing{query}", UriKind.Relative), content, Ct);
        return (answer.StatusCode, await answer.Content.ReadFromJsonAsync<JsonElement>(Ct));
    }
}
