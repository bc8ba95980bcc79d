using System.Globalization;
using System.Text;

namespace Platform.Alerting.Templates;

/// <summary>What is wrong with a template, and where (1-based line and column).</summary>
public sealed class TemplateException(string message, int line, int column) : Exception($"{line}:{column}: {message}")
{
    public int Line { get; } = line;

    public int Column { get; } = column;
}

/// <summary>Where a node begins in the text, as an offset; turned into line and column only when an error needs it.</summary>
internal abstract record Node(int At)
{
    internal sealed record Literal(int At, string Text) : Node(At);

    internal sealed record Action(int At, Pipeline Pipeline) : Node(At);

    internal sealed record If(int At, Pipeline Condition, List<Node> Then, List<Node>? Else) : Node(At);

    internal sealed record With(int At, Pipeline Value, List<Node> Then, List<Node>? Else) : Node(At);

    internal sealed record Range(int At, Pipeline Over, List<Node> Body, List<Node>? Else) : Node(At);

    internal sealed record Call(int At, string Name, Pipeline? Argument) : Node(At);

    internal sealed record Break(int At) : Node(At);

    internal sealed record Continue(int At) : Node(At);
}

/// <param name="Variables">Declared or assigned with the pipeline's value: one, or key and element of a range.</param>
internal sealed record Pipeline(int At, List<string> Variables, bool Declares, List<Command> Commands);

/// <summary>The first term is called with the others, and with the value of the command before as the last.</summary>
internal sealed record Command(int At, List<Term> Terms);

internal abstract record Term(int At)
{
    internal sealed record Constant(int At, object? Value) : Term(At);

    internal sealed record Dot(int At) : Term(At);

    internal sealed record Variable(int At, string Name) : Term(At);

    internal sealed record Function(int At, string Name) : Term(At);

    internal sealed record Group(int At, Pipeline Pipeline) : Term(At);

    /// <summary><c>.Labels.instance</c> on a term.</summary>
    internal sealed record Field(int At, Term Of, string Name) : Term(At);
}

/// <summary>
/// A parsed template in the language of Go's text/template (https://pkg.go.dev/text/template), which the annotations and labels of
/// Prometheus' rules are written in. Immutable: parsed when a rule is stored, run when its alert changes.
/// </summary>
public sealed class Template
{
    // Prometheus puts the same definitions before every template of a rule.
    private static readonly string[] Predefined = ["$", "$labels", "$externalLabels", "$externalURL", "$value"];

    private Template(string text, List<Node> body, Dictionary<string, List<Node>> defined)
    {
        Text = text;
        Body = body;
        Defined = defined;
    }

    /// <summary>As it was written.</summary>
    public string Text { get; }

    internal List<Node> Body { get; }

    internal Dictionary<string, List<Node>> Defined { get; }

    /// <exception cref="TemplateException">It is no template: a function or variable is not known, or the syntax is wrong.</exception>
    public static Template Parse(string text)
    {
        var parser = new Parser(text, new HashSet<string>(Predefined));
        var body = parser.ParseAll();
        return new Template(text, body, parser.Defined);
    }

    internal static TemplateException Error(string text, int at, string message)
    {
        var before = text.AsSpan(0, Math.Min(at, text.Length));
        return new TemplateException(message, before.Count('\n') + 1, before.Length - before.LastIndexOf('\n'));
    }

    private enum TokenKind
    {
        Text,
        Open,
        Close,
        Word,
        Field,
        Variable,
        Dot,
        Constant,
        Declare,
        Assign,
        Comma,
        Pipe,
        LeftParenthesis,
        RightParenthesis,
        End,
    }

    /// <param name="Spaced">White space stands before it, so that <c>.A .B</c> are two terms and <c>.A.B</c> is one.</param>
    private readonly record struct Token(TokenKind Kind, int At, string Text, object? Value = null, bool Spaced = false);

    private sealed class Parser(string text, HashSet<string> variables)
    {
        private const int MaxDepth = 100;

        private readonly List<Token> _tokens = new Lexer(text).Read();
        private int _next;
        private int _depth;
        private int _loops;

        public Dictionary<string, List<Node>> Defined { get; } = [];

        private Token Peek => _tokens[_next];

        public List<Node> ParseAll()
        {
            var body = ParseList(out var end);
            return end.Text.Length == 0 ? body : throw Fail(end.At, $"unexpected {{{{{end.Text}}}}}");
        }

        /// <summary>Nodes up to the end of the text or to an <c>end</c> or <c>else</c>, which is consumed up to and including its word.</summary>
        private List<Node> ParseList(out Token end)
        {
            if (++_depth > MaxDepth)
            {
                throw Fail(Peek.At, $"more than {MaxDepth} levels of nesting");
            }

            var nodes = new List<Node>();
            while (true)
            {
                var token = Take();
                if (token.Kind == TokenKind.End)
                {
                    end = token;
                    break;
                }

                if (token.Kind == TokenKind.Text)
                {
                    nodes.Add(new Node.Literal(token.At, token.Text));
                    continue;
                }

                // Only {{ is left at this level.
                if (Peek is { Kind: TokenKind.Word, Text: "end" or "else" } word)
                {
                    Take();
                    end = word;
                    break;
                }

                if (ParseAction() is { } node)
                {
                    nodes.Add(node);
                }
            }

            _depth--;
            return nodes;
        }

        private Node? ParseAction()
        {
            var token = Peek;
            if (token.Kind == TokenKind.Close)
            {
                throw Fail(token.At, "missing value for command");
            }

            switch (token is { Kind: TokenKind.Word } ? token.Text : "")
            {
                case "if":
                    Take();
                    return Scoped(() => ParseBranch(token.At, (condition, then, otherwise) => new Node.If(token.At, condition, then, otherwise), "if"));
                case "with":
                    Take();
                    return Scoped(() => ParseBranch(token.At, (value, then, otherwise) => new Node.With(token.At, value, then, otherwise), "with"));
                case "range":
                    Take();
                    return Scoped(() => ParseBranch(token.At, (over, body, otherwise) => new Node.Range(token.At, over, body, otherwise), "range"));
                case "define":
                    Take();
                    Define(TakeName("define"));
                    return null;
                case "block":
                    {
                        Take();
                        var name = TakeName("block");
                        var argument = ParsePipeline(isRange: false);
                        Expect(TokenKind.Close, "block");
                        DefineBody(name);
                        return new Node.Call(token.At, name, argument);
                    }

                case "template":
                    {
                        Take();
                        var name = TakeName("template");
                        var argument = Peek.Kind == TokenKind.Close ? null : ParsePipeline(isRange: false);
                        Expect(TokenKind.Close, "template");
                        return new Node.Call(token.At, name, argument);
                    }

                case "break" or "continue":
                    Take();
                    Expect(TokenKind.Close, token.Text);
                    return _loops == 0 ? throw Fail(token.At, $"{{{{{token.Text}}}}} outside {{{{range}}}}")
                        : token.Text == "break" ? new Node.Break(token.At) : new Node.Continue(token.At);
                default:
                    {
                        var pipeline = ParsePipeline(isRange: false);
                        Expect(TokenKind.Close, "command");
                        return new Node.Action(token.At, pipeline);
                    }
            }
        }

        /// <summary>Variables that are declared inside are not known outside.</summary>
        private Node Scoped(Func<Node> parse)
        {
            var outside = new HashSet<string>(variables);
            var node = parse();
            variables.IntersectWith(outside);
            return node;
        }

        private Node ParseBranch(int at, Func<Pipeline, List<Node>, List<Node>?, Node> make, string word)
        {
            var pipeline = ParsePipeline(isRange: word == "range");
            Expect(TokenKind.Close, word);
            _loops += word == "range" ? 1 : 0;
            var then = ParseList(out var end);
            _loops -= word == "range" ? 1 : 0;
            List<Node>? otherwise = null;
            if (end.Text == "else")
            {
                if (Peek is { Kind: TokenKind.Word, Text: "if" or "with" } chained && chained.Text == word)
                {
                    // {{else if}} is an if of its own inside the else, closed by the same end.
                    Take();
                    if (++_depth > MaxDepth)
                    {
                        throw Fail(chained.At, $"more than {MaxDepth} levels of nesting");
                    }

                    var inner = Scoped(() => ParseBranch(chained.At, make, word));
                    _depth--;
                    return make(pipeline, then, [inner]);
                }

                Expect(TokenKind.Close, "else");
                otherwise = ParseList(out end);
            }

            if (end.Text != "end")
            {
                throw Fail(at, end.Kind == TokenKind.End ? $"{{{{{word}}}}} has no {{{{end}}}}" : $"unexpected {{{{{end.Text}}}}} in {{{{{word}}}}}");
            }

            Expect(TokenKind.Close, "end");
            return make(pipeline, then, otherwise);
        }

        private void Define(string name)
        {
            Expect(TokenKind.Close, "define");
            DefineBody(name);
        }

        private void DefineBody(string name)
        {
            var at = Peek.At;
            // A defined template sees its argument and nothing of its surroundings.
            var outside = new HashSet<string>(variables);
            variables.IntersectWith(Predefined);
            var body = ParseList(out var end);
            if (end.Text != "end")
            {
                throw Fail(at, $"the template \"{name}\" has no {{{{end}}}}");
            }

            Expect(TokenKind.Close, "end");
            variables.UnionWith(outside);
            Defined[name] = body;
        }

        private Pipeline ParsePipeline(bool isRange)
        {
            var at = Peek.At;
            var names = new List<string>();
            var declares = false;
            if (Peek.Kind == TokenKind.Variable
                && _tokens[_next + 1].Kind is TokenKind.Declare or TokenKind.Assign
                || (Peek.Kind == TokenKind.Variable && isRange && _tokens[_next + 1].Kind == TokenKind.Comma))
            {
                names.Add(Take().Text);
                if (Peek.Kind == TokenKind.Comma)
                {
                    Take();
                    names.Add(Peek.Kind == TokenKind.Variable ? Take().Text : throw Fail(Peek.At, "range can only initialize variables"));
                }

                declares = Take() switch
                {
                    { Kind: TokenKind.Declare } => true,
                    { Kind: TokenKind.Assign } => false,
                    var other => throw Fail(other.At, "expected := or ="),
                };
            }

            var commands = new List<Command> { ParseCommand() };
            while (Peek.Kind == TokenKind.Pipe)
            {
                Take();
                commands.Add(ParseCommand());
            }

            for (var index = 1; index < commands.Count; index++)
            {
                if (commands[index].Terms[0] is Term.Constant or Term.Dot)
                {
                    throw Fail(commands[index].At, $"non executable command in pipeline stage {index + 1}");
                }
            }

            foreach (var name in names)
            {
                if (declares)
                {
                    variables.Add(name);
                }
                else if (!variables.Contains(name))
                {
                    throw Fail(at, $"undefined variable \"{name}\"");
                }
            }

            return new Pipeline(at, names, declares, commands);
        }

        private Command ParseCommand()
        {
            var at = Peek.At;
            var terms = new List<Term>();
            while (Peek.Kind is not (TokenKind.Close or TokenKind.Pipe or TokenKind.RightParenthesis or TokenKind.End or TokenKind.Text))
            {
                terms.Add(ParseOperand());
            }

            return terms.Count > 0 ? new Command(at, terms) : throw Fail(at, "missing value for command");
        }

        private Term ParseOperand()
        {
            var token = Take();
            Term term = token.Kind switch
            {
                TokenKind.Constant => new Term.Constant(token.At, token.Value),
                TokenKind.Dot => new Term.Dot(token.At),
                TokenKind.Field => new Term.Field(token.At, new Term.Dot(token.At), token.Text),
                TokenKind.Variable => variables.Contains(token.Text) ? new Term.Variable(token.At, token.Text) : throw Fail(token.At, $"undefined variable \"{token.Text}\""),
                TokenKind.Word => token.Text switch
                {
                    "true" => new Term.Constant(token.At, true),
                    "false" => new Term.Constant(token.At, false),
                    "nil" => new Term.Constant(token.At, null),
                    _ => TemplateFunctions.Names.Contains(token.Text)
                        ? new Term.Function(token.At, token.Text)
                        : throw Fail(token.At, $"function \"{token.Text}\" not defined"),
                },
                TokenKind.LeftParenthesis => ParseGroup(token.At),
                _ => throw Fail(token.At, $"unexpected \"{token.Text}\" in operand"),
            };
            for (var levels = 1; Peek is { Kind: TokenKind.Field, Spaced: false } field; levels++)
            {
                if (levels > MaxDepth)
                {
                    throw Fail(field.At, $"more than {MaxDepth} fields of fields");
                }

                if (term is Term.Constant or Term.Function)
                {
                    throw Fail(field.At, $"unexpected . after term \"{token.Text}\"");
                }

                Take();
                term = new Term.Field(field.At, term, field.Text);
            }

            return term;
        }

        private Term.Group ParseGroup(int at)
        {
            if (++_depth > MaxDepth)
            {
                throw Fail(at, $"more than {MaxDepth} levels of nesting");
            }

            var pipeline = ParsePipeline(isRange: false);
            Expect(TokenKind.RightParenthesis, "parenthesized pipeline");
            _depth--;
            return new Term.Group(at, pipeline);
        }

        private string TakeName(string what) =>
            Take() is { Kind: TokenKind.Constant, Value: string name } ? name : throw Fail(_tokens[_next - 1].At, $"{{{{{what}}}}} needs a name in quotes");

        private Token Take() => Peek.Kind == TokenKind.End ? Peek : _tokens[_next++];

        private void Expect(TokenKind kind, string context)
        {
            var token = Take();
            if (token.Kind != kind)
            {
                throw Fail(token.At, token.Kind == TokenKind.End ? $"unclosed action in {context}" : $"unexpected \"{token.Text}\" in {context}");
            }
        }

        private TemplateException Fail(int at, string message) => Error(text, at, message);
    }

    private sealed class Lexer(string text)
    {
        private readonly List<Token> _tokens = [];
        private int _at;

        public List<Token> Read()
        {
            while (_at < text.Length)
            {
                var open = text.IndexOf("{{", _at, StringComparison.Ordinal);
                if (open < 0)
                {
                    AddText(text[_at..]);
                    _at = text.Length;
                    break;
                }

                var literal = text[_at..open];
                var trims = TrimsBefore(open + 2);
                AddText(trims ? literal.TrimEnd(' ', '\t', '\r', '\n') : literal);
                _at = open + (trims ? 3 : 2);
                ReadAction(open);
            }

            _tokens.Add(new Token(TokenKind.End, text.Length, ""));
            return _tokens;
        }

        // A trim marker is a minus with white space on its inner side; {{-3}} is a number.
        private bool TrimsBefore(int at) => at + 1 < text.Length && text[at] == '-' && char.IsWhiteSpace(text[at + 1]);

        private void AddText(string literal)
        {
            if (literal.Length > 0)
            {
                _tokens.Add(new Token(TokenKind.Text, _at, literal));
            }
        }

        private void ReadAction(int open)
        {
            var start = _at + (_at < text.Length && char.IsWhiteSpace(text[_at]) ? 1 : 0);
            if (string.CompareOrdinal(text, start, "/*", 0, 2) == 0 || string.CompareOrdinal(text, _at, "/*", 0, 2) == 0)
            {
                ReadComment(open);
                return;
            }

            _tokens.Add(new Token(TokenKind.Open, open, "{{"));
            var parentheses = 0;
            while (true)
            {
                var from = _at;
                while (_at < text.Length && char.IsWhiteSpace(text[_at]))
                {
                    _at++;
                }

                var spaced = _at > from;
                if (_at >= text.Length)
                {
                    throw Error(text, open, "unclosed action");
                }

                if (spaced && text[_at] == '-' && string.CompareOrdinal(text, _at + 1, "}}", 0, 2) == 0)
                {
                    Close(_at + 3, trim: true, parentheses);
                    return;
                }

                if (string.CompareOrdinal(text, _at, "}}", 0, 2) == 0)
                {
                    Close(_at + 2, trim: false, parentheses);
                    return;
                }

                var token = ReadToken(spaced);
                parentheses += token.Kind switch { TokenKind.LeftParenthesis => 1, TokenKind.RightParenthesis => -1, _ => 0 };
                if (parentheses < 0)
                {
                    throw Error(text, token.At, "unexpected right paren");
                }

                _tokens.Add(token);
            }
        }

        private void Close(int after, bool trim, int parentheses)
        {
            if (parentheses > 0)
            {
                throw Error(text, _at, "unclosed left paren");
            }

            _tokens.Add(new Token(TokenKind.Close, _at, "}}"));
            _at = after;
            SkipSpace(trim);
        }

        private void ReadComment(int open)
        {
            var end = text.IndexOf("*/", _at, StringComparison.Ordinal);
            if (end < 0)
            {
                throw Error(text, open, "unclosed comment");
            }

            end += 2;
            var trim = end + 1 < text.Length && char.IsWhiteSpace(text[end]) && text[end + 1] == '-';
            var close = end + (trim ? 2 : 0);
            if (string.CompareOrdinal(text, close, "}}", 0, 2) != 0)
            {
                throw Error(text, open, "comment ends before closing delimiter");
            }

            _at = close + 2;
            SkipSpace(trim);
        }

        private void SkipSpace(bool trim)
        {
            while (trim && _at < text.Length && text[_at] is ' ' or '\t' or '\r' or '\n')
            {
                _at++;
            }
        }

        private Token ReadToken(bool spaced)
        {
            var at = _at;
            var c = text[at];
            switch (c)
            {
                case '|':
                    return Take(TokenKind.Pipe, 1);
                case '(':
                    return Take(TokenKind.LeftParenthesis, 1);
                case ')':
                    return Take(TokenKind.RightParenthesis, 1) with { Spaced = false };
                case ',':
                    return Take(TokenKind.Comma, 1);
                case ':' when at + 1 < text.Length && text[at + 1] == '=':
                    return Take(TokenKind.Declare, 2);
                case '=':
                    return Take(TokenKind.Assign, 1);
                case '"' or '`' or '\'':
                    return ReadQuoted(c, spaced);
                case '$':
                    return TakeWhile(TokenKind.Variable, 1, spaced);
                case '.' when at + 1 >= text.Length || !(IsWord(text[at + 1]) || char.IsAsciiDigit(text[at + 1])):
                    return Take(TokenKind.Dot, 1) with { Spaced = spaced };
                case '.' when !char.IsAsciiDigit(text[at + 1]):
                    {
                        var field = TakeWhile(TokenKind.Field, 1, spaced);
                        return field with { Text = field.Text[1..] };
                    }

                default:
                    return IsWord(c) && !char.IsAsciiDigit(c) ? TakeWhile(TokenKind.Word, 0, spaced)
                        : char.IsAsciiDigit(c) || c is '+' or '-' or '.' ? ReadNumber(spaced)
                        : throw Error(text, at, $"unexpected \"{c}\" in action");
            }

            Token Take(TokenKind kind, int length)
            {
                _at += length;
                return new Token(kind, at, text.Substring(at, length), Spaced: spaced);
            }
        }

        private Token TakeWhile(TokenKind kind, int first, bool spaced)
        {
            var at = _at;
            _at += first;
            while (_at < text.Length && IsWord(text[_at]))
            {
                _at++;
            }

            return new Token(kind, at, text[at.._at], Spaced: spaced);
        }

        private Token ReadNumber(bool spaced)
        {
            var at = _at++;
            while (_at < text.Length && (IsWord(text[_at]) || text[_at] == '.' || (text[_at] is '+' or '-' && text[_at - 1] is 'e' or 'E')))
            {
                _at++;
            }

            var written = text[at.._at];
            var digits = written.Replace("_", "", StringComparison.Ordinal);
            object? value = digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase) && long.TryParse(digits.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var hex) ? hex
                : long.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole) ? whole
                : double.TryParse(digits, NumberStyles.Float, CultureInfo.InvariantCulture, out var real) ? real
                : null;
            return new Token(TokenKind.Constant, at, written, value ?? throw Error(text, at, $"bad number syntax: \"{written}\""), spaced);
        }

        private Token ReadQuoted(char quote, bool spaced)
        {
            var at = _at++;
            var value = new StringBuilder();
            while (true)
            {
                if (_at >= text.Length || (text[_at] == '\n' && quote != '`'))
                {
                    throw Error(text, at, quote == '`' ? "unterminated raw quoted string" : quote == '"' ? "unterminated quoted string" : "unterminated character constant");
                }

                var c = text[_at++];
                if (c == quote)
                {
                    break;
                }

                if (c == '\\' && quote != '`')
                {
                    ReadEscape(value, at);
                }
                else
                {
                    value.Append(c);
                }
            }

            var read = value.ToString();
            if (quote != '\'')
            {
                return new Token(TokenKind.Constant, at, text[at.._at], read, spaced);
            }

            var runes = read.EnumerateRunes().ToArray();
            return runes.Length == 1
                ? new Token(TokenKind.Constant, at, text[at.._at], (long)runes[0].Value, spaced)
                : throw Error(text, at, $"malformed character constant: {text[at.._at]}");
        }

        private void ReadEscape(StringBuilder value, int at)
        {
            var c = _at < text.Length ? text[_at++] : throw Error(text, at, "unterminated quoted string");
            var simple = "abfnrtv\\\"'".IndexOf(c);
            if (simple >= 0)
            {
                value.Append("\a\b\f\n\r\t\v\\\"'"[simple]);
                return;
            }

            var (length, radix) = c switch { 'x' => (2, 16), 'u' => (4, 16), 'U' => (8, 16), >= '0' and <= '7' => (3, 8), _ => (0, 0) };
            var start = radix == 8 ? _at - 1 : _at;
            try
            {
                var code = length > 0 && start + length <= text.Length ? Convert.ToInt32(text.Substring(start, length), radix) : -1;
                value.Append(new Rune(code).ToString());
                _at = start + length;
            }
            catch (Exception error) when (error is FormatException or ArgumentException or OverflowException)
            {
                throw Error(text, start, "invalid syntax in a quoted string");
            }
        }

        private static bool IsWord(char c) => c == '_' || char.IsLetterOrDigit(c);
    }
}
