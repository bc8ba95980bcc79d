using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;
using Microsoft.Extensions.Configuration;
using Platform.Testing;

namespace Platform.NativeHost.Tests;

public sealed class RulesTests
{
    [Theory]
    [InlineData(1, 0.5)]
    [InlineData(2, 1)]
    [InlineData(6, 16)]
    [InlineData(7, 30)]
    [InlineData(1_000, 30)]
    public void The_pause_after_a_crash_doubles_up_to_half_a_minute(int crashes, double seconds) =>
        Assert.Equal(TimeSpan.FromSeconds(seconds), Backoff.After(crashes));

    [Fact]
    public void The_external_project_gets_the_base_port_the_status_page_the_next_and_the_rest_follows()
    {
        var postgres = new PostgresServerResource("postgres", Secret("p"), port: null);
        var broker = new RabbitMQServerResource("messaging", Secret("m"), port: null);
        var service = new ProjectResource("service", "/x.csproj") { HasEndpoint = true, Replicas = 2 };
        var gateway = new ProjectResource("gateway", "/y.csproj") { HasEndpoint = true, IsExternal = true };

        var status = new Ports(9000, _ => true).Allocate([postgres, broker, service, gateway]);

        Assert.Equal(9001, status);
        Assert.Equal([9000], gateway.Ports);
        Assert.Equal(9002, postgres.Port);
        Assert.Equal((9003, 9004, 9005), (broker.Port, broker.DistributionPort, broker.EpmdPort));
        Assert.Equal([9006, 9007], service.Ports);
    }

    [Fact]
    public void A_taken_port_is_named_with_its_owner_and_the_remedy()
    {
        var gateway = new ProjectResource("gateway", "/y.csproj") { HasEndpoint = true, IsExternal = true };

        var error = Assert.Throws<DistributedApplicationException>(() => new Ports(9000, port => port != 9000).Allocate([gateway]));

        Assert.Contains("9000", error.Message, StringComparison.Ordinal);
        Assert.Contains("gateway", error.Message, StringComparison.Ordinal);
        Assert.Contains("PLATFORM_PORT_BASE=10000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Base_zero_gives_everybody_a_port_of_their_own_outside_the_range_of_outgoing_connections()
    {
        var projects = Enumerable.Range(0, 20).Select(number => new ProjectResource($"p{number}", "/x.csproj") { HasEndpoint = true }).ToList();

        new Ports(0, _ => true).Allocate(projects);

        var ports = projects.Select(project => project.Ports[0]).ToList();
        Assert.Equal(20, ports.Distinct().Count());
        Assert.All(ports, port => Assert.InRange(port, 10_000, 32_000));
    }

    [Fact]
    public void A_resource_is_one_step_further_than_the_farthest_that_it_waits_for()
    {
        var builder = DistributedApplication.CreateBuilder([]);
        var server = builder.AddPostgres("server");
        var database = server.AddDatabase("database");
        var first = builder.AddExecutable("first", "true", "/").WaitFor(database);
        var second = builder.AddExecutable("second", "true", "/").WaitFor(server).WaitFor(first);

        var depths = Orchestrator.Depths([server.Resource, first.Resource, second.Resource]);

        Assert.Equal(0, depths[server.Resource]);
        Assert.Equal(1, depths[first.Resource]);
        Assert.Equal(2, depths[second.Resource]);
    }

    [Fact]
    public void Resources_that_wait_for_each_other_are_named()
    {
        var builder = DistributedApplication.CreateBuilder([]);
        var first = builder.AddExecutable("first", "true", "/");
        var second = builder.AddExecutable("second", "true", "/").WaitFor(first);
        first.WaitFor(second);

        var error = Assert.Throws<DistributedApplicationException>(() => Orchestrator.Depths([first.Resource, second.Resource]));

        Assert.Contains("first → second → first", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("1st")]
    [InlineData("two--hyphens")]
    [InlineData("under_score")]
    public void Names_that_Aspire_would_refuse_are_refused(string name) =>
        Assert.Throws<DistributedApplicationException>(() => DistributedApplication.CreateBuilder([]).AddParameter(name));

    [Fact]
    public void A_generated_secret_is_kept_and_a_configured_one_wins()
    {
        using var temporary = TemporaryFolder.Create("secrets");
        using var folder = HostFolder.Open(temporary.Path);

        var first = Resolve(folder, []);
        var again = Resolve(folder, []);
        var configured = Resolve(folder, new() { ["Parameters:key"] = "mine" });

        Assert.Equal(43, first.Length);
        Assert.Equal(first, again);
        Assert.Equal("mine", configured);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(folder.Folder("secrets.json")));
    }

    [Fact]
    public void A_parameter_that_is_no_secret_and_has_no_value_is_named()
    {
        using var temporary = TemporaryFolder.Create("secrets");
        using var folder = HostFolder.Open(temporary.Path);

        var error = Assert.Throws<DistributedApplicationException>(
            () => Secrets.Resolve([new ParameterResource("region", secret: false)], new ConfigurationBuilder().Build(), folder));

        Assert.Contains("Parameters__region", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_log_keeps_the_last_twenty_megabytes_and_the_file_before()
    {
        using var temporary = TemporaryFolder.Create("log");
        var path = Path.Combine(temporary.Path, "x.log");
        var log = new ResourceLog("x", path, onConsole: false);

        for (var megabyte = 0; megabyte < 50; megabyte++)
        {
            await log.CopyAsync(new MemoryStream(new byte[1024 * 1024]));
        }

        Assert.InRange(new FileInfo(path).Length, 1, 21 * 1024 * 1024);
        Assert.InRange(new FileInfo($"{path}.1").Length, 20 * 1024 * 1024, 21 * 1024 * 1024);
        Assert.Equal(2, Directory.GetFiles(temporary.Path).Length);
    }

    private static ParameterResource Secret(string name) => new(name, secret: true);

    private static string Resolve(HostFolder folder, Dictionary<string, string?> configuration)
    {
        var parameter = Secret("key");
        Secrets.Resolve([parameter], new ConfigurationBuilder().AddInMemoryCollection(configuration).Build(), folder);
        return parameter.Resolved!;
    }
}
