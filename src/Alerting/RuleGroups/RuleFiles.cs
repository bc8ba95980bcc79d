using System.Security.Cryptography;
using System.Text;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// Keeps the groups in the database in line with the rule files. Files are compared by content at every look, which also sees what file
/// watchers miss (mounted volumes, links that are swapped). A file that is not understood leaves in force what it said before, and says so
/// in the log and in the list of groups. Every replica looks; what is done already is not done again.
/// </summary>
public sealed partial class RuleFiles(
    NpgsqlDataSource db, RuleGroupStore store, RuleGroupChanges changes, Flusher flusher, RuleGroupOptions options, TimeProvider clock, ILogger<RuleFiles> logger) : BackgroundService
{
    private const string By = "system:alerting";
    private const int LongestReason = 500;
    private static readonly string Shipped = Path.Combine(AppContext.BaseDirectory, "rules", "*.yml");

    // Files that were not there at the last look: gone for a moment while they are replaced, perhaps.
    private HashSet<string> _missing = [];

    // Files that could not be stored, with what was told of them: they are tried again at every look, and told once.
    private readonly Dictionary<string, (string Hash, string Reason)> _failed = [];
    private string? _told;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.FilesPoll, clock);
        do
        {
            await TickAsync(stoppingToken);
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var (found, folders) = Look();
            var hashes = await store.FileHashesAsync(ct);
            foreach (var (file, path) in found)
            {
                if (ReadText(path) is { } text && Hash(text) is var hash && (!hashes.TryGetValue(file, out var known) || known != hash))
                {
                    await LoadApartAsync(file, text, hash, ct);
                }
            }

            var missing = hashes.Keys.Where(file => !found.ContainsKey(file)).ToHashSet();
            if (folders is null)
            {
                foreach (var file in missing.Where(_missing.Contains))
                {
                    await RemoveAsync(file, ct);
                }
            }
            else if (_told != folders)
            {
                // An unmounted volume must not resolve every alert.
                NoFolder(folders);
            }

            _told = folders;
            _missing = missing;
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error.GetBaseException().Message);
        }
    }

    // What is wrong with one file, whatever it is, must not keep the others from being read.
    private async Task LoadApartAsync(string file, string text, string hash, CancellationToken ct)
    {
        try
        {
            await LoadAsync(file, text, hash, ct);
            _failed.Remove(file);
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            var reason = StorableText.Clean(StorableText.Shorten(error.GetBaseException().Message, LongestReason));
            if (_failed.TryGetValue(file, out var known) && known == (hash, reason))
            {
                return;
            }

            LoadingFailed(error, file);
            _failed[file] = (hash, reason);
            await using var connection = await db.OpenConnectionAsync(ct);
            await using var tx = await connection.BeginTransactionAsync(ct);
            // For whoever lists the groups. No file has this hash, so that it is tried again.
            await RuleGroupStore.NoteFileAsync(tx, file, "", $"It could not be stored: {reason}", clock.GetUtcNow(), ct);
            await tx.CommitAsync(ct);
        }
    }

    // Files by their name, and the first folder that is not there.
    private (Dictionary<string, string> Found, string? MissingFolder) Look()
    {
        var found = new Dictionary<string, string>(StringComparer.Ordinal);
        string? missing = null;
        foreach (var written in options.Files.Where(pattern => pattern is not "none"))
        {
            var pattern = written == "default" ? Shipped : written;
            var folder = Path.GetDirectoryName(Path.GetFullPath(pattern))!;
            if (!Directory.Exists(folder))
            {
                missing ??= folder;
                continue;
            }

            foreach (var path in Directory.EnumerateFiles(folder, Path.GetFileName(pattern)).Order(StringComparer.Ordinal))
            {
                if (!found.TryAdd(Path.GetFileName(path), path) && found[Path.GetFileName(path)] != path)
                {
                    SameName(path, found[Path.GetFileName(path)]);
                }
            }
        }

        return (found, missing);
    }

    private string? ReadText(string path)
    {
        try
        {
            return new FileInfo(path).Length > options.MaxFileBytes
                ? $"# {path} has more bytes than ALERT_RULE_FILE_MAX_BYTES allows ({options.MaxFileBytes})\n- too large" // refused with these words
                : File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            NotReadable(path, error.Message);
            return null;
        }
    }

    private async Task LoadAsync(string file, string text, string hash, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var faults = new List<RuleFault>();
        var texts = RuleFile.Parse(text, faults);
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleGroupStore.LockForChangeAsync(tx, ct);
        if (await RuleGroupStore.FileHashAsync(tx, file, ct) == hash)
        {
            return; // another replica was faster
        }

        var old = (await RuleGroupStore.OfFileAsync(tx, file, ct)).ToDictionary(group => (group.Realm, group.Name));
        var groups = texts.Select(one => RuleGroupCheck.Check(one, options.FilesRealm, file, old.GetValueOrDefault((options.FilesRealm, one.Name ?? "")), By, now, options, faults)).ToList();
        if (faults.Count > 0)
        {
            var error = StorableText.Clean(text.EndsWith("- too large", StringComparison.Ordinal) ? text[2..text.IndexOf('\n', StringComparison.Ordinal)] : string.Join('\n', faults.Take(20)));
            await RuleGroupStore.NoteFileAsync(tx, file, hash, error, now, ct);
            await tx.CommitAsync(ct);
            NotUnderstood(file, error);
            return;
        }

        foreach (var group in groups.OfType<RuleGroup>())
        {
            if (!old.Remove((group.Realm, group.Name), out var before) || !group.MeansTheSame(before))
            {
                await changes.SaveAsync(tx, before, group, ct);
            }
        }

        foreach (var gone in old.Values)
        {
            await changes.DeleteAsync(tx, gone, now, ct);
        }

        await RuleGroupStore.NoteFileAsync(tx, file, hash, null, now, ct);
        await tx.SendAsync(Did("rule_file.loaded", file, now, new Dictionary<string, string> { ["groups"] = $"{groups.Count}", ["hash"] = hash }), ct);
        await tx.CommitAsync(ct);
        Loaded(file, groups.Count, groups.Sum(group => group!.Rules.Count));
        flusher.Wake();
    }

    private async Task RemoveAsync(string file, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await RuleGroupStore.LockForChangeAsync(tx, ct);
        foreach (var group in await RuleGroupStore.OfFileAsync(tx, file, ct))
        {
            await changes.DeleteAsync(tx, group, now, ct);
        }

        await RuleGroupStore.ForgetFileAsync(tx, file, ct);
        await tx.SendAsync(Did("rule_file.removed", file, now, []), ct);
        await tx.CommitAsync(ct);
        Removed(file);
        flusher.Wake();
    }

    private Audited Did(string action, string file, DateTimeOffset now, Dictionary<string, string> details) =>
        new(options.FilesRealm, By, "service", action, "rule_file", file, AuditOutcome.Success, now, Details: details);

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    [LoggerMessage(LogLevel.Information, "Read the rule file {File}: {Groups} groups, {Rules} rules")]
    private partial void Loaded(string file, int groups, int rules);

    [LoggerMessage(LogLevel.Information, "The rule file {File} is gone, and its groups with it")]
    private partial void Removed(string file);

    [LoggerMessage(LogLevel.Error, "The rule file {File} is not understood, what it said before stays in force: {Faults}")]
    private partial void NotUnderstood(string file, string faults);

    [LoggerMessage(LogLevel.Error, "The rule file {File} could not be loaded, what it said before stays in force; it is tried again")]
    private partial void LoadingFailed(Exception error, string file);

    [LoggerMessage(LogLevel.Error, "The rule file {File} cannot be read: {Reason}")]
    private partial void NotReadable(string file, string reason);

    [LoggerMessage(LogLevel.Error, "{File} is left out: {Other} has the same name, and rule files are told apart by their names")]
    private partial void SameName(string file, string other);

    [LoggerMessage(LogLevel.Error, "The folder {Folder} of ALERT_RULE_FILES is not there; the rules that came from it stay")]
    private partial void NoFolder(string folder);

    [LoggerMessage(LogLevel.Warning, "Looking at the rule files failed; trying again: {Reason}")]
    private partial void TickFailed(string reason);
}
