using Npgsql;
using Platform.Alerting.Canaries;
using Platform.Alerting.Channels;
using Platform.ServiceDefaults;
using Platform.Postgres;

namespace Platform.Alerting.Routing;

/// <summary>A realm's configuration as it was stored.</summary>
/// <param name="Realm">Where it was stored; <c>*</c> may hold for others.</param>
/// <param name="Version">0 for the default that nobody wrote.</param>
public sealed record StoredRouting(string Realm, int Version, string ChangedBy, DateTimeOffset? ChangedAt, RoutingConfig Config);

/// <summary>What holds in each realm, at one version of all.</summary>
public sealed class RoutingTable(long version, IReadOnlyDictionary<string, StoredRouting> stored, RoutingConfig fallback)
{
    private static readonly StoredRouting s_canary = new(Canary.Realm, 0, "platform", null, Canary.Routing);
    private readonly StoredRouting _default = new(Realm.All, 0, "default", null, fallback);

    public long Version => version;

    /// <summary>Whether any realm names an escalation policy.</summary>
    public bool Escalates { get; } = stored.Values.Any(one => one.Config.Receivers.Any(receiver => receiver.EscalationPolicy is not null));

    /// <summary>The realm's own; null when there is none.</summary>
    public StoredRouting? Stored(string realm) => stored.GetValueOrDefault(realm);

    /// <summary>The realm's own, else that of <c>*</c>, else the default. Test alerts have theirs, which nobody changes.</summary>
    public StoredRouting For(string realm) => realm == Canary.Realm ? s_canary : stored.GetValueOrDefault(realm) ?? stored.GetValueOrDefault(Realm.All) ?? _default;
}

/// <summary>All SQL about configurations of routing.</summary>
public sealed partial class RoutingStore(NpgsqlDataSource db, SettingsChannels channels, ILogger<RoutingStore> logger)
{
    /// <summary>Versions of a realm's configuration that are kept, the newest.</summary>
    public const int KeptVersions = 100;

    private const int MostEarlier = 20;

    // Configurations are immutable: a reader has the old table or the new one.
    private RoutingTable? _table;

    private static Sql Receivers => $"""
        select 'receiver ' || (x->>'name') || ' of the routing of realm ' || r.realm
        from (select distinct on (realm) realm, config from routing order by realm, version desc) r cross join lateral jsonb_array_elements(r.config->'receivers') as x
        """;

    /// <summary>What holds as the transaction sees it. Loaded again when something changed.</summary>
    public async Task<RoutingTable> TableAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        var version = await tx.FindAsync($"select version from routing_version", row => row.GetInt64(0), ct);
        var table = Volatile.Read(ref _table);
        if (table?.Version != version)
        {
            // Only what is new is read: a realm's configuration may be large, and the others' have not changed with it.
            var newest = await tx.QueryAsync($"select realm, max(version) from routing group by realm", row => (Realm: row.GetString(0), Version: row.GetInt32(1)), ct);
            var readable = newest.Where(one => table?.Stored(one.Realm)?.Version == one.Version).Select(one => table!.Stored(one.Realm)!).ToDictionary(one => one.Realm);
            var changed = newest.Where(one => !readable.ContainsKey(one.Realm)).ToList();
            var stored = changed.Count == 0 ? [] : await tx.QueryAsync($"""
                select r.realm, r.version, r.changed_by, r.changed_at, r.config::text
                from unnest({changed.Select(one => one.Realm).ToArray()}, {changed.Select(one => one.Version).ToArray()}) as n (realm, version) join routing r using (realm, version)
                """, Read, ct);
            foreach (var one in stored)
            {
                if ((one.Config is null ? await LastReadableAsync(tx, one, ct) : one) is { Config: { } config } read)
                {
                    readable[read.Realm] = new StoredRouting(read.Realm, read.Version, read.ChangedBy, read.ChangedAt, config);
                }
            }

            table = new RoutingTable(version, readable, RoutingConfig.Default(channels.For));
            Volatile.Write(ref _table, table);
        }

        return table;
    }

    public async Task<RoutingTable> TableAsync(CancellationToken ct)
    {
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        return await TableAsync(tx, ct);
    }

    /// <summary>Lets no configuration be stored until the transaction ends. Comes before the locks of on-call plans and of channels.</summary>
    public static Task LockForChangeAsync(NpgsqlTransaction tx, CancellationToken ct) => tx.ExecuteAsync($"select version from routing_version for update", ct);

    /// <summary>Receivers, in words, that tell over this channel, of the configurations in force; the first few. Those of realms with a channel of their own by this name mean that one.</summary>
    /// <param name="realm">The channel's: <c>*</c> is reached from everywhere.</param>
    public static Task<List<string>> ReceiversOverAsync(NpgsqlTransaction tx, string realm, string channel, CancellationToken ct) =>
        tx.QueryAsync($"""
            {Receivers} where x->'channels' @> to_jsonb({channel}::text)
                and (r.realm = {realm} or ({realm} = '*' and not exists (select 1 from channels c where c.realm = r.realm and c.name = {channel})))
            order by 1 limit 5
            """, row => row.GetString(0), ct);

    /// <summary>Receivers, in words, that climb this escalation policy, of the configurations in force; the first few.</summary>
    /// <param name="realm">The policy's: <c>*</c> is reached from everywhere.</param>
    public static Task<List<string>> ReceiversOfPolicyAsync(NpgsqlTransaction tx, string realm, string policy, CancellationToken ct) =>
        tx.QueryAsync($"""
            {Receivers} where x->>'escalation_policy' = {policy}
                and (r.realm = {realm} or ({realm} = '*' and not exists (select 1 from on_call_plans p where p.realm = r.realm and p.kind = 'policy' and p.name = {policy})))
            order by 1 limit 5
            """, row => row.GetString(0), ct);

    /// <summary>The newest version of a realm's own; 0 when there is none. No other version comes between until the transaction ends.</summary>
    public static async Task<int> LockVersionAsync(NpgsqlTransaction tx, string realm, CancellationToken ct)
    {
        await LockForChangeAsync(tx, ct);
        return await tx.FindAsync($"select coalesce(max(version), 0) from routing where realm = {realm}", row => row.GetInt32(0), ct);
    }

    /// <summary>Stores a new version, and has the open alerts that it may concern routed again.</summary>
    public static async Task InsertAsync(NpgsqlTransaction tx, StoredRouting routing, CancellationToken ct)
    {
        await tx.ExecuteAsync($"""
            insert into routing (realm, version, config, changed_by, changed_at)
            values ({routing.Realm}, {routing.Version}, {Queries.Jsonb(RoutingDocument.WriteJson(routing.Config).ToJsonString())}, {routing.ChangedBy}, {routing.ChangedAt!.Value})
            """, ct);
        await tx.ExecuteAsync($"delete from routing where realm = {routing.Realm} and version <= {routing.Version - KeptVersions}", ct);
        await tx.ExecuteAsync($"insert into alert_news (alert_id, what) select id, 'judge' from alerts where state <> 'resolved' and ({routing.Realm} = '*' or realm = {routing.Realm})", ct);
    }

    /// <summary>Earlier versions of a realm's own, newest first.</summary>
    public async Task<List<StoredRouting>> HistoryAsync(string realm, int limit, CancellationToken ct) =>
        [.. (await db.QueryAsync($"select realm, version, changed_by, changed_at, config::text from routing where realm = {realm} order by version desc limit {limit}", Read, ct))
            .Where(one => one.Config is not null).Select(one => new StoredRouting(one.Realm, one.Version, one.ChangedBy, one.ChangedAt, one.Config!))];

    // One realm's row must not stand in the way of the others: what was in force before it goes on, and the log says so.
    private async Task<ReadRouting?> LastReadableAsync(NpgsqlTransaction tx, ReadRouting newest, CancellationToken ct)
    {
        NotReadable(newest.Version, newest.Realm, newest.Fault ?? "");
        var earlier = await tx.QueryAsync($"""
            select realm, version, changed_by, changed_at, config::text from routing where realm = {newest.Realm} and version < {newest.Version} order by version desc limit {MostEarlier}
            """, Read, ct);
        return earlier.FirstOrDefault(one => one.Config is not null);
    }

    // A version without a configuration is one that cannot be read.
    private sealed record ReadRouting(string Realm, int Version, string ChangedBy, DateTimeOffset? ChangedAt, RoutingConfig? Config, string? Fault);

    private static ReadRouting Read(NpgsqlDataReader row)
    {
        var (config, faults) = RoutingDocument.Read(row.GetString(4));
        return new ReadRouting(row.GetString(0), row.GetInt32(1), row.GetString(2), row.GetTime(3), config, config is null ? faults[0] : null);
    }

    [LoggerMessage(LogLevel.Error, "Version {Version} of the routing of realm {Realm} cannot be read, and the last one before it that can be is in force. Store it again: {Fault}")]
    private partial void NotReadable(int version, string realm, string fault);
}
