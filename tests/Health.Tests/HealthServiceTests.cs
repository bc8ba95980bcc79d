using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;
using RabbitMQ.Client;

namespace Platform.Health.Tests;

/// <summary>The service as it runs, with real targets that go down and come up.</summary>
public sealed class HealthServiceTests : IAsyncLifetime
{
    private TestWorld _world = null!;
    private TargetServer _shop = null!;

    public async ValueTask InitializeAsync()
    {
        _world = await TestWorld.CreateAsync();
        _shop = await TargetServer.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _world.DisposeAsync();
        await _shop.DisposeAsync();
    }

    [Fact]
    public async Task A_target_that_goes_down_and_comes_up_again_is_told_on_the_bus_once_each()
    {
        var service = await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}"));
        using var client = await _world.ModeratorAsync(service);
        await client.BecomesAsync("shop", "healthy");
        await using var bus = await Bus.ListenAsync(_world.Broker);

        _shop.Answer(500);
        await client.BecomesAsync("shop", "unhealthy");
        var down = await bus.NextAsync("shop");
        _shop.Answer(200);
        await client.BecomesAsync("shop", "healthy");
        var up = await bus.NextAsync("shop");

        Assert.Equal((Realm.All, "http", HealthState.Healthy, HealthState.Unhealthy), (down.Realm, down.Kind, down.Previous, down.Current));
        Assert.Equal("It answered 500; expected 200-399.", down.Reason);
        Assert.Equal((HealthState.Unhealthy, HealthState.Healthy), (up.Previous, up.Current));
        Assert.Equal(2, bus.Heard("shop"));
        await using var db = await _world.OpenAsync("healthdb");
        var failures = await db.FindAsync(
            $"select count(*) from check_results where component = 'shop' and state = 'unhealthy' and at <= {down.At}", row => row.GetInt64(0), TestContext.Current.CancellationToken);
        Assert.Equal(3, failures);
    }

    [Fact]
    public async Task A_hung_target_and_a_closed_port_delay_no_other_check()
    {
        await using var hung = await TargetServer.StartAsync();
        hung.Hang();
        var closed = ClosedPort();
        var service = await _world.StartHealthAsync(
            ("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}; hung={hung.Url} timeout=20 failures=1; closed=tcp://127.0.0.1:{closed}; open=tcp://127.0.0.1:{_shop.Url.Port}"));
        using var client = await _world.ModeratorAsync(service);

        await client.BecomesAsync("shop", "healthy");
        await client.BecomesAsync("open", "healthy");
        await client.BecomesAsync("closed", "unhealthy");

        // The hung one is still in its first run.
        Assert.Equal("unknown", await client.StateAsync("hung"));
    }

    [Fact]
    public async Task A_target_that_says_it_is_degraded_is_and_one_outside_of_the_allowed_networks_is_not_asked()
    {
        _shop.Answer(200, """{"status":"warn","checks":{"disk":[{"status":"warn","output":"91 % full"}]}}""", "application/health+json");
        var service = await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}; inside=http://[::1]:{_shop.Url.Port}/"));
        using var client = await _world.ModeratorAsync(service);

        await client.BecomesAsync("shop", "degraded");
        await client.BecomesAsync("inside", "unhealthy");

        var components = (await client.GetJsonAsync("monitoring/health/detailed")).GetProperty("components");
        Assert.Equal("It says degraded: disk (91 % full)", components.GetProperty("shop").GetProperty("reason").GetString());
        Assert.Contains("OUTBOUND_ALLOWED_NETWORKS", components.GetProperty("inside").GetProperty("reason").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_Redis_the_platform_is_degraded_and_works_on()
    {
        await using var redis = await OwnRedis.StartAsync();
        var service = await _world.StartHealthAsync(("ConnectionStrings__cache", redis.ConnectionString));
        using var client = await _world.ModeratorAsync(service);
        using var anyone = TestWorld.Anonymous(service);
        await Eventually.TrueAsync(async () => (await anyone.GetJsonAsync("monitoring/health/")).GetProperty("status").GetString() == "healthy", because: "all is well");

        await redis.StopAsync();
        await client.BecomesAsync("redis", "degraded");

        using var answer = await anyone.GetAsync(new Uri("monitoring/health/", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("""{"status":"degraded"}""", await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        Assert.Equal("healthy", await client.StateAsync("postgres"));
        Assert.Equal("healthy", await client.StateAsync("health"));
        var metrics = (await anyone.GetStringAsync(new Uri("metrics", UriKind.Relative), TestContext.Current.CancellationToken)).Split('\n');
        Assert.Contains("redis_up 0", metrics);
        Assert.Contains("postgres_up 1", metrics);
    }

    [Fact]
    public async Task A_message_that_nobody_acted_on_degrades_the_broker()
    {
        var service = await _world.StartHealthAsync();
        using var client = await _world.ModeratorAsync(service);
        await client.BecomesAsync("rabbitmq", "healthy");

        await using (var bus = await Bus.ListenAsync(_world.Broker))
        {
            await bus.Channel.BasicPublishAsync("", "alerting.dead", true, new BasicProperties(), "{}"u8.ToArray(), TestContext.Current.CancellationToken);
        }

        await client.BecomesAsync("rabbitmq", "degraded");
        var broker = (await client.GetJsonAsync("monitoring/health/detailed")).GetProperty("components").GetProperty("rabbitmq");
        Assert.Equal("1 messages wait in alerting.dead.", broker.GetProperty("reason").GetString());
        Assert.Equal(1, broker.GetProperty("details").GetProperty("alerting.dead").GetDouble());
        using var anyone = TestWorld.Anonymous(service);
        Assert.Contains("rabbitmq_up 1", (await anyone.GetStringAsync(new Uri("metrics", UriKind.Relative), TestContext.Current.CancellationToken)).Split('\n'));
    }

    [Fact]
    public async Task A_core_service_that_does_not_answer_makes_the_platform_unhealthy()
    {
        var service = await _world.StartHealthAsync(("HEALTH_CHECK_SERVICES", "metrics"), ("services__metrics__http__0", $"http://127.0.0.1:{ClosedPort()}"));
        using var client = await _world.ModeratorAsync(service);
        using var anyone = TestWorld.Anonymous(service);

        await client.BecomesAsync("metrics", "unhealthy");

        using var answer = await anyone.GetAsync(new Uri("monitoring/health", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
        Assert.Equal("""{"status":"unhealthy"}""", await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        using var simple = await client.GetAsync(new Uri("api/health/", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, simple.StatusCode);
    }

    [Fact]
    public async Task A_component_that_is_taken_out_of_the_settings_is_told_unknown()
    {
        _shop.Answer(500);
        var service = await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}"));
        using (var client = await _world.ModeratorAsync(service))
        {
            await client.BecomesAsync("shop", "unhealthy");
        }

        await service.KillAsync();
        await using var bus = await Bus.ListenAsync(_world.Broker);
        await _world.StartHealthAsync();

        var gone = await bus.NextAsync("shop");
        if (gone.Current == HealthState.Unhealthy)
        {
            // The news of its fall was still in the outbox when the service was killed.
            gone = await bus.NextAsync("shop");
        }

        Assert.Equal((HealthState.Unhealthy, HealthState.Unknown), (gone.Previous, gone.Current));
    }

    [Fact]
    public async Task Of_two_replicas_one_checks_both_answer_and_the_other_takes_over()
    {
        var runs = 0;
        var first = await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}"));
        var second = await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}"));
        using var one = await _world.ModeratorAsync(first);
        using var two = await _world.ModeratorAsync(second);
        await one.BecomesAsync("shop", "healthy");
        await two.BecomesAsync("shop", "healthy");
        await using var db = await _world.OpenAsync("healthdb");
        var began = DateTimeOffset.UtcNow;
        await Eventually.TrueAsync(async () => (runs = await ResultsSinceAsync(db, began)) >= 5, because: "five more runs");
        // One run a second, whatever the number of replicas; the last may be on its way.
        Assert.InRange(runs, 5, (int)(DateTimeOffset.UtcNow - began).TotalSeconds + 2);

        await first.KillAsync();
        var killed = DateTimeOffset.UtcNow;

        await Eventually.TrueAsync(async () => await ResultsSinceAsync(db, killed) >= 3, because: "the other replica runs the checks");
        _shop.Answer(503);
        await two.BecomesAsync("shop", "unhealthy");
    }

    [Fact]
    public async Task A_runner_whose_session_ends_steps_back_and_the_checks_go_on()
    {
        await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}"));
        await _world.StartHealthAsync(("HEALTH_CHECK_TARGETS", $"shop={_shop.Url}"));
        await using var db = await _world.OpenAsync("healthdb");
        await Eventually.TrueAsync(async () => await ResultsSinceAsync(db, DateTimeOffset.UnixEpoch) >= 2, because: "the checks run");

        var ended = await db.QueryAsync(
            $"select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = l.database where l.locktype = 'advisory' and l.granted and d.datname = current_database()",
            row => row.GetBoolean(0),
            TestContext.Current.CancellationToken);

        Assert.Equal([true], ended);
        var now = DateTimeOffset.UtcNow;
        var runs = 0;
        await Eventually.TrueAsync(async () => (runs = await ResultsSinceAsync(db, now)) >= 6, because: "somebody runs the checks again");
        // One run a second; the change of guard may overlap by one, and the last may be on its way.
        Assert.InRange(runs, 6, (int)(DateTimeOffset.UtcNow - now).TotalSeconds + 3);
    }

    private static async Task<int> ResultsSinceAsync(NpgsqlDataSource db, DateTimeOffset time) =>
        (int)await db.FindAsync($"select count(*) from check_results where component = 'shop' and at > {time}", row => row.GetInt64(0), CancellationToken.None);

    private static int ClosedPort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>A queue of the test's own beside those of the hearers.</summary>
    internal sealed class Bus : IAsyncDisposable
    {
        private readonly IConnection _connection;
        private readonly List<HealthChanged> _heard = [];
        private readonly Dictionary<string, int> _handedOut = [];
        private readonly string _queue;

        private Bus(IConnection connection, IChannel channel, string queue) => (_connection, Channel, _queue) = (connection, channel, queue);

        public IChannel Channel { get; }

        public static async Task<Bus> ListenAsync(string broker)
        {
            var connection = await new ConnectionFactory { Uri = new Uri(broker) }.CreateConnectionAsync();
            var channel = await connection.CreateChannelAsync();
            await channel.ExchangeDeclareAsync("platform", ExchangeType.Topic, durable: true);
            var queue = await channel.QueueDeclareAsync();
            await channel.QueueBindAsync(queue.QueueName, "platform", HealthChanged.Topic);
            return new Bus(connection, channel, queue.QueueName);
        }

        public int Heard(string component) => _heard.Count(message => message.Component == component);

        /// <summary>The next message about the component that was not handed out yet.</summary>
        public async Task<HealthChanged> NextAsync(string component)
        {
            var already = _handedOut.GetValueOrDefault(component);
            _handedOut[component] = already + 1;
            return await Eventually.GetAsync(
                async () =>
                {
                    while (await Channel.BasicGetAsync(_queue, autoAck: true) is { } delivery)
                    {
                        _heard.Add(JsonSerializer.Deserialize<HealthChanged>(delivery.Body.Span, WireJson.Options)!);
                    }

                    return _heard.Where(message => message.Component == component).Skip(already).FirstOrDefault();
                },
                because: $"a message about {component}");
        }

        public async ValueTask DisposeAsync() => await _connection.DisposeAsync();
    }
}
