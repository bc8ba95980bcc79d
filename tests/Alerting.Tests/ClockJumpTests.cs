using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.Alerts;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>The wall clock leaps forward by hours, or is set back by one. Each test has a realm; the clock is one for all.</summary>
public sealed class ClockJumpTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task After_a_leap_of_hours_each_group_is_told_what_is_due_once()
    {
        await world.RouteAsync("forward", GroupingWorld.Grouped);
        await world.FireAsync("forward", "Known", Severity.High, ("host", "a"));
        var acknowledged = await world.FireAsync("forward", "Acknowledged", Severity.Critical, ("host", "c"));
        await world.FlushAsync();
        world.Clock.Advance(TimeSpan.FromSeconds(30));
        await world.AcknowledgeAsync(acknowledged, TimeSpan.FromMinutes(30));
        await world.SilenceAsync("forward", TimeSpan.FromHours(1), "{host=\"d\"}");
        await world.FireAsync("forward", "Silenced", Severity.Critical, ("host", "d"));
        await world.FireAsync("forward", "Waiting", Severity.High, ("host", "e"));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: a", "webhook: first notification: c"], (await world.ToldAsync("forward")).Order(StringComparer.Ordinal));

        world.Clock.Advance(TimeSpan.FromHours(6));
        await ActivatorUtilities.CreateInstance<AlertEndings>(world.Replica()).TickAsync(Ct);
        await world.FlushAsync();

        Assert.Equal(
            ["webhook: acknowledgement by anna timed out: c", "webhook: first notification: d", "webhook: first notification: e", "webhook: repeat interval elapsed: a"],
            (await world.ToldAsync("forward")).Order(StringComparer.Ordinal));
        world.Clock.Advance(TimeSpan.FromHours(1));
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("forward"));
    }

    [Fact]
    public async Task Silence_of_a_sender_counts_only_while_somebody_listened()
    {
        var endings = ActivatorUtilities.CreateInstance<AlertEndings>(world.Replica());
        await endings.TickAsync(Ct);
        var alert = GroupingWorld.Alert("deaf", "Pushed", Severity.High, world.Clock.Now) with { ExpiresAt = world.Clock.Now.AddMinutes(4) };
        await world.InTransactionAsync(tx => world.Alerts.FireAsync(tx, alert, Ct));

        // A leap of the clock and a process that starts after a long time are the same to a sender.
        world.Clock.Advance(TimeSpan.FromHours(2));
        await endings.TickAsync(Ct);
        for (var half = 0; half < 9; half++)
        {
            world.Clock.Advance(TimeSpan.FromSeconds(30));
            await endings.TickAsync(Ct);
        }

        Assert.Equal(AlertState.Firing, (await world.GetAsync(alert.Id)).State);
        world.Clock.Advance(TimeSpan.FromSeconds(30));
        await endings.TickAsync(Ct);
        Assert.Equal(AlertState.Resolved, (await world.GetAsync(alert.Id)).State);
    }

    [Fact]
    public async Task A_clock_that_is_set_back_delays_nobody_and_tells_nothing_twice()
    {
        await world.RouteAsync("back", GroupingWorld.Grouped);
        var a = await world.FireAsync("back", "Known", Severity.High, ("host", "a"));
        await world.FlushAsync();
        world.Clock.Advance(TimeSpan.FromSeconds(30));
        await world.SilenceAsync("back", TimeSpan.FromMinutes(30), "{host=\"s\"}");
        await world.FireAsync("back", "Silenced", Severity.Critical, ("host", "s"));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: a"], await world.ToldAsync("back"));

        // An hour ahead for a while: the silence ends, alerts begin, and wait for their time.
        world.Clock.Advance(TimeSpan.FromHours(1));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: s"], await world.ToldAsync("back"));
        await world.FireAsync("back", "Known", Severity.High, ("host", "b"));
        await world.FireAsync("back", "Fresh", Severity.High, ("host", "c"));
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("back"));
        await world.FireAsync("back", "Unseen", Severity.Critical, ("host", "d"));

        world.Clock.Advance(-TimeSpan.FromHours(1));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: c", "webhook: first notification: d"], (await world.ToldAsync("back")).Order(StringComparer.Ordinal));
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("back"));

        // The silence holds again, and what is added to a group that was told just now keeps the pace of the route.
        await world.FireAsync("back", "Silenced", Severity.Critical, ("host", "s"), ("more", "yes"));
        await world.FireAsync("back", "Known", Severity.High, ("host", "f"));
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("back"));
        world.Clock.Advance(TimeSpan.FromMinutes(5));
        await world.ResolveAsync(a);
        await world.FlushAsync();
        Assert.Equal(["webhook: all alerts resolved: -a", "webhook: first notification: f b"], await world.ToldAsync("back"));
    }

    [Fact]
    public async Task What_waits_for_its_next_attempt_is_sent_when_the_clock_is_set_back()
    {
        await using var receiver = await WebhookReceiver.StartAsync();
        await using var services = world.Replica(("ALERT_WEBHOOK_URL", receiver.Url), ("OUTBOUND_ALLOWED_NETWORKS", "127.0.0.0/8"));
        // A wait that stands still with the clock: nothing comes again by itself.
        receiver.Answer("\"paused\"", 429, "60");
        var dispatcher = services.GetRequiredService<Dispatcher>();
        await dispatcher.StartAsync(Ct);
        try
        {
            await world.FireAsync("waits", "Paused", Severity.High, ("host", "paused"));
            await world.FlushAsync();
            await Eventually.TrueAsync(
                async () => await world.Db.FindAsync($"select count(*) from channel_states where channel = 'webhook' and paused_until > {world.Clock.Now}", row => row.GetInt64(0), Ct) == 1,
                because: "the channel is paused");

            world.Clock.Advance(-TimeSpan.FromHours(1));

            var received = await receiver.WaitAsync("\"paused\"", 2);
            Assert.Equal(received[0].Id, received[1].Id);
        }
        finally
        {
            await dispatcher.StopAsync(Ct);
        }
    }
}
