using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;

namespace Platform.DemoBackend.Pages;

/// <param name="Body">The notification as it came.</param>
public sealed record ReceivedPage(DateTimeOffset ReceivedAt, JsonElement Body);

public sealed record ReceivedPages(IReadOnlyList<ReceivedPage> Items);

/// <summary>The last pages, oldest first; older ones make room. Safe from any thread.</summary>
public sealed class Inbox
{
    private const int Most = 1_000;

    // Guards the queue.
    private readonly Lock _lock = new();
    private readonly Queue<ReceivedPage> _pages = new();

    public void Add(ReceivedPage page)
    {
        lock (_lock)
        {
            if (_pages.Count == Most)
            {
                _pages.Dequeue();
            }

            _pages.Enqueue(page);
        }
    }

    public IReadOnlyList<ReceivedPage> List()
    {
        lock (_lock)
        {
            return [.. _pages];
        }
    }
}

/// <summary>Plays the pager: takes alert webhooks (Alertmanager version 4) on <c>POST /</c> and shows them on <c>GET /received</c>.</summary>
public static partial class PagesApi
{
    private const int LargestBody = 256 * 1024;

    public static void AddPages(this IHostApplicationBuilder builder) => builder.Services.AddSingleton<Inbox>();

    public static void MapPages(this IEndpointRouteBuilder app)
    {
        app.MapPost("/", Receive).WithMetadata(new RequestSizeLimitAttribute(LargestBody));
        app.MapGet("/received", (Inbox inbox) => TypedResults.Ok(new ReceivedPages(inbox.List())));
    }

    private static NoContent Receive(JsonElement body, Inbox inbox, TimeProvider clock, ILogger<Inbox> logger)
    {
        inbox.Add(new(clock.GetUtcNow(), body.Clone()));
        PageReceived(logger, Describe(body));
        return TypedResults.NoContent();
    }

    /// <summary>"firing AuthFailures ip_address=203.0.113.9", as far as the body says so.</summary>
    internal static string Describe(JsonElement body)
    {
        if (body.ValueKind != JsonValueKind.Object)
        {
            return "something that is not a notification";
        }

        var status = Text(body, "status") ?? "unknown";
        if (!body.TryGetProperty("alerts", out var alerts) || alerts.ValueKind != JsonValueKind.Array)
        {
            return OneLine(status);
        }

        var named = alerts.EnumerateArray().Take(5).Select(DescribeAlert);
        var more = alerts.GetArrayLength() - 5;
        return OneLine($"{status} {string.Join("; ", named)}{(more > 0 ? $" and {more} more" : "")}");
    }

    private static string DescribeAlert(JsonElement alert)
    {
        if (alert.ValueKind != JsonValueKind.Object || !alert.TryGetProperty("labels", out var labels) || labels.ValueKind != JsonValueKind.Object)
        {
            return "an alert without labels";
        }

        var rest = labels.EnumerateObject().Where(label => label.Name is not "alertname").Take(6).Select(label => $"{label.Name}={label.Value}");
        return $"{Text(labels, "alertname") ?? "unnamed"} {string.Join(' ', rest)}".TrimEnd();
    }

    private static string? Text(JsonElement from, string name) =>
        from.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    // Whoever sends a page must not be able to write a second log line with it.
    private static string OneLine(string text) => string.Concat(text.Select(letter => char.IsControl(letter) ? ' ' : letter)) is var clean && clean.Length > 500 ? clean[..500] + "…" : clean;

    [LoggerMessage(LogLevel.Information, "page received: {Page}")]
    private static partial void PageReceived(ILogger logger, string page);
}
