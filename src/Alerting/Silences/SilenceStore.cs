using System.Text.Json;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Postgres;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Silences;

/// <summary>All SQL about silences. What a change of one means for alerts is the flusher's business: it finds what it has not applied yet.</summary>
public sealed class SilenceStore(NpgsqlDataSource db)
{
    private static Sql Columns => $"id, realm, matchers, owner, comment, starts_at, ends_at, created_at, updated_at, updated_by, version, annotations::text";

    /// <summary>One page, newest first.</summary>
    /// <param name="realm">That realm's and those of all realms; null for every silence.</param>
    public Task<List<Silence>> ListAsync(string? realm, SilenceState? state, DateTimeOffset now, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        where = realm is not null ? $"{where} and realm in ({realm}, '*')" : where;
        where = state switch
        {
            SilenceState.Expired => $"{where} and ends_at <= {now}",
            SilenceState.Active => $"{where} and starts_at <= {now} and ends_at > {now}",
            SilenceState.Pending => $"{where} and starts_at > {now} and ends_at > {now}",
            null => where,
        };
        where = after is { } place ? $"{where} and (created_at, id) < ({place.At}, {place.Id})" : where;
        return db.QueryAsync($"select {Columns} from silences where {where} order by created_at desc, id desc limit {limit}", Read, ct);
    }

    public Task<Silence?> FindAsync(Guid id, CancellationToken ct) => db.FindAsync($"select {Columns} from silences where id = {id}", Read, ct);

    public Task<Silence?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from silences where id = {id} for update", Read, ct);

    /// <summary>Silences of a realm that are not over.</summary>
    public Task<long> CountLiveAsync(NpgsqlTransaction tx, string realm, DateTimeOffset now, CancellationToken ct) =>
        tx.FindAsync($"select count(*) from silences where realm = {realm} and applied <> 'expired' and ends_at > {now}", row => row.GetInt64(0), ct);

    public Task InsertAsync(NpgsqlTransaction tx, Silence silence, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            insert into silences (id, realm, matchers, owner, comment, starts_at, ends_at, created_at, updated_at, updated_by, version, annotations)
            values ({silence.Id}, {silence.Realm}, {silence.Matchers.ToArray()}, {silence.Owner}, {silence.Comment}, {silence.StartsAt}, {silence.EndsAt},
                {silence.CreatedAt}, {silence.UpdatedAt}, {silence.UpdatedBy}, {silence.Version},
                {Queries.Jsonb(silence.Annotations, WireJson.Options)})
            """, ct);

    public Task UpdateAsync(NpgsqlTransaction tx, Silence silence, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            update silences set matchers = {silence.Matchers.ToArray()}, owner = {silence.Owner}, annotations = {Queries.Jsonb(silence.Annotations, WireJson.Options)}, comment = {silence.Comment}, starts_at = {silence.StartsAt}, ends_at = {silence.EndsAt},
                updated_at = {silence.UpdatedAt}, updated_by = {silence.UpdatedBy}, version = {silence.Version}, applied = 'changed'
            where id = {silence.Id}
            """, ct);

    /// <summary>Deletes silences that ended before <paramref name="before"/> and have been lifted.</summary>
    public Task<int> DeleteOldAsync(DateTimeOffset before, int atMost, CancellationToken ct) =>
        db.ExecuteAsync($"delete from silences where id = any(array(select id from silences where ends_at < {before} and applied = 'expired' limit {atMost} for update skip locked))", ct);

    /// <summary>Every silence that is not over, or whose end has not been acted upon, with what has been acted upon and its matchers as stored.</summary>
    /// <param name="realms">Those of these realms and of <c>*</c>; null for all.</param>
    internal static Task<List<(Silence Unread, string Applied, string[] Matchers)>> LiveAsync(NpgsqlTransaction tx, string[]? realms, CancellationToken ct)
    {
        Sql where = $"applied <> 'expired'";
        where = realms is not null ? $"{where} and (realm = any({realms}) or realm = '*')" : where;
        return tx.QueryAsync($"select {Columns}, applied from silences where {where} order by id", row => (Unparsed(row), row.GetString(12), row.GetFieldValue<string[]>(2)), ct);
    }

    /// <summary>Has every alert judged again that the silence may take, or took.</summary>
    internal static async Task ApplyAsync(NpgsqlTransaction tx, Silence silence, SilenceState state, CancellationToken ct)
    {
        if (state == SilenceState.Active)
        {
            var equal = silence.Matching.Where(matcher => matcher.Kind == MatchKind.Equal && matcher.Value.Length > 0).GroupBy(matcher => matcher.Name).ToDictionary(same => same.Key, same => same.First().Value);
            await tx.ExecuteAsync($"""
                insert into alert_news (alert_id, what)
                select id, 'judge' from alerts
                where state <> 'resolved' and ({silence.Realm} = '*' or realm = {silence.Realm}) and labels @> {Queries.Jsonb(equal, WireJson.Options)}
                """, ct);
        }

        await tx.ExecuteAsync($"""
            insert into alert_news (alert_id, what)
            select id, 'judge' from alerts
            where state <> 'resolved' and suppressed_by <> '[]' and suppressed_by @> {Queries.Jsonb(new[] { new { id = silence.Id } }, WireJson.Options)}
            """, ct);
        // Unless it was changed since it was read: then the next look applies the change.
        await tx.ExecuteAsync($"update silences set applied = {WireJson.Name(state.ToString())} where id = {silence.Id} and version = {silence.Version}", ct);
    }

    internal static Silence Read(NpgsqlDataReader row)
    {
        var written = row.GetFieldValue<string[]>(2);
        return Unparsed(row).With(Parse(written), written);
    }

    /// <summary>Null for matchers that cannot be read: silences of all realms are read together, and one must not stand in the way of the others.</summary>
    internal static IReadOnlyList<Matcher>? Parse(string[] written)
    {
        try
        {
            return [.. written.SelectMany(MatcherNotation.Parse)];
        }
        catch (FormatException)
        {
            // Whoever decides what it takes says so in the log.
            return null;
        }
    }

    private static Silence Unparsed(NpgsqlDataReader row) => new(
        row.GetGuid(0), row.GetString(1), [], row.GetString(3), row.GetString(4),
        row.GetTime(5), row.GetTime(6), row.GetTime(7), row.GetTime(8), row.GetString(9), row.GetInt32(10))
    { Annotations = JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(11))! };
}

/// <summary>
/// The silences that may hold, as one reader sees them again and again: the matchers of each are parsed, and their patterns compiled, once
/// per version. Not safe for several threads at once.
/// </summary>
public sealed partial class LiveSilences(ILogger logger)
{
    private Dictionary<(Guid Id, int Version), IReadOnlyList<Matcher>?> _matching = [];

    /// <summary>Those that are not over, or whose end has not been acted upon, with what has been acted upon.</summary>
    /// <param name="realms">Those of these realms and of <c>*</c>; null for all.</param>
    public async Task<List<(Silence Silence, string Applied)>> ReadAsync(NpgsqlTransaction tx, string[]? realms, CancellationToken ct)
    {
        var live = await SilenceStore.LiveAsync(tx, realms, ct);
        var known = realms is null ? [] : _matching;
        var read = new List<(Silence, string)>(live.Count);
        foreach (var (silence, applied, matchers) in live)
        {
            var key = (silence.Id, silence.Version);
            if (!_matching.TryGetValue(key, out var matching))
            {
                matching = SilenceStore.Parse(matchers);
                if (matching is null)
                {
                    Unreadable(silence.Id, silence.Realm, string.Join(", ", matchers));
                }
            }

            known[key] = matching;
            read.Add((silence.With(matching, matchers), applied));
        }

        _matching = known;
        return read;
    }

    [LoggerMessage(LogLevel.Error, "The silence {Silence} of realm {Realm} has matchers that cannot be read and takes no alert: {Matchers}. Change it or end it")]
    private partial void Unreadable(Guid silence, string realm, string matchers);
}
