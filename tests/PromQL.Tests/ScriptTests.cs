using Platform.Testing;

namespace Platform.PromQL.Tests;

/// <summary>Prometheus' own test scripts and ours, over series in memory.</summary>
public sealed class ScriptTests
{
    private static readonly Engine s_engine = new(ScriptCheck.Options, TimeProvider.System);
    private static readonly Dictionary<string, ScriptEval> s_evals = PromqlScript.PrometheusFolder is { } folder
        ? PromqlScript.ReadPrometheus(folder).ToDictionary(Name) : [];

    private static string Name(ScriptEval eval) => $"{eval.Script}:{eval.Line} {eval.Query}";

    public static IEnumerable<ITheoryDataRow> OfPrometheus() => s_evals.Count == 0
        ? [new TheoryDataRow<string>("none") { Skip = "Prometheus' scripts are not beside this checkout (../shared/data/promqltest)." }]
        : s_evals.Values.Select(eval => new TheoryDataRow<string>(Name(eval)) { Skip = eval.Skip is null ? null : $"needs {eval.Skip}" });

    [Theory]
    [MemberData(nameof(OfPrometheus))]
    public async Task Prometheus_answers_the_same(string name) => await CheckAsync(s_evals[name]);

    [Fact]
    public void All_that_needs_nothing_experimental_is_asked()
    {
        Assert.SkipWhen(s_evals.Count == 0, "Prometheus' scripts are not beside this checkout.");
        TestContext.Current.SendDiagnosticMessage($"{s_evals.Count} evals, {s_evals.Values.Count(eval => eval.Skip is null)} asked");

        Assert.Equal(949, s_evals.Values.Count(eval => eval.Skip is null));
    }

    public static TheoryData<string> Own() =>
        [.. Directory.GetFiles(Path.Combine(RepositoryFolder.Path, "tests", "PromQL.Tests", "scripts"), "*.test").Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Own))]
    public async Task Own_script(string name)
    {
        foreach (var eval in PromqlScript.Read(Path.Combine(RepositoryFolder.Path, "tests", "PromQL.Tests", "scripts", name)))
        {
            await CheckAsync(eval);
        }
    }

    private static async Task CheckAsync(ScriptEval eval)
    {
        var source = new MemorySeries();
        foreach (var series in eval.Loaded)
        {
            source.Add(series.Labels, series.Times.ToArray(), series.Values.ToArray());
        }

        if (await ScriptCheck.RunAsync(eval, s_engine, source, TestContext.Current.CancellationToken) is { } wrong)
        {
            Assert.Fail(wrong);
        }
    }
}
