using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;

namespace Platform.Alerting.Canaries;

/// <summary>The end of a canary's way: a channel within the process. It is the receiver, so noting the arrival is the receipt; the end of the alert is nothing to it.</summary>
public sealed class CanaryNotifier(CanaryStore canaries, TimeProvider clock) : INotifier
{
    public ChannelKind Kind => ChannelKind.Canary;

    public async Task<Answer> SendAsync(Channel channel, ChannelMessage message)
    {
        Guid[] arrived =
        [
            .. message.Content.Alerts
                .Where(alert => alert.Status == NotificationStatus.Firing)
                .Select(alert => Guid.TryParse(alert.Labels.GetValueOrDefault(Canary.Tag), out var id) ? id : Guid.Empty)
                .Where(id => id != Guid.Empty),
        ];
        if (arrived.Length > 0)
        {
            await canaries.ArrivedAsync(arrived, clock.GetUtcNow(), CancellationToken.None);
        }

        return new Answer(DeliveryOutcome.Accepted, "accepted");
    }
}
