using Microsoft.AspNetCore.DataProtection;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Doors;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Alerting.Silences;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <summary>A migrated database of its own and the parts of Alerting on a clock that tests move. No process runs: tests call the loops.</summary>
public sealed class GroupingWorld : IAsyncLifetime
{
    /// <summary>A routing that gathers alerts of one name, and tells them over the channel of the settings.</summary>
    public const string Grouped = """
        route: {receiver: team, group_by: [alertname], group_wait: 30s, group_interval: 5m, repeat_interval: 4h}
        receivers: [{name: team, channels: [webhook]}]
        """;

    public TestClock Clock { get; } = new(new DateTimeOffset(2026, 3, 2, 12, 0, 0, TimeSpan.Zero));

    public NpgsqlDataSource Db { get; private set; } = null!;

    // One for all replicas, as the key ring is: what one stores another reads.
    private readonly EphemeralDataProtectionProvider _keys = new();
    private ServiceProvider _services = null!;

    public AlertStore Alerts => _services.GetRequiredService<AlertStore>();

    public SilenceStore Silences => _services.GetRequiredService<SilenceStore>();

    public Flusher Flusher => _services.GetRequiredService<Flusher>();

    public async ValueTask InitializeAsync()
    {
        var servers = await TestServers.GetAsync();
        Db = NpgsqlDataSource.Create(await servers.Postgres.CreateDatabaseAsync() + ";Maximum Pool Size=10");
        await new Migrator(
            Db, [new MigrationSet("alertingdb", typeof(AlertStore).Assembly), new MigrationSet("messaging", typeof(MessagingHosting).Assembly)], NullLogger<Migrator>.Instance)
            .MigrateAsync(TestContext.Current.CancellationToken);
        _services = Replica();
    }

    /// <summary>The parts of another process on the same database.</summary>
    /// <param name="settings">On top of a channel whose receiver is not there.</param>
    public ServiceProvider Replica(params (string Name, string Value)[] settings)
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["ALERT_WEBHOOK_URL"] = "http://127.0.0.1:9/" });
        builder.Configuration.AddInMemoryCollection(settings.Select(setting => KeyValuePair.Create(setting.Name, (string?)setting.Value)));
        builder.Services.AddSingleton<IDataProtectionProvider>(_keys).AddSingleton(new TicketKeyOptions { MasterKey = "of this test" });
        builder.Services.AddLogging().AddSingleton<TimeProvider>(Clock).AddSingleton(Db).AddSingleton<AlertingMetrics>();
        builder.AddRules();
        builder.AddChannels();
        builder.AddNotifications();
        builder.AddOnCall();
        builder.AddRouting();
        builder.AddSilences();
        builder.AddAlerts();
        builder.AddDoors();
        return builder.Services.BuildServiceProvider();
    }

    public async Task<T> InTransactionAsync<T>(Func<NpgsqlTransaction, Task<T>> work)
    {
        await using var connection = await Db.OpenConnectionAsync(TestContext.Current.CancellationToken);
        await using var tx = await connection.BeginTransactionAsync(TestContext.Current.CancellationToken);
        var result = await work(tx);
        await tx.CommitAsync(TestContext.Current.CancellationToken);
        return result;
    }

    public static Alert Alert(string realm, string name, Severity severity, DateTimeOffset now, params (string Name, string Value)[] labels)
    {
        var own = labels.ToDictionary(label => label.Name, label => label.Value);
        return Platform.Alerting.Alerts.Alert.Fire(
            realm, $"{realm}/{name}", null, name, severity, AlertSource.Query, new Dictionary<string, string>(own) { ["alertname"] = name, ["realm"] = realm }, own,
            new Dictionary<string, string> { ["summary"] = name }, new Dictionary<string, string>(), 93, 90, now, now, new AlertReason(93, 90));
    }

    public Task<Guid> FireAsync(string realm, string name, Severity severity = Severity.High, params (string Name, string Value)[] labels) =>
        InTransactionAsync(tx => Alerts.FireAsync(tx, Alert(realm, name, severity, Clock.Now, labels), TestContext.Current.CancellationToken));

    public Task ResolveAsync(Guid id) => InTransactionAsync(async tx =>
    {
        await Alerts.ResolveAsync(tx, id, Clock.Now, "over", Clock.Now, TestContext.Current.CancellationToken);
        return true;
    });

    public Task AcknowledgeAsync(Guid id, TimeSpan? length = null) => InTransactionAsync(async tx =>
    {
        var alert = (await Alerts.FindForChangeAsync(tx, id, TestContext.Current.CancellationToken))!;
        await Alerts.SaveAcknowledgedAsync(tx, alert.Acknowledge(new AlertAct("anna", Clock.Now, "mine"), Clock.Now + length)!, TestContext.Current.CancellationToken);
        return true;
    });

    public Task<Silence> SilenceAsync(string realm, TimeSpan length, string matchers, TimeSpan startsIn = default) => InTransactionAsync(async tx =>
    {
        var silence = new Silence(
            Guid.CreateVersion7(), realm, MatcherNotation.Parse(matchers), "anna", "works", Clock.Now + startsIn, Clock.Now + startsIn + length, Clock.Now, Clock.Now, "anna", 1);
        await Silences.InsertAsync(tx, silence, TestContext.Current.CancellationToken);
        return silence;
    });

    /// <summary>Stores a realm's configuration, as YAML or JSON.</summary>
    public Task RouteAsync(string realm, string text) => InTransactionAsync(async tx =>
    {
        var (config, faults) = RoutingDocument.Read(text);
        Assert.True(config is not null, string.Join('\n', faults));
        var version = await RoutingStore.LockVersionAsync(tx, realm, TestContext.Current.CancellationToken);
        await RoutingStore.InsertAsync(tx, new StoredRouting(realm, version + 1, "test", Clock.Now, config!), TestContext.Current.CancellationToken);
        return true;
    });

    /// <summary>Makes a channel of a realm.</summary>
    public Task ChannelAsync(string realm, string name, ChannelKind kind, params (string Name, string Value)[] fields) => ChannelAsync(realm, name, kind, channel => channel, fields);

    /// <param name="set">Adds what else is set about it.</param>
    public Task ChannelAsync(string realm, string name, ChannelKind kind, Func<Channel, Channel> set, params (string Name, string Value)[] fields) => InTransactionAsync(tx =>
        _services.GetRequiredService<ChannelStore>().InsertAsync(
            tx, set(new Channel(Guid.CreateVersion7(), realm, name, kind, fields.ToDictionary(field => field.Name, field => field.Value)) { CreatedAt = Clock.Now, UpdatedAt = Clock.Now }), TestContext.Current.CancellationToken));

    /// <summary>Lets the flusher look until there is nothing to do.</summary>
    public async Task FlushAsync()
    {
        while (await Flusher.TickAsync(TestContext.Current.CancellationToken) == TimeSpan.Zero)
        {
        }
    }

    /// <summary>What was told in a realm since the last call: "channel: reason: alerts", an alert that is over with a minus.</summary>
    public async Task<IReadOnlyList<string>> ToldAsync(string realm)
    {
        var told = await Db.QueryAsync(
            $"""
             select channel || ': ' || (content->>'reason') || ': ' || (
                select string_agg(case a->>'status' when 'resolved' then '-' else '' end || coalesce(a->'labels'->>'host', a->>'name'), ' ' order by place) from jsonb_array_elements(content->'alerts') with ordinality x (a, place))
             from notifications where realm = {realm} and state = 'pending' order by number
             """, row => row.GetString(0), TestContext.Current.CancellationToken);
        await Db.ExecuteAsync($"update notifications set state = 'delivered' where realm = {realm}", TestContext.Current.CancellationToken);
        return told;
    }

    public async Task<Alert> GetAsync(Guid id) => (await Alerts.FindAsync(id, TestContext.Current.CancellationToken))!;

    public async ValueTask DisposeAsync()
    {
        await _services.DisposeAsync();
        await Db.DisposeAsync();
    }
}
