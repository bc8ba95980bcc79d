namespace Platform.Alerting.Tests;

/// <summary>From a batch of events to what a receiver of webhooks holds.</summary>
public sealed class RuleToWebhookTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Five_failed_logins_from_one_address_reach_the_receiver_as_a_version_4_webhook()
    {
        var last = world.Start.AddSeconds(40);
        await world.TellAsync([.. Enumerable.Range(0, 5).Select(i => TestEvent.FailedLogin(world.Start.AddSeconds(10 * i), "203.0.113.9"))]);

        var received = Assert.Single(await world.Receiver.WaitAsync("203.0.113.9", 1));

        Assert.Equal("4", received.Body.GetProperty("version").GetString());
        Assert.Equal("firing", received.Status);
        Assert.Equal("auth_failures", received.Label("alertname"));
        Assert.Equal("203.0.113.9", received.Label("ip_address"));
        Assert.Equal("high", received.Label("severity"));
        Assert.Equal(last, received.StartsAt);
        Assert.Equal("first notification", received.Body.GetProperty("notification_reason").GetString());
        Assert.Equal("0001-01-01T00:00:00Z", received.Body.GetProperty("alerts")[0].GetProperty("endsAt").GetString());
        Assert.StartsWith("v1,", received.Signature, StringComparison.Ordinal);
    }
}
