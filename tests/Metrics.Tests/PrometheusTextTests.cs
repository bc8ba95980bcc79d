using System.Text;
using System.Text.Json;
using Platform.Metrics.Prometheus;
using Platform.PromQL;

namespace Platform.Metrics.Tests;

/// <summary>Spelling of numbers, strings, times and trees, in and out.</summary>
public sealed class PrometheusTextTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(0, "0")]
    [InlineData(-0.0, "-0")]
    [InlineData(1, "1")]
    [InlineData(-17, "-17")]
    [InlineData(0.1, "0.1")]
    [InlineData(1e15, "1000000000000000")]
    [InlineData(1e20, "100000000000000000000")]
    [InlineData(123456789012345680000.0, "123456789012345680000")]
    [InlineData(1e21, "1e+21")]
    [InlineData(-1.5e300, "-1.5e+300")]
    [InlineData(0.000001, "0.000001")]
    [InlineData(0.0000015, "0.0000015")]
    [InlineData(0.00001234, "0.00001234")]
    [InlineData(1e-7, "1e-07")]
    [InlineData(5e-324, "5e-324")]
    [InlineData(double.MaxValue, "1.7976931348623157e+308")]
    [InlineData(double.Epsilon * 3, "1.5e-323")]
    [InlineData(0.30000000000000004, "0.30000000000000004")]
    [InlineData(1234567890123456.8, "1234567890123456.8")]
    [InlineData(9007199254740993, "9007199254740992")]
    [InlineData(double.NaN, "NaN")]
    [InlineData(double.PositiveInfinity, "+Inf")]
    [InlineData(double.NegativeInfinity, "-Inf")]
    public void Values_are_spelled_as_in_the_answers_of_Prometheus(double value, string expected)
    {
        Span<byte> text = stackalloc byte[NumberText.MaxBytes];

        Assert.Equal(expected, Encoding.UTF8.GetString(text[..NumberText.WriteJson(value, text)]));
    }

    [Theory]
    [InlineData(0, "0")]
    [InlineData(999999, "999999")]
    [InlineData(1e6, "1e+06")]
    [InlineData(1234567.5, "1.2345675e+06")]
    [InlineData(0.0001, "0.0001")]
    [InlineData(0.00001, "1e-05")]
    [InlineData(-12345678, "-1.2345678e+07")]
    public void Values_are_spelled_as_in_the_text_format(double value, string expected)
    {
        Span<byte> text = stackalloc byte[NumberText.MaxBytes];

        Assert.Equal(expected, Encoding.UTF8.GetString(text[..NumberText.WriteExposition(value, text)]));
    }

    [Theory]
    [InlineData(-1e-7, "-0.0000001")]
    [InlineData(1e25, "10000000000000000000000000")]
    [InlineData(1.5, "1.5")]
    [InlineData(double.NaN, "NaN")]
    public void Scalars_are_spelled_without_exponents(double value, string expected)
    {
        Span<byte> text = stackalloc byte[NumberText.MaxPlainBytes];

        Assert.Equal(expected, Encoding.UTF8.GetString(text[..NumberText.WritePlain(value, text)]));
    }

    [Fact]
    public void Every_value_reads_back_to_itself()
    {
        var bits = 0x123456789abcdefUL;
        Span<byte> text = stackalloc byte[NumberText.MaxPlainBytes];
        for (var round = 0; round < 200_000; round++)
        {
            bits = bits * 6364136223846793005 + 1442695040888963407;
            var value = BitConverter.UInt64BitsToDouble(bits);
            if (double.IsFinite(value))
            {
                Assert.Equal(value, double.Parse(text[..NumberText.WriteJson(value, text)], System.Globalization.CultureInfo.InvariantCulture));
                Assert.Equal(value, double.Parse(text[..NumberText.WritePlain(value, text)], System.Globalization.CultureInfo.InvariantCulture));
                Assert.Equal(value, double.Parse(text[..NumberText.WriteExposition(value, text)], System.Globalization.CultureInfo.InvariantCulture));
            }
        }
    }

    [Theory]
    [InlineData(1435781451781, "1435781451.781")]
    [InlineData(1435781451000, "1435781451")]
    [InlineData(7, "0.007")]
    [InlineData(-1050, "-1.050")]
    [InlineData(0, "0")]
    public void Times_are_seconds_with_milliseconds_where_there_are_some(long milliseconds, string expected)
    {
        Span<byte> text = stackalloc byte[NumberText.MaxBytes];

        Assert.Equal(expected, Encoding.UTF8.GetString(text[..NumberText.WriteSeconds(milliseconds, text)]));
    }

    [Theory]
    [InlineData("1435781451.781", 1435781451781)]
    [InlineData("1e9", 1_000_000_000_000)]
    [InlineData("-5", -5000L)]
    [InlineData("2015-07-01T20:10:51.781Z", 1435781451781)]
    [InlineData("2015-07-01T22:10:51.781123456+02:00", 1435781451781)]
    [InlineData("2015-07-01T20:10:51Z", 1435781451000)]
    [InlineData("-292273086-05-16T16:47:06Z", -Parameters.MaxMilliseconds)]
    [InlineData("292277025-08-18T07:12:54.999999999Z", Parameters.MaxMilliseconds)]
    [InlineData("", null)]
    [InlineData("x", null)]
    [InlineData("NaN", null)]
    [InlineData("1e300", null)]
    [InlineData("2015-07-01", null)]
    [InlineData("2015-07-01T20:10:51", null)]
    [InlineData("2015-07-01 20:10:51Z", null)]
    public void A_time_is_seconds_or_RFC_3339(string text, long? expected) => Assert.Equal(expected, Parameters.Milliseconds(text));

    [Theory]
    [InlineData("15", 15.0)]
    [InlineData("0.5", 0.5)]
    [InlineData("5m", 300.0)]
    [InlineData("1h30m", 5400.0)]
    [InlineData("1d2h3m4s5ms", 93784.005)]
    [InlineData("500ms", 0.5)]
    [InlineData("1y", 31_536_000.0)]
    [InlineData("-3", -3.0)]
    [InlineData("", null)]
    [InlineData("5", 5.0)]
    [InlineData("m", null)]
    [InlineData("5x", null)]
    [InlineData("5m1h", null)]
    [InlineData("5m 3s", null)]
    [InlineData("1e300", null)]
    public void A_duration_is_seconds_or_units_from_large_to_small(string text, double? expected) =>
        Assert.Equal(expected is { } seconds ? TimeSpan.FromSeconds(seconds) : null, Parameters.DurationOf(text));

    [Theory]
    [InlineData("job", "job")]
    [InlineData("U__http_2e_status", "http.status")]
    [InlineData("U__a__b", "a_b")]
    [InlineData("U__label_20ac_", "label€")]
    [InlineData("U__my_1f600_name", "my😀name")]
    [InlineData("U__broken_2e", "U__broken_2e")]
    [InlineData("U__broken_zz_x", "U__broken_zz_x")]
    [InlineData("U__broken_d800_x", "U__broken_d800_x")]
    [InlineData("U__broken_1234567_x", "U__broken_1234567_x")]
    public void An_escaped_label_name_is_read_back(string written, string expected) => Assert.Equal(expected, LabelEscape.Undo(written));

    [Fact]
    public async Task A_label_of_any_characters_is_one_valid_JSON_string()
    {
        var text = string.Concat(Enumerable.Range(0, 0x300).Select(code => (char)code)) + "€😀\u2028" + new string('x', 200_000) + "\"end\\";
        using var output = new MemoryStream();
        using (var answer = new AnswerWriter(output))
        {
            answer.Metric(Labels.Of(("__name__", "m"), ("a", text)));
            await answer.EndAsync(Ct);
        }

        var metric = JsonElement.Parse(output.ToArray());

        Assert.Equal(text, metric.GetProperty("a").GetString());
        Assert.Equal("m", metric.GetProperty("__name__").GetString());
    }

    [Fact]
    public async Task Points_of_many_series_come_out_as_they_went_in_whatever_their_times()
    {
        const int Count = 3000;
        var grid = Enumerable.Range(0, Count).Select(step => 1_700_000_000_000 + step * 15_000L).ToArray();
        var shifted = grid.Select(time => time + 7).ToArray();
        var values = grid.Select((_, step) => step * 1.1).ToArray();
        (long[] Times, int From)[] series = [(grid, 0), (grid, 0), (shifted, 10), (grid, 2990), (shifted, 0), ([], 0)];
        using var output = new MemoryStream();
        using (var answer = new AnswerWriter(output))
        {
            for (var index = 0; index < series.Length; index++)
            {
                answer.Raw(index == 0 ? "[["u8 : "],["u8);
                await answer.PointsAsync(series[index].Times.AsMemory(series[index].From), values.AsMemory(0, series[index].Times.Length - series[index].From), Ct);
            }

            answer.Raw("]]"u8);
            await answer.EndAsync(Ct);
        }

        var read = JsonElement.Parse(output.ToArray()).EnumerateArray().Select(points => points.EnumerateArray()
            .Select(point => ((long)Math.Round(point[0].GetDouble() * 1000), double.Parse(point[1].GetString()!, System.Globalization.CultureInfo.InvariantCulture))).ToArray()).ToArray();

        Assert.Equal(series.Length, read.Length);
        Assert.All(series.Zip(read), pair => Assert.Equal(pair.First.Times.Skip(pair.First.From).Zip(values), pair.Second));
    }

    [Theory]
    [InlineData("up", """{"type":"vectorSelector","name":"up","matchers":[{"name":"__name__","value":"up","type":"="}],"offset":0,"timestamp":null,"startOrEnd":null}""")]
    [InlineData("{a=~\"b\"}[5m] offset 1m @ start()", """{"type":"matrixSelector","range":300000,"name":"","matchers":[{"name":"a","value":"b","type":"=~"}],"offset":60000,"timestamp":null,"startOrEnd":"start"}""")]
    [InlineData("-(1.5)", """{"type":"unaryExpr","op":"-","expr":{"type":"parenExpr","expr":{"type":"numberLiteral","val":"1.5"}}}""")]
    [InlineData("\"x\"", """{"type":"stringLiteral","val":"x"}""")]
    public void The_tree_of_an_expression_is_that_of_Prometheus(string expression, string expected)
    {
        using var tree = new MemoryStream();
        using (var json = new Utf8JsonWriter(tree))
        {
            ExprJson.Write(json, Parser.Parse(expression));
        }

        Assert.True(JsonElement.DeepEquals(JsonElement.Parse(expected), JsonElement.Parse(tree.ToArray())), Encoding.UTF8.GetString(tree.ToArray()));
    }
}
