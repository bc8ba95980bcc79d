using Aspire.Hosting;

namespace Platform.NativeHost;

/// <summary>Where packages put the servers: Debian's and Fedora's own folders first, then Homebrew's, then the PATH. The newest version wins.</summary>
internal static class ServerBinaries
{
    public static string Postgres => Find("postgres", "PostgreSQL", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin");

    public static string Redis => TryFind("redis-server", "/opt/homebrew/bin", "/usr/local/bin") ?? Find("valkey-server", "Redis");

    // Not the wrapper in /usr/sbin: that one changes the user and leaves a shell between the host and the server.
    public static string RabbitMq => Find("rabbitmq-server", "RabbitMQ", "/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin");

    public static string Epmd => Find("epmd", "Erlang's port mapper (part of RabbitMQ's installation)", "/usr/lib/erlang/erts-*/bin", "/opt/homebrew/bin", "/usr/local/bin");

    private static string Find(string program, string product, params string[] folders) =>
        TryFind(program, folders)
        ?? throw new DistributedApplicationException($"{product} is not installed ({program} was not found). Run ./run.sh, or deploy/native/install.sh.");

    private static string? TryFind(string program, params string[] folders) =>
        folders
            .SelectMany(Expand)
            .Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(File.Exists);

    /// <summary>The folders that a pattern with one * in one segment stands for, highest version first.</summary>
    private static IEnumerable<string> Expand(string pattern)
    {
        var star = pattern.IndexOf('*', StringComparison.Ordinal);
        if (star < 0)
        {
            return [pattern];
        }

        var start = pattern.LastIndexOf('/', star);
        var end = pattern.IndexOf('/', star);
        var parent = pattern[..start];
        return Directory.Exists(parent)
            ? Directory.EnumerateDirectories(parent, pattern[(start + 1)..end]).OrderByDescending(VersionOf).Select(folder => folder + pattern[end..])
            : [];
    }

    private static Version VersionOf(string folder)
    {
        var digits = new string([.. Path.GetFileName(folder).SkipWhile(character => !char.IsAsciiDigit(character)).TakeWhile(character => char.IsAsciiDigit(character) || character == '.')]);
        return Version.TryParse(digits.Contains('.') ? digits : $"{digits}.0", out var version) ? version : new();
    }
}
