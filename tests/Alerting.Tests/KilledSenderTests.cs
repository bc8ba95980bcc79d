using System.Net.Http.Json;
using System.Text.Json;
using Platform.Alerting.Routing;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>kill -9 at each place between an alert and its page. Where exactly a process dies is held open by a lock of the test, or by the receiver.</summary>
public sealed class KilledSenderTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_alert_whose_process_died_before_it_was_grouped_is_told_by_the_next()
    {
        Guid alert;
        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        await using (var flushing = await connection.BeginTransactionAsync(Ct))
        {
            await GroupStore.LockAsync(flushing, Ct);
            alert = await RaiseAsync("not-grouped");
            await world.Service.KillAsync();
            Assert.Equal((1, 0), (await world.CountAsync($"select count(*) from alert_news where alert_id = {alert}"), await NotificationsAsync(alert)));
        }

        world.Service = await world.StartAsync();

        Assert.Single(await world.Receiver.WaitAsync("not-grouped", 1));
        await DeliveredAsync(alert);
        Assert.Equal(1, await NotificationsAsync(alert));
    }

    [Fact]
    public async Task A_notification_whose_process_died_before_it_was_sent_is_sent_by_the_next()
    {
        await DeliveredAsync(await RaiseAsync("before-it"));
        Guid alert;
        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        await using (var claiming = await connection.BeginTransactionAsync(Ct))
        {
            await claiming.ExecuteAsync($"select 1 from channel_states where channel = 'webhook' for update", Ct);
            alert = await RaiseAsync("not-sent");
            await Eventually.TrueAsync(async () => await NotificationsAsync(alert) == 1, because: "the notification is written");
            await world.Service.KillAsync();
        }

        Assert.Empty(world.Receiver.Of("not-sent"));
        world.Service = await world.StartAsync();

        Assert.Single(await world.Receiver.WaitAsync("not-sent", 1));
        await DeliveredAsync(alert);
    }

    [Fact]
    public async Task What_was_taken_and_not_recorded_comes_again_under_the_same_key_and_before_the_end()
    {
        // So that a claim ends after 24 seconds.
        await world.Service.KillAsync();
        world.Service = await world.StartAsync(("ALERT_WEBHOOK_TIMEOUT_SECONDS", "2"), ("ALERT_SMTP_TIMEOUT_SECONDS", "1"));
        var (arrived, locked, answered) = (Moment(), Moment(), Moment());
        world.Receiver.On("/", async _ =>
        {
            arrived.TrySetResult();
            await locked.Task;
            answered.TrySetResult();
        });
        var alert = await RaiseAsync("not-recorded");
        await arrived.Task.WaitAsync(TimeSpan.FromSeconds(30), Ct);
        await using (var connection = await world.Db.OpenConnectionAsync(Ct))
        await using (var settling = await connection.BeginTransactionAsync(Ct))
        {
            await settling.ExecuteAsync($"select 1 from notifications where {alert} = any(alert_ids) for update", Ct);
            locked.SetResult();
            await answered.Task;
            await world.Service.KillAsync();
        }

        world.Service = await world.StartAsync();
        using (var answer = await world.Moderator.PostAsync(new Uri($"api/v1/monitoring/alerts/{alert}/resolve", UriKind.Relative), null, Ct))
        {
            answer.EnsureSuccessStatusCode();
        }

        await Eventually.TrueAsync(() => world.Receiver.Of("not-recorded") is [.., { Status: "resolved" }], TimeSpan.FromMinutes(2), "the end is told");
        var received = world.Receiver.Of("not-recorded");
        Assert.Single(received, page => page.Status == "resolved");
        // Told more than once, by one key.
        Assert.True(received.Count > 2);
        Assert.Single(received.SkipLast(1).Select(page => page.Id).Distinct());
    }

    private static TaskCompletionSource Moment() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private Task<long> NotificationsAsync(Guid alert) => world.CountAsync($"select count(*) from notifications where {alert} = any(alert_ids)");

    private Task DeliveredAsync(Guid alert) => Eventually.TrueAsync(
        async () => await world.CountAsync($"select count(*) from notifications where {alert} = any(alert_ids) and state = 'delivered'") == 1, because: "it is recorded as delivered");

    private async Task<Guid> RaiseAsync(string name)
    {
        using var answer = await world.Moderator.PostAsJsonAsync("monitoring/alerts/create/", new { name, severity = "high", message = "Test alert" }, Ct);
        answer.EnsureSuccessStatusCode();
        return (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("data").GetProperty("id").GetGuid();
    }
}
