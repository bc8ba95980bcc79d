using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.Notifications;

namespace Platform.Alerting.Tests;

/// <summary>The log of notifications, searched for a text that no index knows.</summary>
public sealed class NotificationSearchTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_search_reads_so_many_at_a_time_and_its_pages_lead_to_everything()
    {
        await using var services = world.Replica();
        var notifications = services.GetRequiredService<NotificationStore>();
        for (var i = 0; i < 25; i++)
        {
            var group = i is 3 or 4 or 23 ? $"needle-{i}" : $"hay-{i}";
            await world.InTransactionAsync(async tx =>
            {
                await notifications.EnqueueAsync(tx, [ChannelWorld.Outgoing("webhook", group)], world.Clock.Now.AddSeconds(i), Ct);
                return true;
            });
        }

        var filter = new NotificationFilter("default", Channel: "webhook", Text: "needle-", SearchAtMost: 10);
        var pages = new List<string>();
        Cursor? after = null;
        do
        {
            var page = await notifications.ListAsync(filter, after, 5, Ct);
            pages.Add(string.Join(' ', page.Items.Select(one => one.GroupKey)));
            after = page.Next;
        }
        while (after is not null && pages.Count < 10);

        Assert.Equal(["needle-23", "", "needle-4 needle-3"], pages);
        // A full page goes on behind its last item.
        var first = await notifications.ListAsync(filter with { SearchAtMost = 100 }, null, 2, Ct);
        var second = await notifications.ListAsync(filter with { SearchAtMost = 100 }, first.Next, 2, Ct);
        Assert.Equal(["needle-23", "needle-4", "needle-3"], first.Items.Concat(second.Items).Select(one => one.GroupKey));
        Assert.Null(second.Next);
    }
}
