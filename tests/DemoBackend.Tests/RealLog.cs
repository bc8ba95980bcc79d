namespace Platform.DemoBackend.Tests;

internal static class RealLog
{
    /// <summary>The OpenSSH log that lies beside the repository on some machines; elsewhere the test is skipped by name.</summary>
    public static string PathOrSkip()
    {
        var folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Platform.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        var path = folder is null ? null : Path.GetFullPath(Path.Combine(folder, "../shared/data/loghub/OpenSSH/OpenSSH_2k.log"));
        Assert.SkipUnless(File.Exists(path), "../shared/data/loghub/OpenSSH/OpenSSH_2k.log is not there.");
        return path!;
    }
}
