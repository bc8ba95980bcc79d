using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Contracts;

namespace Platform.Alerting.Tests;

/// <summary>What each kind of channel makes of a notification, against the shapes that its receivers document.</summary>
public sealed class ChannelBodyTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 1, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void PagerDuty_gets_one_incident_per_group_by_its_key()
    {
        var trigger = JsonElement.Parse(PagerdutyEvent.Body(Channel(ChannelKind.Pagerduty, ("routing_key", "R0123")), Message(), "https://platform.example").Span);

        Assert.Equal("R0123", trigger.GetProperty("routing_key").GetString());
        Assert.Equal("trigger", trigger.GetProperty("event_action").GetString());
        Assert.Equal("east/{}:{alertname=\"Down\"}", trigger.GetProperty("dedup_key").GetString());
        var payload = trigger.GetProperty("payload");
        Assert.Equal("[CRITICAL] Down: It is down (and 1 more)", payload.GetProperty("summary").GetString());
        Assert.Equal("a:9100", payload.GetProperty("source").GetString());
        Assert.Equal("critical", payload.GetProperty("severity").GetString());
        Assert.Equal(Noon.UtcDateTime, payload.GetProperty("timestamp").GetDateTime());
        Assert.Equal(2, payload.GetProperty("custom_details").GetProperty("num_firing").GetInt32());
        Assert.StartsWith("https://platform.example/", trigger.GetProperty("links")[0].GetProperty("href").GetString(), StringComparison.Ordinal);

        var resolve = JsonElement.Parse(PagerdutyEvent.Body(Channel(ChannelKind.Pagerduty, ("routing_key", "R0123")), Message(resolved: true), "").Span);
        Assert.Equal(("resolve", trigger.GetProperty("dedup_key").GetString()), (resolve.GetProperty("event_action").GetString(), resolve.GetProperty("dedup_key").GetString()));
        Assert.False(resolve.TryGetProperty("payload", out _));

        var acknowledge = JsonElement.Parse(PagerdutyEvent.Body(Channel(ChannelKind.Pagerduty, ("routing_key", "R0123")), Message() with { Kind = "acknowledged" }, "").Span);
        Assert.Equal("acknowledge", acknowledge.GetProperty("event_action").GetString());
    }

    [Fact]
    public void PagerDuty_gets_the_page_without_its_details_rather_than_no_page()
    {
        var large = Message(annotation: new string('x', 20_000), alerts: 60);

        var body = PagerdutyEvent.Body(Channel(ChannelKind.Pagerduty, ("routing_key", "R0123")), large, "");

        Assert.InRange(body.Length, 1, 512_000);
        Assert.True(JsonElement.Parse(body.Span).GetProperty("payload").GetProperty("custom_details").TryGetProperty("error", out _));
    }

    [Fact]
    public void Keys_that_are_too_long_for_receivers_become_hashes()
    {
        var message = Message();

        Assert.Equal(64, (message with { Content = message.Content with { GroupKey = new string('k', 300) } }).Key().Length);
    }

    [Fact]
    public void Slack_gets_a_fallback_text_a_colour_and_blocks_and_no_markup_of_others()
    {
        var body = JsonElement.Parse(OutboundPost.Json(SlackMessage.Body(Channel(ChannelKind.Slack, ("url", "https://x"), ("username", "Alerts")), Message(annotation: "<!channel> & co").Content, "https://platform.example")).Span);

        Assert.Equal("[CRITICAL] Down: It is down (and 1 more)", body.GetProperty("text").GetString());
        Assert.Equal("Alerts", body.GetProperty("username").GetString());
        var attachment = body.GetProperty("attachments")[0];
        Assert.Equal("#d00000", attachment.GetProperty("color").GetString());
        var blocks = attachment.GetProperty("blocks");
        Assert.Equal(["section", "section", "context"], blocks.EnumerateArray().Select(block => block.GetProperty("type").GetString()));
        Assert.Contains("&lt;!channel&gt; &amp; co", blocks[0].GetProperty("text").GetProperty("text").GetString(), StringComparison.Ordinal);
        Assert.Contains("new alerts added", blocks[2].GetProperty("elements")[0].GetProperty("text").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Slack_Teams_and_mail_say_what_to_do_and_where()
    {
        var told = Message(alerts: 1).Content;
        var content = told with { Alerts = [told.Alerts[0] with { Annotations = new Dictionary<string, string> { ["summary"] = "s", ["runbook"] = "Restart <it>.", ["runbook_url"] = "https://wiki.example/a" } }] };
        var over = content with { Status = NotificationStatus.Resolved, Alerts = [content.Alerts[0] with { Status = NotificationStatus.Resolved }] };
        var acting = $"Acknowledge: POST https://platform.example/api/v1/monitoring/alerts/{content.Alerts[0].Id}/acknowledge. Silence: POST https://platform.example/api/v1/monitoring/silences.";

        var blocks = Slack(content, "https://platform.example/");
        Assert.Contains("<https://wiki.example/a|Runbook> · Runbook: Restart &lt;it&gt;.", blocks[0].GetProperty("text").GetProperty("text").GetString(), StringComparison.Ordinal);
        Assert.EndsWith(acting, blocks[1].GetProperty("elements")[0].GetProperty("text").GetString(), StringComparison.Ordinal);
        Assert.Contains("/alerts/{id}/acknowledge", Slack(Message(alerts: 2).Content, "https://platform.example/").GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain("Acknowledge", Slack(content, "").GetRawText(), StringComparison.Ordinal);
        Assert.DoesNotContain("Runbook", Slack(over, "").GetRawText(), StringComparison.Ordinal);

        var card = JsonElement.Parse(TeamsCard.Body(content, "https://platform.example").Span).GetProperty("attachments")[0].GetProperty("content");
        Assert.Equal(["Open the alert", "Runbook"], card.GetProperty("actions").EnumerateArray().Select(action => action.GetProperty("title").GetString()));
        Assert.Contains("Restart <it>.", card.GetProperty("body").EnumerateArray().SelectMany(Facts));
        Assert.EndsWith("/silences.", card.GetProperty("body").EnumerateArray().Last().GetProperty("text").GetString(), StringComparison.Ordinal);

        var text = Wording.Text(content, "https://platform.example", 10);
        Assert.All((string[])["Restart <it>.", "https://wiki.example/a", acting], part => Assert.Contains(part, text, StringComparison.Ordinal));

        static JsonElement Slack(NotificationContent content, string url) =>
            JsonElement.Parse(OutboundPost.Json(SlackMessage.Body(Channel(ChannelKind.Slack, ("url", "https://x")), content, url)).Span).GetProperty("attachments")[0].GetProperty("blocks");

        static IEnumerable<string?> Facts(JsonElement block) =>
            block.TryGetProperty("facts", out var facts) ? facts.EnumerateArray().Select(fact => fact.GetProperty("value").GetString()) : [];
    }

    [Fact]
    public void Slack_messages_stay_below_its_limits()
    {
        var body = OutboundPost.Json(SlackMessage.Body(Channel(ChannelKind.Slack, ("url", "https://x")), Message(annotation: new string('ü', 20_000), alerts: 80).Content, ""));

        var blocks = JsonElement.Parse(body.Span).GetProperty("attachments")[0].GetProperty("blocks");
        Assert.InRange(blocks.GetArrayLength(), 2, 50);
        Assert.InRange(Encoding.UTF8.GetString(body.Span).Length, 1, 13_000);
        Assert.Contains("… and 70 more", blocks[blocks.GetArrayLength() - 1].GetRawText(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"ok":true,"channel":"C1","ts":"1.2"}""", DeliveryOutcome.Accepted, """{"Channel":"C1","Ts":"1.2"}""")]
    [InlineData("""{"ok":false,"error":"ratelimited"}""", DeliveryOutcome.TryAgain, null)]
    [InlineData("""{"ok":false,"error":"internal_error"}""", DeliveryOutcome.TryAgain, null)]
    [InlineData("""{"ok":false,"error":"channel_not_found"}""", DeliveryOutcome.Refused, null)]
    [InlineData("""{"ok":false,"error":"invalid_auth"}""", DeliveryOutcome.Refused, null)]
    [InlineData("<html>", DeliveryOutcome.TryAgain, null)]
    [InlineData("[]", DeliveryOutcome.TryAgain, null)]
    public void Slacks_api_says_no_with_200(string text, DeliveryOutcome outcome, string? memory)
    {
        var answer = SlackMessage.Judge(Answer.Of(HttpStatusCode.OK, null, text), text);

        Assert.Equal((outcome, memory), (answer.Outcome, answer.Memory));
    }

    [Fact]
    public void Teams_gets_an_adaptive_card_below_28_KB()
    {
        var body = TeamsCard.Body(Message(annotation: "*bold*").Content, "https://platform.example");

        var attachment = JsonElement.Parse(body.Span).GetProperty("attachments")[0];
        Assert.Equal("application/vnd.microsoft.card.adaptive", attachment.GetProperty("contentType").GetString());
        var card = attachment.GetProperty("content");
        Assert.Equal(("AdaptiveCard", "1.4"), (card.GetProperty("type").GetString(), card.GetProperty("version").GetString()));
        Assert.Equal("Attention", card.GetProperty("body")[0].GetProperty("color").GetString());
        Assert.Contains("\\\\*bold\\\\*", card.GetRawText(), StringComparison.Ordinal);
        Assert.Equal("Action.OpenUrl", card.GetProperty("actions")[0].GetProperty("type").GetString());
        Assert.InRange(TeamsCard.Body(Message(annotation: new string('ü', 20_000), alerts: 80).Content, "").Length, 1, 28_000);
    }

    [Fact]
    public void Ntfy_gets_priority_tags_and_a_link_and_no_more_than_it_shows()
    {
        var body = JsonElement.Parse(NtfyMessage.Body("ops", Message().Content, "https://platform.example").Span);

        Assert.Equal(("ops", 5), (body.GetProperty("topic").GetString(), body.GetProperty("priority").GetInt32()));
        Assert.Equal(["rotating_light", "critical"], body.GetProperty("tags").EnumerateArray().Select(tag => tag.GetString()));
        Assert.StartsWith("https://platform.example/", body.GetProperty("click").GetString(), StringComparison.Ordinal);
        var resolved = JsonElement.Parse(NtfyMessage.Body("ops", Message(resolved: true).Content, "").Span);
        Assert.Equal((2, "white_check_mark"), (resolved.GetProperty("priority").GetInt32(), resolved.GetProperty("tags")[0].GetString()));
        Assert.False(resolved.TryGetProperty("click", out _));
        var large = JsonElement.Parse(NtfyMessage.Body("ops", Message(annotation: new string('ü', 20_000), alerts: 80).Content, "").Span).GetProperty("message").GetString()!;
        Assert.InRange(Encoding.UTF8.GetByteCount(large), 1, 4_096);
    }

    [Fact]
    public void A_mail_is_ASCII_in_short_lines_with_text_and_HTML_and_the_same_id_at_every_attempt()
    {
        var message = Message(annotation: "<script>alert('é')</script>");

        var mail = EmailText.Compose(new("alerts@example.com", "Ällerts"), ["a@example.com", "b@example.com"], message, Noon, "https://platform.example");

        Assert.All(mail, character => Assert.InRange(character, '\n', '~'));
        var lines = mail.Split("\r\n");
        Assert.All(lines, line => Assert.InRange(line.Length, 0, 200));
        Assert.DoesNotContain(lines, line => line.Contains('\n', StringComparison.Ordinal));
        Assert.Contains($"Message-ID: <{message.Id}@example.com>", lines);
        Assert.Contains("Date: Sun, 01 Mar 2026 12:00:00 +0000", lines);
        Assert.Contains("Importance: high", lines);
        Assert.Contains($"From: =?utf-8?B?{Convert.ToBase64String("Ällerts"u8)}?= <alerts@example.com>", lines);
        var parts = mail.Split("--=_platform_alternative");
        var (text, html) = (Decoded(parts[1]), Decoded(parts[2]));
        Assert.Contains("It is down", text, StringComparison.Ordinal);
        Assert.Contains("Why you get this: new alerts added (receiver ops)", text, StringComparison.Ordinal);
        Assert.Contains("&lt;script&gt;", html, StringComparison.Ordinal);
        Assert.DoesNotContain("<script>", html, StringComparison.Ordinal);
        Assert.Equal(
            lines.Single(line => line.StartsWith("References:", StringComparison.Ordinal)),
            EmailText.Compose(new("alerts@example.com"), ["a@example.com"], Message(resolved: true), Noon, "").Split("\r\n").Single(line => line.StartsWith("References:", StringComparison.Ordinal)));

        static string Decoded(string part) => Encoding.UTF8.GetString(Convert.FromBase64String(part[(part.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..]));
    }

    [Theory]
    [InlineData("plain subject", "plain subject")]
    [InlineData("line\nend", "=?utf-8?B?bGluZSBlbmQ=?=")]
    [InlineData("=?utf-8?B?spoofed?=", "=?utf-8?B?PT91dGYtOD9CP3Nwb29mZWQ/PQ==?=")]
    public void Subjects_cannot_smuggle_headers(string text, string expected) => Assert.Equal(expected, EmailText.Encoded(text));

    [Fact]
    public void Long_subjects_are_words_of_whole_characters()
    {
        var words = EmailText.Encoded(string.Concat(Enumerable.Repeat("😀", 40))).Split("\r\n ");

        Assert.All(words, word => Assert.InRange(word.Length, 1, 75));
        Assert.Equal(string.Concat(Enumerable.Repeat("😀", 40)), string.Concat(words.Select(word => Encoding.UTF8.GetString(Convert.FromBase64String(word["=?utf-8?B?".Length..^2])))));
    }

    [Fact]
    public void Recipients_that_must_wait_are_tried_again_without_those_that_have_the_mail()
    {
        var message = Message();
        SmtpReply ok = new(250, ["queued"]), later = new(450, ["greylisted"]), never = new(550, ["no such user"]);

        var answer = EmailNotifier.Judge(message, [], ["a@x", "b@x", "c@x"], ok, new Dictionary<string, SmtpReply> { ["b@x"] = later, ["c@x"] = never });

        Assert.Equal((DeliveryOutcome.TryAgain, 250), (answer.Outcome, answer.StatusCode));
        Assert.Equal(["a@x", "c@x"], JsonElement.Parse(answer.Memory!).GetProperty("Recipients").EnumerateArray().Select(one => one.GetString()));
        Assert.Equal(DeliveryOutcome.Accepted, EmailNotifier.Judge(message, ["a@x", "c@x"], ["b@x"], ok, new Dictionary<string, SmtpReply>()).Outcome);
        Assert.Equal(DeliveryOutcome.Refused, EmailNotifier.Judge(message, [], ["c@x"], null, new Dictionary<string, SmtpReply> { ["c@x"] = never }).Outcome);
        Assert.Equal(DeliveryOutcome.Accepted, EmailNotifier.Judge(message, [], ["a@x", "c@x"], ok, new Dictionary<string, SmtpReply> { ["c@x"] = never }).Outcome);
    }

    [Fact]
    public void Retry_After_is_seconds_or_a_date()
    {
        Assert.Equal(TimeSpan.FromSeconds(7), OutboundPost.RetryAfter(RetryConditionHeaderValue.Parse("7"), Noon));
        Assert.Equal(TimeSpan.FromSeconds(30), OutboundPost.RetryAfter(RetryConditionHeaderValue.Parse("Sun, 01 Mar 2026 12:00:30 GMT"), Noon));
        Assert.Equal(TimeSpan.Zero, OutboundPost.RetryAfter(RetryConditionHeaderValue.Parse("Sun, 01 Mar 2026 11:00:00 GMT"), Noon));
        Assert.Null(OutboundPost.RetryAfter(null, Noon));
    }

    [Fact]
    public void A_webhook_with_a_limit_says_how_many_it_leaves_out()
    {
        var body = JsonElement.Parse(Webhook.Body(Message(alerts: 5).Content, "", 2));

        Assert.Equal((2, 3), (body.GetProperty("alerts").GetArrayLength(), body.GetProperty("truncatedAlerts").GetInt32()));
    }

    internal static ChannelMessage Message(bool resolved = false, string annotation = "Nobody answers.", int alerts = 2)
    {
        var status = resolved ? NotificationStatus.Resolved : NotificationStatus.Firing;
        var told = Enumerable.Range(0, alerts).Select(number => new ToldAlert(
            new Guid(number + 1, 0, 0, new byte[8]), $"{number:x16}", "Down", Severity.Critical, status,
            new Dictionary<string, string> { ["alertname"] = "Down", ["instance"] = "a:9100", ["severity"] = "critical", ["number"] = $"{number}" },
            new Dictionary<string, string> { ["summary"] = "It is down", ["description"] = annotation }, Noon, resolved ? Noon.AddMinutes(5) : null, 0, 1, ""));
        return new ChannelMessage(
            new Guid("0198a000-0000-7000-8000-000000000001"), "east", "alert",
            new NotificationContent(status, "ops", "{}:{alertname=\"Down\"}", new Dictionary<string, string> { ["alertname"] = "Down" }, "new alerts added", [.. told]), Noon, null);
    }

    private static Channel Channel(ChannelKind kind, params (string Name, string Value)[] fields) =>
        new(Guid.Empty, "east", "x", kind, fields.ToDictionary(field => field.Name, field => field.Value));
}
