using System.Diagnostics;
using System.Text.RegularExpressions;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>The tour of the README, run as it stands there, by the shell of a newcomer.</summary>
public sealed partial class ReadmeTests(PlatformFixture fixture)
{
    [Fact]
    public async Task The_first_event_of_the_README_ends_as_an_incident_with_a_verified_audit_trail()
    {
        var ct = TestContext.Current.CancellationToken;
        var readme = await File.ReadAllTextAsync(Path.Combine(RepositoryFolder.Path, "README.md"), ct);
        var tour = Block().Match(readme[readme.IndexOf("## Your first event", StringComparison.Ordinal)..]).Groups["script"].Value
            .Replace("http://localhost:8080", fixture.Platform.GatewayUrl.ToString().TrimEnd('/'), StringComparison.Ordinal)
            .Replace(".data/admin-key", Path.Combine(fixture.Platform.DataFolder, "admin-key"), StringComparison.Ordinal);

        var start = new ProcessStartInfo("bash", ["-euo", "pipefail", "-c", tour]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var shell = Process.Start(start)!;
        var reading = shell.StandardOutput.ReadToEndAsync(ct);
        var complaints = shell.StandardError.ReadToEndAsync(ct);
        await shell.WaitForExitAsync(ct);
        var output = await reading;

        Assert.True(shell.ExitCode == 0, $"The tour ended with {shell.ExitCode}: {await complaints}\n{output}");
        Assert.All(
            (string[])["\"name\":\"brute_force\"", "\"state\":\"firing\"", "\"kind\":\"event\"", "\"kind\":\"alert\"", "\"action\":\"incident.opened\"", "\"ok\":true"],
            expected => Assert.Contains(expected, output, StringComparison.Ordinal));
    }

    [GeneratedRegex("```bash\n(?<script>.*?)```", RegexOptions.Singleline)]
    private static partial Regex Block();
}
