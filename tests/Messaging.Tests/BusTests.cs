using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Messaging.Tests;

/// <summary>Sender and hearer of audit messages, in process, on a real database and a virtual host of their own.</summary>
public sealed class BusTests : IAsyncLifetime
{
    private readonly RecordingConsumer _heard = new();
    private WebApplication _app = null!;
    private NpgsqlDataSource _db = null!;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        var servers = await TestServers.GetAsync();
        _app = Build(await servers.Postgres.CreateDatabaseAsync(), await servers.Postgres.CreateDatabaseAsync(), await servers.RabbitMq.CreateVirtualHostAsync(), _heard);
        await _app.StartAsync(Ct);
        _db = _app.Services.GetRequiredService<NpgsqlDataSource>();
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(Ct);
        await _app.DisposeAsync();
    }

    [Fact]
    public async Task A_committed_message_arrives_and_leaves_the_outbox_empty()
    {
        await SendAsync("a.1");

        await Eventually.TrueAsync(() => _heard.Times("a.1") == 1);
        await Eventually.TrueAsync(async () => await CountAsync("outbox") == 0, because: "the outbox is empty");
    }

    [Fact]
    public async Task A_message_of_a_rolled_back_transaction_never_was()
    {
        await using (var connection = await _db.OpenConnectionAsync(Ct))
        await using (var tx = await connection.BeginTransactionAsync(Ct))
        {
            await tx.SendAsync(Message("rolled back"), Ct);
        }

        await SendAsync("after");

        await Eventually.TrueAsync(() => _heard.Times("after") == 1);
        Assert.Equal(0, _heard.Times("rolled back"));
    }

    [Fact]
    public async Task A_second_delivery_of_a_message_changes_nothing()
    {
        await using (var connection = await _db.OpenConnectionAsync(Ct))
        await using (var tx = await connection.BeginTransactionAsync(Ct))
        {
            await tx.SendAsync(Message("twice"), Ct);
            // What a relay leaves that died between the broker's confirm and its own commit: the same message once more.
            await tx.ExecuteAsync($"insert into outbox (message_id, topic, body, encoding, headers) select message_id, topic, body, encoding, headers from outbox", Ct);
            await tx.CommitAsync(Ct);
        }

        await SendAsync("marker");
        await Eventually.TrueAsync(() => _heard.Times("marker") == 1);

        Assert.Equal(1, _heard.Times("twice"));
    }

    [Fact]
    public async Task A_failing_message_is_tried_again_and_then_rests_until_it_is_replayed()
    {
        _heard.Fail = true;
        await SendAsync("poison");

        // Attempts after 0 and 1 second; MESSAGING_MAX_ATTEMPTS is 2 here.
        var letters = await Eventually.GetAsync(async () =>
        {
            var page = await ListDeadLettersAsync();
            return page.Count == 1 ? page : null;
        });
        Assert.Equal("compliance.platform.audited.v1", letters[0].Queue);
        Assert.Equal(2, letters[0].Attempts);
        Assert.Contains("told to fail", letters[0].Reason, StringComparison.Ordinal);
        Assert.Equal(0, _heard.Times("poison"));

        _heard.Fail = false;
        using var client = Client();
        using var replayed = await client.PostAsync(new Uri($"api/v1/monitoring/dead-letters/compliance/{letters[0].MessageId}/replay", UriKind.Relative), null, Ct);

        Assert.True(replayed.IsSuccessStatusCode);
        await Eventually.TrueAsync(() => _heard.Times("poison") == 1);
        Assert.Empty(await ListDeadLettersAsync());
    }

    [Fact]
    public async Task Trace_and_correlation_travel_with_the_message()
    {
        using var listener = new ActivityListener { ShouldListenTo = _ => true, Sample = (ref _) => ActivitySamplingResult.AllData };
        ActivitySource.AddActivityListener(listener);
        using var source = new ActivitySource("test");
        using var activity = source.StartActivity("login");
        using (Correlation.Use("corr-7"))
        {
            await SendAsync("traced");
        }

        await Eventually.TrueAsync(() => _heard.Times("traced") == 1);

        var (trace, correlation) = _heard.ContextOf("traced");
        Assert.Equal(activity!.TraceId.ToString(), trace);
        Assert.Equal("corr-7", correlation);
    }

    [Fact]
    public async Task A_large_message_is_compressed_on_its_way()
    {
        var details = new Dictionary<string, string> { ["text"] = new('x', 200_000) };
        await using (var connection = await _db.OpenConnectionAsync(Ct))
        await using (var tx = await connection.BeginTransactionAsync(Ct))
        {
            await tx.SendAsync(Message("large") with { Details = details }, Ct);
            var length = await tx.FindAsync($"select length(body) from outbox where encoding = 'br'", row => row.GetInt32(0), Ct);
            Assert.InRange(length, 1, 20_000);
            await tx.CommitAsync(Ct);
        }

        await Eventually.TrueAsync(() => _heard.Times("large") == 1);
    }

    [Fact]
    public async Task Two_replicas_share_the_work_and_handle_each_message_once()
    {
        var second = new RecordingConsumer();
        await using var replica = Build(
            _app.Configuration["ConnectionStrings:compliancedb"]!, _app.Configuration["ConnectionStrings:identity"]!, _app.Configuration["ConnectionStrings:messaging"]!, second, _app.Configuration["PLATFORM_MASTER_KEY"]);
        await replica.StartAsync(Ct);

        for (var n = 0; n < 200; n++)
        {
            await SendAsync($"shared.{n}");
        }

        await Eventually.TrueAsync(() => Enumerable.Range(0, 200).All(n => _heard.Times($"shared.{n}") + second.Times($"shared.{n}") >= 1));
        Assert.All(Enumerable.Range(0, 200), n => Assert.Equal(1, _heard.Times($"shared.{n}") + second.Times($"shared.{n}")));
        await replica.StopAsync(Ct);
    }

    private static WebApplication Build(string database, string identity, string broker, RecordingConsumer heard, string? masterKey = null)
    {
        var builder = WebApplication.CreateBuilder(new WebApplicationOptions { ApplicationName = typeof(BusTests).Assembly.GetName().Name });
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["ConnectionStrings:compliancedb"] = database,
            ["ConnectionStrings:identity"] = identity,
            ["ConnectionStrings:messaging"] = broker,
            ["PLATFORM_MASTER_KEY"] = masterKey ?? new string('A', 43),
            ["MESSAGING_MAX_ATTEMPTS"] = "2",
            ["urls"] = "http://127.0.0.1:0",
        });
        builder.AddServiceDefaults();
        builder.AddPostgres("compliancedb");
        builder.AddMessaging("compliance");
        builder.AddConsumer<Audited, RecordingConsumer>();
        builder.Services.AddSingleton(heard);
        var app = builder.Build();
        app.MapDefaultEndpoints();
        app.MapDeadLetters("compliance");
        return app;
    }

    private HttpClient Client()
    {
        var client = new HttpClient { BaseAddress = new Uri(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()) };
        client.DefaultRequestHeaders.Authorization = new("Bearer", _app.Services.GetRequiredService<TicketMint>().Mint(new Caller("key:test", Role.Admin, Realm.All, Scopes.All)));
        return client;
    }

    private async Task<IReadOnlyList<DeadLetter>> ListDeadLettersAsync()
    {
        using var client = Client();
        await using var body = await client.GetStreamAsync(new Uri("api/v1/monitoring/dead-letters/compliance", UriKind.Relative), Ct);
        return (await System.Text.Json.JsonSerializer.DeserializeAsync<Envelope<Page<DeadLetter>>>(body, WireJson.Options, Ct))!.Data.Items;
    }

    private async Task SendAsync(string action)
    {
        await using var connection = await _db.OpenConnectionAsync(Ct);
        await using var tx = await connection.BeginTransactionAsync(Ct);
        await tx.SendAsync(Message(action), Ct);
        await tx.CommitAsync(Ct);
    }

    private Task<long> CountAsync(string table) => table switch
    {
        "outbox" => _db.FindAsync($"select count(*) from outbox", row => row.GetInt64(0), Ct),
        _ => throw new ArgumentOutOfRangeException(nameof(table)),
    };

    private static Audited Message(string action) => new("default", "key:1", "admin", action, "test", "1", AuditOutcome.Success, DateTimeOffset.UtcNow);

    private sealed class RecordingConsumer : IConsumer<Audited>
    {
        private readonly ConcurrentQueue<(string Action, string? Trace, string? Correlation)> _handled = new();

        public bool Fail { get; set; }

        public int Times(string action) => _handled.Count(handled => handled.Action == action);

        public (string? Trace, string? Correlation) ContextOf(string action)
        {
            var found = _handled.First(handled => handled.Action == action);
            return (found.Trace, found.Correlation);
        }

        public Task HandleAsync(Audited message, NpgsqlTransaction tx, CancellationToken ct)
        {
            if (Fail)
            {
                throw new InvalidOperationException("This consumer was told to fail.");
            }

            _handled.Enqueue((message.Action, Activity.Current?.TraceId.ToString(), Correlation.Current));
            return Task.CompletedTask;
        }
    }
}
