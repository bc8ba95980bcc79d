using System.Text.Json.Nodes;

namespace Platform.Gateway.OpenApi;

/// <summary>Makes one OpenAPI document of several. What two of them call the same and describe differently gets the owner's name in front.</summary>
public static class DocumentMerge
{
    private const string Prefix = "#/components/";

    private static readonly string[] Hidden = ["/health", "/alive", "/metrics"];
    private static readonly string[] Anonymous = ["/monitoring/health", "/monitoring/status"];

    /// <param name="documents">By owner, in the order in which their names win. They are taken apart: give copies.</param>
    /// <param name="unavailable">Owners whose part is missing; listed as <c>x-unavailable</c>.</param>
    public static JsonObject Merge(IEnumerable<(string Owner, JsonObject Document)> documents, IReadOnlyCollection<string> unavailable)
    {
        var (paths, components, tags) = (new JsonObject(), new JsonObject(), new JsonArray());
        var operationIds = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (owner, document) in documents)
        {
            Rename(document, components, owner);
            MovePaths(document, paths, operationIds, owner);
            MoveComponents(document, components);
            MoveTags(document, tags);
        }

        components["securitySchemes"] = new JsonObject
        {
            ["bearer"] = new JsonObject { ["type"] = "http", ["scheme"] = "bearer", ["description"] = "An API key: Authorization: Bearer pk_…" },
        };
        var merged = new JsonObject
        {
            ["openapi"] = "3.1.1",
            ["info"] = new JsonObject { ["title"] = "Platform", ["version"] = "v1" },
            ["servers"] = new JsonArray(new JsonObject { ["url"] = "/" }),
            ["security"] = new JsonArray(new JsonObject { ["bearer"] = new JsonArray() }),
            ["tags"] = tags,
            ["paths"] = paths,
            ["components"] = components,
        };
        if (unavailable.Count > 0)
        {
            merged["x-unavailable"] = new JsonArray([.. unavailable.Select(name => (JsonNode)name)]);
        }

        return merged;
    }

    // A component that is equal by its text may still point to one that is not; so look again until nothing new turns up.
    private static void Rename(JsonObject document, JsonObject merged, string owner)
    {
        var renamed = new HashSet<string>(StringComparer.Ordinal);
        while (true)
        {
            var clashes = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var (kind, name, component) in Components(document))
            {
                if (!renamed.Contains($"{kind}/{name}") && merged[kind]?[name] is { } other && !JsonNode.DeepEquals(other, component))
                {
                    clashes[$"{kind}/{name}"] = $"{kind}/{owner}_{name}";
                }
            }

            if (clashes.Count == 0)
            {
                return;
            }

            foreach (var (old, young) in clashes)
            {
                var (kind, name) = (old[..old.IndexOf('/', StringComparison.Ordinal)], old[(old.IndexOf('/', StringComparison.Ordinal) + 1)..]);
                var group = document["components"]![kind]!.AsObject();
                var component = group[name];
                group.Remove(name);
                group[young[(kind.Length + 1)..]] = component;
                renamed.Add(young);
            }

            Redirect(document, clashes);
        }
    }

    private static void Redirect(JsonNode? node, Dictionary<string, string> renamed)
    {
        switch (node)
        {
            case JsonObject members:
                if (members["$ref"] is JsonValue reference && reference.TryGetValue(out string? target)
                    && target.StartsWith(Prefix, StringComparison.Ordinal) && renamed.TryGetValue(target[Prefix.Length..], out var young))
                {
                    members["$ref"] = Prefix + young;
                }

                foreach (var (_, member) in members)
                {
                    Redirect(member, renamed);
                }

                break;
            case JsonArray items:
                foreach (var item in items)
                {
                    Redirect(item, renamed);
                }

                break;
        }
    }

    private static void MovePaths(JsonObject document, JsonObject paths, HashSet<string> operationIds, string owner)
    {
        foreach (var (path, item) in (document["paths"] as JsonObject ?? []).ToList())
        {
            var trimmed = path.TrimEnd('/');
            if (item is not JsonObject operations || Hidden.Contains(trimmed) || $"{trimmed}/".StartsWith("/internal/", StringComparison.OrdinalIgnoreCase))
            {
                continue;
            }

            var there = paths[path] as JsonObject;
            if (there is null)
            {
                paths[path] = there = [];
            }

            foreach (var (method, operation) in operations.ToList())
            {
                operations.Remove(method);
                if (operation is JsonObject described)
                {
                    if (described["operationId"]?.GetValue<string>() is { } id && !operationIds.Add(id))
                    {
                        described["operationId"] = $"{owner}_{id}";
                    }

                    if (Anonymous.Contains(trimmed))
                    {
                        described["security"] = new JsonArray();
                    }
                }

                there.TryAdd(method, operation);
            }
        }
    }

    private static void MoveComponents(JsonObject document, JsonObject merged)
    {
        foreach (var (kind, name, component) in Components(document).ToList())
        {
            document["components"]![kind]!.AsObject().Remove(name);
            if (merged[kind] is not JsonObject group)
            {
                merged[kind] = group = [];
            }

            group.TryAdd(name, component);
        }
    }

    private static void MoveTags(JsonObject document, JsonArray tags)
    {
        foreach (var tag in (document["tags"] as JsonArray ?? []).ToList())
        {
            if (tag?["name"]?.GetValue<string>() is { } name && tags.All(other => other!["name"]!.GetValue<string>() != name))
            {
                tags.Add(tag.DeepClone());
            }
        }
    }

    private static IEnumerable<(string Kind, string Name, JsonNode? Component)> Components(JsonObject document) =>
        from kind in document["components"] as JsonObject ?? []
        where kind.Key != "securitySchemes" && kind.Value is JsonObject
        from component in kind.Value.AsObject()
        select (kind.Key, component.Key, component.Value);
}
