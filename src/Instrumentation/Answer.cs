using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Platform.Instrumentation;

internal enum Verdict
{
    Accepted,

    /// <summary>The same request may succeed later.</summary>
    TryAgain,

    /// <summary>Whoever answered is not the gateway we mean, or does not know our key. A human can repair that while the events wait.</summary>
    Misdirected,

    /// <summary>The request as a whole is too large.</summary>
    TooLarge,

    /// <summary>The same request will never succeed.</summary>
    Refused,
}

/// <summary>What the gateway said to one try, and what follows from it. Pure.</summary>
/// <param name="Status">HTTP status; 0 when there was no answer.</param>
/// <param name="Problem">The body of an answer that is not an acceptance, or why there was no answer.</param>
internal sealed partial record Answer(Verdict Verdict, int Status, string Problem, TimeSpan? RetryAfter)
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200);

    /// <summary>A gateway that asks for more patience than this is asked again anyway.</summary>
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromMinutes(10);

    public static Verdict Judge(HttpStatusCode status) => (int)status switch
    {
        201 or 202 => Verdict.Accepted,
        413 => Verdict.TooLarge,
        408 or 409 or 425 or 429 or >= 500 => Verdict.TryAgain,
        // Any other 2xx or a redirect comes from a web site or a proxy at this address.
        < 400 or 401 or 403 or 404 or 405 => Verdict.Misdirected,
        _ => Verdict.Refused,
    };

    /// <summary>Doubles from 200 ms up to <paramref name="longest"/>; between half and the whole of it, so that many senders do not come back at once.</summary>
    /// <param name="attempt">From 1.</param>
    /// <param name="jitter">From 0 to 1.</param>
    public static TimeSpan Pause(int attempt, double jitter, TimeSpan? retryAfter, TimeSpan longest)
    {
        var doubled = FirstPause * Math.Pow(2, Math.Min(attempt - 1, 20));
        var pause = (doubled < longest ? doubled : longest) * (0.5 + (jitter / 2));
        var asked = retryAfter is { } wanted ? (wanted < LongestRetryAfter ? wanted : LongestRetryAfter) : TimeSpan.Zero;
        return pause > asked ? pause : asked;
    }

    /// <summary>What of a refused batch is worth another request, and how many events are lost.</summary>
    public static (List<IReadOnlyList<byte[]>> Again, int Dropped) Salvage(IReadOnlyList<byte[]> batch, Answer answer)
    {
        var culprits = Culprits(answer.Problem, batch.Count);
        if (culprits.Count > 0)
        {
            var innocent = batch.Where((_, index) => !culprits.Contains(index)).ToArray();
            return (innocent.Length > 0 ? [innocent] : [], culprits.Count);
        }

        if (answer.Verdict == Verdict.TooLarge && batch.Count > 1)
        {
            // The second half lies below the first on the stack, so that the order stays.
            var middle = batch.Count / 2;
            return ([[.. batch.Skip(middle)], [.. batch.Take(middle)]], 0);
        }

        return ([], batch.Count);
    }

    /// <summary>The indexes of the events that a problem document blames: its <c>index</c> member, and keys of <c>errors</c> such as <c>[3].level</c>, <c>events[3]</c> or <c>3.level</c>.</summary>
    public static HashSet<int> Culprits(string problem, int count)
    {
        var culprits = new HashSet<int>();
        try
        {
            using var json = JsonDocument.Parse(problem);
            if (json.RootElement.ValueKind != JsonValueKind.Object)
            {
                return culprits;
            }

            if (json.RootElement.TryGetProperty("index", out var index) && index.ValueKind == JsonValueKind.Number && index.TryGetInt32(out var one))
            {
                culprits.Add(one);
            }

            if (json.RootElement.TryGetProperty("errors", out var errors) && errors.ValueKind == JsonValueKind.Object)
            {
                foreach (var error in errors.EnumerateObject())
                {
                    if (IndexInKey().Match(error.Name) is { Success: true } match && int.TryParse(match.Groups["index"].Value, CultureInfo.InvariantCulture, out var named))
                    {
                        culprits.Add(named);
                    }
                }
            }
        }
        catch (JsonException)
        {
            // Not a problem document: nobody is blamed by name.
        }

        culprits.RemoveWhere(index => index < 0 || index >= count);
        return culprits;
    }

    [GeneratedRegex(@"^[$A-Za-z_]*\[(?<index>\d{1,9})\]|^(?<index>\d{1,9})(\.|$)")]
    private static partial Regex IndexInKey();
}
