using System.Globalization;
using System.Text;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Lifecycle;

/// <summary>Reads query parameters and collects everything that is wrong with them, so that a client learns all of it at once.</summary>
public sealed class QueryInput
{
    public Dictionary<string, string[]> Errors { get; } = [];

    /// <summary>One word or several, separated by commas.</summary>
    public IReadOnlyList<T> Words<T>(string name, string? text) where T : struct, Enum
    {
        List<T> words = [];
        foreach (var part in (text ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (IncidentInput.ParseWord<T>(part) is { } word)
            {
                words.Add(word);
            }
            else
            {
                Fail(name, part, $"one of {string.Join(", ", Enum.GetNames<T>().Select(ServiceDefaults.WireJson.Name))}, or several separated by commas");
            }
        }

        return words;
    }

    public DateTimeOffset? Time(string name, string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        if (DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time))
        {
            return time;
        }

        Fail(name, text, "a time like 2026-03-01T09:15:00Z");
        return null;
    }

    public int Number(string name, string? text, int fallback, int from, int to)
    {
        if (string.IsNullOrEmpty(text))
        {
            return fallback;
        }

        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= from && number <= to)
        {
            return number;
        }

        Fail(name, text, $"a whole number from {from} to {to}");
        return fallback;
    }

    public T? Cursor<T>(string name, string? text, Func<string, T?> parse) where T : struct
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        var place = parse(text);
        if (place is null)
        {
            Fail(name, text, "the next_cursor of the page before, unchanged, with the same other parameters");
        }

        return place;
    }

    public void Fail(string name, string found, string expected) =>
        Errors[name] = [$"Found \"{StorableText.Cut(found, 50)}\", expected {expected}."];
}

/// <summary>A place in the list of incidents as text: opaque to clients, and nothing but a place.</summary>
internal static class ListCursor
{
    public static string After(Incident incident) =>
        Convert.ToBase64String(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{incident.OpenedAt.UtcTicks}:{incident.Id:N}")))
            .TrimEnd('=').Replace('+', '-').Replace('/', '_');

    public static ListPosition? Parse(string text)
    {
        var bytes = new byte[text.Length];
        var padded = text.Replace('-', '+').Replace('_', '/').PadRight((text.Length + 3) / 4 * 4, '=');
        return Convert.TryFromBase64String(padded, bytes, out var length)
            && Encoding.ASCII.GetString(bytes, 0, length).Split(':') is [var ticks, var id]
            && long.TryParse(ticks, NumberStyles.None, CultureInfo.InvariantCulture, out var at) && at <= DateTimeOffset.MaxValue.UtcTicks
            && Guid.TryParseExact(id, "N", out var guid)
                ? new ListPosition(new DateTimeOffset(at, TimeSpan.Zero), guid)
                : null;
    }
}
