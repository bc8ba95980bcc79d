using System.Globalization;

namespace Platform.PromQL.Tests;

/// <summary>Expressions over <see cref="ComparedData"/> in the language of Prometheus 2.42.</summary>
internal static class ComparedExpressions
{
    /// <summary>Every function, aggregation, operator and modifier, and the corners that are known to be difficult.</summary>
    public static IEnumerable<string> HandPicked()
    {
        string[] ranges = ["requests_total[5m]", "requests_total{job=\"api\"}[1m]", "requests_total[15s]", "temperature[10m]", "sparse[20m]", "switch[7m30s] offset 3m", "tiny[5m]"];
        string[] overTime =
        [
            "rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes", "avg_over_time", "sum_over_time", "min_over_time", "max_over_time",
            "count_over_time", "stddev_over_time", "stdvar_over_time", "last_over_time", "present_over_time", "absent_over_time",
        ];
        foreach (var function in overTime)
        {
            foreach (var range in ranges)
            {
                yield return $"{function}({range})";
            }
        }

        foreach (var q in new[] { "0", "0.25", "0.5", "0.99", "1", "-1", "2", "NaN" })
        {
            yield return $"quantile_over_time({q}, temperature[10m])";
            yield return $"quantile by (job) ({q}, temperature)";
            yield return $"histogram_quantile({q}, duration_seconds_bucket)";
            yield return $"histogram_quantile({q}, sum by (le, job) (rate(duration_seconds_bucket[5m])))";
        }

        foreach (var seconds in new[] { "0", "60", "-3600", "1e6" })
        {
            yield return $"predict_linear(memory_bytes[10m], {seconds})";
            yield return $"predict_linear(requests_total[30m] offset 10m, {seconds})";
        }

        foreach (var (smoothing, trend) in new[] { ("0.5", "0.5"), ("0.1", "0.9"), ("0.01", "0.1") })
        {
            yield return $"holt_winters(temperature[10m], {smoothing}, {trend})";
            yield return $"holt_winters(requests_total[2m], {smoothing}, {trend})";
        }

        foreach (var function in new[]
        {
            "abs", "absent", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg", "exp", "floor", "ln", "log10", "log2", "rad", "round",
            "sgn", "sin", "sinh", "sqrt", "tan", "tanh", "timestamp", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year",
        })
        {
            // The calendar of infinity and NaN is whatever the processor makes of it.
            yield return $"{function}(temperature{{room!~\"roof|cellar\"}})";
            yield return $"{function}(switch)";
            yield return $"{function}(memory_bytes / 1e9)";
        }

        yield return "timestamp(timestamp(up))";
        yield return "timestamp(up offset 1m)";
        yield return "timestamp(-up)";
        yield return "day_of_week()";
        yield return "hour() + minute() / 60";
        yield return "vector(time())";
        yield return "scalar(limit{job=\"api\"}) + scalar(limit)";
        yield return "time() - pi()";
        yield return "1 / 0 - 1 / 0";
        yield return "-1 % 3 + 5.5 % -2";
        yield return "2 ^ 3 ^ 2 - -2 ^ 2";
        yield return "1 > bool 2 == bool 0";
        yield return "\"a text\"";
        foreach (var to in new[] { "0.1", "5", "1e6", "-1", "0" })
        {
            yield return $"round(temperature, {to})";
            yield return $"clamp_min(temperature, {to}) + clamp_max(temperature, {to})";
            yield return $"clamp(temperature, {to}, 10)";
        }

        yield return "sort(memory_bytes)";
        yield return "sort_desc(memory_bytes)";
        foreach (var aggregate in new[] { "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar" })
        {
            foreach (var grouping in new[] { "", "by (job)", "without (instance)", "by (job, code)", "by (nothing)", "without ()", "by (__name__)" })
            {
                yield return $"{aggregate} {grouping} (requests_total)";
                yield return $"{aggregate} {grouping} (temperature)";
            }

            yield return $"{aggregate}({{job=~\"api|web\"}})";
            yield return $"{aggregate}(tiny)";
            yield return $"{aggregate}(nothing)";
        }

        foreach (var k in new[] { "0", "1", "2", "100", "-1", "1.9", "scalar(limit{job=\"web\"})", "time() / 1e9" })
        {
            yield return $"topk({k}, requests_total)";
            yield return $"bottomk({k}, memory_bytes)";
            yield return $"sum(topk by (job) ({k}, rate(requests_total[5m])))";
            yield return $"bottomk without (room) ({k}, temperature)";
        }

        yield return "count_values(\"value\", switch)";
        yield return "count_values(\"value\", temperature)";
        yield return "count_values by (job) (\"job\", up)";
        yield return "count_values without (instance) (\"instance\", up)";
        // 2.x leaves the name on the result of atan2.
        yield return "sum by (job) (temperature atan2 20) + sum by (job) (-1 atan2 temperature)";
        yield return "sum by (a) (left atan2 on (b) right) + sum(left atan2 right)";
        foreach (var symbol in new[] { "+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "== bool", "!= bool", "> bool", "<= bool" })
        {
            yield return $"temperature {symbol} 20";
            yield return $"20 {symbol} temperature";
            yield return $"left {symbol} right";
            yield return $"left {symbol} on (b) right";
            yield return $"left {symbol} ignoring (a) right";
            yield return $"requests_total {symbol} on (job) group_left limit";
            yield return $"limit {symbol} on (job) group_right (instance) requests_total{{code=\"200\"}}";
            yield return $"sum by (job) (requests_total) {symbol} ignoring (code) limit";
        }

        foreach (var symbol in new[] { "and", "or", "unless" })
        {
            yield return $"requests_total {symbol} limit";
            yield return $"requests_total {symbol} on (job) limit";
            yield return $"requests_total {symbol} on () limit";
            yield return $"requests_total {symbol} ignoring (instance, code) limit";
            yield return $"left {symbol} right";
            yield return $"temperature > 20 {symbol} temperature < 10";
            yield return $"nothing {symbol} up";
            yield return $"up {symbol} nothing";
        }

        yield return "requests_total * on (instance) group_left (node, zone) info";
        yield return "requests_total * on (instance) group_left (code) info";
        yield return "info * on (instance) group_right (zone) requests_total";
        yield return "memory_bytes * on (instance) info";
        yield return "requests_total + requests_total";
        yield return "requests_total + ignoring (code) requests_total";
        yield return "{__name__=~\"twin.*\"} + 1";
        yield return "-{__name__=~\"twin.*\"}";
        yield return "{__name__=~\"twin.*\"}";
        yield return "rate({__name__=~\"twin.*\"}[5m])";
        yield return "abs({__name__=~\"twin.*\"})";
        yield return "sum({__name__=~\"twin.*\"})";
        yield return "label_replace(up, \"host\", \"$1-$2\", \"instance\", \"(.)(.*)\")";
        yield return "label_replace(up, \"instance\", \"\", \"instance\", \".*\")";
        yield return "label_replace(up, \"instance\", \"x\", \"instance\", \".*\")";
        yield return "label_replace(up, \"host\", \"${a}\", \"job\", \"(?P<a>a).*\")";
        yield return "label_replace(up, \"host\", \"$1\", \"job\", \"b(.*)\")";
        yield return "label_replace(up, \"host\", \"$1\", \"job\", \"(\")";
        yield return "label_replace(requests_total, \"__name__\", \"$1_changed\", \"__name__\", \"(.*)\")";
        yield return "label_join(up, \"both\", \"-\", \"job\", \"instance\")";
        yield return "label_join(up, \"job\", \"-\", \"nothing\")";
        yield return "label_join(up, \"both\", \"-\")";
        yield return "label_join(up, \"instance\", \"-\", \"job\")";
        yield return "absent(nothing{a=\"b\",c=~\"d\",e!=\"f\"})";
        yield return "absent(up{job=\"x\",job=\"y\"})";
        yield return "absent(sum(nothing))";
        yield return "absent_over_time(nothing{a=\"b\"}[5m])";
        yield return "absent_over_time(sparse{kind=\"once\"}[5m])";
        yield return "absent_over_time(rate(nothing[1m])[5m:])";
        foreach (var shift in new[] { "offset 1m", "offset -1m", "@ 1704070800", "@ start()", "@ end()", "@ 1704070800.5 offset 10m", "offset 7m @ end()", "@ 0" })
        {
            yield return $"requests_total{{code=\"500\"}} {shift}";
            yield return $"rate(requests_total[5m] {shift})";
            yield return $"max_over_time(temperature[10m:1m] {shift})";
            yield return $"sum_over_time((switch {shift})[5m:30s])";
            yield return $"requests_total{{job=\"api\"}} - requests_total{{job=\"api\"}} {shift}";
        }

        foreach (var subquery in new[] { "[10m:]", "[10m:1m]", "[10m:7s]", "[5m:5m]", "[15s:15s]", "[1h:3m] offset 1m" })
        {
            yield return $"max_over_time(rate(requests_total[1m]){subquery})";
            yield return $"count_over_time(up{subquery})";
            yield return $"rate(requests_total{subquery})";
            yield return $"sum_over_time(time(){subquery})".Replace("time()", "vector(time())", StringComparison.Ordinal);
            yield return $"quantile_over_time(0.9, sum by (job) (temperature){subquery})";
            yield return $"increase(sum(requests_total){subquery})";
            yield return $"last_over_time((temperature > 20){subquery})";
        }

        yield return "max_over_time(max_over_time(rate(requests_total[1m])[5m:1m])[10m:2m])";
        yield return "sum(rate(duration_seconds_sum[5m])) / sum(rate(duration_seconds_count[5m]))";
        yield return "histogram_quantile(0.9, sum by (le) (duration_seconds_bucket))";
        yield return "histogram_quantile(0.9, requests_total)";
        yield return "histogram_quantile(0.5, duration_seconds_bucket{le!=\"+Inf\"})";
        yield return "histogram_quantile(scalar(switch{kind=\"a\"}), rate(duration_seconds_bucket[1m]))";
        yield return "histogram_quantile(0.5, label_replace(duration_seconds_bucket, \"le\", \"x\", \"le\", \"1\"))";
        yield return "requests_total{job!=\"api\",instance=~\"[0-1]\",code!~\"4..\"}";
        yield return "{job=\"api\",__name__!=\"up\"}";
        yield return "{__name__=~\"(?i)UP|limit\"}";
        yield return "requests_total{nothing=\"\"}";
        yield return "requests_total{code=~\"\"}";
        yield return "sum(up) or vector(0) unless up == 1";
        yield return "(sum(requests_total) by (job) > 1000) and on (job) limit";
        yield return "requests_total[5m]";
        yield return "temperature[2m:30s]";
    }

    /// <summary>Expressions put together by chance, always the same for a seed.</summary>
    public static IEnumerable<string> Generated(int seed, int count)
    {
        var maker = new Maker(new Random(seed));
        for (var index = 0; index < count; index++)
        {
            yield return index % 12 == 0 ? maker.Scalar(3) : maker.Vector(1 + index % 4);
        }
    }

    /// <summary>Expressions with a word or sign taken away, put in, doubled or moved: most of them are none any more.</summary>
    public static IEnumerable<string> Broken(int seed, int count)
    {
        var random = new Random(seed);
        string[] signs =
        [
            "(", ")", "{", "}", "[", "]", ",", ":", "=", "!=", "=~", "==", "+", "-", "^", "@", "<", "by", "on", "ignoring", "group_left", "bool", "offset", "and", "or",
            "sum", "rate", "topk", "start()", "5m", "1", "1e3", "\"x\"", "'y'", "up", "a:b", "inf", "without", "time()", "atan2",
        ];
        foreach (var text in HandPicked().Concat(Generated(seed, count)).OrderBy(_ => random.Next()).Take(count))
        {
            var words = System.Text.RegularExpressions.Regex.Matches(text, @"""[^""]*""|[\w.:]+|\s+|[=!<>~]+|.").Select(match => match.Value).ToList();
            for (var changes = random.Next(1, 3); changes > 0; changes--)
            {
                var at = random.Next(words.Count);
                switch (random.Next(4))
                {
                    case 0 when words.Count > 1:
                        words.RemoveAt(at);
                        break;
                    case 1:
                        words[at] = signs[random.Next(signs.Length)];
                        break;
                    case 2:
                        words.Insert(at, words[random.Next(words.Count)]);
                        break;
                    default:
                        words.Insert(at, $" {signs[random.Next(signs.Length)]} ");
                        break;
                }
            }

            yield return string.Concat(words);
        }
    }

    private sealed class Maker(Random random)
    {
        private static readonly string[] s_labels = ["job", "instance", "code", "room", "kind", "a", "b", "le", "zone"];

        public string Scalar(int depth) => random.Next(depth <= 0 ? 3 : 8) switch
        {
            0 => Number(),
            1 => "time()",
            2 => One("pi()", "-1", "0.5", "Inf", "NaN", "1e9"),
            3 or 4 => $"{Scalar(depth - 1)} {One("+", "-", "*", "/", "%", "^", "atan2")} {Scalar(depth - 1)}",
            5 => $"({Scalar(depth - 1)} {One("<", ">", "==", "!=", ">=", "<=")} bool {Scalar(depth - 1)})",
            6 => $"scalar({Vector(depth - 1)})",
            _ => $"-({Scalar(depth - 1)})",
        };

        public string Vector(int depth) => depth <= 0 ? Selector() : random.Next(16) switch
        {
            0 or 1 => Selector(),
            2 or 3 => OverTime(depth),
            4 => $"{One("abs", "ceil", "floor", "sqrt", "exp", "ln", "sgn", "round", "timestamp", "absent", "deg", "sort", "sort_desc")}({Vector(depth - 1)})",
            5 or 6 or 7 => $"{One("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")}{Grouping()}({Vector(depth - 1)})",
            8 => $"quantile{Grouping()}({Number()}, {Vector(depth - 1)})",
            // Which of several equal values is taken is chance: only their sum is the same everywhere.
            9 => $"sum({One("topk", "bottomk")}{Grouping()}({random.Next(4)}, {Vector(depth - 1)}))",
            10 => $"({Vector(depth - 1)} {Operator()} {Number()})",
            11 => $"({Number()} {Operator()} {Vector(depth - 1)})",
            12 => Alike(depth),
            13 => $"({Vector(depth - 1)} {One("and", "or", "unless")} {One("", "on (job) ", "ignoring (instance) ", "on () ")}{Vector(depth - 1)})",
            14 => One(
                $"clamp_min({Vector(depth - 1)}, {Number()})",
                $"clamp({Vector(depth - 1)}, {Number()}, {Number()})",
                $"label_replace({Vector(depth - 1)}, \"{Label()}\", \"$1\", \"{Label()}\", \"(.).*\")",
                $"label_join({Vector(depth - 1)}, \"{Label()}\", \"/\", \"{Label()}\", \"{Label()}\")",
                $"count_values{Grouping()}(\"{Label()}\", round(clamp({Vector(depth - 1)}, -1000, 1000)))",
                $"histogram_quantile({Number()}, sum by (le, {Label()}) (rate(duration_seconds_bucket[{Duration()}])))",
                $"requests_total * on (instance) group_left (zone) (info{Shift()})",
                $"vector({Scalar(depth - 1)})"),
            _ => $"-{Vector(depth - 1)}",
        };

        // Two sides that have something to do with each other.
        private string Alike(int depth)
        {
            var grouping = $" by ({Label()}, {Label()}) ";
            return random.Next(3) switch
            {
                0 => $"(sum{grouping}({Vector(depth - 1)}) {Operator()} avg{grouping}({Vector(depth - 1)}))",
                1 => $"({Selector()} {Operator()} on ({Label()}) group_left max by ({Label()}) ({Vector(depth - 1)}))",
                _ => One("requests_total", "temperature", "memory_bytes", "left") is var name
                    ? $"({name}{Shift()} {Operator()} {One("", "on (job, instance, code, room, a) ", "ignoring (b) ")}{name}{Shift()})" : "",
            };
        }

        private string OverTime(int depth)
        {
            var range = depth > 1 && random.Next(3) == 0
                ? $"({Vector(depth - 2)})[{One("1m", "3m", "10m")}:{One("", "15s", "40s", "1m")}]{Shift()}"
                : $"{Named()}[{Duration()}]{Shift()}";
            return random.Next(8) switch
            {
                0 => $"quantile_over_time({Number()}, {range})",
                1 => $"predict_linear({range}, {One("60", "600", "-60")})",
                _ => One(
                    "rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes", "avg_over_time", "sum_over_time", "min_over_time", "max_over_time",
                    "count_over_time", "stddev_over_time", "stdvar_over_time", "last_over_time", "present_over_time") + $"({range})",
            };
        }

        private string Selector() => $"{Named()}{Shift()}";

        private string Named() => Name() is var name ? $"{name}{Matchers(name)}" : "";

        private string Name() => One(
            "requests_total", "requests_total", "requests_total", "temperature", "temperature", "memory_bytes", "up", "info", "limit", "sparse", "switch", "left", "right",
            "duration_seconds_bucket", "duration_seconds_count", "tiny", "nothing");

        // Mostly such that something is left.
        private string Matchers(string name) => random.Next(3) > 0 ? "" : random.Next(6) == 0
            ? One("{job=\"api\"}", "{zone=\"\"}", "{code=~\"[45]..\"}", "{kind!~\".+\"}")
            : name switch
            {
                "requests_total" => One("{job=\"api\"}", "{job=~\"a.*|web\"}", "{instance!=\"1\"}", "{code=~\"[45]..\"}", "{job!~\".*b\",code=\"200\"}"),
                "temperature" => One("{room=~\".*l.*\"}", "{job=\"sensor\"}", "{room!=\"roof\"}"),
                "memory_bytes" or "up" or "info" => One("{instance=\"0\"}", "{instance=~\"1|2\"}", "{job!=\"db\"}"),
                "sparse" or "switch" or "tiny" => One("{kind=\"a\"}", "{kind=~\"b|slow\"}"),
                "left" or "right" => One("{a=\"1\"}", "{b!=\"x\"}"),
                "nothing" => "{a=\"b\"}",
                _ => One("{job=\"api\"}", "{instance=\"0\"}", "{job!~\"w.*\"}"),
            };

        private string Shift() => random.Next(8) switch
        {
            0 => $" offset {One("", "-")}{Duration()}",
            1 => $" @ {(ComparedData.Start / 1000 + random.Next(7200)).ToString(CultureInfo.InvariantCulture)}",
            _ => "",
        };

        private string Grouping() => random.Next(4) switch
        {
            0 => " ",
            1 => $" by ({Label()}) ",
            2 => $" by ({Label()}, {Label()}) ",
            _ => $" without ({Label()}) ",
        };

        private string Operator() => One("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool", "<= bool");

        private string Number() => One("0", "1", "2", "0.5", "0.9", "-1", "10", "100", "1e6", "20.5", "-0.1");

        private string Duration() => One("15s", "30s", "1m", "2m", "5m", "7m30s", "15m");

        private string Label() => s_labels[random.Next(s_labels.Length)];

        private string One(params string[] options) => options[random.Next(options.Length)];
    }
}
