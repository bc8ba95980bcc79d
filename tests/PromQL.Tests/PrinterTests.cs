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
}
