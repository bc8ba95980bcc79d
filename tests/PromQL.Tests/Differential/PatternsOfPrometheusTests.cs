using System.Text;
using Platform.Testing;

namespace Platform.PromQL.Tests;

/// <summary>Our patterns and those of RE2 as Prometheus has it, over the same label values. Word boundaries are left out: ours know more letters.</summary>
public sealed class PatternsOfPrometheusTests
{
    [Fact]
    public async Task Patterns_by_chance_match_what_they_match_in_Prometheus()
    {
        Assert.SkipUnless(PrometheusServer.IsInstalled, "prometheus is not installed.");
        var ct = TestContext.Current.CancellationToken;
        await using var prometheus = await PrometheusServer.StartAsync(arguments: ["--storage.tsdb.retention.time=100y"]);
        var random = new Random(42);
        var words = Words(random).Distinct(StringComparer.Ordinal).ToList();
        await prometheus.WriteAsync([.. words.Select(word => new WrittenSeries([("__name__", "words"), ("word", word)], [(ComparedData.Start, 1)]))], ct);

        var wrong = new List<string>();
        var (compared, refused, matches, listed) = (0, 0, 0, 0);
        for (var number = 0; number < 2000; number++)
        {
            var pattern = Pattern(random, 3);
            var answer = await prometheus.AskAsync(
                "query", [new("query", $"words{{word=~{Printer.Quote(pattern)}}}"), new("time", (ComparedData.Start / 1000).ToString(System.Globalization.CultureInfo.InvariantCulture))], ct);
            var theirs = answer.GetProperty("status").GetString() == "success"
                ? answer.GetProperty("data").GetProperty("result").EnumerateArray().Select(series => series.GetProperty("metric").GetProperty("word").GetString()!).ToHashSet() : null;
            HashSet<string>? ours = null;
            try
            {
                var matcher = new Matcher("word", MatchKind.Regex, pattern);
                ours = [.. words.Where(matcher.Matches)];
                listed += matcher.SetMatches is null ? 0 : 1;
                Assert.All(ours, word => Assert.StartsWith(matcher.Prefix, word, StringComparison.Ordinal));
                Assert.All(ours, word => Assert.True(matcher.SetMatches?.Contains(word) ?? true));
            }
            catch (ArgumentException)
            {
            }

            compared++;
            refused += theirs is null ? 1 : 0;
            matches += theirs?.Count ?? 0;
            if (ours is null != theirs is null || (ours is not null && !ours.SetEquals(theirs!)))
            {
                wrong.Add($"{pattern}: ours {(ours is null ? "refused" : string.Join(' ', ours.Except(theirs ?? [])))}, theirs {(theirs is null ? "refused" : string.Join(' ', theirs.Except(ours ?? [])))}");
            }
        }

        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{compared} patterns over {words.Count} words: {matches} matches, {listed} patterns are lists, {refused} refused by both, {wrong.Count} different.");
        Assert.True(wrong.Count == 0, string.Join('\n', wrong.Take(40)));
    }

    private static IEnumerable<string> Words(Random random)
    {
        string[] letters = ["a", "b", "c", "ab", "1", "-", "A", ".", "é", "😀", " "];
        for (var count = 0; count < 400; count++)
        {
            yield return string.Concat(Enumerable.Range(0, random.Next(1, 6)).Select(_ => letters[random.Next(letters.Length)]));
        }
    }

    private static string Pattern(Random random, int depth)
    {
        var text = new StringBuilder();
        for (var parts = random.Next(1, 4); parts > 0; parts--)
        {
            text.Append(depth == 0 ? Atom() : random.Next(9) switch
            {
                0 => $"({Pattern(random, depth - 1)})",
                1 => $"(?:{Pattern(random, depth - 1)}|{Pattern(random, depth - 1)})",
                2 => $"({Pattern(random, depth - 1)}|{Pattern(random, depth - 1)}|{Pattern(random, depth - 1)})",
                3 => One(".*", ".+", ".*", ".", ".?", ".{2}"),
                4 => One("^", "$", "(?i)", "(?i:a)", "(?P<n>b)", "()", "(?-i)a"),
                _ => Atom(),
            });
            text.Append(One("", "", "", "", "", "*", "+", "?", "{2}", "{1,2}", "*?", "{0}", "{,2}", "**"));
        }

        return depth == 3 && random.Next(5) == 0 ? $"{text}|{Pattern(random, 2)}" : text.ToString();

        string Atom() => One("a", "b", "ab", "c", "abc", "1", "-", "[ab]", "[^a]", "[a-c1]", "[^-]", "[[:alpha:]]", @"\d", @"\D", @"\w", @"\W", @"\s", @"\.", @"\pL", @"\P{Lu}", "é", "[é😀]", "A", @"\x61", @"[\d-]");

        string One(params string[] options) => options[random.Next(options.Length)];
    }
}
