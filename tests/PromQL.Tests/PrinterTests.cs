using FsCheck;
using FsCheck.Fluent;

namespace Platform.PromQL.Tests;

public sealed class PrinterTests
{
    [Fact]
    public void Every_expression_of_real_rules_and_dashboards_prints_back_to_an_equal_tree()
    {
        var file = SharedFolder.Find("data/wild-promql.txt");
        Assert.SkipWhen(file is null, "wild-promql.txt is not here.");

        var wrong = new List<string>();
        foreach (var line in File.ReadLines(file!).Where(line => line.Length > 0))
        {
            try
            {
                var expr = Parser.Parse(line);
                if (Parser.Parse(Printer.Print(expr)) != expr)
                {
                    wrong.Add($"{line}\n  printed as {Printer.Print(expr)}");
                }

                if (Parser.Parse(Printer.Pretty(expr)) != expr)
                {
                    wrong.Add($"{line}\n  made pretty as {Printer.Pretty(expr)}");
                }
            }
            catch (QueryException error)
            {
                wrong.Add($"{line}\n  {error.Message}");
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public void Every_tree_prints_to_a_text_that_parses_to_the_same_tree()
    {
        Prop.ForAll(GeneratedExpressions.Arbitrary, expr =>
        {
            var printed = Printer.Print(expr);
            return (Parser.Parse(printed) == expr).Label(printed).And((Parser.Parse(Printer.Pretty(expr)) == expr).Label(Printer.Pretty(expr)));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(3000).WithEndSize(200));
    }

    [Fact]
    public void No_tree_reads_anything_past_a_matcher_that_was_added()
    {
        var realm = new Matcher("realm", MatchKind.Equal, "acme");

        Prop.ForAll(GeneratedExpressions.Arbitrary, expr =>
        {
            var narrowed = Selectors.Of(Parser.Parse(Printer.Print(Selectors.WithMatcher(expr, realm))), TimeSpan.FromMinutes(5));
            return narrowed.Count == Selectors.Of(expr, TimeSpan.FromMinutes(5)).Count && narrowed.All(reach => reach.Selector.Matchers.Contains(realm));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(1000).WithEndSize(200));
    }

    [Theory]
    [InlineData("a", "a")]
    [InlineData(
        "sum by (job) (rate(http_requests_total{job=\"api\",instance=~\"one|two\"}[5m])) / sum by (job) (rate(http_requests_total[5m]))",
        """
          sum by (job) (rate(http_requests_total{instance=~"one|two",job="api"}[5m]))
        /
          sum by (job) (rate(http_requests_total[5m]))
        """)]
    [InlineData(
        "-(histogram_quantile(0.99, sum without (instance) (rate(request_duration_seconds_bucket{a=\"aaaaaaaaaaaaaaaaaaaaaa\"}[5m]))))",
        """
        -(
          histogram_quantile(
            0.99,
            sum without (instance) (rate(request_duration_seconds_bucket{a="aaaaaaaaaaaaaaaaaaaaaa"}[5m]))
          )
        )
        """)]
    public void A_long_expression_is_broken_where_its_parts_begin(string text, string pretty)
    {
        Assert.Equal(pretty, Printer.Pretty(Parser.Parse(text)));
    }
}
