using System.Net;
using System.Net.Sockets;
using Npgsql;
using Platform.Testing;

namespace Platform.NativeHost.Tests;

/// <summary>The real graph, started and ended as its users do.</summary>
public sealed class PlatformTests
{
    private static readonly string[] NoDemo = ["--no-demo"];

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Killed_processes_come_back_where_they_were_and_Ctrl_C_ends_everything()
    {
        await using var platform = await PlatformProcess.StartAsync(args: NoDemo, ct: Ct);
        await WriteNoteAsync(platform, "before the kill");
        var before = await platform.StatusAsync(Ct);

        await Task.WhenAll(platform.KillAsync("postgres", Ct), platform.KillAsync("messaging", Ct), platform.KillAsync("cache", Ct), platform.KillAsync("metrics", Ct));
        await platform.WaitHealthyAsync(ct: Ct);

        var after = await platform.StatusAsync(Ct);
        Assert.Equal(before.Resources.Select(resource => (resource.Name, resource.Endpoints[0])), after.Resources.Select(resource => (resource.Name, resource.Endpoints[0])));
        Assert.All(["postgres", "messaging", "cache", "metrics"], name => Assert.InRange(after.Resources.Single(resource => resource.Name == name).Restarts, 1, 5));
        Assert.Equal(0, after.Resources.Single(resource => resource.Name == "gateway").Restarts);
        Assert.Equal(["before the kill"], await ReadNotesAsync(platform));

        await platform.StopAsync();
        Assert.Contains("Stopped after", platform.Console, StringComparison.Ordinal);
        Assert.False(File.Exists(Path.Combine(platform.DataFolder, "apphost.json")));
    }

    [Fact]
    public async Task A_killed_host_takes_everything_with_it_and_the_next_one_finds_data_and_passwords_beside_a_second_platform()
    {
        using var data = TemporaryFolder.Create("kept");
        var passwords = Path.Combine(data.Path, "secrets.json");
        string kept;
        await using (var first = await PlatformProcess.StartAsync(args: NoDemo, dataFolder: data.Path, ct: Ct))
        {
            await WriteNoteAsync(first, "before the kill");
            kept = await File.ReadAllTextAsync(passwords, Ct);

            await first.KillHostAsync(Ct);

            await first.EverythingGoneAsync();
        }

        var again = PlatformProcess.StartAsync(args: NoDemo, dataFolder: data.Path, ct: Ct);
        await using var beside = await PlatformProcess.StartAsync(args: NoDemo, ct: Ct);
        await using var second = await again;

        Assert.Equal(["before the kill"], await ReadNotesAsync(second));
        Assert.Equal(kept, await File.ReadAllTextAsync(passwords, Ct));
        Assert.NotEqual(second.GatewayUrl, beside.GatewayUrl);
        await using var refused = PlatformProcess.Launch(args: NoDemo, dataFolder: data.Path);
        await Eventually.TrueAsync(() => refused.Console.Contains("already runs", StringComparison.Ordinal), because: "a second host for the same data refuses");
    }

    [Fact]
    public async Task A_taken_port_ends_the_start_with_its_number_and_the_remedy()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;

        await using var platform = PlatformProcess.Launch(new Dictionary<string, string?> { ["PLATFORM_PORT_BASE"] = $"{port}" }, NoDemo);

        await Eventually.TrueAsync(() => platform.Console.Contains($"port {port}, meant for gateway, is taken", StringComparison.Ordinal), because: "the port is named");
        Assert.Contains("PLATFORM_PORT_BASE", platform.Console, StringComparison.Ordinal);
    }

    private static async Task WriteNoteAsync(PlatformProcess platform, string text)
    {
        await using var db = NpgsqlDataSource.Create($"{await platform.PostgresAsync("postgres", Ct)};Pooling=false");
        await using var create = db.CreateCommand("create table if not exists notes (text text not null)");
        await create.ExecuteNonQueryAsync(Ct);
        await using var insert = db.CreateCommand("insert into notes values ($1)");
        insert.Parameters.Add(new() { Value = text });
        await insert.ExecuteNonQueryAsync(Ct);
    }

    private static async Task<List<string>> ReadNotesAsync(PlatformProcess platform)
    {
        await using var db = NpgsqlDataSource.Create($"{await platform.PostgresAsync("postgres", Ct)};Pooling=false");
        await using var select = db.CreateCommand("select text from notes");
        await using var reader = await select.ExecuteReaderAsync(Ct);
        List<string> notes = [];
        while (await reader.ReadAsync(Ct))
        {
            notes.Add(reader.GetString(0));
        }

        return notes;
    }
}
