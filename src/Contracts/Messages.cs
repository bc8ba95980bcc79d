namespace Platform.Contracts;

/// <summary>
/// A fact that one service tells the others: past tense, additive changes only (a breaking change is a new record with <c>.v2</c>).
/// Id, time, trace and correlation ride in the envelope, not in the record.
/// </summary>
public interface IMessage
{
    /// <summary>Routing key on the exchange <c>platform</c>: <c>service.thing.happened.v1</c>.</summary>
    static abstract string Topic { get; }
}

/// <summary>
/// Who hears what: the whole bus on one page. Sender and hearer both declare these queues, so that a fact told before its hearer
/// ever ran is kept. A service has at most one consumer per topic; its queue is named <c>service.topic</c>.
/// </summary>
public static class Subscriptions
{
    public static IReadOnlyList<Subscription> All { get; } =
    [
        new("alerting", EventsStored.Topic),
        new("alerting", HealthChanged.Topic),
        new("incidents", AlertFired.Topic),
        new("incidents", AlertResolved.Topic),
        new("incidents", AlertAcknowledged.Topic),
        new("incidents", NotificationAttempted.Topic),
        new("incidents", HealthChanged.Topic),
        new("incidents", Audited.Topic),
        new("compliance", Audited.Topic),
    ];
}

/// <param name="Service">The service whose queue it is, by its resource name.</param>
public sealed record Subscription(string Service, string Topic)
{
    public string Queue => $"{Service}.{Topic}";
}
