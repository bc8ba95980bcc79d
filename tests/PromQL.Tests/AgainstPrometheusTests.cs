using System.Globalization;
using System.Text.RegularExpressions;
using Platform.Testing;

namespace Platform.PromQL.Tests;

/// <summary>The parser and the printer next to those of a real Prometheus (2.x: what 3.x does otherwise is left out or named).</summary>
public sealed partial class ParserAgainstPrometheusTests
{
    [Fact]
    public async Task Real_expressions_are_formatted_as_Prometheus_formats_them()
    {
        var file = SharedFolder.Find("data/wild-promql.txt");
        Assert.SkipWhen(file is null, "wild-promql.txt is not here.");
        Assert.SkipUnless(PrometheusServer.IsInstalled, "prometheus is not installed.");
        var ct = TestContext.Current.CancellationToken;
        await using var prometheus = await PrometheusServer.StartAsync();

        var wrong = new List<string>();
        var compared = 0;
        foreach (var line in File.ReadLines(file!).Where(line => line.Length > 0))
        {
            var answer = await prometheus.AskAsync("format_query", [new("query", line)], ct);
            if (answer.GetProperty("status").GetString() != "success")
            {
                // What only 3.x knows.
                continue;
            }

            compared++;
            var formatted = Printer.Pretty(Parser.Parse(line));
            var theirs = answer.GetProperty("data").GetString()!;
            if (Comparable(formatted) != Comparable(theirs))
            {
                wrong.Add($"{line}\n--- ours\n{formatted}\n--- Prometheus\n{theirs}");
            }
        }

        TestContext.Current.TestOutputHelper!.WriteLine($"{compared} expressions compared, {wrong.Count} formatted otherwise.");
        Assert.Empty(wrong);
        Assert.True(compared > 4000);
    }

    [Fact]
    public async Task What_is_no_expression_to_Prometheus_is_none_here()
    {
        Assert.SkipUnless(PrometheusServer.IsInstalled, "prometheus is not installed.");
        var ct = TestContext.Current.CancellationToken;
        await using var prometheus = await PrometheusServer.StartAsync();

        var wrong = new List<string>();
        var (accepted, refused, inTheSameWords, onlyHere) = (0, 0, 0, 0);
        foreach (var text in ComparedExpressions.Broken(seed: 7, count: 3000))
        {
            var answer = await prometheus.AskAsync("format_query", [new("query", text)], ct);
            var theirs = answer.GetProperty("status").GetString() == "success" ? null
                : answer.GetProperty("error").GetString()!.Replace("invalid parameter \"query\": ", "", StringComparison.Ordinal);
            try
            {
                var ours = Parser.Parse(text);
                if (theirs is null)
                {
                    accepted++;
                    if (Parser.Parse(answer.GetProperty("data").GetString()!) != ours)
                    {
                        wrong.Add($"{text}\n    means {answer.GetProperty("data").GetString()}\n    and not {Printer.Print(ours)}");
                    }
                }
                else if (OnlyIn3().IsMatch(theirs))
                {
                    onlyHere++;
                }
                else
                {
                    wrong.Add($"{text}\n    is refused there: {theirs}");
                }
            }
            catch (QueryException error)
            {
                refused += theirs is null ? 0 : 1;
                inTheSameWords += error.Message == theirs ? 1 : 0;
                if (theirs is null)
                {
                    wrong.Add($"{text}\n    is refused here: {error.Message}");
                }
            }
        }

        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{accepted} mean the same, {refused} are refused by both ({inTheSameWords} in the same words), {onlyHere} only 3.x knows, {wrong.Count} differ.");
        Assert.True(wrong.Count == 0, string.Join('\n', wrong.Take(30)));
    }

    // Durations as numbers, numbers as durations, names in quotes.
    [GeneratedRegex("unexpected (duration|string|number) .*|missing unit character in duration|bad duration syntax|unexpected \"\\(\"")]
    private static partial Regex OnlyIn3();

    // 2.x writes large numbers with exponents, 3.x does not; and it forgets to indent a subquery that fits in its line.
    private static string Comparable(string formatted) => string.Join('\n', ExponentNumber()
        .Replace(formatted, number => Printer.Number(double.Parse(number.ValueSpan, CultureInfo.InvariantCulture)))
        .Split('\n').Select(line => line.Trim()));

    [GeneratedRegex(@"(?<![\w.])[0-9.]+e[+-][0-9]+")]
    private static partial Regex ExponentNumber();
}
