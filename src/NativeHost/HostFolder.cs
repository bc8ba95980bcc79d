using System.Text;
using System.Text.Json;
using Aspire.Hosting;
using Microsoft.Extensions.Configuration;

namespace Platform.NativeHost;

/// <summary>
/// The folder that holds everything a graph keeps: <c>PLATFORM_DATA_DIR</c>, or <c>.data</c> beside the solution.
/// Whoever holds its lock owns it; the lock goes with the process, however that ends.
/// </summary>
internal sealed class HostFolder : IDisposable
{
    private readonly FileStream _lock;

    private HostFolder(string path, FileStream held)
    {
        Path = path;
        _lock = held;
    }

    public string Path { get; }

    public static string Locate(IConfiguration configuration)
    {
        if (configuration["PLATFORM_DATA_DIR"] is { Length: > 0 } configured)
        {
            return System.IO.Path.GetFullPath(configured);
        }

        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (folder.EnumerateFiles("*.sln").Any())
            {
                return System.IO.Path.Combine(folder.FullName, ".data");
            }
        }

        return System.IO.Path.GetFullPath(".data");
    }

    public static HostFolder Open(string path)
    {
        Create(path, UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        Create(System.IO.Path.Combine(path, "logs"));
        try
        {
            return new(path, new(System.IO.Path.Combine(path, "apphost.lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (IOException)
        {
            throw new DistributedApplicationException(
                $"the platform already runs with the data in {path}. Stop it first, or set PLATFORM_DATA_DIR and PLATFORM_PORT_BASE to run a second one.");
        }
    }

    /// <summary>Closed to others, but for what <paramref name="extra"/> allows.</summary>
    public static void Create(string path, UnixFileMode extra = UnixFileMode.None)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
            return;
        }

        Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | extra);
    }

    /// <summary>A file that nobody else may read, not even for the moment of its making.</summary>
    public static async Task WriteSecretAsync(string file, string text, CancellationToken ct)
    {
        File.Delete(file);
        await using var stream = new FileStream(file, ForOwner());
        await stream.WriteAsync(Encoding.UTF8.GetBytes(text), ct);
    }

    public string Folder(string name) => System.IO.Path.Combine(Path, name);

    public string LogFile(string name) => System.IO.Path.Combine(Path, "logs", $"{name}.log");

    /// <summary>Replaced whole, so that no reader and no crash meets half a file.</summary>
    public void Write(string name, object content)
    {
        var file = Folder(name);
        File.Delete($"{file}.new");
        using (var stream = new FileStream($"{file}.new", ForOwner()))
        {
            JsonSerializer.Serialize(stream, content, Json.Snake);
            stream.Flush(flushToDisk: true);
        }

        File.Move($"{file}.new", file, overwrite: true);
    }

    public T? Read<T>(string name)
        where T : class
    {
        var file = Folder(name);
        if (!File.Exists(file))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize<T>(File.ReadAllBytes(file), Json.Snake);
        }
        catch (JsonException error)
        {
            throw new DistributedApplicationException($"{file} cannot be read ({error.Message}). Restore it; without it the data beside it has no passwords.");
        }
    }

    public void Delete(string name) => File.Delete(Folder(name));

    public void Dispose() => _lock.Dispose();

    private static FileStreamOptions ForOwner()
    {
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return options;
    }
}

internal static class Json
{
    public static readonly JsonSerializerOptions Snake = new(JsonSerializerDefaults.Web)
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Converters = { new System.Text.Json.Serialization.JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };
}
