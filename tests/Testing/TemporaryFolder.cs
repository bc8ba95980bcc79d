namespace Platform.Testing;

/// <summary>
/// A folder that goes when the test ends. Its own path is open for passing through, because PostgreSQL runs as another user where the
/// tests run as root.
/// </summary>
public sealed class TemporaryFolder : IDisposable
{
    private TemporaryFolder(string path) => Path = path;

    public string Path { get; }

    public static TemporaryFolder Create(string purpose)
    {
        var path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"platform-{purpose}-{Guid.NewGuid():N}"[..(purpose.Length + 18)]);
        Directory.CreateDirectory(path);
        return new(path);
    }

    public void Dispose()
    {
        if (Directory.Exists(Path))
        {
            Directory.Delete(Path, recursive: true);
        }
    }
}
