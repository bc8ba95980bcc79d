using System.Text.Json;
using Platform.PromQL;

namespace Platform.Metrics.Prometheus;

/// <summary>An expression as the JSON of <c>parse_query</c>, which is what Prometheus' own console draws its trees from.</summary>
public static class ExprJson
{
    public static void Write(Utf8JsonWriter json, Expr? expr)
    {
        if (expr is null)
        {
            json.WriteNullValue();
            return;
        }

        json.WriteStartObject();
        switch (expr)
        {
            case Expr.Number number:
                json.WriteString("type", "numberLiteral");
                json.WriteString("val", Printer.Number(number.Value));
                break;
            case Expr.Text text:
                json.WriteString("type", "stringLiteral");
                json.WriteString("val", text.Value);
                break;
            case Expr.Parentheses parentheses:
                json.WriteString("type", "parenExpr");
                Child("expr", parentheses.Inner);
                break;
            case Expr.Negate negate:
                json.WriteString("type", "unaryExpr");
                json.WriteString("op", "-");
                Child("expr", negate.Operand);
                break;
            case Expr.VectorSelector selector:
                json.WriteString("type", "vectorSelector");
                Selector(selector);
                break;
            case Expr.MatrixSelector matrix:
                json.WriteString("type", "matrixSelector");
                Milliseconds("range", matrix.Range);
                Selector(matrix.Selector);
                break;
            case Expr.Subquery subquery:
                json.WriteString("type", "subquery");
                Child("expr", subquery.Inner);
                Milliseconds("range", subquery.Range);
                Milliseconds("step", subquery.Step ?? TimeSpan.Zero);
                Shift(subquery.Shift);
                break;
            case Expr.Call call:
                json.WriteString("type", "call");
                Function(call.Function);
                json.WriteStartArray("args");
                foreach (var argument in call.Arguments)
                {
                    Write(json, argument);
                }

                json.WriteEndArray();
                break;
            case Expr.Aggregate aggregate:
                json.WriteString("type", "aggregation");
                json.WriteString("op", Printer.NameOf(aggregate.Operator));
                Child("expr", aggregate.Operand);
                Child("param", aggregate.Parameter);
                Strings("grouping", aggregate.Grouping);
                json.WriteBoolean("without", aggregate.Without);
                break;
            case Expr.Binary binary:
                json.WriteString("type", "binaryExpr");
                json.WriteString("op", Printer.SymbolOf(binary.Operator));
                Child("lhs", binary.Left);
                Child("rhs", binary.Right);
                json.WriteBoolean("bool", binary.ReturnBool);
                Matching(binary.Matching);
                break;
        }

        json.WriteEndObject();

        void Child(string name, Expr? child)
        {
            json.WritePropertyName(name);
            Write(json, child);
        }

        void Milliseconds(string name, TimeSpan time) => json.WriteNumber(name, time.Ticks / TimeSpan.TicksPerMillisecond);

        void Strings(string name, IReadOnlyList<string> values)
        {
            json.WriteStartArray(name);
            foreach (var value in values)
            {
                json.WriteStringValue(value);
            }

            json.WriteEndArray();
        }

        void Selector(Expr.VectorSelector selector)
        {
            // The name is there twice: for people, and as the matcher that it is.
            json.WriteString("name", selector.Matchers.FirstOrDefault(matcher => matcher is { Name: Labels.MetricName, Kind: MatchKind.Equal })?.Value ?? "");
            json.WriteStartArray("matchers");
            foreach (var matcher in selector.Matchers)
            {
                json.WriteStartObject();
                json.WriteString("name", matcher.Name);
                json.WriteString("value", matcher.Value);
                json.WriteString("type", Printer.SymbolOf(matcher.Kind));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            Shift(selector.Shift);
        }

        void Shift(TimeShift shift)
        {
            Milliseconds("offset", shift.Offset);
            json.WritePropertyName("timestamp");
            if (shift.At is { Anchor: AtAnchor.Fixed } at)
            {
                json.WriteNumberValue(at.Milliseconds);
            }
            else
            {
                json.WriteNullValue();
            }

            json.WriteString("startOrEnd", shift.At?.Anchor switch
            {
                AtAnchor.Start => "start",
                AtAnchor.End => "end",
                _ => null,
            });
        }

        void Function(Function function)
        {
            json.WriteStartObject("func");
            json.WriteString("name", function.Name);
            json.WriteStartArray("argTypes");
            foreach (var kind in function.Arguments)
            {
                json.WriteStringValue(Name(kind));
            }

            json.WriteEndArray();
            json.WriteNumber("variadic", function.Variadic ? -1 : function.Optional);
            json.WriteString("returnType", Name(function.Returns));
            json.WriteEndObject();
        }

        void Matching(VectorMatching? matching)
        {
            if (matching is null)
            {
                json.WriteNull("matching");
                return;
            }

            json.WriteStartObject("matching");
            json.WriteString("card", matching.Cardinality switch
            {
                Cardinality.OneToOne => "one-to-one",
                Cardinality.ManyToOne => "many-to-one",
                Cardinality.OneToMany => "one-to-many",
                Cardinality.ManyToMany => "many-to-many",
            });
            Strings("labels", matching.Labels);
            json.WriteBoolean("on", matching.On);
            Strings("include", matching.Include);
            json.WriteEndObject();
        }
    }

    /// <summary>As <c>resultType</c> and signatures name the types.</summary>
    public static string Name(ValueKind kind) => kind switch
    {
        ValueKind.Scalar => "scalar",
        ValueKind.InstantVector => "vector",
        ValueKind.RangeVector => "matrix",
        ValueKind.Text => "string",
    };
}
