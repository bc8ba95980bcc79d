using System.Globalization;
using Microsoft.Extensions.Primitives;
using Platform.PromQL;

namespace Platform.Metrics.Prometheus;

/// <summary>
/// What a Prometheus client asked for: the query string and, of a POST, the form in its body. What cannot be understood throws
/// <see cref="QueryException"/> (<see cref="QueryFault.BadData"/>) in the words that Prometheus uses, because people search for them.
/// </summary>
public sealed class Parameters
{
    /// <summary>Times are at most this many milliseconds away from 1970, so that no sum of two of them overflows.</summary>
    public const long MaxMilliseconds = long.MaxValue / 4;

    // How Prometheus' own clients write "since ever" and "for ever".
    private const string Ever = "-292273086-05-16T16:47:06Z";
    private const string ForEver = "292277025-08-18T07:12:54.999999999Z";

    private readonly IQueryCollection _query;
    private readonly IFormCollection? _form;

    private Parameters(IQueryCollection query, IFormCollection? form)
    {
        _query = query;
        _form = form;
    }

    public static async ValueTask<Parameters> ReadAsync(HttpRequest request, CancellationToken ct)
    {
        if (!HttpMethods.IsPost(request.Method) || !request.HasFormContentType)
        {
            return new(request.Query, null);
        }

        try
        {
            return new(request.Query, await request.ReadFormAsync(ct));
        }
        catch (InvalidDataException error)
        {
            throw Bad($"error parsing form values: {error.Message}");
        }
    }

    /// <summary>The body's value goes before that of the query string.</summary>
    public string? Find(string name) => All(name) is [{ Length: > 0 } first, ..] ? first : null;

    /// <summary>All values, those of the body first.</summary>
    public StringValues All(string name) => StringValues.Concat(_form?[name] ?? default, _query[name]);

    /// <summary>Zero, or not given: all.</summary>
    public int Limit()
    {
        if (Find("limit") is not { } text)
        {
            return int.MaxValue;
        }

        if (!long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var limit))
        {
            throw Invalid("limit", $"strconv.Atoi: parsing {Printer.Quote(text)}: invalid syntax");
        }

        return limit < 0 ? throw Invalid("limit", "limit must be non-negative") : limit == 0 ? int.MaxValue : (int)Math.Min(limit, int.MaxValue);
    }

    /// <summary>A number that only has to be one; null when it is not given.</summary>
    public int? Count(string name) =>
        Find(name) is not { } text ? null
        : int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var count) ? count : throw Bad($"{name} must be a number");

    /// <summary>Milliseconds; required.</summary>
    public long Time(string name) => Milliseconds(Find(name) ?? "") ?? throw Invalid(name, NoTime(Find(name)));

    /// <summary>Milliseconds.</summary>
    public long Time(string name, long unlessGiven) =>
        Find(name) is not { } text ? unlessGiven : Milliseconds(text) ?? throw Invalid(name, $"Invalid time value for '{name}': {NoTime(text)}");

    /// <summary>Required; of any sign.</summary>
    public TimeSpan Duration(string name) => DurationOf(Find(name) ?? "") ?? throw Invalid(name, NoDuration(Find(name)));

    public TimeSpan? FindDuration(string name) => Find(name) is { } text ? DurationOf(text) ?? throw Invalid(name, NoDuration(text)) : null;

    public TimeSpan? Lookback() =>
        Find("lookback_delta") is { } text ? DurationOf(text) ?? throw Bad($"error parsing lookback delta duration: {NoDuration(text)}") : null;

    /// <summary>The selectors of <c>match[]</c>, each with a matcher that refuses the empty string.</summary>
    public IReadOnlyList<IReadOnlyList<Matcher>> Matches()
    {
        var selectors = new List<IReadOnlyList<Matcher>>();
        foreach (var text in All("match[]"))
        {
            try
            {
                selectors.Add(Parser.ParseSelector(text ?? ""));
            }
            catch (QueryException error) when (error.Message.EndsWith("must contain at least one non-empty matcher", StringComparison.Ordinal))
            {
                throw Bad("match[] must contain at least one non-empty matcher");
            }
        }

        return selectors;
    }

    public static QueryException Bad(string message) => new(QueryFault.BadData, message);

    public static QueryException Invalid(string name, string reason) => Bad($"invalid parameter \"{name}\": {reason}");

    private static string NoTime(string? text) => $"cannot parse {Printer.Quote(text ?? "")} to a valid timestamp";

    private static string NoDuration(string? text) => $"cannot parse {Printer.Quote(text ?? "")} to a valid duration";

    // Seconds with decimals, or RFC 3339.
    internal static long? Milliseconds(string text)
    {
        if (Number(text) is { } seconds)
        {
            var milliseconds = Math.Round(seconds * 1000);
            return Math.Abs(milliseconds) <= MaxMilliseconds ? (long)milliseconds : null;
        }

        if (text is Ever or ForEver)
        {
            return text == Ever ? -MaxMilliseconds : MaxMilliseconds;
        }

        // The framework reads seven decimals of a second at most, others write nine.
        var point = text.IndexOf('.', StringComparison.Ordinal);
        var end = point + 1;
        while (point >= 0 && end < text.Length && char.IsAsciiDigit(text[end]))
        {
            end++;
        }

        if (point >= 0 && end - point > 8)
        {
            text = text.Remove(point + 8, end - point - 8);
        }

        // Without an offset it would mean this machine's time.
        return (text.EndsWith('Z') || (text.Length > 6 && text[^6] is '+' or '-'))
            && DateTimeOffset.TryParseExact(text, "yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK", CultureInfo.InvariantCulture, DateTimeStyles.None, out var time)
                ? time.ToUnixTimeMilliseconds()
                : null;
    }

    // Seconds with decimals, or as PromQL writes durations.
    internal static TimeSpan? DurationOf(string text)
    {
        if (Number(text) is { } seconds)
        {
            return Math.Abs(seconds) < TimeSpan.MaxValue.TotalSeconds / 2 ? TimeSpan.FromSeconds(seconds) : null;
        }

        ReadOnlySpan<(string Unit, long Milliseconds)> units =
        [
            ("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1),
        ];
        var rest = text.AsSpan();
        var total = 0.0;
        foreach (var (unit, milliseconds) in units)
        {
            var digits = rest.IndexOfAnyExceptInRange('0', '9');
            var end = digits + unit.Length;
            if (digits > 0 && rest[digits..].StartsWith(unit, StringComparison.Ordinal) && (end == rest.Length || char.IsAsciiDigit(rest[end])))
            {
                total += double.Parse(rest[..digits], CultureInfo.InvariantCulture) * milliseconds;
                rest = rest[end..];
            }
        }

        return text.Length > 0 && rest.IsEmpty && total < TimeSpan.MaxValue.TotalMilliseconds / 2 ? TimeSpan.FromMilliseconds(total) : null;
    }

    private static double? Number(string text) =>
        double.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number)
            ? number
            : null;
}
