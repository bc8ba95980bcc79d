using System.Diagnostics;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>
/// A real sshd log through the whole platform. The log is not part of this project: it is read from <c>../shared/data/loghub</c> beside the
/// checkout where that folder is.
/// </summary>
public sealed class ReplayTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_OpenSSH_log_raises_one_alert_page_and_incident_for_each_attacking_address()
    {
        var log = Path.Combine(RepositoryFolder.Path, "..", "shared", "data", "loghub", "OpenSSH", "OpenSSH_2k.log");
        Assert.SkipUnless(File.Exists(log), "the OpenSSH log of loghub is not beside this checkout");
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await PlatformFixture.StartAsync(pages);
        using var admin = new GatewayClient(platform.GatewayUrl, platform.AdminKey);

        await ReplayAsync(platform, log, speed: "1500");

        // 11 addresses fail 5 times within 300 s (repeated lines expanded).
        await Eventually.TrueAsync(async () => (await admin.ListAsync("/api/v1/monitoring/incidents")).Count >= 11, because: "there are 11 incidents");
        var alerts = await admin.ListAsync("/api/v1/monitoring/alerts?name=auth_failures");
        var addresses = alerts.Select(alert => alert.GetProperty("labels").GetProperty("ip_address").GetString()!).ToHashSet();
        Assert.Equal(11, addresses.Count);
        await Eventually.TrueAsync(() => addresses.IsSubsetOf(pages.Pages.Where(page => page.Status == "firing").Select(page => page.Label("ip_address")!)), because: "every address was paged");
        Assert.All(pages.Pages, page => Assert.Equal("4", page.Body.GetProperty("version").GetString()));

        var incidents = await admin.ListAsync("/api/v1/monitoring/incidents");
        Assert.Equal(11, incidents.Count);
        foreach (var incident in incidents)
        {
            var timeline = await admin.ListAsync($"/api/v1/monitoring/incidents/{incident.GetProperty("id").GetString()}/timeline?kinds=event");
            Assert.True(timeline.Count >= 5, $"The timeline of {incident} has {timeline.Count} events.");
        }

        Assert.True((await admin.GetAsync("/api/v1/monitoring/audit/verify?realm=default")).GetProperty("ok").GetBoolean());
    }

    private static async Task ReplayAsync(PlatformProcess platform, string log, string speed)
    {
        var own = new DirectoryInfo(AppContext.BaseDirectory);
        var program = Path.Combine(own.Parent!.Parent!.FullName, "DemoBackend", own.Name, "Platform.DemoBackend");
        var start = new ProcessStartInfo(program, ["replay", log, "--speed", speed, "--gateway", platform.GatewayUrl.ToString(), "--api-key", platform.IngestKey])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        using var replay = Process.Start(start)!;
        var output = replay.StandardError.ReadToEndAsync(Ct);
        var rest = replay.StandardOutput.ReadToEndAsync(Ct);
        await replay.WaitForExitAsync(Ct);
        Assert.True(replay.ExitCode == 0, $"The replay ended with {replay.ExitCode}: {await output} {await rest}");
    }
}
