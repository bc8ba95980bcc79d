using System.Text.Json;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Incidents.Lifecycle;

/// <summary>The body of <c>POST …/incidents</c>, as documented; <see cref="IncidentInput"/> reads it.</summary>
public sealed record NewIncident(string Title, string? Description, Severity? Severity, string? AssignedTo);

/// <summary>The body of <c>PUT …/incidents/{id}</c>: absent fields stay, null clears.</summary>
public sealed record IncidentUpdate(string? Title, string? Description, Severity? Severity, IncidentStatus? Status, string? RootCause, string? AssignedTo);

/// <summary>The body of <c>POST …/incidents/{id}/assign</c>; null takes the assignment back.</summary>
public sealed record Assignment(string? AssignedTo);

/// <summary>The body of <c>POST …/incidents/{id}/notes</c>.</summary>
public sealed record NewNote(string Text);

/// <summary>
/// Reads request bodies at the rim and collects everything that is wrong with them. It works on the JSON itself, because "absent" and
/// "null" mean different things in an update, and because a field of the wrong type should not hide the next error.
/// </summary>
public sealed class IncidentInput
{
    public const int MaxTitle = 200;
    public const int MaxText = 10_000;
    public const int MaxSubject = 200;

    // What an answer holds besides the fields that can be changed: sending it back unchanged is no mistake.
    private static readonly string[] ReadOnly =
    [
        "id", "realm", "created_by", "group_key", "event_tags", "opened_at", "created_at", "acknowledged_at", "resolved_at", "closed_at", "updated_at", "version",
    ];

    private readonly JsonElement _body;
    private readonly Dictionary<string, string[]> _errors = [];

    private IncidentInput(JsonElement body, params string[] fields)
    {
        _body = body;
        if (body.ValueKind != JsonValueKind.Object)
        {
            _errors["body"] = [$"Expected a JSON object with {string.Join(", ", fields)}."];
            return;
        }

        foreach (var property in body.EnumerateObject().Where(property => !fields.Contains(property.Name) && !ReadOnly.Contains(property.Name)).Take(20))
        {
            var name = StorableText.Cut(property.Name, 50);
            _errors[name] = [$"Unknown field. Known here: {string.Join(", ", fields)}."];
        }
    }

    public static (IncidentChange Change, IDictionary<string, string[]> Errors) ReadNew(JsonElement body)
    {
        var input = new IncidentInput(body, "title", "description", "severity", "assigned_to");
        var change = new IncidentChange(
            input.Required("title", MaxTitle),
            input.Text("description", MaxText),
            input.Word<Severity>("severity"),
            null,
            null,
            input.Text("assigned_to", MaxSubject));
        return (change, input._errors);
    }

    public static (IncidentChange Change, IDictionary<string, string[]> Errors) ReadUpdate(JsonElement body)
    {
        string[] fields = ["title", "description", "severity", "status", "root_cause", "assigned_to"];
        var input = new IncidentInput(body, fields);
        var change = new IncidentChange(
            input.Has("title") ? input.Required("title", MaxTitle) : null,
            input.Text("description", MaxText),
            input.Word<Severity>("severity"),
            input.Word<IncidentStatus>("status"),
            input.Text("root_cause", MaxText),
            input.Text("assigned_to", MaxSubject));
        if (input._errors.Count == 0 && !fields.Any(input.Has))
        {
            input._errors["body"] = [$"Nothing to change. Send one or more of {string.Join(", ", fields)}."];
        }

        return (change, input._errors);
    }

    public static (IncidentChange Change, IDictionary<string, string[]> Errors) ReadAssignment(JsonElement body)
    {
        var input = new IncidentInput(body, "assigned_to");
        var assignee = input.Text("assigned_to", MaxSubject);
        if (input._errors.Count == 0 && assignee is null)
        {
            input._errors["assigned_to"] = ["Missing. Send who is to work on the incident, or null to take the assignment back."];
        }

        return (new IncidentChange(null, null, null, null, null, assignee), input._errors);
    }

    public static (string Text, IDictionary<string, string[]> Errors) ReadNote(JsonElement body)
    {
        var input = new IncidentInput(body, "text");
        return (input.Required("text", MaxText) ?? "", input._errors);
    }

    private bool Has(string field) => _body.ValueKind == JsonValueKind.Object && _body.TryGetProperty(field, out _);

    private string? Required(string field, int longest)
    {
        var text = Text(field, longest)?.Text?.Trim();
        if (string.IsNullOrEmpty(text) && _body.ValueKind is JsonValueKind.Object && !_errors.ContainsKey(field))
        {
            _errors[field] = [$"Missing. Send a text of 1 to {longest} characters."];
        }

        return text;
    }

    private NewText? Text(string field, int longest)
    {
        if (!Has(field))
        {
            return null;
        }

        var value = _body.GetProperty(field);
        if (value.ValueKind is not (JsonValueKind.String or JsonValueKind.Null))
        {
            _errors[field] = [$"Expected a text, found {value.ValueKind.ToString().ToLowerInvariant()}."];
            return null;
        }

        var text = ReadString(value);
        if (value.ValueKind is JsonValueKind.String && (text is null || text.Contains('\0', StringComparison.Ordinal)))
        {
            _errors[field] = ["Holds \\u0000 or half of a surrogate pair, which cannot be stored. Remove it."];
        }
        else if (text?.Length > longest)
        {
            _errors[field] = [$"Has {text.Length} characters; at most {longest} are kept. Shorten it."];
        }

        return new NewText(string.IsNullOrWhiteSpace(text) ? null : text);
    }

    private T? Word<T>(string field) where T : struct, Enum
    {
        if (!Has(field))
        {
            return null;
        }

        var value = _body.GetProperty(field);
        if (value.ValueKind is JsonValueKind.String && ReadString(value) is { } text && ParseWord<T>(text) is { } word)
        {
            return word;
        }

        _errors[field] = [$"Expected one of {string.Join(", ", Enum.GetNames<T>().Select(WireJson.Name))}."];
        return null;
    }

    /// <summary>The member that a word of the wire stands for; never a number, and null when there is none.</summary>
    public static T? ParseWord<T>(string text) where T : struct, Enum =>
        Enum.GetValues<T>().Cast<T?>().FirstOrDefault(value => WireJson.Name(value.ToString()!) == text);

    // JSON can escape half a surrogate pair; reading it as a string throws.
    private static string? ReadString(JsonElement value)
    {
        try
        {
            return value.GetString();
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }
}
