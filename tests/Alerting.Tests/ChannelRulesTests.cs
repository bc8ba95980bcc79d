using System.Net;
using System.Text.Json;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>What a channel may be made of, who is told where nobody said, and when what may go.</summary>
public sealed class ChannelRulesTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly FlowOptions Circuit = new();
    private static readonly NotificationOptions Retry = new();

    [Theory]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "https://x.example/hook"}}""", "")]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "https://x.example", "headers": {"X-Team": "ops"}, "max_alerts": 5}}""", "")]
    [InlineData("""{"name": "a", "kind": "email", "settings": {"to": ["a@x.example", "b@x.example"], "from": "c@x.example", "smarthost": "smtp.x.example:587"}}""", "")]
    [InlineData("""{"name": "a", "kind": "slack", "settings": {"token": "xoxb-1", "channel": "#ops"}}""", "")]
    [InlineData("""{"name": "a", "kind": "ntfy", "settings": {"topic": "ops"}}""", "")]
    [InlineData("""{"name": " ", "kind": "webhook", "settings": {"url": "https://x.example"}}""", "name")]
    [InlineData("""{"name": "a", "kind": "pigeon"}""", "kind")]
    [InlineData("""{"name": "a", "kind": "webhook"}""", "settings.url")]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "ftp://x.example"}}""", "settings.url")]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "https://x.example", "secret": "short"}}""", "settings.secret")]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "https://x.example", "headers": {"webhook-id": "1"}}}""", "settings.headers")]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "https://x.example", "headers": {"X-A": "1\r\nX-B: 2"}}}""", "settings.headers")]
    [InlineData("""{"name": "a", "kind": "webhook", "settings": {"url": "https://x.example", "colour": "red"}}""", "settings.colour")]
    [InlineData("""{"name": "a", "kind": "slack", "settings": {"url": "https://x.example", "token": "xoxb-1", "channel": "C1"}}""", "settings.url")]
    [InlineData("""{"name": "a", "kind": "slack", "settings": {"token": "xoxb-1"}}""", "settings.channel")]
    [InlineData("""{"name": "a", "kind": "email", "settings": {"to": "a@x.example"}}""", "settings.from settings.smarthost")]
    [InlineData("""{"name": "a", "kind": "email", "settings": {"to": "a@x.example\r\nRCPT TO:<b@x>", "from": "c@x.example", "smarthost": "smtp.x.example:587"}}""", "settings.to")]
    [InlineData("""{"name": "a", "kind": "email", "settings": {"to": "a@x.example", "from": "c@x.example", "smarthost": "smtp.x.example:25", "tls": "none", "username": "u", "password": "p"}}""", "settings.tls")]
    [InlineData("""{"name": "a", "kind": "email", "settings": {"to": "a@x.example", "from": "c@x.example", "smarthost": "smtp.x.example", "username": "u"}}""", "settings.password settings.smarthost")]
    [InlineData("""{"name": "a", "kind": "ntfy", "settings": {"topic": "ops"}, "fallback": "nobody"}""", "fallback")]
    [InlineData("""{"name": "other", "kind": "ntfy", "settings": {"topic": "ops"}, "fallback": "other"}""", "fallback")]
    [InlineData("""{"name": "a", "kind": "ntfy", "settings": {"topic": "ops"}, "rate_per_minute": -1, "deadline_seconds": 0}""", "deadline_seconds rate_per_minute")]
    public void Every_fault_of_a_channel_is_named(string json, string faults)
    {
        var body = JsonSerializer.Deserialize<ChannelBody>(json, WireJson.Options)!;

        var (channel, errors) = body.Check(null, Guid.NewGuid(), "east", new HashSet<string> { "other" }, new SmtpSettings(), "key:1", Noon);

        Assert.Equal(faults, string.Join(' ', errors.Keys.Order(StringComparer.Ordinal)));
        Assert.Equal(faults.Length == 0, channel is not null);
    }

    [Fact]
    public void A_change_keeps_the_secrets_that_it_leaves_out_or_sends_as_they_were_shown()
    {
        var old = new Channel(Guid.NewGuid(), "east", "ops", ChannelKind.Webhook, new Dictionary<string, string>
        {
            ["url"] = "https://x.example/secret",
            ["secret"] = "012345678901234567890123",
            ["max_alerts"] = "5",
        });

        Assert.Equal(["secret", "url"], Change("""{"settings": {}}"""));
        Assert.Equal(["max_alerts", "secret", "url"], Change("""{"settings": {"url": {"secret": "set", "fingerprint": "0"}, "max_alerts": 5}}"""));
        Assert.Equal(["url"], Change("""{"settings": {"secret": null}}"""));

        IEnumerable<string> Change(string json)
        {
            var (changed, errors) = JsonSerializer.Deserialize<ChannelBody>(json, WireJson.Options)!.Check(old, old.Id, "east", new HashSet<string>(), new SmtpSettings(), "key:1", Noon);
            Assert.Empty(errors);
            Assert.Equal("https://x.example/secret", changed!["url"]);
            Assert.Equal(2, changed.Version);
            return changed.Fields.Keys.Order(StringComparer.Ordinal);
        }
    }

    [Theory]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\",\"url\":\"https://mine.example\"}", "settings.token")]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\"}", "settings.token")]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\",\"url\":\"http://x.example\"}", "settings.token")]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\",\"url\":\"https://x.example/below\"}", "")]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\",\"url\":\"https://mine.example\",\"token\":{\"secret\":\"set\",\"fingerprint\":\"0\"}}", "settings.token")]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\",\"url\":\"https://mine.example\",\"token\":\"tk_2\"}", "")]
    [InlineData(ChannelKind.Ntfy, "{\"topic\":\"t\",\"url\":\"https://mine.example\",\"token\":null}", "")]
    [InlineData(ChannelKind.Webhook, "{\"url\":\"https://mine.example/\"}", "settings.headers settings.secret")]
    [InlineData(ChannelKind.Email, "{\"to\":\"a@example.com\",\"from\":\"b@example.com\",\"smarthost\":\"mine.example:25\",\"username\":\"u\"}", "settings.password")]
    [InlineData(ChannelKind.Pagerduty, "{\"url\":\"https://mine.example/v2/enqueue\"}", "settings.routing_key")]
    public void A_stored_secret_does_not_follow_a_channel_to_another_server(ChannelKind kind, string settings, string faults)
    {
        var fields = new Dictionary<string, string>
        {
            ["topic"] = "t",
            ["token"] = "tk_1",
            ["url"] = "https://x.example/a",
            ["secret"] = new string('s', 24),
            ["headers"] = "Authorization: Bearer b",
            ["to"] = "a@example.com",
            ["from"] = "b@example.com",
            ["smarthost"] = "mail.example:25",
            ["username"] = "u",
            ["password"] = "p",
            ["routing_key"] = "r",
        };
        var known = ChannelFields.Of(kind).Select(field => field.Name).ToHashSet();
        var old = new Channel(Guid.NewGuid(), "east", "ops", kind, fields.Where(field => known.Contains(field.Key)).ToDictionary());

        var (changed, errors) = new ChannelBody(null, null, JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(settings))
            .Check(old, old.Id, "east", new HashSet<string>(), new SmtpSettings(), "key:1", Noon);

        Assert.Equal(faults, string.Join(' ', errors.Keys.Order(StringComparer.Ordinal)));
        Assert.Equal(faults.Length == 0, changed is not null);
    }

    [Fact]
    public void Over_the_account_of_the_settings_nobody_writes_in_anothers_name()
    {
        var smtp = new SmtpSettings { From = "Platform <alerts@example.com>", Username = "account", Smarthost = "mail.example:587" };

        Assert.Equal(("alerts@example.com", "Boss"), Sender(("from", "Boss <boss@example.com>")));
        Assert.Equal(("alerts@example.com", "Platform"), Sender());
        Assert.Equal(("boss@example.com", "Boss"), Sender(("from", "Boss <boss@example.com>"), ("smarthost", "own.example:587")));
        Assert.Equal(("boss@example.com", "Boss"), Sender(("from", "Boss <boss@example.com>"), ("username", "boss")));

        (string, string) Sender(params (string Name, string Value)[] fields)
        {
            var sender = smtp.SenderOf(new Channel(Guid.NewGuid(), "east", "ops", ChannelKind.Email, fields.ToDictionary(field => field.Name, field => field.Value)));
            return (sender.Address, sender.DisplayName);
        }
    }

    [Fact]
    public void Settings_make_channels_with_names_that_stay()
    {
        var channels = new SettingsChannels(
            new ChannelSettings
            {
                EmailRecipients = ["a@x.example", "b@x.example"],
                SlackUrls = ["https://hooks.example/1", "https://hooks.example/2"],
                PagerdutyKeys = ["k"],
                TeamsUrls = ["https://teams.example"],
                NtfyTopic = "ops",
                Fallback = "email",
            },
            new NotificationOptions { WebhookUrls = ["https://a.example", "https://b.example"] },
            new SmtpSettings { Smarthost = "smtp.x.example:587", From = "c@x.example" });

        Assert.Equal(["email", "ntfy", "pagerduty", "slack", "slack-2", "teams", "webhook", "webhook-2"], channels.All.Select(channel => channel.Name).Order(StringComparer.Ordinal));
        Assert.All(channels.All, channel => Assert.Equal(("*", channel.Name == "email" ? null : "email", true), (channel.Realm, channel.Fallback, channel.FromSettings)));
        Assert.Equal(["email", "ntfy", "pagerduty", "slack", "slack-2", "teams", "webhook", "webhook-2"], channels.For(Severity.Critical));
        Assert.Equal(["email", "slack", "slack-2", "teams", "webhook", "webhook-2"], channels.For(Severity.Medium));
        Assert.Equal(["email", "webhook", "webhook-2"], channels.For(Severity.Low));
        Assert.Equal(["webhook", "webhook-2"], channels.For(Severity.Info));
    }

    [Fact]
    public void A_severity_for_which_no_channel_is_meant_goes_to_all_of_them_rather_than_to_nobody()
    {
        var pager = new SettingsChannels(new ChannelSettings { PagerdutyKeys = ["k"] }, new NotificationOptions(), new SmtpSettings());

        Assert.Equal(["pagerduty"], pager.For(Severity.Low));
        Assert.Empty(pager.For(Severity.Info));
    }

    [Fact]
    public void Settings_that_make_no_usable_channel_stop_the_start_without_showing_secrets()
    {
        var slack = Assert.Throws<SettingsException>(() => new SettingsChannels(new ChannelSettings { SlackUrls = ["hooks.example/T0/secret"] }, new NotificationOptions(), new SmtpSettings()));
        Assert.Contains("ALERT_SLACK_WEBHOOK_URL", slack.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("T0/secret", slack.Message, StringComparison.Ordinal);

        var email = Assert.Throws<SettingsException>(() => new SettingsChannels(new ChannelSettings { EmailRecipients = ["a@x.example"] }, new NotificationOptions(), new SmtpSettings()));
        Assert.Contains("ALERT_SMTP_SMARTHOST", email.Message, StringComparison.Ordinal);

        Assert.Throws<SettingsException>(() => new SettingsChannels(new ChannelSettings { PagerdutyKeys = ["k"], Fallback = "email" }, new NotificationOptions(), new SmtpSettings()));
    }

    [Fact]
    public void A_bucket_gives_a_handful_at_once_and_then_its_rate()
    {
        Assert.Equal(new Room(10, 10, false), Flow.Of(Queue(tokens: 0, refilled: Noon.AddDays(-1)), 60, 100, Circuit, Noon));
        Assert.Equal(0, Flow.Of(Queue(tokens: 0, refilled: Noon.AddMilliseconds(-900)), 60, 100, Circuit, Noon).Count);
        Assert.Equal(1, Flow.Of(Queue(tokens: 0, refilled: Noon.AddMilliseconds(-1_100)), 60, 100, Circuit, Noon).Count);
        Assert.Equal(3, Flow.Of(Queue(tokens: 5, refilled: Noon), 60, 3, Circuit, Noon).Count);
        Assert.Equal(100, Flow.Of(Queue(tokens: 0, refilled: Noon.AddDays(-1)), 6_000, 100, Circuit, Noon).Count);
        Assert.Equal(new Room(100, null, false), Flow.Of(Queue(tokens: 0, refilled: Noon), 0, 100, Circuit, Noon));
        // A clock that went back gives nothing and takes nothing.
        Assert.Equal(4, Flow.Of(Queue(tokens: 4, refilled: Noon.AddHours(1)), 60, 100, Circuit, Noon).Count);
    }

    [Fact]
    public void A_channel_that_does_not_answer_is_tried_with_one()
    {
        Assert.Equal(Room.None, Flow.Of(Queue(paused: Noon.AddSeconds(1)), 0, 100, Circuit, Noon));
        Assert.Equal(new Room(100, null, false), Flow.Of(Queue(paused: Noon), 0, 100, Circuit, Noon));
        Assert.Equal(new Room(100, null, false), Flow.Of(Queue(failures: 4), 0, 100, Circuit, Noon));
        Assert.Equal(new Room(1, null, true), Flow.Of(Queue(failures: 5), 0, 100, Circuit, Noon));
    }

    [Fact]
    public void Answers_move_the_mood_of_a_channel()
    {
        var failed = Answer.Of(HttpStatusCode.ServiceUnavailable, null, "");
        var busy = Answer.Of(HttpStatusCode.TooManyRequests, TimeSpan.FromSeconds(30), "");
        var ok = Answer.Of(HttpStatusCode.OK, null, "");

        Assert.Equal(new ChannelMood(4, null, false), After(0, null, failed, failed, failed, failed));
        Assert.Equal(new ChannelMood(5, Noon.AddSeconds(1), false), After(4, null, failed));
        Assert.Equal(new ChannelMood(7, Noon.AddSeconds(4), false), After(6, null, failed));
        Assert.Equal(new ChannelMood(90, Noon.AddSeconds(30), false), After(89, null, failed));
        Assert.Equal(new ChannelMood(0, null, true), After(9, Noon.AddMinutes(1), ok));
        Assert.Equal(new ChannelMood(0, null, true), After(9, Noon.AddMinutes(1), Answer.Of(HttpStatusCode.NotFound, null, "")));
        Assert.Equal(new ChannelMood(0, Noon.AddSeconds(30), false), After(0, null, busy));
        // An answer that was on its way does not lift the pause that the receiver asked for.
        Assert.Equal(new ChannelMood(0, Noon.AddSeconds(30), false), After(0, null, busy, ok));
        Assert.Equal(new ChannelMood(0, Noon.AddMinutes(10), false), After(0, null, Answer.Of(HttpStatusCode.TooManyRequests, TimeSpan.FromDays(1), "")));

        static ChannelMood After(int failures, DateTimeOffset? paused, params Answer[] answers) => Flow.After(failures, paused, answers, Retry, Circuit, Noon);
    }

    private static ChannelQueue Queue(double tokens = 0, DateTimeOffset? refilled = null, DateTimeOffset? paused = null, int failures = 0) =>
        new("*", "x", null, null, null, tokens, refilled ?? Noon, paused, failures);
}
