using System.Diagnostics;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>The real promtool, where it is installed.</summary>
internal static class Promtool
{
    private const string Path = "/usr/bin/promtool";

    public static bool IsInstalled => File.Exists(Path);

    /// <summary>Runs a command over files that are written first; what it says when it is not content, otherwise null.</summary>
    public static async Task<string?> RunAsync(string[] command, params (string Name, string Text)[] files)
    {
        using var folder = TemporaryFolder.Create("promtool");
        foreach (var (name, text) in files)
        {
            await File.WriteAllTextAsync(System.IO.Path.Combine(folder.Path, name), text, TestContext.Current.CancellationToken);
        }

        var start = new ProcessStartInfo(Path, command) { WorkingDirectory = folder.Path, RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        var said = await Task.WhenAll(process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken), process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken));
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return process.ExitCode == 0 ? null : string.Concat(said);
    }
}
