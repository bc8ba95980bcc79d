using System.Diagnostics.Metrics;
using Platform.Alerting.Channels;
using Platform.Alerting.Notifications;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting;

/// <summary>What the service counts about itself.</summary>
public sealed class AlertingMetrics : IDisposable
{
    private readonly Meter _meter = new("Platform.Alerting");
    private readonly Counter<long> _events;
    private readonly Counter<long> _hits;
    private readonly Counter<long> _folded;
    private readonly Counter<long> _fired;
    private readonly Counter<long> _written;
    private readonly Counter<long> _evaluations;
    private readonly Counter<long> _failures;
    private readonly Counter<long> _attempts;
    private readonly Counter<long> _aside;
    private readonly Histogram<double> _latency;

    public AlertingMetrics()
    {
        _events = _meter.CreateCounter<long>("alerting_events_evaluated", null, "Events that the rules have seen.");
        _hits = _meter.CreateCounter<long>("alerting_rule_hits", null, "Events that a rule matched.");
        _folded = _meter.CreateCounter<long>("alerting_groups_folded", null, "Groups beyond the limit of a rule, counted together as one.");
        _fired = _meter.CreateCounter<long>("alerting_alerts_fired", null, "Alerts that began.");
        _written = _meter.CreateCounter<long>("alerting_notifications_written", null, "Notifications that people are to get.");
        _attempts = _meter.CreateCounter<long>("alerting_notification_attempts", null, "Attempts to tell people, by kind of channel and outcome.");
        _evaluations = _meter.CreateCounter<long>("alerting_rule_evaluations", null, "Evaluations of rules in PromQL.");
        _failures = _meter.CreateCounter<long>("alerting_rule_evaluation_failures", null, "Evaluations of rules in PromQL that failed.");
        _aside = _meter.CreateCounter<long>("alerting_set_aside", null, "What failed alone and was left aside so that the others go on, by what it is. Any increase is for a person to look at.");
        _latency = _meter.CreateHistogram(
            "alerting_notification_delivery",
            "s",
            "Time from writing a notification to its acceptance.",
            advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600] });
    }

    public void Evaluated(int events, int hits)
    {
        _events.Add(events);
        _hits.Add(hits);
    }

    /// <param name="what">realm, alert, group, window, escalation or events.</param>
    public void SetAside(string what) => _aside.Add(1, new KeyValuePair<string, object?>("what", what));

    public void Folded(int groups) => _folded.Add(groups);

    public void RulesEvaluated(int rules, int failed)
    {
        _evaluations.Add(rules);
        _failures.Add(failed);
    }

    public void Fired(string source, Severity severity) =>
        _fired.Add(1, new("source", source), new("severity", WireJson.Name(severity.ToString())));

    public void Written(int notifications) => _written.Add(notifications);

    /// <param name="kind">Of the channel; null when there is none of the name any more. Not the name: people choose those.</param>
    public void Attempted(ChannelKind? kind, DeliveryOutcome outcome) =>
        _attempts.Add(1, new("channel", kind is { } known ? WireJson.Name(known.ToString()) : "unknown"), new("outcome", WireJson.Name(outcome.ToString())));

    public void Delivered(TimeSpan sinceWritten) => _latency.Record(sinceWritten.TotalSeconds);

    public void Dispose() => _meter.Dispose();
}
