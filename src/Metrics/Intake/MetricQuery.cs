using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Platform.Metrics.Intake;

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

    public static (MetricQuery? Query, Dictionary<string, string[]> Errors) Parse(IQueryCollection query, string? realm)
    {
        var errors = new Dictionary<string, string[]>();
        var labels = new List<KeyValuePair<string, string>>();
        foreach (var (name, value) in query)
        {
            if (name.StartsWith("labels.", StringComparison.Ordinal) && name.Length > "labels.".Length)
            {
                labels.Add(new(name["labels.".Length..], value.ToString()));
            }
            else if (name is not ("name" or "start_time" or "end_time" or "order" or "limit" or "cursor" or "realm"))
            {
                errors[name] = ["Unknown parameter. Known are name, labels.<name>, start_time, end_time, order, limit, cursor and realm."];
            }
        }

        if (labels.Count > MostLabels)
        {
            errors["labels"] = [$"At most {MostLabels} label filters."];
        }

        var order = Text("order");
        if (order is not (null or "asc" or "desc"))
        {
            errors["order"] = ["Is asc or desc (the default: newest first)."];
        }

        MetricCursor? after = null;
        if (Text("cursor") is { } cursor && !MetricCursor.TryParse(cursor, out after))
        {
            errors["cursor"] = ["Is not one that an earlier page returned as next_cursor."];
        }

        var limit = 100;
        if (Text("limit") is { } number && !(int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out limit) && limit is >= 1 and <= MostLimit))
        {
            errors["limit"] = [$"Is a whole number from 1 to {MostLimit}."];
        }

        var (from, to) = (Time("start_time"), Time("end_time"));
        if (from > to)
        {
            errors["end_time"] = ["Is before start_time."];
        }

        return errors.Count == 0 ? (new MetricQuery(realm, Text("name"), labels, from, to, order == "asc", limit, after), errors) : (null, errors);

        string? Text(string name) => query.TryGetValue(name, out var value) && value.ToString() is { Length: > 0 } text ? text : null;

        long? Time(string name)
        {
            if (Text(name) is not { } text)
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
