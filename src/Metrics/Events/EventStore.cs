using System.Collections.Concurrent;
using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;

namespace Platform.Metrics.Events;

/// <param name="Action">A word of the vocabulary.</param>
/// <param name="Outcome">A word of the vocabulary, or empty when the events named none.</param>
public sealed record ActionTotal(string Realm, string Action, string Outcome, long Total);

/// <summary>Reads events.</summary>
public sealed class EventStore(NpgsqlDataSource db, TimeProvider clock)
{
    private const int MostTotals = 1_000;
    private static readonly TimeSpan TotalAge = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<string, (long Total, long At)> _totals = new();

    /// <returns>A page, and the cursor of the next one or null at the end.</returns>
    public async Task<(IReadOnlyList<EventRecord> Items, string? Next)> ListAsync(EventQuery query, CancellationToken ct)
    {
        Sql where = $"true";
        if (query.Realm is { } realm)
        {
            where = $"{where} and realm = {realm}";
        }

        if (query.EventType is { } type)
        {
            where = $"{where} and event_type = {type}";
        }

        if (query.Source is { } source)
        {
            where = $"{where} and source = {source}";
        }

        if (query.Level is { } level)
        {
            where = $"{where} and level = {level}";
        }

        if (query.StartTime is { } start)
        {
            where = $"{where} and timestamp >= {start}";
        }

        if (query.EndTime is { } end)
        {
            where = $"{where} and timestamp <= {end}";
        }

        foreach (var tag in query.Tags)
        {
            where = Has(where, tag.Key, tag.Value);
        }

        Sql order = $"timestamp, id";
        if (!query.Ascending)
        {
            order = $"timestamp desc, id desc";
        }

        // The comparison of timestamps alone looks redundant, but it is the one that picks partitions.
        if (query.After is { } after && query.Ascending)
        {
            where = $"{where} and timestamp >= {after.Timestamp} and (timestamp, id) > ({after.Timestamp}, {after.Id})";
        }
        else if (query.After is { } before)
        {
            where = $"{where} and timestamp <= {before.Timestamp} and (timestamp, id) < ({before.Timestamp}, {before.Id})";
        }

        var items = await db.QueryAsync(
            $"""
            select id, realm, event_type, source, message, level, tags, payload, timestamp, created_at
            from events where {where} order by {order} limit {query.Limit + 1} offset {query.Offset}
            """,
            Read,
            ct);
        if (items.Count <= query.Limit)
        {
            return (items, null);
        }

        items.RemoveAt(query.Limit);
        return (items, EventCursor.Of(items[^1].Timestamp, items[^1].Id).ToString());
    }

    /// <summary>Counts by action and outcome, in whole minutes of event time in [from, to).</summary>
    public Task<List<ActionCount>> CountActionsAsync(string? realm, DateTimeOffset from, DateTimeOffset to, CancellationToken ct) =>
        db.QueryAsync(
            $"""
            select action, outcome, sum(count)::bigint from event_counts
            where minute >= {from} and minute < {to} and ({realm}::text is null or realm = {realm}) and action <> ''
            group by action, outcome order by action, outcome
            """,
            row => new ActionCount(row.GetString(0), row.GetString(1), row.GetInt64(2)),
            ct);

    /// <summary>How many events of each action and outcome ever came, by realm; of one realm, or of all when it is null.</summary>
    public Task<List<ActionTotal>> ListTotalsAsync(string? realm, CancellationToken ct) =>
        db.QueryAsync(
            $"select realm, action, outcome, total from event_totals where {realm}::text is null or realm = {realm} order by realm, action, outcome",
            row => new ActionTotal(row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3)),
            ct);

    /// <summary>How many events are stored (at most <see cref="TotalAge"/> old), and how many happened since <paramref name="since"/> (to the minute).</summary>
    public async Task<(long Total, long Recent)> CountAsync(string? realm, DateTimeOffset since, CancellationToken ct)
    {
        var recent = await db.FindAsync(
            $"select coalesce(sum(count), 0)::bigint from event_counts where minute >= {since} and ({realm}::text is null or realm = {realm})", row => row.GetInt64(0), ct);
        if (_totals.TryGetValue(realm ?? "", out var known) && clock.GetElapsedTime(known.At) < TotalAge)
        {
            return (known.Total, recent);
        }

        // A month of minutes is a million rows: counted once for everybody who asks within the next seconds.
        var at = clock.GetTimestamp();
        var total = await db.FindAsync(
            $"select coalesce(sum(count), 0)::bigint from event_counts where {realm}::text is null or realm = {realm}", row => row.GetInt64(0), ct);
        if (_totals.Count >= MostTotals)
        {
            _totals.Clear();
        }

        _totals[realm ?? ""] = (total, at);
        return (total, recent);
    }

    // A query string knows only text; a tag may be stored as text, number or boolean.
    private static Sql Has(Sql where, string name, string value)
    {
        var asText = Queries.Jsonb(JsonSerializer.Serialize(new Dictionary<string, string> { [name] = value }));
        if (!IsNumberOrBoolean(value))
        {
            return $"{where} and tags @> {asText}";
        }

        var asLiteral = Queries.Jsonb($"{{{JsonSerializer.Serialize(name)}:{value}}}");
        return $"{where} and (tags @> {asText} or tags @> {asLiteral})";
    }

    private static bool IsNumberOrBoolean(string value)
    {
        if (value is "true" or "false")
        {
            return true;
        }

        var reader = new Utf8JsonReader(System.Text.Encoding.UTF8.GetBytes(value));
        try
        {
            return value.Length is > 0 and <= 30 && reader.Read() && reader.TokenType == JsonTokenType.Number && reader.BytesConsumed == value.Length;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static EventRecord Read(NpgsqlDataReader row) =>
        new(
            row.GetGuid(0),
            row.GetString(1),
            row.GetString(2),
            row.GetString(3),
            row.GetOrNull(4, row.GetString),
            row.GetOrNull(5, row.GetString),
            row.GetFieldValue<JsonElement>(6),
            row.GetFieldValue<JsonElement>(7),
            row.GetTime(8),
            row.GetTime(9));
}
