using System.Net;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Gateway.Tests;

public sealed class KeysTests(GatewayFixture fixture) : IClassFixture<GatewayFixture>
{
    private const string Keys = "api/v1/monitoring/api-keys";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_key_is_shown_once_and_stored_as_a_hash_only()
    {
        using var answer = await fixture.Admin.PostAsJsonAsync(Keys, new { name = "shop", role = "user", realm = "shop", expires_in_days = 30 }, Ct);
        var data = (await Backend.JsonAsync(answer)).GetProperty("data");
        var key = data.GetProperty("key").GetString()!;
        var id = data.GetProperty("id").GetGuid();

        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        Assert.Equal($"/{Keys}/{id}", answer.Headers.Location?.OriginalString);
        Assert.Matches("^pk_[A-Za-z0-9_-]{43}$", key);
        var rows = await fixture.Db.QueryAsync($"select k::text, key_hash from api_keys k where id = {id}", row => (Text: row.GetString(0), Hash: row.GetFieldValue<byte[]>(1)), Ct);
        var row = Assert.Single(rows);
        Assert.DoesNotContain(key, row.Text, StringComparison.Ordinal);
        Assert.Equal(SHA256.HashData(Encoding.UTF8.GetBytes(key)), row.Hash);
        var listed = await fixture.Admin.GetStringAsync($"{Keys}?realm=shop", Ct);
        Assert.DoesNotContain(key, listed, StringComparison.Ordinal);
        Assert.Contains($"\"key_prefix\":\"{key[..8]}\"", listed, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Creating_and_revoking_a_key_leaves_one_audit_message_each()
    {
        var (id, _) = await fixture.CreateKeyAsync("user", "audited");
        using var first = await fixture.Admin.DeleteAsync($"{Keys}/{id}", Ct);
        using var second = await fixture.Admin.DeleteAsync($"{Keys}/{id}", Ct);

        Assert.Equal(HttpStatusCode.NoContent, first.StatusCode);
        Assert.Equal(HttpStatusCode.NoContent, second.StatusCode);
        var heard = await AuditQueue.ReadAsync(fixture.World, message => message.GetProperty("target_id").GetString() == id.ToString(), atLeast: 2);
        Assert.Equal(["api_key.created", "api_key.revoked"], heard.Select(message => message.GetProperty("action").GetString()));
        Assert.All(heard, message => Assert.Equal("audited", message.GetProperty("realm").GetString()));
        Assert.All(heard, message => Assert.Equal("127.0.0.1", message.GetProperty("source_address").GetString()));
    }

    [Fact]
    public async Task A_revoked_key_stops_working_at_every_gateway()
    {
        await using var other = await fixture.StartAsync();
        var (id, key) = await fixture.CreateKeyAsync("user", "revoked");
        using var here = fixture.Client(key);
        using var there = fixture.Client(key, other);
        Assert.Equal(HttpStatusCode.OK, (await here.GetAsync("api/v1/monitoring/events", Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await there.GetAsync("api/v1/monitoring/events", Ct)).StatusCode);

        using var revoked = await fixture.Admin.DeleteAsync($"{Keys}/{id}", Ct);

        Assert.Equal(HttpStatusCode.Unauthorized, (await here.GetAsync("api/v1/monitoring/events", Ct)).StatusCode);
        // Sooner than the ten seconds for which the other gateway would remember the key by itself.
        await Eventually.TrueAsync(
            async () => (await there.GetAsync("api/v1/monitoring/events", Ct)).StatusCode == HttpStatusCode.Unauthorized, TimeSpan.FromSeconds(5), "the other gateway refuses the key");
    }

    [Fact]
    public async Task An_expired_key_stops_working_by_itself()
    {
        var (_, key) = await fixture.CreateKeyAsync("user", "expiring", expires: DateTimeOffset.UtcNow.AddSeconds(2));
        using var client = fixture.Client(key);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("api/v1/monitoring/events", Ct)).StatusCode);

        await Eventually.TrueAsync(
            async () => (await client.GetAsync("api/v1/monitoring/events", Ct)).StatusCode == HttpStatusCode.Unauthorized, TimeSpan.FromSeconds(6), "the expired key is refused");
    }

    [Fact]
    public async Task The_last_use_of_a_key_is_noted()
    {
        var (id, key) = await fixture.CreateKeyAsync("user", "used");
        using var client = fixture.Client(key);
        using var used = await client.GetAsync("api/v1/monitoring/events", Ct);

        await Eventually.TrueAsync(
            async () => await fixture.Db.FindAsync($"select last_used_at is not null from api_keys where id = {id}", row => row.GetBoolean(0), Ct), because: "the use is noted");
    }

    [Theory]
    [InlineData("user", HttpStatusCode.Forbidden)]
    [InlineData("moderator", HttpStatusCode.Forbidden)]
    [InlineData("auditor", HttpStatusCode.Forbidden)]
    [InlineData("admin", HttpStatusCode.OK)]
    public async Task Only_an_admin_works_with_keys(string role, HttpStatusCode expected)
    {
        var (_, key) = await fixture.CreateKeyAsync(role, "roles");
        var (target, _) = await fixture.CreateKeyAsync("user", "roles");
        using var client = fixture.Client(key);

        using var listed = await client.GetAsync(Keys, Ct);
        using var created = await client.PostAsJsonAsync(Keys, new { name = "x", role = "user" }, Ct);
        using var revoked = await client.DeleteAsync($"{Keys}/{target}", Ct);

        Assert.Equal(expected, listed.StatusCode);
        Assert.Equal(expected == HttpStatusCode.OK ? HttpStatusCode.Created : expected, created.StatusCode);
        Assert.Equal(expected == HttpStatusCode.OK ? HttpStatusCode.NoContent : expected, revoked.StatusCode);
    }

    [Fact]
    public async Task An_admin_of_one_realm_reaches_no_other()
    {
        var (_, key) = await fixture.CreateKeyAsync("admin", "mine");
        var (foreign, _) = await fixture.CreateKeyAsync("user", "theirs");
        using var client = fixture.Client(key);

        using var own = await client.PostAsJsonAsync(Keys, new { name = "own", role = "user" }, Ct);
        Assert.Equal("mine", (await Backend.JsonAsync(own)).GetProperty("data").GetProperty("realm").GetString());
        foreach (var realm in new[] { "theirs", "*" })
        {
            using var created = await client.PostAsJsonAsync(Keys, new { name = "x", role = "user", realm }, Ct);
            await GatewayFixture.ProblemAsync(created, HttpStatusCode.Forbidden);
        }

        using var revoked = await client.DeleteAsync($"{Keys}/{foreign}", Ct);
        Assert.Equal("Missing: another realm, to which this belongs. The request reaches the realm \"mine\" only.", (await GatewayFixture.ProblemAsync(revoked, HttpStatusCode.Forbidden)).GetProperty("detail").GetString());
        using var named = await client.GetAsync($"{Keys}?realm=theirs", Ct);
        Assert.Equal(
            "Missing: the realm \"theirs\". The credential has the role admin, the scopes ingest and read, and the realm \"mine\".",
            (await GatewayFixture.ProblemAsync(named, HttpStatusCode.Forbidden)).GetProperty("detail").GetString());
        var listed = (await client.GetFromJsonAsync<System.Text.Json.JsonElement>(Keys, Ct)).GetProperty("data").GetProperty("items").EnumerateArray().ToList();
        Assert.NotEmpty(listed);
        Assert.All(listed, item => Assert.Equal("mine", item.GetProperty("realm").GetString()));
    }

    [Fact]
    public async Task Lists_are_paged_newest_first()
    {
        var ids = new List<Guid>();
        for (var number = 0; number < 5; number++)
        {
            ids.Add((await fixture.CreateKeyAsync("user", "paged")).Id);
        }

        var found = new List<Guid>();
        string? cursor = null;
        do
        {
            var page = (await fixture.Admin.GetFromJsonAsync<System.Text.Json.JsonElement>($"{Keys}?realm=paged&limit=2{(cursor is null ? "" : $"&cursor={cursor}")}", Ct)).GetProperty("data");
            found.AddRange(page.GetProperty("items").EnumerateArray().Select(item => item.GetProperty("id").GetGuid()));
            cursor = page.GetProperty("next_cursor").GetString();
        }
        while (cursor is not null);

        Assert.Equal(ids.AsEnumerable().Reverse(), found);
    }

    [Theory]
    [InlineData("""{"role":"user"}""", "name")]
    [InlineData("""{"name":"x"}""", "role")]
    [InlineData("""{"name":"x","role":"service"}""", "role")]
    [InlineData("""{"name":"x","role":"user","realm":"Not A Realm"}""", "realm")]
    [InlineData("""{"name":"x","role":"user","realm":"platform"}""", "realm")]
    [InlineData("""{"name":"x","role":"user","scopes":["write"]}""", "scopes")]
    [InlineData("""{"name":"x","role":"user","scopes":[]}""", "scopes")]
    [InlineData("""{"name":"x","role":"user","expires_in_days":0}""", "expires_in_days")]
    [InlineData("""{"name":"x","role":"user","expires_at":"2001-01-01T00:00:00Z"}""", "expires_at")]
    [InlineData("""{"name":"x","role":"user","expires_at":"2030-01-01T00:00:00Z","expires_in_days":3}""", "expires_in_days")]
    public async Task A_wrong_field_is_named(string body, string field)
    {
        using var answer = await fixture.Admin.PostAsync(Keys, new StringContent(body, Encoding.UTF8, "application/json"), Ct);

        var problem = await GatewayFixture.ProblemAsync(answer, HttpStatusCode.BadRequest);
        Assert.True(problem.GetProperty("errors").TryGetProperty(field, out _), problem.ToString());
    }
}
