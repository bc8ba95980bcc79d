using System.Globalization;
using System.Text;

namespace Platform.PromQL;

/// <summary>
/// Expressions as text, in the form that Prometheus prints. Parsing what was printed gives an equal expression; parentheses are printed
/// where the tree has them and nowhere else.
/// </summary>
public static class Printer
{
    private const int LineLength = 100;
    private const string Indent = "  ";

    /// <summary>One line: single spaces, lower-case keywords, matchers sorted, grouping in front.</summary>
    public static string Print(Expr expr)
    {
        var text = new StringBuilder();
        Write(text, expr);
        return text.ToString();
    }

    /// <summary>For people: what does not fit in a line of 100 characters is broken where its parts begin, indented by two spaces.</summary>
    public static string Pretty(Expr expr)
    {
        var text = new StringBuilder();
        WritePretty(text, expr, 0);
        return text.ToString();
    }

    /// <summary><c>+</c>, <c>and</c>, …</summary>
    public static string SymbolOf(BinaryOperator operation) => operation switch
    {
        BinaryOperator.Add => "+",
        BinaryOperator.Subtract => "-",
        BinaryOperator.Multiply => "*",
        BinaryOperator.Divide => "/",
        BinaryOperator.Modulo => "%",
        BinaryOperator.Power => "^",
        BinaryOperator.Atan2 => "atan2",
        BinaryOperator.Equal => "==",
        BinaryOperator.NotEqual => "!=",
        BinaryOperator.Greater => ">",
        BinaryOperator.Less => "<",
        BinaryOperator.GreaterOrEqual => ">=",
        BinaryOperator.LessOrEqual => "<=",
        BinaryOperator.And => "and",
        BinaryOperator.Or => "or",
        BinaryOperator.Unless => "unless",
    };

    /// <summary><c>sum</c>, <c>count_values</c>, …</summary>
    public static string NameOf(AggregateOperator operation) => operation switch
    {
        AggregateOperator.Sum => "sum",
        AggregateOperator.Avg => "avg",
        AggregateOperator.Count => "count",
        AggregateOperator.Min => "min",
        AggregateOperator.Max => "max",
        AggregateOperator.Group => "group",
        AggregateOperator.StdDev => "stddev",
        AggregateOperator.StdVar => "stdvar",
        AggregateOperator.TopK => "topk",
        AggregateOperator.BottomK => "bottomk",
        AggregateOperator.CountValues => "count_values",
        AggregateOperator.Quantile => "quantile",
        AggregateOperator.LimitK => "limitk",
        AggregateOperator.LimitRatio => "limit_ratio",
    };

    /// <summary><c>=</c>, <c>!=</c>, <c>=~</c>, <c>!~</c></summary>
    public static string SymbolOf(MatchKind kind) => kind switch
    {
        MatchKind.Equal => "=",
        MatchKind.NotEqual => "!=",
        MatchKind.Regex => "=~",
        MatchKind.NotRegex => "!~",
    };

    /// <summary>Every digit that the value needs, no exponent; <c>+Inf</c>, <c>-Inf</c>, <c>NaN</c>.</summary>
    public static string Number(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
        }

        var shortest = value.ToString("R", CultureInfo.InvariantCulture);
        var exponent = shortest.IndexOf('E', StringComparison.Ordinal);
        if (exponent < 0)
        {
            return shortest;
        }

        var sign = shortest[0] == '-' ? "-" : "";
        var digits = shortest[sign.Length..exponent].Replace(".", "", StringComparison.Ordinal);
        var point = 1 + int.Parse(shortest.AsSpan(exponent + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        return point <= 0 ? $"{sign}0.{new string('0', -point)}{digits}"
            : point >= digits.Length ? $"{sign}{digits}{new string('0', point - digits.Length)}"
            : $"{sign}{digits[..point]}.{digits[point..]}";
    }

    /// <summary><c>1h30m</c>; seconds as a number when it has a fraction of a millisecond.</summary>
    public static string Duration(TimeSpan duration)
    {
        if (duration < TimeSpan.Zero)
        {
            return $"-{Duration(-duration)}";
        }

        if (duration.Ticks % TimeSpan.TicksPerMillisecond != 0)
        {
            return Number(duration.Ticks / (double)TimeSpan.TicksPerSecond);
        }

        if (duration == TimeSpan.Zero)
        {
            return "0s";
        }

        var left = duration.Ticks / TimeSpan.TicksPerMillisecond;
        var text = new StringBuilder();
        // Years and weeks only where nothing is left over: 1y says more than 365d, 1w1d less than 8d.
        Append("y", 31_536_000_000, whole: true);
        Append("w", 604_800_000, whole: true);
        Append("d", 86_400_000, whole: false);
        Append("h", 3_600_000, whole: false);
        Append("m", 60_000, whole: false);
        Append("s", 1000, whole: false);
        Append("ms", 1, whole: false);
        return text.ToString();

        void Append(string unit, long milliseconds, bool whole)
        {
            if (left >= milliseconds && (!whole || left % milliseconds == 0))
            {
                text.Append(left / milliseconds).Append(unit);
                left %= milliseconds;
            }
        }
    }

    /// <summary>In double quotes, with the escapes of Go.</summary>
    public static string Quote(string value)
    {
        var text = new StringBuilder(value.Length + 2).Append('"');
        for (var index = 0; index < value.Length;)
        {
            if (!Rune.TryGetRuneAt(value, index, out var rune))
            {
                // A byte that was no UTF-8, see Literals.Unquote.
                text.Append(value[index] is >= '\udc80' and <= '\udcff' ? string.Create(CultureInfo.InvariantCulture, $"\\x{value[index] - 0xdc00:x2}") : "\ufffd");
                index++;
                continue;
            }

            index += rune.Utf16SequenceLength;
            _ = rune.Value switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\a' => text.Append("\\a"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                '\v' => text.Append("\\v"),
                < ' ' or 0x7f => text.Append(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}"),
                _ when IsPrintable(rune) => text.Append(rune.ToString()),
                <= 0xffff => text.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}"),
                _ => text.Append(CultureInfo.InvariantCulture, $"\\U{rune.Value:x8}"),
            };
        }

        return text.Append('"').ToString();
    }

    private static bool IsPrintable(Rune rune) => rune.Value == ' ' || Rune.GetUnicodeCategory(rune) is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned
        or UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);

    private static void Write(StringBuilder text, Expr expr)
    {
        switch (expr)
        {
            case Expr.Number number:
                text.Append(number.AsDuration ? Duration(TimeSpan.FromTicks((long)Math.Round(number.Value * TimeSpan.TicksPerSecond))) : Number(number.Value));
                break;
            case Expr.Text literal:
                text.Append(Quote(literal.Value));
                break;
            case Expr.Parentheses parentheses:
                text.Append('(');
                Write(text, parentheses.Inner);
                text.Append(')');
                break;
            case Expr.Negate negate:
                text.Append('-');
                Write(text, negate.Operand);
                break;
            case Expr.VectorSelector selector:
                WriteMatchers(text, selector);
                WriteShift(text, selector.Shift);
                break;
            case Expr.MatrixSelector matrix:
                WriteMatchers(text, matrix.Selector);
                text.Append('[').Append(Duration(matrix.Range)).Append(']');
                WriteShift(text, matrix.Selector.Shift);
                break;
            case Expr.Subquery subquery:
                Write(text, subquery.Inner);
                WriteSuffix(text, subquery);
                break;
            case Expr.Call call:
                text.Append(call.Function.Name).Append('(');
                for (var index = 0; index < call.Arguments.Count; index++)
                {
                    text.Append(index == 0 ? "" : ", ");
                    Write(text, call.Arguments[index]);
                }

                text.Append(')');
                break;
            case Expr.Aggregate aggregate:
                WriteOperator(text, aggregate);
                text.Append('(');
                if (aggregate.Parameter is { } parameter)
                {
                    Write(text, parameter);
                    text.Append(", ");
                }

                Write(text, aggregate.Operand);
                text.Append(')');
                break;
            case Expr.Binary binary:
                Write(text, binary.Left);
                text.Append(' ');
                WriteOperator(text, binary);
                text.Append(' ');
                Write(text, binary.Right);
                break;
        }
    }

    private static void WritePretty(StringBuilder text, Expr expr, int level)
    {
        Pad(text, level);
        var line = Print(expr);
        // A selector or literal has no place to break at, however long it is.
        if (line.Length <= LineLength || expr is Expr.Number or Expr.Text or Expr.VectorSelector or Expr.MatrixSelector)
        {
            text.Append(line);
            return;
        }

        switch (expr)
        {
            case Expr.Parentheses parentheses:
                text.Append("(\n");
                WritePretty(text, parentheses.Inner, level + 1);
                EndLine(text, level).Append(')');
                break;
            case Expr.Negate negate:
                text.Append('-');
                var operand = new StringBuilder();
                WritePretty(operand, negate.Operand, level);
                text.Append(operand.ToString().TrimStart(' '));
                break;
            case Expr.Subquery subquery:
                var inner = new StringBuilder();
                WritePretty(inner, subquery.Inner, level);
                text.Append(inner.ToString().TrimStart(' '));
                WriteSuffix(text, subquery);
                break;
            case Expr.Call call:
                text.Append(call.Function.Name).Append("(\n");
                for (var index = 0; index < call.Arguments.Count; index++)
                {
                    text.Append(index == 0 ? "" : ",\n");
                    WritePretty(text, call.Arguments[index], level + 1);
                }

                EndLine(text, level).Append(')');
                break;
            case Expr.Aggregate aggregate:
                WriteOperator(text, aggregate);
                text.Append("(\n");
                if (aggregate.Parameter is { } parameter)
                {
                    WritePretty(text, parameter, level + 1);
                    text.Append(",\n");
                }

                WritePretty(text, aggregate.Operand, level + 1);
                EndLine(text, level).Append(')');
                break;
            case Expr.Binary binary:
                text.Length -= level * Indent.Length;
                WritePretty(text, binary.Left, level + 1);
                EndLine(text, level);
                WriteOperator(text, binary);
                text.Append('\n');
                WritePretty(text, binary.Right, level + 1);
                break;
        }
    }

    private static StringBuilder Pad(StringBuilder text, int level)
    {
        for (var index = 0; index < level; index++)
        {
            text.Append(Indent);
        }

        return text;
    }

    private static StringBuilder EndLine(StringBuilder text, int level) => Pad(text.Append('\n'), level);

    private static void WriteMatchers(StringBuilder text, Expr.VectorSelector selector)
    {
        var inside = new List<string>(selector.Matchers.Count);
        for (var index = 0; index < selector.Matchers.Count; index++)
        {
            var matcher = selector.Matchers[index];
            if (selector.NameOutside && index == selector.Matchers.Count - 1)
            {
                text.Append(matcher.Value);
            }
            else
            {
                inside.Add(Matcher(matcher));
            }
        }

        if (inside.Count > 0)
        {
            inside.Sort(StringComparer.Ordinal);
            text.Append('{').AppendJoin(',', inside).Append('}');
        }
    }

    private static string Matcher(Matcher matcher) => $"{Label(matcher.Name)}{SymbolOf(matcher.Kind)}{Quote(matcher.Value)}";

    private static string Label(string name) => Lexer.IsPlainLabel(name) ? name : Quote(name);

    private static void WriteShift(StringBuilder text, TimeShift shift)
    {
        if (shift.At is { } at)
        {
            text.Append(at.Anchor switch
            {
                AtAnchor.Start => " @ start()",
                AtAnchor.End => " @ end()",
                AtAnchor.Fixed => string.Create(CultureInfo.InvariantCulture, $" @ {at.Milliseconds / 1000m:0.000}"),
            });
        }

        if (shift.Offset != TimeSpan.Zero)
        {
            text.Append(" offset ").Append(Duration(shift.Offset));
        }
    }

    private static void WriteSuffix(StringBuilder text, Expr.Subquery subquery)
    {
        text.Append('[').Append(Duration(subquery.Range)).Append(':').Append(subquery.Step is { } step ? Duration(step) : "").Append(']');
        WriteShift(text, subquery.Shift);
    }

    private static void WriteOperator(StringBuilder text, Expr.Aggregate aggregate)
    {
        text.Append(NameOf(aggregate.Operator));
        if (aggregate.Without || aggregate.Grouping.Count > 0)
        {
            text.Append(aggregate.Without ? " without (" : " by (").AppendJoin(", ", aggregate.Grouping.Select(Label)).Append(") ");
        }
    }

    private static void WriteOperator(StringBuilder text, Expr.Binary binary)
    {
        text.Append(SymbolOf(binary.Operator)).Append(binary.ReturnBool ? " bool" : "");
        if (binary.Matching is not { } matching)
        {
            return;
        }

        var grouped = matching.Cardinality is Cardinality.ManyToOne or Cardinality.OneToMany;
        if (matching.On || matching.Labels.Count > 0 || grouped)
        {
            text.Append(matching.On ? " on (" : " ignoring (").AppendJoin(", ", matching.Labels.Select(Label)).Append(')');
        }

        if (grouped)
        {
            text.Append(matching.Cardinality == Cardinality.ManyToOne ? " group_left (" : " group_right (")
                .AppendJoin(", ", matching.Include.Select(Label)).Append(')');
        }
    }
}
