using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

public sealed class CheckpointOptions
{
    /// <summary>File that signed heads are appended to, one JSON object a line, outside of the database. Put it where whoever administers the database cannot write.</summary>
    [Setting("COMPLIANCE_CHECKPOINT_FILE")]
    public string File { get; init; } = "";

    /// <summary>Where the file goes by default, as <c>audit-heads.jsonl</c>. With neither set, signed heads are in the database only.</summary>
    [Setting("PLATFORM_DATA_DIR")]
    public string DataFolder { get; init; } = "";

    /// <summary>A file that has grown to this size becomes <c>FILE.1</c>, in place of the one before, and the newest head of each realm opens the next.</summary>
    [Setting("COMPLIANCE_CHECKPOINT_MAX_BYTES"), Range(4_096, 1_073_741_824)]
    public long MaxBytes { get; init; } = 16 * 1024 * 1024;

    internal string? Path => File.Length > 0 ? File : DataFolder.Length > 0 ? System.IO.Path.Combine(DataFolder, "audit-heads.jsonl") : null;
}

/// <summary>The memory of signed heads that a database administrator cannot rewrite. Written by one loop, read by verification.</summary>
public sealed class CheckpointFile(CheckpointOptions options)
{
    public bool IsKept => options.Path is not null;

    private string Older => options.Path + ".1";

    /// <summary>Appends and waits for the disk.</summary>
    public async Task AppendAsync(IReadOnlyCollection<SignedHead> heads, CancellationToken ct)
    {
        if (options.Path is not { } path || heads.Count == 0)
        {
            return;
        }

        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        if (new FileInfo(path) is { Exists: true } grown && grown.Length >= options.MaxBytes)
        {
            await TurnOverAsync(path, ct);
        }

        // A second process that writes at this moment is refused, and tries again with its next heads.
        await using var file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read);
        foreach (var head in heads)
        {
            // A line break before it as well: after a crash in the middle of a line this one must not continue it.
            await file.WriteAsync((byte[])[(byte)'\n', .. JsonSerializer.SerializeToUtf8Bytes(head, WireJson.Options), (byte)'\n'], ct);
        }

        file.Flush(flushToDisk: true);
    }

    /// <summary>The heads of one realm from a sequence on; the file is read line by line, and its size bounds the answer.</summary>
    public async Task<List<SignedHead>> ListAsync(string realm, long fromSeq, CancellationToken ct)
    {
        var found = new List<SignedHead>();
        await foreach (var head in ReadAsync(ct))
        {
            if (head.Realm == realm && head.Seq >= fromSeq)
            {
                found.Add(head);
            }
        }

        return [.. found.OrderBy(head => head.Seq)];
    }

    private async IAsyncEnumerable<SignedHead> ReadAsync([System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        foreach (var path in options.Path is null ? [] : (string[])[Older, options.Path])
        {
            if (!File.Exists(path))
            {
                continue;
            }

            using var lines = new StreamReader(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
            while (await lines.ReadLineAsync(ct) is { } line)
            {
                if (Parse(line) is { } head)
                {
                    yield return head;
                }
            }
        }
    }

    private async Task TurnOverAsync(string path, CancellationToken ct)
    {
        var newest = new Dictionary<string, SignedHead>(StringComparer.Ordinal);
        await foreach (var head in ReadAsync(ct))
        {
            if (!newest.TryGetValue(head.Realm, out var other) || other.Seq < head.Seq)
            {
                newest[head.Realm] = head;
            }
        }

        var next = path + ".next";
        await File.WriteAllLinesAsync(next, newest.Values.Select(head => JsonSerializer.Serialize(head, WireJson.Options)), ct);
        // Dying between the two leaves the newest heads in FILE.1 only, where they are read as well.
        File.Move(path, Older, overwrite: true);
        File.Move(next, path, overwrite: true);
    }

    // A line that a crash cut off is no head.
    private static SignedHead? Parse(string line)
    {
        try
        {
            return line.Length == 0 ? null : JsonSerializer.Deserialize<SignedHead>(line, WireJson.Options);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
