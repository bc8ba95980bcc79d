using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>Channels as people make them; secrets that go in and never come out.</summary>
public sealed class ChannelApiTests(ChannelWorld world) : IClassFixture<ChannelWorld>
{
    private const string Secret = "whsec_c2VjcmV0LXRoYXQtbXVzdC1ub3QtYmUtc2Vlbg==";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Secrets_are_never_returned_never_stored_in_the_clear_and_kept_by_a_change_without_them()
    {
        var made = await world.ChannelAsync("secretive", "webhook", new { url = $"{world.Receiver.Url}/secretive-token", secret = Secret, headers = new { Authorization = "Bearer hidden-token" }, max_alerts = 7 });
        var shown = await world.GetAsync($"channels/{Id(made)}");
        foreach (var answer in (JsonElement[])[made, shown, await world.GetAsync("channels")])
        {
            Assert.DoesNotContain("secretive-token", answer.GetRawText(), StringComparison.Ordinal);
            Assert.DoesNotContain(Secret, answer.GetRawText(), StringComparison.Ordinal);
            Assert.DoesNotContain("hidden-token", answer.GetRawText(), StringComparison.Ordinal);
        }

        Assert.Equal("set", shown.GetProperty("settings").GetProperty("secret").GetProperty("secret").GetString());
        Assert.Equal(12, shown.GetProperty("settings").GetProperty("secret").GetProperty("fingerprint").GetString()!.Length);
        Assert.Equal(7, shown.GetProperty("settings").GetProperty("max_alerts").GetInt32());
        var (settings, sealedSecrets) = await world.Db.FindAsync($"select settings::text, secrets from channels where name = 'secretive'", row => (row.GetString(0), row.GetFieldValue<byte[]>(1)), Ct);
        Assert.DoesNotContain("secretive-token", settings + Encoding.Latin1.GetString(sealedSecrets), StringComparison.Ordinal);

        using var changed = await world.Admin.PutAsJsonAsync($"api/v1/monitoring/channels/{Id(made)}", new { name = "secretive", kind = "webhook", settings = new { max_alerts = 8 }, version = 1 }, Ct);
        Assert.Equal(HttpStatusCode.OK, changed.StatusCode);
        using var late = await world.Admin.PutAsJsonAsync($"api/v1/monitoring/channels/{Id(made)}", new { settings = new { max_alerts = 9 }, version = 1 }, Ct);
        Assert.Equal(HttpStatusCode.Conflict, late.StatusCode);

        Assert.True((await world.TestAsync(made)).GetProperty("delivered").GetBoolean());
        var request = Assert.Single(world.Receiver.At("/secretive-token"));
        Assert.Equal("Bearer hidden-token", request.Headers["Authorization"]);
        Assert.Equal(
            request.Headers["webhook-signature"],
            Channels.Webhook.Sign(Secret, Guid.Parse(request.Headers["webhook-id"]), long.Parse(request.Headers["webhook-timestamp"], System.Globalization.CultureInfo.InvariantCulture), Encoding.UTF8.GetBytes(request.Text)));
    }

    [Fact]
    public async Task A_test_is_a_real_notification_and_says_what_the_receiver_answered()
    {
        world.Receiver.On("/gone", 410);
        var channel = await world.WebhookAsync("gone", "/gone", new { fallback = "ntfy" });

        var result = await world.TestAsync(channel);

        Assert.False(result.GetProperty("delivered").GetBoolean());
        Assert.Equal((410, "no"), (result.GetProperty("attempt").GetProperty("status_code").GetInt32(), result.GetProperty("attempt").GetProperty("response").GetString()));
        var logged = Assert.Single(await world.SettledAsync("gone", 1));
        Assert.Equal(("test", "failed"), (logged.GetProperty("kind").GetString(), logged.GetProperty("state").GetString()));
        Assert.DoesNotContain(world.Receiver.At("/ntfy-of-settings"), request => request.Text.Contains("channel=gone", StringComparison.Ordinal) || request.Text.Contains("test of the channel gone", StringComparison.Ordinal));
        Assert.Equal(0, await world.Db.FindAsync($"select count(*) from alerts where labels->>'channel' = 'gone'", row => row.GetInt64(0), Ct));
    }

    [Theory]
    [InlineData("teams", "url", "/teams", "attachments")]
    [InlineData("slack", "url", "/slack-webhook", "attachments")]
    [InlineData("pagerduty", "routing_key", "/pagerduty", "routing_key")]
    public async Task Every_kind_reaches_its_receiver(string kind, string field, string path, string expected)
    {
        var value = field == "url" ? world.Receiver.Url + path : "R0123456789";
        var channel = await world.ChannelAsync($"every-{kind}", kind, new Dictionary<string, string> { [field] = value });

        var result = await world.TestAsync(channel);

        Assert.True(result.GetProperty("delivered").GetBoolean(), result.GetRawText());
        Assert.True(Assert.Single(world.Receiver.At(path)).Body.TryGetProperty(expected, out _));
    }

    [Fact]
    public async Task Ntfy_gets_the_token_of_its_channel()
    {
        var channel = await world.ChannelAsync("every-ntfy", "ntfy", new { topic = "ops", url = $"{world.Receiver.Url}/ntfy", token = "tk_1" });

        await world.TestAsync(channel);

        var request = Assert.Single(world.Receiver.At("/ntfy"));
        Assert.Equal(("Bearer tk_1", "ops"), (request.Headers["Authorization"], request.Body.GetProperty("topic").GetString()));
    }

    [Fact]
    public async Task Channels_of_settings_are_shown_and_changed_by_settings_only()
    {
        var channel = (await world.GetAsync("channels")).GetProperty("items").EnumerateArray().First(one => one.GetProperty("from_settings").GetBoolean());

        Assert.Equal(("*", "ntfy"), (channel.GetProperty("realm").GetString(), channel.GetProperty("name").GetString()));
        using var change = await world.Admin.PutAsJsonAsync($"api/v1/monitoring/channels/{Id(channel)}", new { settings = new { topic = "x" } }, Ct);
        using var delete = await world.Admin.DeleteAsync(new Uri($"api/v1/monitoring/channels/{Id(channel)}", UriKind.Relative), Ct);
        Assert.Equal([HttpStatusCode.Conflict, HttpStatusCode.Conflict], [change.StatusCode, delete.StatusCode]);
        // It reaches people outside of the caller's realm.
        using var test = await world.Admin.PostAsync(new Uri($"api/v1/monitoring/channels/{Id(channel)}/test", UriKind.Relative), null, Ct);
        Assert.Equal(HttpStatusCode.Forbidden, test.StatusCode);
        using var operating = world.Client(Role.Admin, "*");
        using var tested = await operating.PostAsync(new Uri($"api/v1/monitoring/channels/{Id(channel)}/test", UriKind.Relative), null, Ct);
        Assert.Equal(HttpStatusCode.OK, tested.StatusCode);
    }

    [Fact]
    public async Task Only_admins_make_channels_and_only_in_their_realm()
    {
        var channel = await world.WebhookAsync("private", "/private");
        using var moderator = world.Client(Role.Moderator);
        using var stranger = world.Client(Role.Admin, "east");

        using var byModerator = await moderator.PostAsJsonAsync("api/v1/monitoring/channels", new { name = "x", kind = "ntfy", settings = new { topic = "x" } }, Ct);
        using var byStranger = await stranger.GetAsync(new Uri($"api/v1/monitoring/channels/{Id(channel)}", UriKind.Relative), Ct);
        using var deleted = await stranger.DeleteAsync(new Uri($"api/v1/monitoring/channels/{Id(channel)}", UriKind.Relative), Ct);

        Assert.Equal([HttpStatusCode.Forbidden, HttpStatusCode.Forbidden, HttpStatusCode.Forbidden], [byModerator.StatusCode, byStranger.StatusCode, deleted.StatusCode]);
        var list = await stranger.GetStringAsync(new Uri("api/v1/monitoring/channels", UriKind.Relative), Ct);
        Assert.DoesNotContain("private", list, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_channel_that_others_fall_back_on_stays_until_they_do_not()
    {
        var target = await world.WebhookAsync("net", "/net");
        var other = await world.WebhookAsync("acrobat", "/acrobat", new { fallback = "net" });

        using var early = await world.Admin.DeleteAsync(new Uri($"api/v1/monitoring/channels/{Id(target)}", UriKind.Relative), Ct);
        Assert.Equal(HttpStatusCode.Conflict, early.StatusCode);
        using var first = await world.Admin.DeleteAsync(new Uri($"api/v1/monitoring/channels/{Id(other)}", UriKind.Relative), Ct);
        using var then = await world.Admin.DeleteAsync(new Uri($"api/v1/monitoring/channels/{Id(target)}", UriKind.Relative), Ct);
        Assert.Equal([HttpStatusCode.NoContent, HttpStatusCode.NoContent], [first.StatusCode, then.StatusCode]);
    }

    [Fact]
    public async Task A_channel_or_policy_that_somebody_names_stays_and_the_answer_says_who()
    {
        using var admin = world.Client(Role.Admin, "named");
        var channel = await MadeAsync(admin, "channels", new { name = "pager", kind = "webhook", settings = new { url = $"{world.Receiver.Url}/pager" } });
        var policy = await MadeAsync(admin, "escalation-policies", new { name = "climb", steps = new[] { new { targets = new[] { new { type = "channel", name = "pager" } }, escalate_after_seconds = 300 } } });
        var user = await MadeAsync(admin, "on-call/users", new { name = "anna", contact_methods = new[] { new { name = "phone", type = "webhook", target = $"{world.Receiver.Url}/phone" } } });
        await RouteAsync(new { route = new { receiver = "duty" }, receivers = new[] { new { name = "duty", channels = (string[])["pager"], escalation_policy = "climb" } } });
        var phone = (await admin.GetFromJsonAsync<JsonElement>(new Uri("api/v1/monitoring/channels", UriKind.Relative), Ct)).GetProperty("data").GetProperty("items").EnumerateArray().Single(one => one.GetProperty("name").GetString() == "on-call/anna/phone");

        Assert.Equal(
            "pager is named by receiver duty of the routing of realm named; escalation policy climb of realm named. Name another channel there first.", await DeleteAsync("channels", channel));
        Assert.Equal("Named by receiver duty of the routing of realm named. Take it out there first.", await DeleteAsync("escalation-policies", policy));
        Assert.Equal("on-call/anna/phone is named by user anna of realm named. Name another channel there first.", await DeleteAsync("channels", phone));

        // Another channel takes its place: nobody is told into nothing.
        using var operating = world.Client(Role.Admin, "*");
        var general = await MadeAsync(operating, "channels", new { realm = "*", name = "pager", kind = "webhook", settings = new { url = $"{world.Receiver.Url}/general-pager" } });
        Assert.Equal("", await DeleteAsync("channels", channel));
        Assert.Contains("receiver duty of the routing of realm named; escalation policy climb", await DeleteAsync("channels", general, operating), StringComparison.Ordinal);
        await RouteAsync(new { route = new { receiver = "duty" }, receivers = new[] { new { name = "duty", channels = (string[])["ntfy"] } } });
        Assert.Equal("", await DeleteAsync("escalation-policies", policy));
        Assert.Equal("", await DeleteAsync("channels", general, operating));
        Assert.Equal("", await DeleteAsync("on-call/users", user));

        async Task<JsonElement> MadeAsync(HttpClient by, string path, object body)
        {
            using var answer = await by.PostAsJsonAsync($"api/v1/monitoring/{path}", body, Ct);
            var text = await answer.Content.ReadAsStringAsync(Ct);
            Assert.True(answer.StatusCode == HttpStatusCode.Created, text);
            return JsonElement.Parse(text).GetProperty("data");
        }

        async Task RouteAsync(object body)
        {
            using var answer = await admin.PutAsJsonAsync("api/v1/monitoring/routing", body, Ct);
            Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Ct));
        }

        async Task<string?> DeleteAsync(string path, JsonElement thing, HttpClient? by = null)
        {
            using var answer = await (by ?? admin).DeleteAsync(new Uri($"api/v1/monitoring/{path}/{Id(thing)}", UriKind.Relative), Ct);
            var text = await answer.Content.ReadAsStringAsync(Ct);
            Assert.True(answer.StatusCode is HttpStatusCode.NoContent or HttpStatusCode.Conflict, text);
            return text.Length == 0 ? "" : JsonElement.Parse(text).GetProperty("detail").GetString();
        }
    }

    [Fact]
    public async Task The_log_is_searched_and_what_was_given_up_is_tried_again()
    {
        world.Receiver.On("/lost", 404);
        await world.WebhookAsync("lost", "/lost");
        await world.TellAsync("lost", "needle-in-the-log");
        var failed = Assert.Single(await world.SettledAsync("lost", 1));
        Assert.Equal("failed", failed.GetProperty("state").GetString());

        foreach (var query in (string[])["text=needle-in-the", "channel=lost&state=failed&kind=alert", "receiver=team&text=refused%20with%20404", "text=needle_in_the"])
        {
            var found = (await world.GetAsync($"notifications?{query}")).GetProperty("items").EnumerateArray().Select(one => one.GetProperty("channel").GetString()).ToArray();
            Assert.Equal(query.Contains('_', StringComparison.Ordinal) ? [] : ["lost"], found);
        }

        world.Receiver.On("/lost", 200);
        await world.PostAsync($"notifications/{Id(failed)}/retry");

        await world.Receiver.WaitAtAsync("/lost", 2);
        await Testing.Eventually.TrueAsync(async () => (await world.GetAsync("notifications?channel=lost")).GetProperty("items")[0].GetProperty("state").GetString() == "delivered", because: "the second try is delivered");
        Assert.Single(world.Receiver.At("/lost").Select(request => request.Headers["webhook-id"]).Distinct());
        using var again = await world.Admin.PostAsync(new Uri($"api/v1/monitoring/notifications/{Id(failed)}/retry", UriKind.Relative), null, Ct);
        Assert.Equal(HttpStatusCode.Conflict, again.StatusCode);
    }

    [Fact]
    public async Task The_document_of_the_API_knows_channels()
    {
        var document = JsonElement.Parse(await world.Admin.GetStringAsync(new Uri("openapi/v1.json", UriKind.Relative), Ct));

        Assert.True(document.GetProperty("paths").TryGetProperty("/api/v1/monitoring/channels/{id}/test", out _));
    }

    private static string Id(JsonElement channel) => channel.GetProperty("id").GetString()!;
}
