namespace Platform.PromQL;

/// <summary>What the grammar lets through and has no meaning: wrong types, wrong numbers of arguments, selectors of everything.</summary>
internal static class TypeCheck
{
    public static bool IsNumeric(ValueKind kind) => kind is ValueKind.Scalar or ValueKind.InstantVector;

    /// <exception cref="QueryException">With the first part that is wrong, inner ones first.</exception>
    public static void Check(string text, Expr expr)
    {
        switch (expr)
        {
            case Expr.Number or Expr.Text:
                break;
            case Expr.Parentheses parentheses:
                Check(text, parentheses.Inner);
                break;
            case Expr.Negate negate:
                Check(text, negate.Operand);
                if (!IsNumeric(negate.Operand.Kind))
                {
                    throw Error(negate, $"unary expression only allowed on expressions of type scalar or instant vector, got \"{NameOf(negate.Operand.Kind)}\"");
                }

                break;
            case Expr.VectorSelector selector:
                CheckSelector(selector);
                break;
            case Expr.MatrixSelector matrix:
                CheckSelector(matrix.Selector);
                break;
            case Expr.Subquery subquery:
                Check(text, subquery.Inner);
                if (subquery.Inner.Kind != ValueKind.InstantVector)
                {
                    var found = subquery.Inner.Kind == ValueKind.RangeVector ? "matrix" : NameOf(subquery.Inner.Kind);
                    throw Error(subquery, $"subquery is only allowed on instant vector, got {found} instead");
                }

                break;
            case Expr.Call call:
                CheckCall(call);
                break;
            case Expr.Aggregate aggregate:
                Expect(aggregate.Operand, ValueKind.InstantVector, "aggregation expression");
                if (aggregate.Parameter is { } parameter)
                {
                    Expect(parameter, aggregate.Operator == AggregateOperator.CountValues ? ValueKind.Text : ValueKind.Scalar, "aggregation parameter");
                }

                break;
            case Expr.Binary binary:
                CheckBinary(binary);
                break;
        }

        void CheckSelector(Expr.VectorSelector selector)
        {
            if (selector.NameOutside)
            {
                for (var index = 0; index < selector.Matchers.Count - 1; index++)
                {
                    if (selector.Matchers[index].Name == Labels.MetricName)
                    {
                        throw Error(selector, $"metric name must not be set twice: {Printer.Quote(selector.Matchers[^1].Value)} or {Printer.Quote(selector.Matchers[index].Value)}");
                    }
                }
            }

            // All series at once is nothing that somebody wants; it happens by a typing error.
            if (selector.Matchers.All(matcher => matcher.Matches("")))
            {
                throw Error(selector, "vector selector must contain at least one non-empty matcher");
            }
        }

        void CheckCall(Expr.Call call)
        {
            var function = call.Function;
            var least = function.Arguments.Count - (function.Variadic ? 1 : function.Optional);
            var given = call.Arguments.Count;
            if (given < least || (given > function.Arguments.Count && !function.Variadic))
            {
                var expected = least == function.Arguments.Count ? $"{least}" : given < least ? $"at least {least}" : $"at most {function.Arguments.Count}";
                throw Error(call, $"expected {expected} argument(s) in call to \"{function.Name}\", got {given}");
            }

            for (var index = 0; index < given; index++)
            {
                Expect(call.Arguments[index], function.Arguments[Math.Min(index, function.Arguments.Count - 1)], $"call to function \"{function.Name}\"");
            }
        }

        void CheckBinary(Expr.Binary binary)
        {
            Check(text, binary.Left);
            Check(text, binary.Right);
            var (left, right) = (binary.Left.Kind, binary.Right.Kind);
            var matching = binary.Matching;
            var isComparison = binary.Operator is >= BinaryOperator.Equal and <= BinaryOperator.LessOrEqual;
            var isSet = binary.Operator is BinaryOperator.And or BinaryOperator.Or or BinaryOperator.Unless;
            if (binary.ReturnBool && !isComparison)
            {
                throw ErrorAtOperator(binary, "bool modifier can only be used on comparison operators");
            }

            if (isComparison && !binary.ReturnBool && left == ValueKind.Scalar && right == ValueKind.Scalar)
            {
                throw ErrorAtOperator(binary, "comparisons between scalars must use BOOL modifier");
            }

            if (matching is { On: true } && matching.Labels.Intersect(matching.Include).FirstOrDefault() is { } twice)
            {
                throw ErrorAtOperator(binary, $"label {Printer.Quote(twice)} must not occur in ON and GROUP clause at once");
            }

            if (!IsNumeric(left) || !IsNumeric(right))
            {
                throw Error(IsNumeric(left) ? binary.Right : binary.Left, "binary expression must contain only scalar and instant vector types");
            }

            if (left == ValueKind.Scalar || right == ValueKind.Scalar)
            {
                if (matching is { Labels.Count: > 0 })
                {
                    throw Error(binary, "vector matching only allowed between instant vectors");
                }

                if (isSet)
                {
                    throw Error(binary, $"set operator \"{Printer.SymbolOf(binary.Operator)}\" not allowed in binary scalar expression");
                }
            }
            else if (isSet && matching is { Cardinality: not Cardinality.ManyToMany })
            {
                throw Error(binary, $"no grouping allowed for \"{Printer.SymbolOf(binary.Operator)}\" operation");
            }
        }

        void Expect(Expr part, ValueKind wanted, string context)
        {
            Check(text, part);
            if (part.Kind != wanted)
            {
                throw Error(part, $"expected type {NameOf(wanted)} in {context}, got {NameOf(part.Kind)}");
            }
        }

        QueryException Error(Expr part, string message) => Parser.Error(text, part.At, message);

        QueryException ErrorAtOperator(Expr.Binary binary, string message)
        {
            var (from, to) = (binary.Left.At.To, binary.Right.At.From);
            var between = text.AsSpan(from, to - from);
            var at = from + between.Length - between.TrimStart().Length;
            return Parser.Error(text, new(at, at + between.Trim().Length), message);
        }
    }

    private static string NameOf(ValueKind kind) => kind switch
    {
        ValueKind.Scalar => "scalar",
        ValueKind.InstantVector => "instant vector",
        ValueKind.RangeVector => "range vector",
        ValueKind.Text => "string",
    };
}
