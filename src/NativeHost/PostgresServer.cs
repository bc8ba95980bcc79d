using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;
using Npgsql;

namespace Platform.NativeHost;

/// <summary>PostgreSQL on loopback with a password, its data in <c>postgres/data</c>, and the databases of the graph.</summary>
internal sealed class PostgresServer(PostgresServerResource resource, HostFolder folder) : IRunnable
{
    // Durability is PostgreSQL's own default (fsync, synchronous_commit, full_page_writes) and stays; these fit it to a small machine.
    private static readonly Dictionary<string, string> SmallMachine = new()
    {
        ["max_connections"] = "200",
        ["shared_buffers"] = "256MB",
        ["effective_cache_size"] = "1GB",
        ["maintenance_work_mem"] = "64MB",
        ["wal_compression"] = "on",
        ["max_wal_size"] = "2GB",
        ["checkpoint_completion_target"] = "0.9",
        ["random_page_cost"] = "1.1",
        ["jit"] = "off",
    };

    private readonly string _program = ServerBinaries.Postgres;
    private readonly string _home = folder.Folder(resource.Name);
    private readonly Account? _account = Account.ForRoot("postgres", folder.Folder(resource.Name));

    public string Type => "postgres";

    public IReadOnlyList<string> Endpoints => [$"localhost:{resource.Port}"];

    public bool StaysUp => true;

    private string Data => Path.Combine(_home, "data");

    public async Task PrepareAsync(Launcher launcher, ResourceLog log, CancellationToken ct)
    {
        if (Directory.Exists(Data))
        {
            ForgetForeignProcess();
            return;
        }

        // Made beside its place and moved there when complete: an interrupted start leaves nothing that looks like a database.
        var unfinished = Path.Combine(_home, "data.new");
        if (Directory.Exists(unfinished))
        {
            Directory.Delete(unfinished, recursive: true);
        }

        HostFolder.Create(_home);
        _account?.Own(_home);
        var passwordFile = Path.Combine(_home, "password");
        await HostFolder.WriteSecretAsync(passwordFile, resource.Secret, ct);
        _account?.Own(passwordFile);
        try
        {
            var init = new Command(
                Path.Combine(Path.GetDirectoryName(_program)!, "initdb"),
                $"--pgdata={unfinished}", "--username=postgres", $"--pwfile={passwordFile}", "--auth=scram-sha-256", "--encoding=UTF8",
                OperatingSystem.IsLinux() ? "--locale=C.UTF-8" : "--locale=C")
            {
                RunAs = _account,
            };
            if (await launcher.RunAsync(init, log, ct) != 0)
            {
                throw new DistributedApplicationException($"initdb could not make the database folder: {string.Join(' ', log.Tail(3))} (all of it in {log.Path})");
            }
        }
        finally
        {
            File.Delete(passwordFile);
        }

        Directory.Move(unfinished, Data);
    }

    public Task<Command> CommandAsync(CancellationToken ct)
    {
        var settings = new Dictionary<string, string>(SmallMachine)
        {
            ["listen_addresses"] = "localhost",
            ["unix_socket_directories"] = "",
            ["timezone"] = "UTC",
            ["log_timezone"] = "UTC",
        };
        foreach (var (name, value) in resource.Settings)
        {
            settings[name] = value;
        }

        return Task.FromResult(new Command(_program, ["-D", Data, "-p", $"{resource.Port}", .. settings.SelectMany(setting => new[] { "-c", $"{setting.Key}={setting.Value}" })])
        {
            RunAs = _account,
            WorkingDirectory = "/",
            // Fast shutdown: clients are disconnected, everything committed is on disk. SIGTERM would wait for the clients.
            Stop = Signal.Interrupt,
            WhenHostDies = Signal.Interrupt,
        });
    }

    public async Task<string?> ProbeAsync(CancellationToken ct)
    {
        try
        {
            await using var connection = new NpgsqlConnection($"{await resource.GetConnectionStringAsync(ct)};Pooling=false;Timeout=5;Command Timeout=20");
            await connection.OpenAsync(ct);
            foreach (var database in resource.Databases)
            {
                await CreateAsync(connection, database.DatabaseName, ct);
            }

            return null;
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            return error.Message;
        }
    }

    private static async Task CreateAsync(NpgsqlConnection connection, string name, CancellationToken ct)
    {
        await using var find = new NpgsqlCommand("select 1 from pg_database where datname = $1", connection) { Parameters = { new() { Value = name } } };
        if (await find.ExecuteScalarAsync(ct) is not null)
        {
            return;
        }

#pragma warning disable CA2100 // A database name cannot be a parameter; quoting it is all that SQL offers.
        await using var create = new NpgsqlCommand($"create database \"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"", connection);
#pragma warning restore CA2100
        await create.ExecuteNonQueryAsync(ct);
    }

    // After a restart of the machine the id in postmaster.pid can belong to any other program, and PostgreSQL would refuse to start for as
    // long as that runs.
    private void ForgetForeignProcess()
    {
        var file = Path.Combine(Data, "postmaster.pid");
        if (!OperatingSystem.IsLinux() || !File.Exists(file) || !int.TryParse(File.ReadLines(file).First(), out var pid))
        {
            return;
        }

        var name = $"/proc/{pid}/comm";
        if (File.Exists(name) && File.ReadAllText(name).Trim() != "postgres")
        {
            File.Delete(file);
        }
    }
}
