using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Extensions.Hosting;
using RestEase;

namespace Platform.Contracts;

/// <summary>
/// A committed batch of events, as told to whoever reacts to events. The records are views over one parsed JSON document, so that
/// a batch of hundreds costs one parse; they live as long as the message.
/// </summary>
[JsonConverter(typeof(EventsStoredConverter))]
public sealed record EventsStored(IReadOnlyList<StoredEvent> Events) : IMessage
{
    public static string Topic => "metrics.events.stored.v1";
}

/// <summary>One event inside <see cref="EventsStored"/>: <c>id, realm, event_type, source, level?, message?, timestamp, tags</c>.</summary>
public readonly struct StoredEvent(JsonElement json)
{
    public Guid Id => json.GetProperty("id"u8).GetGuid();

    public string Realm => json.GetProperty("realm"u8).GetString()!;

    public string EventType => json.GetProperty("event_type"u8).GetString()!;

    public string Source => json.GetProperty("source"u8).GetString()!;

    public string? Level => json.TryGetProperty("level"u8, out var level) ? level.GetString() : null;

    public string? Message => json.TryGetProperty("message"u8, out var message) ? message.GetString() : null;

    /// <summary>Event time, UTC.</summary>
    public DateTimeOffset Timestamp => json.GetProperty("timestamp"u8).GetDateTimeOffset();

    /// <summary>Whether a string field equals <paramref name="value"/>, without making a string of it.</summary>
    public bool FieldIs(string field, string value) => json.TryGetProperty(field, out var found) && found.ValueKind == JsonValueKind.String && found.ValueEquals(value);

    /// <summary>Whether the tag equals <paramref name="value"/>; numbers and booleans compare by their JSON text.</summary>
    public bool TagIs(string tag, string value) =>
        Find(tag) is { } found && (found.ValueKind == JsonValueKind.String ? found.ValueEquals(value) : found.GetRawText() == value);

    /// <summary>The tag's value as text, or null when the event lacks it or it is JSON null.</summary>
    public string? Tag(string tag) => Find(tag) switch
    {
        null => null,
        { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { } other => other.GetRawText(),
    };

    private JsonElement? Find(string tag) => json.TryGetProperty("tags"u8, out var tags) && tags.TryGetProperty(tag, out var found) ? found : null;

    internal JsonElement Element => json;
}

internal sealed class EventsStoredConverter : JsonConverter<EventsStored>
{
    public override EventsStored Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        var events = JsonElement.ParseValue(ref reader).GetProperty("events"u8);
        var views = new StoredEvent[events.GetArrayLength()];
        var next = 0;
        foreach (var element in events.EnumerateArray())
        {
            views[next++] = new StoredEvent(element);
        }

        return new EventsStored(views);
    }

    public override void Write(Utf8JsonWriter writer, EventsStored value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        writer.WriteStartArray("events"u8);
        foreach (var stored in value.Events)
        {
            stored.Element.WriteTo(writer);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}

/// <summary>An event as <c>GET /api/v1/monitoring/events</c> answers it.</summary>
public sealed record EventRecord(
    Guid Id,
    string Realm,
    string EventType,
    string Source,
    string? Message,
    string? Level,
    JsonElement Tags,
    JsonElement Payload,
    DateTimeOffset Timestamp,
    DateTimeOffset CreatedAt);

/// <summary>How many events of one action and outcome a realm had in a stretch of time.</summary>
public sealed record ActionCount(string Action, string Outcome, long Count);

/// <summary>An answer of the Prometheus API to a query.</summary>
/// <param name="Warnings">What makes the result doubtful; null when there is nothing.</param>
public sealed record PrometheusAnswer(string Status, PrometheusResult Data, IReadOnlyList<string>? Warnings, IReadOnlyList<string>? Infos);

/// <param name="ResultType"><c>vector</c>, <c>matrix</c>, <c>scalar</c> or <c>string</c>.</param>
/// <param name="Series">A scalar is one series without labels and with one point; a string is none.</param>
[JsonConverter(typeof(PrometheusResultConverter))]
public sealed record PrometheusResult(string ResultType, IReadOnlyList<PrometheusSeries> Series);

/// <param name="Points">In order of time; one for a vector.</param>
public sealed record PrometheusSeries(IReadOnlyDictionary<string, string> Labels, IReadOnlyList<PrometheusPoint> Points);

public readonly record struct PrometheusPoint(DateTimeOffset At, double Value);

internal sealed class PrometheusResultConverter : JsonConverter<PrometheusResult>
{
    private static readonly Dictionary<string, string> s_noLabels = [];

    public override PrometheusResult Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        var data = JsonElement.ParseValue(ref reader);
        var type = data.GetProperty("resultType"u8).GetString()!;
        var result = data.GetProperty("result"u8);
        return new PrometheusResult(type, type switch
        {
            "vector" => [.. result.EnumerateArray().Select(series => new PrometheusSeries(LabelsOf(series), [PointOf(series.GetProperty("value"u8))]))],
            "matrix" => [.. result.EnumerateArray().Select(series => new PrometheusSeries(LabelsOf(series), [.. series.GetProperty("values"u8).EnumerateArray().Select(PointOf)]))],
            "scalar" => [new PrometheusSeries(s_noLabels, [PointOf(result)])],
            _ => [],
        });
    }

    /// <summary>Answers are written where they are made, straight from columns.</summary>
    public override void Write(Utf8JsonWriter writer, PrometheusResult value, JsonSerializerOptions options) => throw new NotSupportedException("Answers of the Prometheus API are only read here.");

    private static Dictionary<string, string> LabelsOf(JsonElement series) =>
        series.GetProperty("metric"u8).EnumerateObject().ToDictionary(label => label.Name, label => label.Value.GetString()!, StringComparer.Ordinal);

    private static PrometheusPoint PointOf(JsonElement point) => new(
        DateTimeOffset.FromUnixTimeMilliseconds((long)Math.Round(point[0].GetDouble() * 1000)),
        point[1].GetString() switch
        {
            "+Inf" => double.PositiveInfinity,
            "-Inf" => double.NegativeInfinity,
            { } number => double.Parse(number, System.Globalization.CultureInfo.InvariantCulture),
            null => double.NaN,
        });
}

/// <summary>One expression of a rule, to be evaluated with others in one request.</summary>
/// <param name="Realm">Over the series of that realm and no others; <c>*</c>: of all realms.</param>
/// <param name="At">Time of evaluation, in milliseconds since 1970-01-01 UTC.</param>
public sealed record RuleQuery(string Realm, string Query, long At);

/// <summary>The expressions of many rules.</summary>
public sealed record RuleQueries(IReadOnlyList<RuleQuery> Queries);

/// <summary>The answers to <see cref="RuleQueries"/>, in its order.</summary>
public sealed record RuleAnswers(IReadOnlyList<RuleAnswer> Answers);

/// <summary>What one expression evaluated to, or why it did not.</summary>
/// <param name="Series">A scalar is one without labels. Null with an error.</param>
/// <param name="SamplesRead">0: none of the selectors found a sample, so that nothing is known.</param>
/// <param name="Fault"><c>bad_data</c>, <c>execution</c> or <c>timeout</c>; null without an error.</param>
/// <param name="Seconds">Time the evaluation took.</param>
public sealed record RuleAnswer(IReadOnlyList<RuleSeries>? Series, long SamplesRead, string? Fault = null, string? Error = null, double Seconds = 0);

/// <param name="Labels">Names and values in turn, sorted by name.</param>
public sealed record RuleSeries(string[] Labels, [property: JsonNumberHandling(JsonNumberHandling.AllowNamedFloatingPointLiterals)] double Value);

/// <summary>A sample that a rule makes.</summary>
/// <param name="Labels">Names and values in turn, sorted by name; one of them is <c>realm</c>, which says whose it is.</param>
/// <param name="At">Milliseconds since 1970-01-01 UTC.</param>
/// <param name="Value">Null: the series ends here (a stale marker).</param>
public sealed record RuleSample(string[] Labels, long At, [property: JsonNumberHandling(JsonNumberHandling.AllowNamedFloatingPointLiterals)] double? Value);

public sealed record RuleSamples(IReadOnlyList<RuleSample> Samples);

/// <param name="Refusals">Why samples were not stored, each reason once.</param>
public sealed record RuleSamplesWritten(int Written, IReadOnlyList<string> Refusals);

/// <summary>Whom to tell when series get samples: the body of <c>POST /internal/rules/watch</c>, whose answer is a stream of events.</summary>
/// <param name="Watches">Told apart by their place in this list; an event is the places that were touched, separated by commas.</param>
/// <param name="GapMilliseconds">Between two events about the same watch.</param>
public sealed record RuleWatches(IReadOnlyList<RuleWatch> Watches, int GapMilliseconds);

/// <param name="Selectors">As PromQL: <c>up{job="api"}</c>. A sample of any of them counts.</param>
public sealed record RuleWatch(string Realm, IReadOnlyList<string> Selectors);

public interface IMetricsClient
{
    /// <summary>Evaluates the expressions of many rules, each over the series of its realm. What fails is said beside the others' answers.</summary>
    /// <exception cref="ApiException">More expressions than a request may have (400), or no room just now (503).</exception>
    [Post("internal/rules/evaluate")]
    Task<RuleAnswers> EvaluateRulesAsync([Body] RuleQueries queries, CancellationToken ct);

    /// <summary>Stores what rules make. When it returns, the samples are durable; sending them again is harmless.</summary>
    /// <exception cref="ApiException">Too many at once (400), or the store is full (429).</exception>
    [Post("internal/rules/samples")]
    Task<RuleSamplesWritten> WriteRuleSamplesAsync([Body] RuleSamples samples, CancellationToken ct);

    /// <summary>The value of every series that the PromQL expression selects at <paramref name="time"/>, over the series of the realm (<c>*</c>: of all).</summary>
    /// <exception cref="ApiException">The expression is wrong (400), cannot be evaluated or is too large (422), or took too long (503); the body says which.</exception>
    [Get("prometheus/api/v1/query")]
    Task<PrometheusAnswer> QueryAsync([Query] string realm, [Query] string query, [Query(Format = "O")] DateTimeOffset time, CancellationToken ct);

    /// <summary>As <see cref="QueryAsync"/>, at <paramref name="start"/> and every <paramref name="step"/> seconds until <paramref name="end"/>.</summary>
    /// <exception cref="ApiException">As for <see cref="QueryAsync"/>.</exception>
    [Get("prometheus/api/v1/query_range")]
    Task<PrometheusAnswer> QueryRangeAsync(
        [Query] string realm, [Query] string query, [Query(Format = "O")] DateTimeOffset start, [Query(Format = "O")] DateTimeOffset end, [Query] double step, CancellationToken ct);

    /// <summary>A page of events in order of time. <paramref name="tags"/> are name and value pairs that an event must carry.</summary>
    /// <param name="order"><c>asc</c> or <c>desc</c>.</param>
    [Get("api/v1/monitoring/events")]
    Task<Envelope<Page<EventRecord>>> GetEventsAsync(
        [Query] string realm,
        [Query("start_time", Format = "O")] DateTimeOffset startTime,
        [Query("end_time", Format = "O")] DateTimeOffset endTime,
        [Query] string order,
        [Query] int limit,
        [Query] string? cursor,
        [QueryMap] IDictionary<string, string> tags,
        CancellationToken ct);

    /// <summary>Counts by action and outcome in [from, to), for reports.</summary>
    [Get("internal/events/actions")]
    Task<Envelope<List<ActionCount>>> CountActionsAsync(
        [Query] string realm, [Query(Format = "O")] DateTimeOffset from, [Query(Format = "O")] DateTimeOffset to, CancellationToken ct);
}

public static class MetricsClient
{
    public static IHostApplicationBuilder AddMetricsClient(this IHostApplicationBuilder builder) => builder.AddServiceClient<IMetricsClient>("metrics");
}
