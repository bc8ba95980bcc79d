using System.Collections;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Templates;

/// <summary>
/// One run of a template over one alert. Values are those that templates know: null, bool, long, double, string, lists
/// (<see cref="IReadOnlyList{T}"/> of object) and maps from text (<see cref="IReadOnlyDictionary{TKey, TValue}"/> to object, printed in
/// order of their keys; a missing key is the empty text, as Prometheus sets <c>missingkey=zero</c>). Bounded in output, in steps, in depth,
/// and in what it reads and makes on its way: templates come from people of one realm and run in the process that alerts all of them.
/// </summary>
public sealed class TemplateRun
{
    private const int MaxCalls = 100;

    // Of the walk itself: calls times what is nested in each. A stack that overflows ends the process, and nothing can catch it.
    private const int MaxLevels = 1_000;

    private readonly Template _template;
    private readonly TemplateFunctions _functions;
    private readonly StringBuilder _output = new();
    private readonly int _maxLength;
    private readonly TemplateBudget _budget;
    private int _steps;
    private int _calls;
    private int _levels;

    private TemplateRun(Template template, TemplateFunctions functions, int maxLength, int maxSteps, int maxWork)
    {
        _budget = new TemplateBudget(maxWork);
        _template = template;
        _functions = functions;
        _maxLength = maxLength;
        _steps = maxSteps;
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    /// <param name="maxLength">Characters of output at most.</param>
    /// <param name="maxWork">Characters that all its functions may read and make, at most.</param>
    /// <exception cref="TemplateException">A function failed, a type does not fit, or a bound was passed.</exception>
    public static string Expand(Template template, AlertValues values, TemplateFunctions functions, int maxLength = 65_536, int maxSteps = 100_000, int maxWork = 1_000_000)
    {
        var run = new TemplateRun(template, functions, maxLength, maxSteps, maxWork);
        var dot = values.ToMap();
        var scope = new Scope(null);
        scope.Declare("$", dot);
        scope.Declare("$labels", dot["Labels"]);
        scope.Declare("$externalLabels", dot["ExternalLabels"]);
        scope.Declare("$externalURL", dot["ExternalURL"]);
        scope.Declare("$value", dot["Value"]);
        run.Walk(template.Body, dot, scope);
        // A function may have cut a pair of surrogates in two.
        return StorableText.Clean(run._output.ToString());
    }

    private Flow Walk(List<Node> nodes, object? dot, Scope scope)
    {
        Enter(nodes is [var first, ..] ? first.At : 0);
        var flow = WalkNodes(nodes, dot, scope);
        _levels--;
        return flow;
    }

    private Flow WalkNodes(List<Node> nodes, object? dot, Scope scope)
    {
        foreach (var node in nodes)
        {
            Step(node.At);
            var flow = Flow.Next;
            switch (node)
            {
                case Node.Literal literal:
                    Write(literal.At, literal.Text);
                    break;
                case Node.Action action:
                    {
                        var value = Evaluate(action.Pipeline, dot, scope);
                        if (action.Pipeline.Variables.Count == 0)
                        {
                            Write(action.At, Print(action.At, value));
                        }

                        break;
                    }

                case Node.If branch:
                    {
                        var inner = new Scope(scope);
                        flow = TemplateFunctions.IsTrue(Evaluate(branch.Condition, dot, inner)) ? Walk(branch.Then, dot, inner)
                            : branch.Else is null ? Flow.Next : Walk(branch.Else, dot, inner);
                        break;
                    }

                case Node.With with:
                    {
                        var inner = new Scope(scope);
                        var value = Evaluate(with.Value, dot, inner);
                        flow = TemplateFunctions.IsTrue(value) ? Walk(with.Then, value, inner)
                            : with.Else is null ? Flow.Next : Walk(with.Else, dot, inner);
                        break;
                    }

                case Node.Range range:
                    flow = Loop(range, dot, scope);
                    break;
                case Node.Call call:
                    Call(call.At, call.Name, call.Argument is null ? null : Evaluate(call.Argument, dot, scope));
                    break;
                case Node.Break:
                    return Flow.Break;
                case Node.Continue:
                    return Flow.Continue;
            }

            if (flow != Flow.Next)
            {
                return flow;
            }
        }

        return Flow.Next;
    }

    private Flow Loop(Node.Range range, object? dot, Scope scope)
    {
        var outer = new Scope(scope);
        var over = EvaluateCommands(range.Over, dot, outer);
        var any = false;
        foreach (var (key, element) in Elements(range.At, over))
        {
            Step(range.At);
            any = true;
            var inner = new Scope(outer);
            for (var index = 0; index < range.Over.Variables.Count; index++)
            {
                // One variable is the element; two are key and element.
                var value = index == 0 && range.Over.Variables.Count == 2 ? key : element;
                inner.Set(range.Over.Variables[index], value, range.Over.Declares);
            }

            if (Walk(range.Body, element, inner) == Flow.Break)
            {
                break;
            }
        }

        return any || range.Else is null ? Flow.Next : Walk(range.Else, dot, outer);
    }

    private IEnumerable<(object? Key, object? Element)> Elements(int at, object? over) => over switch
    {
        null or "" => [],
        IReadOnlyDictionary<string, object?> map => map.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => ((object?)pair.Key, pair.Value)),
        IReadOnlyList<object?> list => list.Select((element, index) => ((object?)(long)index, element)),
        long count => Count(count),
        _ => throw Fail(at, $"range can't iterate over {TemplateFunctions.Shown(over)}"),
    };

    private static IEnumerable<(object? Key, object? Element)> Count(long count)
    {
        // Steps bound the loop.
        for (var index = 0L; index < count; index++)
        {
            yield return (index, index);
        }
    }

    private void Call(int at, string name, object? argument)
    {
        if (++_calls > MaxCalls)
        {
            throw Fail(at, $"the template \"{name}\" calls itself more than {MaxCalls} levels deep");
        }

        if (!_template.Defined.TryGetValue(name, out var body))
        {
            throw Fail(at, $"template \"{name}\" not defined");
        }

        var scope = new Scope(null);
        scope.Declare("$", argument);
        var map = argument as IReadOnlyDictionary<string, object?>;
        foreach (var (variable, field) in ((string, string)[])[("$labels", "Labels"), ("$externalLabels", "ExternalLabels"), ("$externalURL", "ExternalURL"), ("$value", "Value")])
        {
            scope.Declare(variable, map?.GetValueOrDefault(field));
        }

        Walk(body, argument, scope);
        _calls--;
    }

    private object? Evaluate(Pipeline pipeline, object? dot, Scope scope)
    {
        var value = EvaluateCommands(pipeline, dot, scope);
        foreach (var name in pipeline.Variables)
        {
            scope.Set(name, value, pipeline.Declares);
        }

        return value;
    }

    private object? EvaluateCommands(Pipeline pipeline, object? dot, Scope scope)
    {
        Enter(pipeline.At);
        object? value = null;
        for (var index = 0; index < pipeline.Commands.Count; index++)
        {
            var command = pipeline.Commands[index];
            Step(command.At);
            value = command.Terms[0] is Term.Function function
                ? CallFunction(function, command, index == 0 ? null : [value], dot, scope)
                : command.Terms.Count == 1 && index == 0
                    ? Evaluate(command.Terms[0], dot, scope)
                    : throw Fail(command.At, "can't give arguments to what is no function");
        }

        _levels--;
        return value;
    }

    private object? CallFunction(Term.Function function, Command command, object?[]? piped, object? dot, Scope scope)
    {
        // "and" and "or" stop at the first term that decides.
        if (function.Name is "and" or "or")
        {
            object? last = null;
            foreach (var argument in command.Terms.Skip(1).Select(term => new Lazy<object?>(() => Evaluate(term, dot, scope)))
                .Concat((piped ?? []).Select(value => new Lazy<object?>(() => value))))
            {
                last = argument.Value;
                if (TemplateFunctions.IsTrue(last) == (function.Name == "or"))
                {
                    return last;
                }
            }

            return last;
        }

        var arguments = new List<object?>(command.Terms.Count);
        for (var index = 1; index < command.Terms.Count; index++)
        {
            arguments.Add(Evaluate(command.Terms[index], dot, scope));
        }

        arguments.AddRange(piped ?? []);
        try
        {
            return function.Name == "tmpl" ? Nested(function.At, arguments) : _functions.Call(function.Name, arguments, _budget);
        }
        catch (Exception error) when (error is TemplateFunctionException or ArithmeticException or ArgumentException or FormatException or InvalidCastException or RegexMatchTimeoutException)
        {
            // Whatever a value does to a function: the template is at fault, and nothing else must suffer from it.
            throw Fail(function.At, $"error calling {function.Name}: {error.Message}");
        }
    }

    /// <summary><c>tmpl</c>: a template by a name that is computed; its output is a value.</summary>
    private string Nested(int at, List<object?> arguments)
    {
        if (arguments is not [string name, ..])
        {
            throw new TemplateFunctionException("wants a name and a value");
        }

        var before = _output.Length;
        Call(at, name, arguments.Count > 1 ? arguments[1] : null);
        var text = _output.ToString(before, _output.Length - before);
        _output.Length = before;
        return _budget.Take(text);
    }

    private object? Evaluate(Term term, object? dot, Scope scope) => term switch
    {
        Term.Constant constant => constant.Value,
        Term.Dot => dot,
        Term.Variable variable => scope.Get(variable.Name),
        Term.Group group => EvaluateCommands(group.Pipeline, dot, scope),
        Term.Field field => Field(field, Evaluate(field.Of, dot, scope)),
        Term.Function function => CallFunction(function, new Command(function.At, [function]), null, dot, scope),
        _ => throw Fail(term.At, "unknown term"),
    };

    private object? Field(Term.Field field, object? of) => of switch
    {
        IReadOnlyDictionary<string, object?> map => map.TryGetValue(field.Name, out var value) ? value
            : map is AlertMap ? throw Fail(field.At, $"can't evaluate field {field.Name}") : "",
        null => throw Fail(field.At, $"nil pointer evaluating .{field.Name}"),
        _ => throw Fail(field.At, $"can't evaluate field {field.Name} in {TemplateFunctions.Shown(of)}"),
    };

    private void Write(int at, string text)
    {
        if (_output.Length + text.Length > _maxLength)
        {
            throw Fail(at, $"the result is longer than {_maxLength} characters");
        }

        _output.Append(text);
    }

    private string Print(int at, object? value)
    {
        try
        {
            return TemplateFunctions.Print(value, _budget);
        }
        catch (TemplateFunctionException error)
        {
            throw Fail(at, error.Message);
        }
    }

    private void Enter(int at)
    {
        if (++_levels > MaxLevels || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw Fail(at, "the template is nested too deeply");
        }
    }

    private void Step(int at)
    {
        if (--_steps < 0)
        {
            throw Fail(at, "the template takes too many steps");
        }
    }

    private TemplateException Fail(int at, string message) => Template.Error(_template.Text, at, message);

    private sealed class Scope(Scope? outer)
    {
        private readonly Dictionary<string, object?> _values = [];

        public void Declare(string name, object? value) => _values[name] = value;

        public object? Get(string name) => _values.TryGetValue(name, out var value) ? value : outer?.Get(name);

        public void Set(string name, object? value, bool declare)
        {
            if (declare || outer is null || _values.ContainsKey(name))
            {
                _values[name] = value;
            }
            else
            {
                outer.Set(name, value, declare: false);
            }
        }
    }
}

/// <summary>What a template of an alert sees: <c>.Labels</c> or <c>$labels</c>, <c>.Value</c> or <c>$value</c>, and so on.</summary>
public sealed record AlertValues(
    IReadOnlyDictionary<string, string> Labels, double Value, IReadOnlyDictionary<string, string> ExternalLabels, string ExternalUrl)
{
    internal AlertMap ToMap() => new(new Dictionary<string, object?>
    {
        ["Labels"] = TemplateFunctions.Map(Labels),
        ["Value"] = Value,
        ["ExternalLabels"] = TemplateFunctions.Map(ExternalLabels),
        ["ExternalURL"] = ExternalUrl,
    });
}

/// <summary>The top of what a template sees: unlike in a map of labels, a name that is not there is an error.</summary>
internal sealed class AlertMap(Dictionary<string, object?> fields) : IReadOnlyDictionary<string, object?>
{
    public IEnumerable<string> Keys => fields.Keys;

    public IEnumerable<object?> Values => fields.Values;

    public int Count => fields.Count;

    public object? this[string key] => fields[key];

    public bool ContainsKey(string key) => fields.ContainsKey(key);

    public bool TryGetValue(string key, out object? value) => fields.TryGetValue(key, out value);

    public IEnumerator<KeyValuePair<string, object?>> GetEnumerator() => fields.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>What a run may still read and make, in characters.</summary>
internal sealed class TemplateBudget(int characters)
{
    public long Left { get; private set; } = characters;

    /// <exception cref="TemplateFunctionException">More than is left.</exception>
    public void Spend(long size)
    {
        Left -= size;
        if (Left < 0)
        {
            throw Spent();
        }
    }

    /// <summary>The same text, paid for.</summary>
    public string Take(string text)
    {
        Spend(text.Length);
        return text;
    }

    public TemplateFunctionException Spent() => new($"the template works on more than {characters} characters");
}

/// <summary>Text in the making: it fails where it would become longer than the budget, not after it did.</summary>
internal sealed class TemplateText(TemplateBudget budget)
{
    private readonly StringBuilder _text = new();

    public TemplateText Append(string text)
    {
        if (_text.Length + (long)text.Length > budget.Left)
        {
            throw budget.Spent();
        }

        _text.Append(text);
        return this;
    }

    /// <summary>What was made, paid for.</summary>
    public string Taken() => budget.Take(_text.ToString());
}

/// <summary>What <c>args</c> makes, the only value that can hold others without end; so it knows how deep it is, and is not made deeper than can be printed.</summary>
internal sealed class TemplateArguments : Dictionary<string, object?>
{
    private const int MaxDepth = 50;

    // Lists of samples, which hold labels.
    private const int DepthOfOthers = 3;

    private int Depth { get; init; }

    /// <exception cref="TemplateFunctionException">The values are nested too deeply.</exception>
    public static TemplateArguments Of(IReadOnlyList<object?> values, TemplateBudget budget)
    {
        var depth = 1 + values.Select(value => value is TemplateArguments inner ? inner.Depth : DepthOfOthers).DefaultIfEmpty(0).Max();
        if (depth > MaxDepth)
        {
            throw new TemplateFunctionException($"args in args more than {MaxDepth - DepthOfOthers} levels deep");
        }

        budget.Spend(16L * values.Count);
        var made = new TemplateArguments { Depth = depth };
        foreach (var (index, value) in values.Index())
        {
            made[$"arg{index}"] = value;
        }

        return made;
    }
}
