using System.Text;

namespace Platform.NativeHost;

/// <summary>
/// One resource's output: a file of at most 20 MB and the one before it (<c>.1</c>); with <c>--logs</c> on the console as well, prefixed.
/// </summary>
internal sealed class ResourceLog(string name, string path, bool onConsole)
{
    private const long MaxBytes = 20 * 1024 * 1024;
    private const int MaxConsoleLine = 8 * 1024;

    // Guards the file and the unfinished console line: output and error output arrive on two tasks.
    private readonly Lock _writing = new();
    private readonly StringBuilder _line = new();
    private FileStream? _file;

    public string Path => path;

    /// <summary>Until the process closes its end.</summary>
    public async Task CopyAsync(Stream output)
    {
        var buffer = new byte[16 * 1024];
        int read;
        while ((read = await output.ReadAsync(buffer)) > 0)
        {
            Write(buffer.AsSpan(0, read));
        }
    }

    public void Note(string text) => Write(Encoding.UTF8.GetBytes($"--- {text}\n"));

    /// <summary>The last lines, for the console when a resource crashes.</summary>
    public IReadOnlyList<string> Tail(int lines)
    {
        lock (_writing)
        {
            if (_file is null)
            {
                return [];
            }

            using var reader = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            reader.Seek(-Math.Min(reader.Length, 16 * 1024), SeekOrigin.End);
            return [.. new StreamReader(reader).ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).TakeLast(lines)];
        }
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        lock (_writing)
        {
            try
            {
                Append(bytes);
            }
            catch (IOException)
            {
                // The disk is full. The process must still get rid of its output, or it would stand still when its pipe is full.
            }

            if (onConsole)
            {
                Print(Encoding.UTF8.GetString(bytes));
            }
        }
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        if (_file is { Length: > MaxBytes })
        {
            _file.Dispose();
            _file = null;
            File.Move(path, $"{path}.1", overwrite: true);
        }

        // Unbuffered: what a process said last is there when it crashes, and a full disk leaves nothing behind to fail again.
        _file ??= new(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        _file.Write(bytes);
    }

    private void Print(string text)
    {
        foreach (var character in text)
        {
            if (character == '\n' || _line.Length == MaxConsoleLine)
            {
                Console.WriteLine($"{name,-12}| {_line}");
                _line.Clear();
            }

            if (character != '\n')
            {
                _line.Append(character);
            }
        }
    }
}
