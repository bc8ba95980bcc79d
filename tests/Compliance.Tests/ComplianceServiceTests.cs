using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Npgsql;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Compliance.Tests;

/// <summary>Two replicas of the real service on one database and broker.</summary>
public sealed class ComplianceServices : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = TemporaryFolder.Create("compliance");

    public TestWorld World { get; private set; } = null!;

    public ServiceProcess Service { get; private set; } = null!;

    public NpgsqlDataSource Db { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Service = await World.StartAsync("Compliance", "compliancedb", ("PLATFORM_DATA_DIR", _folder.Path), ("COMPLIANCE_REPORT_SOURCE_SECONDS", "2"));
        await World.StartAsync("Compliance", "compliancedb", ("COMPLIANCE_REPORT_SOURCE_SECONDS", "2"));
        Db = await World.OpenAsync("compliancedb");
    }

    /// <summary>Sends over the broker, as any service does: through an outbox.</summary>
    public async Task SendAsync(params Audited[] messages)
    {
        var ct = TestContext.Current.CancellationToken;
        await using var connection = await Db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        foreach (var message in messages)
        {
            await tx.SendAsync(message, ct);
        }

        await tx.CommitAsync(ct);
    }

    public async ValueTask DisposeAsync()
    {
        await Db.DisposeAsync();
        await World.DisposeAsync();
        _folder.Dispose();
    }
}

public sealed class ComplianceServiceTests(ComplianceServices services) : IClassFixture<ComplianceServices>
{
    private const string Audit = "/api/v1/monitoring/audit";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_somebody_did_is_in_the_log_and_can_be_found()
    {
        using var auditor = await ClientAsync("found", Role.Auditor);
        await services.SendAsync(Said("found", 1), Said("found", 2) with { Action = "access.denied", Outcome = AuditOutcome.Denied, Count = 12 });
        await CountAsync("found", 2);

        var denied = await ItemsAsync(auditor, "?outcome=denied");
        var mine = await ItemsAsync(auditor, "?actor=key:actor-1&action=rule.created&target_type=rule&target=rule-1");
        var first = await ItemsAsync(auditor, "?limit=1&from=2026-01-01&to=2026-02-01");
        var nobody = await ItemsAsync(auditor, "?actor=key:nobody");

        Assert.Equal(12, Assert.Single(denied).GetProperty("count").GetInt32());
        var item = Assert.Single(mine);
        Assert.Equal(
            ("key:actor-1", "admin", "success", "203.0.113.1", "Brute force", false),
            (item.GetProperty("actor").GetString(), item.GetProperty("actor_role").GetString(), item.GetProperty("outcome").GetString(),
                item.GetProperty("source_address").GetString(), item.GetProperty("details").GetProperty("name").GetString(), item.GetProperty("erased").GetBoolean()));
        Assert.Single(first);
        Assert.Empty(nobody);
        var again = await auditor.GetFromJsonAsync<JsonElement>($"{Audit}/{item.GetProperty("id").GetString()}", Ct);
        Assert.Equal(item.GetRawText(), again.GetProperty("data").GetRawText());
    }

    [Fact]
    public async Task Pages_follow_each_other_without_loss()
    {
        using var auditor = await ClientAsync("pages", Role.Auditor);
        await services.SendAsync([.. Enumerable.Range(1, 7).Select(i => Said("pages", i))]);
        await CountAsync("pages", 7);

        var seen = new List<string>();
        var cursor = "";
        while (cursor is not null)
        {
            var page = (await auditor.GetFromJsonAsync<JsonElement>($"{Audit}?limit=3&action=rule.created&cursor={cursor}", Ct)).GetProperty("data");
            seen.AddRange(page.GetProperty("items").EnumerateArray().Select(item => item.GetProperty("actor").GetString()!));
            cursor = page.GetProperty("next_cursor").GetString();
        }

        Assert.Equal(Enumerable.Range(1, 7).Reverse().Select(i => $"key:actor-{i}"), seen);
    }

    [Fact]
    public async Task Two_replicas_chain_everything_exactly_once()
    {
        using var auditor = await ClientAsync("replicas", Role.Auditor);
        await services.SendAsync([.. Enumerable.Range(1, 150).Select(i => Said("replicas", i))]);
        await CountAsync("replicas", 150);

        var chain = await VerifyAsync(auditor);

        Assert.True(chain.GetProperty("ok").GetBoolean(), chain.GetRawText());
        Assert.True(chain.GetProperty("complete").GetBoolean());
        Assert.Equal(150, (await services.Db.QueryAsync($"""
            select distinct target_id from audit_records where realm = 'replicas' and action = 'rule.created'
            """, row => row.GetString(0), Ct)).Count);
    }

    [Fact]
    public async Task An_erased_person_is_null_in_records_and_the_erasure_is_on_record()
    {
        using var admin = await ClientAsync("erased", Role.Admin);
        await services.SendAsync(Said("erased", 1), Said("erased", 2));
        await CountAsync("erased", 2);

        using var answer = await admin.PostAsync(new Uri("/api/v1/monitoring/compliance/subjects/key:actor-1/erase", UriKind.Relative), null, Ct);
        using var again = await admin.PostAsync(new Uri("/api/v1/monitoring/compliance/subjects/key:actor-1/erase", UriKind.Relative), null, Ct);

        Assert.Equal((HttpStatusCode.OK, HttpStatusCode.NotFound), (answer.StatusCode, again.StatusCode));
        var record = await Eventually.GetAsync(async () => (await ItemsAsync(admin, "?action=subject.erased")).Select(item => item.GetRawText()).FirstOrDefault());
        Assert.DoesNotContain("actor-1", record, StringComparison.Ordinal);
        var items = await ItemsAsync(admin, "?action=rule.created");
        Assert.Equal(["key:actor-2", null], items.Select(item => item.GetProperty("actor").GetString()));
        Assert.Equal([false, true], items.Select(item => item.GetProperty("erased").GetBoolean()));
        Assert.True((await VerifyAsync(admin)).GetProperty("ok").GetBoolean());
    }

    [Fact]
    public async Task Reading_leaves_one_record_a_minute_and_not_one_a_page()
    {
        using var auditor = await ClientAsync("readers", Role.Auditor, "key:reader");

        for (var i = 0; i < 5; i++)
        {
            await ItemsAsync(auditor, "?action=nothing");
        }

        var reads = await Eventually.GetAsync(async () => await ItemsAsync(auditor, "?action=audit.read") is { Count: > 0 } found ? found : null);
        // The minute may end between two of the requests.
        Assert.InRange(reads.Count, 1, 2);
        Assert.Equal(("key:reader", "list"), (reads[0].GetProperty("actor").GetString(), reads[0].GetProperty("target_id").GetString()));
    }

    [Fact]
    public async Task A_broken_chain_is_named_to_whoever_asks()
    {
        using var auditor = await ClientAsync("broken", Role.Auditor);
        await services.SendAsync([.. Enumerable.Range(1, 5).Select(i => Said("broken", i))]);
        await CountAsync("broken", 5);
        await using (var tamper = services.Db.CreateCommand("""
            begin; set local session_replication_role = replica; update audit_records set outcome = 'denied' where realm = 'broken' and seq = 3; commit
            """))
        {
            await tamper.ExecuteNonQueryAsync(Ct);
        }

        var found = await VerifyAsync(auditor);

        Assert.False(found.GetProperty("ok").GetBoolean());
        Assert.Equal("hash_mismatch", found.GetProperty("fault").GetProperty("kind").GetString());
        Assert.Equal(3, found.GetProperty("fault").GetProperty("seq").GetInt64());
        Assert.NotNull(found.GetProperty("fault").GetProperty("id").GetString());
    }

    [Fact]
    public async Task A_report_holds_what_is_stored_and_names_what_is_not()
    {
        using var auditor = await ClientAsync("report", Role.Auditor);
        await services.SendAsync(Said("report", 1) with { At = DateTimeOffset.UtcNow.AddMinutes(-1) });
        await CountAsync("report", 1);

        var canonical = (await auditor.GetFromJsonAsync<JsonElement>("/api/v1/monitoring/compliance/report?type=gdpr", Ct)).GetProperty("data");
        using var alias = await auditor.GetAsync(new Uri("/monitoring/compliance/report/?type=ccpa", UriKind.Relative), Ct);

        Assert.Contains(canonical.GetProperty("figures").EnumerateArray(), figure => figure.GetProperty("name").GetString() == "privileged_actions" && figure.GetProperty("value").GetDouble() == 1);
        Assert.DoesNotContain(canonical.GetProperty("figures").EnumerateArray(), figure => figure.GetProperty("name").GetString() is "logins" or "incidents_opened");
        Assert.Contains(canonical.GetProperty("not_measured").EnumerateArray(), missing => missing.GetProperty("name").GetString() == "logins"
            && missing.GetProperty("reason").GetString()!.StartsWith("Metrics did not answer", StringComparison.Ordinal));
        Assert.True(canonical.GetProperty("chain").GetProperty("ok").GetBoolean());
        Assert.Equal(HttpStatusCode.OK, alias.StatusCode);
    }

    [Theory]
    [InlineData("/api/v1/monitoring/audit?limit=0", "limit")]
    [InlineData("/api/v1/monitoring/audit?outcome=maybe", "outcome")]
    [InlineData("/api/v1/monitoring/audit?from=yesterday", "from")]
    [InlineData("/api/v1/monitoring/audit?cursor=%2B%2B", "cursor")]
    [InlineData("/api/v1/monitoring/audit?cursor=YWJj", "cursor")]
    [InlineData("/api/v1/monitoring/audit/verify?from_seq=0", "from_seq")]
    [InlineData("/api/v1/monitoring/audit/verify?from_seq=999", "from_seq")]
    [InlineData("/api/v1/monitoring/audit/export?from=2026-02-01&to=2026-01-01", "from")]
    [InlineData("/api/v1/monitoring/compliance/report", "type")]
    [InlineData("/api/v1/monitoring/compliance/report?type=1", "type")]
    [InlineData("/api/v1/monitoring/compliance/report?type=gdpr,ccpa", "type")]
    [InlineData("/api/v1/monitoring/compliance/report?type=gdpr&from=2020-01-01", "from")]
    public async Task Bad_input_is_refused_by_name(string path, string field)
    {
        using var auditor = await ClientAsync("nothing", Role.Auditor);

        using var answer = await auditor.GetAsync(new Uri(path, UriKind.Relative), Ct);
        var problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Ct);

        Assert.Equal((HttpStatusCode.BadRequest, "application/problem+json"), (answer.StatusCode, answer.Content.Headers.ContentType!.MediaType));
        Assert.Equal([field], problem.GetProperty("errors").EnumerateObject().Select(error => error.Name));
    }

    [Fact]
    public async Task Every_endpoint_admits_whom_it_should_and_nobody_from_another_realm()
    {
        using (var auditor = await ClientAsync("doors", Role.Auditor))
        {
            await services.SendAsync(Said("doors", 1));
            await CountAsync("doors", 1);
        }

        var id = await services.Db.FindAsync($"select id from audit_records where realm = 'doors' and seq = 1", row => row.GetGuid(0), Ct);
        (string Method, string Path, Role[] Allowed)[] doors =
        [
            ("GET", Audit, [Role.Auditor, Role.Admin]),
            ("GET", $"{Audit}/{id}", [Role.Auditor, Role.Admin]),
            ("GET", $"{Audit}/verify", [Role.Auditor, Role.Admin]),
            ("GET", $"{Audit}/export", [Role.Auditor, Role.Admin]),
            ("GET", $"{Audit}/public-key", [Role.Auditor, Role.Admin]),
            ("GET", "/api/v1/monitoring/compliance/report?type=gdpr", [Role.Auditor, Role.Admin]),
            ("GET", "/monitoring/compliance/report/?type=gdpr", [Role.Auditor, Role.Admin]),
            ("POST", "/api/v1/monitoring/compliance/subjects/nobody/erase", [Role.Admin]),
            ("GET", "/api/v1/monitoring/dead-letters/compliance", []),
        ];
        var wrong = new List<string>();
        foreach (var (method, path, allowed) in doors)
        {
            using var anonymous = TestWorld.Anonymous(services.Service);
            await ExpectAsync(anonymous, method, path, "anonymous", HttpStatusCode.Unauthorized, wrong);
            foreach (var role in Enum.GetValues<Role>())
            {
                using var client = await ClientAsync("doors", role);
                await ExpectAsync(client, method, path, role.ToString(), allowed.Contains(role) ? null : HttpStatusCode.Forbidden, wrong);
                await ExpectAsync(client, method, $"{path}{(path.Contains('?', StringComparison.Ordinal) ? '&' : '?')}realm=other", $"{role} elsewhere", HttpStatusCode.Forbidden, wrong);
            }
        }

        using var foreigner = await ClientAsync("other", Role.Admin);
        await ExpectAsync(foreigner, "GET", $"{Audit}/{id}", "foreign admin", HttpStatusCode.Forbidden, wrong);
        Assert.Empty(await ItemsAsync(foreigner, "?action=rule.created"));
        Assert.Empty(wrong);
    }

    // Null expects any answer that is not a refusal.
    private static async Task ExpectAsync(HttpClient client, string method, string path, string who, HttpStatusCode? expected, List<string> wrong)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), new Uri(path, UriKind.Relative));
        using var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Ct);
        if (expected is null ? answer.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or >= HttpStatusCode.InternalServerError : answer.StatusCode != expected)
        {
            wrong.Add($"{who} {method} {path}: {(int)answer.StatusCode}");
        }
    }

    private Task<HttpClient> ClientAsync(string realm, Role role, string subject = "key:test") => services.World.ClientAsync(services.Service, role, realm, subject: subject);

    private static Audited Said(string realm, int number) => new(
        realm, $"key:actor-{number}", "admin", "rule.created", "rule", $"rule-{number}", AuditOutcome.Success,
        new DateTimeOffset(2026, 1, 15, 12, 0, number % 60, TimeSpan.Zero).AddMinutes(number / 60), "203.0.113.1", Details: new Dictionary<string, string> { ["name"] = "Brute force" });

    private static async Task<List<JsonElement>> ItemsAsync(HttpClient client, string query) =>
        [.. (await client.GetFromJsonAsync<JsonElement>(Audit + query, Ct)).GetProperty("data").GetProperty("items").EnumerateArray()];

    private static async Task<JsonElement> VerifyAsync(HttpClient client) =>
        (await client.GetFromJsonAsync<JsonElement>($"{Audit}/verify", Ct)).GetProperty("data");

    private Task CountAsync(string realm, int records) =>
        Eventually.TrueAsync(
            async () => await services.Db.FindAsync(
                $"select count(*) from audit_records where realm = {realm} and action <> 'audit.read'", row => row.GetInt64(0), Ct) >= records,
            TimeSpan.FromSeconds(60), $"{records} records in {realm}");
}
