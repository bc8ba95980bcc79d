using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Mvc;

namespace Platform.Metrics.Intake;

/// <summary>The parameters of <c>GET …/metrics</c> as they were written, besides the labels.</summary>
internal sealed record MetricQueryText(
    [FromQuery(Name = "name")] string? Name,
    [FromQuery(Name = "start_time")] string? StartTime,
    [FromQuery(Name = "end_time")] string? EndTime,
    [FromQuery(Name = "order")] string? Order,
    [FromQuery(Name = "limit")] string? Limit,
    [FromQuery(Name = "cursor")] string? Cursor);

/// <summary>What <c>GET …/metrics</c> was asked for, checked.</summary>
/// <param name="Realm">The one realm to read, or null for all.</param>
/// <param name="Labels">Each must be on a series, with that value; the empty value asks for series without the label.</param>
/// <param name="From">Milliseconds since 1970-01-01 UTC, inclusive; null: as old as samples are kept.</param>
/// <param name="To">As <paramref name="From"/>; null: as far ahead as samples are taken.</param>
/// <param name="After">Where the last page ended.</param>
internal sealed record MetricQuery(
    string? Realm, string? Name, IReadOnlyList<KeyValuePair<string, string>> Labels, long? From, long? To, bool Ascending, int Limit, MetricCursor? After)
{
    private const int MostLimit = 1000;
    private const int MostLabels = 16;

    /// <summary>How parameters begin that ask for labels: <c>labels.method=GET</c>.</summary>
    public const string LabelPrefix = "labels.";

    /// <param name="query">Where the labels are.</param>
    public static (MetricQuery? Query, Dictionary<string, string[]> Errors) Parse(MetricQueryText asked, IQueryCollection query, string? realm)
    {
        var errors = new Dictionary<string, string[]>();
        var labels = query.Where(one => one.Key.StartsWith(LabelPrefix, StringComparison.OrdinalIgnoreCase))
            .Select(one => KeyValuePair.Create(one.Key[LabelPrefix.Length..], one.Value.ToString())).ToList();
        if (labels.Count > MostLabels)
        {
            errors["labels"] = [$"At most {MostLabels} label filters."];
        }

        var order = Text(asked.Order);
        if (order is not (null or "asc" or "desc"))
        {
            errors["order"] = ["Is asc or desc (the default: newest first)."];
        }

        MetricCursor? after = null;
        if (Text(asked.Cursor) is { } cursor && !MetricCursor.TryParse(cursor, out after))
        {
            errors["cursor"] = ["Is not one that an earlier page returned as next_cursor."];
        }

        var limit = 100;
        if (Text(asked.Limit) is { } number && !(int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out limit) && limit is >= 1 and <= MostLimit))
        {
            errors["limit"] = [$"Is a whole number from 1 to {MostLimit}."];
        }

        var (from, to) = (Time("start_time", asked.StartTime), Time("end_time", asked.EndTime));
        if (from > to)
        {
            errors["end_time"] = ["Is before start_time."];
        }

        return errors.Count == 0 ? (new MetricQuery(realm, Text(asked.Name), labels, from, to, order == "asc", limit, after), errors) : (null, errors);

        // A parameter without a value asks for nothing.
        static string? Text(string? written) => written is { Length: > 0 } ? written : null;

        long? Time(string name, string? written)
        {
            if (Text(written) is not { } text)
            {
                return null;
            }

            if (DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time))
            {
                return time.ToUnixTimeMilliseconds();
            }

            errors[name] = [$"'{text}' is no RFC 3339 time, like 2026-03-01T12:00:00Z. A '+' in a query string must be written %2B."];
            return null;
        }
    }
}

/// <summary>Place of a sample in the order of time and, at one time, of its series.</summary>
/// <param name="At">Milliseconds since 1970-01-01 UTC.</param>
/// <param name="Series">A number that stands for the series' labels, the same in every process.</param>
internal readonly record struct MetricCursor(long At, ulong Series) : IComparable<MetricCursor>
{
    public int CompareTo(MetricCursor other) => At != other.At ? At.CompareTo(other.At) : Series.CompareTo(other.Series);

    public override string ToString() => Base64Url.EncodeToString(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{At}.{Series:x16}")));

    public static bool TryParse(string text, out MetricCursor? cursor)
    {
        cursor = null;
        if (text.Length > 100 || !Base64Url.IsValid(text))
        {
            return false;
        }

        var parts = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(text)).Split('.');
        if (parts.Length == 2
            && long.TryParse(parts[0], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var at)
            && ulong.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var series))
        {
            cursor = new MetricCursor(at, series);
        }

        return cursor is not null;
    }
}
