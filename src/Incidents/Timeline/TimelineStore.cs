using System.Text.Json;
using Npgsql;
using NpgsqlTypes;
using Platform.Incidents.Lifecycle;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Timeline;

/// <summary>Which part of the axis is read.</summary>
/// <param name="From">Start of the surroundings: health, denials and changes of the realm, and events.</param>
/// <param name="To">End of the surroundings: the resolution, or now.</param>
/// <param name="Until">Nothing after this moment: it keeps the pages of one reading together. What belongs to the incident itself is shown up to here.</param>
public sealed record TimelineWindow(DateTimeOffset From, DateTimeOffset To, DateTimeOffset Until);

/// <summary>All SQL about entries of timelines.</summary>
public sealed class TimelineStore(NpgsqlDataSource db)
{
    /// <summary>The most facts that one entry carries.</summary>
    private const int MaxData = 32;

    /// <summary>Adds an entry; one that is there already stays as it is.</summary>
    public Task AddAsync(NpgsqlTransaction tx, NewEntry entry, CancellationToken ct)
    {
        var data = entry.Data.Take(MaxData).ToDictionary(fact => NewEntry.Bounded(fact.Key, 100), fact => NewEntry.Bounded(fact.Value, 500));
        return tx.ExecuteAsync($"""
            insert into timeline_entries (id, realm, incident_id, alert_id, timestamp, kind, source, title, message, level, link, data)
            values ({entry.Id}, {entry.Realm}, {entry.IncidentId}, {entry.AlertId}, {entry.Timestamp.ToUniversalTime()}, {(short)entry.Kind},
                    {NewEntry.Bounded(entry.Source, 200)}, {NewEntry.Bounded(entry.Title, NewEntry.MaxTitle)},
                    {(entry.Message is { } message ? NewEntry.Bounded(message, NewEntry.MaxMessage) : null)}, {entry.Level}, {entry.Link}, {Queries.Jsonb(data, WireJson.Options)})
            on conflict (id) do nothing
            """, ct);
    }

    /// <summary>Gives an incident the entries that waited for it under its alert's id.</summary>
    public Task LinkAsync(NpgsqlTransaction tx, Guid alertId, Guid incidentId, CancellationToken ct) =>
        tx.ExecuteAsync($"update timeline_entries set incident_id = {incidentId} where alert_id = {alertId} and incident_id is null", ct);

    /// <summary>A page of what is kept here, in order of <see cref="TimelinePosition"/>.</summary>
    /// <param name="incident">Whose timeline.</param>
    /// <param name="window">What part of it.</param>
    /// <param name="kinds">Which kinds; events are not kept here.</param>
    /// <param name="wholeRealm">Whether the reader may see audit records that are not about this incident.</param>
    /// <param name="after">Where the page before ended.</param>
    /// <param name="descending">Newest first.</param>
    /// <param name="limit">Most entries.</param>
    /// <param name="ct">Ends the reading.</param>
    public Task<List<TimelineEntry>> PageAsync(
        Incident incident, TimelineWindow window, IReadOnlyCollection<EntryKind> kinds, bool wholeRealm, TimelinePosition? after, bool descending, int limit, CancellationToken ct)
    {
        var own = kinds.Where(kind => kind is not EntryKind.Event).Select(kind => (short)kind).ToArray();
        var around = own.Where(kind => kind == (short)EntryKind.Health || (wholeRealm && kind == (short)EntryKind.Audit)).ToArray();
        // An incident of the platform itself lies in all realms already.
        var platform = incident.Realm == Realm.All ? [] : around;

        // Three index ranges, each in order and cut to the page, instead of one condition with an "or" that no index serves.
        return db.QueryAsync($"""
            select id, timestamp, kind, source, title, message, level, link, data from (
                (select {Columns} from timeline_entries
                 where incident_id = {incident.Id} and timestamp <= {window.Until} and kind = any({Kinds(own)}){After(after, descending)}
                 order by {Order(descending)} limit {limit})
                union all
                (select {Columns} from timeline_entries
                 where realm = {incident.Realm} and incident_id is null and alert_id is null
                   and timestamp >= {window.From} and timestamp <= {window.To} and kind = any({Kinds(around)}){After(after, descending)}
                 order by {Order(descending)} limit {limit})
                union all
                (select {Columns} from timeline_entries
                 where realm = {Realm.All} and incident_id is null and alert_id is null
                   and timestamp >= {window.From} and timestamp <= {window.To} and kind = any({Kinds(platform)}){After(after, descending)}
                 order by {Order(descending)} limit {limit})
            ) entries
            order by {Order(descending)} limit {limit}
            """, Read, ct);
    }

    /// <summary>Forgets entries older than <paramref name="before"/>, except those of incidents that are not closed, or closed later. At most a batch; answers how many.</summary>
    public Task<int> ForgetAsync(DateTimeOffset before, CancellationToken ct) => db.ExecuteAsync($"""
        delete from timeline_entries where id = any(array(
            select entry.id from timeline_entries entry
            left join incidents incident on incident.id = entry.incident_id
            where entry.timestamp < {before} and (entry.incident_id is null or incident.closed_at < {before})
            limit 5000))
        """, ct);

    private static Sql Columns => $"id, timestamp, kind, source, title, message, level, link, data";

    private static Sql Order(bool descending)
    {
        if (descending)
        {
            return $"timestamp desc, kind desc, id desc";
        }

        return $"timestamp, kind, id";
    }

    private static Sql After(TimelinePosition? after, bool descending)
    {
        if (after is not { } place)
        {
            return $"";
        }

        var (time, kind, id) = (place.Timestamp, (short)place.Kind, place.Id);
        if (descending)
        {
            return $" and (timestamp, kind, id) < ({time}, {kind}, {id})";
        }

        return $" and (timestamp, kind, id) > ({time}, {kind}, {id})";
    }

    private static NpgsqlParameter Kinds(short[] kinds) => new() { Value = kinds, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Smallint };

    private static TimelineEntry Read(NpgsqlDataReader row) => new(
        row.GetGuid(0),
        row.GetTime(1),
        (EntryKind)row.GetInt16(2),
        row.GetString(3),
        row.GetString(4),
        row.GetOrNull(5, row.GetString),
        row.GetOrNull(6, row.GetString),
        row.GetOrNull(7, row.GetString),
        row.GetFieldValue<JsonElement>(8));
}
