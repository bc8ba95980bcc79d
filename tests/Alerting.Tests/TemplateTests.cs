using Platform.Alerting.Templates;

namespace Platform.Alerting.Tests;

public sealed class TemplateTests
{
    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("{{ $labels.instance }} is at {{ $value }}", "a:9090 is at 0.25")]
    [InlineData("{{ .Labels.job }}{{ .Labels.nothing }}", "api")]
    [InlineData("{{ $labels }}", "map[instance:a:9090 job:api]")]
    [InlineData("a {{- 3 -}} b", "a3b")]
    [InlineData("{{/* a comment */}}x{{- /* another */ -}} y", "xy")]
    [InlineData("{{ if gt $value 0.2 }}high{{ else if gt $value 0.1 }}middle{{ else }}low{{ end }}", "high")]
    [InlineData("{{ if lt $value 0.2 }}low{{ else if gt $value 0.1 }}middle{{ else }}high{{ end }}", "middle")]
    [InlineData("{{ with $labels.job }}{{ . | toUpper }}{{ end }}", "API")]
    [InlineData("{{ with $labels.nothing }}a{{ else }}b{{ end }}", "b")]
    [InlineData("{{ range $key, $value := $labels }}{{ $key }}={{ $value }};{{ end }}", "instance=a:9090;job=api;")]
    [InlineData("{{ range query \"up\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}", "b=1 a=0 ")]
    [InlineData("{{ range sortByLabel \"instance\" (query \"up\") }}{{ if eq .Value 0.0 }}{{ continue }}{{ end }}{{ .Labels.instance }}{{ end }}", "b")]
    [InlineData("{{ query \"up\" | first | value }}", "1")]
    [InlineData("{{ with query \"up\" }}{{ . | first | label \"instance\" }}{{ end }}", "b")]
    [InlineData("{{ range query \"nothing\" }}x{{ else }}none{{ end }}", "none")]
    [InlineData("{{ define \"row\" }}<{{ . }}>{{ end }}{{ template \"row\" $labels.job }}", "<api>")]
    [InlineData("{{ define \"two\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"two\" (args 1 \"b\") }}", "1-b")]
    [InlineData("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2")]
    [InlineData("{{ printf \"%.2f %5d|%-5s|%q %v %%\" 3.14159 42 \"ab\" \"c\" true }}", "3.14    42|ab   |\"c\" true %")]
    [InlineData("{{ printf \"%d\" 1.5 }}", "%!d(float64=1.5)")]
    [InlineData("{{ 1234567 | humanize }} {{ 0.0000012 | humanize }} {{ 999 | humanize }} {{ humanize \"-1500\" }}", "1.235M 1.2u 999 -1.5k")]
    [InlineData("{{ 1048576 | humanize1024 }} {{ 1 | humanize1024 }}", "1Mi 1")]
    [InlineData("{{ humanizeDuration 3661 }} {{ humanizeDuration 0.012 }} {{ humanizeDuration 0 }} {{ humanizeDuration 100000.5 }}", "1h 1m 1s 12ms 0s 1d 3h 46m 40s")]
    [InlineData("{{ humanizePercentage 0.959 }} {{ humanizeTimestamp 1435065584.128 }}", "95.9% 2015-06-23 13:19:44.128 +0000 UTC")]
    [InlineData("{{ \"host.example.com:9090\" | stripPort }} {{ \"host.example.com:9090\" | stripDomain }} {{ stripDomain \"10.0.0.1:80\" }}", "host.example.com host:9090 10.0.0.1:80")]
    [InlineData("{{ reReplaceAll \"(.*):\\\\d+\" \"$1\" \"localhost:9090\" }} {{ match \"a.*\" \"banana\" }}", "localhost true")]
    [InlineData("{{ \"a simple test\" | title }} {{ parseDuration \"1h30m\" }} {{ toDuration 90 }}", "A Simple Test 5400 1m30s")]
    [InlineData("{{ graphLink \"up == 0\" }} {{ externalURL }} {{ pathPrefix }}", "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 https://monitor.example/platform /platform")]
    [InlineData("{{ and 1 0 2 }} {{ or 0 \"x\" }} {{ not true }} {{ len \"héllo\" }} {{ index $labels \"job\" }} {{ slice \"abcdef\" 1 3 }}", "0 x false 6 api bc")]
    [InlineData("{{ 1e21 }} {{ 1e20 }} {{ 0.0001 }} {{ 0.00001 }}", "1e+21 100000000000000000000 0.0001 1e-05")]
    // These are what promtool 2.42 makes of them.
    [InlineData("{{ tableLink \"up == 0\" }} {{ toTime 1435065584.128 }} {{ query \"up\" | first | strvalue }}.", "/graph?g0.expr=up+%3D%3D+0&g0.tab=1 2015-06-23 13:19:44.128 +0000 UTC .")]
    [InlineData("{{ safeHtml \"<b>\" }} {{ html \"<a>&'\" }} {{ js \"it's <b> \\\"&=\\\\ ü\" }}", "<b> &lt;a&gt;&amp;&#39; it\\'s \\u003Cb\\u003E \\\"\\u0026\\u003D\\\\ ü")]
    [InlineData("{{ print 1 \"a\" 2 3 }}|{{ println 1 \"a\" }}|{{ ne 1 2 }} {{ le 2 2 }} {{ ge 1 2 }} {{ block \"b\" 5 }}<{{ . }}>{{ end }}", "1a2 3|1 a\n|true true false <5>")]
    [InlineData("{{ urlquery \"a b&c\" }} {{ urlQueryEscape \"a b&c\" }} {{ $externalLabels.cluster }} {{ .ExternalLabels.cluster }} {{ .ExternalURL }} {{ $externalURL }}",
        "a+b%26c a+b%26c c1 c1 https://monitor.example/platform https://monitor.example/platform")]
    [InlineData("{{ define \"x\" }}[{{ . }}]{{ end }}{{ tmpl \"x\" 1 }} {{ now }} {{ toLower \"ABC\" }}", "[1] 0 abc")]
    public void A_template_expands_as_in_Prometheus(string text, string expected) => Assert.Equal(expected, Expand(text));

    [Theory]
    [InlineData("{{ $labels.x", "1:1: unclosed action")]
    [InlineData("a\n{{ nothing 1 }}", "2:4: function \"nothing\" not defined")]
    [InlineData("{{ $nothing }}", "1:4: undefined variable \"$nothing\"")]
    [InlineData("{{ if true }}x", "1:4: {{if}} has no {{end}}")]
    [InlineData("{{ end }}", "1:4: unexpected {{end}}")]
    [InlineData("{{ break }}", "1:4: {{break}} outside {{range}}")]
    [InlineData("{{ (1 }}", "1:7: unclosed left paren")]
    [InlineData("{{ .Labels.a | 3 }}", "1:16: non executable command in pipeline stage 2")]
    public void A_wrong_template_says_where(string text, string expected) =>
        Assert.Equal(expected, Assert.Throws<TemplateException>(() => Template.Parse(text)).Message);

    [Theory]
    [InlineData("{{ query \"nothing\" | first }}", "1:22: error calling first: first() called on vector with no elements")]
    [InlineData("{{ toDuration 1e30 }}", "1:4: error calling toDuration: 1e+30 cannot be represented as a duration since it overflows")]
    [InlineData("{{ toTime -1e11 }}", "1:4: error calling toTime: -100000000000 cannot be represented as a timestamp since it overflows")]
    [InlineData("{{ .Nothing }}", "1:4: can't evaluate field Nothing")]
    [InlineData("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", "1:20: the template \"a\" calls itself more than 100 levels deep")]
    [InlineData("{{ range 1000000 }}{{ end }}", "1:4: the template takes too many steps")]
    [InlineData("{{ range 100 }}{{ printf \"%1000d\" 1 }}{{ end }}", "1:19: the result is longer than 65536 characters")]
    public void A_run_that_fails_says_where(string text, string expected) => Assert.Equal(expected, Assert.Throws<TemplateException>(() => Expand(text)).Message);

    [Theory]
    [InlineData("{{ $x := args 1 }}{{ range 30000 }}{{ $x = args $x }}{{ end }}{{ $x }}", "1:44: error calling args: args in args more than 47 levels deep")]
    [InlineData("{{ $x := args 1 }}{{ range 40 }}{{ $x = args $x $x }}{{ end }}{{ $x }}", "1:66: the template works on more than 1000000 characters")]
    [InlineData("{{ $x := \"aaaa\" }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}", "1:41: error calling print: the template works on more than 1000000 characters")]
    [InlineData("{{ $x := \"aaaa\" }}{{ range 40 }}{{ $x = println $x $x }}{{ end }}", "1:41: error calling println: the template works on more than 1000000 characters")]
    [InlineData("{{ $x := \"aaaa\" }}{{ range 40 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}", "1:41: error calling printf: the template works on more than 1000000 characters")]
    [InlineData("{{ $x := \"aaaa\" }}{{ range 40 }}{{ $x = reReplaceAll \"(.*)\" \"$1$1\" $x }}{{ end }}", "1:41: error calling reReplaceAll: the template works on more than 1000000 characters")]
    [InlineData("{{ $x := \"&\" }}{{ range 40 }}{{ $x = html $x $x }}{{ end }}", "1:38: error calling html: the template works on more than 1000000 characters")]
    [InlineData("{{ range 2000 }}{{ $x := printf \"%1000d\" 1 }}{{ end }}", "1:26: error calling printf: the template works on more than 1000000 characters")]
    public void A_template_that_makes_too_much_fails_before_it_has(string text, string expected) => Assert.Equal(expected, Assert.Throws<TemplateException>(() => Expand(text)).Message);

    [Fact]
    public void Nothing_that_is_nested_overflows_the_stack()
    {
        // Levels within a template, times calls of it by itself.
        var inner = string.Concat(Enumerable.Repeat("{{ if true }}", 90)) + "{{ template \"t\" }}" + string.Concat(Enumerable.Repeat("{{ end }}", 90));
        string[] deep =
        [
            $"{{{{ define \"t\" }}}}{inner}{{{{ end }}}}{{{{ template \"t\" }}}}",
            "{{ $labels" + string.Concat(Enumerable.Repeat(".a", 100_000)) + " }}",
            "{{ if false }}" + string.Concat(Enumerable.Repeat("{{ else if false }}", 50_000)) + "{{ end }}",
            "{{ " + new string('(', 100_000) + "1" + new string(')', 100_000) + " }}",
            "{{ define \"t\" }}{{ " + new string('(', 90) + "tmpl \"t\" 1" + new string(')', 90) + " }}{{ end }}{{ template \"t\" }}",
        ];

        Assert.All(deep, text => Assert.Throws<TemplateException>(() => Expand(text)));
    }

    [Theory]
    [InlineData("{{ reReplaceAll \"(.)\" \"$1 \" \"a😀\" }}", "a \uFFFD \uFFFD ")]
    [InlineData("{{ reReplaceAll \"^(.{2}).*\" \"$1\" \"a😀\" }}", "a\uFFFD")]
    [InlineData("{{ printf \"%c\" 0 }}", "\uFFFD")]
    [InlineData("{{ reReplaceAll \"b\" \"[$&$`]\" \"abc\" }}", "a[$&$`]c")]
    public void What_a_template_makes_can_be_stored(string text, string expected) => Assert.Equal(expected, Expand(text));

    private static string Expand(string text)
    {
        var functions = new TemplateFunctions(Query, new Uri("https://monitor.example/platform/"), DateTimeOffset.UnixEpoch);
        var values = new AlertValues(new Dictionary<string, string> { ["job"] = "api", ["instance"] = "a:9090" }, 0.25, new Dictionary<string, string> { ["cluster"] = "c1" }, "https://monitor.example/platform");
        return TemplateRun.Expand(Template.Parse(text), values, functions);
    }

    private static IReadOnlyList<(IReadOnlyDictionary<string, string> Labels, double Value)> Query(string expression) => expression == "up"
        ? [(new Dictionary<string, string> { ["instance"] = "b" }, 1), (new Dictionary<string, string> { ["instance"] = "a" }, 0)]
        : [];
}
