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

        TestContext.Current.SendDiagnosticMessage($"{compared} expressions formatted alike.");
        Assert.Empty(wrong);
        Assert.True(compared > 4000);
    }

    // 2.x writes large numbers with exponents, 3.x does not; and it forgets to indent a subquery that fits in its line.
    private static string Comparable(string formatted) => string.Join('\n', ExponentNumber()
        .Replace(formatted, number => Printer.Number(double.Parse(number.ValueSpan, CultureInfo.InvariantCulture)))
        .Split('\n').Select(line => line.Trim()));

    [GeneratedRegex(@"(?<![\w.])[0-9.]+e[+-][0-9]+")]
    private static partial Regex ExponentNumber();
}
