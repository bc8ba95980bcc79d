namespace Platform.NativeHost;

/// <summary>
/// The processes of this host, on disk (<c>processes.json</c>), so that the next start can end what a killed host left behind: by process id
/// and time of birth, never by name.
/// </summary>
internal sealed class Ledger(HostFolder folder)
{
    private const string FileName = "processes.json";
    private readonly Dictionary<string, ProcessIdentity> _entries = [];

    /// <summary>How many processes had to be ended.</summary>
    public async Task<int> EndLeftoversAsync(CancellationToken ct)
    {
        var left = (folder.Read<Dictionary<string, ProcessIdentity>>(FileName) ?? []).Values.Where(process => process.IsAlive).ToList();
        foreach (var (signal, patience) in new[] { (Signal.Terminate, 3), (Signal.Interrupt, 3), (Signal.Kill, 3) })
        {
            var deadline = TimeProvider.System.GetTimestamp();
            foreach (var process in left.Where(process => process.IsAlive))
            {
                _ = Signals.Send(process.Pid, signal);
            }

            while (left.Any(process => process.IsAlive) && TimeProvider.System.GetElapsedTime(deadline).TotalSeconds < patience)
            {
                await Task.Delay(50, ct);
            }
        }

        return left.Count;
    }

    public void Add(string name, ProcessIdentity? process)
    {
        // Written by each resource's own task: the lock guards the entries and the order of the files written from them.
        lock (_entries)
        {
            if (process is null)
            {
                _entries.Remove(name);
            }
            else
            {
                _entries[name] = process;
            }

            try
            {
                folder.Write(FileName, _entries);
            }
            catch (IOException)
            {
                // A full disk must not keep a crashed service down. Where the kernel ends the children of a killed host, nothing is lost.
            }
        }
    }

    public void Clear() => folder.Delete(FileName);
}
