using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Conditions and detections through the real service: from batches of events to what a receiver holds, with what the database keeps between.</summary>
public sealed class DetectionServiceTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Guessing_at_one_user_from_one_address_is_one_page_with_its_technique_and_what_to_do()
    {
        for (var i = 0; i < 10; i++)
        {
            await world.TellAsync(Login(i, "failure", "anna", "203.0.113.61"));
        }

        var received = Assert.Single(await world.Receiver.WaitAsync("203.0.113.61", 1));

        Assert.Equal("brute_force", received.Label("alertname"));
        Assert.Equal("T1110.001", received.Label("mitre_attack"));
        Assert.Equal("anna", received.Label("user_id"));
        Assert.Equal(world.Start.AddSeconds(9), received.StartsAt);
        Assert.Contains("second factor", received.Body.GetProperty("alerts")[0].GetProperty("annotations").GetProperty("runbook").GetString(), StringComparison.Ordinal);
        var alert = Assert.Single(await world.AlertsAsync("brute_force"));
        Assert.Equal(("10 events within 300 s for user_id anna, ip_address 203.0.113.61", "default/password_guessing:{ip_address=\"203.0.113.61\"}"),
            (alert.GetProperty("annotations").GetProperty("summary").GetString(), alert.GetProperty("group_key").GetString()));
    }

    [Fact]
    public async Task A_spray_in_batches_of_two_replicas_is_one_alert()
    {
        await using var second = await world.StartAsync();
        foreach (var i in Enumerable.Range(0, 15).OrderByDescending(i => i % 4))
        {
            await world.TellAsync(Login(10 * i, "failure", $"user-{i}", "203.0.113.62"));
        }

        var received = Assert.Single(await world.Receiver.WaitAsync("203.0.113.62", 1));

        Assert.Equal("password_spray", received.Label("alertname"));
        Assert.Equal(15, (await world.AlertsAsync("password_spray"))[0].GetProperty("value").GetDouble());
    }

    [Fact]
    public async Task A_refused_second_factor_that_is_accepted_is_critical_also_when_the_success_is_told_first()
    {
        var handled = await world.CountAsync($"select count(*) from inbox");
        await world.TellAsync(Mfa(60, "success", "bert"), Mfa(60, "success", "somebody-else"));
        await world.HandledAsync(handled + 1);
        Assert.Equal(0, await world.CountAsync($"select count(*) from event_windows where 'bert' = any(group_values)"));

        await world.TellAsync([.. Enumerable.Range(0, 5).Select(i => Mfa(10 * i, "denied", "bert"))]);

        var received = await world.Receiver.WaitAsync("\"bert\"", 2);
        Assert.Equal([("mfa_fatigue", "high"), ("mfa_fatigue_accepted", "critical")], received.Select(one => (one.Label("alertname"), one.Label("severity"))).Order());
        Assert.Equal(world.Start.AddSeconds(60), received.Single(one => one.Label("severity") == "critical").StartsAt);
    }

    [Fact]
    public async Task A_role_that_is_used_at_once_is_told_for_the_user_who_got_it()
    {
        await world.TellAsync(Event(0, ("action", "role_assign"), ("outcome", "success"), ("user_id", "admin"), ("target_user_id", "carl"), ("role", "admin")));
        await world.TellAsync(Event(30, ("action", "data_export"), ("outcome", "success"), ("user_id", "carl")), Event(31, ("action", "data_export"), ("outcome", "success"), ("user_id", "dora")));

        var received = Assert.Single(await world.Receiver.WaitAsync("\"carl\"", 1));

        Assert.Equal(("privilege_escalation", "carl"), (received.Label("alertname"), received.Label("user_id")));
        Assert.Empty(world.Receiver.Of("\"dora\""));
    }

    [Fact]
    public async Task Logins_that_are_too_far_apart_are_impossible_travel()
    {
        TestEvent Place(int second, double latitude, double longitude) =>
            Event(second, ("action", "login"), ("outcome", "success"), ("user_id", "emil"), ("latitude", latitude), ("longitude", longitude));
        await world.TellAsync(Place(0, 52.52, 13.405));
        await world.TellAsync(Place(120, 48.857, 2.352));

        var received = Assert.Single(await world.Receiver.WaitAsync("\"emil\"", 1));

        Assert.Equal("impossible_travel", received.Label("alertname"));
        Assert.InRange((await world.AlertsAsync("impossible_travel"))[0].GetProperty("value").GetDouble(), 26_000, 27_000);
    }

    [Fact]
    public async Task An_event_that_does_not_come_any_more_is_an_alert_until_it_comes()
    {
        await CreateAsync(new { name = "backup_missing", match = new { tags = new { action = "backup" } }, window_seconds = 2, group_by = (string[])["tags.host"], severity = "high", condition = new { type = "absence" } });
        var seen = DateTimeOffset.UtcNow;
        TestEvent Backup(DateTimeOffset at) => new(at, "backup", Tags: [("action", "backup"), ("host", "db-17")]);
        await world.TellAsync(Backup(seen));

        var missed = Assert.Single(await world.Receiver.WaitAsync("db-17", 1));
        await world.TellAsync(Backup(DateTimeOffset.UtcNow));
        var received = await world.Receiver.WaitAsync("db-17", 2);

        Assert.Equal(seen.AddSeconds(2).ToUnixTimeMilliseconds(), missed.StartsAt.ToUnixTimeMilliseconds());
        Assert.Equal(["firing", "resolved"], received.Take(2).Select(one => one.Status));
    }

    [Fact]
    public async Task An_event_that_never_came_is_missed_from_the_start_of_its_rule()
    {
        var rule = await CreateAsync(new { name = "never", match = new { tags = new { action = "never" } }, window_seconds = 1, severity = "high", condition = new { type = "absence", from_start = true } });

        var received = Assert.Single(await world.Receiver.WaitAsync("\"never\"", 1));

        Assert.Equal("firing", received.Status);
        Assert.Equal("absence", rule.GetProperty("condition").GetProperty("type").GetString());
    }

    [Fact]
    public async Task A_ratio_counts_what_matches_of_what_there_is()
    {
        await CreateAsync(new
        {
            name = "failing_webhooks",
            match = new { tags = new { outcome = "failure" } },
            window_seconds = 120,
            group_by = (string[])["tags.target"],
            severity = "medium",
            condition = new { type = "ratio", of = new { tags = new { action = "webhook_deliver" } }, at_least = 0.5, minimum = 10 },
        });
        TestEvent[] Deliveries(string target, int good, int bad) =>
            [.. Enumerable.Range(0, good + bad).Select(i => Event(i, ("action", "webhook_deliver"), ("outcome", i < good ? "success" : "failure"), ("target", target)))];
        await world.TellAsync([.. Deliveries("crm", 6, 5), .. Deliveries("erp", 2, 7), .. Deliveries("billing", 5, 5)]);

        var received = await world.Receiver.WaitAsync("failing_webhooks", 1);

        // The events lie in the past, so that the end may follow at once.
        Assert.All(received, one => Assert.Equal("billing", one.Label("target")));
        Assert.Equal("firing", received[0].Status);
        Assert.Equal(0.5, (await world.AlertsAsync("failing_webhooks"))[0].GetProperty("value").GetDouble());
    }

    [Fact]
    public async Task A_condition_with_mistakes_is_answered_with_all_of_them()
    {
        object Body(object condition, string[]? groupBy = null) => new { name = "wrong", match = new { level = "error" }, window_seconds = 60, group_by = groupBy ?? [], severity = "low", condition };

        Assert.Equal(["condition.type"], await MistakesAsync(Body(new { type = "average" })));
        Assert.Equal(["condition.at_least", "condition.minimum"], await MistakesAsync(Body(new { type = "distinct", minimum = 3 })));
        Assert.Equal(["condition.at_least.user"], await MistakesAsync(Body(new { type = "distinct", at_least = new { user = 3 } })));
        Assert.Equal(["condition.at_least", "condition.minimum", "condition.of"], await MistakesAsync(Body(new { type = "ratio", at_least = 1.5 })));
        Assert.Equal(["condition.after", "condition.after_group_by"], await MistakesAsync(Body(new { type = "sequence", after_group_by = (string[])["source", "level"] })));
        Assert.Equal(["condition.from_start"], await MistakesAsync(Body(new { type = "absence", from_start = true }, ["source"])));
        Assert.Equal(["condition.ignored_networks[0]", "condition.kilometres_per_hour"], await MistakesAsync(Body(new { type = "travel", kilometres = 500, ignored_networks = (string[])["home"] })));
        Assert.Equal(["match.any_of.user", "match.present", "not_during[0]"], await MistakesAsync(new
        {
            name = "wrong",
            match = new { level = "error", any_of = new { user = (string[])["a"] }, present = (string[])["user"] },
            threshold = 1,
            window_seconds = 60,
            severity = "low",
            not_during = (string[])["someday"],
        }));
        Assert.Equal(["labels.alertname", "labels.source"], await MistakesAsync(new
        {
            name = "wrong",
            match = new { level = "error" },
            threshold = 1,
            window_seconds = 60,
            severity = "low",
            group_by = (string[])["source"],
            labels = new { alertname = "x", source = "y", team = "z" },
        }));
    }

    [Fact]
    public async Task Built_in_rules_follow_the_settings_until_somebody_changes_them()
    {
        await using var other = await TestWorld.CreateAsync();
        (string, string)[] setting(params (string, string)[] more) => [("OUTBOUND_ALLOWED_NETWORKS", "public"), .. more];
        await using var db = await OpenAsync(other, setting());
        Assert.Equal("10 True", await RuleAsync(db, "brute_force"));
        Assert.Equal("5 True", await RuleAsync(db, "auth_failures"));
        Assert.Equal(1, await CountAsync(db, $"select count(*) from rules where name = 'auth_failures' and match ? 'absent'"));

        // Somebody deletes one detection and changes another.
        await db.ExecuteAsync($"delete from rules where name = 'signup_flood'", Ct);
        await db.ExecuteAsync($"update rules set threshold = 7 where name = 'token_revocation'", Ct);
        await RunAsync(other, setting(("DETECTION_BRUTE_FORCE_FAILURES", "12"), ("DETECTION_TOKEN_REVOCATION_REVOCATIONS", "30"), ("DETECTION_SIGNUP_FLOOD_SIGNUPS", "9"), ("DETECTIONS_DISABLED", "password_spray")));
        Assert.Equal(["12 True", "7 True", "", "1 False"], [await RuleAsync(db, "brute_force"), await RuleAsync(db, "token_revocation"), await RuleAsync(db, "signup_flood"), await RuleAsync(db, "password_spray")]);

        await RunAsync(other, setting(("DETECTIONS_ENABLED", "false")));
        Assert.Equal(["10 False", "7 True"], [await RuleAsync(db, "brute_force"), await RuleAsync(db, "token_revocation")]);
        Assert.Equal(0, await CountAsync(db, $"select count(*) from rules where name = 'auth_failures' and match ? 'absent'"));
    }

    [Fact]
    public async Task A_platform_from_before_the_pack_gets_it_and_keeps_what_was_changed()
    {
        await using var other = await TestWorld.CreateAsync();
        await using var db = await OpenAsync(other, [("DETECTIONS_ENABLED", "false")]);
        // As it was: no pack, no memory of what was made, one default changed.
        await db.ExecuteAsync($"delete from built_in_rules", Ct);
        await db.ExecuteAsync($"delete from rules where name not in ('auth_failures', 'api_errors', 'drift_detected')", Ct);
        await db.ExecuteAsync($"update rules set threshold = 99 where name = 'api_errors'", Ct);

        await RunAsync(other, []);

        Assert.Equal(["10 True", "99 True", "5 True"], [await RuleAsync(db, "brute_force"), await RuleAsync(db, "api_errors"), await RuleAsync(db, "auth_failures")]);
        Assert.Equal(1, await CountAsync(db, $"select count(*) from rules where name = 'auth_failures' and match ? 'absent'"));
    }

    private static async Task<Npgsql.NpgsqlDataSource> OpenAsync(TestWorld other, (string, string)[] settings)
    {
        await RunAsync(other, settings);
        return await other.OpenAsync("alertingdb");
    }

    private static async Task RunAsync(TestWorld other, (string, string)[] settings)
    {
        await using var service = await other.StartAsync("Alerting", "alertingdb", settings);
    }

    private static async Task<string> RuleAsync(Npgsql.NpgsqlDataSource db, string name) =>
        (await db.FindAsync($"select coalesce(max(threshold || ' ' || initcap(enabled::text)), '') from rules where name = {name}", row => row.GetString(0), Ct))!;

    private static Task<long> CountAsync(Npgsql.NpgsqlDataSource db, Sql sql) => db.FindAsync(sql, row => row.GetInt64(0), Ct);

    private async Task<JsonElement> CreateAsync(object body)
    {
        using var answer = await world.Moderator.PostAsJsonAsync("api/v1/monitoring/rules", body, Ct);
        var text = await answer.Content.ReadAsStringAsync(Ct);
        Assert.True(answer.StatusCode == HttpStatusCode.Created, text);
        return JsonElement.Parse(text).GetProperty("data");
    }

    private async Task<IEnumerable<string>> MistakesAsync(object body)
    {
        using var answer = await world.Moderator.PostAsJsonAsync("api/v1/monitoring/rules", body, Ct);
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        return (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal);
    }

    private TestEvent Login(int second, string outcome, string user, string address) =>
        Event(second, ("action", "login"), ("outcome", outcome), ("user_id", user), ("ip_address", address));

    private TestEvent Mfa(int second, string outcome, string user) =>
        Event(second, ("action", "mfa_verify"), ("outcome", outcome), ("user_id", user), ("mfa_method", "totp"));

    private TestEvent Event(int second, params (string Name, object Value)[] tags) => new(world.Start.AddSeconds(second), Tags: tags);
}
