using System.Text.Json.Nodes;
using Platform.Gateway.Denials;
using Platform.Gateway.Edge;
using Platform.Gateway.Keys;
using Platform.Gateway.OpenApi;
using Platform.ServiceDefaults;

namespace Platform.Gateway.Tests;

/// <summary>The gateway's decisions without its effects.</summary>
public sealed class RulesTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);

    [Fact]
    public void A_repeat_within_the_window_is_counted_and_the_next_window_begins_anew()
    {
        var fold = new Fold(TimeSpan.FromMinutes(1), capacity: 10);

        Assert.Equal(1, fold.Add(Denied("a", Noon))?.Count);
        Assert.Null(fold.Add(Denied("a", Noon.AddSeconds(10))));
        Assert.Null(fold.Add(Denied("a", Noon.AddSeconds(59))));
        Assert.Empty(fold.Due(Noon.AddSeconds(59)));
        var repeats = Assert.Single(fold.Due(Noon.AddSeconds(60)));
        Assert.Equal((2, Noon.AddSeconds(10)), (repeats.Count, repeats.At));
        Assert.Equal(1, fold.Add(Denied("a", Noon.AddSeconds(61)))?.Count);
        Assert.Empty(fold.All());
    }

    [Fact]
    public void Denials_of_other_credentials_routes_or_statuses_are_records_of_their_own()
    {
        var fold = new Fold(TimeSpan.FromMinutes(1), capacity: 10);
        var first = Denied("a", Noon);

        Assert.NotNull(fold.Add(first));
        Assert.NotNull(fold.Add(Denied("b", Noon)));
        Assert.NotNull(fold.Add(first with { Key = first.Key with { Route = "/other" } }));
        Assert.NotNull(fold.Add(first with { Key = first.Key with { Status = 401 } }));
    }

    [Fact]
    public void More_kinds_than_are_told_apart_become_one()
    {
        var fold = new Fold(TimeSpan.FromMinutes(1), capacity: 2);
        fold.Add(Denied("a", Noon));
        fold.Add(Denied("b", Noon));

        var first = fold.Add(Denied("c", Noon));
        for (var number = 0; number < 1_000; number++)
        {
            Assert.Null(fold.Add(Denied($"d{number}", Noon)));
        }

        Assert.Equal((Fold.Many, Fold.Many, RealmName.Platform, null), (first!.Key.Actor, first.Key.Route, first.Key.Realm, first.Address));
        Assert.Equal(1_000, Assert.Single(fold.All()).Count);
    }

    [Fact]
    public void A_bucket_gives_its_burst_and_then_its_rate()
    {
        var bucket = new Tokens(Rate: 2, Burst: 3, Amount: 3, Noon);

        for (var number = 0; number < 3; number++)
        {
            (bucket, var none) = bucket.Take(Noon);
            Assert.Equal(TimeSpan.Zero, none);
        }

        (bucket, var wait) = bucket.Take(Noon);
        Assert.Equal(TimeSpan.FromSeconds(0.5), wait);
        (bucket, wait) = bucket.Take(Noon.AddSeconds(0.5));
        Assert.Equal(TimeSpan.Zero, wait);
        (bucket, _) = bucket.Take(Noon.AddHours(1));
        Assert.Equal(2, bucket.Amount);
    }

    [Fact]
    public void A_clock_that_steps_back_takes_nothing_away()
    {
        var (bucket, _) = new Tokens(Rate: 1, Burst: 5, Amount: 5, Noon).Take(Noon.AddMinutes(-5));

        Assert.Equal(4, bucket.Amount);
    }

    [Theory]
    [InlineData("*", true)]
    [InlineData("default", true)]
    [InlineData("a", true)]
    [InlineData("9shop.eu_west-1", true)]
    [InlineData("", false)]
    [InlineData("-a", false)]
    [InlineData("Shop", false)]
    [InlineData("a b", false)]
    [InlineData("a\n", false)]
    [InlineData("**", false)]
    [InlineData("platform", false)]
    public void Realms_have_a_syntax(string realm, bool valid) => Assert.Equal(valid, RealmName.IsValid(realm));

    [Fact]
    public void Realms_have_at_most_63_characters()
    {
        Assert.True(RealmName.IsValid(new string('a', 63)));
        Assert.False(RealmName.IsValid(new string('a', 64)));
    }

    [Fact]
    public void Keys_are_long_random_and_alike_in_nothing_but_their_beginning()
    {
        var keys = Enumerable.Range(0, 1_000).Select(_ => KeyText.New()).ToHashSet();

        Assert.Equal(1_000, keys.Count);
        Assert.All(keys, key => Assert.True(KeyText.IsPossible(key) && key.Length == 46 && key.StartsWith("pk_", StringComparison.Ordinal)));
    }

    [Fact]
    public void What_is_used_stays_and_what_is_not_is_forgotten()
    {
        var recent = new Recent<int, string>(10);
        recent.Set(-1, "used");
        for (var number = 0; number < 100; number++)
        {
            recent.Set(number, "once");
            Assert.True(recent.TryGet(-1, out _));
        }

        Assert.False(recent.TryGet(0, out _));
        Assert.True(recent.Count <= 10);
    }

    [Fact]
    public void Components_that_differ_get_their_owners_name_and_those_that_do_not_are_one()
    {
        var merged = DocumentMerge.Merge(
            [
                ("one", Document("/one", "Page", """{"Page":{"properties":{"item":{"$ref":"#/components/schemas/Item"}}},"Item":{"type":"string"},"Same":{"type":"object"}}""")),
                ("two", Document("/two", "Page", """{"Page":{"properties":{"item":{"$ref":"#/components/schemas/Item"}}},"Item":{"type":"integer"},"Same":{"type":"object"}}""")),
            ],
            []);

        var schemas = merged["components"]!["schemas"]!.AsObject();
        Assert.Equal(["Item", "Page", "Same", "two_Item", "two_Page"], schemas.Select(schema => schema.Key).Order(StringComparer.Ordinal));
        Assert.Equal("integer", schemas["two_Item"]!["type"]!.GetValue<string>());
        Assert.Equal("#/components/schemas/two_Item", schemas["two_Page"]!["properties"]!["item"]!["$ref"]!.GetValue<string>());
        Assert.Equal("#/components/schemas/two_Page", Reference(merged, "/two"));
        Assert.Equal("#/components/schemas/Page", Reference(merged, "/one"));
    }

    [Fact]
    public void What_is_internal_is_left_out_and_what_is_missing_is_said()
    {
        var merged = DocumentMerge.Merge(
            [
                ("one", Document("/internal/counts", "X", "{}")),
                ("two", Document("/health", "X", "{}")),
                ("three", Document("/monitoring/status/", "X", "{}")),
            ],
            ["four"]);

        var path = Assert.Single(merged["paths"]!.AsObject());
        Assert.Equal("/monitoring/status/", path.Key);
        Assert.Empty(path.Value!["get"]!["security"]!.AsArray());
        Assert.Equal("http", merged["components"]!["securitySchemes"]!["bearer"]!["type"]!.GetValue<string>());
        Assert.Equal("four", merged["x-unavailable"]![0]!.GetValue<string>());
    }

    [Fact]
    public void A_key_without_an_end_is_valid_until_it_is_revoked()
    {
        var key = new ApiKey(Guid.Empty, "x", Role.User, "default", Scopes.All, "pk_", Noon, "key:x", null, null, null);

        Assert.True(key.IsValidAt(Noon.AddYears(10)));
        Assert.False((key with { RevokedAt = Noon }).IsValidAt(Noon));
        Assert.False((key with { ExpiresAt = Noon }).IsValidAt(Noon));
        Assert.True((key with { ExpiresAt = Noon }).IsValidAt(Noon.AddTicks(-1)));
    }

    private static Denial Denied(string actor, DateTimeOffset at) => new(new DenialKey("default", actor, "user", "/route", 403), at, "127.0.0.1", null, null, 1);

    private static JsonObject Document(string path, string schema, string schemas) => new()
    {
        ["paths"] = JsonNode.Parse("""{"PATH":{"get":{"responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/NAME"}}}}}}}}"""
            .Replace("PATH", path, StringComparison.Ordinal).Replace("NAME", schema, StringComparison.Ordinal)),
        ["components"] = new JsonObject { ["schemas"] = JsonNode.Parse(schemas) },
    };

    private static string Reference(JsonObject document, string path) =>
        document["paths"]![path]!["get"]!["responses"]!["200"]!["content"]!["application/json"]!["schema"]!["$ref"]!.GetValue<string>();
}
