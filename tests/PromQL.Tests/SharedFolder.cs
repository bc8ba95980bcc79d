namespace Platform.PromQL.Tests;

/// <summary>Data of others that lies beside some checkouts and is no part of this project: tests that read it are skipped where it is not.</summary>
internal static class SharedFolder
{
    public static string? Find(string relative)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var candidate = Path.Combine(folder.FullName, "shared", relative);
            if (Path.Exists(candidate))
            {
                return candidate;
            }
        }

        return null;
    }
}
