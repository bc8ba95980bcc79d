using System.Net;
using System.Text;
using System.Text.Json;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Detections;
using Platform.Alerting.Notifications;
using Platform.Alerting.Rules;
using Platform.Alerting.Windows;
using Platform.Contracts;

namespace Platform.Alerting.Tests;

/// <summary>The pure rules: what becomes of an alert, a notification, a batch of events.</summary>
public sealed class AlertTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly Dictionary<string, string> None = [];
    private static readonly Rule AuthFailures = DefaultRules.At(new DetectionOptions(), Noon)[0];
    private static readonly AlertAct Anna = new("key:anna", Noon.AddMinutes(1), "I look at it");

    [Fact]
    public void An_alert_is_acknowledged_and_then_resolved()
    {
        var acknowledged = Firing().Acknowledge(Anna)!;
        var resolved = acknowledged.Resolve(new AlertAct(null, Noon.AddMinutes(6), "over"), Noon.AddMinutes(5));

        Assert.Equal((AlertState.Acknowledged, Anna), (acknowledged.State, acknowledged.Acknowledged));
        Assert.Equal((AlertState.Resolved, Noon.AddMinutes(5), Anna), (resolved.State, resolved.EndsAt, resolved.Acknowledged));
    }

    [Fact]
    public void Repeating_an_act_changes_nothing_and_what_is_over_cannot_be_acknowledged()
    {
        var acknowledged = Firing().Acknowledge(Anna)!;
        var resolved = acknowledged.Resolve(Anna, Noon.AddMinutes(5));

        Assert.Same(acknowledged, acknowledged.Acknowledge(Anna with { By = "key:bert" }));
        Assert.Same(resolved, resolved.Resolve(Anna with { By = "key:bert" }, Noon.AddHours(1)));
        Assert.Null(resolved.Acknowledge(Anna));
    }

    [Fact]
    public void An_alert_never_ends_before_it_began() => Assert.Equal(Noon, Firing().Resolve(Anna, Noon.AddHours(-1)).EndsAt);

    [Fact]
    public void An_alert_is_never_resolved_before_it_fired()
    {
        var fired = Firing() with { FiredAt = Noon.AddSeconds(40) };

        Assert.Equal(fired.FiredAt, fired.Resolve(Anna with { At = Noon.AddSeconds(39) }, Noon).Resolved!.At);
        Assert.Equal(Noon.AddSeconds(41), fired.Resolve(Anna with { At = Noon.AddSeconds(41) }, Noon).Resolved!.At);
    }

    [Fact]
    public void A_group_key_is_bounded_and_still_tells_things_apart()
    {
        var (one, other) = (new string('ä', 4_000) + "1", new string('ä', 4_000) + "2");

        Assert.Equal("short", Alert.BoundKey("short"));
        Assert.InRange(Encoding.UTF8.GetByteCount(Alert.BoundKey(one)), Alert.LongestKey - 3, Alert.LongestKey);
        Assert.StartsWith("ää", Alert.BoundKey(one), StringComparison.Ordinal);
        Assert.NotEqual(Alert.BoundKey(one), Alert.BoundKey(other));
        Assert.Equal(Alert.BoundKey(one), Alert.BoundKey(Alert.BoundKey(one)));
    }

    [Fact]
    public void The_fingerprint_is_that_of_Prometheus() =>
        Assert.Equal("507a62d79ee76c9a", Fingerprint.Of(new Dictionary<string, string> { ["name"] = "garland, briggs", ["fear"] = "love is not enough" }));

    [Fact]
    public void The_webhook_is_Alertmanagers_version_4_to_the_letter()
    {
        var alert = Firing() with { Id = new Guid("0198a000-0000-7000-8000-000000000001") };
        var resolved = alert.Resolve(Anna, Noon.AddSeconds(90.5));

        Assert.Equal(
            """{"version":"4","groupKey":"default/x:{host=\"a\"}","truncatedAlerts":0,"status":"firing","receiver":"webhook","groupLabels":{"alertname":"Down","host":"a"},"commonLabels":{"alertname":"Down","host":"a","severity":"high"},"commonAnnotations":{"summary":"It is down"},"externalURL":"http://platform.example","notification_reason":"first notification","alerts":[{"status":"firing","labels":{"alertname":"Down","host":"a","severity":"high"},"annotations":{"summary":"It is down"},"startsAt":"2026-03-01T12:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://platform.example/api/v1/monitoring/alerts/0198a000-0000-7000-8000-000000000001","fingerprint":""" + $"\"{alert.Fingerprint}\"}}]}}",
            Encoding.UTF8.GetString(Webhook.Body(Content(alert, NotificationStatus.Firing, "first notification"), "http://platform.example")));
        var body = JsonElement.Parse(Webhook.Body(Content(resolved, NotificationStatus.Resolved, "all alerts resolved"), ""));
        Assert.Equal("resolved", body.GetProperty("status").GetString());
        Assert.Equal("2026-03-01T12:01:30.5Z", body.GetProperty("alerts")[0].GetProperty("endsAt").GetString());
        Assert.Equal("all alerts resolved", body.GetProperty("notification_reason").GetString());
    }

    [Fact]
    public void A_webhook_about_several_alerts_has_in_common_what_all_of_them_share()
    {
        var first = Firing();
        var second = first with { Id = Guid.CreateVersion7(), Labels = new Dictionary<string, string> { ["alertname"] = "Down", ["host"] = "b", ["severity"] = "high" }, GeneratorUrl = "http://prometheus.example/graph" };
        var content = new NotificationContent(
            NotificationStatus.Firing, "team", "{}:{alertname=\"Down\"}", new Dictionary<string, string> { ["alertname"] = "Down" }, "new alerts added",
            [first.Told(NotificationStatus.Firing), second.Told(NotificationStatus.Firing)], TruncatedAlerts: 3);

        var body = JsonElement.Parse(Webhook.Body(content, "http://platform.example/"));

        Assert.Equal("""{"alertname":"Down","severity":"high"}""", body.GetProperty("commonLabels").GetRawText());
        Assert.Equal(3, body.GetProperty("truncatedAlerts").GetInt32());
        Assert.Equal(
            [$"http://platform.example/api/v1/monitoring/alerts/{first.Id}", "http://prometheus.example/graph"],
            body.GetProperty("alerts").EnumerateArray().Select(alert => alert.GetProperty("generatorURL").GetString()));
    }

    [Fact]
    public void The_signature_is_that_of_Standard_Webhooks() =>
        Assert.Equal(
            "v1," + Convert.ToBase64String(System.Security.Cryptography.HMACSHA256.HashData(
                Encoding.UTF8.GetBytes("0123456789abcdef01234567"), Encoding.UTF8.GetBytes("0198a000-0000-7000-8000-000000000001.1700000000.{}"))),
            Webhook.Sign("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", new Guid("0198a000-0000-7000-8000-000000000001"), 1700000000, "{}"u8));

    [Theory]
    [InlineData(200, DeliveryOutcome.Accepted)]
    [InlineData(202, DeliveryOutcome.Accepted)]
    [InlineData(204, DeliveryOutcome.Accepted)]
    [InlineData(302, DeliveryOutcome.Refused)]
    [InlineData(400, DeliveryOutcome.Refused)]
    [InlineData(401, DeliveryOutcome.Refused)]
    [InlineData(404, DeliveryOutcome.Refused)]
    [InlineData(408, DeliveryOutcome.TryAgain)]
    [InlineData(410, DeliveryOutcome.Refused)]
    [InlineData(429, DeliveryOutcome.TryAgain)]
    [InlineData(500, DeliveryOutcome.TryAgain)]
    [InlineData(503, DeliveryOutcome.TryAgain)]
    public void An_answer_means(int status, DeliveryOutcome outcome) => Assert.Equal(outcome, Answer.Of((HttpStatusCode)status, null, "").Outcome);

    [Theory]
    [InlineData(1, null, 0.0, 1)]
    [InlineData(1, null, 1.0, 0.5)]
    [InlineData(3, null, 0.0, 4)]
    [InlineData(30, null, 0.0, 600)]
    [InlineData(30, null, 1.0, 300)]
    [InlineData(1, 7, 0.0, 8)]
    [InlineData(30, 7, 0.0, 8)]
    [InlineData(30, 7, 1.0, 7.5)]
    [InlineData(30, 0, 1.0, 0.5)]
    [InlineData(1, 86_400, 0.0, 600)]
    public void The_next_attempt_waits_longer_each_time_or_as_long_as_asked_and_a_moment(int attempt, int? retryAfter, double jitter, double seconds)
    {
        var answer = Answer.Of(HttpStatusCode.TooManyRequests, retryAfter is { } wait ? TimeSpan.FromSeconds(wait) : null, "");

        Assert.Equal(new Verdict(NotificationState.Pending, Noon.AddSeconds(seconds)), Verdict.On(answer, attempt, Noon, TimeSpan.FromHours(72), Noon, jitter, new NotificationOptions()));
    }

    [Fact]
    public void A_notification_is_given_up_when_refused_or_after_the_deadline()
    {
        var options = new NotificationOptions();
        var busy = Answer.Of(HttpStatusCode.ServiceUnavailable, null, "");

        Assert.Equal(NotificationState.Failed, Verdict.On(Answer.Of(HttpStatusCode.NotFound, null, ""), 1, Noon, options.Deadline, Noon, 0, options).State);
        Assert.Equal(NotificationState.Pending, Verdict.On(busy, 200, Noon, options.Deadline, Noon.AddHours(71), 0, options).State);
        Assert.Equal(NotificationState.Failed, Verdict.On(busy, 200, Noon, options.Deadline, Noon.AddHours(72), 0, options).State);
        Assert.Equal(NotificationState.Delivered, Verdict.On(Answer.Of(HttpStatusCode.OK, null, ""), 200, Noon, options.Deadline, Noon.AddHours(80), 0, options).State);
    }

    [Fact]
    public void A_source_is_judged_by_its_own_time_and_never_ahead_of_the_wall_clock()
    {
        var clocks = new SourceClocks();
        clocks.Observe("default", "replay", newest: 1_000_000, now: 900_000_000);
        clocks.Observe("default", "ahead", newest: 999_000_000, now: 900_000_000);

        Assert.Equal([("ahead", 905_000_000L), ("replay", 6_000_000L)], clocks.All(now: 905_000_000).Select(one => (one.Source, one.Position)).Order());
        Assert.Equal(42, clocks.Position("default", "unknown", newest: 42, now: 905_000_000));
        Assert.Equal(60_000_000, clocks.Position("default", "replay", newest: 60_000_000, now: 905_000_000));
    }

    [Fact]
    public void Old_news_takes_a_source_back_only_when_nothing_newer_came_within_a_second()
    {
        var clocks = new SourceClocks();
        clocks.Observe("default", "s", newest: 900_000_000, now: 900_000_000);

        Assert.Equal(900_500_000, clocks.Position("default", "s", newest: 100_000_000, now: 900_500_000));
        Assert.Equal(100_000_000, clocks.Position("default", "s", newest: 100_000_000, now: 902_000_000));
    }

    [Theory]
    [InlineData("""{"event_type":"log"}""", "a b")]
    [InlineData("""{"event_type":"metric"}""", "")]
    [InlineData("""{"tags":{"action":"login","outcome":"failure"}}""", "a")]
    [InlineData("""{"tags":{"action":"login","outcome":"success"}}""", "")]
    [InlineData("""{"source":"s2","level":"error"}""", "b")]
    [InlineData("""{"source":"s1","tags":{"status_code":503}}""", "")]
    [InlineData("""{"source":"s2","tags":{"status_code":"503"}}""", "b")]
    [InlineData("""{"tags":{"verified":true}}""", "a")]
    public void A_rule_matches_events_with_everything_it_asks_for(string match, string expected)
    {
        var body = JsonSerializer.Deserialize<RuleBody>($$"""{"name":"r","threshold":1,"window_seconds":1,"severity":"low","match":{{match}}}""", ServiceDefaults.WireJson.Options)!;
        var (rule, errors) = body.Check(Guid.NewGuid(), "*", "t", Noon);
        Assert.Empty(errors);
        var other = new TestEvent(Noon, "s2", Level: "error", Tags: [("status_code", 503)]);
        var events = Batch(new TestEvent(Noon, "s1", Tags: [("action", "login"), ("outcome", "failure"), ("ip_address", "a"), ("verified", true)]), other);

        var found = events.Events.Select((one, i) => (Name: i == 0 ? "a" : "b", Batch: BatchMatch.Of([one], new RuleIndex(1, [rule!]), long.MaxValue))).Where(one => one.Batch.Hits == 1);

        Assert.Equal(expected, string.Join(' ', found.Select(one => one.Name)));
    }

    [Fact]
    public void A_batch_is_counted_by_realm_rule_and_group_and_a_broken_clock_counts_as_now()
    {
        var rules = new RuleIndex(1, [AuthFailures, AuthFailures with { Id = Guid.NewGuid(), Realm = "other", Name = "own" }]);
        var events = Batch(
            TestEvent.FailedLogin(Noon, "1.1.1.1"), TestEvent.FailedLogin(Noon.AddSeconds(1), "1.1.1.1"), TestEvent.FailedLogin(Noon, "2.2.2.2"),
            TestEvent.FailedLogin(Noon.AddYears(70), "1.1.1.1", realm: "other"), TestEvent.Action(Noon.AddSeconds(9), "logout"));

        var match = BatchMatch.Of(events.Events, rules, BatchMatch.Microseconds(Noon.AddMinutes(1)));

        Assert.Equal(5, match.Hits);
        Assert.Equal(
            ["auth_failures default 1.1.1.1 2", "auth_failures default 2.2.2.2 1", "auth_failures other 1.1.1.1 1", "own other 1.1.1.1 1"],
            match.Groups.Select(group => $"{group.Rule.Name} {group.Realm} {group.Values[0]} {group.Hits.Count}").Order(StringComparer.Ordinal));
        Assert.Equal(BatchMatch.Microseconds(Noon.AddSeconds(9)), match.Sources[("default", "auth-api")]);
        Assert.Equal(BatchMatch.Microseconds(Noon.AddMinutes(1)), match.Sources[("other", "auth-api")]);
    }

    [Fact]
    public void An_alert_names_the_events_by_tags_that_they_carry_and_not_by_a_value_that_was_cut()
    {
        var rule = AuthFailures with { GroupBy = ["tags.ip_address", "tags.user_agent", "tags.long"] };
        var whole = new string('w', 200);
        var events = Batch(new TestEvent(Noon, Tags: [("action", "login"), ("outcome", "failure"), ("ip_address", "1.1.1.1"), ("user_agent", whole), ("long", whole + "w")]));

        var group = Assert.Single(BatchMatch.Of(events.Events, new RuleIndex(1, [rule]), long.MaxValue).Groups);
        var alert = EvaluateRulesOnEventsStored.Describe(group, new Episode(0, 1, 5), Noon);

        Assert.StartsWith(whole + "…", alert.GroupLabels["long"], StringComparison.Ordinal);
        Assert.Equal(["action", "ip_address", "outcome", "user_agent"], alert.EventTags.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(whole, alert.EventTags["user_agent"]);
    }

    [Fact]
    public void A_component_that_is_not_well_is_as_bad_as_its_kind()
    {
        Assert.Equal(Severity.Critical, Of("service", HealthState.Unhealthy));
        Assert.Equal(Severity.Critical, Of("postgres", HealthState.Unhealthy));
        Assert.Equal(Severity.High, Of("http", HealthState.Unhealthy));
        Assert.Equal(Severity.Medium, Of("service", HealthState.Degraded));

        static Severity Of(string kind, HealthState state) =>
            RaiseAlertOnHealthChanged.Describe(new HealthChanged("default", "x", kind, HealthState.Healthy, state, "", Noon), "k", Noon).Severity;
    }

    private static NotificationContent Content(Alert alert, NotificationStatus status, string reason) =>
        new(status, "webhook", alert.GroupKey, new Dictionary<string, string>(alert.GroupLabels) { ["alertname"] = alert.Name }, reason, [alert.Told(status)]);

    private static Alert Firing() => Alert.Fire(
        "default", "default/x:{host=\"a\"}", null, "Down", Severity.High, AlertSource.Manual,
        new Dictionary<string, string> { ["alertname"] = "Down", ["host"] = "a" }, new Dictionary<string, string> { ["host"] = "a" },
        new Dictionary<string, string> { ["summary"] = "It is down" }, None, null, null, Noon, Noon, new AlertReason(null, null));

    private static EventsStored Batch(params TestEvent[] events) => JsonSerializer.Deserialize<EventsStored>(TestEvent.Batch(events), ServiceDefaults.WireJson.Options)!;
}
