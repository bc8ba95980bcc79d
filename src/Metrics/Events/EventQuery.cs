using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Mvc;

namespace Platform.Metrics.Events;

/// <summary>The parameters of <c>GET …/events</c> as they were written, besides the tags.</summary>
public sealed record EventQueryText(
    [FromQuery(Name = "event_type")] string? EventType,
    [FromQuery(Name = "source")] string? Source,
    [FromQuery(Name = "level")] string? Level,
    [FromQuery(Name = "start_time")] string? StartTime,
    [FromQuery(Name = "end_time")] string? EndTime,
    [FromQuery(Name = "order")] string? Order,
    [FromQuery(Name = "limit")] string? Limit,
    [FromQuery(Name = "offset")] string? Offset,
    [FromQuery(Name = "cursor")] string? Cursor);

/// <summary>What <c>GET …/events</c> was asked for, checked.</summary>
/// <param name="Realm">The one realm to read, or null for all.</param>
/// <param name="Tags">Each must be on an event, as a string or, where it looks like one, as a number or boolean.</param>
/// <param name="After">Where the last page ended.</param>
public sealed record EventQuery(
    string? Realm,
    string? EventType,
    string? Source,
    string? Level,
    DateTimeOffset? StartTime,
    DateTimeOffset? EndTime,
    IReadOnlyList<KeyValuePair<string, string>> Tags,
    bool Ascending,
    int Limit,
    int Offset,
    EventCursor? After)
{
    private const int MostLimit = 1000;
    private const int MostOffset = 100_000;
    private const int MostTags = 16;

    /// <summary>How parameters begin that ask for tags: <c>tags.user_id=42</c>.</summary>
    public const string TagPrefix = "tags.";

    /// <param name="query">Where the tags are.</param>
    public static (EventQuery? Query, Dictionary<string, string[]> Errors) Parse(EventQueryText asked, IQueryCollection query, string? realm)
    {
        var errors = new Dictionary<string, string[]>();
        var tags = query.Where(one => one.Key.StartsWith(TagPrefix, StringComparison.OrdinalIgnoreCase))
            .Select(one => KeyValuePair.Create(one.Key[TagPrefix.Length..], one.Value.ToString())).ToList();
        if (tags.Count > MostTags)
        {
            errors["tags"] = [$"At most {MostTags} tag filters."];
        }

        var eventType = Text(asked.EventType);
        if (eventType is not (null or "log" or "metric" or "trace" or "alert"))
        {
            errors["event_type"] = [$"'{eventType}' is no event type; it is one of log, metric, trace, alert."];
        }

        var order = Text(asked.Order);
        if (order is not (null or "asc" or "desc"))
        {
            errors["order"] = ["Is asc or desc (the default: newest first)."];
        }

        EventCursor? after = null;
        if (Text(asked.Cursor) is { } cursor && !EventCursor.TryParse(cursor, out after))
        {
            errors["cursor"] = ["Is not one that an earlier page returned as next_cursor."];
        }

        var parsed = new EventQuery(
            realm, eventType, Text(asked.Source), Text(asked.Level), Time("start_time", asked.StartTime), Time("end_time", asked.EndTime), tags, order == "asc",
            Number("limit", asked.Limit, 100, 1, MostLimit), Number("offset", asked.Offset, 0, 0, MostOffset), after);
        return errors.Count == 0 ? (parsed, errors) : (null, errors);

        // A parameter without a value asks for nothing.
        static string? Text(string? written) => written is { Length: > 0 } ? written : null;

        DateTimeOffset? Time(string name, string? written)
        {
            if (Text(written) is not { } text)
            {
                return null;
            }

            if (DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time))
            {
                return time;
            }

            errors[name] = [$"'{text}' is no ISO 8601 time, like 2026-03-01T12:00:00Z. A '+' in a query string must be written %2B."];
            return null;
        }

        int Number(string name, string? written, int fallback, int least, int most)
        {
            if (Text(written) is not { } text)
            {
                return fallback;
            }

            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most)
            {
                return number;
            }

            errors[name] = [$"Is a whole number from {least} to {most}{(name == "offset" ? "; to read further, follow next_cursor" : "")}."];
            return fallback;
        }
    }
}

/// <summary>Place of an event in the order of (timestamp, id). Microseconds since 1970-01-01 UTC, which is all that is stored.</summary>
public sealed record EventCursor(long Microseconds, Guid Id)
{
    public DateTimeOffset Timestamp => DateTimeOffset.UnixEpoch.AddTicks(Microseconds * TimeSpan.TicksPerMicrosecond);

    public static EventCursor Of(DateTimeOffset timestamp, Guid id) => new((timestamp - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond, id);

    public override string ToString() => Base64Url.EncodeToString(Encoding.UTF8.GetBytes($"{Microseconds.ToString(CultureInfo.InvariantCulture)}.{Id:N}"));

    public static bool TryParse(string text, out EventCursor? cursor)
    {
        cursor = null;
        if (text.Length > 100 || !Base64Url.IsValid(text))
        {
            return false;
        }

        var parts = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(text)).Split('.');
        if (parts.Length == 2
            && long.TryParse(parts[0], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var at)
            && Math.Abs(at) < 253_402_300_800_000_000
            && Guid.TryParseExact(parts[1], "N", out var id))
        {
            cursor = new EventCursor(at, id);
        }

        return cursor is not null;
    }
}
