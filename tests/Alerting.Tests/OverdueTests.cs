using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>What waits for a channel past its deadline is given up although nobody ever tried to send it. Each test has a realm.</summary>
public sealed class OverdueTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private const string Late = "the deadline passed before it could be sent";
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Lease = TimeSpan.FromMinutes(10);

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_waits_behind_a_channel_that_does_not_answer_goes_to_the_fallback_at_its_deadline_in_order()
    {
        const string realm = "mute";
        await world.ChannelAsync(realm, "net", ChannelKind.Ntfy, ("topic", "net"));
        await world.ChannelAsync(realm, "silent", ChannelKind.Ntfy, channel => channel with { Fallback = "net", Deadline = Deadline }, ("topic", "silent"));
        await using var services = world.Replica();
        var (dispatcher, deliveries) = (services.GetRequiredService<Dispatcher>(), services.GetRequiredService<DeliveryStore>());
        await TellAsync(services, Page(realm, "silent", "sent"), Page(realm, "silent", "sent", NotificationStatus.Resolved), Page(realm, "silent", "waits"), Page(realm, "silent", "waits", NotificationStatus.Resolved));
        var sent = Assert.Single(await deliveries.ClaimAsync(queue => queue.Realm == realm ? new Room(1, null, false) : Room.None, Lease, world.Clock.Now, Ct));

        world.Clock.Advance(Deadline);
        await TellAsync(services, Page(realm, "silent", "young"));
        await dispatcher.GiveUpOverdueAsync(Ct);
        Assert.Empty(await OverAsync(realm));

        world.Clock.Advance(TimeSpan.FromTicks(10));
        await dispatcher.GiveUpOverdueAsync(Ct);
        // What is being sent holds back what comes after it.
        Assert.Equal(["silent waits firing failed", "silent waits resolved failed"], await OverAsync(realm));
        await dispatcher.GiveUpOverdueAsync(Ct);
        Assert.Equal(2, (await OverAsync(realm)).Count);

        var silence = new Answer(DeliveryOutcome.TryAgain, "no answer within 1 s");
        await deliveries.SettleAsync([new Settlement(sent, null, new Attempt(sent.Attempt, world.Clock.Now, 1_000, null, silence.Outcome, silence.Reason, ""), silence, new Verdict(NotificationState.Pending, world.Clock.Now.AddMinutes(1)))], world.Clock.Now, Ct);
        await dispatcher.GiveUpOverdueAsync(Ct);

        Assert.Equal(["silent sent firing failed", "silent sent resolved failed", "silent waits firing failed", "silent waits resolved failed"], await OverAsync(realm));
        Assert.Equal(["waits firing", "waits resolved", "sent firing", "sent resolved"], await world.Db.QueryAsync(
            $"select group_key || ' ' || status from notifications where realm = {realm} and channel = 'net' and kind = 'fallback' and state = 'pending' order by number", row => row.GetString(0), Ct));
        Assert.Equal([$"silent could not tell this ({Late}); first notification"], await world.Db.QueryAsync(
            $"select distinct content->>'reason' from notifications where realm = {realm} and channel = 'net'", row => row.GetString(0), Ct));
        // Nobody was asked: no answer, no status, and how the channel fares is as it was.
        Assert.Equal([(4, Late)], await world.Db.QueryAsync($"""
            select count(*)::int, a.reason from notification_attempts a join notifications n on n.id = a.notification_id
            where n.realm = {realm} and a.status_code is null and a.duration_ms = 0 and a.outcome = 'try_again' group by a.reason
            """, row => (row.GetInt32(0), row.GetString(1)), Ct));
        Assert.Equal(1, await world.Db.FindAsync($"select failures from channel_states where realm = {realm} and channel = 'silent'", row => row.GetInt32(0), Ct));
        Assert.Equal([$"{Late}; net gets what it could not tell"], await AlertsAsync(realm));
    }

    [Fact]
    public async Task What_a_bucket_is_too_small_for_is_told_by_the_fallback_and_the_channel_is_left_alone()
    {
        const string realm = "drop";
        const int burst = 10;
        await using var receiver = await WebhookReceiver.StartAsync();
        await world.ChannelAsync(realm, "net", ChannelKind.Webhook, ("url", $"{receiver.Url}/net"));
        await world.ChannelAsync(realm, "narrow", ChannelKind.Webhook, channel => channel with { Fallback = "net", Deadline = Deadline, RatePerMinute = 1 }, ("url", $"{receiver.Url}/narrow"));
        await using var services = world.Replica(("OUTBOUND_ALLOWED_NETWORKS", "127.0.0.0/8"));
        await TellAsync(services, [
            .. Enumerable.Range(0, burst).Select(group => Page(realm, "narrow", $"n{group}")),
            Page(realm, "narrow", "late"), Page(realm, "narrow", "late", NotificationStatus.Resolved)]);
        var dispatcher = services.GetRequiredService<Dispatcher>();
        await dispatcher.StartAsync(Ct);
        try
        {
            // The clock stands still: no token drops into the bucket.
            await Eventually.TrueAsync(async () => (await OverAsync(realm)).Count(one => one.EndsWith("delivered", StringComparison.Ordinal)) == burst, because: "the bucket is empty");

            world.Clock.Advance(Deadline + TimeSpan.FromSeconds(1));

            var caught = await receiver.WaitAtAsync("/net", 2);
            Assert.Equal(["late firing", "late resolved"], caught.Select(page => $"{page.Body.GetProperty("groupKey").GetString()} {page.Status}"));
            Assert.Equal(burst, receiver.At("/narrow").Count);
            Assert.Equal([$"{Late}; net gets what it could not tell"], await AlertsAsync(realm));
        }
        finally
        {
            await dispatcher.StopAsync(Ct);
        }
    }

    [Fact]
    public async Task What_is_a_fallback_itself_is_tried_for_as_long_as_any_page_and_handed_on_to_nobody()
    {
        const string realm = "chain";
        await world.ChannelAsync(realm, "third", ChannelKind.Ntfy, ("topic", "third"));
        await world.ChannelAsync(realm, "second", ChannelKind.Ntfy, channel => channel with { Fallback = "third" }, ("topic", "second"));
        await using var services = world.Replica();
        var dispatcher = services.GetRequiredService<Dispatcher>();
        await TellAsync(services, Page(realm, "second", "own"), Page(realm, "second", "caught") with { Kind = "fallback" });

        world.Clock.Advance(new ChannelSettings().FallbackAfter + TimeSpan.FromSeconds(1));
        await dispatcher.GiveUpOverdueAsync(Ct);
        Assert.Equal(["second own firing failed"], await OverAsync(realm));

        world.Clock.Advance(new NotificationOptions().Deadline - new ChannelSettings().FallbackAfter);
        await dispatcher.GiveUpOverdueAsync(Ct);
        Assert.Equal(["second caught firing failed", "second own firing failed"], await OverAsync(realm));
        Assert.Equal(["own"], await world.Db.QueryAsync($"select group_key from notifications where realm = {realm} and channel = 'third'", row => row.GetString(0), Ct));
        // One alert for the channel, however much it loses.
        Assert.Single(await AlertsAsync(realm));
    }

    private static OutgoingNotification Page(string realm, string channel, string group, NotificationStatus status = NotificationStatus.Firing) =>
        ChannelWorld.Outgoing(channel, group, status) with { Realm = realm };

    private Task<bool> TellAsync(ServiceProvider services, params OutgoingNotification[] pages) => world.InTransactionAsync(async tx =>
    {
        await services.GetRequiredService<NotificationStore>().EnqueueAsync(tx, pages, world.Clock.Now, Ct);
        return true;
    });

    /// <summary>What is settled over channels that have a fallback.</summary>
    private Task<List<string>> OverAsync(string realm) => world.Db.QueryAsync($"""
        select n.channel || ' ' || n.group_key || ' ' || n.status || ' ' || n.state from notifications n join channels c on c.realm = n.realm and c.name = n.channel and c.fallback is not null
        where n.realm = {realm} and n.state <> 'pending' order by 1
        """, row => row.GetString(0), Ct);

    private Task<List<string>> AlertsAsync(string realm) => world.Db.QueryAsync(
        $"select annotations->>'description' from alerts where realm = {realm} and name = 'NotificationDeliveryFailed' and state = 'firing'", row => row.GetString(0), Ct);
}
