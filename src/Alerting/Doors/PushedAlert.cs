using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.WebUtilities;
using Platform.Alerting.Alerts;
using Platform.Alerting.Rules;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

public sealed class DoorOptions
{
    /// <summary>An alert that a sender pushes without an end is over after this, unless the sender repeats it.</summary>
    [Setting("ALERT_RESOLVE_TIMEOUT_SECONDS"), Range(1, 604_800)]
    public TimeSpan ResolveTimeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Alerts that one request may push.</summary>
    [Setting("ALERT_PUSH_MAX_ALERTS"), Range(1, 100_000)]
    public int MaxAlerts { get; init; } = 2_000;

    /// <summary>Largest body of a request that pushes alerts, bytes.</summary>
    [Setting("ALERT_PUSH_MAX_BYTES"), Range(1_024, 256 * 1024 * 1024)]
    public int MaxBytes { get; init; } = 4 * 1024 * 1024;

    /// <summary>Largest pushed alert, characters of all its labels and annotations together.</summary>
    [Setting("ALERT_PUSH_MAX_ALERT_CHARACTERS"), Range(1_024, 1_048_576)]
    public int MaxAlertCharacters { get; init; } = 65_536;

    /// <summary>Open pushed alerts of a realm beyond which no new ones are taken; known ones are still prolonged and ended.</summary>
    [Setting("ALERT_PUSH_MAX_OPEN"), Range(1, 10_000_000)]
    public int MaxOpen { get; init; } = 50_000;

    /// <summary>Events that one integration key may send in a minute, per process; more are answered 429.</summary>
    [Setting("ALERT_INTEGRATION_RATE_PER_MINUTE"), Range(1, 1_000_000)]
    public int RatePerMinute { get; init; } = 600;
}

/// <summary>An alert that another system told, in whatever shape it came.</summary>
/// <param name="Labels">The identity within a realm, exactly as sent.</param>
/// <param name="EndsAt">When it was over; null while it fires.</param>
/// <param name="ExpiresAt">Until when it fires without being repeated; null when its sender tells of the end.</param>
public sealed record PushedAlert(
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> Annotations,
    DateTimeOffset StartsAt,
    DateTimeOffset? EndsAt,
    DateTimeOffset? ExpiresAt,
    string GeneratorUrl)
{
    private const int MostLabels = 64;
    private const int LongestName = 200;
    private const int LongestLabel = 4_096;
    private const int LongestAnnotation = 16_384;

    // Grafana's additions to Alertmanager's shape, and the annotations that keep them.
    private static readonly (string Field, string Annotation)[] Extras =
        [("dashboardURL", "dashboard_url"), ("panelURL", "panel_url"), ("silenceURL", "silence_url"), ("valueString", "value")];

    public string Fingerprint { get; } = Alerts.Fingerprint.Of(Labels);

    public string Name => Labels.GetValueOrDefault("alertname") is { Length: > 0 } name ? name : "(without alertname)";

    // What Grafana measured, or what the sender says in one sentence.
    private string? Seen => Annotations.GetValueOrDefault("value") ?? Annotations.GetValueOrDefault("summary") ?? Annotations.GetValueOrDefault("description");

    // Prometheus' links lead to the expression, and carry it: …/graph?g0.expr=up+%3D%3D+0&g0.tab=1.
    private string? Condition =>
        Uri.TryCreate(GeneratorUrl, UriKind.Absolute, out var url) && QueryHelpers.ParseQuery(url.Query).TryGetValue("g0.expr", out var expr) && expr.ToString() is { Length: > 0 } text && !text.Contains('\0') ? text : null;

    /// <summary>Equal for all episodes of the same label set.</summary>
    public string GroupKey(string realm) => $"{realm}/api:{Fingerprint}";

    /// <summary>The alert, with its labels untouched: what a sender asks for later it finds as it sent it.</summary>
    public Alert Fire(string realm, DateTimeOffset now)
    {
        var severity = Severities.OfLabel(Labels.GetValueOrDefault("severity"));
        var groupLabels = Labels.Where(label => label.Key is not ("alertname" or "severity")).ToDictionary();
        var alert = Alert.Fire(
            realm, GroupKey(realm), null, Name, severity, AlertSource.Api, Labels, groupLabels, Annotations, new Dictionary<string, string>(), null, null, StartsAt, now,
            new AlertReason(null, null, Seen: Seen, Condition: Condition), GeneratorUrl, ExpiresAt);
        return alert with { Labels = Labels, Fingerprint = Fingerprint };
    }

    /// <summary>An alert of Alertmanager's API, or of a webhook of Alertmanager or Grafana; null with the reason when it is none.</summary>
    /// <param name="timeout">How long one without an end fires; null: until its end is told.</param>
    /// <param name="longest">Characters of all labels and annotations together.</param>
    public static (PushedAlert? Alert, string? Fault) Read(JsonElement json, string place, TimeSpan? timeout, int longest, DateTimeOffset now)
    {
        try
        {
            return ReadWhole(json, place, timeout, longest, now);
        }
        catch (InvalidOperationException)
        {
            // The one way in which JSON that was parsed has a text that is none.
            return (null, $"{place}: {PushedBody.HalfCharacter}");
        }
    }

    private static (PushedAlert? Alert, string? Fault) ReadWhole(JsonElement json, string place, TimeSpan? timeout, int longest, DateTimeOffset now)
    {
        if (json.ValueKind != JsonValueKind.Object)
        {
            return (null, $"{place} is no object.");
        }

        var (labels, wrongLabel) = Texts(json, "labels", LongestLabel);
        var (annotations, wrongAnnotation) = Texts(json, "annotations", LongestAnnotation);
        if ((wrongLabel ?? wrongAnnotation) is { } wrong)
        {
            return (null, $"{place}.{wrong}");
        }

        // As elsewhere in Prometheus' world, an empty label is no label.
        foreach (var empty in labels.Where(label => label.Value.Length == 0).Select(label => label.Key).ToList())
        {
            labels.Remove(empty);
        }

        if (labels.Count == 0)
        {
            return (null, $"{place}.labels: at least one label is needed.");
        }

        if (labels.Concat(annotations).Sum(pair => pair.Key.Length + pair.Value.Length) is var length && length > longest)
        {
            return (null, $"{place}: {length} characters of labels and annotations; at most {longest} are taken (ALERT_PUSH_MAX_ALERT_CHARACTERS).");
        }

        if (!Time(json, "startsAt", out var startsAt) || !Time(json, "endsAt", out var endsAt))
        {
            return (null, $"{place}: startsAt and endsAt are times such as 2026-03-01T09:15:00Z, or missing.");
        }

        if (startsAt is { } from && endsAt is { } to && to < from)
        {
            return (null, $"{place}: endsAt lies before startsAt.");
        }

        var over = endsAt <= now || Text(json, "status") == "resolved";
        var ends = !over ? null : endsAt <= now ? endsAt : now;
        var start = startsAt ?? ends ?? now;
        foreach (var (field, annotation) in Extras)
        {
            if (Text(json, field) is { Length: > 0 and <= LongestAnnotation } more && !more.Contains('\0'))
            {
                annotations.TryAdd(annotation, more);
            }
        }

        var generator = Text(json, "generatorURL") is { Length: <= 4_096 } url && !url.Contains('\0') ? url : "";
        return (new PushedAlert(labels, annotations, Exact(start), ends, over ? null : endsAt ?? now + timeout, generator), null);
    }

    // As exact as the database keeps it, so that a repetition is known by its beginning.
    private static DateTimeOffset Exact(DateTimeOffset time) => time.ToUniversalTime().AddTicks(-(time.Ticks % TimeSpan.TicksPerMicrosecond));

    private static string? Text(JsonElement json, string name) =>
        json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    // The zero time of Go means "not given".
    private static bool Time(JsonElement json, string name, out DateTimeOffset? time)
    {
        time = null;
        if (!json.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return true;
        }

        if (value.ValueKind != JsonValueKind.String || !DateTimeOffset.TryParse(value.GetString(), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var read))
        {
            return value.ValueKind == JsonValueKind.String && value.GetString()!.Length == 0;
        }

        time = read.Year <= 1 ? null : read;
        return true;
    }

    private static (Dictionary<string, string> Texts, string? Fault) Texts(JsonElement json, string name, int longest)
    {
        var texts = new Dictionary<string, string>();
        if (!json.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return (texts, null);
        }

        if (value.ValueKind != JsonValueKind.Object)
        {
            return (texts, $"{name} is no object of texts.");
        }

        foreach (var one in value.EnumerateObject())
        {
            if (one.Value.ValueKind != JsonValueKind.String || !IsLabelName(one.Name) || one.Value.GetString() is not { } text || text.Length > longest || text.Contains('\0'))
            {
                return (texts, $"{name}.{StorableText.Shorten(one.Name, 50)}: a name of 1 to {LongestName} characters and a text of at most {longest} characters are expected.");
            }

            texts[one.Name] = text;
        }

        return texts.Count > MostLabels ? (texts, $"{name}: at most {MostLabels} are taken.") : (texts, null);
    }

    // Any text, as in Alertmanager since 0.27, but for the one character that PostgreSQL cannot store.
    private static bool IsLabelName(string name) => name.Length is > 0 and <= LongestName && !name.Contains('\0');
}

/// <summary>Bodies of the doors: read whole, up to a limit.</summary>
internal static class PushedBody
{
    public const string HalfCharacter = "a text holds half of a character (\\ud800 to \\udfff without its other half); send it whole.";

    /// <summary>Whether every name and text in it can be read.</summary>
    public static bool IsWhole(JsonElement json)
    {
        try
        {
            Walk(json);
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }

        // As deep as the parser goes, which is 64.
        static void Walk(JsonElement one)
        {
            if (one.ValueKind == JsonValueKind.String)
            {
                _ = one.GetString();
            }
            else if (one.ValueKind == JsonValueKind.Array)
            {
                foreach (var item in one.EnumerateArray())
                {
                    Walk(item);
                }
            }
            else if (one.ValueKind == JsonValueKind.Object)
            {
                foreach (var property in one.EnumerateObject())
                {
                    _ = property.Name;
                    Walk(property.Value);
                }
            }
        }
    }

    /// <returns>Null when it is no JSON or larger than <paramref name="atMost"/> bytes.</returns>
    public static async Task<JsonElement?> ReadAsync(HttpRequest request, int atMost, CancellationToken ct)
    {
        if (request.ContentLength > atMost)
        {
            return null;
        }

        using var buffer = new MemoryStream();
        var piece = new byte[16 * 1024];
        int read;
        while ((read = await request.Body.ReadAsync(piece, ct)) > 0)
        {
            if (buffer.Length + read > atMost)
            {
                return null;
            }

            buffer.Write(piece, 0, read);
        }

        try
        {
            return JsonElement.Parse(buffer.GetBuffer().AsSpan(0, (int)buffer.Length));
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
