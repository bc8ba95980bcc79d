using System.ComponentModel.DataAnnotations;
using System.Globalization;
using Platform.Contracts;
using Platform.Incidents.Lifecycle;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Timeline;

public sealed class TimelineOptions
{
    /// <summary>How much of the time before an incident its timeline shows.</summary>
    [Setting("INCIDENT_TIMELINE_LEAD_MINUTES"), Range(0, 10_080)]
    public TimeSpan Lead { get; init; } = TimeSpan.FromMinutes(60);

    /// <summary>How long a page waits for Metrics before it is given without events.</summary>
    [Setting("INCIDENT_TIMELINE_EVENTS_TIMEOUT_SECONDS"), Range(0.1, 60)]
    public TimeSpan EventsTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Days for which entries are kept; those of an incident count from its closing.</summary>
    [Setting("INCIDENT_TIMELINE_RETENTION_DAYS"), Range(1, 3650)]
    public TimeSpan Retention { get; init; } = TimeSpan.FromDays(90);

    /// <summary>Days for which a closed incident is kept: what it was, its cause and its times. Its timeline may go before it.</summary>
    [Setting("INCIDENT_RETENTION_DAYS"), Range(1, 36_500)]
    public TimeSpan IncidentRetention { get; init; } = TimeSpan.FromDays(730);
}

/// <summary>A page of the axis.</summary>
/// <param name="From">Start of the stretch of time.</param>
/// <param name="To">Its end: the resolution, or the moment of reading.</param>
/// <param name="NextCursor">Give it back as <c>cursor</c> for the next page; null at the end.</param>
/// <param name="Missing">Sources that did not answer: <c>events</c>. What they hold is not on this page.</param>
/// <param name="MissingReason">Why, for people; null when nothing is missing.</param>
public sealed record TimelinePage(
    Guid IncidentId, DateTimeOffset From, DateTimeOffset To, IReadOnlyList<TimelineEntry> Items, string? NextCursor, IReadOnlyList<string> Missing, string? MissingReason);

/// <summary>Puts what is kept here and the events of Metrics on one axis, a page at a time, and asks for no more of either than a page.</summary>
public sealed partial class TimelineReader(TimelineStore store, IMetricsClient metrics, TimelineOptions options, TimeProvider clock, ILogger<TimelineReader> logger)
{
    // The page of events in which the reader stands may be used up almost wholly; the next one fills the page in any case.
    private const int MostEventPages = 3;

    // What Metrics takes; with fewer tags than the alert has, more events are shown, never fewer.
    private const int MostTagFilters = 16;

    public async Task<TimelinePage> ReadAsync(Incident incident, TimelineQuery query, TimelineCursor? cursor, bool wholeRealm, int limit, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var until = cursor is { } continued && continued.Until < now ? continued.Until : now;
        var end = incident.ResolvedAt is { } resolved && resolved < until ? resolved : until;
        var window = new TimelineWindow(incident.OpenedAt - options.Lead, end, until);

        var reading = query.Kinds.Contains(EntryKind.Event)
            ? ReadEventsAsync(incident, window, query, cursor, limit, ct)
            : Task.FromResult(new Events(Stretch.Nothing, [], null));
        var kept = await store.PageAsync(incident, window, query.Kinds, wholeRealm, cursor?.After, query.Descending, limit + 1, ct);
        var events = await reading;

        var local = new Stretch(kept, Complete: kept.Count <= limit) { Horizon = kept.Count > limit ? kept[^1].Position : null };
        var (items, more) = TimelineMerge.Merge([local, events.Stretch], query.Descending, limit);
        var after = items.Count > 0 ? items[^1].Position : cursor?.After;
        var next = more ? new TimelineCursor(query.Signature, until, after, events.PageAfter(after, query.Descending) ?? cursor?.EventsCursor) : null;
        return new(incident.Id, window.From, window.To, items, next?.ToString(), events.Missing is null ? [] : ["events"], events.Missing);
    }

    private async Task<Events> ReadEventsAsync(Incident incident, TimelineWindow window, TimelineQuery query, TimelineCursor? cursor, int limit, CancellationToken ct)
    {
        var tags = query.Events is EventChoice.Related
            ? incident.EventTags.OrderBy(tag => tag.Key, StringComparer.Ordinal).Take(MostTagFilters).ToDictionary(tag => $"tags.{tag.Key}", tag => tag.Value)
            : [];
        List<TimelineEntry> unseen = [];
        List<(TimelinePosition Last, string? Cursor)> pages = [];
        var place = cursor?.EventsCursor;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
        patience.CancelAfter(options.EventsTimeout);
        try
        {
            while (true)
            {
                var page = (await metrics.GetEventsAsync(
                    incident.Realm, window.From, window.To, query.Descending ? "desc" : "asc", limit + 1, place, tags, patience.Token)).Data;
                var entries = page.Items.Select(Entry).ToList();
                unseen.AddRange(entries.Where(entry => cursor?.After is not { } after || TimelineMerge.Before(after, entry.Position, query.Descending)));
                if (entries.Count > 0)
                {
                    pages.Add((entries[^1].Position, place));
                }

                if (page.NextCursor is null)
                {
                    return new(new Stretch(unseen, Complete: true), pages, null);
                }

                place = page.NextCursor;
                if (unseen.Count > limit || pages.Count == MostEventPages || entries.Count == 0)
                {
                    return new(new Stretch(unseen, Complete: false) { Horizon = pages.Count > 0 ? pages[^1].Last : cursor?.After }, [.. pages, (default, place)], null);
                }
            }
        }
        catch (Exception error) when (!ct.IsCancellationRequested && error is HttpRequestException or RestEase.ApiException or OperationCanceledException)
        {
            EventsAreMissing(error);
            return new(Stretch.Nothing, [], patience.IsCancellationRequested
                ? $"Metrics did not answer within {options.EventsTimeout.TotalSeconds:0.#} s. Read the timeline again to see its events."
                : "Metrics could not answer. Read the timeline again to see its events.");
        }
    }

    private static TimelineEntry Entry(EventRecord record) => new(
        record.Id,
        record.Timestamp,
        EntryKind.Event,
        record.Source,
        record.Message is { Length: > 0 } message ? NewEntry.Bounded(message, NewEntry.MaxTitle) : record.EventType,
        record.Message is null ? null : NewEntry.Bounded(record.Message, NewEntry.MaxMessage),
        record.Level,
        $"/api/v1/monitoring/events?start_time={Time(record)}&end_time={Time(record)}&source={Uri.EscapeDataString(record.Source)}",
        record.Tags);

    private static string Time(EventRecord record) => record.Timestamp.UtcDateTime.ToString("O", CultureInfo.InvariantCulture);

    /// <summary>What was read of the events.</summary>
    /// <param name="Pages">Of every page its last place, and the cursor that brings it; after them, if there is more, the cursor of what was not read.</param>
    /// <param name="Missing">Why there are none; null when they were read.</param>
    private sealed record Events(Stretch Stretch, IReadOnlyList<(TimelinePosition Last, string? Cursor)> Pages, string? Missing)
    {
        /// <summary>The cursor of the page in which the first event after a place lies. Pages before it need not be read again.</summary>
        public string? PageAfter(TimelinePosition? shown, bool descending)
        {
            if (Pages.Count == 0)
            {
                return null;
            }

            foreach (var (last, page) in Pages.SkipLast(1))
            {
                if (shown is not { } place || TimelineMerge.Before(place, last, descending))
                {
                    return page;
                }
            }

            return Pages[^1].Cursor;
        }
    }

    [LoggerMessage(LogLevel.Warning, "A timeline is given without its events")]
    private partial void EventsAreMissing(Exception error);
}
