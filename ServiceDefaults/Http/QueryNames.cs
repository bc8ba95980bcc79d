using System.Collections.Frozen;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.ApiExplorer;
using Microsoft.AspNetCore.Mvc.ModelBinding;
using Microsoft.AspNetCore.Routing;

namespace Platform.ServiceDefaults;

/// <summary>
/// Refuses a query parameter that the endpoint does not take: a misspelt filter would otherwise filter nothing, and its answer would look right. Only for the
/// platform's own API; those who speak the protocols of other systems send parameters of their own. What an endpoint takes is what the OpenAPI document says of it.
/// </summary>
internal sealed class QueryNames(RequestDelegate next, IApiDescriptionGroupCollectionProvider described, IProblemDetailsService problems)
{
    private const string OwnApi = "/api/v1/";
    private const int MostNamed = 20;
    private const int LongestShown = 64;

    // At the first request that has a query, when all endpoints are mapped.
    private readonly Lazy<FrozenDictionary<(string Method, string Path), string[]>> _taken = new(() => Read(described));

    public async Task InvokeAsync(HttpContext context)
    {
        // What is only forwarded is described, and judged, where it is answered.
        if (context.Request.Query.Count == 0
            || context.GetEndpoint() is not RouteEndpoint { RoutePattern.RawText: { } path } endpoint || !path.StartsWith(OwnApi, StringComparison.OrdinalIgnoreCase)
            || !_taken.Value.TryGetValue((context.Request.Method, path.TrimStart('/')), out var names))
        {
            await next(context);
            return;
        }

        var beginnings = endpoint.Metadata.GetOrderedMetadata<QueryBeginning>();
        var unknown = context.Request.Query.Keys
            .Where(name => !names.Contains(name, StringComparer.OrdinalIgnoreCase) && !beginnings.Any(beginning => beginning.Begins(name)))
            .Select(name => StorableText.Shorten(name, LongestShown)).Distinct().Take(MostNamed).ToList();
        if (unknown.Count == 0)
        {
            await next(context);
            return;
        }

        string[] taken = [.. names, .. beginnings.Select(beginning => $"{beginning.Text}NAME")];
        var known = taken.Length == 1 ? $"Known here is {taken[0]} only." : $"Known here are {Problems.Listed(taken, "and")}.";
        context.Response.StatusCode = StatusCodes.Status400BadRequest;
        await problems.WriteAsync(new ProblemDetailsContext
        {
            HttpContext = context,
            ProblemDetails = new ProblemDetails
            {
                Status = StatusCodes.Status400BadRequest,
                Title = "A query parameter is not known here.",
                Detail = $"{string.Join(' ', unknown.Select(name => Sentence(name, taken)))} {known}",
                // Not the framework's record of errors, whose names are turned into those of fields: this name is the sender's.
                Extensions = { ["errors"] = unknown.ToDictionary(name => name, name => (string[])[$"{Sentence(name, taken)} {known}"]) },
            },
        });
    }

    private static string Sentence(string name, string[] taken) =>
        $"\"{name}\" is not known at this address{(Nearest(name, taken) is { } nearest ? $"; {nearest} is probably meant." : ".")}";

    /// <summary>The known name that <paramref name="name"/> is a misspelling or a part of, or null. Of <c>tags.NAME</c>, what stands before the dot is compared.</summary>
    internal static string? Nearest(string name, IReadOnlyList<string> taken) =>
        taken.Select(known => (Known: known, Distance: known.IndexOf('.', StringComparison.Ordinal) is > 0 and var dot ? Distance(name.Split('.')[0], known[..dot]) : Distance(name, known)))
            .Where(one => one.Distance <= Math.Max(1, name.Length / 3))
            .OrderBy(one => one.Distance).Select(one => one.Known).FirstOrDefault()
        ?? (name.Length < 3 ? null : taken.FirstOrDefault(known => known.Contains(name, StringComparison.OrdinalIgnoreCase) || (known.Length > 2 && name.Contains(known, StringComparison.OrdinalIgnoreCase))));

    // Letters to add, drop, replace, or swap with their neighbour.
    private static int Distance(string from, string to)
    {
        var (before, last, row) = (new int[to.Length + 1], new int[to.Length + 1], new int[to.Length + 1]);
        for (var column = 0; column <= to.Length; column++)
        {
            row[column] = column;
        }

        for (var line = 1; line <= from.Length; line++)
        {
            (before, last, row) = (last, row, before);
            row[0] = line;
            for (var column = 1; column <= to.Length; column++)
            {
                var differs = Same(from[line - 1], to[column - 1]) ? 0 : 1;
                row[column] = Math.Min(Math.Min(row[column - 1], last[column]) + 1, last[column - 1] + differs);
                if (line > 1 && column > 1 && Same(from[line - 1], to[column - 2]) && Same(from[line - 2], to[column - 1]))
                {
                    row[column] = Math.Min(row[column], before[column - 2] + 1);
                }
            }
        }

        return row[to.Length];

        static bool Same(char one, char other) => char.ToLowerInvariant(one) == char.ToLowerInvariant(other);
    }

    private static FrozenDictionary<(string Method, string Path), string[]> Read(IApiDescriptionGroupCollectionProvider described) =>
        described.ApiDescriptionGroups.Items.SelectMany(group => group.Items)
            .Where(endpoint => endpoint is { HttpMethod: not null, RelativePath: not null })
            .GroupBy(endpoint => (endpoint.HttpMethod!, endpoint.RelativePath!))
            .ToFrozenDictionary(
                endpoint => endpoint.Key,
                // The realm that a request names is a matter of every policy.
                endpoint => endpoint.SelectMany(one => one.ParameterDescriptions).Where(parameter => parameter.Source == BindingSource.Query).Select(parameter => parameter.Name)
                    .Where(name => !name.Equals(Caller.RealmParameter, StringComparison.OrdinalIgnoreCase)).Append(Caller.RealmParameter).ToArray());
}

/// <param name="Text">How the names begin that the sender chooses.</param>
internal sealed record QueryBeginning(string Text)
{
    public bool Begins(string name) => Text.Length == 0 || (name.Length > Text.Length && name.StartsWith(Text, StringComparison.OrdinalIgnoreCase));
}

public static class QueryNamesEndpoint
{
    /// <summary>Says that the endpoint takes query parameters beyond those of its handler: all that begin with <paramref name="beginning"/>, whatever follows; with "", any at all.</summary>
    public static RouteHandlerBuilder TakesQuery(this RouteHandlerBuilder endpoint, string beginning) => endpoint.WithMetadata(new QueryBeginning(beginning));
}
