using System.Buffers;
using System.Collections;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace Platform.ServiceDefaults;

/// <summary>Who the request is from and where it goes, read when a line is written: the user is known only after authentication.</summary>
internal sealed class RequestScope(HttpContext context)
{
    // Work that outlives its request keeps the scope; by then the context serves somebody else.
    private volatile HttpContext? _context = context;

    public string? User => Claim("sub");

    public string? Realm => Claim("realm");

    public string? Endpoint => _context is { } request ? RequestMiddleware.Route(request) : null;

    public void End() => _context = null;

    private string? Claim(string type) => _context?.User.FindFirst(type)?.Value;
}

/// <summary>One line of JSON for each event, redacted, at most <see cref="MaxLine"/> bytes.</summary>
internal sealed class JsonLogFormatter(string service, TimeProvider clock) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "platform";

    /// <summary>Bytes of a line at most; longer texts are cut, and say so.</summary>
    public const int MaxLine = 32 * 1024;

    // In characters, each of which may be six bytes of a line. A line that grows too long all the same is written again with short texts and without fields.
    private const int MaxText = 8 * 1024;
    private const int MaxField = 1024;
    private const int MaxWho = 256;
    private const int MaxFields = 32;

    // Relaxed only means that quotes and letters stay readable; the result is valid JSON all the same.
    private static readonly JsonWriterOptions Compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    // Made by the host for its own lines; the same facts are already first-class here.
    private static readonly HashSet<string> KnownScopes = ["RequestId", "RequestPath", "ConnectionId", "TransportConnectionId", "SpanId", "TraceId", "ParentId"];

    [ThreadStatic]
    private static ArrayBufferWriter<byte>? _buffer;

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var message = LogMessage.WithoutSecrets(logEntry.Formatter(logEntry.State, logEntry.Exception), logEntry.State as IReadOnlyList<KeyValuePair<string, object?>>);
        var buffer = _buffer ??= new ArrayBufferWriter<byte>(1024);
        buffer.ResetWrittenCount();
        WriteEvent(buffer, logEntry.LogLevel, logEntry.Category, message, logEntry.Exception, logEntry.State, scopeProvider, MaxFields, MaxText);
        if (buffer.WrittenCount >= MaxLine)
        {
            buffer.ResetWrittenCount();
            WriteEvent(buffer, logEntry.LogLevel, logEntry.Category, message, logEntry.Exception, null, scopeProvider, 0, MaxField);
        }

        textWriter.Write(Encoding.UTF8.GetString(buffer.WrittenSpan));
        textWriter.Write('\n');
        if (buffer.Capacity > 4 * MaxLine)
        {
            _buffer = null;
        }
    }

    private void WriteEvent(ArrayBufferWriter<byte> buffer, LogLevel level, string category, string message, Exception? exception, object? state, IExternalScopeProvider? scopes, int maxFields, int maxText)
    {
        using var json = new Utf8JsonWriter(buffer, Compact);
        json.WriteStartObject();
        json.WriteString("time", clock.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
        json.WriteString("level", Level(level));
        json.WriteString("message", Redaction.Text(Cut(message, maxText)));
        json.WriteString("service", service);
        if (Activity.Current is { IdFormat: ActivityIdFormat.W3C } activity)
        {
            json.WriteString("trace_id", activity.TraceId.ToHexString());
            json.WriteString("span_id", activity.SpanId.ToHexString());
        }

        if (Correlation.Current is { } correlation)
        {
            json.WriteString("correlation_id", correlation);
        }

        var fields = new Fields(json, maxFields);
        scopes?.ForEachScope(static (scope, fields) => fields.Scope(scope), fields);
        json.WriteString("category", category);
        if (exception is not null)
        {
            json.WriteStartObject("exception");
            json.WriteString("type", exception.GetType().FullName);
            json.WriteString("message", Redaction.Text(Cut(exception.Message, maxText)));
            json.WriteString("stack", Redaction.Text(Cut(exception.ToString(), maxText)));
            json.WriteEndObject();
        }

        fields.Write(state);
        json.WriteEndObject();
    }

    internal static string Cut(string text, int max) =>
        text.Length <= max ? text : string.Concat(text.AsSpan(0, char.IsHighSurrogate(text[max - 1]) ? max - 1 : max), "… (cut)");

    private static string Level(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace",
        LogLevel.Debug => "debug",
        LogLevel.Information => "info",
        LogLevel.Warning => "warning",
        LogLevel.Error => "error",
        LogLevel.Critical => "critical",
        LogLevel.None => "none",
    };

    /// <summary>The structured part: the scopes' fields, then the message's own.</summary>
    private sealed class Fields(Utf8JsonWriter json, int max)
    {
        private List<KeyValuePair<string, object?>>? _scoped;

        public void Scope(object? scope)
        {
            if (scope is RequestScope request)
            {
                Optional("user", request.User);
                Optional("realm", request.Realm);
                Optional("endpoint", request.Endpoint);
            }
            else if (scope is IEnumerable<KeyValuePair<string, object?>> pairs)
            {
                foreach (var pair in pairs)
                {
                    if (!KnownScopes.Contains(pair.Key))
                    {
                        (_scoped ??= []).Add(pair);
                    }
                }
            }
        }

        public void Write(object? state)
        {
            var open = false;
            var written = 0;
            var own = state as IEnumerable<KeyValuePair<string, object?>> ?? [];
            foreach (var (name, value) in _scoped is null ? own : _scoped.Concat(own))
            {
                if (name == "{OriginalFormat}" || written++ >= max)
                {
                    continue;
                }

                if (!open)
                {
                    json.WriteStartObject("fields");
                    open = true;
                }

                json.WritePropertyName(Cut(name, 64));
                Value(name, value);
            }

            if (open)
            {
                json.WriteEndObject();
            }
        }

        private void Optional(string name, string? value)
        {
            if (value is not null)
            {
                json.WriteString(name, Redaction.Text(Cut(value, MaxWho)));
            }
        }

        private void Value(string name, object? value)
        {
            if (value is not null && Redaction.IsSensitive(name))
            {
                json.WriteStringValue(Redaction.Mark);
                return;
            }

            switch (value)
            {
                case null: json.WriteNullValue(); break;
                case bool flag: json.WriteBooleanValue(flag); break;
                case int number: json.WriteNumberValue(number); break;
                case double number when double.IsFinite(number): json.WriteNumberValue(number); break;
                case decimal number: json.WriteNumberValue(number); break;

                // A card number may be a long: digits are looked at as text first.
                case long or ulong or uint or short or ushort or byte: json.WriteRawValue(Whole((IFormattable)value)); break;
                case string text: Text(text); break;
                case DateTimeOffset time: json.WriteStringValue(time.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)); break;
                case IFormattable formattable: Text(formattable.ToString(null, CultureInfo.InvariantCulture)); break;
                case IEnumerable list: Text(string.Join(", ", list.Cast<object?>().Take(MaxFields))); break;
                default: Text(value.ToString() ?? ""); break;
            }
        }

        private void Text(string text) => json.WriteStringValue(Redaction.Text(Cut(text, MaxField)));

        private static string Whole(IFormattable number)
        {
            var text = number.ToString(null, CultureInfo.InvariantCulture);
            return ReferenceEquals(Redaction.Text(text), text) ? text : $"\"{Redaction.CardMark}\"";
        }
    }
}
