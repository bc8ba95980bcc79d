using System.Globalization;
using System.Text;
using Platform.Alerting.Notifications;
using Platform.Alerting.Rules;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>The words in which notifications are told to people, for all channels alike. Pure.</summary>
public static class Wording
{
    private const int LongestLink = 500;

    /// <summary>One line: <c>[CRITICAL] auth_failures: 5 events within 300 s (and 2 more)</c>.</summary>
    public static string Title(NotificationContent content)
    {
        var word = content.Status == NotificationStatus.Resolved ? "RESOLVED" : content.Severity().Word().ToUpperInvariant();
        if (content.Alerts.Count == 0)
        {
            return $"[{word}] {content.Receiver}";
        }

        var first = content.Alerts[0];
        var summary = Summary(first);
        var more = content.Alerts.Count + content.TruncatedAlerts - 1;
        return Cut($"[{word}] {first.Name}{(summary == first.Name ? "" : $": {summary}")}{(more > 0 ? $" (and {more} more)" : "")}".ReplaceLineEndings(" "), 300);
    }

    /// <summary>What an alert says of itself in one sentence.</summary>
    public static string Summary(ToldAlert alert) =>
        alert.Annotations.GetValueOrDefault("summary") is { Length: > 0 } summary ? summary
        : alert.Annotations.GetValueOrDefault("message") is { Length: > 0 } message ? message
        : alert.Name;

    /// <summary>
    /// Where one reads more; empty when nobody said where the platform is and the alert names no address either. What an alert names is
    /// whatever its sender wrote: in a receiver's own notation it may mean something else (<c>!channel</c>), and a card with a link that is none is
    /// refused, so only plain addresses of the web that leave room for the rest are links.
    /// </summary>
    public static string Link(ToldAlert alert, string externalUrl) =>
        alert.Id == Guid.Empty ? externalUrl
        : externalUrl.Length > 0 ? $"{externalUrl.TrimEnd('/')}/api/v1/monitoring/alerts/{alert.Id}"
        : RunbookUrl(alert) is { } runbook ? runbook
        : IsLink(alert.GeneratorUrl) ? alert.GeneratorUrl
        : "";

    private static bool IsLink(string text) =>
        text.Length is > 0 and <= LongestLink && !text.Any(letter => char.IsControl(letter) || letter is ' ' or '<' or '>' or '|' or '"')
        && Uri.TryCreate(text, UriKind.Absolute, out var url) && url.Scheme is "http" or "https";

    /// <summary>What to do, in words; null when the alert says nothing about it.</summary>
    public static string? Runbook(ToldAlert alert) => alert.Annotations.GetValueOrDefault("runbook") is { Length: > 0 } runbook ? runbook : null;

    /// <summary>Where it is written what to do; null when that is nowhere, or no plain address of the web.</summary>
    public static string? RunbookUrl(ToldAlert alert) =>
        alert.Annotations.GetValueOrDefault("runbook_url") is { } text && IsLink(text) ? text : null;

    /// <summary>Where the alerts are acknowledged and silenced; empty when they are over, or nobody said where the platform is.</summary>
    public static string Acting(NotificationContent content, string externalUrl)
    {
        if (externalUrl.Length == 0 || content.Status == NotificationStatus.Resolved || content.Alerts.All(alert => alert.Id == Guid.Empty))
        {
            return "";
        }

        var api = $"{externalUrl.TrimEnd('/')}/api/v1/monitoring";
        return $"Acknowledge: POST {api}/alerts/{(content.Alerts.Count + content.TruncatedAlerts == 1 ? content.Alerts[0].Id : "{id}")}/acknowledge. Silence: POST {api}/silences.";
    }

    /// <summary>The labels that tell an alert from others, on one line: not its name and severity, which stand beside.</summary>
    public static string Labels(ToldAlert alert) =>
        string.Join(", ", alert.Labels.Where(label => label.Key is not ("alertname" or "severity")).OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}={label.Value}"));

    /// <summary>From when to when: <c>since 2026-03-01 09:15:00 UTC</c>.</summary>
    public static string Times(ToldAlert alert) => alert.EndsAt is { } end && alert.Status == NotificationStatus.Resolved
        ? string.Create(CultureInfo.InvariantCulture, $"from {alert.StartsAt.UtcDateTime:yyyy-MM-dd HH:mm:ss} to {end.UtcDateTime:yyyy-MM-dd HH:mm:ss} UTC")
        : string.Create(CultureInfo.InvariantCulture, $"since {alert.StartsAt.UtcDateTime:yyyy-MM-dd HH:mm:ss} UTC");

    /// <summary>Value and threshold at firing; empty when there is no value.</summary>
    public static string Measured(ToldAlert alert) => (alert.Value, alert.Threshold) switch
    {
        ({ } value, { } threshold) => string.Create(CultureInfo.InvariantCulture, $"value {value:G6}, threshold {threshold:G6}"),
        ({ } value, null) => string.Create(CultureInfo.InvariantCulture, $"value {value:G6}"),
        _ => "",
    };

    public static string State(ToldAlert alert) => alert.Status == NotificationStatus.Resolved ? "RESOLVED" : alert.Severity.Word().ToUpperInvariant();

    /// <summary>All of it as plain text.</summary>
    /// <param name="atMost">Alerts that are written out.</param>
    public static string Text(NotificationContent content, string externalUrl, int atMost)
    {
        var text = new StringBuilder();
        foreach (var alert in content.Alerts.Take(atMost))
        {
            text.Append(CultureInfo.InvariantCulture, $"[{State(alert)}] {alert.Name}: {Summary(alert)}\n");
            foreach (var line in ((string?[])[alert.Annotations.GetValueOrDefault("description"), Measured(alert), Times(alert), Labels(alert), Runbook(alert), RunbookUrl(alert), Link(alert, externalUrl)]).Distinct())
            {
                if (line is { Length: > 0 })
                {
                    text.Append("  ").Append(line.ReplaceLineEndings("\n  ")).Append('\n');
                }
            }

            text.Append('\n');
        }

        var left = content.Alerts.Count + content.TruncatedAlerts - Math.Min(atMost, content.Alerts.Count);
        if (left > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"… and {left} more\n\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"Why you get this: {content.Reason} (receiver {content.Receiver})\n");
        return Acting(content, externalUrl) is { Length: > 0 } acting ? text.Append(acting).Append('\n').ToString() : text.ToString();
    }

    /// <summary>At most so many characters, never half of one, with an ellipsis for what is missing.</summary>
    public static string Cut(string text, int length) => StorableText.Shorten(text, length);
}
