using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>What becomes of notifications when receivers refuse, fail, hang, ask for time, or come back.</summary>
public sealed class ChannelDeliveryTests(ChannelWorld world, ITestOutputHelper output) : IClassFixture<ChannelWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_is_refused_goes_to_the_fallback_with_the_reason_and_one_alert_says_so_until_the_channel_delivers_again()
    {
        world.Receiver.On("/refusing", 403);
        await world.WebhookAsync("refusing-net", "/refusing-net");
        var channel = await world.WebhookAsync("refusing", "/refusing", new { fallback = "refusing-net" });
        await world.TellAsync("refusing", "r1");
        await world.TellAsync("refusing", "r2");

        var caught = await world.Receiver.WaitAtAsync("/refusing-net", 2);

        Assert.All(caught, request => Assert.StartsWith("refusing could not tell this (the receiver refused with 403); first notification", request.Body.GetProperty("notification_reason").GetString(), StringComparison.Ordinal));
        Assert.Equal(["fallback", "fallback"], (await world.SettledAsync("refusing-net", 2)).Select(one => one.GetProperty("kind").GetString()));
        var alert = Assert.Single(await AlertsAsync("refusing"));
        Assert.Equal(("NotificationDeliveryFailed", "firing"), (alert.GetProperty("name").GetString(), alert.GetProperty("state").GetString()));

        world.Receiver.On("/refusing", 200);
        await world.TellAsync("refusing", "r1", NotificationStatus.Resolved, "all alerts resolved");

        await Eventually.TrueAsync(async () => Assert.Single(await AlertsAsync("refusing")).GetProperty("state").GetString() == "resolved", because: "the alert about the channel resolves");
        // Whoever was told of the beginning in its place hears of the end, too.
        caught = await world.Receiver.WaitAtAsync("/refusing-net", 3);
        Assert.Equal(("resolved", "r1"), (caught[2].Body.GetProperty("status").GetString(), caught[2].Body.GetProperty("groupKey").GetString()));
        Assert.Equal(JsonValueKind.Null, (await world.GetAsync($"channels/{channel.GetProperty("id").GetString()}")).GetProperty("health").GetProperty("paused_until").ValueKind);
    }

    [Fact]
    public async Task What_is_not_delivered_in_time_goes_to_the_fallback_in_order_although_nobody_ever_answered()
    {
        world.Receiver.On("/hanging", context => HangAsync(context));
        await world.WebhookAsync("hanging-net", "/hanging-net");
        await world.WebhookAsync("hanging", "/hanging", new { fallback = "hanging-net", deadline_seconds = 3 });
        for (var group = 0; group < 10; group++)
        {
            await world.TellAsync([ChannelWorld.Outgoing("hanging", $"h{group}"), ChannelWorld.Outgoing("hanging", $"h{group}", NotificationStatus.Resolved, "all alerts resolved")]);
        }

        var caught = await world.Receiver.WaitAtAsync("/hanging-net", 20);

        Assert.Equal(20, caught.Count);
        foreach (var group in caught.GroupBy(request => request.Body.GetProperty("groupKey").GetString()))
        {
            Assert.Equal(["firing", "resolved"], group.Select(request => request.Body.GetProperty("status").GetString()));
        }

        var attempts = (await world.SettledAsync("hanging", 20)).SelectMany(one => one.GetProperty("attempts").EnumerateArray());
        Assert.Contains(attempts, attempt => attempt.GetProperty("reason").GetString() == "no answer within 1 s");
        Assert.Single(await AlertsAsync("hanging"));
    }

    [Fact]
    public async Task An_alert_about_a_channel_ends_when_the_channel_is_deleted()
    {
        world.Receiver.On("/brief", 404);
        var channel = await world.WebhookAsync("brief", "/brief");
        await world.TellAsync("brief", "b");
        await Eventually.TrueAsync(async () => (await AlertsAsync("brief")) is [var alert] && alert.GetProperty("state").GetString() == "firing", because: "the alert about the channel fires");

        using var deleted = await world.Admin.DeleteAsync(new Uri($"api/v1/monitoring/channels/{channel.GetProperty("id").GetString()}", UriKind.Relative), Ct);
        deleted.EnsureSuccessStatusCode();

        await Eventually.TrueAsync(async () => Assert.Single(await AlertsAsync("brief")).GetProperty("state").GetString() == "resolved", because: "it is over");
        Assert.Equal(0, await world.Db.FindAsync($"select count(*) from channel_states where channel = 'brief'", row => row.GetInt64(0), Ct));
    }

    [Fact]
    public async Task Two_channels_that_fall_back_on_each_other_do_not_hand_a_page_to_and_fro()
    {
        world.Receiver.On("/ping", 404);
        world.Receiver.On("/pong", 404);
        var ping = await world.WebhookAsync("ping", "/ping");
        await world.WebhookAsync("pong", "/pong", new { fallback = "ping" });
        using var circle = await world.Admin.PutAsJsonAsync($"api/v1/monitoring/channels/{ping.GetProperty("id").GetString()}", new { settings = new { }, fallback = "pong" }, Ct);
        circle.EnsureSuccessStatusCode();
        await world.TellAsync("ping", "p");

        Assert.Equal("fallback", Assert.Single(await world.SettledAsync("pong", 1)).GetProperty("kind").GetString());
        await world.TellAsync("ping", "later");
        Assert.Equal(["p", "later"], (await world.SettledAsync("pong", 2)).Select(one => one.GetProperty("group_key").GetString()));
        Assert.Equal(["alert", "alert"], (await world.SettledAsync("ping", 2)).Select(one => one.GetProperty("kind").GetString()));
    }

    [Fact]
    public async Task After_429_the_whole_channel_is_left_alone_until_the_date_that_the_receiver_names()
    {
        var until = DateTimeOffset.UtcNow.AddSeconds(4);
        var calls = 0;
        world.Receiver.On("/busy", context =>
        {
            if (Interlocked.Increment(ref calls) == 1)
            {
                context.Response.StatusCode = 429;
                context.Response.Headers.RetryAfter = until.ToString("R", CultureInfo.InvariantCulture);
            }

            context.Items["at"] = DateTimeOffset.UtcNow;
            return Task.CompletedTask;
        });
        var channel = await world.WebhookAsync("busy", "/busy");
        await world.TellAsync("busy", "b1");
        await Eventually.TrueAsync(async () => (await HealthAsync(channel)).TryGetProperty("paused_until", out var paused) && paused.ValueKind == JsonValueKind.String, because: "the channel is paused");
        await world.TellAsync("busy", "b2");

        await world.SettledAsync("busy", 2);

        // Whole seconds in the date: nothing comes before it.
        var second = (await world.SettledAsync("busy", 2)).SelectMany(one => one.GetProperty("attempts").EnumerateArray()).Where(attempt => attempt.GetProperty("outcome").GetString() == "accepted");
        Assert.All(second, attempt => Assert.True(attempt.GetProperty("at").GetDateTimeOffset() >= until.AddSeconds(-1)));
        Assert.Equal(3, calls);
    }

    [Fact]
    public async Task A_connection_that_is_reset_is_tried_again_and_a_redirect_is_not_followed()
    {
        var resets = 0;
        world.Receiver.On("/reset", context =>
        {
            if (Interlocked.Increment(ref resets) <= 2)
            {
                context.Abort();
            }

            return Task.CompletedTask;
        });
        world.Receiver.On("/moved", context =>
        {
            context.Response.Redirect($"{world.Receiver.Url}/moved-target");
            return Task.CompletedTask;
        });
        await world.WebhookAsync("reset", "/reset");
        await world.WebhookAsync("moved", "/moved");
        await world.TellAsync("reset", "reset");
        await world.TellAsync("moved", "moved");

        Assert.Equal("delivered", Assert.Single(await world.SettledAsync("reset", 1)).GetProperty("state").GetString());
        Assert.Single(world.Receiver.At("/reset").Select(request => request.Headers["webhook-id"]).Distinct());
        Assert.Equal("failed", Assert.Single(await world.SettledAsync("moved", 1)).GetProperty("state").GetString());
        Assert.Empty(world.Receiver.At("/moved-target"));
    }

    [Fact]
    public async Task A_dead_receiver_takes_no_other_ones_time_and_gets_everything_when_it_is_back()
    {
        const int groups = 150;
        world.Receiver.On("/dead", context => HangAsync(context));
        var dead = await world.WebhookAsync("dead", "/dead");
        await world.WebhookAsync("alive", "/alive");
        await world.TellAsync([.. Enumerable.Range(0, groups).Select(group => ChannelWorld.Outgoing("dead", $"d{group}"))]);
        await world.Receiver.WaitAtAsync("/dead", 5);

        await world.TellAsync([.. Enumerable.Range(0, 20).Select(group => ChannelWorld.Outgoing("alive", $"a{group}"))]);
        await world.SettledAsync("alive", 20);
        await Eventually.TrueAsync(async () => (await HealthAsync(dead)).GetProperty("failures").GetInt32() >= 5, because: "the dead channel is known to be dead");

        world.Receiver.On("/dead", 200);
        await world.SettledAsync("dead", groups);

        Assert.Equal(groups, await world.Db.FindAsync($"select count(*) from notifications where channel = 'dead' and state = 'delivered'", row => row.GetInt64(0), Ct));
        Assert.Equal(0, (await HealthAsync(dead)).GetProperty("failures").GetInt32());
        // Most waited behind the circuit instead of knocking at a dead door.
        Assert.True(world.Receiver.At("/dead").Count < 2 * groups, $"{world.Receiver.At("/dead").Count} requests for {groups} notifications");
    }

    [Fact]
    public async Task A_bot_keeps_one_message_per_group_and_forgets_it_with_the_end()
    {
        var next = 0;
        world.Receiver.On("/slack-api/chat.postMessage", context => context.Response.WriteAsJsonAsync(new { ok = true, channel = "C42", ts = $"{Interlocked.Increment(ref next)}.0" }, Ct));
        world.Receiver.On("/slack-api/chat.update", context => context.Response.WriteAsJsonAsync(new { ok = true, channel = "C42", ts = "1.0" }, Ct));
        await world.ChannelAsync("bot", "slack", new { token = "xoxb-secret", channel = "#ops" });
        await world.TellAsync("bot", "s");
        await world.TellAsync("bot", "s", reason: "1 alert was added");
        await world.TellAsync([ChannelWorld.Outgoing("bot", "s", reason: "acknowledged by anna") with { Kind = "acknowledged" }, ChannelWorld.Outgoing("bot", "unknown", reason: "acknowledged by anna") with { Kind = "acknowledged" }]);
        await world.TellAsync("bot", "s", NotificationStatus.Resolved, "all alerts resolved");
        await world.TellAsync("bot", "s", reason: "first notification of the next episode");

        Assert.All(await world.SettledAsync("bot", 6), one => Assert.Equal("delivered", one.GetProperty("state").GetString()));

        var posted = world.Receiver.At("/slack-api/chat.postMessage");
        var updated = world.Receiver.At("/slack-api/chat.update");
        Assert.Equal(["#ops", "C42", "C42", "C42", "#ops"], posted.Select(request => request.Body.GetProperty("channel").GetString()));
        Assert.Equal([null, "1.0", "1.0", "1.0", null], posted.Select(request => request.Body.TryGetProperty("thread_ts", out var thread) ? thread.GetString() : null));
        Assert.Equal(["1.0", "1.0", "1.0"], updated.Select(request => request.Body.GetProperty("ts").GetString()));
        Assert.All(posted, request => Assert.Equal("Bearer xoxb-secret", request.Headers["Authorization"]));
        Assert.Contains("acknowledged by anna", updated[1].Text, StringComparison.Ordinal);
        // Who takes care is shown, and rings nobody.
        Assert.Equal([true, false, false], posted.Where(request => request.Body.TryGetProperty("reply_broadcast", out _)).Select(request => request.Body.GetProperty("reply_broadcast").GetBoolean()));
    }

    [Fact]
    public async Task The_end_is_not_told_where_nobody_wants_to_hear_of_it()
    {
        await world.WebhookAsync("beginnings", "/beginnings", new { send_resolved = false });
        await world.TellAsync([ChannelWorld.Outgoing("beginnings", "g"), ChannelWorld.Outgoing("beginnings", "g", NotificationStatus.Resolved), ChannelWorld.Outgoing("beginnings", "h")]);

        Assert.Equal(["g", "h"], (await world.SettledAsync("beginnings", 2)).Select(one => one.GetProperty("group_key").GetString()).Order(StringComparer.Ordinal));
        Assert.Equal(2, await world.Db.FindAsync($"select count(*) from notifications where channel = 'beginnings'", row => row.GetInt64(0), Ct));
    }

    [Fact]
    public async Task Critical_pages_do_not_wait_behind_a_bucket_full_of_others()
    {
        await world.WebhookAsync("narrow", "/narrow", new { rate_per_minute = 60 });
        await world.TellAsync([.. Enumerable.Range(0, 14).Select(group => ChannelWorld.Outgoing("narrow", $"n{group}", severity: Severity.Low)), ChannelWorld.Outgoing("narrow", "urgent", severity: Severity.Critical)]);

        await world.Receiver.WaitAtAsync("/narrow", 11);

        var first = world.Receiver.At("/narrow").Take(10).Select(request => request.Body.GetProperty("groupKey").GetString());
        Assert.Contains("urgent", first);
    }

    [Fact]
    public async Task A_notification_for_a_channel_that_was_deleted_ends_and_one_for_a_setting_that_is_missing_waits()
    {
        var channel = await world.WebhookAsync("doomed", "/doomed");
        world.Receiver.On("/doomed", 503);
        await world.TellAsync("doomed", "d");
        await world.Receiver.WaitAtAsync("/doomed", 1);
        using var deleted = await world.Admin.DeleteAsync(new Uri($"api/v1/monitoring/channels/{channel.GetProperty("id").GetString()}", UriKind.Relative), Ct);
        deleted.EnsureSuccessStatusCode();
        await world.TellAsync("no-such-setting", "n");
        Assert.DoesNotContain(await AlertsAsync("doomed"), alert => alert.GetProperty("state").GetString() == "firing");

        Assert.Equal("the channel was deleted", Assert.Single(await world.SettledAsync("doomed", 1)).GetProperty("attempts").EnumerateArray().Last().GetProperty("reason").GetString());
        await Eventually.TrueAsync(async () => (await world.GetAsync("notifications?channel=no-such-setting")).GetProperty("items")[0] is var waiting
            && waiting.GetProperty("state").GetString() == "pending" && waiting.GetProperty("attempts").GetArrayLength() > 0, because: "it was tried and waits");
    }

    [Fact]
    public async Task Thousands_reach_one_receiver_once_each_and_in_order_per_group()
    {
        const int groups = 500;
        const int each = 8;
        world.Receiver.On("/fast", _ => Task.CompletedTask);
        await world.WebhookAsync("fast", "/fast", new { rate_per_minute = 0 });
        var clock = Stopwatch.StartNew();
        for (var round = 0; round < each; round++)
        {
            await world.TellAsync([.. Enumerable.Range(0, groups).Select(group => ChannelWorld.Outgoing("fast", $"f{group}", reason: $"{round}"))]);
        }

        var received = await world.Receiver.WaitAtAsync("/fast", groups * each, TimeSpan.FromMinutes(2));

        output.WriteLine($"{groups * each / clock.Elapsed.TotalSeconds:0} notifications/s");
        Assert.Equal(groups * each, received.Select(request => request.Headers["webhook-id"]).Distinct().Count());
        foreach (var group in received.GroupBy(request => request.Body.GetProperty("groupKey").GetString()))
        {
            Assert.Equal(Enumerable.Range(0, each).Select(round => $"{round}"), group.Select(request => request.Body.GetProperty("notification_reason").GetString()));
        }
    }

    private static async Task HangAsync(HttpContext context)
    {
        try
        {
            await Task.Delay(Timeout.Infinite, context.RequestAborted);
        }
        catch (OperationCanceledException)
        {
            // The sender has lost its patience.
        }
    }

    private async Task<JsonElement> HealthAsync(JsonElement channel) =>
        (await world.GetAsync($"channels/{channel.GetProperty("id").GetString()}")).TryGetProperty("health", out var health) ? health : default;

    private async Task<List<JsonElement>> AlertsAsync(string channel) =>
        [.. (await world.GetAsync("alerts?name=NotificationDeliveryFailed")).GetProperty("items").EnumerateArray().Where(alert => alert.GetProperty("labels").GetProperty("channel").GetString() == channel)];
}
