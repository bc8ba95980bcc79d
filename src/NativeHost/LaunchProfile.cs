using System.Text.Json;
using Aspire.Hosting;

namespace Platform.NativeHost;

/// <summary>The first profile of a project's launchSettings.json: whether it listens on HTTP, and its environment.</summary>
internal static class LaunchProfile
{
    public static (bool HasEndpoint, IReadOnlyDictionary<string, string> Environment) Read(string projectPath)
    {
        var file = Path.Combine(Path.GetDirectoryName(projectPath)!, "Properties", "launchSettings.json");
        if (!File.Exists(projectPath))
        {
            throw new DistributedApplicationException($"There is no project {projectPath}.");
        }

        if (!File.Exists(file))
        {
            return (false, new Dictionary<string, string>());
        }

        using var settings = JsonDocument.Parse(File.ReadAllBytes(file), new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        var profile = settings.RootElement.GetProperty("profiles").EnumerateObject().First().Value;
        var environment = profile.TryGetProperty("environmentVariables", out var variables)
            ? variables.EnumerateObject().ToDictionary(variable => variable.Name, variable => variable.Value.GetString() ?? "")
            : [];
        return (profile.TryGetProperty("applicationUrl", out var url) && url.GetString()!.Contains("http://", StringComparison.Ordinal), environment);
    }
}
