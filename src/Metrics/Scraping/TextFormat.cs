using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Unicode;

namespace Platform.Metrics.Scraping;

public enum TextFormat
{
    /// <summary><c>text/plain; version=0.0.4</c>: timestamps in milliseconds, comments and blank lines anywhere.</summary>
    Prometheus,

    /// <summary><c>application/openmetrics-text</c>: timestamps in seconds, units, exemplars, and <c># EOF</c> as the last line.</summary>
    OpenMetrics,
}

public enum TextEntry
{
    End,
    Sample,
    Help,
    Type,
    Unit,
}

/// <summary>The text is not what its format says. Nothing of a scrape that holds such a line is kept.</summary>
/// <param name="line">Counted from 1.</param>
public sealed class TextFormatException(int line, string message) : FormatException($"Line {line}: {message}")
{
    public int Line => line;
}

/// <summary>
/// Reads both text formats, entry by entry, without making strings: a sample is known by the bytes of its series
/// (<see cref="SeriesText"/>), and only a series that nobody has seen before is taken apart (<see cref="ReadLabels"/>). Names may be
/// quoted UTF-8 (<c>{"my.metric","label x"="v"}</c>). Spans are places in the body and live as long as it does.
/// </summary>
public ref struct TextFormatReader(ReadOnlySpan<byte> body, TextFormat format)
{
    private static readonly SearchValues<byte> NameBytes = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:"u8);

    private readonly ReadOnlySpan<byte> _body = body;
    private readonly bool _openMetrics = format == TextFormat.OpenMetrics;
    private int _at;
    private bool _ended;

    /// <summary>The line of the last entry, from 1.</summary>
    public int Line { get; private set; }

    /// <summary>Of a sample: name and labels exactly as they stand in the text.</summary>
    public ReadOnlySpan<byte> SeriesText { get; private set; }

    public double Value { get; private set; }

    /// <summary>Milliseconds since 1970-01-01 UTC; null when the line has none.</summary>
    public long? Timestamp { get; private set; }

    /// <summary>Of HELP, TYPE and UNIT: the metric family, without quotes, escapes as they stand.</summary>
    public ReadOnlySpan<byte> Family { get; private set; }

    /// <summary>Of HELP, TYPE and UNIT: the rest of the line, escapes as they stand.</summary>
    public ReadOnlySpan<byte> Text { get; private set; }

    /// <exception cref="TextFormatException">With the line and what was expected there.</exception>
    public TextEntry Read()
    {
        while (_at < _body.Length)
        {
            // A last line without its line feed is taken, as Prometheus takes it; a body that was cut off ends with an error of HTTP.
            var end = _body[_at..].IndexOf((byte)'\n') is >= 0 and var feed ? feed : _body.Length - _at;
            var line = _body.Slice(_at, end);
            _at += end + 1;
            Line++;
            if (_ended)
            {
                throw Fault("there is text after \"# EOF\".");
            }

            if (ReadLine(line) is { } entry)
            {
                return entry;
            }
        }

        if (_openMetrics && !_ended)
        {
            throw Fault("the text ends without \"# EOF\"; it was cut off.");
        }

        return TextEntry.End;
    }

    private TextEntry? ReadLine(ReadOnlySpan<byte> line)
    {
        if (line.Length > 0 && line[^1] == '\r')
        {
            throw Fault("a carriage return ends the line; lines end in a line feed alone.");
        }

        line = TrimStart(line);
        if (line.IsEmpty)
        {
            return null;
        }

        if (line[0] != '#')
        {
            ReadSample(line);
            return TextEntry.Sample;
        }

        return ReadComment(line[1..]);
    }

    private TextEntry? ReadComment(ReadOnlySpan<byte> comment)
    {
        comment = TrimStart(comment);
        if (_openMetrics && TrimEnd(comment).SequenceEqual("EOF"u8))
        {
            _ended = true;
            return null;
        }

        var word = Word(ref comment);
        var entry = word.SequenceEqual("HELP"u8) ? TextEntry.Help
            : word.SequenceEqual("TYPE"u8) ? TextEntry.Type
            : _openMetrics && word.SequenceEqual("UNIT"u8) ? TextEntry.Unit
            : TextEntry.End;
        if (entry == TextEntry.End)
        {
            return null; // an ordinary comment
        }

        if (!comment.IsEmpty && comment[0] == '"')
        {
            var length = QuotedLength(comment);
            Family = comment[1..(length - 1)];
            comment = TrimStart(comment[length..]);
        }
        else
        {
            Family = Word(ref comment);
        }

        if (Family.IsEmpty)
        {
            throw Fault("the name of a metric is missing after HELP, TYPE or UNIT.");
        }

        Text = entry == TextEntry.Help ? comment : TrimEnd(comment);
        if (entry == TextEntry.Type && !IsType(Text))
        {
            throw Fault($"\"{Show(Text)}\" is no type of a metric.");
        }

        return entry;
    }

    private void ReadSample(ReadOnlySpan<byte> line)
    {
        var length = SeriesLength(line);
        SeriesText = line[..length];
        var rest = TrimStart(line[length..]);
        if (_openMetrics)
        {
            // What follows a "#" is an exemplar. Nothing before it may hold one: the labels have been passed.
            var exemplar = rest.IndexOf((byte)'#');
            if (exemplar >= 0)
            {
                rest = rest[..exemplar];
            }
        }

        var value = Word(ref rest);
        if (!TryParseValue(value, out var number))
        {
            throw Fault(value.IsEmpty ? "the value is missing." : $"\"{Show(value)}\" is no number.");
        }

        Value = number;
        var timestamp = Word(ref rest);
        Timestamp = timestamp.IsEmpty ? null : ParseTimestamp(timestamp);
        if (!TrimEnd(rest).IsEmpty)
        {
            throw Fault($"\"{Show(rest)}\" follows the sample.");
        }
    }

    // How many bytes the name and the labels take: to the closing brace, or to the first blank.
    private readonly int SeriesLength(ReadOnlySpan<byte> line)
    {
        var at = line.IndexOfAnyExcept(NameBytes);
        if (at < 0)
        {
            throw Fault("the value is missing.");
        }

        var name = at;
        if (at > 0 && char.IsAsciiDigit((char)line[0]))
        {
            throw Fault($"the name \"{Show(line[..at])}\" begins with a digit.");
        }

        while (at < line.Length && line[at] is (byte)' ' or (byte)'\t')
        {
            at++;
        }

        if (at == line.Length || line[at] != '{')
        {
            return name > 0 && at > name ? name : throw Fault($"\"{Show(line)}\" does not begin with the name of a metric, a blank and a value.");
        }

        for (at++; at < line.Length; at++)
        {
            at += line[at..].IndexOfAny((byte)'}', (byte)'"') is >= 0 and var step ? step : line.Length - at;
            if (at == line.Length)
            {
                break;
            }

            if (line[at] == '}')
            {
                return at + 1;
            }

            at += QuotedLength(line[at..]) - 1;
        }

        throw Fault("the labels have no closing brace.");
    }

    /// <summary>
    /// The labels of a series text, the metric's name as <c>__name__</c>, in the order of the text. Empty values are left in: whether
    /// they mean anything is for the reader of the labels to say.
    /// </summary>
    /// <exception cref="TextFormatException">A name is not valid, or a label comes twice.</exception>
    public readonly void ReadLabels(ReadOnlySpan<byte> series, List<KeyValuePair<string, string>> into)
    {
        into.Clear();
        if (!Utf8.IsValid(series))
        {
            throw Fault("the labels are not valid UTF-8.");
        }

        var at = series.IndexOfAnyExcept(NameBytes);
        at = at < 0 ? series.Length : at;
        if (at > 0)
        {
            into.Add(new(PromQL.Labels.MetricName, Encoding.UTF8.GetString(series[..at])));
        }

        var rest = TrimStart(series[at..]);
        if (!rest.IsEmpty)
        {
            rest = TrimStart(rest[1..]); // the brace
            while (rest[0] != '}')
            {
                ReadLabel(ref rest, into);
                rest = TrimStart(rest);
                if (rest[0] == ',')
                {
                    rest = TrimStart(rest[1..]);
                }
                else if (rest[0] != '}')
                {
                    throw Fault($"a comma or the closing brace is missing before \"{Show(rest)}\".");
                }
            }
        }

        if (!into.Exists(label => label.Key == PromQL.Labels.MetricName))
        {
            throw Fault("the series has no name.");
        }
    }

    private readonly void ReadLabel(ref ReadOnlySpan<byte> rest, List<KeyValuePair<string, string>> into)
    {
        string name;
        if (rest[0] == '"')
        {
            var quoted = QuotedLength(rest);
            name = Unescape(rest[1..(quoted - 1)]);
            rest = TrimStart(rest[quoted..]);
            if (rest[0] is (byte)',' or (byte)'}')
            {
                Add(into, PromQL.Labels.MetricName, name); // a quoted name without a value is the metric's own
                return;
            }
        }
        else
        {
            var length = rest.IndexOfAnyExcept(NameBytes);
            if (length <= 0 || char.IsAsciiDigit((char)rest[0]) || rest[..length].Contains((byte)':'))
            {
                throw Fault($"\"{Show(rest)}\" does not begin with the name of a label.");
            }

            name = Encoding.UTF8.GetString(rest[..length]);
            rest = TrimStart(rest[length..]);
        }

        if (rest[0] != '=')
        {
            throw Fault($"\"=\" is missing after the label {name}.");
        }

        rest = TrimStart(rest[1..]);
        if (rest[0] != '"')
        {
            throw Fault($"the value of the label {name} is not in double quotes.");
        }

        var end = QuotedLength(rest);
        Add(into, name, Unescape(rest[1..(end - 1)]));
        rest = rest[end..];
    }

    private readonly void Add(List<KeyValuePair<string, string>> into, string name, string value)
    {
        if (name.Length == 0 || into.Exists(label => label.Key == name))
        {
            throw Fault(name.Length == 0 ? "the name of a label is empty." : $"the label {name} comes twice.");
        }

        into.Add(new(name, value));
    }

    /// <summary>Undoes the escapes of a help text or a family's name.</summary>
    public static string Unescape(ReadOnlySpan<byte> text)
    {
        var plain = Encoding.UTF8.GetString(text);
        if (!plain.Contains('\\', StringComparison.Ordinal))
        {
            return plain;
        }

        var result = new StringBuilder(plain.Length);
        for (var index = 0; index < plain.Length; index++)
        {
            if (plain[index] != '\\' || index + 1 == plain.Length)
            {
                result.Append(plain[index]);
                continue;
            }

            // An escape that is none stays as it stands, as Prometheus reads it.
            _ = plain[++index] switch
            {
                '\\' => result.Append('\\'),
                '"' => result.Append('"'),
                'n' => result.Append('\n'),
                var other => result.Append('\\').Append(other),
            };
        }

        return result.ToString();
    }

    // From quote to quote, both counted.
    private readonly int QuotedLength(ReadOnlySpan<byte> text)
    {
        for (var at = 1; at < text.Length; at++)
        {
            var step = text[at..].IndexOfAny((byte)'"', (byte)'\\');
            if (step < 0)
            {
                break;
            }

            at += step;
            if (text[at] == '"')
            {
                return at + 1;
            }

            at++; // the escaped character
        }

        throw Fault("a double quote is not closed.");
    }

    private readonly long ParseTimestamp(ReadOnlySpan<byte> text)
    {
        if (!_openMetrics)
        {
            return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var milliseconds)
                ? milliseconds
                : throw Fault($"\"{Show(text)}\" is no timestamp; it is a whole number of milliseconds.");
        }

        return TryParseValue(text, out var seconds) && Math.Abs(seconds) < 1e15
            ? (long)Math.Round(seconds * 1000)
            : throw Fault($"\"{Show(text)}\" is no timestamp; it is a number of seconds.");
    }

    private static bool TryParseValue(ReadOnlySpan<byte> text, out double value)
    {
        // Most samples are counts: up to fifteen digits are exact in a double and need no parser.
        if (text.Length is > 0 and <= 15)
        {
            long whole = 0;
            var at = 0;
            while (at < text.Length && (uint)(text[at] - '0') <= 9)
            {
                whole = whole * 10 + (text[at++] - '0');
            }

            if (at == text.Length)
            {
                value = whole;
                return true;
            }
        }

        if (text.IsEmpty || text[^1] is (byte)'N' or (byte)'n' or (byte)'f' or (byte)'F' or (byte)'y' or (byte)'Y')
        {
            return TryParseWord(text, out value);
        }

        return double.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out value);
    }

    private static bool TryParseWord(ReadOnlySpan<byte> text, out double value)
    {
        var negative = !text.IsEmpty && text[0] == '-';
        var word = !text.IsEmpty && text[0] is (byte)'-' or (byte)'+' ? text[1..] : text;
        var isInfinity = Ascii.EqualsIgnoreCase(word, "Inf"u8) || Ascii.EqualsIgnoreCase(word, "Infinity"u8);
        value = isInfinity ? negative ? double.NegativeInfinity : double.PositiveInfinity : double.NaN;
        return isInfinity || Ascii.EqualsIgnoreCase(word, "NaN"u8);
    }

    private readonly bool IsType(ReadOnlySpan<byte> type) =>
        type.SequenceEqual("counter"u8) || type.SequenceEqual("gauge"u8) || type.SequenceEqual("histogram"u8) || type.SequenceEqual("summary"u8)
        || (_openMetrics
            ? type.SequenceEqual("unknown"u8) || type.SequenceEqual("info"u8) || type.SequenceEqual("stateset"u8) || type.SequenceEqual("gaugehistogram"u8)
            : type.SequenceEqual("untyped"u8));

    private static ReadOnlySpan<byte> Word(scoped ref ReadOnlySpan<byte> rest)
    {
        var end = rest.IndexOfAny((byte)' ', (byte)'\t');
        var word = end < 0 ? rest : rest[..end];
        rest = end < 0 ? [] : TrimStart(rest[end..]);
        return word;
    }

    private static ReadOnlySpan<byte> TrimStart(ReadOnlySpan<byte> text)
    {
        var at = 0;
        while (at < text.Length && text[at] is (byte)' ' or (byte)'\t')
        {
            at++;
        }

        return text[at..];
    }

    private static ReadOnlySpan<byte> TrimEnd(ReadOnlySpan<byte> text) => text.TrimEnd(" \t"u8);

    private static string Show(ReadOnlySpan<byte> text) => Encoding.UTF8.GetString(text.Length <= 80 ? text : text[..80]);

    private readonly TextFormatException Fault(string message) => new(Line, message);
}
