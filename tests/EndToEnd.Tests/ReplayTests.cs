using System.Diagnostics;
using System.Text.Json;
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
    public async Task The_OpenSSH_log_raises_one_incident_and_a_page_for_each_attacking_address_whatever_was_seen_of_it()
    {
        var log = Path.Combine(RepositoryFolder.Path, "..", "shared", "data", "loghub", "OpenSSH", "OpenSSH_2k.log");
        Assert.SkipUnless(File.Exists(log), "the OpenSSH log of loghub is not beside this checkout");
        await using var pages = await WebhookReceiver.StartAsync();
        await using var platform = await PlatformFixture.StartAsync(pages);
        using var admin = new GatewayClient(platform.GatewayUrl, platform.AdminKey);

        await ReplayAsync(platform, log, speed: "1500");

        // Counted in the log by other means, repeated lines expanded: five addresses guess ten times at one user within five minutes, two
        // try fifteen users in that time, and one of them 25 times with at most two tries each.
        (string Detection, string Address)[] expected =
        [
            ("brute_force", "112.95.230.3"), ("brute_force", "183.62.140.253"), ("brute_force", "185.190.58.151"), ("brute_force", "187.141.143.180"),
            ("brute_force", "5.188.10.180"), ("credential_stuffing", "187.141.143.180"), ("password_spray", "103.99.0.122"), ("password_spray", "187.141.143.180"),
        ];
        await Eventually.TrueAsync(async () => (await FindingsAsync(admin)).Count >= expected.Length, because: "everything in the log was found");
        Assert.Equal(expected, await FindingsAsync(admin));
        var addresses = expected.Select(one => one.Address).ToHashSet();
        await Eventually.TrueAsync(async () => (await IncidentsAsync(admin, addresses)).Count >= addresses.Count, because: "every address has an incident");
        await Eventually.TrueAsync(() => addresses.IsSubsetOf(pages.Pages.Where(page => page.Status == "firing").Select(page => page.Label("ip_address")!)), because: "every address was paged");
        Assert.All(pages.Pages, page => Assert.Equal("4", page.Body.GetProperty("version").GetString()));

        var incidents = await IncidentsAsync(admin, addresses);
        Assert.Equal(addresses.Count, incidents.Count);
        foreach (var incident in incidents)
        {
            var timeline = await admin.ListAsync($"/api/v1/monitoring/incidents/{incident.GetProperty("id").GetString()}/timeline?kinds=event");
            Assert.True(timeline.Count >= 10, $"The timeline of {incident} has {timeline.Count} events.");
        }

        Assert.True((await admin.GetAsync("/api/v1/monitoring/audit/verify?realm=default")).GetProperty("ok").GetBoolean());
    }

    // Rules over samples may see the same storm and open incidents of their own: those know no address.
    private static async Task<List<JsonElement>> IncidentsAsync(GatewayClient admin, IReadOnlySet<string> addresses) =>
        [.. (await admin.ListAsync("/api/v1/monitoring/incidents")).Where(incident => addresses.Any(address => incident.GetProperty("group_key").GetString()!.Contains(address, StringComparison.Ordinal)))];

    private static async Task<List<(string Detection, string Address)>> FindingsAsync(GatewayClient admin) =>
        [.. (await admin.ListAsync("/api/v1/monitoring/alerts"))
            .Select(alert => alert.GetProperty("labels"))
            .Where(labels => labels.TryGetProperty("mitre_attack", out _))
            .Select(labels => (labels.GetProperty("alertname").GetString()!, labels.TryGetProperty("ip_address", out var address) ? address.GetString()! : ""))
            .Distinct()
            .Order()];

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
