using System.Text.Json;

namespace Platform.Incidents.Timeline;

/// <summary>Which of the events of the stretch of time are shown.</summary>
public enum EventChoice
{
    /// <summary>Those that carry the tags of the incident's alerts; all, when there are no such tags.</summary>
    Related,

    /// <summary>All of the realm.</summary>
    All,
}

/// <summary>What of a timeline is asked for; the same for all pages of one reading.</summary>
public sealed record TimelineQuery(bool Descending, EventChoice Events, IReadOnlyCollection<EntryKind> Kinds)
{
    /// <summary>One word for the whole query, so that a cursor can tell that it belongs to another.</summary>
    public string Signature => $"{(Descending ? "desc" : "asc")}.{(int)Events}.{string.Concat(Kinds.Distinct().Order().Select(kind => (int)kind))}";
}

/// <summary>
/// Where a page ended: opaque to clients, and nothing but a place; it opens no door, because who may read what is decided anew for every page.
/// </summary>
/// <param name="Query">Signature of the query it continues.</param>
/// <param name="Until">Where the first page let the timeline end, so that all pages show the same stretch of time.</param>
/// <param name="After">The last entry that was shown; null when none was yet.</param>
/// <param name="EventsCursor">The cursor of Metrics for the page of events in which the place lies; null for the first.</param>
public sealed record TimelineCursor(string Query, DateTimeOffset Until, TimelinePosition? After, string? EventsCursor)
{
    private const int Longest = 2_000;

    public override string ToString() =>
        Convert.ToBase64String(JsonSerializer.SerializeToUtf8Bytes(new Fields(
            Query, Until.UtcTicks, After?.Timestamp.UtcTicks, (int?)After?.Kind, After?.Id, EventsCursor))).TrimEnd('=').Replace('+', '-').Replace('/', '_');

    /// <summary>Null when it is not one of ours, or belongs to another query.</summary>
    public static TimelineCursor? Parse(string text, TimelineQuery query)
    {
        var bytes = new byte[Longest];
        var padded = text.Replace('-', '+').Replace('_', '/').PadRight((text.Length + 3) / 4 * 4, '=');
        if (text.Length > Longest || !Convert.TryFromBase64String(padded, bytes, out var length))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize<Fields>(bytes.AsSpan(0, length)) is { } fields && fields.Q == query.Signature && IsTime(fields.U) && (fields.T is not { } ticks || IsTime(ticks))
                ? new(fields.Q, At(fields.U), fields is { T: { } time, K: { } kind, I: { } id } ? new(At(time), (EntryKind)kind, id) : null, fields.E)
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static bool IsTime(long ticks) => ticks >= DateTimeOffset.UnixEpoch.UtcTicks && ticks <= DateTimeOffset.MaxValue.UtcTicks;

    private static DateTimeOffset At(long ticks) => new(ticks, TimeSpan.Zero);

    // Short names: the cursor is part of a URL.
    private sealed record Fields(string Q, long U, long? T, int? K, Guid? I, string? E);
}
