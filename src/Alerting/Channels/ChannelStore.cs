using System.Text.Json;
using Npgsql;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>All SQL about channels, and the one place where a name becomes a channel: the realm's own, else that of realm <c>*</c>.</summary>
public sealed class ChannelStore(NpgsqlDataSource db, ChannelSecrets secrets, SettingsChannels settings)
{
    // Held while a realm's channels are changed, so that limits and references are judged on what is there.
    private const int Lock = 0x6368616e;

    private static Sql Columns =>
        $"id, realm, name, kind, settings::text, secrets, rate_per_minute, fallback, deadline_seconds, send_resolved, created_by, created_at, updated_at, version";

    /// <summary>Waits for other changes of the realm's channels, and keeps them waiting until the transaction ends.</summary>
    public static Task LockForChangeAsync(NpgsqlTransaction tx, string realm, CancellationToken ct) =>
        tx.ExecuteAsync($"select pg_advisory_xact_lock({Lock}, hashtext({realm}))", ct);

    /// <summary>One page of what a realm reaches, oldest first; on the first page the channels of settings come before all others.</summary>
    /// <param name="realm">Null for all realms.</param>
    public async Task<List<Channel>> ListAsync(string? realm, Cursor? after, int limit, CancellationToken ct)
    {
        Sql where = $"true";
        where = realm is not null ? $"{where} and realm in ({realm}, '*')" : where;
        where = after is { } place ? $"{where} and (created_at, id) > ({place.At}, {place.Id})" : where;
        return await db.QueryAsync($"select {Columns} from channels where {where} order by created_at, id limit {limit}", Read, ct);
    }

    public async Task<Channel?> FindAsync(Guid id, CancellationToken ct) =>
        settings.All.FirstOrDefault(channel => channel.Id == id) ?? await db.FindAsync($"select {Columns} from channels where id = {id}", Read, ct);

    public Task<Channel?> FindForChangeAsync(NpgsqlTransaction tx, Guid id, CancellationToken ct) =>
        tx.FindAsync($"select {Columns} from channels where id = {id} for update", Read, ct);

    /// <summary>The channel that a name means in a realm.</summary>
    public async Task<Channel?> FindAsync(NpgsqlTransaction tx, string realm, string name, CancellationToken ct) =>
        await tx.FindAsync($"select {Columns} from channels where name = {name} and realm in ({realm}, '*') order by realm = '*' limit 1", Read, ct) ?? settings.Find(name);

    /// <summary>The channels of these ids, as they are stored now.</summary>
    public Task<List<Channel>> GetAsync(IReadOnlyCollection<Guid> ids, CancellationToken ct) =>
        db.QueryAsync($"select {Columns} from channels where id = any({ids.ToArray()})", Read, ct);

    /// <summary>Every name that means a channel in a realm, for whoever checks references to them.</summary>
    public async Task<IReadOnlySet<string>> NamesAsync(NpgsqlTransaction tx, string realm, CancellationToken ct)
    {
        var names = (await tx.QueryAsync($"select name from channels where realm in ({realm}, '*')", row => row.GetString(0), ct)).ToHashSet(StringComparer.Ordinal);
        names.UnionWith(settings.All.Select(channel => channel.Name));
        return names;
    }

    public Task<long> CountAsync(NpgsqlTransaction tx, string realm, CancellationToken ct) =>
        tx.FindAsync($"select count(*) from channels where realm = {realm}", row => row.GetInt64(0), ct);

    /// <summary>
    /// Who would tell into nothing without this channel, in words; the first few of each kind. Nobody, when another channel takes its place: the
    /// one of all realms, or of the settings, that has its name.
    /// </summary>
    public async Task<IReadOnlyList<string>> UsersOfAsync(NpgsqlTransaction tx, Channel channel, CancellationToken ct)
    {
        var (realm, name) = (channel.Realm, channel.Name);
        var takesItsPlace = realm == Realm.All ? settings.Find(name) : await FindAsync(tx, Realm.All, name, ct);
        return takesItsPlace is not null ? [] : [
            .. await tx.QueryAsync($"""
                select 'the channel ' || c.name || ' of realm ' || c.realm || ', which falls back on it' from channels c
                where c.fallback = {name} and c.id <> {channel.Id}
                    and (c.realm = {realm} or ({realm} = '*' and not exists (select 1 from channels own where own.realm = c.realm and own.name = {name})))
                order by 1 limit 5
                """, row => row.GetString(0), ct),
            .. await RoutingStore.ReceiversOverAsync(tx, realm, name, ct),
            .. await OnCallStore.TellingOverAsync(tx, realm, name, ct)];
    }

    /// <summary>False when the realm already has a channel of that name.</summary>
    public async Task<bool> InsertAsync(NpgsqlTransaction tx, Channel channel, CancellationToken ct) =>
        await tx.ExecuteAsync($"""
            insert into channels (id, realm, name, kind, settings, secrets, rate_per_minute, fallback, deadline_seconds, send_resolved, created_by, created_at, updated_at, version)
            values ({channel.Id}, {channel.Realm}, {channel.Name}, {WireJson.Name(channel.Kind.ToString())}, {Queries.Jsonb(channel.Open(), WireJson.Options)},
                {secrets.Seal(channel.Id, channel.Secrets())}, {channel.RatePerMinute}, {channel.Fallback}, {(int?)channel.Deadline?.TotalSeconds}, {channel.SendResolved},
                {channel.CreatedBy}, {channel.CreatedAt}, {channel.UpdatedAt}, {channel.Version})
            on conflict do nothing
            """, ct) == 1;

    /// <summary>The name stays: notifications, receivers and fallbacks go by it.</summary>
    public Task UpdateAsync(NpgsqlTransaction tx, Channel channel, CancellationToken ct) =>
        tx.ExecuteAsync($"""
            update channels set kind = {WireJson.Name(channel.Kind.ToString())}, settings = {Queries.Jsonb(channel.Open(), WireJson.Options)},
                secrets = {secrets.Seal(channel.Id, channel.Secrets())}, rate_per_minute = {channel.RatePerMinute}, fallback = {channel.Fallback},
                deadline_seconds = {(int?)channel.Deadline?.TotalSeconds}, send_resolved = {channel.SendResolved}, updated_at = {channel.UpdatedAt}, version = {channel.Version}
            where id = {channel.Id}
            """, ct);

    public async Task DeleteAsync(NpgsqlTransaction tx, Channel channel, CancellationToken ct)
    {
        await tx.ExecuteAsync($"delete from channels where id = {channel.Id}", ct);
        await tx.ExecuteAsync($"delete from channel_memories where realm = {channel.Realm} and channel = {channel.Name}", ct);
    }

    /// <summary>Whoever changed a channel wants it tried with what is new, not after the pause that the old one earned.</summary>
    public static Task ForgetPauseAsync(NpgsqlTransaction tx, Channel channel, CancellationToken ct) =>
        tx.ExecuteAsync($"update channel_states set paused_until = null, failures = 0 where realm = {channel.Realm} and channel = {channel.Name}", ct);

    public async Task<IReadOnlyDictionary<(string Realm, string Name), ChannelHealth>> HealthAsync(IReadOnlyCollection<Channel> channels, CancellationToken ct) =>
        (await db.QueryAsync($"""
            select s.realm, s.channel, s.paused_until, s.failures, s.last_delivered_at, s.last_failed_at, s.last_failure
            from unnest({channels.Select(channel => channel.Realm).ToArray()}, {channels.Select(channel => channel.Name).ToArray()}) as wanted (realm, channel)
            join channel_states s using (realm, channel)
            """,
            row => ((row.GetString(0), row.GetString(1)), new ChannelHealth(row.GetTimeOrNull(2), row.GetInt32(3), row.GetTimeOrNull(4), row.GetTimeOrNull(5), row.GetOrNull(6, row.GetString))),
            ct)).ToDictionary(pair => pair.Item1, pair => pair.Item2);

    private Channel Read(NpgsqlDataReader row)
    {
        var id = row.GetGuid(0);
        var fields = JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(4))!;
        var opened = secrets.Open(id, row.GetFieldValue<byte[]>(5));
        foreach (var (name, value) in opened ?? new Dictionary<string, string>())
        {
            fields[name] = value;
        }

        return new Channel(id, row.GetString(1), row.GetString(2), Enum.Parse<ChannelKind>(row.GetString(3), ignoreCase: true), fields)
        {
            SecretsAreLost = opened is null,
            RatePerMinute = row.IsDBNull(6) ? null : row.GetInt32(6),
            Fallback = row.GetOrNull(7, row.GetString),
            Deadline = row.IsDBNull(8) ? null : TimeSpan.FromSeconds(row.GetInt32(8)),
            SendResolved = row.GetBoolean(9),
            CreatedBy = row.GetString(10),
            CreatedAt = row.GetTime(11),
            UpdatedAt = row.GetTime(12),
            Version = row.GetInt32(13),
        };
    }
}
