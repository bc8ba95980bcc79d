using System.Net.Http.Json;
using System.Text.Json;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>What the receiver answers, and what becomes of the notification. The tests of a class run one after the other, so each has the receiver to itself.</summary>
public sealed class DeliveryTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_receiver_that_fails_gets_the_same_webhook_again_under_the_same_id()
    {
        world.Receiver.Answer("failing", 500);
        world.Receiver.Answer("failing", 503);
        var id = await RaiseAsync("failing");

        var received = await world.Receiver.WaitAsync("failing", 3);

        Assert.Single(received.Select(one => one.Id).Distinct());
        Assert.Single(received.Select(one => one.Text).Distinct());
        var notification = await SettledAsync(id);
        Assert.Equal("delivered", notification.GetProperty("state").GetString());
        Assert.Equal(
            [(1, "try_again", 500), (2, "try_again", 503), (3, "accepted", 200)],
            notification.GetProperty("attempts").EnumerateArray().Select(one => (one.GetProperty("number").GetInt32(), one.GetProperty("outcome").GetString(), one.GetProperty("status_code").GetInt32())));
    }

    [Fact]
    public async Task A_receiver_that_asks_to_wait_is_left_alone_that_long()
    {
        world.Receiver.Answer("waiting", 429, "4");
        await RaiseAsync("waiting");

        var received = await world.Receiver.WaitAsync("waiting", 2);

        Assert.True(received[1].At - received[0].At >= TimeSpan.FromSeconds(3.9));
        Assert.Equal(received[0].Id, received[1].Id);
    }

    [Fact]
    public async Task A_receiver_that_refuses_is_not_asked_again()
    {
        world.Receiver.Answer("refused", 404);
        var id = await RaiseAsync("refused");

        var notification = await SettledAsync(id);

        Assert.Equal("failed", notification.GetProperty("state").GetString());
        Assert.Equal("refused", notification.GetProperty("attempts")[0].GetProperty("outcome").GetString());
        Assert.Equal("not now", notification.GetProperty("attempts")[0].GetProperty("response").GetString());
    }

    [Fact]
    public async Task The_end_never_overtakes_the_beginning()
    {
        world.Receiver.Answer("ordered", 503, "2");
        var id = await RaiseAsync("ordered");
        await world.Receiver.WaitAsync("ordered", 1);
        using (var answer = await world.Moderator.PostAsync(new Uri($"api/v1/monitoring/alerts/{id}/resolve", UriKind.Relative), null, Ct))
        {
            answer.EnsureSuccessStatusCode();
        }

        var received = await world.Receiver.WaitAsync("ordered", 3);

        Assert.Equal(["firing", "firing", "resolved"], received.Select(one => one.Status));
    }

    [Fact]
    public async Task A_notification_whose_sender_was_killed_is_sent_by_the_next()
    {
        world.Receiver.Answer("orphaned", 503);
        var id = await RaiseAsync("orphaned");
        await world.Receiver.WaitAsync("orphaned", 1);
        await world.Service.KillAsync();
        // As a process leaves it that dies between the answer and its record.
        await using (var claim = world.Db.CreateCommand("update notifications set state = 'pending', claimed_until = now() + interval '3 seconds', next_attempt_at = now() where $1 = any(alert_ids)"))
        {
            claim.Parameters.Add(new() { Value = id });
            await claim.ExecuteNonQueryAsync(Ct);
        }

        world.Service = await world.StartAsync();

        var received = await world.Receiver.WaitAsync("orphaned", 2);
        Assert.Equal(received[0].Id, received[1].Id);
        Assert.Equal("delivered", (await SettledAsync(id)).GetProperty("state").GetString());
    }

    [Fact]
    public async Task Every_attempt_is_told_to_the_other_services()
    {
        var id = await RaiseAsync("told");
        await SettledAsync(id);

        // Nobody consumes on this broker, so the outbox has been carried into the queue of Incidents.
        await Eventually.TrueAsync(async () => await world.CountAsync($"select count(*) from outbox") == 0, because: "the outbox is empty");
    }

    private async Task<Guid> RaiseAsync(string name)
    {
        using var answer = await world.Moderator.PostAsJsonAsync("monitoring/alerts/create/", new { name, severity = "high", message = "Test alert" }, Ct);
        answer.EnsureSuccessStatusCode();
        return (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("data").GetProperty("id").GetGuid();
    }

    private async Task<JsonElement> SettledAsync(Guid alert)
    {
        var found = await Eventually.GetAsync<object>(async () =>
            (await world.GetAsync($"api/v1/monitoring/notifications?alert_id={alert}")).GetProperty("items").EnumerateArray().FirstOrDefault(one => one.GetProperty("state").GetString() != "pending")
                is { ValueKind: JsonValueKind.Object } one ? one : null, because: "the notification is settled");
        return (JsonElement)found;
    }
}
