using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using Microsoft.Net.Http.Headers;
using Platform.Contracts;
using Platform.Health.Checks;

namespace Platform.Health.Status;

/// <param name="Since">When its state was entered.</param>
public sealed record PublicComponent(string Name, HealthState State, DateTimeOffset? Since, UptimePercent? Uptime);

/// <summary>What anybody may know: words, names that were made public, and times. No addresses, reasons or versions.</summary>
public sealed record PublicStatus(HealthState Status, DateTimeOffset Timestamp, IReadOnlyList<PublicComponent> Components);

/// <summary>The public status, as JSON, or as a page without scripts for those who prefer <c>text/html</c>.</summary>
public static class StatusPage
{
    private const string Style =
        "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1c2024;background:#fff}"
        + "table{width:100%;border-collapse:collapse}th,td{text-align:left;padding:.5rem .25rem;border-bottom:1px solid #ddd}"
        + ".healthy{color:#18794e}.degraded{color:#ad5700}.unhealthy{color:#cd2b31}.unknown{color:#60646c}"
        + "@media(prefers-color-scheme:dark){body{color:#eee;background:#111}th,td{border-color:#333}.healthy{color:#4cc38a}.degraded{color:#f1a10d}.unhealthy{color:#ff6369}.unknown{color:#a1a1aa}}";

    private static readonly string Policy = $"default-src 'none'; style-src 'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(Style)))}'";

    public static IEndpointRouteBuilder MapStatusPage(this IEndpointRouteBuilder app)
    {
        app.MapGet("/monitoring/status", Show).AllowAnonymous().WithTags("Health").Produces<PublicStatus>();
        return app;
    }

    private static IResult Show(HttpContext context, Board board)
    {
        var seen = board.Look();
        var status = new PublicStatus(seen.State, seen.At, [.. seen.Components.Where(component => component.IsPublic).Select(component =>
            new PublicComponent(component.Component, component.State, component.Since, UptimePercent.Of(component.Uptime)))]);
        context.Response.Headers.CacheControl = "no-store";
        context.Response.Headers.Vary = "Accept";
        if (!PrefersHtml(context.Request.GetTypedHeaders().Accept))
        {
            return TypedResults.Ok(status);
        }

        context.Response.Headers.ContentSecurityPolicy = Policy;
        return TypedResults.Content(Html(status), "text/html; charset=utf-8");
    }

    /// <summary>A browser names text/html before its wildcard; a client that takes anything gets JSON.</summary>
    internal static bool PrefersHtml(IList<MediaTypeHeaderValue> accepted)
    {
        return Quality("text/html") > Quality("application/json");

        double Quality(string type) => accepted
            .Where(range => new MediaTypeHeaderValue(type).IsSubsetOf(range))
            .OrderBy(range => range.MatchesAllTypes ? 2 : range.MatchesAllSubTypes ? 1 : 0)
            .Select(range => range.Quality ?? 1)
            .FirstOrDefault();
    }

    private static string Html(PublicStatus status)
    {
        var page = new StringBuilder()
            .Append(CultureInfo.InvariantCulture, $"<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"30\"><title>Status: {CheckStore.Word(status.Status)}</title><style>{Style}</style></head><body>")
            .Append(CultureInfo.InvariantCulture, $"<h1>Status: <span class=\"{CheckStore.Word(status.Status)}\">{CheckStore.Word(status.Status)}</span></h1>")
            .Append("<table><thead><tr><th scope=\"col\">Component</th><th scope=\"col\">State</th><th scope=\"col\">Since (UTC)</th><th scope=\"col\">Uptime 24 h</th><th scope=\"col\">7 d</th><th scope=\"col\">30 d</th></tr></thead><tbody>");
        foreach (var component in status.Components)
        {
            var word = CheckStore.Word(component.State);
            page.Append(CultureInfo.InvariantCulture, $"<tr><td>{HtmlEncoder.Default.Encode(component.Name)}</td><td class=\"{word}\">{word}</td><td>{component.Since:yyyy-MM-dd HH:mm}</td>")
                .Append(CultureInfo.InvariantCulture, $"<td>{Percent(component.Uptime?.Day)}</td><td>{Percent(component.Uptime?.Week)}</td><td>{Percent(component.Uptime?.Month)}</td></tr>");
        }

        return page.Append(CultureInfo.InvariantCulture, $"</tbody></table><p>As of {status.Timestamp:yyyy-MM-dd HH:mm:ss} UTC.</p></body></html>").ToString();
    }

    private static string Percent(double? value) => value is null ? "–" : string.Create(CultureInfo.InvariantCulture, $"{value:0.###} %");
}
