using Npgsql;
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
    private readonly StoredRouting _default = new(Realm.All, 0, "default", null, fallback);

    public long Version => version;

    /// <summary>The realm's own, else that of <c>*</c>, else the default.</summary>
    public StoredRouting For(string realm) => stored.GetValueOrDefault(realm) ?? stored.GetValueOrDefault(Realm.All) ?? _default;
}

/// <summary>All SQL about configurations of routing.</summary>
public sealed class RoutingStore(NpgsqlDataSource db, SettingsChannels channels)
{
    // Configurations are immutable: a reader has the old table or the new one.
    private RoutingTable? _table;

    /// <summary>What holds as the transaction sees it. Loaded again when something changed.</summary>
    public async Task<RoutingTable> TableAsync(NpgsqlTransaction tx, CancellationToken ct)
    {
        var version = await tx.FindAsync($"select version from routing_version", row => row.GetInt64(0), ct);
        var table = Volatile.Read(ref _table);
        if (table?.Version != version)
        {
            var stored = await tx.QueryAsync($"select distinct on (realm) realm, version, changed_by, changed_at, config::text from routing order by realm, version desc", Read, ct);
            table = new RoutingTable(version, stored.ToDictionary(one => one.Realm), RoutingConfig.Default(channels.For));
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

    /// <summary>The newest version of a realm's own; 0 when there is none. No other version comes between until the transaction ends.</summary>
    public static async Task<int> LockVersionAsync(NpgsqlTransaction tx, string realm, CancellationToken ct)
    {
        await tx.ExecuteAsync($"select version from routing_version for update", ct);
        return await tx.FindAsync($"select coalesce(max(version), 0) from routing where realm = {realm}", row => row.GetInt32(0), ct);
    }

    /// <summary>Stores a new version, and has the open alerts that it may concern routed again.</summary>
    public static async Task InsertAsync(NpgsqlTransaction tx, StoredRouting routing, CancellationToken ct)
    {
        await tx.ExecuteAsync($"""
            insert into routing (realm, version, config, changed_by, changed_at)
            values ({routing.Realm}, {routing.Version}, {Queries.Jsonb(RoutingDocument.WriteJson(routing.Config).ToJsonString())}, {routing.ChangedBy}, {routing.ChangedAt!.Value})
            """, ct);
        await tx.ExecuteAsync($"insert into alert_news (alert_id, what) select id, 'judge' from alerts where state <> 'resolved' and ({routing.Realm} = '*' or realm = {routing.Realm})", ct);
    }

    /// <summary>Earlier versions of a realm's own, newest first.</summary>
    public Task<List<StoredRouting>> HistoryAsync(string realm, int limit, CancellationToken ct) =>
        db.QueryAsync($"select realm, version, changed_by, changed_at, config::text from routing where realm = {realm} order by version desc limit {limit}", Read, ct);

    private static StoredRouting Read(NpgsqlDataReader row)
    {
        var (config, faults) = RoutingDocument.Read(row.GetString(4));
        return new StoredRouting(
            row.GetString(0), row.GetInt32(1), row.GetString(2), row.GetTime(3),
            config ?? throw new InvalidOperationException($"Version {row.GetInt32(1)} of the routing of realm {row.GetString(0)} cannot be read: {faults[0]}"));
    }
}
