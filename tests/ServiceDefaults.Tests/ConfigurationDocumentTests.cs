using System.Text.RegularExpressions;
using Platform.Testing;

namespace Platform.ServiceDefaults.Tests;

/// <summary>A setting that nobody can look up does not exist for those who run the platform.</summary>
public sealed partial class ConfigurationDocumentTests
{
    // Below artifacts/ are copies, and below tests/ settings that only tests know.
    private static readonly string[] Sources = ["AppHost", "ServiceDefaults", "src"];

    [Fact]
    public async Task Every_setting_in_the_code_is_in_the_configuration_document()
    {
        var document = await File.ReadAllTextAsync(Path.Combine(RepositoryFolder.Path, "docs", "configuration.md"), TestContext.Current.CancellationToken);
        var documented = Word().Matches(document).Select(match => match.Groups[1].Value).ToHashSet(StringComparer.Ordinal);

        var inCode = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var file in Sources.SelectMany(folder => Directory.EnumerateFiles(Path.Combine(RepositoryFolder.Path, folder), "*.cs", SearchOption.AllDirectories)))
        {
            var text = await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken);
            inCode.UnionWith(Setting().Matches(text).Select(match => match.Groups[1].Value));
        }

        Assert.NotEmpty(inCode);
        Assert.Empty(inCode.Except(documented));
    }

    [GeneratedRegex("Setting\\(\"([A-Z0-9_]+)\"")]
    private static partial Regex Setting();

    // Whole words in backticks, so that a longer name does not stand for a shorter one.
    [GeneratedRegex("`([A-Z0-9_]+)`")]
    private static partial Regex Word();
}
