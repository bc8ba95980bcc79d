using System.Diagnostics;
using System.Text.RegularExpressions;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>What the README and the guide to alerting tell a newcomer to type, typed as it stands there, into a shell in a folder of its own.</summary>
public sealed partial class ReadmeTests(PlatformFixture fixture)
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private static readonly string[] Tools = ["amtool", "promtool", "prometheus"];
    private static int _realms;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    /// <summary>Sections of docs/alerting.md, with what a reader sees when they have run.</summary>
    public static TheoryData<string, string[]> Guide => new()
    {
        { "1. A Prometheus sends its alerts", ["SUCCESS", "\"name\":\"CheckoutDown\"", "\"job\":\"prometheus\""] },
        { "2. amtool", ["DiskFull", "moving to a larger disk", "\"before\":{"] },
        { "3. A rule file", ["SUCCESS: 1 rules found", "\"name\":\"OrdersFailing\"", "12 orders fail in eu"] },
        { "4. Channels, and their tests", ["\"delivered\":true", "\"delivered\":false"] },
        { "5. Routing, in Alertmanager's YAML", ["SUCCESS", "\"muted_by\":\"night\"", "\"told\":true", "\"told\":false", "mailbox"] },
        { "6. What sends to PagerDuty sends here", ["\"status\":\"success\"", "db-1/disk"] },
        { "7. Acknowledge, why, and what would have been", ["\"state\":\"acknowledged\"", "\"log\":[", "restarting the worker", "\"state\":\"resolved\"", "\"difference\":{"] },
        { "8. On call", ["\"schedule\":\"primary\"", "\"shifts\":[", "\"told_at\":\"", "\"state\":\"acknowledged\""] },
    };

    [Fact]
    public async Task The_first_event_of_the_README_ends_as_an_incident_with_a_verified_audit_trail()
    {
        var readme = await ReadAsync("README.md");
        var output = await TypeAsync(Section(readme, "Your first event") + Section(readme, "Metrics, without new tools"));

        Assert.All(
            (string[])["\"name\":\"brute_force\"", "\"state\":\"firing\"", "\"kind\":\"event\"", "\"kind\":\"alert\"", "\"action\":\"incident.opened\"", "\"ok\":true", "login_failure_total"],
            expected => Assert.Contains(expected, output, StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_README_leads_from_a_rule_to_somebody_who_takes_care()
    {
        var output = await TypeAsync(Section(await ReadAsync("README.md"), "Alerts, with the tools you have"));

        Assert.All(
            (string[])["\"name\":\"shop\"", "\"state\":\"acknowledged\"", "calling the payment provider", "\"notifications\":[", "OrdersFailing"],
            expected => Assert.Contains(expected, output, StringComparison.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Guide))]
    public async Task The_guide_to_alerting_works_as_it_stands(string section, string[] expected)
    {
        var guide = await ReadAsync("docs/alerting.md");
        // A realm for each section, as if it were the only one that somebody reads.
        var beginning = Blocks(guide[..guide.IndexOf("\n## ", StringComparison.Ordinal)]).Replace("REALM=shop", $"REALM=guide-{Interlocked.Increment(ref _realms)}", StringComparison.Ordinal);
        var output = await TypeAsync(beginning + Section(guide, section));

        Assert.All(expected, part => Assert.Contains(part, output, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Every_section_of_the_guide_that_has_something_to_type_is_tested()
    {
        var guide = await ReadAsync("docs/alerting.md");
        var sections = Heading().Matches(guide).Select(heading => heading.Groups["title"].Value).Where(title => Section(guide, title).Length > 0);

        Assert.Equal(sections, Guide.Select(row => row.Data.Item1));
    }

    private static Task<string> ReadAsync(string path) => File.ReadAllTextAsync(Path.Combine(RepositoryFolder.Path, path), Ct);

    private static string Section(string text, string title)
    {
        var from = text.IndexOf($"\n## {title}\n", StringComparison.Ordinal);
        Assert.True(from >= 0, $"There is no section \"{title}\" any more.");
        var to = text.IndexOf("\n## ", from + 1, StringComparison.Ordinal);
        return Blocks(to < 0 ? text[from..] : text[from..to]);
    }

    private static string Blocks(string text) => string.Concat(Block().Matches(text).Select(block => block.Groups["script"].Value));

    // Runs until the first command that fails, and answers what it printed.
    private async Task<string> TypeAsync(string script)
    {
        foreach (var tool in Tools.Where(tool => Regex.IsMatch(script, $@"^\s*(\w+\(\) {{ )?{tool} ", RegexOptions.Multiline) && PeerProcess.Locate(tool) is null))
        {
            Assert.Skip($"{tool} is not installed (deploy/native/install.sh --peers).");
        }

        // What a newcomer has and this machine has not: the platform at its usual port, a free port 9095, somebody's receivers and mail server.
        using var folder = TemporaryFolder.Create("readme");
        var typed = script
            .Replace("http://localhost:8080", fixture.Platform.GatewayUrl.ToString().TrimEnd('/'), StringComparison.Ordinal)
            .Replace(".data/admin-key", Path.Combine(fixture.Platform.DataFolder, "admin-key"), StringComparison.Ordinal)
            .Replace("127.0.0.1:9095", $"127.0.0.1:{TestWorld.FreePort()}", StringComparison.Ordinal)
            .Replace("https://hooks.example.com", fixture.Pages.Url, StringComparison.Ordinal)
            .Replace("https://hooks.slack.com", fixture.Pages.Url, StringComparison.Ordinal)
            .Replace("smtp.example.com:587", "127.0.0.1:1", StringComparison.Ordinal);
        // What runs in the background ends with the shell, however that ends.
        var start = new ProcessStartInfo("bash", ["-euo", "pipefail", "-c", $"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{typed}"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder.Path,
        };
        start.Environment["TMPDIR"] = folder.Path;
        using var shell = Process.Start(start)!;
        var reading = shell.StandardOutput.ReadToEndAsync(CancellationToken.None);
        var complaints = shell.StandardError.ReadToEndAsync(CancellationToken.None);
        try
        {
            await shell.WaitForExitAsync(Ct).WaitAsync(Patience, Ct);
        }
        catch (TimeoutException)
        {
            shell.Kill(entireProcessTree: true);
            throw new TimeoutException($"The shell was not done after {Patience.TotalMinutes:0} minutes: {await complaints}\n{await reading}");
        }

        var output = await reading;
        Assert.True(shell.ExitCode == 0, $"The shell ended with {shell.ExitCode}: {await complaints}\n{output}");
        return output;
    }

    [GeneratedRegex("```bash\n(?<script>.*?)```", RegexOptions.Singleline)]
    private static partial Regex Block();

    [GeneratedRegex("^## (?<title>.*)$", RegexOptions.Multiline)]
    private static partial Regex Heading();
}
