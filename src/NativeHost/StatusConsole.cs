namespace Platform.NativeHost;

/// <summary>What the console shows: one row for each change of a resource, the end of a log when something crashes, and where everything is.</summary>
internal sealed class StatusConsole(bool isQuiet, bool showsLogs)
{
    private readonly long _started = TimeProvider.System.GetTimestamp();

    public bool ShowsLogs => showsLogs;

    public void Say(string text)
    {
        try
        {
            if (!isQuiet)
            {
                Console.WriteLine(text);
            }
        }
        catch (IOException)
        {
            // The terminal was closed. What follows is the orderly end, which must not depend on it.
        }
    }

    public void Changed(Supervised resource, ResourceStatus before)
    {
        var now = resource.Status;
        var wasHealthy = before is { State: ResourceState.Running, Reason: null };
        var isHealthy = now is { State: ResourceState.Running, Reason: null };
        if (before.State != now.State || wasHealthy != isHealthy)
        {
            Say($"{TimeProvider.System.GetElapsedTime(_started).TotalSeconds,6:0.0} s  {Row(resource)}{(now.Reason is { } reason ? $"  {reason}" : "")}");
        }
    }

    public void Crashed(string name, ResourceLog log)
    {
        foreach (var line in showsLogs ? [] : log.Tail(8))
        {
            Say($"          {name} | {line}");
        }
    }

    public void AllHealthy(TimeSpan after, string? url, string statusUrl, string data, IReadOnlyList<Supervised> resources)
    {
        Say($"\n          {"NAME",-14}{"STATE",-11}{"ENDPOINT",-26}{"PID",-9}RESTARTS");
        foreach (var resource in resources)
        {
            Say($"          {Row(resource)}");
        }

        var adminKey = Path.Combine(data, "admin-key");
        Say($"""

            All healthy after {after.TotalSeconds:0.0} s.

              Gateway     {url}
              Admin key   {(Environment.GetEnvironmentVariable("PLATFORM_ADMIN_KEY") is { Length: > 0 } ? "as set in PLATFORM_ADMIN_KEY" : File.Exists(adminKey) ? $"{File.ReadAllText(adminKey).Trim()}   (kept in {adminKey})" : "none yet")}
              State       {statusUrl}
              Logs        {Path.Combine(data, "logs")}
              Data        {data}
              Stop        Ctrl-C

            """);
    }

    private static string Row(Supervised resource)
    {
        var status = resource.Status;
        var state = status is { State: ResourceState.Running, Reason: null } ? "healthy" : status.State == ResourceState.Running ? "unhealthy" : status.State.ToString().ToLowerInvariant();
        return $"{resource.Name,-14}{state,-11}{(resource.Endpoints.Count > 0 ? resource.Endpoints[0] : "-"),-26}{status.Pid?.ToString() ?? "-",-9}{status.Restarts}";
    }
}
