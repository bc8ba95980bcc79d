using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>The doors that other systems' senders know: Alertmanager's API with the real amtool and Prometheus, PagerDuty's events, webhooks.</summary>
public sealed class DoorTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private const string Pushed = "alertmanager/api/v2/alerts";
    private const string Silences = "alertmanager/api/v2/silences";
    private const string Enqueue = "integrations/pagerduty/v2/enqueue";
    private const string Keys = "api/v1/monitoring/integration-keys";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_pushed_alert_is_found_as_it_was_sent_goes_on_when_it_is_repeated_and_ends_when_its_sender_says_so()
    {
        var labels = new Dictionary<string, string> { ["alertname"] = "DiskFull", ["severity"] = "warning", ["host"] = "a" };
        var start = DateTimeOffset.UtcNow.AddMinutes(-1);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await PostAsync(Pushed, new[] { new { labels, annotations = new { summary = $"{i}" }, startsAt = start, generatorURL = "http://p/g" } })).Status);
        }

        var shown = Assert.Single(await ListAsync("filter=alertname%3D%22DiskFull%22"));
        Assert.Equal(("warning", "2", "active", "http://p/g", 3), (
            shown.GetProperty("labels").GetProperty("severity").GetString(), shown.GetProperty("annotations").GetProperty("summary").GetString(),
            shown.GetProperty("status").GetProperty("state").GetString(), shown.GetProperty("generatorURL").GetString(), shown.GetProperty("labels").EnumerateObject().Count()));
        Assert.NotEmpty(shown.GetProperty("receivers").EnumerateArray());
        Assert.Equal("medium", Assert.Single(await world.AlertsAsync("DiskFull")).GetProperty("severity").GetString());
        Assert.Empty(await ListAsync("filter=host%3D%22b%22"));
        Assert.Empty(await ListAsync("filter=alertname%3D%22DiskFull%22&active=false"));

        for (var i = 0; i < 2; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await PostAsync(Pushed, new[] { new { labels, startsAt = start, endsAt = DateTimeOffset.UtcNow.AddSeconds(-1) } })).Status);
        }

        Assert.Empty(await ListAsync("filter=alertname%3D%22DiskFull%22"));
        Assert.Equal("resolved", Assert.Single(await world.AlertsAsync("DiskFull")).GetProperty("state").GetString());
    }

    [Fact]
    public async Task What_a_sender_no_longer_repeats_is_over()
    {
        await PostAsync(Pushed, new[] { new { labels = new { alertname = "Forgotten" }, endsAt = DateTimeOffset.UtcNow.AddMinutes(5) } });
        await PostAsync(Pushed, new[] { new { labels = new { alertname = "Repeated" }, endsAt = DateTimeOffset.UtcNow.AddMinutes(5) } });
        // Time passes; one of them is repeated before it is up.
        await world.Db.ExecuteAsync($"update alerts set expires_at = now() + interval '1 second' where name = 'Repeated'", Ct);
        await PostAsync(Pushed, new[] { new { labels = new { alertname = "Repeated" }, endsAt = DateTimeOffset.UtcNow.AddMinutes(6) } });
        Assert.Equal(1, await world.CountAsync($"select count(*) from alerts where name = 'Repeated' and expires_at > now() + interval '5 minutes'"));
        await world.Db.ExecuteAsync($"update alerts set expires_at = now() where name = 'Forgotten'", Ct);

        await Eventually.TrueAsync(
            async () => Assert.Single(await world.AlertsAsync("Forgotten")).GetProperty("state").GetString() == "resolved", because: "the alert that nobody repeats resolves");
    }

    [Fact]
    public async Task What_a_person_resolved_stays_so_until_its_next_episode()
    {
        var start = DateTimeOffset.UtcNow.AddMinutes(-2);
        Task PushAsync(DateTimeOffset at) => PostAsync(Pushed, new[] { new { labels = new { alertname = "Nagging" }, startsAt = at, endsAt = DateTimeOffset.UtcNow.AddMinutes(5) } });
        await PushAsync(start);
        var id = Assert.Single(await world.AlertsAsync("Nagging")).GetProperty("id").GetString();
        using var resolved = await world.Moderator.PostAsync(new Uri($"api/v1/monitoring/alerts/{id}/resolve", UriKind.Relative), null, Ct);

        await PushAsync(start);
        Assert.Single(await world.AlertsAsync("Nagging"));
        await PushAsync(start.AddMinutes(1));
        Assert.Equal(2, (await world.AlertsAsync("Nagging")).Count);
    }

    [Fact]
    public async Task What_is_wrong_is_named_in_a_bare_text_and_what_is_right_beside_it_is_taken()
    {
        var (status, body) = await PostAsync(Pushed, new object[]
        {
            new { labels = new { alertname = "Right" } },
            new { labels = new { } },
            new { labels = new Dictionary<string, object> { ["alertname"] = "Count", ["number"] = 5 } },
            new { labels = new { alertname = "Backwards" }, startsAt = "2026-01-02T00:00:00Z", endsAt = "2026-01-01T00:00:00Z" },
        });

        Assert.Equal((HttpStatusCode.BadRequest, JsonValueKind.String), (status, body.ValueKind));
        Assert.All((string[])["[1].labels", "[2].labels.number", "[3]: endsAt lies before startsAt"], part => Assert.Contains(part, body.GetString(), StringComparison.Ordinal));
        Assert.Single(await world.AlertsAsync("Right"));
        Assert.Empty(await world.AlertsAsync("Backwards"));
        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync(Pushed, new { })).Status);
        using var bad = await world.Moderator.GetAsync(new Uri($"{Pushed}?filter=nonsense", UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.BadRequest, bad.StatusCode);
    }

    [Fact]
    public async Task Alerts_of_the_platform_are_out_of_reach_whatever_the_labels_of_a_push()
    {
        using var raised = await world.Moderator.PostAsJsonAsync("api/v1/monitoring/alerts/create", new { name = "OursAlone", severity = "high", message = "The original", source = "manual" }, Ct);
        Assert.Equal(HttpStatusCode.Created, raised.StatusCode);
        var ours = Assert.Single(await world.AlertsAsync("OursAlone"));
        var labels = ours.GetProperty("labels").EnumerateObject().ToDictionary(label => label.Name, label => label.Value.GetString());

        await PostAsync(Pushed, new[] { new { labels, endsAt = DateTimeOffset.UtcNow.AddSeconds(-1) } });
        await PostAsync(Pushed, new[] { new { labels, annotations = new { summary = "A fake" } } });

        var both = await world.AlertsAsync("OursAlone");
        Assert.Equal(["api", "manual"], both.Select(alert => alert.GetProperty("source").GetString()).Order());
        var still = both.Single(alert => alert.GetProperty("source").GetString() == "manual");
        Assert.Equal((ours.GetProperty("id").GetString(), "firing", ours.GetProperty("annotations").GetRawText()), (still.GetProperty("id").GetString(), still.GetProperty("state").GetString(), still.GetProperty("annotations").GetRawText()));
    }

    [Fact]
    public async Task A_realm_neither_sees_nor_ends_the_alerts_of_another()
    {
        using var foreign = world.Client(Role.Moderator, "abroad");
        await PostAsync(Pushed, new[] { new { labels = new { alertname = "Mine" } } });
        await PostAsync(Pushed, new[] { new { labels = new { alertname = "Mine" }, endsAt = DateTimeOffset.UtcNow.AddSeconds(-1) } }, foreign);

        Assert.Single(await ListAsync("filter=alertname%3DMine"));
        using var answer = await foreign.GetAsync(new Uri($"{Pushed}?filter=alertname%3DMine", UriKind.Relative), Ct);
        Assert.Equal("[]", await answer.Content.ReadAsStringAsync(Ct));
    }

    [Fact]
    public async Task However_many_alerts_are_open_each_is_listed_once_in_the_order_of_the_label_sets()
    {
        const int each = 1_001;
        // As they are once they were told. The platform's own may have the labels of a pushed one.
        await world.Db.ExecuteAsync($"""
            insert into alerts (id, realm, fingerprint, group_key, name, severity, source, state, labels, group_labels, annotations, event_tags, starts_at, fired_at, why)
            select gen_random_uuid(), realm, left(md5(n::text), 16), realm || '/' || n, 'Crowd', 'low', source, 'firing', jsonb_build_object('alertname', 'Crowd', 'n', n::text), v.empty, v.empty, v.empty, now(), now(), v.empty
            from generate_series(1, {each}) n, (select *, jsonb_build_object() as empty from (values ('crowd', 'api'), ('crowd', 'query'), ('crowd-too', 'api')) r (realm, source)) v
            """, Ct);
        using var moderator = world.Client(Role.Moderator, "crowd");
        using var all = world.Client(Role.Admin, Realm.All);

        var own = (await ListAsync("", moderator)).Select(alert => alert.GetProperty("fingerprint").GetString()!).ToList();
        Assert.Equal(2 * each, own.Count);
        Assert.Equal(own.Order(StringComparer.Ordinal), own);
        Assert.All(own.CountBy(fingerprint => fingerprint), one => Assert.Equal(2, one.Value));
        Assert.Equal(3 * each, (await ListAsync("filter=alertname%3DCrowd", all)).Count);
        using var answer = await moderator.GetAsync(new Uri($"{Pushed}/groups", UriKind.Relative), Ct);
        Assert.Equal(2 * each, (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).EnumerateArray().Sum(group => group.GetProperty("alerts").GetArrayLength()));
        await world.Db.ExecuteAsync($"delete from alerts where name = 'Crowd'", Ct);
    }

    [Fact]
    public async Task A_changed_silence_goes_on_or_ends_and_begins_anew_and_is_found_and_sorted_as_in_Alertmanager()
    {
        using var moderator = world.Client(Role.Moderator, "hushes");
        var now = DateTimeOffset.FromUnixTimeSeconds(DateTimeOffset.UtcNow.ToUnixTimeSeconds());
        async Task<string> SaveAsync(string? id, string node, int hours, string by = "anna", bool isEqual = true, int startsIn = 0, HttpStatusCode expected = HttpStatusCode.OK)
        {
            var (status, body) = await PostAsync(Silences, new
            {
                id,
                matchers = new[] { new { name = "node", value = node, isRegex = false, isEqual }, new { name = "job", value = "x", isRegex = false, isEqual = true } },
                startsAt = now.AddHours(startsIn),
                endsAt = now.AddHours(hours),
                createdBy = by,
                comment = "c",
                annotations = new { ticket = $"T{hours}" },
            }, moderator);
            Assert.True(status == expected, $"{status}: {body}");
            return status == HttpStatusCode.OK ? body.GetProperty("silenceID").GetString()! : "";
        }

        var first = await SaveAsync(null, "a", 1);
        Assert.Equal(first, await SaveAsync(first, "a", 2, "bea"));
        var prolonged = await SilenceAsync(first, moderator);
        Assert.Equal(("active", "bea", "T2", now.AddHours(2)), (
            prolonged.GetProperty("status").GetProperty("state").GetString(), prolonged.GetProperty("createdBy").GetString(),
            prolonged.GetProperty("annotations").GetProperty("ticket").GetString(), prolonged.GetProperty("endsAt").GetDateTimeOffset()));

        var second = await SaveAsync(first, "b", 4);
        Assert.NotEqual(first, second);
        var ended = await SilenceAsync(first, moderator);
        Assert.Equal(("expired", "a"), (ended.GetProperty("status").GetProperty("state").GetString(), ended.GetProperty("matchers")[0].GetProperty("value").GetString()));
        var third = await SaveAsync(first, "a", 3);
        Assert.DoesNotContain(third, (string[])[first, second]);
        var moved = await SaveAsync(await SaveAsync(null, "c", 9, startsIn: 6), "c", 9, startsIn: 7);
        var notEqual = await SaveAsync(null, "a", 5, isEqual: false);
        var later = await SaveAsync(null, "c", 9, startsIn: 8);
        await SaveAsync(Guid.NewGuid().ToString(), "a", 1, expected: HttpStatusCode.NotFound);

        Assert.Equal([third, second, notEqual, moved, later, first], await IdsAsync(""));
        Assert.Equal([third, first], await IdsAsync($"?filter={Uri.EscapeDataString("node=\"a\"")}"));
        Assert.Equal([notEqual], await IdsAsync($"?filter={Uri.EscapeDataString("node!=\"a\"")}"));
        Assert.Empty(await IdsAsync($"?filter={Uri.EscapeDataString("node=~\"a\"")}"));
        // What is no yes is no.
        Assert.Equal([first], await IdsAsync("?active=x&pending=no&expired=YES"));

        async Task<IReadOnlyList<string>> IdsAsync(string query)
        {
            using var answer = await moderator.GetAsync(new Uri(Silences + query, UriKind.Relative), Ct);
            return [.. (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).EnumerateArray().Select(one => one.GetProperty("id").GetString()!)];
        }
    }

    [Fact]
    public async Task Names_of_labels_are_any_text_and_what_they_name_is_told_filtered_and_silenced()
    {
        var labels = new Dictionary<string, string> { ["alertname"] = "AnyText", ["severity"] = "critical", ["host.name"] = "a", ["größe, \"in\" cm = ?"] = "1=2" };
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(Pushed, new[] { new { labels } })).Status);
        await world.Receiver.WaitAsync("AnyText", 1);

        Assert.Single(await ListAsync($"filter={Uri.EscapeDataString("\"host.name\"=\"a\"")}"));
        Assert.Single(await ListAsync($"filter={Uri.EscapeDataString("{\"größe, \\\"in\\\" cm = ?\" = \"1=2\"}")}"));
        Assert.Empty(await ListAsync($"filter={Uri.EscapeDataString("\"host.name\"!=\"a\",alertname=AnyText")}"));
        var (status, made) = await PostAsync(Silences, new
        {
            matchers = new[] { new { name = "größe, \"in\" cm = ?", value = "1=2", isRegex = false } },
            startsAt = DateTimeOffset.UtcNow,
            endsAt = DateTimeOffset.UtcNow.AddHours(1),
            createdBy = "a",
            comment = "c",
        });
        Assert.True(status == HttpStatusCode.OK, made.ToString());
        await Eventually.TrueAsync(
            async () => Assert.Single(await ListAsync("filter=alertname%3DAnyText")).GetProperty("status").GetProperty("silencedBy") is var by && by.GetArrayLength() == 1 && by[0].GetString() == made.GetProperty("silenceID").GetString(),
            because: "the silence takes the alert");
        Assert.Equal("größe, \"in\" cm = ?", (await SilenceAsync(made.GetProperty("silenceID").GetString()!, world.Moderator)).GetProperty("matchers")[0].GetProperty("name").GetString());
    }

    [Fact]
    public async Task A_muted_route_is_shown_and_suppresses_an_alert_in_its_own_group_only()
    {
        using var admin = world.Client(Role.Admin, "nights");
        using var routing = new StringContent("""
            route: {receiver: day, group_by: [alertname], routes: [{matchers: ['alertname=~".+"'], receiver: night, mute_time_intervals: [always], continue: true}, {matchers: ['alertname=~".+"'], receiver: day}]}
            receivers: [{name: day, channels: [webhook]}, {name: night, channels: [webhook]}]
            time_intervals: [{name: always, time_intervals: [{years: ['2000:3000']}]}]
            """, System.Text.Encoding.UTF8, "application/yaml");
        using var put = await admin.PutAsync(new Uri("api/v1/monitoring/routing", UriKind.Relative), routing, Ct);
        Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync(Ct));
        await PostAsync(Pushed, new[] { new { labels = new { alertname = "HalfMuted", severity = "page" } } }, admin);
        // It pages: told at once, by the route that is not muted.
        await world.Receiver.WaitAsync("HalfMuted", 1);

        var status = Assert.Single(await ListAsync("", admin)).GetProperty("status");
        Assert.Equal(("active", "always"), (status.GetProperty("state").GetString(), Assert.Single(status.GetProperty("mutedBy").EnumerateArray()).GetString()));
        Assert.Equal("critical", (await world.GetAsync("api/v1/monitoring/alerts", admin)).GetProperty("items")[0].GetProperty("severity").GetString());
        Assert.Equal(["day active ", "night suppressed always"], await GroupsAsync(""));
        Assert.Equal(["day active "], await GroupsAsync("?muted=false"));

        async Task<IReadOnlyList<string>> GroupsAsync(string query)
        {
            using var answer = await admin.GetAsync(new Uri($"{Pushed}/groups{query}", UriKind.Relative), Ct);
            return [.. (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).EnumerateArray().Select(group =>
            {
                var of = group.GetProperty("alerts")[0].GetProperty("status");
                return $"{group.GetProperty("receiver").GetProperty("name").GetString()} {of.GetProperty("state").GetString()} {string.Join(',', of.GetProperty("mutedBy").EnumerateArray().Select(one => one.GetString()))}";
            })];
        }
    }

    [Fact]
    public async Task Amtool_shows_the_routes_and_tests_them_and_whoever_may_not_read_them_is_shown_none()
    {
        using var user = world.Client(Role.User);
        using var refused = await user.PostAsync(new Uri("alertmanager/-/reload", UriKind.Relative), null, Ct);
        using var reloaded = await world.Moderator.PostAsync(new Uri("alertmanager/-/reload", UriKind.Relative), null, Ct);
        Assert.Equal((HttpStatusCode.Forbidden, HttpStatusCode.OK), (refused.StatusCode, reloaded.StatusCode));
        var shown = await user.GetFromJsonAsync<JsonElement>("alertmanager/api/v2/status", Ct);
        Assert.Equal("", shown.GetProperty("config").GetProperty("original").GetString());
        if (!File.Exists("/usr/bin/amtool"))
        {
            Assert.Skip("amtool is not installed (deploy/native/install.sh --peers).");
        }

        var (_, simulated) = await PostAsync("api/v1/monitoring/routing/simulate", new { labels = new { alertname = "Down", severity = "page" } });
        var routes = simulated.GetProperty("data").GetProperty("routes").EnumerateArray().ToList();
        var receivers = routes.Select(route => route.GetProperty("receiver").GetString()!).ToList();
        Assert.Equal("0s", routes[0].GetProperty("first_notification_after").GetString());
        using var folder = TemporaryFolder.Create("amtool-routes");
        Assert.Equal(string.Join(',', receivers), (await AmtoolAsync(folder, "config", "routes", "test", "alertname=Down", "severity=page")).Trim());
        Assert.All(receivers, receiver => Assert.NotEmpty(receiver));
        Assert.Contains($"receiver: {receivers[0]}", await AmtoolAsync(folder, "config", "routes", "show"), StringComparison.Ordinal);
        Assert.Contains("http://channel.invalid/webhook", await AmtoolAsync(folder, "config", "show"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Amtool_adds_and_queries_alerts_and_adds_queries_and_expires_silences()
    {
        if (!File.Exists("/usr/bin/amtool"))
        {
            Assert.Skip("amtool is not installed (deploy/native/install.sh --peers).");
        }

        using var folder = TemporaryFolder.Create("amtool");
        Assert.Empty(await AmtoolAsync(folder, "alert", "add", "alertname=FromAmtool", "severity=critical", "node=web-1", "--annotation=summary=hello"));
        Assert.Contains("FromAmtool", await AmtoolAsync(folder, "alert", "query", "node=web-1"), StringComparison.Ordinal);
        Assert.DoesNotContain("FromAmtool", await AmtoolAsync(folder, "alert", "query", "node=web-2"), StringComparison.Ordinal);

        Assert.Equal("critical", (await AmtoolAsync(folder, "config", "routes", "test", "severity=critical")).Trim());

        var silence = (await AmtoolAsync(folder, "silence", "add", "node=web-1", "--comment=rebuild", "--duration=1h", "--author=anna")).Trim();
        Assert.True(Guid.TryParse(silence, out _), silence);
        var listed = await AmtoolAsync(folder, "silence", "query", "node=web-1", "-o", "extended");
        Assert.All((string[])[silence, "anna", "rebuild"], part => Assert.Contains(part, listed, StringComparison.Ordinal));
        await Eventually.TrueAsync(
            async () => Assert.Single(await ListAsync("filter=node%3Dweb-1")).GetProperty("status") is var status && status.GetProperty("state").GetString() == "suppressed"
                && status.GetProperty("silencedBy")[0].GetString() == silence,
            because: "the silence takes the alert");

        await AmtoolAsync(folder, "silence", "expire", silence);
        Assert.DoesNotContain(silence, await AmtoolAsync(folder, "silence", "query", "node=web-1"), StringComparison.Ordinal);
        Assert.Contains(silence, await AmtoolAsync(folder, "silence", "query", "--expired", "node=web-1"), StringComparison.Ordinal);
        await Eventually.TrueAsync(
            async () => Assert.Single(await ListAsync("filter=node%3Dweb-1")).GetProperty("status").GetProperty("state").GetString() == "active", because: "the silence is lifted");
    }

    [Fact]
    public async Task A_real_Prometheus_sends_its_alerts_and_their_end()
    {
        if (!PrometheusServer.IsInstalled)
        {
            Assert.Skip("prometheus is not installed (deploy/native/install.sh --peers).");
        }

        using var folder = TemporaryFolder.Create("prometheus-rules");
        var rules = Path.Combine(folder.Path, "rules.yml");
        await File.WriteAllTextAsync(rules, """
            groups:
              - name: g
                interval: 1s
                rules:
                  - alert: FromPrometheus
                    expr: vector(1)
                    labels: {severity: critical, team: core}
                    annotations: {summary: "value {{ $value }}"}
            """, Ct);
        // Read at each request: a ticket lives for a minute.
        var credentials = Path.Combine(folder.Path, "credentials");
        await File.WriteAllTextAsync(credentials, await TicketAsync(Role.User, Scopes.Ingest), Ct);
        await using var prometheus = await PrometheusServer.StartAsync($$"""
            global: {scrape_interval: 1h, evaluation_interval: 1s}
            rule_files: ["{{rules}}"]
            alerting:
              alertmanagers:
                - path_prefix: /alertmanager
                  authorization: {credentials_file: "{{credentials}}"}
                  static_configs: [{targets: ["{{world.Service.Url.Authority}}"]}]
            """, ["--rules.alert.resend-delay=1s"]);

        await world.Receiver.WaitAsync("FromPrometheus", 1);
        var alert = Assert.Single(await ListAsync("filter=alertname%3DFromPrometheus"));
        Assert.Equal(("core", "value 1"), (alert.GetProperty("labels").GetProperty("team").GetString(), alert.GetProperty("annotations").GetProperty("summary").GetString()));

        await File.WriteAllTextAsync(rules, (await File.ReadAllTextAsync(rules, Ct)).Replace("vector(1)", "vector(1) > 2", StringComparison.Ordinal), Ct);
        await File.WriteAllTextAsync(credentials, await TicketAsync(Role.User, Scopes.Ingest), Ct);
        using var reloaded = await prometheus.Client.PostAsync(new Uri("-/reload", UriKind.Relative), null, Ct);
        await Eventually.TrueAsync(
            async () => Assert.Single(await world.AlertsAsync("FromPrometheus")).GetProperty("state").GetString() == "resolved", TimeSpan.FromMinutes(1), "Prometheus tells of the end");
    }

    [Fact]
    public async Task PagerDuty_events_trigger_acknowledge_and_resolve_with_the_key_as_credential()
    {
        using var admin = world.Client(Role.Admin, "paged");
        var (created, made) = await PostAsync("api/v1/monitoring/integration-keys", new { name = "nagios" }, admin);
        Assert.Equal(HttpStatusCode.Created, created);
        var key = made.GetProperty("data").GetProperty("routing_key").GetString()!;
        Assert.Equal(0, await world.CountAsync($"select count(*) from integration_keys where encode(key_hash, 'escape') = {key}"));
        using var anonymous = TestWorld.Anonymous(world.Service);
        object Event(string action, string? dedup, string severity = "critical", string summary = "Disk is full") =>
            new { routing_key = key, event_action = action, dedup_key = dedup, payload = new { summary, source = "db-1", severity, component = "disk", custom_details = new { free = "0%" } } };

        var (first, answer) = await PostAsync(Enqueue, Event("trigger", "disk"), anonymous);
        await PostAsync(Enqueue, Event("trigger", "disk", summary: "Disk is still full"), anonymous);
        Assert.Equal((HttpStatusCode.Accepted, "success", "disk"), (first, answer.GetProperty("status").GetString(), answer.GetProperty("dedup_key").GetString()));
        var alert = Assert.Single((await world.GetAsync("api/v1/monitoring/alerts", admin)).GetProperty("items").EnumerateArray());
        Assert.Equal(("critical", "firing", "db-1"), (alert.GetProperty("severity").GetString(), alert.GetProperty("state").GetString(), alert.GetProperty("labels").GetProperty("source").GetString()));

        Assert.Equal(HttpStatusCode.Accepted, (await PostAsync(Enqueue, Event("acknowledge", "disk"), anonymous)).Status);
        var acknowledged = (await world.GetAsync("api/v1/monitoring/alerts", admin)).GetProperty("items")[0];
        Assert.Equal("integration:nagios", acknowledged.GetProperty("acknowledged").GetProperty("by").GetString());
        Assert.Equal(HttpStatusCode.Accepted, (await PostAsync(Enqueue, Event("resolve", "disk"), anonymous)).Status);
        Assert.Equal(HttpStatusCode.Accepted, (await PostAsync(Enqueue, Event("resolve", "disk"), anonymous)).Status);
        await PostAsync(Enqueue, Event("trigger", "disk"), anonymous);
        Assert.Equal(["firing", "resolved"], (await world.GetAsync("api/v1/monitoring/alerts", admin)).GetProperty("items").EnumerateArray().Select(one => one.GetProperty("state").GetString()!));

        var (wrong, problem) = await PostAsync(Enqueue, Event("trigger", null, severity: "loud", summary: ""), anonymous);
        Assert.Equal((HttpStatusCode.BadRequest, "invalid event", 2), (wrong, problem.GetProperty("status").GetString(), problem.GetProperty("errors").GetArrayLength()));

        var (numbered, named) = await PostAsync(Enqueue, new { routing_key = key, event_action = "trigger", dedup_key = 7, payload = new { summary = "s", source = "s", severity = "info" } }, anonymous);
        Assert.Equal((HttpStatusCode.BadRequest, "'dedup_key' must be a text"), (numbered, Assert.Single(named.GetProperty("errors").EnumerateArray()).GetString()));
        await PostAsync(Enqueue, new
        {
            routing_key = key,
            event_action = "trigger",
            dedup_key = "rich",
            client = "Nagios",
            client_url = "https://nagios.example",
            payload = new { summary = "s", source = "s", severity = "info", @class = new string('c', 300), group = new string('g', 300) },
            links = new[] { new { href = "https://a.example", text = "a" }, new { href = "https://b.example", text = "b" } },
            images = new[] { new { src = "https://i.example" } },
        }, anonymous);
        var rich = (await world.GetAsync("api/v1/monitoring/alerts", admin)).GetProperty("items").EnumerateArray().Single(one => one.GetProperty("labels").GetProperty("dedup_key").GetString() == "rich");
        var (labels, annotations) = (rich.GetProperty("labels"), rich.GetProperty("annotations"));
        Assert.Equal((100, 256, 256), (rich.GetProperty("name").GetString()!.Length, labels.GetProperty("class").GetString()!.Length, labels.GetProperty("group").GetString()!.Length));
        Assert.Equal(("Nagios", "https://nagios.example", "https://a.example"), (annotations.GetProperty("client").GetString(), rich.GetProperty("generator_url").GetString(), annotations.GetProperty("link").GetString()));
        Assert.Equal("https://b.example", JsonElement.Parse(annotations.GetProperty("links").GetString()!)[1].GetProperty("href").GetString());
        Assert.Equal("https://i.example", JsonElement.Parse(annotations.GetProperty("images").GetString()!)[0].GetProperty("src").GetString());

        var id = made.GetProperty("data").GetProperty("id").GetString();
        using var revoked = await admin.DeleteAsync(new Uri($"api/v1/monitoring/integration-keys/{id}", UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.NoContent, revoked.StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync(Enqueue, Event("trigger", "disk"), anonymous)).Status);
    }

    [Fact]
    public async Task No_number_of_revoked_keys_hides_one_that_works()
    {
        using var admin = world.Client(Role.Admin, "keyed");
        await PostAsync(Keys, new { name = "works" }, admin);
        foreach (var name in (string[])["old-1", "old-2"])
        {
            var (_, made) = await PostAsync(Keys, new { name }, admin);
            using var revoked = await admin.DeleteAsync(new Uri($"{Keys}/{made.GetProperty("data").GetProperty("id").GetString()}", UriKind.Relative), Ct);
        }

        var listed = new List<string>();
        string? cursor = null;
        do
        {
            var page = await world.GetAsync($"{Keys}?limit=1{(cursor is null ? "" : $"&cursor={Uri.EscapeDataString(cursor)}")}", admin);
            listed.AddRange(page.GetProperty("items").EnumerateArray().Select(key => key.GetProperty("name").GetString()!));
            cursor = page.GetProperty("next_cursor").GetString();
        }
        while (cursor is not null);

        Assert.Equal(["works", "old-2", "old-1"], listed);
    }

    [Fact]
    public async Task Webhooks_of_Alertmanager_and_of_Grafana_become_alerts_and_end_with_theirs()
    {
        object Webhook(string status) => new
        {
            version = "4",
            groupKey = "{}:{}",
            status,
            receiver = "r",
            orgId = 1,
            title = "[FIRING:1]",
            alerts = new[]
            {
                new
                {
                    status, labels = new { alertname = "FromGrafana", severity = "high" }, annotations = new { summary = "too hot" }, startsAt = "2026-01-15T12:00:00Z",
                    endsAt = status == "firing" ? "0001-01-01T00:00:00Z" : "2026-01-15T12:05:00Z", generatorURL = "http://g", fingerprint = "x", dashboardURL = "http://g/d/1", valueString = "[ value=91 ]",
                },
            },
        };
        Assert.Equal(HttpStatusCode.OK, (await PostAsync("integrations/alertmanager", Webhook("firing"))).Status);
        Assert.Equal(HttpStatusCode.OK, (await PostAsync("integrations/alertmanager", Webhook("firing"))).Status);
        var alert = Assert.Single(await world.AlertsAsync("FromGrafana"));
        Assert.Equal(("firing", "http://g/d/1"), (alert.GetProperty("state").GetString(), alert.GetProperty("annotations").GetProperty("dashboard_url").GetString()));

        Assert.Equal(HttpStatusCode.OK, (await PostAsync("integrations/alertmanager", Webhook("resolved"))).Status);
        Assert.Equal("resolved", Assert.Single(await world.AlertsAsync("FromGrafana")).GetProperty("state").GetString());
        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync("integrations/alertmanager", new { version = "4" })).Status);
    }

    private Task<string> TicketAsync(Role role, Scopes scopes) => world.World.TicketAsync(new Caller("key:prometheus", role, "default", scopes));

    private async Task<string> AmtoolAsync(TemporaryFolder folder, params string[] arguments)
    {
        // A ticket lives for a minute, so each command has its own.
        var config = Path.Combine(folder.Path, "http.yml");
        await File.WriteAllTextAsync(config, $"authorization:\n  credentials: {await TicketAsync(Role.Moderator, Scopes.All)}\n", Ct);
        var start = new ProcessStartInfo("/usr/bin/amtool", [$"--alertmanager.url={new Uri(world.Service.Url, "alertmanager")}", $"--http.config.file={config}", .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["HOME"] = folder.Path;
        using var amtool = Process.Start(start)!;
        var (output, error) = (amtool.StandardOutput.ReadToEndAsync(Ct), amtool.StandardError.ReadToEndAsync(Ct));
        await amtool.WaitForExitAsync(Ct);
        Assert.True(amtool.ExitCode == 0, $"amtool {string.Join(' ', arguments)}: {await error}");
        return await output;
    }

    private static async Task<JsonElement> SilenceAsync(string id, HttpClient by) => await by.GetFromJsonAsync<JsonElement>($"alertmanager/api/v2/silence/{id}", Ct);

    private async Task<IReadOnlyList<JsonElement>> ListAsync(string query, HttpClient? by = null)
    {
        using var answer = await (by ?? world.Moderator).GetAsync(new Uri($"{Pushed}?{query}", UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        return [.. (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).EnumerateArray()];
    }

    private async Task<(HttpStatusCode Status, JsonElement Body)> PostAsync(string path, object body, HttpClient? by = null)
    {
        using var answer = await (by ?? world.Moderator).PostAsJsonAsync(path, body, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        return (answer.StatusCode, text.Length > 0 ? JsonElement.Parse(text) : default);
    }
}
