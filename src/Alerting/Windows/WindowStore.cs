using System.Globalization;
using Npgsql;
using Platform.Postgres;

namespace Platform.Alerting.Windows;

/// <summary>What the database keeps of one group of one rule. Microseconds of event time, except <paramref name="SeenAt"/>.</summary>
/// <param name="Latest">The latest episode; its count is not kept.</param>
/// <param name="AlertId">The episode's alert, until the episode was seen to be over.</param>
/// <param name="FireAt">When the absence of a further hit is an alert; null when it is not awaited.</param>
/// <param name="Position">How far the source had come when the newest hit arrived, at wall time <paramref name="SeenAt"/>.</param>
public sealed record StoredWindow(
    Guid Key, string Source, Hit[] Hits, Episode? Latest, Guid? AlertId, long Position, long SeenAt, long? ResolveAt, long ForgetAt, long? FireAt = null);

/// <summary>A window in which no hit came for too long; locked.</summary>
public sealed record SilentWindow(Guid Key, Guid Rule, string Realm, string[] Values, long Newest, long Lag);

/// <summary>An alert whose episode is over.</summary>
public sealed record EndedEpisode(Guid Key, Guid AlertId, long Until, Rules.Condition? Condition);

/// <summary>All SQL about windows: a few statements for a batch, however many groups it hits.</summary>
public sealed class WindowStore(NpgsqlDataSource db)
{
    private const int ResolveAtOnce = 500;
    private const int FireAtOnce = 500;
    private const int ForgetAtOnce = 5_000;

    /// <summary>
    /// Makes the windows that are not there yet and locks them all, in the order of their keys: two replicas that handle batches with
    /// the same groups wait for each other and never in a circle. A window that is there is locked by the insert itself, so that it
    /// cannot be forgotten between the insert and the look at it.
    /// </summary>
    /// <returns>The locked windows, and rule and realm of each new one.</returns>
    public static async Task<(Dictionary<Guid, StoredWindow> Windows, List<(Guid Rule, string Realm)> Created)> LockAsync(NpgsqlTransaction tx, IReadOnlyList<GroupHits> groups, CancellationToken ct)
    {
        var keys = groups.Select(group => group.Key).ToArray();
        // Group values are passed as array literals, because an array of arrays of different lengths is not a thing.
        var created = await tx.QueryAsync($"""
            insert into event_windows (key, rule_id, realm, group_values)
            select key, rule_id, realm, group_values::text[]
            from unnest({keys}, {groups.Select(group => group.Rule.Id).ToArray()}, {groups.Select(group => group.Realm).ToArray()}, {groups.Select(group => Literal(group.Values)).ToArray()})
                as fresh (key, rule_id, realm, group_values)
            order by key
            on conflict (key) do update set key = excluded.key where false -- locks the row and writes nothing
            returning rule_id, realm
            """, row => (row.GetGuid(0), row.GetString(1)), ct);
        var windows = await tx.QueryAsync($"""
            select key, source, hits, episode_from, episode_until, alert_id, position, seen_at, resolve_at, forget_at, details, fire_at
            from event_windows where key = any({keys})
            """, Read, ct);
        return (windows.ToDictionary(window => window.Key), created);
    }

    public static Task<List<Guid>> ExistingAsync(NpgsqlTransaction tx, Guid[] keys, CancellationToken ct) =>
        tx.QueryAsync($"select key from event_windows where key = any({keys})", row => row.GetGuid(0), ct);

    public static Task SaveAsync(NpgsqlTransaction tx, IReadOnlyList<StoredWindow> windows, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            update event_windows w
            set source = n.source, hits = n.hits::bigint[], episode_from = n.episode_from, episode_until = n.episode_until, alert_id = n.alert_id,
                position = n.position, seen_at = n.seen_at, resolve_at = n.resolve_at, forget_at = n.forget_at,
                details = n.details::bigint[], fire_at = n.fire_at
            from unnest(
                {windows.Select(window => window.Key).ToArray()},
                {windows.Select(window => window.Source).ToArray()},
                {windows.Select(window => Literal(window.Hits.Select(hit => hit.At))).ToArray()},
                {windows.Select(window => window.Latest?.From).ToArray()},
                {windows.Select(window => window.Latest?.Until).ToArray()},
                {windows.Select(window => window.AlertId).ToArray()},
                {windows.Select(window => window.Position).ToArray()},
                {windows.Select(window => window.SeenAt).ToArray()},
                {windows.Select(window => window.ResolveAt).ToArray()},
                {windows.Select(window => window.ForgetAt).ToArray()},
                {windows.Select(window => Literal(Details(window.Hits))).ToArray()},
                {windows.Select(window => window.FireAt).ToArray()})
                as n (key, source, hits, episode_from, episode_until, alert_id, position, seen_at, resolve_at, forget_at, details, fire_at)
            where w.key = n.key
            """, ct);

    /// <summary>Whether anything may be due by the wall clock; by that of the sources it may still have to wait.</summary>
    public Task<bool> AnyDueAsync(long at, CancellationToken ct) =>
        db.FindAsync($"""
            select exists (select 1 from event_windows where alert_id is not null and resolve_at <= {at})
                or exists (select 1 from event_windows where alert_id is null and fire_at <= {at})
                or exists (select 1 from event_windows where alert_id is null and forget_at <= {at})
            """, row => row.GetBoolean(0), ct);

    /// <summary>
    /// Takes alerts off windows whose source has passed the end of their episode. What another replica has locked is left to it.
    /// </summary>
    /// <param name="clocks">The sources' places; a source that is missing goes by the window's own memory.</param>
    /// <param name="at">Wall clock at the time of <paramref name="clocks"/>: a little ago, see the worker.</param>
    /// <param name="which">Windows, and whether it is only these, or all but these.</param>
    public static Task<List<EndedEpisode>> TakeEndedAsync(
        NpgsqlTransaction tx, IReadOnlyList<(string Realm, string Source, long Position)> clocks, long at, (Guid[] Keys, bool Only) which, CancellationToken ct) =>
        tx.QueryAsync($"""
            update event_windows set alert_id = null
            from (
                select w.key, w.alert_id from event_windows w
                left join unnest({Realms(clocks)}, {Sources(clocks)}, {Positions(clocks)}) as c (realm, source, position)
                    on c.realm = w.realm and c.source = w.source
                where w.alert_id is not null and w.resolve_at <= {at} and w.resolve_at <= coalesce(c.position, w.position + {at} - w.seen_at) and (w.key = any({which.Keys})) = {which.Only}
                order by w.resolve_at limit {ResolveAtOnce}
                for update of w skip locked) ended
            where event_windows.key = ended.key
            returning event_windows.key, ended.alert_id, event_windows.episode_until, (select condition from rules where rules.id = event_windows.rule_id)
            """, row => new EndedEpisode(row.GetGuid(0), row.GetGuid(1), row.GetInt64(2), Rules.Condition.Parse(row.GetOrNull(3, row.GetString))), ct);

    /// <summary>Windows whose source has come past the time at which a further hit should have come. What another replica has locked is left to it.</summary>
    /// <param name="which">Windows, and whether it is only these, or all but these.</param>
    public static Task<List<SilentWindow>> LockSilentAsync(
        NpgsqlTransaction tx, IReadOnlyList<(string Realm, string Source, long Position)> clocks, long at, (Guid[] Keys, bool Only) which, CancellationToken ct) =>
        tx.QueryAsync($"""
            select w.key, w.rule_id, w.realm, w.group_values, w.hits[cardinality(w.hits)], w.position from event_windows w
            left join unnest({Realms(clocks)}, {Sources(clocks)}, {Positions(clocks)}) as c (realm, source, position)
                on c.realm = w.realm and c.source = w.source
            where w.alert_id is null and w.fire_at <= {at} and w.fire_at <= coalesce(c.position, w.position + {at} - w.seen_at) and (w.key = any({which.Keys})) = {which.Only}
            order by w.key limit {FireAtOnce}
            for update of w skip locked
            """, row => new SilentWindow(row.GetGuid(0), row.GetGuid(1), row.GetString(2), row.GetFieldValue<string[]>(3), row.GetInt64(4), row.GetInt64(5) - row.GetInt64(4)), ct);

    public static Task SaveSilentAsync(NpgsqlTransaction tx, SilentWindow window, Episode silence, Guid alert, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            update event_windows
            set alert_id = {alert}, episode_from = {silence.From}, episode_until = {silence.Until}, resolve_at = {silence.Until + window.Lag}, fire_at = null
            where key = {window.Key}
            """, ct);

    /// <summary>Begins to wait for the first event of a rule that has none yet.</summary>
    public static Task StartAsync(NpgsqlTransaction tx, Rules.Rule rule, WindowOptions options, long now, CancellationToken ct)
    {
        if (!rule.Enabled || rule.Condition is not Rules.Condition.Absence { FromStart: true })
        {
            return Task.CompletedTask;
        }

        var shape = WindowShape.Of(rule, options);
        return tx.ExecuteAsync($"""
            insert into event_windows (key, rule_id, realm, group_values, hits, position, seen_at, forget_at, fire_at)
            values ({GroupHits.KeyOf(rule.Id, rule.Realm, [])}, {rule.Id}, {rule.Realm}, array[]::text[], array[{now}], {now}, {now},
                {now + shape.Length + shape.Rest + shape.Lateness}, {now + shape.Length})
            on conflict do nothing
            """, ct);
    }

    /// <summary>Deletes windows in which no hit can matter any more, a bounded number at a time.</summary>
    public Task<int> ForgetAsync(IReadOnlyList<(string Realm, string Source, long Position)> clocks, long at, CancellationToken ct) =>
        db.ExecuteAsync($"""
            delete from event_windows where key = any(array(
                select w.key from event_windows w
                left join unnest({Realms(clocks)}, {Sources(clocks)}, {Positions(clocks)}) as c (realm, source, position)
                    on c.realm = w.realm and c.source = w.source
                where w.alert_id is null and w.forget_at <= {at} and w.forget_at <= coalesce(c.position, w.position + {at} - w.seen_at)
                limit {ForgetAtOnce}
                for update of w skip locked))
            """, ct);

    public Task<List<(Guid Rule, string Realm, long Windows)>> CountAsync(CancellationToken ct) =>
        db.QueryAsync($"select rule_id, realm, count(*) from event_windows group by rule_id, realm", row => (row.GetGuid(0), row.GetString(1), row.GetInt64(2)), ct);

    private static string[] Realms(IEnumerable<(string Realm, string Source, long Position)> clocks) => [.. clocks.Select(clock => clock.Realm)];

    private static string[] Sources(IEnumerable<(string Realm, string Source, long Position)> clocks) => [.. clocks.Select(clock => clock.Source)];

    private static long[] Positions(IEnumerable<(string Realm, string Source, long Position)> clocks) => [.. clocks.Select(clock => clock.Position)];

    private static string Literal(IEnumerable<long> hits) => $"{{{string.Join(',', hits.Select(hit => hit.ToString(CultureInfo.InvariantCulture)))}}}";

    private static string Literal(string[] values) =>
        $"{{{string.Join(',', values.Select(value => $"\"{value.Replace("\\", "\\\\").Replace("\"", "\\\"")}\""))}}}";

    // Plain counts have nothing to say about a hit but its time, and store nothing.
    private static IEnumerable<long> Details(Hit[] hits) =>
        Array.TrueForAll(hits, hit => hit is { A: 0, B: 0 }) ? [] : hits.SelectMany(hit => (long[])[hit.A, hit.B]);

    private static Hit[] Hits(long[] times, long[] details) =>
        [.. times.Select((time, i) => details.Length == 0 ? new Hit(time) : new Hit(time, details[2 * i], details[2 * i + 1]))];

    private static StoredWindow Read(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), Hits(row.GetFieldValue<long[]>(2), row.GetFieldValue<long[]>(10)),
        row.IsDBNull(3) ? null : new Episode(row.GetInt64(3), row.GetInt64(4), 0),
        row.IsDBNull(5) ? null : row.GetGuid(5), row.GetInt64(6), row.GetInt64(7), row.IsDBNull(8) ? null : row.GetInt64(8), row.GetInt64(9),
        row.IsDBNull(11) ? null : row.GetInt64(11));
}
