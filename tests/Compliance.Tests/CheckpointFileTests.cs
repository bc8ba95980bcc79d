using Platform.Compliance.Audit;
using Platform.Testing;

namespace Platform.Compliance.Tests;

public sealed class CheckpointFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("checkpoints");

    private string FilePath => Path.Combine(_folder.Path, "heads.jsonl");

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_line_that_a_crash_cut_off_spoils_no_other()
    {
        var file = new CheckpointFile(new CheckpointOptions { File = FilePath });
        await file.AppendAsync([Head("a", 1)], Ct);
        await File.AppendAllTextAsync(FilePath, "{\"realm\":\"a\",\"se", Ct);

        await file.AppendAsync([Head("a", 2), Head("b", 7)], Ct);

        Assert.Equal([Head("a", 1), Head("a", 2)], await file.ListAsync("a", 1, Ct));
        Assert.Equal([Head("b", 7)], await file.ListAsync("b", 2, Ct));
        Assert.Empty(await file.ListAsync("b", 8, Ct));
    }

    [Fact]
    public async Task A_full_file_turns_over_and_keeps_the_newest_head_of_each_realm()
    {
        var file = new CheckpointFile(new CheckpointOptions { File = FilePath, MaxBytes = 4_096 });
        await file.AppendAsync([Head("quiet", 3)], Ct);

        for (var seq = 1; seq <= 200; seq++)
        {
            await file.AppendAsync([Head("busy", seq)], Ct);
        }

        Assert.Equal([Head("quiet", 3)], (await file.ListAsync("quiet", 1, Ct)).Distinct());
        Assert.Equal(200, (await file.ListAsync("busy", 1, Ct))[^1].Seq);
        Assert.Equal(2, Directory.GetFiles(_folder.Path).Length);
        Assert.All(Directory.GetFiles(_folder.Path), path => Assert.InRange(new FileInfo(path).Length, 1, 4_096 + 1_024));
    }

    [Theory]
    [InlineData("", "", null)]
    [InlineData("", "/data", "/data/audit-heads.jsonl")]
    [InlineData("/elsewhere/heads", "/data", "/elsewhere/heads")]
    public void The_file_lies_where_the_settings_say(string file, string folder, string? path) =>
        Assert.Equal(path, new CheckpointOptions { File = file, DataFolder = folder }.Path);

    private static SignedHead Head(string realm, long seq) =>
        new(realm, seq, new string('0', 64), seq, new DateTimeOffset(2026, 1, 15, 12, 0, 0, TimeSpan.Zero), "0123456789abcdef", "c2ln");

    public void Dispose() => _folder.Dispose();
}
