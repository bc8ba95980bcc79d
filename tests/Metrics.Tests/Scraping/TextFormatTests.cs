using System.Text;
using Platform.Metrics.Scraping;

namespace Platform.Metrics.Tests.Scraping;

public sealed class TextFormatTests
{
    [Theory]
    [InlineData("up 1", "up=1")]
    [InlineData("up 1\n", "up=1")]
    [InlineData("  up \t 1  ", "up=1")]
    [InlineData("up{} 1", "up=1")]
    [InlineData("up {a=\"b\"} 1", "up{a=b}=1")]
    [InlineData("up{a=\"b\",} 1", "up{a=b}=1")]
    [InlineData("up{ a = \"b\" , c=\"d\" } 1", "up{a=b,c=d}=1")]
    [InlineData("up{a=\"}, {\"}1", "up{a=}, {}=1")]
    [InlineData("up{a=\"quote \\\" slash \\\\ line \\n other \\t\"} 1", "up{a=quote \" slash \\ line \n other \\t}=1")]
    [InlineData("{\"my.metric\",\"l x\"=\"v\"} 2", "my.metric{l x=v}=2")]
    [InlineData("{\"grüße\"} 2 1395066363000", "grüße=2@1395066363000")]
    [InlineData("n:s_um 1.5e3 -5", "n:s_um=1500@-5")]
    [InlineData("a 123456789012345678", "a=1.2345678901234568E+17")]
    [InlineData("a -0.25", "a=-0.25")]
    [InlineData("a +Inf\nb -Inf\nc NaN\nd nan\ne inf", "a=Infinity;b=-Infinity;c=NaN;d=NaN;e=Infinity")]
    [InlineData("# a comment\n\n#HELP x y\n# TYPE x counter\nx 1", "HELP x y;TYPE x counter;x=1")]
    [InlineData("# HELP x a \\\\ b\\nc", "HELP x a \\ b\nc")]
    [InlineData("# TYPE \"my.metric\" gauge", "TYPE my.metric gauge")]
    [InlineData("# EOF\nup 1", "up=1")]
    public void What_Prometheus_text_says(string text, string expected) => Assert.Equal(expected, Read(text, TextFormat.Prometheus));

    [Theory]
    [InlineData("up 1\n# EOF\n", "up=1")]
    [InlineData("up 1\n# EOF", "up=1")]
    [InlineData("up 1 1520879607.789\n# EOF\n", "up=1@1520879607789")]
    [InlineData("# UNIT t_seconds seconds\n# TYPE t_seconds gauge\n# EOF\n", "UNIT t_seconds seconds;TYPE t_seconds gauge")]
    [InlineData("f_bucket{le=\"1\"} 3 # {trace_id=\"oHg5SJ#YRHA0\"} 0.67 1520879607.7\n# EOF\n", "f_bucket{le=1}=3")]
    [InlineData("f_total{a=\"#\"} 3 12 # {} 1\nf_created 9\n# EOF\n", "f_total{a=#}=3@12000;f_created=9")]
    [InlineData("# TYPE f stateset\n# EOF\n", "TYPE f stateset")]
    public void What_OpenMetrics_text_says(string text, string expected) => Assert.Equal(expected, Read(text, TextFormat.OpenMetrics));

    [Theory]
    [InlineData("up", 1, "value is missing")]
    [InlineData("up{a=\"b\"}", 1, "value is missing")]
    [InlineData("ok 1\nup one", 2, "\"one\" is no number")]
    [InlineData("up 0x10", 1, "no number")]
    [InlineData("up 1_000", 1, "no number")]
    [InlineData("up 1 2 3", 1, "follows the sample")]
    [InlineData("up 1 1.5", 1, "no timestamp")]
    [InlineData("\n\n9up 1", 3, "begins with a digit")]
    [InlineData("up{a=\"b\" 1", 1, "no closing brace")]
    [InlineData("up{a=\"b} 1", 1, "double quote is not closed")]
    [InlineData("up{a=b} 1", 1, "not in double quotes")]
    [InlineData("up{a} 1", 1, "\"=\" is missing")]
    [InlineData("up{a=\"1\",a=\"2\"} 1", 1, "comes twice")]
    [InlineData("up{a=\"1\" b=\"2\"} 1", 1, "comma")]
    [InlineData("up{,} 1", 1, "name of a label")]
    [InlineData("{a=\"1\"} 1", 1, "has no name")]
    [InlineData("-up 1", 1, "does not begin with the name")]
    [InlineData("up 1\r\n", 1, "carriage return")]
    [InlineData("# TYPE up number", 1, "no type")]
    [InlineData("# HELP", 1, "name of a metric is missing")]
    public void Faults_name_the_line(string text, int line, string message)
    {
        var fault = Assert.Throws<TextFormatException>(() => Read(text, TextFormat.Prometheus));

        Assert.Equal(line, fault.Line);
        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("up 1\n", "without \"# EOF\"")]
    [InlineData("up 1\n# EOF\nup 2\n", "after \"# EOF\"")]
    public void OpenMetrics_must_be_whole(string text, string message) =>
        Assert.Contains(message, Assert.Throws<TextFormatException>(() => Read(text, TextFormat.OpenMetrics)).Message, StringComparison.Ordinal);

    [Fact]
    public void Labels_that_are_no_UTF8_are_refused()
    {
        byte[] body = [.. "up{a=\""u8, 0xff, .. "\"} 1\n"u8];

        Assert.Throws<TextFormatException>(() => Read(body, TextFormat.Prometheus));
    }

    // Every cut of a valid text either reads, or fails with a line: never another exception, never an endless loop.
    [Fact]
    public void A_text_that_is_cut_anywhere_reads_or_fails_with_a_line()
    {
        var whole = Encoding.UTF8.GetBytes("# HELP a \\n\n# TYPE a counter\na{b=\"c\\\"\",d=\"e\"} 1.5e3 1700000000000\n{\"q.r\",\"s\"=\"t\"} NaN\n# EOF\n");
        for (var length = 0; length <= whole.Length; length++)
        {
            foreach (var format in Enum.GetValues<TextFormat>())
            {
                try
                {
                    Read(whole.AsSpan(0, length), format);
                }
                catch (TextFormatException fault)
                {
                    Assert.True(fault.Line >= 0);
                }
            }
        }
    }

    private static string Read(string text, TextFormat format) => Read(Encoding.UTF8.GetBytes(text), format);

    private static string Read(ReadOnlySpan<byte> body, TextFormat format)
    {
        var reader = new TextFormatReader(body, format);
        var labels = new List<KeyValuePair<string, string>>();
        var seen = new List<string>();
        for (var entry = reader.Read(); entry != TextEntry.End; entry = reader.Read())
        {
            if (entry != TextEntry.Sample)
            {
                seen.Add($"{entry.ToString().ToUpperInvariant()} {TextFormatReader.Unescape(reader.Family)} {TextFormatReader.Unescape(reader.Text)}");
                continue;
            }

            reader.ReadLabels(reader.SeriesText, labels);
            var others = string.Join(',', labels.Where(label => label.Key != "__name__").Select(label => $"{label.Key}={label.Value}"));
            var name = labels.Find(label => label.Key == "__name__").Value;
            seen.Add(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{name}{(others.Length > 0 ? $"{{{others}}}" : "")}={reader.Value}{(reader.Timestamp is { } at ? $"@{at}" : "")}"));
        }

        return string.Join(';', seen);
    }
}
