using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>Two processes of Alerting on one database. Their claims end after 22 seconds.</summary>
public sealed class TwoReplicas : IAsyncLifetime
{
    internal ChannelWorld World { get; } = new([("ALERT_SMTP_TIMEOUT_SECONDS", "1")]);

    public async ValueTask InitializeAsync()
    {
        await World.InitializeAsync();
        await SecondAsync();
    }

    /// <summary>Starts the second again, after it was killed.</summary>
    internal Task SecondAsync() => World.StartAsync(("ALERT_SMTP_TIMEOUT_SECONDS", "1"));

    public ValueTask DisposeAsync() => World.DisposeAsync();
}

/// <summary>What replicas share about a channel: its bucket, its circuit, and the order of what it tells.</summary>
public sealed class SharedChannelTests(TwoReplicas replicas) : IClassFixture<TwoReplicas>
{
    private readonly ChannelWorld _world = replicas.World;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Two_replicas_draw_from_one_bucket()
    {
        const int burst = 10;
        await _world.WebhookAsync("narrow", "/narrow", new { rate_per_minute = 60 });
        var began = DateTimeOffset.UtcNow;
        await _world.TellAsync([.. Enumerable.Range(0, burst + 5).Select(group => ChannelWorld.Outgoing("narrow", $"n{group}"))]);

        var received = await _world.Receiver.WaitAtAsync("/narrow", burst + 5);

        // Ten at once, and then one a second: none of the further ones comes before its second.
        for (var further = 0; further < 5; further++)
        {
            Assert.True(received[burst + further].At >= began.AddSeconds(further + 0.9), $"the {burst + further + 1}th came {(received[burst + further].At - began).TotalSeconds:0.0} s after the first was written");
        }
    }

    [Fact]
    public async Task Two_replicas_leave_a_silent_channel_alone_together_and_try_it_with_one_notification_at_a_time()
    {
        const int groups = 100;
        _world.Receiver.On("/silent", 500);
        await _world.WebhookAsync("silent", "/silent");
        await _world.TellAsync([.. Enumerable.Range(0, groups).Select(group => ChannelWorld.Outgoing("silent", $"s{group}"))]);
        // From here on nobody has anything in hand but a try.
        DateTimeOffset? alone = null;
        await Eventually.TrueAsync(
            async () => (alone = await _world.Db.FindAsync($"""
                select clock_timestamp() from channel_states s where channel = 'silent' and failures >= 5
                    and not exists (select 1 from notifications where channel = 'silent' and claimed_until is not null)
                """, row => (DateTimeOffset?)row.GetTime(0), Ct)) is not null,
            because: "the channel is left alone");

        List<DateTimeOffset> tries = [];
        await Eventually.TrueAsync(
            async () => (tries = await _world.Db.QueryAsync($"""
                select a.at from notification_attempts a join notifications n on n.id = a.notification_id where n.channel = 'silent' and a.at > {alone} order by a.at
                """, row => row.GetTime(0), Ct)).Count >= 4,
            because: "the channel was tried four times");
        Assert.All(tries.Zip(tries.Skip(1), (one, next) => next - one), pause => Assert.True(pause >= TimeSpan.FromSeconds(0.9), $"two tries within {pause.TotalSeconds:0.000} s"));

        _world.Receiver.On("/silent", 200);
        await DeliveredAsync("silent", groups);
        Assert.Equal(groups, _world.Receiver.At("/silent").Where(page => page.Accepted).DistinctBy(page => page.Id).Count());
    }

    [Fact]
    public async Task What_a_killed_replica_had_in_hand_the_other_sends_under_the_same_keys_and_in_order()
    {
        const int groups = 150;
        const int each = 4;
        _world.Receiver.On("/shared", _ => Task.CompletedTask);
        await _world.WebhookAsync("shared", "/shared");
        for (var round = 0; round < each; round++)
        {
            await _world.TellAsync([.. Enumerable.Range(0, groups).Select(group => ChannelWorld.Outgoing("shared", $"g{group}", reason: $"{round}"))]);
        }

        await _world.Receiver.WaitAtAsync("/shared", groups);
        await _world.Service.KillAsync();
        await DeliveredAsync("shared", groups * each);

        var received = _world.Receiver.At("/shared");
        Assert.Equal(groups * each, received.DistinctBy(page => page.Id).Count());
        foreach (var group in received.GroupBy(page => page.Body.GetProperty("groupKey").GetString()))
        {
            var rounds = group.Select(page => int.Parse(page.Body.GetProperty("notification_reason").GetString()!, System.Globalization.CultureInfo.InvariantCulture)).ToList();
            Assert.Equal(rounds.Order(), rounds);
            Assert.Equal(each, rounds.Distinct().Count());
        }

        await replicas.SecondAsync();
    }

    private Task DeliveredAsync(string channel, int count) => Eventually.TrueAsync(
        async () => await _world.Db.FindAsync($"select count(*) from notifications where channel = {channel} and state = 'delivered'", row => row.GetInt64(0), Ct) == count,
        TimeSpan.FromMinutes(2),
        $"{count} notifications over {channel} are delivered");
}
