using System.Net.Sockets;
using System.Text;
using Aspire.Hosting.ApplicationModel;

namespace Platform.NativeHost;

/// <summary>Redis on loopback with a password and a bound on its memory. It holds only what may vanish, so it writes nothing to disk.</summary>
internal sealed class RedisServer(RedisResource resource, HostFolder folder) : IRunnable
{
    private readonly string _program = ServerBinaries.Redis;
    private readonly string _home = folder.Folder(resource.Name);

    public string Type => "redis";

    public IReadOnlyList<string> Endpoints => [$"localhost:{resource.Port}"];

    public bool StaysUp => true;

    public async Task PrepareAsync(Launcher launcher, ResourceLog log, CancellationToken ct)
    {
        HostFolder.Create(_home);
        // In a file, because everybody on the machine can read a command line.
        await HostFolder.WriteSecretAsync(
            Path.Combine(_home, "redis.conf"),
            $"""
            bind 127.0.0.1 -::1
            port {resource.Port}
            requirepass {resource.Secret}
            dir "{_home}"
            daemonize no
            appendonly no
            save {(resource.KeepsData ? "60 1" : "\"\"")}
            maxmemory 64mb
            maxmemory-policy allkeys-lru
            """,
            ct);
    }

    public Task<Command> CommandAsync(CancellationToken ct) =>
        Task.FromResult(new Command(_program, Path.Combine(_home, "redis.conf")) { WorkingDirectory = _home });

    public async Task<string?> ProbeAsync(CancellationToken ct)
    {
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync("localhost", resource.Port, ct);
            var stream = client.GetStream();
            await stream.WriteAsync(Encoding.UTF8.GetBytes($"AUTH {resource.Secret}\r\nPING\r\n"), ct);
            var answer = new byte[256];
            var length = await stream.ReadAtLeastAsync(answer, "+OK\r\n+PONG\r\n".Length, throwOnEndOfStream: false, ct);
            var text = Encoding.ASCII.GetString(answer, 0, length);
            return text == "+OK\r\n+PONG\r\n" ? null : text.Trim();
        }
        catch (Exception error) when (error is SocketException or IOException)
        {
            return error.Message;
        }
    }
}
