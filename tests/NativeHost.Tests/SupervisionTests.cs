using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Aspire.Hosting;
using Platform.Testing;

namespace Platform.NativeHost.Tests;

/// <summary>Small graphs of ordinary programs, run inside the test.</summary>
public sealed class SupervisionTests : IDisposable
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("graph");

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_process_is_given_what_it_references()
    {
        var builder = Builder("--Parameters:plain=from outside", "--ConnectionStrings:elsewhere=Host=db.example");
        builder.AddExecutable("worker", "env", "/")
            .WithReference(builder.AddConnectionString("elsewhere"))
            .WithReference(builder.AddConnectionString("nowhere"), optional: true)
            .WithReference("weather", new Uri("https://weather.example"))
            .WithEnvironment("PLAIN", builder.AddParameter("plain"))
            .WithEnvironment("LITERAL", "word");

        await using var app = builder.Build();
        await app.StartAsync(Ct);
        await UntilAsync("worker", worker => worker.State == "finished");

        var environment = await File.ReadAllLinesAsync(Path.Combine(_folder.Path, "logs", "worker.log"), Ct);
        Assert.Contains("ConnectionStrings__elsewhere=Host=db.example", environment);
        Assert.Contains("services__weather__default__0=https://weather.example/", environment);
        Assert.Contains("PLAIN=from outside", environment);
        Assert.Contains("LITERAL=word", environment);
        Assert.DoesNotContain(environment, line => line.StartsWith("ConnectionStrings__nowhere", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_killed_process_comes_back_and_is_counted()
    {
        var builder = Builder();
        builder.AddExecutable("worker", "sleep", "/", "1000");
        await using var app = builder.Build();
        await app.StartAsync(Ct);
        var first = await UntilAsync("worker", worker => worker.State == "running");

        Signals.Send(first.Pid!.Value, Signal.Kill);

        var second = await UntilAsync("worker", worker => worker is { State: "running", Restarts: 1 });
        Assert.NotEqual(first.Pid, second.Pid);
    }

    [Fact]
    public async Task What_waits_for_completion_starts_after_it()
    {
        var made = Path.Combine(_folder.Path, "made");
        var builder = Builder();
        var maker = builder.AddExecutable("maker", "sh", "/", "-c", $"sleep 1; touch {made}");
        builder.AddExecutable("user", "test", "/", "-e", made).WaitForCompletion(maker);

        await using var app = builder.Build();
        await app.StartAsync(Ct);

        // Had it started earlier, it would have failed and been started again.
        var user = await UntilAsync("user", user => user.State == "finished");
        Assert.Equal(0, user.Restarts);
    }

    [Fact]
    public async Task Stopping_goes_from_those_that_nobody_waits_for_to_those_that_all_wait_for()
    {
        var builder = Builder();
        var first = builder.AddExecutable("first", "sh", "/", "-c", NotingItsEnd("first"));
        builder.AddExecutable("second", "sh", "/", "-c", NotingItsEnd("second")).WaitFor(first);
        await using (var app = builder.Build())
        {
            await app.StartAsync(Ct);
            await Eventually.TrueAsync(() => File.Exists(Path.Combine(_folder.Path, "second-up")) && File.Exists(Path.Combine(_folder.Path, "first-up")));
        }

        Assert.True(EndOf("second") < EndOf("first"), "the one that depends ends first");
    }

    [Fact]
    public async Task A_process_that_does_not_listen_is_killed_in_time()
    {
        var builder = Builder();
        builder.AddExecutable("stubborn", "sh", "/", "-c", $"trap '' TERM; touch {_folder.Path}/stubborn-up; while :; do sleep 1; done");
        var app = builder.Build();
        await app.StartAsync(Ct);
        await Eventually.TrueAsync(() => File.Exists(Path.Combine(_folder.Path, "stubborn-up")));
        var process = await UntilAsync("stubborn", stubborn => stubborn.State == "running");

        var clock = Stopwatch.StartNew();
        await app.DisposeAsync();

        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 15);
        Assert.Null(ProcessIdentity.Of(process.Pid!.Value));
    }

    private IDistributedApplicationBuilder Builder(params string[] more) =>
        DistributedApplication.CreateBuilder([$"--PLATFORM_DATA_DIR={_folder.Path}", "--PLATFORM_PORT_BASE=0", "--quiet", .. more]);

    private string NotingItsEnd(string name) =>
        $"trap 'date +%s%N > {_folder.Path}/{name}-end; exit 0' TERM; touch {_folder.Path}/{name}-up; while :; do sleep 0.1; done";

    private long EndOf(string name) => long.Parse(File.ReadAllText(Path.Combine(_folder.Path, $"{name}-end")), CultureInfo.InvariantCulture);

    private async Task<ResourceReport> UntilAsync(string name, Func<ResourceReport, bool> condition)
    {
        using var http = new HttpClient();
        using var host = JsonDocument.Parse(await File.ReadAllBytesAsync(Path.Combine(_folder.Path, "apphost.json"), Ct));
        var url = new Uri(host.RootElement.GetProperty("status_url").GetString()!);
        return await Eventually.GetAsync(async () =>
            (await http.GetFromJsonAsync<PlatformStatus>(url, Json.Snake, Ct))!.Resources.SingleOrDefault(resource => resource.Name == name && condition(resource)));
    }
}
