using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Platform.NativeHost;

internal enum Signal
{
    Interrupt = 2,
    Kill = 9,
    Terminate = 15,

    /// <summary>Held still, as a hung process would be.</summary>
    Stop = 19,
    Continue = 18,
}

/// <summary>What to run, and how it wants to end.</summary>
internal sealed record Command(string FileName, params IReadOnlyList<string> Arguments)
{
    /// <summary>On top of the host's own environment.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    public string? WorkingDirectory { get; init; }

    /// <summary>Another account to run as; only root can give one.</summary>
    public Account? RunAs { get; init; }

    /// <summary>Asks for an orderly end.</summary>
    public Signal Stop { get; init; } = Signal.Terminate;

    /// <summary>Sent by the kernel when the host is killed.</summary>
    public Signal WhenHostDies { get; init; } = Signal.Kill;

    /// <summary>
    /// The command as the system is given it. On Linux setsid keeps the terminal's Ctrl-C away (the host stops things in order) and makes the
    /// process the head of a group that can be killed whole; setpriv changes the account and arms the parent-death signal. Elsewhere the
    /// next start cleans up what a killed host left behind.
    /// </summary>
    public ProcessStartInfo ToStartInfo()
    {
        List<string> words = [FileName, .. Arguments];
        if (OperatingSystem.IsLinux())
        {
            words.InsertRange(0, ["setsid", "setpriv", .. RunAs?.SetprivArguments ?? [], "--pdeathsig", SetprivName(WhenHostDies), "--"]);
        }

        var start = new ProcessStartInfo(words[0])
        {
            WorkingDirectory = WorkingDirectory ?? Path.GetTempPath(),
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var word in words.Skip(1))
        {
            start.ArgumentList.Add(word);
        }

        foreach (var (name, value) in Environment)
        {
            start.Environment[name] = value;
        }

        return start;
    }

    private static string SetprivName(Signal signal) => signal switch
    {
        Signal.Interrupt => "INT",
        Signal.Kill => "KILL",
        Signal.Terminate => "TERM",
        Signal.Stop or Signal.Continue => throw new ArgumentOutOfRangeException(nameof(signal), signal, "This signal ends nothing."),
    };
}

/// <summary>A system account that a server insists on because it refuses to run as root.</summary>
internal sealed record Account(string Name, uint UserId, uint GroupId, bool MaySearchEverywhere = false)
{
    public IReadOnlyList<string> SetprivArguments =>
    [
        $"--reuid={UserId}", $"--regid={GroupId}", "--init-groups",
        .. MaySearchEverywhere ? ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"] : Array.Empty<string>(),
    ];

    /// <summary>Null when the host is not root: then everything runs as the user who started it.</summary>
    public static Account? ForRoot(string name, string dataFolder)
    {
        if (!Environment.IsPrivilegedProcess || !OperatingSystem.IsLinux())
        {
            return null;
        }

        var line = File.ReadLines("/etc/passwd").Select(entry => entry.Split(':')).FirstOrDefault(fields => fields[0] == name)
            ?? throw new Aspire.Hosting.DistributedApplicationException($"PostgreSQL refuses to run as root, and there is no account '{name}' to run it as.");
        return new(name, uint.Parse(line[2], null), uint.Parse(line[3], null), MaySearchEverywhere: !IsReachable(dataFolder));
    }

    public void Own(string path)
    {
        if (Chown(path, UserId, GroupId) != 0)
        {
            throw new IOException($"Cannot give {path} to {Name}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    // In a checkout below a folder that only root may enter, the account gets the right to pass through folders, and only then.
    private static bool IsReachable(string folder)
    {
        for (var parent = new DirectoryInfo(folder).Parent; parent is not null; parent = parent.Parent)
        {
            if ((parent.UnixFileMode & UnixFileMode.OtherExecute) == 0)
            {
                return false;
            }
        }

        return true;
    }

    [DllImport("libc", EntryPoint = "chown", SetLastError = true)]
    private static extern int Chown([MarshalAs(UnmanagedType.LPUTF8Str)] string path, uint owner, uint group);
}
