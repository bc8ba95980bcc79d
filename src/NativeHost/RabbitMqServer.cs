using System.Net.Sockets;
using System.Text;
using Aspire.Hosting.ApplicationModel;

namespace Platform.NativeHost;

/// <summary>
/// RabbitMQ on loopback with a password of its own for the user guest. Erlang's port mapper (epmd), which a node insists on, is a child of
/// the host with a port of its own: two checkouts share nothing, and none is left behind.
/// </summary>
internal sealed class RabbitMqServer(RabbitMQServerResource resource, HostFolder folder, Ledger ledger) : IRunnable
{
    private readonly string _program = ServerBinaries.RabbitMq;
    private readonly string _epmdProgram = ServerBinaries.Epmd;
    private readonly string _home = folder.Folder(resource.Name);
    private ChildProcess? _epmd;

    public string Type => "rabbitmq";

    public IReadOnlyList<string> Endpoints =>
        resource.HasManagement ? [$"localhost:{resource.Port}", $"http://localhost:{resource.ManagementPort}"] : [$"localhost:{resource.Port}"];

    public bool StaysUp => true;

    public async Task PrepareAsync(Launcher launcher, ResourceLog log, CancellationToken ct)
    {
        HostFolder.Create(_home);
        await HostFolder.WriteSecretAsync(
            Path.Combine(_home, "rabbitmq.conf"),
            $"""
            listeners.tcp.v4 = 127.0.0.1:{resource.Port}
            {(HasIPv6Loopback() ? $"listeners.tcp.v6 = ::1:{resource.Port}" : "")}
            default_user = guest
            default_pass = {resource.Secret}
            loopback_users.guest = true
            vm_memory_high_watermark.absolute = 384MB
            disk_free_limit.absolute = 100MB
            # Quorum queues keep their write-ahead log in memory as well, 512 MB of it unless told otherwise.
            raft.wal_max_size_bytes = 33554432
            log.file = false
            log.console = true
            log.console.level = warning
            log.console.use_colors = off
            # The question for its health ends the connection before it is open, which the broker would warn about each time.
            log.connection.level = error
            {(resource.HasManagement ? $"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {resource.ManagementPort}" : "")}
            """,
            ct);
        await File.WriteAllTextAsync(Path.Combine(_home, "enabled_plugins"), resource.HasManagement ? "[rabbitmq_management].\n" : "[].\n", ct);

        if (_epmd is null or { Exited.IsCompleted: true })
        {
            _epmd = await launcher.StartAsync(
                new Command(_epmdProgram, "-port", $"{resource.EpmdPort}", "-address", "127.0.0.1"), log);
            ledger.Add($"{resource.Name}-epmd", _epmd.Identity);
            await UntilItAnswersAsync(resource.EpmdPort, ct);
        }
    }

    public Task<Command> CommandAsync(CancellationToken ct) =>
        Task.FromResult(new Command(_program)
        {
            WorkingDirectory = _home,
            WhenHostDies = Signal.Terminate,
            Environment = new Dictionary<string, string>
            {
                ["HOME"] = _home,
                ["RABBITMQ_NODENAME"] = $"{resource.Name}@localhost",
                ["RABBITMQ_NODE_IP_ADDRESS"] = "",
                ["RABBITMQ_DIST_PORT"] = $"{resource.DistributionPort}",
                ["RABBITMQ_CONFIG_FILE"] = Path.Combine(_home, "rabbitmq.conf"),
                ["RABBITMQ_CONF_ENV_FILE"] = "/dev/null",
                ["RABBITMQ_MNESIA_BASE"] = Path.Combine(_home, "mnesia"),
                ["RABBITMQ_LOG_BASE"] = Path.Combine(_home, "log"),
                ["RABBITMQ_ENABLED_PLUGINS_FILE"] = Path.Combine(_home, "enabled_plugins"),
                ["RABBITMQ_MAX_NUMBER_OF_PROCESSES"] = "65536",
                ["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] = "+S 1:1 +SDcpu 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
                ["ERL_MAX_PORTS"] = "8192",
                ["ERL_EPMD_PORT"] = $"{resource.EpmdPort}",
                ["ERL_EPMD_ADDRESS"] = "127.0.0.1",
                ["ERL_CRASH_DUMP_BYTES"] = "0",
                // The start script then becomes the server instead of waiting for it as a shell: our child is the Erlang machine itself.
                ["RUNNING_UNDER_SYSTEMD"] = "true",
            },
        });

    /// <summary>A broker that answers the protocol header has finished booting: its listeners open last.</summary>
    public async Task<string?> ProbeAsync(CancellationToken ct)
    {
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync("localhost", resource.Port, ct);
            var stream = client.GetStream();
            await stream.WriteAsync("AMQP\0\0\u0009\u0001"u8.ToArray(), ct);
            var answer = new byte[8];
            var length = await stream.ReadAtLeastAsync(answer, 7, throwOnEndOfStream: false, ct);
            const byte methodFrame = 1;
            return length >= 7 && answer[0] == methodFrame ? null : $"answers {Encoding.ASCII.GetString(answer, 0, length)}";
        }
        catch (Exception error) when (error is SocketException or IOException)
        {
            return error.Message;
        }
    }

    public Task StoppedAsync() => _epmd?.StopAsync(TimeSpan.FromSeconds(1)) ?? Task.CompletedTask;

    private static async Task UntilItAnswersAsync(int port, CancellationToken ct)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                using var client = new TcpClient();
                await client.ConnectAsync("127.0.0.1", port, ct);
                return;
            }
            catch (SocketException) when (attempt < 100)
            {
                await Task.Delay(50, ct);
            }
        }
    }

    private static bool HasIPv6Loopback()
    {
        try
        {
            using var socket = new Socket(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new System.Net.IPEndPoint(System.Net.IPAddress.IPv6Loopback, 0));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
