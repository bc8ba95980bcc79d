using System.Text.Json;
using Platform.Contracts;
using Platform.Health.Checks;

namespace Platform.Health.Probes;

/// <summary>
/// What an endpoint says about itself, where it says it in a known way: ASP.NET Core (the bare word, or <c>status</c> and <c>entries</c>),
/// health+json (<c>pass</c>, <c>warn</c>, <c>fail</c> and <c>checks</c>), Spring (<c>UP</c>, <c>DOWN</c> and <c>components</c>).
/// </summary>
public static class HealthDocument
{
    private const int MostParts = 5;

    /// <summary>Null when the body is something else: then only the status code speaks.</summary>
    /// <param name="ignored">Parts whose being degraded is not held against the whole, because they have checks of their own.</param>
    public static ProbeAnswer? Read(string body, params ReadOnlySpan<string> ignored)
    {
        var text = body.AsSpan().Trim();
        if (text.IsEmpty || text[0] != '{')
        {
            return text.Length <= 20 && StateOf(text) is { } bare ? new ProbeAnswer(bare, bare == HealthState.Healthy ? "" : $"It says {text}.", ProbeAnswer.NoDetails) : null;
        }

        try
        {
            using var document = JsonDocument.Parse(body, new JsonDocumentOptions { MaxDepth = 32 });
            return Read(document.RootElement, ignored);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static ProbeAnswer? Read(JsonElement root, ReadOnlySpan<string> ignored)
    {
        if (Status(root) is not { } state)
        {
            return null;
        }

        var parts = Parts(root);
        var named = new List<string>();
        var counted = HealthState.Healthy;
        foreach (var part in parts.Where(part => part.State != HealthState.Healthy))
        {
            if (part.State == HealthState.Degraded && ignored.Contains(part.Name))
            {
                continue;
            }

            counted = part.State == HealthState.Unhealthy ? part.State : counted == HealthState.Unhealthy ? counted : part.State;
            named.Add(part.Why.Length == 0 ? part.Name : $"{part.Name} ({part.Why})");
        }

        // Degraded only for parts that are left out of account is well.
        if (state == HealthState.Degraded && counted == HealthState.Healthy && parts.Exists(part => part.State == HealthState.Degraded))
        {
            return ProbeAnswer.Healthy;
        }

        if (state == HealthState.Healthy)
        {
            return ProbeAnswer.Healthy;
        }

        var output = root.TryGetProperty("output", out var said) && said.ValueKind == JsonValueKind.String ? said.GetString()! : "";
        var reason = named.Count > 0 ? string.Join(", ", named.Take(MostParts)) : output;
        return new ProbeAnswer(state, $"It says {WireWord(state)}{(reason.Length == 0 ? "." : $": {reason}")}", ProbeAnswer.NoDetails);
    }

    private static List<(string Name, HealthState State, string Why)> Parts(JsonElement root)
    {
        var parts = new List<(string, HealthState, string)>();
        foreach (var list in (ReadOnlySpan<string>)["entries", "checks", "components"])
        {
            if (!root.TryGetProperty(list, out var found) || found.ValueKind != JsonValueKind.Object)
            {
                continue;
            }

            foreach (var part in found.EnumerateObject())
            {
                // health+json has an array of observations under each name.
                var observations = part.Value.ValueKind == JsonValueKind.Array ? part.Value.EnumerateArray().ToArray() : [part.Value];
                foreach (var observation in observations)
                {
                    if (Status(observation) is { } state)
                    {
                        parts.Add((part.Name, state, Text(observation, "description") ?? Text(observation, "output") ?? ""));
                    }
                }
            }
        }

        return parts;
    }

    private static HealthState? Status(JsonElement element) => Text(element, "status") is { } word ? StateOf(word) : null;

    private static string? Text(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static HealthState? StateOf(ReadOnlySpan<char> word)
    {
        Span<char> lower = stackalloc char[20];
        return word.Length > lower.Length ? null : lower[..word.ToLowerInvariant(lower)] switch
        {
            "healthy" or "pass" or "ok" or "up" => HealthState.Healthy,
            "degraded" or "warn" or "warning" => HealthState.Degraded,
            "unhealthy" or "fail" or "error" or "down" or "out_of_service" => HealthState.Unhealthy,
            _ => null,
        };
    }

    private static string WireWord(HealthState state) => state.ToString().ToLowerInvariant();
}
